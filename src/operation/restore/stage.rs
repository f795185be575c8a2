//! Laying the snapshot and the settings of a restore on the masters.

use std::collections::BTreeMap;

use futures::future::join_all;

use crate::cluster::etcd::peer_url;
use crate::cluster::restore::{
    DIRECTORY, Part, Progress, SETTINGS, SNAPSHOT, Settings, Way, state_script,
};
use crate::error::Error;
use crate::host::command::{Command, Script};
use crate::host::error::HostError;
use crate::host::file::RemoteFile;
use crate::host::{Host, Hosts, transfer};
use crate::inventory::Role;
use crate::report::eprintln;

/// How far each connected master is, by name.
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

/// Waits for what an interrupted run left working, then reads how far each master is.
pub async fn states(hosts: &Hosts) -> Result<States, Error> {
    let masters = hosts.iter().filter(|host| host.node.role == Role::Master);
    let read = masters.map(async |host| {
        let wait = Command::script(Script::new("restore-wait", WAIT))
            .deadline(std::time::Duration::from_secs(1800));
        host.succeed(&wait).await?;
        let said = host.succeed(&Command::script(state_script())).await?;
        Ok((host.node.name.clone(), Progress::parse(&said.text())))
    });
    let mut states = States::new();
    for (host, state) in hosts
        .iter()
        .filter(|host| host.node.role == Role::Master)
        .zip(join_all(read).await)
    {
        let (name, state) = state.map_err(|source: HostError| read_error(host, source))?;
        states.insert(name, state);
    }
    Ok(states)
}

/// The token of the restore that has not ended on every master.
pub fn under_way(states: &States) -> Option<&str> {
    let state = states.values().find(|state| state.is_under_way())?;
    Some(&state.settings.as_ref()?.token)
}

/// Whether a master has been laid what it needs for that restore. One that was the first to finish it has its data: to
/// restore it again would set it back behind the others.
pub fn takes_part(state: &Progress, token: &str) -> bool {
    let own = state.settings.as_ref();
    own.is_some_and(|settings| settings.token == token)
}

/// Lays snapshot and settings on every master that has them not yet. What an earlier, finished restore left is put away.
///
/// The settings are written last: a master without them has nothing to restore. An interrupted restore keeps its token.
pub async fn lay(
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
        .map(|host| format!("{}={}", host.node.name, peer_url(host.node.address)))
        .collect();
    let initial_cluster = initial_cluster.join(",");
    let masters = hosts.iter().filter(|host| host.node.role == Role::Master);
    let needy = masters.filter(|host| {
        !states
            .get(&host.node.name)
            .is_some_and(|state| under_way.is_some_and(|token| takes_part(state, token)))
    });
    let laid = needy.map(async |host| {
        let is_member = members
            .iter()
            .any(|member| member.node.name == host.node.name);
        let settings = Settings {
            id: source.id.clone(),
            token: token.clone(),
            part: if is_member {
                Part::Member
            } else {
                Part::Bystander
            },
            way: match source.content {
                Content::OwnData => Way::ForceNewCluster,
                Content::Here(_) | Content::OnHost(_) => Way::Snapshot,
            },
            name: host.node.name.clone(),
            address: host.node.address.to_string(),
            peer_url: peer_url(host.node.address),
            initial_cluster: initial_cluster.clone(),
            sha256: source.sha256.clone(),
        };
        lay_on(host, &settings, source).await
    });
    for result in join_all(laid).await {
        result?;
    }
    Ok(())
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

async fn lay_on(host: &Host, settings: &Settings, source: &Source<'_>) -> Result<(), Error> {
    let clear = Script::new("restore-clear", CLEAR)
        .arg(DIRECTORY)
        .arg((source.size * 3).to_string());
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
