//! The last gate: a snapshot of etcd, taken now and proved by a trial restore, and kept on the master that took it.

use super::gates::Site;
use crate::cluster::snapshot;
use crate::engine::event::RunId;
use crate::error::Error;
use crate::host::Hosts;
use crate::host::command::{Command, Script};
use crate::operation::Session;
use crate::report::eprintln;

/// Keeps `$1` as `$2`; what an earlier attempt at the same release kept is older and stays in its stead.
const KEEP: &str = r#"
if [ -e "$2" ]; then rm -f "$1"; else mkdir -p "$(dirname "$2")" && mv "$1" "$2"; fi
"#;

/// Takes and proves it on a master that is well and does not lead, so that nobody waits for it.
pub(super) async fn take(session: &Session, hosts: &Hosts, site: &Site<'_>) -> Result<(), Error> {
    let is_well = |name: &str| !site.is_under_way(name);
    let follows = |master: &&crate::cluster::plane::Member<'_>| {
        master
            .etcd
            .as_ref()
            .is_some_and(|view| view.leader != Some(view.member_id))
    };
    let living = || {
        site.plane
            .living()
            .filter(|master| is_well(&master.node.name))
    };
    let master = living()
        .find(follows)
        .or_else(|| living().next())
        .or_else(|| site.plane.living().next());
    let Some(host) = master.and_then(|master| hosts.get(&master.node.name)) else {
        return Err(Error::refused(
            "no master is well enough to take a snapshot of etcd".to_owned(),
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
    let kept = format!(
        "/var/lib/quorate/upgrade/before-{}.db",
        session.inventory.kubernetes
    );
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
