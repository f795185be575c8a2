//! Ranges in host names and addresses: `worker[02-20]`, `10.1.1.[202-220]`.

/// More hosts than one entry may stand for.
const MAX_LENGTH: u32 = 1024;

/// Why a range means nothing.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RangeError {
    /// Brackets that do not hold `FIRST-LAST`.
    #[error("`{0}` is not a range")]
    Malformed(String),
    /// The last is before the first.
    #[error("the range `[{0}-{1}]` is empty")]
    Empty(String, String),
    /// Too many.
    #[error("the range `[{0}-{1}]` is longer than {MAX_LENGTH}")]
    TooLong(String, String),
}

/// The texts that a text with at most one range stands for; without a range just itself.
///
/// A first number that begins with zero fixes the width: `[02-20]` is 02, 03 … 20.
pub fn expand(text: &str) -> Result<Vec<String>, RangeError> {
    let Some((before, range, after)) = split(text)? else {
        return Ok(vec![text.to_owned()]);
    };
    let malformed = || RangeError::Malformed(text.to_owned());
    let (first, last) = range.split_once('-').ok_or_else(malformed)?;
    let (from, to) = (number(first), number(last));
    let (from, to) = from.zip(to).ok_or_else(malformed)?;
    if from > to {
        return Err(RangeError::Empty(first.to_owned(), last.to_owned()));
    }
    if to - from >= MAX_LENGTH {
        return Err(RangeError::TooLong(first.to_owned(), last.to_owned()));
    }
    let width = if first.starts_with('0') {
        first.len()
    } else {
        0
    };
    Ok((from..=to)
        .map(|number| format!("{before}{number:0width$}{after}"))
        .collect())
}

/// Whether the text holds a range.
#[must_use]
pub fn is_range(text: &str) -> bool {
    text.contains('[')
}

fn split(text: &str) -> Result<Option<(&str, &str, &str)>, RangeError> {
    if !text.contains(['[', ']']) {
        return Ok(None);
    }
    let parts = text
        .split_once('[')
        .and_then(|(before, rest)| Some((before, rest.split_once(']')?)))
        .filter(|(before, (_, after))| !before.contains(']') && !after.contains(['[', ']']));
    match parts {
        Some((before, (range, after))) => Ok(Some((before, range, after))),
        None => Err(RangeError::Malformed(text.to_owned())),
    }
}

fn number(text: &str) -> Option<u32> {
    let is_plain = !text.is_empty() && text.len() <= 9 && text.bytes().all(|b| b.is_ascii_digit());
    is_plain.then(|| text.parse().ok()).flatten()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keeps_a_text_without_a_range() {
        assert_eq!(expand("worker1"), Ok(vec!["worker1".to_owned()]));
    }

    #[test]
    fn keeps_the_width_of_a_first_number_with_zeros() {
        let names = ["worker08", "worker09", "worker10"].map(str::to_owned);
        assert_eq!(expand("worker[08-10]"), Ok(names.to_vec()));
    }

    #[test]
    fn expands_in_the_middle() {
        let names = ["a9-rack", "a10-rack"].map(str::to_owned);
        assert_eq!(expand("a[9-10]-rack"), Ok(names.to_vec()));
    }

    #[test]
    fn refuses_what_means_nothing() {
        for text in [
            "w[",
            "w]",
            "w[]",
            "w[1]",
            "w[a-b]",
            "w[1-2][3-4]",
            "w]1-2[",
            "w[1-2",
            "w[-1-2]",
        ] {
            assert_eq!(expand(text), Err(RangeError::Malformed(text.to_owned())));
        }
        let words = || ("5".to_owned(), "2".to_owned());
        assert_eq!(
            expand("w[5-2]"),
            Err(RangeError::Empty(words().0, words().1))
        );
        assert!(matches!(expand("w[0-4294]"), Err(RangeError::TooLong(..))));
    }
}
