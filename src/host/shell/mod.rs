//! The only place that writes shell: typed requests in, POSIX scripts out, their answers parsed back.
//!
//! Everything here is pure. A script reaches the host on standard input of a constant command and is run as a whole by
//! `eval`, inside one pair of braces: a script that was cut off on its way is a syntax error and does nothing. Commands in
//! it therefore see an empty standard input. Data travels as quoted words or base64 inside the script, never in the
//! arguments of a process, and never through a here-document, which some shells keep in a file.
//!
//! Answers are framed by a [`Nonce`]: 128 random bits that nothing on the host can know beforehand, so neither a noisy
//! login shell nor the content of a file can forge or hide a frame.

pub(crate) mod file;
pub(crate) mod frame;
pub(crate) mod job;
pub(crate) mod lock;
pub(crate) mod machine;
pub(crate) mod probe;
pub(crate) mod program;
pub(crate) mod reading;
pub(crate) mod undo;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

/// What marks the frames of one answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Nonce(String);

impl Nonce {
    /// A fresh one.
    pub(crate) fn random() -> Self {
        Self(format!("{:032x}", rand::random::<u128>()))
    }

    /// One that is known: to answer what it was asked with.
    pub(crate) fn known(digits: String) -> Self {
        Self(digits)
    }

    /// Its 32 hexadecimal digits.
    pub(crate) fn as_str(&self) -> &str {
        &self.0
    }
}

/// A script and what marks its answer.
#[derive(Debug, Clone)]
pub(crate) struct Request {
    /// The whole text.
    pub(crate) text: String,
    /// What its frames begin with.
    pub(crate) nonce: Nonce,
}

impl Request {
    /// Wraps `body`: braces, environment, the line that says that a root shell has understood the whole script, and `q`,
    /// which begins a frame.
    pub(crate) fn new(nonce: Nonce, body: &str) -> Self {
        Self::with_start(nonce, "", body)
    }

    /// The same, with `start` executed before the first line is printed.
    pub(crate) fn with_start(nonce: Nonce, start: &str, body: &str) -> Self {
        let text = format!(
            "{{\n\
             PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin HOME=/root LC_ALL=C\n\
             export PATH HOME LC_ALL\n\
             umask 022\n\
             cd /\n\
             {start}\
             n={nonce}\n\
             q() {{ printf '\\n%s %s\\n' \"$n\" \"$*\"; }}\n\
             printf '%s\\n' \"$n\"\n\
             {body}\n\
             exit\n\
             }}\n",
            nonce = nonce.as_str(),
        );
        Self { text, nonce }
    }
}

/// A word that the shell takes literally. NUL, which no word can hold, becomes U+FFFD.
pub(crate) fn quote(word: &str) -> String {
    quote_all(&[word])
}

/// Words that the shell takes literally.
pub(crate) fn quote_all<S: AsRef<str>>(words: &[S]) -> String {
    let mut text = String::new();
    for word in words {
        if !text.is_empty() {
            text.push(' ');
        }
        text.push('\'');
        for character in word.as_ref().chars() {
            match character {
                '\0' => text.push('\u{fffd}'),
                '\'' => text.push_str(r"'\''"),
                other => text.push(other),
            }
        }
        text.push('\'');
    }
    text
}

/// A pipeline that prints `bytes`; its status is that of the decoder.
pub(crate) fn print_bytes(bytes: &[u8]) -> String {
    format!("printf %s '{}' | base64 -d", STANDARD.encode(bytes))
}

#[cfg(test)]
mod tests;
