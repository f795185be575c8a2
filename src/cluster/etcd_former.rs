//! What is asked of members of an external etcd whose hosts nobody is connected to: through their client URLs, from the host of
//! a member that is known.

use super::etcd::{MemberId, pki};
use crate::host::command::Script;
use crate::inventory::EtcdTopology;

const HEALTH: &str = r#"
pki=$1
shift
for url in "$@"; do
    curl -s --noproxy '*' --max-time 5 --cacert $pki/ca.crt --cert $pki/healthcheck-client.crt --key $pki/healthcheck-client.key \
        "$url/health" | grep -q '"health":"true"' && echo "healthy $url"
done
exit 0
"#;

/// Which of the etcds at these client URLs are healthy, one line `healthy URL` each.
#[must_use]
pub fn health_script(urls: &[&str], topology: &EtcdTopology) -> Script {
    let script = Script::new("etcd-members-health", HEALTH).arg(pki(topology));
    urls.iter().fold(script, |script, url| script.arg(*url))
}

const LEAD: &str = r#"
pki=$1 id=$2 url=$3
exec curl -sS --noproxy '*' --max-time 20 --cacert $pki/ca.crt --cert $pki/healthcheck-client.crt \
    --key $pki/healthcheck-client.key -X POST -d "{\"targetID\":\"$id\"}" -w '\n%{http_code}\n' \
    "$url/v3/maintenance/transfer-leadership"
"#;

/// Lets that member lead, asked of the etcd at a client URL, which must lead: no other can hand leadership over.
#[must_use]
pub fn lead_script(id: MemberId, url: &str, topology: &EtcdTopology) -> Script {
    Script::new("etcd-transfer-leadership-at", LEAD)
        .arg(pki(topology))
        .arg(id.0.to_string())
        .arg(url)
}
