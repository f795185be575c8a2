//! Blank machines in the place of lost masters: the base from `provision`, everything else from the backup.
//!
//! The CA, the keys that sign service accounts, kubelet's own certificate: they all come from the backup's tar of the host
//! of that name, so Nodes, workers and kubeconfigs stay what they were.

use std::sync::Arc;
use std::time::Instant;

use super::stage::{States, concerned, read_error};
use crate::action::AnyAction;
use crate::backup::held::Held;
use crate::backup::manifest::Manifest;
use crate::backup::seal::Keys;
use crate::cluster::restore::{DIRECTORY, Progress};
use crate::engine::meter::Meter;
use crate::engine::reader::Reader;
use crate::error::Error;
use crate::host::command::{Command, Script};
use crate::host::{Host, Hosts, transfer};
use crate::inventory::{Inventory, Node, Role};
use crate::operation::Session;
use crate::operation::provision::{Work, carry_out};
use crate::report::eprintln;

/// Where a host's files lie before they are put in place.
const TAR: &str = "/var/lib/quorate/rebuild.tar";

/// Puts the files of `$1` in place, manifests out of kubelet's sight in `$2`: nothing may start before its data is there.
/// What the base has just made, and what belongs to the machine, is left alone. What tells a blank machine from another comes
/// last and all at once, the mark of a member of an external etcd and the manifests: until they are there all of this is done
/// again. `$3`…: what the tar must hold. The user that etcd runs as may have another number here.
const UNPACK: &str = r#"
set -eu
tar=$1 restore=$2
shift 2
holds() { tar --list --file="$tar" "$1" >/dev/null 2>&1; }
for path in "$@"; do
    holds "$path" || { echo "the backup has no $path of this host" >&2; exit 1; }
done
: >"$restore/rebuilt"
rm -rf "$restore/unpacked"
mkdir -p -m 700 "$restore/unpacked"
unpack() {
    tar --extract --file="$tar" --directory="$restore/unpacked" --strip-components=2 --preserve-permissions --numeric-owner "$1"
}
tar --extract --file="$tar" --directory=/ --preserve-permissions --numeric-owner --exclude=etc/machine-id \
    --exclude=etc/containerd --exclude=etc/kubernetes/manifests --exclude=etc/kubernetes/quorate/joining \
    --exclude=etc/kubernetes/quorate/founding --exclude=etc/etcd/membership --exclude=etc/etcd/joining \
    --exclude=etc/etcd/founding
if holds etc/etcd/membership; then
    for name in server peer; do
        chown etcd:etcd /etc/etcd/pki/$name.key /etc/etcd/pki/$name.crt
    done
    systemctl daemon-reload
    unpack etc/etcd/membership
    cp "$restore/unpacked/membership" /etc/etcd/.membership
    sync
    mv -f /etc/etcd/.membership /etc/etcd/membership
    rm "$restore/unpacked/membership"
fi
if holds etc/kubernetes/manifests/kube-apiserver.yaml; then
    unpack etc/kubernetes/manifests
    mkdir -p /etc/kubernetes/manifests
    mkdir -p -m 700 /var/lib/etcd
    sync
    mv -T "$restore/unpacked/manifests" "$restore/manifests"
    systemctl enable kubelet
    systemctl restart kubelet
fi
rmdir "$restore/unpacked"
rm -f "$tar"
sync
"#;

/// Whether a machine was replaced by one that has nothing yet: no etcd where it should have one, or, where etcd is a cluster of
/// its own, no apiserver on a master.
pub(super) fn is_blank(inventory: &Inventory, host: &str, state: &Progress) -> bool {
    let Some(node) = inventory.node(host) else {
        return false;
    };
    let lacks_etcd = inventory.runs_etcd(node) && state.image.is_none();
    lacks_etcd || (is_client(inventory, node) && !state.has_apiserver_only)
}

/// Whether it is a master with an etcd that is a cluster of its own.
fn is_client(inventory: &Inventory, node: &Node) -> bool {
    node.role == Role::Master && inventory.etcd.external().is_some()
}

/// The blank ones of those hosts that are restored; the others join again, but a master has nothing to join where etcd is not
/// its own.
pub(super) fn blank<'h>(
    inventory: &Inventory,
    hosts: &'h Hosts,
    members: &[&Host],
    states: &States,
) -> Vec<&'h Host> {
    let is_restored = |host: &&Host| {
        let name = &host.node.name;
        members.iter().any(|member| member.node.name == *name) || is_client(inventory, &host.node)
    };
    let is_blank = |host: &&Host| {
        let state = states.get(&host.node.name);
        state.is_some_and(|state| is_blank(inventory, &host.node.name, state))
    };
    concerned(hosts)
        .filter(is_restored)
        .filter(is_blank)
        .collect()
}

/// Everything of `provision` that comes before the control plane, on every host that answers; but for what makes etcd's CA and
/// certificates, and begins members: that comes from the backup.
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
    let of_etcd = |action: &AnyAction| {
        matches!(
            action,
            AnyAction::EtcdCa(_)
                | AnyAction::EtcdCertificates(_)
                | AnyAction::EtcdFound(_)
                | AnyAction::EtcdMember(_)
                | AnyAction::EtcdClient(_)
        )
    };
    plan.plays.retain(|play| {
        play.number < control_plane && !play.steps.iter().any(|step| of_etcd(&step.action))
    });
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

/// What a host is nothing without.
fn needed(node: &Node) -> impl Iterator<Item = &'static str> {
    let manifest = "etc/kubernetes/manifests/kube-apiserver.yaml";
    let of_master = (node.role == Role::Master).then_some(manifest);
    let of_member = node.etcd.map(|_| "etc/etcd/membership");
    of_master.into_iter().chain(of_member)
}

/// The files of blank hosts, from the backup.
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
        let unpack = needed(&host.node).fold(unpack, Script::arg);
        host.succeed(&Command::script(unpack))
            .await
            .map_err(|source| read_error(host, source))?;
    }
    Ok(())
}
