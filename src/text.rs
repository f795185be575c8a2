//! Foreign text on its way to a terminal, and bytes as text.

use sha2::{Digest as _, Sha256};

/// Lines of a command's output that are shown with an error.
const SHOWN_LINES: usize = 20;

/// The last lines of what a host said, escaped for the terminal.
#[must_use]
pub fn last_lines(bytes: &[u8]) -> String {
    let text = escape(&String::from_utf8_lossy(bytes));
    let lines: Vec<&str> = text
        .lines()
        .filter(|line| !line.trim().is_empty())
        .collect();
    lines
        .get(lines.len().saturating_sub(SHOWN_LINES)..)
        .unwrap_or_default()
        .join("\n")
}

/// Makes control characters (terminal escapes among them) visible; keeps newlines and tabs.
#[must_use]
pub fn escape(text: &str) -> String {
    text.chars()
        .flat_map(|character| match character {
            '\n' | '\t' => vec![character],
            '\r' => Vec::new(),
            _ if character.is_control() => character.escape_default().collect(),
            '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}' => {
                character.escape_unicode().collect()
            }
            _ => vec![character],
        })
        .collect()
}

/// SHA-256, lower-case hexadecimal.
#[must_use]
pub fn sha256(bytes: impl AsRef<[u8]>) -> String {
    hex(&Sha256::digest(bytes))
}

/// Lower-case hexadecimal.
#[must_use]
pub fn hex(bytes: &[u8]) -> String {
    use std::fmt::Write;
    bytes
        .iter()
        .fold(String::with_capacity(bytes.len() * 2), |mut text, byte| {
            let _ = write!(text, "{byte:02x}");
            text
        })
}
