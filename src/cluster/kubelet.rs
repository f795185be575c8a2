//! kubelet's configuration on a node: kubeadm copies it from the cluster, which kubelet does not notice by itself.

use crate::host::command::Script;

/// What the inventory says of kubelet, on every worker; the cluster's ConfigMap is made of the same.
pub const WANTED: &str = "/etc/kubernetes/quorate/kubelet.yaml";

/// The digest of [`WANTED`] when kubelet was last brought in line with it.
pub const APPLIED: &str = "/etc/kubernetes/quorate/kubelet-applied";

const FOLLOW: &str = r#"
set -eu
wanted=${1-} applied=${2-}
config=/var/lib/kubelet/config.yaml
in_force=/etc/kubernetes/quorate/backup/kubelet-config.yaml
healthy() {
    port=$(sed -n 's/^healthzPort: *//p' $config)
    tries=0
    until systemctl -q is-active kubelet && curl -s -f -o /dev/null --max-time 3 "http://127.0.0.1:${port:-10248}/healthz"; do
        tries=$((tries + 1))
        [ $tries -lt 60 ] || return 1
        sleep 1
    done
}
mkdir -p -m 700 ${in_force%/*}
[ -e $in_force ] || cp -a $config $in_force
kubeadm upgrade node phase kubelet-config
if ! cmp -s $config $in_force; then
    systemctl restart kubelet
    if ! healthy; then
        journalctl --no-pager -q -o cat -u kubelet -n 5 >&2
        cp -a $in_force $config
        systemctl restart kubelet
        echo "kubelet did not get healthy with its new configuration: the old one is in force again" >&2
        exit 1
    fi
    cp -a $config $in_force.new
    mv -f $in_force.new $in_force
fi
[ -n "$wanted" ] || exit 0
digest=$(sha256sum <"$wanted")
echo "${digest%% *}" >"$applied"
"#;

/// Takes kubelet's configuration from the cluster and restarts kubelet where it differs from the one in force, which is kept
/// aside until the new one proved healthy: so a restart that an interruption prevented is made up for. Puts the old one back
/// if kubelet does not get healthy within a minute.
#[must_use]
pub fn follow() -> Script {
    Script::new("kubelet-follow", FOLLOW)
}

/// The same, and notes the digest of [`WANTED`] in [`APPLIED`].
#[must_use]
pub fn follow_and_note() -> Script {
    follow().arg(WANTED).arg(APPLIED)
}
