//! kubeadm's long commands as jobs: they survive the loss of the connection and leave a mark while they are not done.
//!
//! `init` and `join` put down `/etc/kubernetes/quorate/founding` or `joining` before they change anything, and remove it when
//! kubeadm has returned 0. So a host that was cut off in the middle (killed, rebooted, out of memory) says so itself, and
//! nobody has to guess from the files that kubeadm happened to have written by then.

use std::time::Duration;

use super::kubelet::beside_kubelet;
use crate::action::{ActionError, Effect};
use crate::host::command::Script;
use crate::host::job::Job;
use crate::inventory::version::KubeVersion;
use crate::inventory::{EtcdTopology, Inventory};
use crate::template::kubeadm_flags;

const INIT: &str = concat!(
    beside_kubelet!(),
    r#"
set -eu
validate=$1; shift
quorate=/etc/kubernetes/quorate
config=$QUORATE_JOB/kubeadm.yaml
umask 077
{ cat "$QUORATE_JOB/init.yaml"; echo ---; cat $quorate/cluster.yaml; } >"$config"
umask 022
applied=$(sha256sum <$quorate/cluster.yaml)
if [ "$validate" = validate ]; then
    kubeadm config validate --config "$config"
fi
: >$quorate/founding
sync $quorate/founding
beside_kubelet kubeadm init --config "$config" --skip-token-print --skip-certificate-key-print "$@"
echo "${applied%% *}" >$quorate/applied
rm -f $quorate/founding
"#
);

const JOIN: &str = concat!(
    beside_kubelet!(),
    r#"
set -eu
validate=$1; shift
quorate=/etc/kubernetes/quorate pki=/etc/kubernetes/pki
mkdir -p $quorate
if [ "$validate" = validate ]; then
    kubeadm config validate --config "$QUORATE_JOB/join.yaml"
fi
: >$quorate/joining
sync $quorate/joining
if [ -e "$QUORATE_JOB/ca.key" ]; then
    mkdir -p $pki/etcd
    for name in ca.crt sa.pub front-proxy-ca.crt etcd-ca.crt; do
        [ -e "$QUORATE_JOB/$name" ] || continue
        install -m 644 "$QUORATE_JOB/$name" "$pki/$(echo $name | sed s,^etcd-,etcd/,)"
    done
    for name in ca.key sa.key front-proxy-ca.key etcd-ca.key; do
        [ -e "$QUORATE_JOB/$name" ] || continue
        install -m 600 "$QUORATE_JOB/$name" "$pki/$(echo $name | sed s,^etcd-,etcd/,)"
    done
fi
beside_kubelet kubeadm join --config "$QUORATE_JOB/join.yaml" "$@"
if [ -s "$QUORATE_JOB/applied" ]; then
    install -m 644 "$QUORATE_JOB/applied" $quorate/applied
fi
rm -f $quorate/joining
"#
);

const RESET: &str = r#"
set -u
socket=$1 data=$2
quorate=/etc/kubernetes/quorate cni=/etc/cni/net.d/10-quorate.conflist
rm -f /etc/kubernetes/admin.conf /etc/kubernetes/super-admin.conf
kubeadm reset --force --cri-socket "$socket" --skip-phases=remove-etcd-member || exit 1
if [ -n "$data" ] && [ -d "$data" ]; then
    find "$data" -mindepth 1 -delete || exit 1
fi
if [ -e $cni ]; then
    rm -f $cni
    ip link delete cni0 2>/dev/null
fi
rm -f /etc/kubernetes/bootstrap-kubelet.conf
rm -f $quorate/founding $quorate/joining $quorate/applied $quorate/kubelet-applied $quorate/backup/kubelet-config.yaml
exit 0
"#;

/// `$1`: verb, `$2`: release, `$3`: kubeadm's flag for patches, then further flags. Patches are not remembered by kubeadm: they
/// are passed each time.
///
/// kubeadm writes etcd's manifest as if the member founded its cluster. What kept a wiped member from founding a second one
/// (`--initial-cluster` with all, `existing`) is put back, before which kubelet starts etcd with kubeadm's flags for a moment.
const UPGRADE: &str = r#"
set -eu
verb=$1 release=$2 patches=$3; shift 3
quorate=/etc/kubernetes/quorate
if [ -d /etc/kubernetes/patches ]; then
    set -- "$@" "--$patches=/etc/kubernetes/patches"
fi
mkdir -p $quorate
etcd=/etc/kubernetes/manifests/etcd.yaml
founding() { grep -e ' --initial-cluster=' -e ' --initial-cluster-state=' "$1"; }
if [ -e $etcd ] && [ ! -e $quorate/etcd-flags ]; then
    founding $etcd >$quorate/etcd-flags.new
    mv $quorate/etcd-flags.new $quorate/etcd-flags
fi
echo "$release" >$quorate/upgrading
sync $quorate/upgrading
case $verb in
apply) kubeadm upgrade apply "$release" --yes "$@" ;;
node) kubeadm upgrade node "$@" ;;
esac
if [ -e $etcd ] && [ "$(founding $etcd)" != "$(cat $quorate/etcd-flags)" ]; then
    kept=$(cat $quorate/etcd-flags)
    export kept
    awk '/ --initial-cluster=/ { print ENVIRON["kept"]; next } / --initial-cluster-state=/ { next } { print }' $etcd >$quorate/etcd.yaml
    chmod 600 $quorate/etcd.yaml
    mv -f $quorate/etcd.yaml $etcd
fi
if [ -e $quorate/applied ] && [ -e $quorate/cluster.yaml ]; then
    applied=$(sha256sum <$quorate/cluster.yaml)
    echo "${applied%% *}" >$quorate/applied
fi
echo "$release" >$quorate/upgraded
rm -f $quorate/upgrading $quorate/etcd-flags
"#;

const FOLLOW: &str = "echo 'the unit of the earlier run had ended'; exit 0";

/// What of a half-done init is in the way of doing it again.
const LEFT_BY_INIT: &str = "Port-6443,Port-10250,Port-10257,Port-10259,Port-2379,Port-2380,\
FileAvailable--etc-kubernetes-manifests-kube-apiserver.yaml,\
FileAvailable--etc-kubernetes-manifests-kube-controller-manager.yaml,\
FileAvailable--etc-kubernetes-manifests-kube-scheduler.yaml,\
FileAvailable--etc-kubernetes-manifests-etcd.yaml,\
DirAvailable--var-lib-etcd";

/// Whether an init starts from nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Start {
    /// Nothing was there.
    Fresh,
    /// An earlier one did not finish: what it left is no error.
    Continued,
}

/// `kubeadm init` with this InitConfiguration and the host's `cluster.yaml`.
#[must_use]
pub fn init(
    inventory: &Inventory,
    start: Start,
    config: String,
) -> (Script, Vec<(String, Vec<u8>)>) {
    let mut flags = kubeadm_flags(inventory, "init");
    let ignores_all = flags.iter().any(|flag| flag.ends_with("=all"));
    if start == Start::Continued && !ignores_all {
        flags.push(format!("--ignore-preflight-errors={LEFT_BY_INIT}"));
    }
    let script = with_flags(Script::new("kubeadm-init", INIT), inventory, flags);
    (script, vec![("init.yaml".to_owned(), config.into_bytes())])
}

/// `kubeadm join` with these files: `join.yaml`, for a master also the cluster's CAs and `applied`.
#[must_use]
pub fn join(
    inventory: &Inventory,
    files: Vec<(String, Vec<u8>)>,
) -> (Script, Vec<(String, Vec<u8>)>) {
    let flags = kubeadm_flags(inventory, "join");
    let script = with_flags(Script::new("kubeadm-join", JOIN), inventory, flags);
    (script, files)
}

/// `kubeadm reset`, of the host only.
///
/// kubeadm's own way of leaving etcd is skipped: it only warns when it fails and wipes the data all the same, so members are
/// removed before, by a survivor that proves quorum. Taking its admin.conf away keeps it from waiting for an apiserver that
/// does not answer. Of the CNI only what quorate put there is removed. The data of an external etcd is nowhere near it.
#[must_use]
pub fn reset(inventory: &Inventory) -> Script {
    let data = match inventory.etcd {
        EtcdTopology::Stacked => inventory.etcd_data_directory().as_str(),
        EtcdTopology::External(_) => "",
    };
    Script::new("kubeadm-reset", RESET)
        .arg(cri_socket(inventory.kubernetes))
        .arg(data)
}

/// Which of kubeadm's two upgrades a host needs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Upgrade {
    /// The first master of a release: the stored configuration and the add-ons follow.
    Apply,
    /// Every other host.
    Node,
}

impl Upgrade {
    /// As kubeadm calls it.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Apply => "apply",
            Self::Node => "node",
        }
    }
}

/// `kubeadm upgrade` to the inventory's release.
///
/// While it has not ended well, `/etc/kubernetes/quorate/upgrading` names the release; afterwards the shared configuration of
/// that release counts as applied.
#[must_use]
pub fn upgrade(inventory: &Inventory, verb: Upgrade) -> Script {
    let release = inventory.kubernetes;
    let patches = if release.minor >= 22 {
        "patches"
    } else {
        "experimental-patches"
    };
    let script = Script::new("kubeadm-upgrade", UPGRADE)
        .arg(verb.name())
        .arg(release.to_string())
        .arg(patches);
    let ignored = inventory.kubeadm.ignore_preflight_errors.join(",");
    if ignored.is_empty() {
        return script;
    }
    script.arg(format!("--ignore-preflight-errors={ignored}"))
}

fn cri_socket(version: KubeVersion) -> &'static str {
    if version.minor < 24 {
        "/run/containerd/containerd.sock"
    } else {
        "unix:///run/containerd/containerd.sock"
    }
}

/// `kubeadm config validate` exists from 1.28 on.
fn validation(version: KubeVersion) -> &'static str {
    if version.minor >= 28 { "validate" } else { "" }
}

fn with_flags(script: Script, inventory: &Inventory, flags: Vec<String>) -> Script {
    let script = script.arg(validation(inventory.kubernetes));
    flags.into_iter().fold(script, Script::arg)
}

/// Runs a job on the host of the effect, or follows the one of that name that runs already; a status but 0 is an error.
/// Returns whether it was followed.
pub async fn run(
    effect: &Effect<'_>,
    name: &'static str,
    (script, files): (Script, Vec<(String, Vec<u8>)>),
    deadline: Duration,
) -> Result<bool, ActionError> {
    let job = Job {
        name,
        token: token(effect),
        script,
        files,
        deadline,
    };
    let output = effect.host.transport.job(&job).await?;
    if output.is_success() {
        return Ok(output.followed);
    }
    Err(ActionError::Job {
        what: name.replacen('-', " ", 1),
        host: effect.host.node.name.clone(),
        status: output.status,
        output: crate::text::last_lines(output.output.as_bytes()),
    })
}

/// Waits for the end of a job of an earlier run, whatever its status.
pub async fn follow(
    effect: &Effect<'_>,
    name: &'static str,
    deadline: Duration,
) -> Result<(), ActionError> {
    let job = Job {
        name,
        token: token(effect),
        script: Script::new("kubeadm-follow", FOLLOW),
        files: Vec::new(),
        deadline,
    };
    effect.host.transport.job(&job).await?;
    Ok(())
}

/// Names this start: one task may have to reset and join twice, so run and task alone would find the earlier end.
fn token(effect: &Effect<'_>) -> String {
    format!(
        "{}-{}-{:08x}",
        effect.run,
        effect.task,
        rand::random::<u32>()
    )
}
