//! Jobs as scripts: start a transient unit or find the one that runs, wait for its end, bring its output.
//!
//! `/run/quorate/jobs/<name>` holds what the unit runs, its output and, once it ended by itself, its exit status. The unit
//! writes its token there as its first act, so a token without a unit and without a status means: it was started and was
//! cut off. A status without a running unit, or with one that is only being cleared away, means: it ended. Waiting costs the host nothing: the unit holds a lock on the file `alive`, and the follower waits for that lock.
//! Output goes to a file of mode 0600 on a tmpfs rather than to the journal: kubeadm prints tokens.

use std::time::Duration;

use super::frame::Frames;
use super::{Nonce, Request, print_bytes, quote};
use crate::host::job::Job;

/// Bytes of output that are brought back.
const OUTPUT: usize = 64 * 1024;

/// How a job stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum End {
    /// The script returned this.
    Exited(i32),
    /// It is gone and left no status.
    Vanished,
    /// It still runs at the deadline.
    Running,
    /// It could not be started.
    NotStarted,
}

/// What the host answered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Answer {
    /// How it stands.
    pub(crate) end: End,
    /// Whether it ran already, or had run under this token.
    pub(crate) followed: bool,
    /// The last of its output.
    pub(crate) output: Vec<u8>,
}

/// Whether a job that is not there may be started.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Mode {
    /// Start it unless it runs or has run under this token.
    Start,
    /// It was started: only follow it.
    Follow,
}

/// Compiles "start or follow, and wait at most `patience`".
pub(crate) fn compile(nonce: Nonce, job: &Job, mode: Mode, patience: Duration) -> Request {
    let mut body = format!(
        "d={directory} u=quorate-{name}.service k={token}\n\
         umask 077\n\
         mkdir -p /run/quorate/jobs || exit 1\n\
         exec 9>>\"$d.lock\" && flock 9 || exit 1\n\
         state() {{ a=$(systemctl show -p ActiveState \"$u\"); case $a in *=active|*=activating|*=deactivating|*=reloading) true;; *) false;; esac; }}\n\
         token() {{ v=; [ -e \"$d/token\" ] && IFS= read -r v <\"$d/token\"; [ \"$v\" = \"$k\" ]; }}\n\
         runs() {{ [ ! -e \"$d/status\" ] && state; }}\n\
         followed=yes\n\
         if ! token && ! runs; then\n",
        directory = quote(&format!("/run/quorate/jobs/{}", job.name)),
        name = job.name,
        token = quote(&job.token),
    );
    match mode {
        Mode::Follow => body.push_str("q vanished yes; q end; exit 0\n"),
        Mode::Start => body.push_str(&start(job)),
    }
    body.push_str(&follow(patience));
    Request::new(nonce, &body)
}

fn start(job: &Job) -> String {
    let mut script = format!(
        "followed=no\n\
         ! state || systemctl stop \"$u\"\n\
         rm -rf -- \"$d\" && mkdir -p \"$d/private\" && true >\"$d/alive\" && true >\"$d/output\" || exit 1\n\
         printf %s {run} >\"$d/run\" || exit 1\n\
         printf '%s\\n' \"$k\" >\"$d/token.new\" || exit 1\n",
        run = quote(&run(job)),
    );
    for (name, bytes) in &job.files {
        script.push_str(&lay(name, bytes));
    }
    script.push_str(
        "systemctl reset-failed \"$u\" 2>/dev/null\n\
         if ! systemd-run --quiet --collect --unit=\"$u\" -p TimeoutStopSec=5 -p \"ExecStopPost=/bin/rm -rf $d/private\" /bin/sh \"$d/run\" >\"$d/output\" 2>&1 9>&-; then\n\
         q refused no; cat \"$d/output\"; rm -rf -- \"$d\"; q end; exit 0\n\
         fi\n",
    );
    script
}

/// Lays a file into the job's private directory.
fn lay(name: &str, bytes: &[u8]) -> String {
    format!(
        "{} >\"$d/private/\"{} || {{ rm -rf -- \"$d\"; exit 1; }}\n",
        print_bytes(bytes),
        quote(name),
    )
}

/// What the unit runs. The script is a subshell, so that its `exit` ends in the status file.
fn run(job: &Job) -> String {
    let mut arguments = String::new();
    for argument in &job.script.arguments {
        arguments.push(' ');
        arguments.push_str(&quote(argument));
    }
    format!(
        "cd {directory} || exit 1\n\
         exec </dev/null >>output 2>&1 8>>alive\n\
         flock 8\n\
         mv token.new token\n\
         PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin HOME=/root LC_ALL=C QUORATE_JOB={directory}/private\n\
         export PATH HOME LC_ALL QUORATE_JOB\n\
         (\n\
         exec 8>&-\n\
         cd /\n\
         umask 022\n\
         set --{arguments}\n\
         {body}\n\
         )\n\
         s=$?\n\
         rm -rf private\n\
         printf '%s\\n' \"$s\" >status.new && mv status.new status\n",
        directory = quote(&format!("/run/quorate/jobs/{}", job.name)),
        body = job.script.body,
    )
}

/// Waits for the end. The lock is free for a moment before the unit takes it and after it lets go, hence the loop.
fn follow(patience: Duration) -> String {
    format!(
        "fi\n\
         exec 9>&-\n\
         q started $followed\n\
         e=\n\
         while [ ! -e \"$d/status\" ]; do\n\
         flock -s -w {seconds} \"$d/alive\" true; w=$?\n\
         [ ! -e \"$d/status\" ] || break\n\
         [ $w -eq 0 ] || {{ e=running; break; }}\n\
         state || {{ [ -e \"$d/status\" ] || e=vanished; break; }}\n\
         sleep 0.1\n\
         done\n\
         if [ -n \"$e\" ]; then q $e $followed; else IFS= read -r s <\"$d/status\"; q exited $followed \"$s\"; fi\n\
         [ ! -e \"$d/output\" ] || tail -c {OUTPUT} \"$d/output\"\n\
         q end",
        seconds = patience.as_secs().max(1),
    )
}

/// Whether an answer, perhaps cut off, shows that the job is under way, and if so, whether it was before it was asked for.
pub(crate) fn was_started(nonce: &Nonce, answer: &[u8]) -> Option<bool> {
    let says = |word| {
        let line = format!("\n{} started {word}\n", nonce.as_str());
        super::frame::find(answer, line.as_bytes()).is_some()
    };
    match (says("yes"), says("no")) {
        (true, _) => Some(true),
        (false, true) => Some(false),
        (false, false) => None,
    }
}

/// Reads what the script said.
pub(crate) fn parse(nonce: &Nonce, answer: &[u8]) -> Result<Answer, String> {
    let mut frames = Frames::of(answer, nonce)?;
    if let Some(frame) = frames.accept("refused") {
        return Ok(Answer {
            end: End::NotStarted,
            followed: false,
            output: frame.body.to_vec(),
        });
    }
    let _ = frames.accept("started");
    for (kind, end) in [("vanished", End::Vanished), ("running", End::Running)] {
        if let Some(frame) = frames.accept(kind) {
            return Ok(Answer {
                end,
                followed: frame.words().next() == Some("yes"),
                output: frame.body.to_vec(),
            });
        }
    }
    let frame = frames.expect("exited")?;
    let mut words = frame.words();
    let followed = words.next() == Some("yes");
    let status = words
        .next()
        .and_then(|status| status.parse().ok())
        .ok_or("the status is missing")?;
    frames.finish()?;
    Ok(Answer {
        end: End::Exited(status),
        followed,
        output: frame.body.to_vec(),
    })
}
