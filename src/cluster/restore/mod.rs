//! How far a restore of etcd has come on a master, and the scripts that bring it further.
//!
//! What a restore is made of lies in `/var/lib/quorate/restore` of each master: the snapshot, the settings (which backup,
//! which members, which token) and one mark per stage reached. So any run, and any operator's computer, can go on with it
//! or go back. Old data stays beside the new, as `/var/lib/etcd/quorate-old-<token>`.

pub mod agreement;

use std::collections::BTreeSet;
use std::fmt;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::etcd::MemberId;
use crate::host::command::Script;

/// The directory of a restore on a master.
pub const DIRECTORY: &str = "/var/lib/quorate/restore";

/// The snapshot in it.
pub const SNAPSHOT: &str = "/var/lib/quorate/restore/snapshot.db";

/// The settings in it.
pub const SETTINGS: &str = "/var/lib/quorate/restore/settings";

/// A file beside etcd's own in the data that a restore makes, so that it goes where the data goes: a [`Past`], when it was
/// made and the ids of what the data has left behind. After a restore of a snapshot that is the cluster's id before, since the restored one has another; after
/// `--force-new-cluster`, which keeps it, the ids of the members that were given up. None of them can ever be right again: a
/// member that joins later gets an id of its own.
pub const LEFT_BEHIND: &str = "/var/lib/etcd/member/quorate-left-behind";

/// What restored data says of its past: the line in [`LEFT_BEHIND`].
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Past {
    /// When it was made, in seconds since the epoch by its host's clock; `None`: by no restore, or by an older quorate's.
    pub made: Option<u64>,
    /// The ids that it has left behind.
    pub left: BTreeSet<MemberId>,
}

impl Past {
    /// Reads the line; what is neither is left out.
    #[must_use]
    pub fn parse(line: &str) -> Self {
        let made = line.split_whitespace().filter_map(|word| {
            let seconds = word.strip_prefix("made=")?;
            seconds.parse().ok()
        });
        Self {
            // The line of the data before stands at its end.
            made: made.max(),
            left: MemberId::all_in(line),
        }
    }
}

impl fmt::Display for Past {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(made) = self.made {
            write!(f, "made={made} ")?;
        }
        f.write_str(&MemberId::in_words(&self.left))
    }
}

/// The stages, in order. A stage begins on any master only when the one before has ended on all.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema,
)]
#[serde(rename_all = "kebab-case")]
pub enum Stage {
    /// The static pods of the control plane are gone, their manifests out of kubelet's sight.
    Stopped,
    /// etcd's data is out of its sight.
    Aside,
    /// New data is made from the snapshot.
    Restored,
    /// etcd serves.
    Etcd,
    /// The apiserver serves.
    Apiserver,
    /// Controllers and kubelet run on the new data.
    Finished,
}

impl Stage {
    /// All, in order.
    pub const ALL: [Self; 6] = [
        Self::Stopped,
        Self::Aside,
        Self::Restored,
        Self::Etcd,
        Self::Apiserver,
        Self::Finished,
    ];

    /// As scripts call it.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Stopped => "stopped",
            Self::Aside => "aside",
            Self::Restored => "restored",
            Self::Etcd => "etcd",
            Self::Apiserver => "apiserver",
            Self::Finished => "finished",
        }
    }

    /// Whether a master that is not to be a member of the restored etcd goes through it: such a one only stops, and joins
    /// again afterwards.
    #[must_use]
    pub fn is_for_bystanders(self) -> bool {
        self <= Self::Aside || self == Self::Finished
    }
}

/// What a restore does with a master.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Part {
    /// It gets the data.
    Member,
    /// It stops, and joins again afterwards.
    Bystander,
}

/// What a member's new data is made from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Way {
    /// The snapshot that was laid beside it.
    Snapshot,
    /// Its own old data, by etcd's `--force-new-cluster`.
    ForceNewCluster,
}

/// What a restore of one master is told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settings {
    /// The backup's id, or what the snapshot is of.
    pub id: String,
    /// What tells this restore from any other, in etcd too.
    pub token: String,
    /// What becomes of this master.
    pub part: Part,
    /// What its data is made from.
    pub way: Way,
    /// Its etcd's name.
    pub name: String,
    /// Its address.
    pub address: String,
    /// Its etcd's peer URL.
    pub peer_url: String,
    /// All members, as etcd's `--initial-cluster` wants them.
    pub initial_cluster: String,
    /// SHA-256 of the snapshot; empty where there is none.
    pub sha256: String,
    /// What the new data leaves behind, see [`LEFT_BEHIND`].
    pub left_behind: BTreeSet<MemberId>,
}

impl Settings {
    /// As the file on the host has them.
    #[must_use]
    pub fn to_text(&self) -> String {
        let part = match self.part {
            Part::Member => "member",
            Part::Bystander => "bystander",
        };
        let way = match self.way {
            Way::Snapshot => "snapshot",
            Way::ForceNewCluster => "force-new-cluster",
        };
        format!(
            "id {}\ntoken {}\nrole {part}\nway {way}\nname {}\naddress {}\npeer-url {}\ninitial-cluster {}\nsha256 {}\nleft-behind {}\n",
            self.id,
            self.token,
            self.name,
            self.address,
            self.peer_url,
            self.initial_cluster,
            self.sha256,
            MemberId::in_words(&self.left_behind)
        )
    }

    /// Reads them; `None` if one is missing.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let value = |key: &str| {
            text.lines()
                .find_map(|line| line.strip_prefix(key)?.strip_prefix(' '))
                .map(str::to_owned)
        };
        Some(Self {
            id: value("id")?,
            token: value("token")?,
            part: match value("role")?.as_str() {
                "member" => Part::Member,
                "bystander" => Part::Bystander,
                _ => return None,
            },
            way: match value("way").as_deref() {
                // A restore that an older quorate began says nothing of it, nor of what is left behind.
                None | Some("snapshot") => Way::Snapshot,
                Some("force-new-cluster") => Way::ForceNewCluster,
                Some(_) => return None,
            },
            name: value("name")?,
            address: value("address")?,
            peer_url: value("peer-url")?,
            initial_cluster: value("initial-cluster")?,
            sha256: value("sha256")?,
            left_behind: MemberId::all_in(&value("left-behind").unwrap_or_default()),
        })
    }
}

/// How far a master is.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Progress {
    /// What it was told; `None`: there is no restore on it.
    pub settings: Option<Settings>,
    /// The furthest stage that it has reached.
    pub reached: Option<Stage>,
    /// Whether going back has begun.
    pub is_aborting: bool,
    /// Whether its files came from the backup, so that what `provision` adds to them is still to come.
    pub is_rebuilt: bool,
    /// Bytes of the snapshot that lies there.
    pub snapshot: Option<u64>,
    /// The image of etcd that its manifest names, in place or parked; `None`: it has none.
    pub image: Option<String>,
}

impl Progress {
    /// Reads what the state script printed.
    #[must_use]
    pub fn parse(text: &str) -> Self {
        let lines = |prefix: &'static str| {
            text.lines()
                .filter_map(move |line| line.strip_prefix(prefix)?.strip_prefix(' '))
        };
        let settings: Vec<&str> = lines("set").collect();
        let marks: Vec<&str> = lines("mark").collect();
        Self {
            settings: Settings::parse(&settings.join("\n")),
            reached: Stage::ALL
                .into_iter()
                .rev()
                .find(|stage| marks.contains(&stage.name())),
            is_aborting: marks.contains(&"abort"),
            is_rebuilt: marks.contains(&"rebuilt"),
            snapshot: lines("snapshot").next().and_then(|size| size.parse().ok()),
            image: lines("image").next().map(str::to_owned),
        }
    }

    /// Whether a restore was begun here and has not ended.
    #[must_use]
    pub fn is_under_way(&self) -> bool {
        self.settings.is_some() && self.reached != Some(Stage::Finished)
    }

    /// Whether it is to be, or is, a member of the restored etcd.
    #[must_use]
    pub fn is_member(&self) -> bool {
        self.settings
            .as_ref()
            .is_some_and(|settings| settings.part == Part::Member)
    }

    /// Whether that stage is reached here, or is none for this master.
    #[must_use]
    pub fn is_past(&self, stage: Stage) -> bool {
        let is_bystander = self
            .settings
            .as_ref()
            .is_some_and(|settings| settings.part == Part::Bystander);
        self.reached >= Some(stage) || (is_bystander && !stage.is_for_bystanders())
    }
}

/// Reads how far a master is; changes nothing.
#[must_use]
pub fn state_script() -> Script {
    Script::new("restore-state", include_str!("state.sh"))
}

/// Brings a master to a stage.
#[must_use]
pub fn stage_script(stage: Stage) -> Script {
    if stage == Stage::Restored {
        let body = concat!(
            include_str!("../snapshot/image.sh"),
            include_str!("../snapshot/scratch.sh"),
            include_str!("data.sh")
        );
        return Script::new("restore-data", body);
    }
    Script::new("restore-stage", include_str!("stage.sh")).arg(stage.name())
}

/// A step back: `abort-stop`, `abort-data`, `abort-start`, each on all masters before the next begins.
#[must_use]
pub fn abort_script(step: &'static str) -> Script {
    Script::new("restore-stage", include_str!("stage.sh")).arg(step)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settings(part: Part) -> Settings {
        Settings {
            id: "20261121t133000z-1f3a".to_owned(),
            token: "restore-1".to_owned(),
            part,
            way: Way::Snapshot,
            name: "master1".to_owned(),
            address: "10.1.1.101".to_owned(),
            peer_url: "https://10.1.1.101:2380".to_owned(),
            initial_cluster: "master1=https://10.1.1.101:2380".to_owned(),
            sha256: "f069".to_owned(),
            left_behind: [MemberId(0x2a), MemberId(0x1f)].into(),
        }
    }

    fn state(part: Part, marks: &[&str]) -> Progress {
        let settings = settings(part).to_text();
        let settings = settings.lines().map(|line| format!("set {line}"));
        let marks = marks.iter().map(|mark| format!("mark {mark}"));
        let lines: Vec<String> = settings.chain(marks).collect();
        Progress::parse(&lines.join("\n"))
    }

    #[test]
    fn settings_read_back_and_lack_nothing() {
        for part in [Part::Member, Part::Bystander] {
            let text = settings(part).to_text();
            assert_eq!(Settings::parse(&text), Some(settings(part)));
            let needed = |line: &&str| !line.starts_with("way") && !line.starts_with("left-behind");
            for line in text.lines().filter(needed) {
                assert_eq!(
                    Settings::parse(&text.replace(line, "")),
                    None,
                    "without {line}"
                );
            }
        }
    }

    #[test]
    fn the_way_is_a_snapshot_unless_it_says_otherwise() {
        let text = settings(Part::Member).to_text();
        assert_eq!(
            Settings::parse(&text.replace("way snapshot\n", "")),
            Some(settings(Part::Member)),
            "as an older quorate wrote it"
        );
        let forced = Settings {
            way: Way::ForceNewCluster,
            ..settings(Part::Member)
        };
        assert_eq!(Settings::parse(&forced.to_text()), Some(forced));
        assert_eq!(
            Settings::parse(&text.replace("way snapshot", "way unknown")),
            None
        );
    }

    #[test]
    fn the_furthest_mark_counts() {
        assert_eq!(Progress::parse(""), Progress::default());
        let progress = state(Part::Member, &["stopped", "aside"]);
        assert!(progress.is_past(Stage::Stopped) && progress.is_past(Stage::Aside));
        assert!(!progress.is_past(Stage::Restored) && progress.is_under_way());
        assert!(!state(Part::Member, &["finished"]).is_under_way());
        assert!(state(Part::Member, &["stopped", "abort"]).is_aborting);
        assert!(state(Part::Member, &["rebuilt"]).is_rebuilt);
    }

    #[test]
    fn a_bystander_stops_and_no_more() {
        let progress = state(Part::Bystander, &[]);
        assert!(!progress.is_past(Stage::Stopped) && !progress.is_past(Stage::Aside));
        assert!(progress.is_past(Stage::Restored) && progress.is_past(Stage::Apiserver));
        assert!(
            !progress.is_past(Stage::Finished),
            "it must not look under way for ever"
        );
        assert!(!state(Part::Bystander, &["aside", "finished"]).is_under_way());
    }
}
