//! Whatever is in the file: a report, never a panic, never silence.

use proptest::prelude::*;

use crate::fixture::{GOOD, load};

/// Loads and checks that a refusal says something.
fn survives(text: &str) -> Result<(), TestCaseError> {
    if let Err(report) = load(text) {
        prop_assert!(report.contains("inventory.yaml"), "{report}");
        prop_assert!(report.contains('×'), "{report}");
        prop_assert!(!report.contains("\n0 errors"), "{report}");
    }
    Ok(())
}

proptest! {
    #[test]
    fn random_bytes(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        survives(&String::from_utf8_lossy(&bytes))?;
    }

    #[test]
    fn random_yaml(text in r##"([ a-z0-9.:/\[\]{}&*!|>'"#,~\n\t가-]|vip: |lb: |masters: |ssh: |- |cluster: ){0,60}"##) {
        survives(&text)?;
    }

    #[test]
    fn a_good_file_with_a_hole(start in 0..GOOD.len(), length in 0_usize..40) {
        let end = (start + length).min(GOOD.len());
        survives(&format!("{}{}", &GOOD[..start], &GOOD[end..]))?;
    }

    #[test]
    fn a_good_file_with_something_between(at in 0..GOOD.len(), text in r##"[ a-z0-9.:/\[\]{}&*!|>'"#,~\n가-]{0,12}"##) {
        survives(&format!("{}{text}{}", &GOOD[..at], &GOOD[at..]))?;
    }

    #[test]
    fn a_good_file_with_a_value_replaced(line in 0..GOOD.lines().count(), value in r"[\PC]{0,20}") {
        let changed = |(number, text): (usize, &str)| match text.split_once(':') {
            Some((key, _)) if number == line => format!("{key}: {value}\n"),
            _ => format!("{text}\n"),
        };
        survives(&GOOD.lines().enumerate().map(changed).collect::<String>())?;
    }
}

#[test]
fn deep_nesting() {
    for open in ["[", "{a: ", "- ", "? "] {
        survives(&open.repeat(20_000)).expect("refused with a report");
    }
}

#[test]
fn empty_files() {
    for text in [
        "",
        "\n",
        "# nothing\n",
        "---\n",
        "...\n",
        "null\n",
        "[]\n",
        "text\n",
        "\u{feff}",
    ] {
        assert!(load(text).is_err(), "{text:?}");
        survives(text).expect("refused with a report");
    }
}
