//! What kubeadm would write on a master for the configuration that lies there, without touching what runs.
//!
//! kubeadm's phases write in place. Here they run in a mount namespace of their own, where `/etc/kubernetes/manifests` and
//! `/etc/kubernetes/pki` are copies on a tmpfs: so the running files and the new ones can be compared, and only what differs
//! is replaced. etcd's `--initial-cluster` is kept as it is: kubeadm composes it anew only for a first member, and a manifest
//! that names all members and `existing` is what keeps a wiped member from founding a second cluster. Where etcd is external
//! there is no such manifest.

use std::collections::BTreeSet;

use super::cert::names;
use crate::host::command::Script;

const MAKE: &str = r#"
set -eu
umask 077
work=/run/quorate/candidates pki=/etc/kubernetes/pki manifests=/etc/kubernetes/manifests
rm -rf $work
mkdir -p $work/manifests $work/pki
{ cat; echo ---; cat /etc/kubernetes/quorate/cluster.yaml; } >$work/kubeadm.yaml
cp -a $pki/. $work/pki/
rm -f $work/pki/apiserver.crt $work/pki/apiserver.key
unshare --mount sh -eu -c '
mount --bind $1/manifests /etc/kubernetes/manifests
mount --bind $1/pki /etc/kubernetes/pki
kubeadm init phase certs apiserver --config $1/kubeadm.yaml
kubeadm init phase control-plane all --config $1/kubeadm.yaml
kubeadm init phase etcd local --config $1/kubeadm.yaml
' sh $work >&2
if [ -e $manifests/etcd.yaml ]; then
    kept=$(grep -e ' --initial-cluster=' -e ' --initial-cluster-state=' $manifests/etcd.yaml)
    export kept
    awk '/ --initial-cluster=/ { print ENVIRON["kept"]; next } / --initial-cluster-state=/ { next } { print }' \
        $work/manifests/etcd.yaml >$work/etcd.yaml
    mv $work/etcd.yaml $work/manifests/etcd.yaml
fi
for name in etcd kube-apiserver kube-controller-manager kube-scheduler; do
    [ -e $work/manifests/$name.yaml ] || continue
    cmp -s $work/manifests/$name.yaml $manifests/$name.yaml || echo "differs $name"
done
echo "certificate running"
cat $pki/apiserver.crt
echo "certificate candidate"
cat $work/pki/apiserver.crt
"#;

/// Makes the candidates from the InitConfiguration on standard input; its output reads as [`Candidates`].
#[must_use]
pub fn make() -> Script {
    Script::new("control-plane-candidates", MAKE)
}

const CERTIFICATE: &str = r"
set -eu
work=/run/quorate/candidates pki=/etc/kubernetes/pki backup=/etc/kubernetes/quorate/backup
mkdir -p -m 700 $backup
cp -a $pki/apiserver.crt $pki/apiserver.key $backup/
for name in apiserver.key apiserver.crt; do
    cp -a $work/pki/$name $pki/.$name.new
    mv -f $pki/.$name.new $pki/$name
done
";

/// Puts the candidate of the apiserver's certificate in place, the old pair aside; the apiserver reads it by itself.
#[must_use]
pub fn replace_certificate() -> Script {
    Script::new("control-plane-certificate", CERTIFICATE)
}

const REPLACE: &str = r#"
set -eu
name=$1 source=$2
quorate=/etc/kubernetes/quorate manifest=/etc/kubernetes/manifests/$1.yaml
process=$(printf %.15s "$name")
mkdir -p -m 700 $quorate/backup
case $source in
candidate)
    cp -a $manifest $quorate/backup/$name.yaml
    install -m 600 /run/quorate/candidates/manifests/$name.yaml $quorate/.$name.new ;;
backup)
    install -m 600 $quorate/backup/$name.yaml $quorate/.$name.new ;;
esac
running=$(pgrep -o -x "$process" || echo none)
mv -f $quorate/.$name.new $manifest
tries=0
while [ $tries -lt 150 ]; do
    now=$(pgrep -o -x "$process" || echo none)
    if [ "$now" != none ] && [ "$now" != "$running" ]; then exit 0; fi
    tries=$((tries + 1))
    sleep 1
done
echo "kubelet did not start $name again" >&2
exit 1
"#;

/// Where a manifest comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Source {
    /// From the candidates.
    Candidate,
    /// The one that was replaced last.
    Backup,
}

/// Replaces the manifest of a component (the old one goes aside, out of kubelet's sight) and waits until kubelet has
/// started it anew.
#[must_use]
pub fn replace(component: &str, source: Source) -> Script {
    let source = match source {
        Source::Candidate => "candidate",
        Source::Backup => "backup",
    };
    Script::new("control-plane-replace", REPLACE)
        .arg(component)
        .arg(source)
}

const HEALTHZ: &str = r#"
tries=0
until curl -s -f -k -o /dev/null --max-time 3 "https://127.0.0.1:$1/healthz"; do
    tries=$((tries + 1))
    [ $tries -lt 60 ] || exit 1
    sleep 1
done
"#;

/// Waits until the component at this local port calls itself healthy.
#[must_use]
pub fn healthy(port: u16) -> Script {
    Script::new("control-plane-component-healthy", HEALTHZ).arg(port.to_string())
}

const SERVES: &str = r#"
address=$1; shift
for name in "$@"; do
    tries=0
    until curl -s -f -o /dev/null --max-time 3 --cacert /etc/kubernetes/pki/ca.crt \
        --connect-to "::$address:6443" "https://$name:6443/readyz"; do
        tries=$((tries + 1))
        [ $tries -lt 120 ] || { echo "the apiserver does not show a certificate for $name" >&2; exit 1; }
        sleep 1
    done
done
"#;

/// Waits until the apiserver shows a certificate for each of these names.
#[must_use]
pub fn serves(address: &str, names: &BTreeSet<String>) -> Script {
    let script = Script::new("control-plane-names", SERVES).arg(address);
    names.iter().fold(script, Script::arg)
}

const STORE_KUBELET: &str =
    "kubeadm init phase upload-config kubelet --config /run/quorate/candidates/kubeadm.yaml";

/// Stores kubelet's configuration in the cluster, from where every node takes it.
#[must_use]
pub fn store_kubelet() -> Script {
    Script::new("control-plane-store-kubelet", STORE_KUBELET)
}

/// kube-proxy reads its ConfigMap when it starts, so it is restarted where that has changed; a mark remembers it for the next
/// run. Where the cluster has none of kubeadm's, none is made.
const STORE: &str = r#"
set -eu
last=$1
config=/run/quorate/candidates/kubeadm.yaml restart=/etc/kubernetes/quorate/restart-kube-proxy
export KUBECONFIG=/etc/kubernetes/admin.conf
proxy() { kubectl -n kube-system get --ignore-not-found "$1" kube-proxy -o "$2"; }
if [ "$last" = last ]; then
    kubeadm init phase upload-config kubeadm --config $config
    if [ -n "$(proxy daemonset name)" ]; then
        before=$(proxy configmap 'jsonpath={.data}')
        [ ! -e $restart ] || before=unknown
        : >$restart
        kubeadm init phase addon kube-proxy --config $config
        [ "$before" = "$(proxy configmap 'jsonpath={.data}')" ] || kubectl -n kube-system rollout restart daemonset kube-proxy
        rm -f $restart
    fi
fi
applied=$(sha256sum </etc/kubernetes/quorate/cluster.yaml)
echo "${applied%% *}" >/etc/kubernetes/quorate/applied
rm -rf /run/quorate/candidates
"#;

/// Whether all other masters have the configuration already.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Turn {
    /// Others follow.
    Earlier,
    /// It is the last one: the configuration is stored in the cluster.
    Last,
}

/// Stores the configuration in the cluster if this is the last master, kube-proxy's too, and marks it as applied.
#[must_use]
pub fn store(turn: Turn) -> Script {
    let last = match turn {
        Turn::Earlier => "earlier",
        Turn::Last => "last",
    };
    Script::new("control-plane-store", STORE).arg(last)
}

/// How the candidates differ from what runs.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Candidates {
    /// Components whose manifest differs, etcd first.
    pub components: Vec<String>,
    /// Names and addresses that the apiserver's certificate lacks.
    pub names: BTreeSet<String>,
}

impl Candidates {
    /// Reads the script's output.
    #[must_use]
    pub fn parse(text: &str) -> Self {
        let (head, certificates) = text
            .split_once("certificate running\n")
            .unwrap_or((text, ""));
        let (running, candidate) = certificates
            .split_once("certificate candidate\n")
            .unwrap_or_default();
        let components = head
            .lines()
            .filter_map(|line| line.strip_prefix("differs "));
        Self {
            components: components.map(str::to_owned).collect(),
            names: names(candidate)
                .difference(&names(running))
                .cloned()
                .collect(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NARROW: &str = include_str!("testdata/narrow.crt");
    const WIDE: &str = include_str!("testdata/wide.crt");

    #[test]
    fn only_what_the_running_certificate_lacks_counts() {
        let text = format!(
            "differs kube-apiserver\ncertificate running\n{NARROW}certificate candidate\n{WIDE}"
        );
        let candidates = Candidates::parse(&text);
        assert_eq!(candidates.components, ["kube-apiserver"]);
        let lacking: Vec<&str> = candidates.names.iter().map(String::as_str).collect();
        assert_eq!(lacking, ["10.1.1.100", "api.example.com"]);
    }

    #[test]
    fn more_names_than_wanted_are_no_reason_to_replace_it() {
        let text = format!("certificate running\n{WIDE}certificate candidate\n{NARROW}");
        assert_eq!(Candidates::parse(&text), Candidates::default());
    }

    #[test]
    fn garbage_is_no_difference() {
        assert_eq!(
            Candidates::parse("certificate running\nx"),
            Candidates::default()
        );
    }
}
