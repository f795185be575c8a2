//! What a master or worker says of itself, in one script.

use std::collections::BTreeSet;
use std::fmt;

use camino::Utf8PathBuf;

use super::kubelet::judged;
use super::restore::Past;
use crate::host::command::Script;
use crate::host::probe::Probe;
use crate::inventory::Node;

/// Where kubeadm puts the certificate of the cluster's CA.
pub const CA: &str = "/etc/kubernetes/pki/ca.crt";

/// The SHA-256 of the shared configuration that is in force on a master, see `control-plane-config`.
pub const APPLIED: &str = "/etc/kubernetes/quorate/applied";

/// Shell: `ask CURL-ARGUMENT…` asks many questions with one curl, which costs a host a tenth of what one for each does, and
/// prints `KEY STATUS BODY` for each on one line, or `KEY unreachable`; both read as an [`Answer`]. A question is
/// `$next $(key KEY) OPTION… URL`, and `next=--next` after it; a single one needs no key.
macro_rules! ask {
    () => {
        r#"next=
key() { printf -- '-s --max-time 4 -A quorate -w \\n@quorate=%s=%%{http_code}\\n' "$1"; }
ask() {
    [ $# -eq 0 ] || curl "$@" 2>/dev/null | awk -F = '
        $1 != "@quorate" { sub(/\r$/, ""); body = body $0; next }
        { print ($2 == "" ? "" : $2 " ") ($3 + 0 ? $3 " " body : "unreachable"); body = "" }'
}
"#
    };
}
pub(super) use ask;

/// Reads all of a [`Report`]. `$1`: Node name, `$2`: address.
///
/// Every question has a deadline of seconds, and `absent` (nothing to ask, or nothing to ask with) is kept apart from
/// `unreachable` (it should answer and does not).
const BODY: &str = concat!(
    r#"
name=$1 address=$2
kubernetes=/etc/kubernetes pki=/etc/kubernetes/pki
has() { if [ -e "$2" ]; then echo "has $1"; fi; }
has kubelet-conf $kubernetes/kubelet.conf
has bootstrap-conf $kubernetes/bootstrap-kubelet.conf
has admin-conf $kubernetes/admin.conf
has ca-key $pki/ca.key
has apiserver-cert $pki/apiserver.crt
has apiserver-manifest $kubernetes/manifests/kube-apiserver.yaml
has etcd-manifest $kubernetes/manifests/etcd.yaml
if [ -e $kubernetes/manifests/kube-apiserver.yaml ] &&
    ! grep -q -e '--etcd-servers=https://127.0.0.1:2379' $kubernetes/manifests/kube-apiserver.yaml; then
    echo "has external-etcd"
fi
has etcd-data /var/lib/etcd/member
if [ -e /var/lib/etcd/member/quorate-left-behind ]; then
    read -r past </var/lib/etcd/member/quorate-left-behind
    echo "etcd-past $past"
fi
has founding $kubernetes/quorate/founding
has joining $kubernetes/quorate/joining
echo "clock $(date +%s)"
[ ! -e /etc/machine-id ] || read -r machine </etc/machine-id
echo "machine ${machine:-}"
"#,
    ask!(),
    judged!(),
    r#"if ! command -v curl >/dev/null 2>&1; then
    echo "has no-curl"
    exit 0
fi
set --
if [ -e $pki/ca.crt ] && [ -e $kubernetes/manifests/kube-apiserver.yaml ]; then
    set -- $(key readyz) --cacert $pki/ca.crt "https://$address:6443/readyz"
    next=--next
else
    echo "readyz absent"
fi
credential=/var/lib/kubelet/pki/kubelet-client-current.pem
if [ -e $credential ] && [ -e $pki/ca.crt ] && [ -e $kubernetes/kubelet.conf ]; then
    server=$(sed -n '/^ *server: */{s///p;q;}' $kubernetes/kubelet.conf)
    set -- "$@" $next $(key node) --cacert $pki/ca.crt --cert $credential --key $credential "$server/api/v1/nodes/$name"
    next=--next
else
    echo "node absent"
fi
if [ -e $kubernetes/manifests/etcd.yaml ] && [ -e $pki/etcd/healthcheck-client.crt ]; then
    certificates="--cacert $pki/etcd/ca.crt --cert $pki/etcd/healthcheck-client.crt --key $pki/etcd/healthcheck-client.key"
    etcd=https://127.0.0.1:2379/v3
    set -- "$@" $next $(key etcd-status) $certificates -d '{}' $etcd/maintenance/status \
        --next $(key etcd-members) $certificates -d '{}' $etcd/cluster/member/list \
        --next $(key etcd-health) http://127.0.0.1:2381/health
else
    echo "etcd-status absent"
fi
answers=$(ask "$@")
printf '%s\n' "$answers"
case $answers in
*'readyz unreachable'* | *'etcd-status unreachable'*) refused "$name" | sed 's/^/refused /' ;;
esac
case $answers in
*'node unreachable'*)
    # The virtual IP does not answer. On a master its own apiserver may: what is said later counts.
    [ ! -e $kubernetes/manifests/kube-apiserver.yaml ] ||
        ask $(key node) --cacert $pki/ca.crt --cert $credential --key $credential "https://$address:6443/api/v1/nodes/$name"
    ;;
esac
exit 0
"#
);

/// The probe of a host's report.
#[must_use]
pub fn script(node: &Node) -> Script {
    Script::new("kubernetes-report", BODY)
        .arg(&node.name)
        .arg(node.address.to_string())
}

/// Everything that is read of a host to judge its part in the control plane and in etcd; equal for all actions, so it is read
/// once.
#[must_use]
pub fn probes(node: &Node) -> Vec<Probe> {
    let mut probes = Vec::new();
    if node.role.is_node() {
        probes.extend([
            Probe::Script(script(node)),
            Probe::File(Utf8PathBuf::from(CA)),
            Probe::File(Utf8PathBuf::from(APPLIED)),
        ]);
        probes.extend(JOBS.iter().map(|job| Probe::Unit(unit_of(job))));
    }
    if node.etcd.is_some() {
        probes.extend(super::etcd_member::probes());
    }
    probes
}

/// The jobs of kubeadm that may still run from an earlier run.
pub const JOBS: [&str; 4] = [
    "kubeadm-init",
    "kubeadm-join",
    "kubeadm-reset",
    "kubeadm-upgrade",
];

/// The unit of a job.
#[must_use]
pub fn unit_of(job: &str) -> String {
    format!("quorate-{job}.service")
}

/// How something answered a question.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum Answer {
    /// It is not there to be asked.
    #[default]
    Absent,
    /// It should be there and did not answer in time.
    Unreachable,
    /// HTTP status and body, newlines removed.
    Http(u16, String),
}

impl Answer {
    /// The body, if the status is 200.
    #[must_use]
    pub fn body(&self) -> Option<&str> {
        match self {
            Self::Http(200, body) => Some(body),
            Self::Http(..) | Self::Absent | Self::Unreachable => None,
        }
    }

    /// Whether it answered with 200.
    #[must_use]
    pub fn is_ok(&self) -> bool {
        self.body().is_some()
    }

    /// Reads one, as a script prints it.
    #[must_use]
    pub fn of(text: &str) -> Self {
        let text = text.trim_end();
        match text.split_once(' ').unwrap_or((text, "")) {
            ("absent", _) => Self::Absent,
            (code, body) => match code.parse() {
                Ok(code) if code >= 100 => Self::Http(code, body.to_owned()),
                _ => Self::Unreachable,
            },
        }
    }
}

/// As it stands in a report.
impl fmt::Display for Answer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Absent => f.write_str("absent"),
            Self::Unreachable => f.write_str("unreachable"),
            Self::Http(code, body) => write!(f, "{code} {body}"),
        }
    }
}

/// A thing of kubeadm that a host may have.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Has {
    /// `/etc/kubernetes/kubelet.conf`.
    KubeletConf,
    /// `/etc/kubernetes/bootstrap-kubelet.conf`: kubelet has not been given its certificate yet.
    BootstrapConf,
    /// `/etc/kubernetes/admin.conf`.
    AdminConf,
    /// The CA's key.
    CaKey,
    /// The apiserver's certificate.
    ApiserverCert,
    /// The apiserver's static pod.
    ApiserverManifest,
    /// etcd's static pod.
    EtcdManifest,
    /// An apiserver that does not ask an etcd on its own host.
    ExternalEtcd,
    /// `/var/lib/etcd/member`, or of a member of an external etcd its data.
    EtcdData,
    /// Mark of a `kubeadm init` of quorate that has not ended well.
    Founding,
    /// Mark of a `kubeadm join` of quorate that has not ended well.
    Joining,
    /// curl is missing: nothing could be asked.
    NoCurl,
}

const HAS: [(&str, Has); 12] = [
    ("kubelet-conf", Has::KubeletConf),
    ("bootstrap-conf", Has::BootstrapConf),
    ("admin-conf", Has::AdminConf),
    ("ca-key", Has::CaKey),
    ("apiserver-cert", Has::ApiserverCert),
    ("apiserver-manifest", Has::ApiserverManifest),
    ("etcd-manifest", Has::EtcdManifest),
    ("external-etcd", Has::ExternalEtcd),
    ("etcd-data", Has::EtcdData),
    ("founding", Has::Founding),
    ("joining", Has::Joining),
    ("no-curl", Has::NoCurl),
];

/// A host's report; `Display` writes what `parse` reads, so that a simulated host can answer.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Report {
    /// What is there.
    pub has: BTreeSet<Has>,
    /// The host's clock, seconds since the epoch.
    pub clock: i64,
    /// `/etc/machine-id`.
    pub machine_id: String,
    /// `/readyz` of its own apiserver.
    pub readyz: Answer,
    /// Its own Node object, asked with kubelet's certificate.
    pub node: Answer,
    /// `maintenance/status` of its own etcd.
    pub etcd_status: Answer,
    /// `cluster/member/list` of its own etcd.
    pub etcd_members: Answer,
    /// `/health` of its own etcd: it has a leader and a quorum.
    pub etcd_health: Answer,
    /// What its etcd's data says of its past, see [`super::restore::left_behind`].
    pub etcd_past: Past,
    /// The static pod that its kubelet refuses to run, and why, if its apiserver or etcd does not answer.
    pub refused: Option<String>,
}

impl Report {
    /// Reads the script's output; what is unknown or garbled counts as not said.
    #[must_use]
    pub fn parse(text: &str) -> Self {
        let mut report = Self::default();
        for line in text.lines() {
            let (key, value) = line.split_once(' ').unwrap_or((line, ""));
            match key {
                "has" => report.has.extend(
                    HAS.iter()
                        .find(|(name, _)| *name == value)
                        .map(|(_, has)| *has),
                ),
                "clock" => report.clock = value.parse().unwrap_or_default(),
                "machine" => value.clone_into(&mut report.machine_id),
                "readyz" => report.readyz = Answer::of(value),
                "node" => report.node = Answer::of(value),
                "etcd-status" => report.etcd_status = Answer::of(value),
                "etcd-members" => report.etcd_members = Answer::of(value),
                "etcd-health" => report.etcd_health = Answer::of(value),
                "etcd-past" => report.etcd_past = Past::parse(value),
                "refused" => report.refused = Some(value.to_owned()),
                _ => {}
            }
        }
        report
    }

    /// Whether that is there.
    #[must_use]
    pub fn has(&self, what: Has) -> bool {
        self.has.contains(&what)
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (name, _) in HAS.iter().filter(|(_, has)| self.has(*has)) {
            writeln!(f, "has {name}")?;
        }
        writeln!(f, "clock {}", self.clock)?;
        writeln!(f, "machine {}", self.machine_id)?;
        writeln!(f, "readyz {}", self.readyz)?;
        writeln!(f, "node {}", self.node)?;
        writeln!(f, "etcd-status {}", self.etcd_status)?;
        writeln!(f, "etcd-members {}", self.etcd_members)?;
        writeln!(f, "etcd-health {}", self.etcd_health)?;
        if self.etcd_past != Past::default() {
            writeln!(f, "etcd-past {}", self.etcd_past)?;
        }
        match &self.refused {
            Some(refused) => writeln!(f, "refused {refused}"),
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::torture::torture_text;

    #[test]
    fn a_report_reads_back_as_written() {
        let report = Report {
            has: [Has::KubeletConf, Has::EtcdData].into(),
            clock: 1_795_000_000,
            machine_id: "4f6c".to_owned(),
            readyz: Answer::Http(200, "ok".to_owned()),
            node: Answer::Http(404, "{\"kind\":\"Status\"}".to_owned()),
            etcd_status: Answer::Unreachable,
            refused: Some("etcd-master1 Pod Unexpected error".to_owned()),
            ..Report::default()
        };
        assert_eq!(Report::parse(&report.to_string()), report);
    }

    #[test]
    fn absent_is_not_unreachable() {
        let report = Report::parse("readyz absent\nnode unreachable\n");
        assert_eq!(report.readyz, Answer::Absent);
        assert_eq!(report.node, Answer::Unreachable);
    }

    #[test]
    fn no_report_makes_the_parser_panic() {
        let good = [
            "readyz absent\nnode unreachable\n",
            "readyz 200 ok\nnode 404 {\"kind\":\"Status\"}\nclock 1767225600\nmachine-id 4f6c\netcd-members 200 {\"members\":[]}\n",
        ];
        torture_text("reports of masters", &good, |text| {
            let _ = Report::parse(text);
        });
    }
}
