//! What somebody probably meant.

/// The candidate closest to a word that is not one of them, if any is close enough.
#[must_use]
pub fn did_you_mean<'a>(
    word: &str,
    candidates: impl IntoIterator<Item = &'a str>,
) -> Option<&'a str> {
    let word = word.to_lowercase().replace('_', "-");
    let tolerance = (word.chars().count() / 3).clamp(1, 4);
    candidates
        .into_iter()
        .map(|candidate| (distance(&word, candidate), candidate))
        .filter(|(distance, _)| *distance <= tolerance)
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, candidate)| candidate)
}

/// The choices as a help text: ``one of `a`, `b` ``.
#[must_use]
pub fn one_of<'a>(choices: impl IntoIterator<Item = &'a str>) -> String {
    let quoted: Vec<String> = choices
        .into_iter()
        .map(|choice| format!("`{choice}`"))
        .collect();
    match quoted.as_slice() {
        [only] => only.clone(),
        _ => format!("one of {}", quoted.join(", ")),
    }
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
        assert_eq!(did_you_mean("gateway", keys), None);
    }
}
