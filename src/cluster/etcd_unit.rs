//! What is done to a member of an external etcd on its host: its unit, its data and the marks that say how it became one.

use camino::{Utf8Path, Utf8PathBuf};

use crate::host::command::Script;

const START: &str = r#"
set -eu
data=$1 mark=$2
install -d -o etcd -g etcd -m 700 "$data"
if [ -n "$mark" ]; then
    : >"$mark"
    sync "$mark"
fi
systemctl daemon-reload
systemctl enable --quiet etcd
systemctl reset-failed etcd 2>/dev/null || :
systemctl start --no-block etcd
"#;

/// Starts a member without waiting for it, since it is not ready before a quorum is. `mark`: a file to put down before.
#[must_use]
pub fn start(data: &Utf8Path, mark: Option<&str>) -> Script {
    Script::new("etcd-start", START)
        .arg(data.as_str())
        .arg(mark.unwrap_or_default())
}

const RESTART: &str = "systemctl daemon-reload && systemctl restart etcd";

/// Restarts a member and waits until it serves.
#[must_use]
pub fn restart() -> Script {
    Script::new("etcd-restart", RESTART)
}

const KEEP: &str = r#"
set -eu
umask 022
beginning=$(cat)
printf '%s\n' "$beginning" >/etc/etcd/.membership
sync /etc/etcd/.membership
mv -f /etc/etcd/.membership /etc/etcd/membership
rm -f /etc/etcd/founding /etc/etcd/joining
"#;

/// Makes the host known as a member; how it began comes on standard input.
#[must_use]
pub fn keep() -> Script {
    Script::new("etcd-membership", KEEP)
}

const CLEAR: &str = r#"
set -eu
data=$1
systemctl stop etcd 2>/dev/null || :
if [ -e "$data/member" ]; then
    mv "$data/member" "$data/quorate-old-$(date +%Y%m%d%H%M%S)"
    sync "$data"
fi
rm -f /etc/etcd/membership /etc/etcd/joining /etc/etcd/founding
"#;

/// Stops a member that is none any more, moves its data aside and then forgets that it was one: data without a mark would be a
/// stranger's.
#[must_use]
pub fn clear(data: &Utf8Path) -> Script {
    Script::new("etcd-clear", CLEAR).arg(data.as_str())
}

/// The file that lies beside the data of a started member.
#[must_use]
pub fn snapshot_file(data: &Utf8Path) -> Utf8PathBuf {
    data.join("member/snap/db")
}
