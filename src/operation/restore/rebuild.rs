//! Blank machines in the place of lost masters: the base from `provision`, everything else from the backup.
//!
//! The CA, the keys that sign service accounts, kubelet's own certificate: they all come from the backup's tar of the host
//! of that name, so Nodes, workers and kubeconfigs stay what they were.

use std::sync::Arc;
use std::time::Instant;

use super::stage::{States, read_error};
use crate::action::AnyAction;
use crate::backup::held::Held;
use crate::backup::manifest::Manifest;
use crate::backup::seal::Keys;
use crate::cluster::restore::DIRECTORY;
use crate::engine::meter::Meter;
use crate::engine::reader::Reader;
use crate::error::Error;
use crate::host::command::{Command, Script};
use crate::host::{Host, Hosts, transfer};
use crate::operation::Session;
use crate::operation::provision::{Work, carry_out};
use crate::report::eprintln;

/// Where a host's files lie before they are put in place.
const TAR: &str = "/var/lib/quorate/rebuild.tar";

/// Puts the files of `$1` in place, manifests out of kubelet's sight in `$2`: nothing may start before its data is there.
/// What the base has just made, and what belongs to the machine, is left alone. The manifests come last and all at once:
/// until they are there the machine counts as blank, and all of this is done again.
const UNPACK: &str = r#"
set -eu
tar=$1 restore=$2
: >"$restore/rebuilt"
rm -rf "$restore/unpacked"
mkdir -p -m 700 "$restore/unpacked"
tar --extract --file="$tar" --directory=/ --preserve-permissions --numeric-owner --exclude=etc/machine-id \
    --exclude=etc/containerd --exclude=etc/kubernetes/manifests --exclude=etc/kubernetes/quorate/joining \
    --exclude=etc/kubernetes/quorate/founding
tar --extract --file="$tar" --directory="$restore/unpacked" --strip-components=2 --preserve-permissions --numeric-owner \
    etc/kubernetes/manifests
mkdir -p /etc/kubernetes/manifests
mkdir -p -m 700 /var/lib/etcd
sync
mv -T "$restore/unpacked/manifests" "$restore/manifests"
rmdir "$restore/unpacked"
rm -f "$tar"
sync
systemctl enable kubelet
systemctl restart kubelet
"#;

/// Those of the masters that have no etcd.
pub(super) fn blank<'h>(masters: &[&'h Host], states: &States) -> Vec<&'h Host> {
    let is_blank = |host: &&&Host| {
        states
            .get(&host.node.name)
            .is_some_and(|state| state.image.is_none())
    };
    masters.iter().filter(is_blank).copied().collect()
}

/// Everything of `provision` that comes before the control plane, on every host that answers.
pub(super) async fn base(
    session: &Session,
    hosts: &Hosts,
    meter: &Arc<Meter>,
) -> Result<(), Error> {
    let mut plan = session.plan("provision")?;
    let founds = |action: &AnyAction| matches!(action, AnyAction::ControlPlaneInit(_));
    let control_plane = plan
        .plays
        .iter()
        .find(|play| play.steps.iter().any(|step| founds(&step.action)))
        .map_or(usize::MAX, |play| play.number);
    plan.plays.retain(|play| play.number < control_plane);
    let reader = Reader::new(hosts);
    let work = Work {
        operation: "restore",
        plan: &plan,
        hosts,
        reader: &reader,
        meter,
        begun: Instant::now(),
        holds: false,
    };
    carry_out(session, &work).await
}

/// The files of blank masters, from the backup.
pub(super) async fn files(
    blank: &[&Host],
    held: &Held,
    keys: &Keys,
    manifest: &Manifest,
) -> Result<(), Error> {
    for host in blank {
        let name = &host.node.name;
        eprintln(&format!(
            "{name}: laying the files of {name} from the backup there"
        ));
        let tar = held.content(manifest, keys, &format!("{name}.tar"))?;
        let clear = Command::new("rm").args(["-f", "--", TAR]);
        host.succeed(&clear)
            .await
            .map_err(|source| read_error(host, source))?;
        transfer::upload(host, TAR, tar.as_slice()).await?;
        let unpack = Script::new("restore-unpack", UNPACK)
            .arg(TAR)
            .arg(DIRECTORY);
        host.succeed(&Command::script(unpack))
            .await
            .map_err(|source| read_error(host, source))?;
    }
    Ok(())
}
