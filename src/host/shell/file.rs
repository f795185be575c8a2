//! Files as scripts: each written beside its place, checked, flushed and renamed.

use super::frame::Frames;
use super::{Nonce, Request, print_bytes, quote, quote_all, undo};
use crate::host::file::RemoteFile;

/// Why files were not written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Refusal {
    /// The check of this file (by index) refused it.
    Check {
        /// Which of the files.
        file: usize,
        /// Exit status of the check.
        status: i32,
        /// What it said.
        output: Vec<u8>,
    },
    /// A step failed: no space, no such owner, a directory in the place.
    Step {
        /// Which of the files.
        file: usize,
        /// What was being done.
        step: String,
    },
}

/// Compiles files, in order; the script stops at the first that is refused.
///
/// Temporary names begin with a dot and keep the file's own name at the end, so that directory watchers (the kubelet's
/// manifests, cron, sysctl.d) pass over them while a check can go by the suffix. What an earlier, killed write of the same
/// file left behind is removed.
pub(crate) fn compile(nonce: Nonce, files: &[RemoteFile]) -> Request {
    let mut body = String::from(
        "t= s=\n\
         trap '[ -z \"$t\" ] || rm -f -- \"$t\"' EXIT\n\
         trap 'exit 1' HUP INT TERM PIPE\n\
         fail() { q failed \"$i\" \"$1\"; q end; exit 1; }\n",
    );
    for (index, file) in files.iter().enumerate() {
        body.push_str(&one(&nonce, index, file));
    }
    body.push_str(
        "[ -z \"$s\" ] || { eval \"set -- $s\"; sync -- \"$@\" 2>/dev/null || sync; }\n\
         q written\nq end",
    );
    Request::new(nonce, &body)
}

fn one(nonce: &Nonce, index: usize, file: &RemoteFile) -> String {
    let path = file.path.as_str();
    let name = file.path.file_name().unwrap_or("file");
    let directory = file.path.parent().map_or("/", camino::Utf8Path::as_str);
    let temporary = file
        .path
        .with_file_name(format!(".quorate-{}-{name}", nonce.as_str()));
    let mut script = format!(
        "i={index} f={path} d={directory}\n\
         [ -d \"$d\" ] || mkdir -p -- \"$d\" || fail 'make the directory'\n\
         [ -L \"$f\" ] || [ ! -d \"$f\" ] || fail 'replace a directory'\n\
         for o in \"$d\"/.quorate-????????????????????????????????-{name}; do [ ! -f \"$o\" ] || rm -f -- \"$o\"; done\n\
         t={temporary}\n\
         umask 077; set -C; true >\"$t\" || fail 'create a file'; set +C; umask 022\n\
         chown -- {owner} \"$t\" || fail 'set the owner'\n\
         chmod -- {mode:04o} \"$t\" || fail 'set the mode'\n\
         {content} >\"$t\" || fail 'write'\n\
         sync -- \"$t\" 2>/dev/null || sync\n",
        path = quote(path),
        directory = quote(directory),
        name = quote(name),
        temporary = quote(temporary.as_str()),
        owner = quote(&file.owner),
        mode = file.mode,
        content = print_bytes(&file.content),
    );
    if let Some(check) = &file.check {
        script.push_str(&judge(index, check, temporary.as_str()));
    }
    if let Some(undo) = &file.undo {
        script.push_str(&undo::arm(undo, path));
    }
    script.push_str("mv -f -- \"$t\" \"$f\" || fail 'rename'\nt=\ns=\"$s \"");
    script.push_str(&quote(&quote(directory)));
    script.push('\n');
    script
}

/// Runs a check on the temporary file and ends the script if it refuses.
fn judge(index: usize, check: &[String], temporary: &str) -> String {
    let words: Vec<String> = check
        .iter()
        .map(|word| word.replace("{}", temporary))
        .collect();
    format!(
        "o=$({words} </dev/null 2>&1); c=$?\n\
         [ $c -eq 0 ] || {{ q refused {index} $c; printf '%s' \"$o\"; q end; exit 1; }}\n",
        words = quote_all(&words),
    )
}

/// Reads what the script said.
pub(crate) fn parse(nonce: &Nonce, answer: &[u8]) -> Result<Result<(), Refusal>, String> {
    let mut frames = Frames::of(answer, nonce)?;
    if frames.accept("written").is_some() {
        frames.finish()?;
        return Ok(Ok(()));
    }
    if let Some(frame) = frames.accept("refused") {
        let mut words = frame.words();
        return Ok(Err(Refusal::Check {
            file: number(words.next())?,
            status: number(words.next())?,
            output: frame.body.to_vec(),
        }));
    }
    let frame = frames.expect("failed")?;
    let mut words = frame.words();
    Ok(Err(Refusal::Step {
        file: number(words.next())?,
        step: words.collect::<Vec<_>>().join(" "),
    }))
}

fn number<N: std::str::FromStr>(word: Option<&str>) -> Result<N, String> {
    word.and_then(|word| word.parse().ok())
        .ok_or_else(|| "a number is missing".to_owned())
}
