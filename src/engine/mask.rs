//! What must not be in a recording, and how it is taken out of an answer.

use std::collections::HashSet;

/// Words shorter than this are no secret of quorate's or of kubeadm's.
const SHORTEST: usize = 12;

/// What takes a secret's place.
const MASKED: &str = "(masked)";

/// Secrets that were seen on their way to hosts.
#[derive(Debug, Default)]
pub(super) struct Mask(HashSet<String>);

impl Mask {
    /// Notes the words of something that is secret, or partly so.
    pub(super) fn learn(&mut self, secret: &str) {
        let words = secret
            .split(|c| !is_of_word(c))
            .filter(|word| is_random(word));
        self.0.extend(words.map(str::to_owned));
    }

    /// The text without what was learnt, without keys in PEM and in kubeconfigs, and without bootstrap tokens.
    pub(super) fn masked(&self, text: &str) -> String {
        let mut masked = String::with_capacity(text.len());
        let mut in_key = false;
        for line in text.split_inclusive('\n') {
            if line.contains("PRIVATE KEY-----") {
                in_key = line.contains("-----BEGIN");
                masked.push_str(MASKED);
                masked.push('\n');
            } else if !in_key {
                self.push_line(line, &mut masked);
            }
        }
        masked
    }

    fn push_line(&self, line: &str, masked: &mut String) {
        if let Some((before, _)) = line.split_once("client-key-data:") {
            masked.push_str(before);
            masked.push_str("client-key-data: (masked)\n");
            return;
        }
        let mut rest = line;
        while let Some(start) = rest.find(is_of_word) {
            let (before, from) = rest.split_at(start);
            let (word, after) = from.split_at(from.find(|c| !is_of_word(c)).unwrap_or(from.len()));
            masked.push_str(before);
            let secret = after
                .strip_prefix('.')
                .filter(|_| is_token_id(word))
                .and_then(token_secret);
            if let Some(secret) = secret {
                masked.push_str(MASKED);
                rest = after.get(1 + secret.len()..).unwrap_or_default();
            } else {
                masked.push_str(if self.0.contains(word) { MASKED } else { word });
                rest = after;
            }
        }
        masked.push_str(rest);
    }
}

fn is_of_word(c: char) -> bool {
    c.is_ascii_alphanumeric() || "+/_".contains(c)
}

/// Whether a word looks like chance: long, with letters and digits, and no path.
fn is_random(word: &str) -> bool {
    word.len() >= SHORTEST
        && !word.starts_with('/')
        && word.contains(|c: char| c.is_ascii_digit())
        && word.contains(|c: char| c.is_ascii_alphabetic())
}

fn is_of_token(word: &str, length: usize) -> bool {
    word.len() == length
        && word
            .bytes()
            .all(|c| c.is_ascii_lowercase() || c.is_ascii_digit())
}

/// The first half of `abcdef.0123456789abcdef`.
fn is_token_id(word: &str) -> bool {
    is_of_token(word, 6)
}

/// Its second half, at the beginning of a text.
fn token_secret(text: &str) -> Option<&str> {
    let word = text.split(|c| !is_of_word(c)).next()?;
    is_of_token(word, 16).then_some(word)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_learnt_is_masked_and_nothing_else() {
        let mut mask = Mask::default();
        mask.learn("PASSWORD=s3cretS3cretS3cret\npath: /etc/kubernetes/v1\n");
        let text = "user s3cretS3cretS3cret at /etc/kubernetes/v1, s3cret\n";
        assert_eq!(
            mask.masked(text),
            "user (masked) at /etc/kubernetes/v1, s3cret\n"
        );
    }

    #[test]
    fn keys_and_tokens_are_masked_without_being_learnt() {
        let mask = Mask::default();
        let text = "a\n-----BEGIN RSA PRIVATE KEY-----\nMIIE\n-----END RSA PRIVATE KEY-----\n\
                    client-key-data: TUlJ\njoin --token quo7f2.0123456789abcdef x\nregistry.k8s.io/pause 1.20.2";
        assert_eq!(
            mask.masked(text),
            "a\n(masked)\n(masked)\nclient-key-data: (masked)\njoin --token (masked) x\nregistry.k8s.io/pause 1.20.2"
        );
    }
}
