//! The certificates of an external etcd: one CA, whose key every member's host holds, and leaf keys that never leave the host
//! that they belong to. kubeadm's phases make them, with a configuration that names a stacked etcd, in a directory on a tmpfs.
//!
//! The CA's key travels over standard input and is read from a script's standard output, through the operator's memory only.

use std::collections::BTreeSet;

use crate::host::Host;
use crate::host::command::{Command, Script};
use crate::host::error::HostError;
use crate::secret::Secret;

const MAKE_CA: &str = r"
set -eu
umask 077
work=/run/quorate/etcd-pki pki=/etc/etcd/pki
rm -rf $work
trap 'rm -rf $work' EXIT
mkdir -p $work/pki
cat >$work/kubeadm.yaml
kubeadm init phase certs etcd-ca --config $work/kubeadm.yaml >&2
install -d -m 755 /etc/etcd $pki
install -m 600 $work/pki/etcd/ca.key $pki/.ca.key
sync $pki/.ca.key
mv -f $pki/.ca.key $pki/ca.key
install -m 644 $work/pki/etcd/ca.crt $pki/.ca.crt
sync $pki/.ca.crt
mv -f $pki/.ca.crt $pki/ca.crt
";

/// Makes etcd's CA from kubeadm's configuration on standard input. The certificate comes last: without it there is no CA.
#[must_use]
pub fn make_ca() -> Script {
    Script::new("etcd-ca-make", MAKE_CA)
}

const READ_CA: &str = r#"
cd /etc/etcd/pki || exit 1
for name in ca.crt ca.key; do
    echo "file $name"
    cat "$name" || exit 1
done
"#;

const PLACE_CA: &str = r#"
set -eu
umask 077
pki=/etc/etcd/pki
install -d -m 755 /etc/etcd $pki
awk -v pki=$pki '/^file / { name = pki "/." $2; next } { print >name }'
chmod 644 $pki/.ca.crt
sync $pki/.ca.key $pki/.ca.crt
mv -f $pki/.ca.key $pki/ca.key
mv -f $pki/.ca.crt $pki/ca.crt
"#;

/// Places the CA, which comes on standard input as [`read_ca`] reads it.
#[must_use]
pub fn place_ca() -> Script {
    Script::new("etcd-ca-place", PLACE_CA)
}

/// Reads the CA of a member's host: its files one after the other, each after a line `file NAME`.
pub async fn read_ca(member: &Host) -> Result<Secret, HostError> {
    let command = Command::script(Script::new("etcd-ca-read", READ_CA));
    Ok(Secret::new(member.succeed(&command).await?.text()))
}

const MAKE: &str = r#"
set -eu
umask 077
kind=$1
work=/run/quorate/etcd-pki pki=/etc/etcd/pki client=/etc/kubernetes/quorate/etcd
rm -rf $work
trap 'rm -rf $work' EXIT
mkdir -p $work/pki/etcd
awk -v work=$work '/^file / { name = work "/" $2; next } { print >name }'
[ -e $work/ca.key ] || cp $pki/ca.crt $pki/ca.key $work/
mv $work/ca.crt $work/ca.key $work/pki/etcd/
make() { kubeadm init phase certs "$1" --config $work/kubeadm.yaml >&2; }
place() {
    install -o "$3" -g "$3" -m "$4" "$1" "$2.new"
    mv -f "$2.new" "$2"
}
case $kind in
member)
    make etcd-server
    make etcd-peer
    make etcd-healthcheck-client
    for name in server peer; do
        place $work/pki/etcd/$name.key $pki/$name.key etcd 600
        place $work/pki/etcd/$name.crt $pki/$name.crt etcd 644
    done
    place $work/pki/etcd/healthcheck-client.key $pki/healthcheck-client.key root 600
    place $work/pki/etcd/healthcheck-client.crt $pki/healthcheck-client.crt root 644
    ;;
client)
    make apiserver-etcd-client
    mkdir -p $client
    place $work/pki/etcd/ca.crt $client/ca.crt root 644
    place $work/pki/apiserver-etcd-client.key $client/client.key root 600
    place $work/pki/apiserver-etcd-client.crt $client/client.crt root 644
    ;;
esac
"#;

/// Whose certificates are made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Whose {
    /// A member's: server, peer, and the client that asks it.
    Member,
    /// An apiserver's, as a client.
    Client,
}

/// Makes certificates on their host from kubeadm's configuration, with the CA that lies there or, where none does, with `ca`.
#[must_use]
pub fn make(whose: Whose, configuration: &str, ca: Option<&Secret>) -> Command {
    let kind = match whose {
        Whose::Member => "member",
        Whose::Client => "client",
    };
    let ca = ca.map(Secret::expose).unwrap_or_default();
    let stdin = format!("file kubeadm.yaml\n{configuration}{ca}");
    Command::script(Script::new("etcd-certificates-make", MAKE).arg(kind)).stdin(stdin)
}

/// Days before its end at which a certificate is made anew; `quorate status` warns no earlier.
const RENEWED: i64 = 30;

/// Whether a certificate is one of those that are made here, and made anew before they end; its CA's is none.
#[must_use]
pub fn is_renewed(path: &str) -> bool {
    let directories = ["/etc/etcd/pki/", "/etc/kubernetes/quorate/etcd/"];
    directories.iter().any(|it| path.starts_with(it)) && !path.ends_with("/ca.crt")
}

/// In words, that a certificate ends soon by the host's clock (microseconds since the epoch) or has ended; `None`: it does not,
/// or it is no certificate.
#[must_use]
pub fn ending(path: &str, pem: &str, clock_us: u64) -> Option<String> {
    let now = jiff::Timestamp::from_microsecond(i64::try_from(clock_us).ok()?).ok()?;
    let certificate = super::cert::parse(&format!("== {path}\n{pem}")).pop()?;
    let days = certificate.days_left(now);
    (days < RENEWED).then(|| format!("{path} expires in {days} days"))
}

/// The names that a certificate lacks; all of them if it is none.
#[must_use]
pub fn lacking(pem: &str, wanted: &[String]) -> Vec<String> {
    let held: BTreeSet<String> = super::cert::names(pem);
    // `::1` is written in several ways.
    let is_held = |name: &&String| held.contains(*name) || name.contains("::");
    wanted
        .iter()
        .filter(|name| !is_held(name))
        .cloned()
        .collect()
}
