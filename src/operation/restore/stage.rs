//! Laying the snapshot and the settings of a restore on the hosts that take part: masters, and members of an external etcd.

use std::collections::{BTreeMap, BTreeSet};

use futures::future::join_all;

use crate::cluster::etcd::{MemberId, peer_url};
use crate::cluster::restore::{
    DIRECTORY, Part, Progress, Runner, SETTINGS, SNAPSHOT, Settings, Way, state_script,
};
use crate::error::Error;
use crate::host::command::{Command, Script};
use crate::host::error::HostError;
use crate::host::file::RemoteFile;
use crate::host::{Host, Hosts, transfer};
use crate::inventory::{Inventory, Node, Role};
use crate::report::eprintln;

/// How far each connected host is that a restore concerns, by name.
pub type States = BTreeMap<String, Progress>;

/// Where the snapshot comes from.
pub struct Source<'a> {
    /// The backup's id, or what it is of.
    pub id: String,
    /// SHA-256 of the snapshot; empty where there is none.
    pub sha256: String,
    /// Bytes.
    pub size: u64,
    /// Where its bytes are.
    pub content: Content<'a>,
    /// What the data made from it leaves behind.
    pub left_behind: BTreeSet<MemberId>,
}

/// Where a snapshot's bytes are.
#[derive(Clone, Copy)]
pub enum Content<'a> {
    /// Here: opens it from the beginning.
    Here(&'a (dyn Fn() -> Result<Box<dyn std::io::Read + Send>, Error> + Sync)),
    /// On the only master that gets it, at this path.
    OnHost(&'a str),
    /// There is none: the only member's own old data is taken.
    OwnData,
}

const WAIT: &str = r"
for unit in quorate-restore-stage quorate-restore-data; do
    while systemctl is-active --quiet $unit || systemctl show -p ActiveState $unit | grep -q activating; do sleep 0.3; done
done
";

/// Whether a restore concerns a host: a master, or a member of an external etcd.
pub fn is_concerned(node: &Node) -> bool {
    node.role == Role::Master || node.etcd.is_some()
}

/// The connected hosts that a restore concerns.
pub(super) fn concerned(hosts: &Hosts) -> impl Iterator<Item = &Host> {
    hosts.iter().filter(|host| is_concerned(&host.node))
}

/// Waits for what an interrupted run left working, then reads how far each host is.
pub async fn states(hosts: &Hosts) -> Result<States, Error> {
    let read = concerned(hosts).map(async |host| {
        let wait = Command::script(Script::new("restore-wait", WAIT))
            .deadline(std::time::Duration::from_secs(1800));
        host.succeed(&wait).await?;
        let said = host.succeed(&Command::script(state_script())).await?;
        Ok((host.node.name.clone(), Progress::parse(&said.text())))
    });
    let mut states = States::new();
    for (host, state) in concerned(hosts).zip(join_all(read).await) {
        let (name, state) = state.map_err(|source: HostError| read_error(host, source))?;
        states.insert(name, state);
    }
    Ok(states)
}

/// The token of the restore that has not ended on every host. One that no member was told of yet has begun nowhere: it is laid
/// anew.
pub fn under_way(states: &States) -> Option<&str> {
    let has_begun = |state: &&Progress| state.is_member() || state.reached.is_some();
    let mut states = states.values().filter(|state| state.is_under_way());
    let state = states.find(has_begun)?;
    Some(&state.settings.as_ref()?.token)
}

/// Whether a host has been laid what it needs for that restore. One that was the first to finish it has its data: to
/// restore it again would set it back behind the others.
pub fn takes_part(state: &Progress, token: &str) -> bool {
    let own = state.settings.as_ref();
    own.is_some_and(|settings| settings.token == token)
}

/// Lays snapshot and settings on every host that has them not yet. What an earlier, finished restore left is put away.
///
/// The settings are written last: a host without them has nothing to restore. Members are told last: when one is, all that must
/// stop have been. An interrupted restore keeps its token.
pub async fn lay(
    inventory: &Inventory,
    hosts: &Hosts,
    members: &[&Host],
    states: &States,
    source: &Source<'_>,
) -> Result<(), Error> {
    let under_way = under_way(states);
    let token = under_way.map_or_else(
        || format!("{}-{:08x}", source.id, rand::random::<u32>()),
        str::to_owned,
    );
    let initial_cluster: Vec<String> = members
        .iter()
        .map(|host| format!("{}={}", host.node.name, own_peer_url(&host.node)))
        .collect();
    let initial_cluster = initial_cluster.join(",");
    let needy = concerned(hosts).filter(|host| {
        !states
            .get(&host.node.name)
            .is_some_and(|state| under_way.is_some_and(|token| takes_part(state, token)))
    });
    let is_member = |host: &Host| {
        let name = &host.node.name;
        members.iter().any(|member| member.node.name == *name)
    };
    let (last, first): (Vec<&Host>, Vec<&Host>) = needy.partition(|host| is_member(host));
    let lay = async |host: &Host| {
        let settings = Settings {
            id: source.id.clone(),
            token: token.clone(),
            part: if is_member(host) {
                Part::Member
            } else if inventory.runs_etcd(&host.node) {
                Part::Bystander
            } else {
                Part::Client
            },
            runner: Runner::of(&inventory.etcd),
            has_control_plane: host.node.role == Role::Master,
            data: inventory.etcd_data_directory().to_owned(),
            way: match source.content {
                Content::OwnData => Way::ForceNewCluster,
                Content::Here(_) | Content::OnHost(_) => Way::Snapshot,
            },
            name: host.node.name.clone(),
            address: host.node.address.to_string(),
            peer_url: own_peer_url(&host.node),
            initial_cluster: initial_cluster.clone(),
            sha256: source.sha256.clone(),
            left_behind: source.left_behind.clone(),
        };
        lay_on(host, &settings, source).await
    };
    for hosts in [first, last] {
        for result in join_all(hosts.into_iter().map(&lay)).await {
            result?;
        }
    }
    Ok(())
}

/// The peer URL of a host's member.
fn own_peer_url(node: &Node) -> String {
    peer_url(node.etcd.map_or(node.address, |seat| seat.peer_address))
}

const CLEAR: &str = r#"
set -eu
d=$1 needed=$2
# Until a provision has looked at a machine that was rebuilt, every restore must be followed by one.
rebuilt=
[ ! -e "$d/rebuilt" ] || rebuilt=yes
if [ -e "$d/finished" ]; then
    mkdir -p -m 700 /var/lib/quorate/restored
    mv -T "$d" "/var/lib/quorate/restored/$(sed -n 's/^token //p' "$d/settings")"
fi
rm -rf "$d"
mkdir -p -m 700 "$d"
[ -z "$rebuilt" ] || : >"$d/rebuilt"
free=$(df -PB1 "$d" | awk 'NR == 2 { print $4 }')
[ "$free" -ge "$needed" ] || { echo "$d has $free bytes free, a restore needs $needed" >&2; exit 1; }
"#;

/// Bytes that a restore needs beside etcd's data.
fn needed(settings: &Settings, source: &Source<'_>) -> u64 {
    match settings.part {
        Part::Member | Part::Bystander => source.size * 3,
        Part::Client => 0,
    }
}

async fn lay_on(host: &Host, settings: &Settings, source: &Source<'_>) -> Result<(), Error> {
    let clear = Script::new("restore-clear", CLEAR)
        .arg(DIRECTORY)
        .arg(needed(settings, source).to_string());
    let failed = |error: HostError| read_error(host, error);
    host.succeed(&Command::script(clear))
        .await
        .map_err(failed)?;
    if settings.part == Part::Member {
        let laid = match source.content {
            Content::Here(open) => {
                let name = &host.node.name;
                eprintln(&format!(
                    "{name}: laying the snapshot there, {} bytes",
                    source.size
                ));
                transfer::upload(host, SNAPSHOT, open()?).await?
            }
            Content::OnHost(path) => {
                let copy = Command::new("cp").args(["--", path, SNAPSHOT]);
                host.succeed(&copy).await.map_err(failed)?;
                transfer::sha256(host, SNAPSHOT).await.map_err(failed)?
            }
            Content::OwnData => source.sha256.clone(),
        };
        if laid != source.sha256 {
            return Err(Error::refused(format!(
                "the snapshot's SHA-256 is {laid}, it should be {}: it is damaged",
                source.sha256
            )));
        }
    }
    let file = RemoteFile {
        path: SETTINGS.into(),
        content: settings.to_text().into_bytes(),
        mode: 0o600,
        owner: "root:root".to_owned(),
        check: None,
        undo: None,
    };
    host.transport
        .write(std::slice::from_ref(&file))
        .await
        .map_err(|error| read_error(host, error))
}

pub(super) fn read_error(host: &Host, source: HostError) -> Error {
    Error::Read {
        host: host.node.name.clone(),
        source,
    }
}
