#![expect(clippy::unwrap_used, reason = "tests")]

use serde::Deserialize;

use super::*;

#[derive(Debug, Default, PartialEq, Deserialize)]
#[serde(default, rename_all = "kebab-case", deny_unknown_fields)]
struct Garden {
    name: Field<String>,
    trees: Field<u8>,
    paths: Field<Vec<Field<String>>>,
    beds: Field<Entries<Shorthand<Bed>>>,
    fence: Field<Fence>,
}

#[derive(Debug, Default, PartialEq, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct Bed {
    plant: String,
}

#[derive(Debug, PartialEq, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum Fence {
    None,
    Wood { height: u8 },
}

fn read(text: &str) -> (Garden, Vec<String>) {
    let tree = Tree::parse(text).unwrap();
    let source = Source::new(Utf8Path::new("garden.yaml"), text);
    let (garden, problems) = tree.read::<Garden>();
    let line = |problem: Problem| {
        let place = problem.place.unwrap();
        let (line, column) = source.line_and_column(place.start);
        let shown = text.get(place.range()).unwrap();
        format!("{line}:{column} `{shown}` {}", problem.message)
    };
    (garden.unwrap(), problems.into_iter().map(line).collect())
}

fn texts(list: &Field<Vec<Field<String>>>) -> Vec<&str> {
    let items = list.value().unwrap().iter();
    items.filter_map(Field::value).map(String::as_str).collect()
}

#[test]
fn reads_values_with_their_places() {
    let (garden, problems) =
        read("name: 1.30\npaths: [a, 'b c']\nfence: { wood: { height: 2 } }\n");
    assert_eq!(problems, Vec::<String>::new());
    let name = garden.name.given().unwrap();
    assert_eq!(
        (name.value.as_str(), name.place, name.key),
        (
            "1.30",
            Place { start: 6, end: 10 },
            Place { start: 0, end: 4 }
        )
    );
    assert_eq!(texts(&garden.paths), ["a", "b c"]);
    assert_eq!(garden.fence.value(), Some(&Fence::Wood { height: 2 }));
    assert_eq!(garden.trees, Field::Absent);
}

#[test]
fn goes_on_after_each_mistake() {
    let (garden, problems) = read(
        "nam: 가든\ntrees: many\npaths: [a, [b], c]\nbeds:\n  one: roses\n  two: { plnat: x }\n  one: tulips\nfence: stone\n",
    );
    assert_eq!(
        problems,
        [
            "7:3 `one` duplicate key `one`",
            "1:1 `nam` unknown key `nam`",
            "2:8 `many` expected a whole number, found `many`",
            "3:12 `[b]` expected a text, found a list",
            "6:10 `plnat` unknown key `plnat`",
            "8:8 `stone` unknown choice `stone`",
        ]
    );
    assert_eq!(texts(&garden.paths), ["a", "c"]);
    assert_eq!(garden.trees, Field::Wrong);
    let beds: Vec<&str> = garden
        .beds
        .value()
        .unwrap()
        .iter()
        .map(|(name, _)| name.value.as_str())
        .collect();
    assert_eq!(beds, ["one", "two"]);
}

#[test]
fn tells_short_forms_from_whole_ones() {
    let (garden, _) = read("beds:\n  one: 12\n  two: { plant: rose }\n  three:\n");
    let beds = garden.beds.value().unwrap();
    let values: Vec<_> = beds.iter().map(|(_, bed)| &bed.value).collect();
    let whole = Shorthand::Whole(Bed {
        plant: "rose".to_owned(),
    });
    assert_eq!(values, [&Shorthand::Text("12".to_owned()), &whole]);
    assert_eq!(
        beds.empty()
            .map(|key| key.value.as_str())
            .collect::<Vec<_>>(),
        ["three"]
    );
}

#[test]
fn counts_columns_in_characters() {
    let source = Source::new(Utf8Path::new("garden.yaml"), "가나: x\r\n다: y");
    assert_eq!(source.line_and_column(8), (1, 5));
    assert_eq!(source.line_and_column(11), (2, 1));
    assert_eq!(source.line_and_column(999), (2, 5));
}

#[test]
fn says_when_a_file_is_not_text() {
    let directory = tempfile::tempdir().unwrap();
    let path = Utf8Path::from_path(directory.path())
        .unwrap()
        .join("garden.yaml");
    fs_err::write(&path, b"name: \xff").unwrap();
    let message = Source::read(&path).unwrap_err().problems.remove(0).message;
    assert!(
        message.ends_with("is not UTF-8: byte 6 is no part of a character"),
        "{message}"
    );
}
