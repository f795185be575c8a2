//! The last gate: a snapshot of etcd, taken now and proved by a trial restore, and kept on the host that took it.

use super::gates::Site;
use crate::cluster::plane::{Member, Plane};
use crate::cluster::snapshot;
use crate::engine::event::RunId;
use crate::error::Error;
use crate::host::Hosts;
use crate::host::command::{Command, Script};
use crate::inventory::etcd::EtcdVersion;
use crate::inventory::version::KubeVersion;
use crate::inventory::{EtcdTopology, Node};
use crate::report::eprintln;

/// Keeps `$1` as `$2`; what an earlier attempt at the same release kept is older and stays in its stead.
const KEEP: &str = r#"
if [ -e "$2" ]; then rm -f "$1"; else mkdir -p "$(dirname "$2")" && mv "$1" "$2"; fi
"#;

/// Takes it before Kubernetes is upgraded.
pub(super) async fn before_kubernetes(
    hosts: &Hosts,
    site: &Site<'_>,
    target: KubeVersion,
) -> Result<(), Error> {
    let node = match site.inventory.etcd {
        EtcdTopology::Stacked => stacked(site),
        EtcdTopology::External(_) => external(&site.plane),
    };
    take(hosts, node, &target.to_string()).await
}

/// Takes it before an external etcd is upgraded.
pub(super) async fn before_etcd(
    hosts: &Hosts,
    plane: &Plane<'_>,
    target: EtcdVersion,
) -> Result<(), Error> {
    take(hosts, external(plane), &format!("etcd-{target}")).await
}

/// A master that is well and does not lead, so that nobody waits for it.
fn stacked<'a>(site: &Site<'a>) -> Option<&'a Node> {
    let is_well = |name: &str| !site.is_under_way(name);
    let follows = |master: &&Member<'_>| master.etcd.as_ref().is_some_and(|view| !view.is_leader());
    let living = || {
        site.plane
            .living()
            .filter(|master| is_well(&master.node.name))
    };
    let master = living()
        .find(follows)
        .or_else(|| living().next())
        .or_else(|| site.plane.living().next());
    master.map(|master| master.node)
}

/// The member that a snapshot loads least.
fn external<'p>(plane: &'p Plane<'_>) -> Option<&'p Node> {
    let best = snapshot::best(plane)?;
    best.view
        .is_some_and(|view| view.is_healthy)
        .then_some(best.node)
}

/// Takes and proves it on that host, and keeps it as `before-NAME.db`.
async fn take(hosts: &Hosts, node: Option<&Node>, before: &str) -> Result<(), Error> {
    let Some(host) = node.and_then(|node| hosts.get(&node.name)) else {
        return Err(Error::refused(
            "no member of etcd is well enough to take a snapshot of it: see `quorate status`",
        ));
    };
    let run = RunId::new().to_string();
    let note = |line: String| eprintln(&line);
    let name = &host.node.name;
    match snapshot::take_proved(host, &run, snapshot::From::Living, &note).await {
        Ok(_) => {}
        Err(error) => {
            for line in error.output().unwrap_or_default().lines() {
                eprintln(&format!("  | {line}"));
            }
            return Err(Error::refused(format!(
                "{name}: there is no proved snapshot of etcd: {}",
                crate::engine::chain(&error)
            )));
        }
    }
    let kept = format!("/var/lib/quorate/upgrade/before-{before}.db");
    let keep = Script::new("upgrade-snapshot-keep", KEEP)
        .arg(snapshot::PATH)
        .arg(&kept);
    host.succeed(&Command::script(keep))
        .await
        .map_err(|source| Error::Read {
            host: name.clone(),
            source,
        })?;
    eprintln(&format!(
        "{name}: the proved snapshot of etcd is kept as {kept}"
    ));
    Ok(())
}
