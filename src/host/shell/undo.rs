//! Undo: what takes a change back unless it is told that all is well.
//!
//! `/run/quorate/undo/<name>` holds, per file, its old self and its path, the command to run afterwards, and the script that
//! the timer runs. Whoever makes the directory `claim` in it first has decided: the timer (the old files come back) or
//! [`disarm`] (they do not). So the two cannot both win.

use base64::Engine as _;
use sha2::{Digest as _, Sha256};

use super::frame::Frames;
use super::{Nonce, Request, quote, quote_all};
use crate::host::file::Undo;

/// What the timer runs, with `$1` the undo's directory.
const RESTORE: &str = r#"cd "$1" && mkdir claim || exit 0
for p in *.path; do
	IFS= read -r f <"$p" || continue
	b=${p%.path} d=${f%/*}
	cp -a -- "$b.old" "$d/.quorate-undo-$b" && mv -f -- "$d/.quorate-undo-$b" "$f"
done
sync
. ./then
: >restored
"#;

/// The part of a write that arms the undo for the file in `$f`, before the new one takes its place.
///
/// An undo of that name that is armed already keeps what it has (the oldest state is the good one) and its clock starts
/// again; one that has fired or was disarmed is cleared.
pub(super) fn arm(undo: &Undo, path: &str) -> String {
    let digest = Sha256::digest(path.as_bytes());
    let key = base64::engine::general_purpose::URL_SAFE_NO_PAD.encode(digest);
    let unit = format!("quorate-undo-{}", undo.name);
    format!(
        "u={directory}\n\
         [ ! -d \"$u/claim\" ] || rm -rf -- \"$u\" || fail 'clear an old undo'\n\
         if [ -f \"$f\" ]; then\n\
         umask 077; mkdir -p -- \"$u\" || fail 'prepare the undo'\n\
         if [ ! -e \"$u/{key}.path\" ]; then\n\
         cp -a -- \"$f\" \"$u/{key}.old\" || fail 'keep the old file'\n\
         printf '%s\\n' \"$f\" >\"$u/{key}.path\" || fail 'keep the old path'\n\
         fi\n\
         printf '%s\\n' {then} >\"$u/then\" && printf '%s' {restore} >\"$u/restore\" || fail 'prepare the undo'\n\
         umask 022\n\
         systemctl stop {unit}.timer 2>/dev/null\n\
         systemctl reset-failed {unit}.service 2>/dev/null\n\
         systemd-run --quiet --collect --unit={unit} --on-active={seconds} --timer-property=AccuracySec=100ms \
         /bin/sh \"$u/restore\" \"$u\" || fail 'arm the undo'\n\
         fi\n",
        directory = quote(&directory(&undo.name)),
        then = quote(&quote_all(&undo.then)),
        restore = quote(RESTORE),
        unit = quote(&unit),
        seconds = undo.seconds,
    )
}

/// Compiles the order to keep the new state.
pub(crate) fn disarm(nonce: Nonce, name: &str) -> Request {
    let body = format!(
        "u={directory}\n\
         if [ ! -d \"$u\" ]; then q disarmed\n\
         elif mkdir \"$u/claim\" 2>/dev/null; then\n\
         systemctl stop {unit}.timer 2>/dev/null\n\
         rm -rf -- \"$u\"\n\
         q disarmed\n\
         else\n\
         w=0\n\
         while [ ! -e \"$u/restored\" ] && [ $w -lt 300 ] && systemctl is-active --quiet {unit}.service; do sleep 0.1; w=$((w + 1)); done\n\
         q fired\n\
         fi\n\
         q end",
        directory = quote(&directory(name)),
        unit = quote(&format!("quorate-undo-{name}")),
    );
    Request::new(nonce, &body)
}

/// Whether the undo was stopped before it fired.
pub(crate) fn parse(nonce: &Nonce, answer: &[u8]) -> Result<bool, String> {
    let mut frames = Frames::of(answer, nonce)?;
    if frames.accept("disarmed").is_some() {
        return frames.finish().map(|()| true);
    }
    frames.expect("fired")?;
    frames.finish().map(|()| false)
}

fn directory(name: &str) -> String {
    format!("/run/quorate/undo/{name}")
}
