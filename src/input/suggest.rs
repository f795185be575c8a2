//! What somebody probably meant.

/// What people call things elsewhere.
const SYNONYMS: [(&str, &str); 9] = [
    ("load-balancers", "lb"),
    ("loadbalancers", "lb"),
    ("haproxy", "lb"),
    ("control-plane", "masters"),
    ("control-planes", "masters"),
    ("controlplane", "masters"),
    ("nodes", "workers"),
    ("ip", "address"),
    ("version", "kubernetes"),
];

/// The candidate closest to a word that is not one of them, if any is close enough.
#[must_use]
pub fn did_you_mean<'a>(
    word: &str,
    candidates: impl IntoIterator<Item = &'a str>,
) -> Option<&'a str> {
    let candidates: Vec<&str> = candidates.into_iter().collect();
    let word = word.to_lowercase().replace('_', "-");
    let synonym = SYNONYMS
        .iter()
        .find(|(other, ours)| *other == word && candidates.contains(ours));
    if let Some((_, ours)) = synonym {
        return Some(ours);
    }
    let tolerance = (word.chars().count() / 3).clamp(1, 4);
    candidates
        .into_iter()
        .map(|candidate| (distance(&word, candidate), candidate))
        .filter(|(distance, _)| *distance <= tolerance)
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, candidate)| candidate)
}

/// The suggestion as a help text.
#[must_use]
pub fn question(meant: &str) -> String {
    format!("did you mean `{meant}`?")
}

/// The choices as a help text: ``one of `a`, `b` ``.
#[must_use]
pub fn one_of<'a>(choices: impl IntoIterator<Item = &'a str>) -> String {
    let choices: Vec<&str> = choices.into_iter().collect();
    match choices.as_slice() {
        [only] => format!("`{only}`"),
        _ => format!("one of {}", list(choices)),
    }
}

/// Words in backticks, separated by commas.
pub(in crate::input) fn list<'a>(words: impl IntoIterator<Item = &'a str>) -> String {
    let quoted: Vec<String> = words.into_iter().map(|word| format!("`{word}`")).collect();
    quoted.join(", ")
}

/// Edits between two words; a plural or a word that begins with the other counts as one edit.
fn distance(word: &str, candidate: &str) -> usize {
    let begins = word.len() >= 3
        && candidate.len() >= 2
        && (candidate.starts_with(word) || word.starts_with(candidate));
    let edits = strsim::damerau_levenshtein(word, candidate);
    if begins { edits.min(1) } else { edits }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds_the_word_that_was_meant() {
        let keys = ["address", "dns", "port", "interface", "router-id"];
        assert_eq!(did_you_mean("adress", keys), Some("address"));
        assert_eq!(did_you_mean("router_id", keys), Some("router-id"));
        assert_eq!(did_you_mean("Port", keys), Some("port"));
        assert_eq!(did_you_mean("ip", keys), Some("address"));
        assert_eq!(did_you_mean("gateway", keys), None);
    }
}
