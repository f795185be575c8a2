//! Filters: how values get into the syntax of a configuration file without ever becoming syntax themselves.
#![expect(
    clippy::needless_pass_by_value,
    reason = "tera passes a filter's arguments by value"
)]

use std::collections::BTreeMap;
use std::fmt::Write as _;

use serde_json::Value as Json;
use tera::{Kwargs, State, Tera, TeraResult, Value};

/// Makes the filters known to templates.
pub(super) fn register(engine: &mut Tera) {
    engine.register_filter("quote", quote);
    engine.register_filter("yaml", yaml);
    engine.register_filter("word", word);
    engine.register_filter("line", line);
    engine.register_filter("merged", merged);
    engine.register_filter("arguments", arguments);
    engine.register_filter("scalars", scalars);
}

/// `quote`: a string in double quotes that YAML, JSON and TOML all read back as it was.
fn quote(value: &Value, _: Kwargs, _: &State) -> TeraResult<String> {
    Ok(quoted(&plain(&json(value)?)?))
}

/// `word`: a value that stands bare in a configuration file; anything with more than letters, digits and `._:/@-` in it is
/// an error.
fn word(value: &Value, _: Kwargs, _: &State) -> TeraResult<String> {
    let text = plain(&json(value)?)?;
    let is_word = !text.is_empty()
        && text
            .chars()
            .all(|each| each.is_ascii_alphanumeric() || "._:/@-".contains(each));
    if is_word {
        Ok(text)
    } else {
        Err(tera::Error::message(format!(
            "{} cannot stand in this file: only letters, digits and `._:/@-` can",
            quoted(&text)
        )))
    }
}

/// `line`: a value that fills the rest of a line; a line break or control character in it is an error.
fn line(value: &Value, _: Kwargs, _: &State) -> TeraResult<String> {
    let text = plain(&json(value)?)?;
    if text.chars().any(char::is_control) {
        Err(tera::Error::message(format!(
            "{} cannot stand in this file: it has control characters",
            quoted(&text)
        )))
    } else {
        Ok(text)
    }
}

/// `merged(over=…)`: a map with another laid over it, maps inside merged likewise, everything else replaced; sorted.
fn merged(value: &Value, options: Kwargs, _: &State) -> TeraResult<Value> {
    let over = json(options.must_get::<&Value>("over")?)?;
    Value::try_from_serializable(&sorted(merge(json(value)?, over)))
}

/// `arguments(api=…)`: flags in the form of a kubeadm API: a map up to v1beta3, a list of names and values from v1beta4.
/// Values become strings, as kubeadm wants them.
fn arguments(value: &Value, options: Kwargs, _: &State) -> TeraResult<Value> {
    let api: &str = options.must_get("api")?;
    let Json::Object(flags) = json(value)? else {
        return Err(tera::Error::message("arguments are not a map"));
    };
    let mut texts = BTreeMap::new();
    for (name, value) in flags {
        texts.insert(name, plain(&value)?);
    }
    if matches!(api, "v1beta2" | "v1beta3") {
        return Value::try_from_serializable(&texts);
    }
    let list: Vec<Json> = texts
        .into_iter()
        .map(|(name, value)| serde_json::json!({ "name": name, "value": value }))
        .collect();
    Value::try_from_serializable(&list)
}

/// `scalars`: a map of texts in which whole numbers and truth values become what they look like, for programs that want them
/// so in their configuration.
fn scalars(value: &Value, _: Kwargs, _: &State) -> TeraResult<Value> {
    let Json::Object(texts) = json(value)? else {
        return Err(tera::Error::message("settings are not a map"));
    };
    let mut typed = BTreeMap::new();
    for (name, value) in texts {
        let text = plain(&value)?;
        let scalar = text
            .parse()
            .map(|number: u64| Json::from(number))
            .or_else(|_| text.parse().map(|truth: bool| Json::from(truth)));
        typed.insert(name, scalar.unwrap_or(Json::String(text)));
    }
    Value::try_from_serializable(&typed)
}

/// `yaml(indent=…)`: a value after `key:`, in block style, `indent` being the column of its own lines. Strings are always
/// quoted, so that no reader takes `on`, `1.30` or `null` for something else.
fn yaml(value: &Value, options: Kwargs, _: &State) -> TeraResult<String> {
    let indent: usize = options.must_get("indent")?;
    let mut out = String::new();
    after_key(&mut out, &json(value)?, indent);
    Ok(out)
}

/// Writes what follows `key:` or `-`: a scalar on the same line, a block on its own lines.
fn after_key(out: &mut String, value: &Json, indent: usize) {
    let pad = " ".repeat(indent);
    match value {
        Json::Object(map) if !map.is_empty() => {
            for (key, value) in map.iter().collect::<BTreeMap<_, _>>() {
                let _ = write!(out, "\n{pad}{}:", yaml_key(key));
                after_key(out, value, indent + 2);
            }
        }
        Json::Array(items) if !items.is_empty() => {
            for item in items {
                let _ = write!(out, "\n{pad}-{}", list_item(item, indent + 2));
            }
        }
        Json::String(text) => {
            let _ = write!(out, " {}", quoted(text));
        }
        other => {
            let _ = write!(out, " {other}");
        }
    }
}

/// A list item: a map starts on the line of its dash.
fn list_item(item: &Json, indent: usize) -> String {
    let mut block = String::new();
    after_key(&mut block, item, indent);
    match block.strip_prefix('\n') {
        Some(lines) => format!(" {}", lines.trim_start()),
        None => block,
    }
}

fn yaml_key(key: &str) -> String {
    let is_plain = key.len() > 3
        && key.starts_with(|first: char| first.is_ascii_alphabetic())
        && key
            .chars()
            .all(|each| each.is_ascii_alphanumeric() || "-_./".contains(each))
        && !matches!(key.to_ascii_lowercase().as_str(), "true" | "false" | "null");
    if is_plain || matches!(key, "key") {
        key.to_owned()
    } else {
        quoted(key)
    }
}

/// In double quotes, with every control character escaped: JSON's escapes, which YAML and TOML share.
fn quoted(text: &str) -> String {
    let mut out = String::from("\"");
    for character in text.chars() {
        match character {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '\t' => out.push_str("\\t"),
            '\r' => out.push_str("\\r"),
            _ if character.is_control()
                || matches!(character, '\u{2028}' | '\u{2029}' | '\u{feff}') =>
            {
                let _ = write!(out, "\\u{:04x}", u32::from(character));
            }
            _ => out.push(character),
        }
    }
    out.push('"');
    out
}

fn json(value: &Value) -> TeraResult<Json> {
    serde_json::to_value(value)
        .map_err(|error| tera::Error::message(format!("the value cannot be written: {error}")))
}

/// A scalar as text.
fn plain(value: &Json) -> TeraResult<String> {
    match value {
        Json::String(text) => Ok(text.clone()),
        Json::Bool(_) | Json::Number(_) => Ok(value.to_string()),
        Json::Null => Err(tera::Error::message("there is no value to write")),
        Json::Array(_) | Json::Object(_) => {
            Err(tera::Error::message("a list or map cannot stand here"))
        }
    }
}

fn merge(below: Json, over: Json) -> Json {
    match (below, over) {
        (Json::Object(mut below), Json::Object(over)) => {
            for (key, value) in over {
                let merged = match below.remove(&key) {
                    Some(old) => merge(old, value),
                    None => value,
                };
                below.insert(key, merged);
            }
            Json::Object(below)
        }
        (_, over) => over,
    }
}

/// With the keys of every map in order, whatever map type `serde_json` was built with.
fn sorted(value: Json) -> Json {
    match value {
        Json::Object(map) => {
            let ordered: BTreeMap<String, Json> = map
                .into_iter()
                .map(|(key, value)| (key, sorted(value)))
                .collect();
            Json::Object(ordered.into_iter().collect())
        }
        Json::Array(items) => Json::Array(items.into_iter().map(sorted).collect()),
        scalar => scalar,
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests")]

    use serde_json::json;

    use super::*;

    fn emitted(value: &Json) -> String {
        let mut out = String::new();
        after_key(&mut out, value, 2);
        format!("key:{out}\n")
    }

    #[test]
    fn yaml_reads_back_as_it_was() {
        let value = json!({
            "on": "yes", "1.30": 1.5, "text": "a: b # c\n\"d\" \\ \u{7f}\u{85}é", "empty": {}, "none": [],
            "list": ["x", 1, true, null, {"name": "n", "inner": [[1, 2], []]}, ["a", ["b"]]],
            "deep": {"deeper": {"a": "1.30", "b": "null", "c": "~"}}
        });
        let read: Json = serde_saphyr::from_str(&emitted(&value)).unwrap();
        assert_eq!(read.get("key"), Some(&value));
    }

    #[test]
    fn merging_keeps_what_is_not_overridden() {
        let below = json!({"a": {"b": 1, "c": 2}, "d": [1], "e": 1});
        let over = json!({"a": {"c": 3}, "d": [2, 3], "f": 4});
        assert_eq!(
            merge(below, over),
            json!({"a": {"b": 1, "c": 3}, "d": [2, 3], "e": 1, "f": 4})
        );
    }

    #[test]
    fn foreign_text_cannot_become_syntax() {
        let mut engine = Tera::default();
        register(&mut engine);
        engine.add_raw_template("word", "{{ x | word }}").unwrap();
        engine.add_raw_template("line", "{{ x | line }}").unwrap();
        let render = |name: &str, text: &str| {
            let mut context = tera::Context::new();
            context.insert("x", text);
            engine.render(name, &context).is_ok()
        };
        for (text, is_word, is_line) in [
            ("eth0", true, true),
            ("bond0.100", true, true),
            ("4096 87380 6291456", false, true),
            ("eth0\n}", false, false),
            ("eth0 }", false, true),
            ("", false, true),
            ("a\"b", false, true),
            ("$HOME", false, true),
        ] {
            assert_eq!(render("word", text), is_word, "word of {text:?}");
            assert_eq!(render("line", text), is_line, "line of {text:?}");
        }
    }
}
