//! kubelet on a node: its configuration, which kubeadm copies from the cluster and kubelet does not notice by itself; and
//! whether it runs the static pods.
//!
//! A kubelet that starts judges anew whether it admits the static pods, those that run too. While it has no Node (somebody
//! deleted it) it goes by what it knows of the host so far, which in its first moments lacks the disk: then it may refuse etcd
//! for good, whose manifest requests ephemeral storage ("no set of running pods found to reclaim resources"), and ends the
//! one that runs. Seen with 1.20 in 2 of 10 such starts, and once of about a hundred in the middle of a `kubeadm join`; started
//! again, with the Node there, it admits it.

use std::time::Duration;

use super::plane::{Member, Plane};
use super::survey::{self, Look};
use crate::action::{ActionError, Effect};
use crate::host::command::{Command, Script};

/// What the inventory says of kubelet, on every worker; the cluster's ConfigMap is made of the same.
pub const WANTED: &str = "/etc/kubernetes/quorate/kubelet.yaml";

/// The digest of [`WANTED`] when kubelet was last brought in line with it.
pub const APPLIED: &str = "/etc/kubernetes/quorate/kubelet-applied";

/// Shell: `judged` prints `POD PHASE MESSAGE` for each pod that kubelet knows, asked itself with the credential that the
/// apiserver has for it; `refused NODE` prints `POD MESSAGE` for each static pod that it does not run.
macro_rules! judged {
    () => {
        r#"judged() {
    port=$(sed -n 's/^port: *//p' /var/lib/kubelet/config.yaml)
    credential=/etc/kubernetes/pki/apiserver-kubelet-client
    curl -sk --max-time 4 --cert $credential.crt --key $credential.key "https://127.0.0.1:${port:-10250}/pods" |
        awk -v RS='{' '
            of_metadata && match($0, /"name":"[^"]*"/) { name = substr($0, RSTART + 8, RLENGTH - 9) }
            /^"phase":/ {
                split($0, word, "\"")
                why = match($0, /"message":"[^"]*"/) ? substr($0, RSTART + 11, RLENGTH - 12) : ""
                print name, word[4], why
            }
            { of_metadata = /"metadata":$/ }'
}
refused() {
    judged | while read -r pod phase why; do
        [ "$phase" != Failed ] || [ ! -e "/etc/kubernetes/manifests/${pod%"-$1"}.yaml" ] || printf '%s %s\n' "$pod" "$why"
    done
}
"#
    };
}
pub(super) use judged;

/// Shell: `start_kubelet NODE` starts kubelet anew and waits until it has judged the static pods, at most a minute; again, at
/// most five times, until it refuses none. A pod that waits for its image counts as admitted after that minute.
macro_rules! start_kubelet {
    () => {
        r#"all_judged() {
    pods=$(judged | sed 's/^/pod /')
    for manifest in /etc/kubernetes/manifests/*.yaml; do
        [ -e "$manifest" ] || continue
        pod=${manifest##*/}
        case $pods in
        *"pod ${pod%.yaml}-$1 "[!P]*) ;;
        *) return 1 ;;
        esac
    done
}
start_kubelet() {
    starts=0
    while [ $starts -lt 5 ]; do
        starts=$((starts + 1))
        systemctl restart kubelet || return 1
        tries=0
        until all_judged "$1" || [ $tries -ge 60 ]; do
            tries=$((tries + 1))
            sleep 1
        done
        why=$(refused "$1")
        [ -n "$why" ] || return 0
    done
    printf 'kubelet refuses %s\n' "$why" >&2
    return 1
}
"#
    };
}

/// Shell: `beside_kubelet COMMAND…` runs it, and starts kubelet anew whenever it refuses etcd meanwhile: kubeadm starts kubelet
/// and waits for etcd, more than ten minutes of a join, but does not look why it does not come.
///
/// It is read from the journal: kubelet itself answers nobody before an apiserver vouches for who asks.
macro_rules! beside_kubelet {
    () => {
        r#"has_refused_etcd() {
    kubelet=$(systemctl show -p MainPID --value kubelet)
    [ "${kubelet:-0}" != 0 ] || return 1
    journalctl -q -o cat -u kubelet _PID="$kubelet" | grep -q 'Failed to admit pod.*etcd-'
}
beside_kubelet() {
    (
        # Nothing of it may outlive it: a job's unit runs as long as any process in it.
        trap 'kill $!; exit 0' TERM
        while :; do
            sleep 2 &
            wait $!
            if has_refused_etcd; then
                echo "kubelet refuses etcd: it is started again"
                systemctl restart kubelet || :
            fi
        done
    ) 2>/dev/null &
    watch=$!
    code=0
    "$@" || code=$?
    kill $watch || :
    wait $watch || :
    return $code
}
"#
    };
}
pub(super) use beside_kubelet;

/// Starts kubelet anew, and again while it refuses static pods. `$1`: Node name.
const START: &str = concat!(judged!(), start_kubelet!(), "start_kubelet \"$1\"\n");

const NODE_AGAIN: &str = concat!(
    judged!(),
    start_kubelet!(),
    r#"
start_kubelet "$1" || exit 1
tries=0
until kubectl --kubeconfig /etc/kubernetes/admin.conf get node "$1" >/dev/null 2>&1; do
    tries=$((tries + 1))
    [ $tries -lt 30 ] || exit 1
    sleep 1
done
kubeadm init phase mark-control-plane --node-name "$1"
"#
);

/// How long a start of kubelet with its proof may take.
const STARTS: Duration = Duration::from_secs(360);

/// Starts kubelet anew on the effect's host, and again while it refuses to run static pods.
///
/// # Errors
/// It does not start, or still refuses one after five starts.
pub async fn start(effect: &Effect<'_>) -> Result<(), ActionError> {
    run(effect, Script::new("kubelet-start", START)).await
}

/// The same on a master whose Node was deleted: kubelet registers it when it starts, and it gets a master's label and taint.
///
/// # Errors
/// As [`start`]; or the Node does not appear within half a minute.
pub async fn make_node_again(effect: &Effect<'_>) -> Result<(), ActionError> {
    run(effect, Script::new("control-plane-node-again", NODE_AGAIN)).await
}

/// Looks at the masters as [`survey::until`] does until `judge` is content, whose answer is whether a refusal of kubelet stands
/// in the way: then kubelet is started anew, and it looks again.
///
/// # Errors
/// As [`survey::until`] and [`start`].
pub async fn until_admitted(
    effect: &Effect<'_>,
    what: &str,
    limit: Duration,
    mut judge: impl FnMut(&Plane<'_>, Option<&Member<'_>>) -> Result<Look<bool>, ActionError>,
) -> Result<(), ActionError> {
    while survey::until(effect, what, limit, &mut judge).await? {
        start(effect).await?;
    }
    Ok(())
}

async fn run(effect: &Effect<'_>, script: Script) -> Result<(), ActionError> {
    let command = Command::script(script.arg(&effect.cx.node.name)).deadline(STARTS);
    effect.host.succeed(&command).await?;
    Ok(())
}

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

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;
    use std::process::Command as Process;

    /// systemd and its journal as `beside_kubelet` asks them: kubelet 1 has refused etcd, the next one does not.
    const STUBS: [(&str, &str); 3] = [
        (
            "systemctl",
            r#"case $1 in show) cat "$HOME/kubelet" ;; restart) echo $(($(cat "$HOME/kubelet") + 1)) >"$HOME/kubelet" ;; esac"#,
        ),
        (
            "journalctl",
            r"case $* in *_PID=1) echo 'Failed to admit pod etcd-master1_kube-system(6426) - Unexpected error' ;; esac",
        ),
        (
            "command",
            r#"until [ "$(cat "$HOME/kubelet")" = "$1" ]; do sleep 0.1; done; exit "$2""#,
        ),
    ];

    /// What came of a command that ends with `code` once kubelet was started so often.
    fn beside(kubelet: u32, code: i32) -> (Option<i32>, String) {
        let home = tempfile::tempdir().expect("a directory");
        for (name, script) in STUBS {
            let path = home.path().join(name);
            fs_err::write(&path, format!("#!/bin/sh\n{script}\n")).expect("written");
            let executable = std::fs::Permissions::from_mode(0o755);
            fs_err::set_permissions(&path, executable).expect("set");
        }
        fs_err::write(home.path().join("kubelet"), "1\n").expect("written");
        let script = concat!(
            "set -eu\n",
            beside_kubelet!(),
            "beside_kubelet \"$HOME/command\" \"$@\"; echo done\n"
        );
        let path = std::env::var("PATH").expect("set");
        let output = Process::new("sh")
            .args(["-c", script, "sh", &kubelet.to_string(), &code.to_string()])
            .env("HOME", home.path())
            .env("PATH", format!("{}:{path}", home.path().display()))
            .output()
            .expect("it runs");
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        (output.status.code(), text)
    }

    #[test]
    fn a_kubelet_that_refuses_etcd_while_kubeadm_waits_is_started_again_once() {
        let (code, said) = beside(2, 0);
        assert_eq!(
            (code, said.as_str()),
            (Some(0), "kubelet refuses etcd: it is started again\ndone\n")
        );
    }

    #[test]
    fn what_runs_beside_it_says_how_it_ended() {
        assert_eq!(beside(1, 0), (Some(0), "done\n".to_owned()));
        assert_eq!(beside(1, 7), (Some(7), String::new()));
    }
}
