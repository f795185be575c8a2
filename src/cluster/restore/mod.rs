//! How far a restore of etcd has come on a host, and the scripts that bring it further.
//!
//! What a restore is made of lies in `/var/lib/quorate/restore` of each master, and of each member of an external etcd: the
//! snapshot, the settings (which backup, which members, which token) and one mark per stage reached. So any run, and any
//! operator's computer, can go on with it or go back. Old data stays beside the new, as `quorate-old-<token>` in etcd's data
//! directory.

pub mod agreement;

use std::collections::BTreeSet;
use std::fmt;

use camino::{Utf8Path, Utf8PathBuf};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::etcd::MemberId;
use crate::host::command::Script;
use crate::inventory::EtcdTopology;

/// The directory of a restore on a master.
pub const DIRECTORY: &str = "/var/lib/quorate/restore";

/// The snapshot in it.
pub const SNAPSHOT: &str = "/var/lib/quorate/restore/snapshot.db";

/// The settings in it.
pub const SETTINGS: &str = "/var/lib/quorate/restore/settings";

/// A file beside etcd's own in the data that a restore makes, so that it goes where the data goes: a [`Past`], when it was
/// made and the ids of what it has left behind. `data`: etcd's data directory. After a restore of a snapshot that is the
/// cluster's id before, since the restored one has another; after
/// `--force-new-cluster`, which keeps it, the ids of the members that were given up. None of them can ever be right again: a
/// member that joins later gets an id of its own.
#[must_use]
pub fn left_behind(data: &Utf8Path) -> Utf8PathBuf {
    data.join("member/quorate-left-behind")
}

/// What restored data says of its past: the line in [`left_behind`].
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

/// The stages, in order. A stage begins on any host only when the one before has ended on all.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema,
)]
#[serde(rename_all = "kebab-case")]
pub enum Stage {
    /// The static pods of the control plane are gone, their manifests out of kubelet's sight, and so is an etcd that systemd
    /// runs, which no boot starts any more.
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
}

/// What a restore does with the etcd of a host.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Part {
    /// It gets the data.
    Member,
    /// It stops, and joins again afterwards.
    Bystander,
    /// There is none: a master whose etcd is elsewhere.
    Client,
}

impl Part {
    fn name(self) -> &'static str {
        match self {
            Self::Member => "member",
            Self::Bystander => "bystander",
            Self::Client => "client",
        }
    }
}

/// Who runs etcd.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Runner {
    /// kubelet, as a static pod of a master.
    Kubelet,
    /// systemd: etcd is a cluster of its own.
    Systemd,
}

impl Runner {
    /// Who does according to the inventory.
    #[must_use]
    pub fn of(topology: &EtcdTopology) -> Self {
        match topology {
            EtcdTopology::Stacked => Self::Kubelet,
            EtcdTopology::External(_) => Self::Systemd,
        }
    }

    fn name(self) -> &'static str {
        match self {
            Self::Kubelet => "kubelet",
            Self::Systemd => "systemd",
        }
    }
}

/// What a member's new data is made from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Way {
    /// The snapshot that was laid beside it.
    Snapshot,
    /// Its own old data, by etcd's `--force-new-cluster`.
    ForceNewCluster,
}

/// What a restore of one host is told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settings {
    /// The backup's id, or what the snapshot is of.
    pub id: String,
    /// What tells this restore from any other, in etcd too.
    pub token: String,
    /// What becomes of its etcd.
    pub part: Part,
    /// Who runs etcd.
    pub runner: Runner,
    /// Whether it is a master.
    pub has_control_plane: bool,
    /// Where etcd's data is.
    pub data: Utf8PathBuf,
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
        let way = match self.way {
            Way::Snapshot => "snapshot",
            Way::ForceNewCluster => "force-new-cluster",
        };
        let control_plane = if self.has_control_plane { "yes" } else { "no" };
        format!(
            "id {}\ntoken {}\nrole {}\nrunner {}\ncontrol-plane {control_plane}\ndata {}\nway {way}\nname {}\naddress {}\npeer-url {}\ninitial-cluster {}\nsha256 {}\nleft-behind {}\n",
            self.id,
            self.token,
            self.part.name(),
            self.runner.name(),
            self.data,
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
                "client" => Part::Client,
                _ => return None,
            },
            // A restore that an older quorate began is of stacked etcd.
            runner: match value("runner").as_deref() {
                None | Some("kubelet") => Runner::Kubelet,
                Some("systemd") => Runner::Systemd,
                Some(_) => return None,
            },
            has_control_plane: value("control-plane").is_none_or(|it| it == "yes"),
            data: value("data").map_or_else(|| "/var/lib/etcd".into(), Utf8PathBuf::from),
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

    /// Whether the host goes through that stage.
    ///
    /// What is to join again afterwards only stops: its etcd, and where kubelet runs that the control plane with it.
    #[must_use]
    pub fn goes_through(&self, stage: Stage) -> bool {
        match stage {
            Stage::Stopped | Stage::Finished => true,
            Stage::Aside => self.part != Part::Client,
            Stage::Restored | Stage::Etcd => self.part == Part::Member,
            Stage::Apiserver => {
                let has_etcd_elsewhere = self.runner == Runner::Systemd;
                self.has_control_plane && (has_etcd_elsewhere || self.part == Part::Member)
            }
        }
    }
}

/// How far a host is.
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
    /// The image of etcd that its manifest names, in place or parked, or `etcd:` and the version that systemd runs; `None`: it
    /// has none.
    pub image: Option<String>,
    /// Whether it has an apiserver's manifest, in place or parked, and none of etcd.
    pub has_apiserver_only: bool,
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
            has_apiserver_only: lines("has").any(|what| what == "apiserver-only"),
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

    /// Whether it has an apiserver that serves when the restore has ended.
    #[must_use]
    pub fn serves(&self) -> bool {
        let settings = self.settings.as_ref();
        settings.is_some_and(|settings| settings.goes_through(Stage::Apiserver))
    }

    /// Whether that stage is reached here, or is none for this host.
    #[must_use]
    pub fn is_past(&self, stage: Stage) -> bool {
        let settings = self.settings.as_ref();
        self.reached >= Some(stage) || settings.is_some_and(|it| !it.goes_through(stage))
    }
}

/// Reads how far a host is; changes nothing.
#[must_use]
pub fn state_script() -> Script {
    Script::new("restore-state", include_str!("state.sh"))
}

/// Brings a host to a stage.
#[must_use]
pub fn stage_script(stage: Stage, runner: Runner) -> Script {
    if stage == Stage::Restored {
        let body = match runner {
            Runner::Kubelet => concat!(
                include_str!("../snapshot/image.sh"),
                include_str!("../snapshot/scratch.sh"),
                include_str!("data.sh")
            ),
            Runner::Systemd => concat!(
                include_str!("../snapshot/external.sh"),
                include_str!("../snapshot/scratch.sh"),
                include_str!("data.sh")
            ),
        };
        return Script::new("restore-data", body);
    }
    Script::new("restore-stage", include_str!("stage.sh")).arg(stage.name())
}

/// A step back: `abort-stop`, `abort-data`, `abort-start`, each on all hosts before the next begins.
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
            runner: Runner::Kubelet,
            has_control_plane: true,
            data: "/var/lib/etcd".into(),
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
        let newer = ["way", "left-behind", "runner", "control-plane", "data"];
        for part in [Part::Member, Part::Bystander, Part::Client] {
            let text = settings(part).to_text();
            assert_eq!(Settings::parse(&text), Some(settings(part)));
            let needed = |line: &&str| !newer.iter().any(|word| line.starts_with(word));
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

    /// The stages of a host whose etcd systemd runs.
    fn stages(part: Part, has_control_plane: bool) -> Vec<&'static str> {
        let settings = Settings {
            runner: Runner::Systemd,
            has_control_plane,
            data: "/data/etcd".into(),
            ..settings(part)
        };
        assert_eq!(Settings::parse(&settings.to_text()), Some(settings.clone()));
        let stages = Stage::ALL.into_iter();
        let stages = stages.filter(|stage| settings.goes_through(*stage));
        stages.map(Stage::name).collect()
    }

    #[test]
    fn where_systemd_runs_etcd_each_host_goes_through_what_it_has() {
        let (data, api) = (["aside", "restored", "etcd"], "apiserver");
        let all = [&["stopped"], &data[..], &[api, "finished"]].concat();
        assert_eq!(stages(Part::Member, true), all);
        let etcd_alone = [&["stopped"], &data[..], &["finished"]].concat();
        assert_eq!(stages(Part::Member, false), etcd_alone);
        assert_eq!(stages(Part::Client, true), ["stopped", api, "finished"]);
        let joins_again = ["stopped", "aside", api, "finished"];
        assert_eq!(stages(Part::Bystander, true), joins_again);
    }
}
