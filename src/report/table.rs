//! Tables and paragraphs of at most 80 columns, readable without colour.

use comfy_table::presets::NOTHING;
use comfy_table::{ContentArrangement, Table};

/// Columns of everything that is printed for people.
const WIDTH: u16 = 80;

/// A table without lines; `None` without rows. Rows may be shorter than the header; foreign text is escaped here.
#[must_use]
pub fn table(header: &[&str], rows: Vec<Vec<String>>) -> Option<String> {
    if rows.is_empty() {
        return None;
    }
    let mut table = Table::new();
    table
        .load_style(NOTHING)
        .set_content_arrangement(ContentArrangement::Dynamic)
        .set_width(WIDTH)
        .set_header(header.iter().map(|title| title.to_uppercase()));
    for mut row in rows {
        row.resize(header.len().max(row.len()), String::new());
        table.add_row(row.iter().map(|cell| crate::text::escape(cell)));
    }
    for column in table.column_iter_mut() {
        column.set_padding((0, 2));
    }
    let lines: Vec<String> = table
        .lines()
        .map(|line| line.trim_end().to_owned())
        .collect();
    Some(lines.join("\n"))
}

/// Text broken at spaces, the first line after `prefix`, the others indented as far.
#[must_use]
pub fn wrapped(prefix: &str, text: &str) -> String {
    let room = usize::from(WIDTH).saturating_sub(prefix.chars().count());
    let mut lines: Vec<String> = vec![String::new()];
    for word in text.split_whitespace() {
        let last = lines.last_mut().expect("there is always a line");
        if last.is_empty() {
            last.push_str(word);
        } else if last.chars().count() + 1 + word.chars().count() <= room {
            last.push(' ');
            last.push_str(word);
        } else {
            lines.push(word.to_owned());
        }
    }
    let indent = " ".repeat(prefix.chars().count());
    format!("{prefix}{}", lines.join(&format!("\n{indent}")))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_short_row_leaves_the_rest_empty() {
        let text = table(
            &["Name", "State"],
            vec![
                vec!["lb1".to_owned(), "up".to_owned()],
                vec!["lb2".to_owned()],
            ],
        );
        assert_eq!(text.as_deref(), Some("NAME  STATE\nlb1   up\nlb2"));
        assert_eq!(table(&["Name"], Vec::new()), None);
    }

    #[test]
    fn paragraphs_hang_from_their_prefix() {
        let text = wrapped("  - ", &"word ".repeat(20));
        assert!(text.lines().all(|line| line.len() <= 80));
        assert!(
            text.lines()
                .nth(1)
                .is_some_and(|line| line.starts_with("    word"))
        );
    }

    proptest! {
        #[test]
        fn no_line_is_wider_than_80_columns(cells in proptest::collection::vec("[a-z ]{0,60}", 5)) {
            let text = table(&["A", "B", "C", "D", "E"], vec![cells]).unwrap_or_default();
            prop_assert!(text.lines().all(|line| line.chars().count() <= 80), "{text}");
        }
    }
}
