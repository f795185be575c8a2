//! Rules for what Kubernetes itself will read: labels, taints, flags, sysctls.

use crate::input::{Given, Problem, did_you_mean, one_of};
use crate::inventory::rules::values::is_dns_name;

const EFFECTS: [&str; 3] = ["NoSchedule", "PreferNoSchedule", "NoExecute"];

/// Flags of etcd that differ from member to member.
const OWN_TO_EACH_MEMBER: [&str; 8] = [
    "name",
    "advertise-client-urls",
    "initial-advertise-peer-urls",
    "initial-cluster",
    "initial-cluster-state",
    "listen-client-urls",
    "listen-peer-urls",
    "force-new-cluster",
];

/// A label: `[prefix/]name` and a value of at most 63 characters.
pub fn label(key: &Given<String>, value: &Given<String>) -> Result<(String, String), Problem> {
    if !is_label_key(&key.value) {
        return Err(
            Problem::at(key.place, format!("`{}` is not a label", key.value)).help(
                "write `name` or `prefix.domain/name`: at most 63 of A-Z, a-z, 0-9, `.`, `_`, `-`",
            ),
        );
    }
    if !is_label_value(&value.value) {
        return Err(Problem::at(
            value.place,
            format!("`{}` is not a label's value", value.value),
        )
        .help(
            "write at most 63 of A-Z, a-z, 0-9, `.`, `_`, `-`, with a letter or digit at both ends",
        ));
    }
    Ok((key.value.clone(), value.value.clone()))
}

/// A taint: `key[=value]:effect`.
pub fn taint(given: &Given<String>) -> Result<String, Problem> {
    let text = &given.value;
    let form = "write `key=value:NoSchedule` or `key:NoSchedule`";
    let Some((left, effect)) = text.rsplit_once(':') else {
        return Err(Problem::at(given.place, format!("taint `{text}` has no effect")).help(form));
    };
    if !EFFECTS.contains(&effect) {
        let meant = did_you_mean(effect, EFFECTS).or_else(|| caseless(effect));
        let help = meant.map_or_else(
            || format!("write {}", one_of(EFFECTS)),
            |meant| format!("did you mean `{left}:{meant}`?"),
        );
        return Err(
            Problem::at(given.place, format!("unknown taint effect `{effect}`")).help(help),
        );
    }
    let (key, value) = left.split_once('=').unwrap_or((left, ""));
    if is_label_key(key) && is_label_value(value) {
        return Ok(text.clone());
    }
    Err(Problem::at(given.place, format!("`{text}` is not a taint")).help(form))
}

fn caseless(effect: &str) -> Option<&'static str> {
    EFFECTS
        .into_iter()
        .find(|known| known.eq_ignore_ascii_case(effect))
}

/// The name of a component's flag.
pub fn flag(component: &str, key: &Given<String>) -> Result<String, Problem> {
    let text = &key.value;
    if let Some(name) = text.strip_prefix("--") {
        return Err(
            Problem::at(key.place, format!("flag `{text}` is written with dashes"))
                .help(format!("write `{name}`")),
        );
    }
    if is_plain_key(text) {
        return Ok(text.clone());
    }
    Err(
        Problem::at(key.place, format!("`{text}` is not a flag of {component}"))
            .help("write the flag's name as its help shows it, without dashes, for example `v`"),
    )
}

/// Whether a text is a name as flags and settings have it: lower-case letters, digits and dashes.
pub fn is_plain_key(text: &str) -> bool {
    text.starts_with(|c: char| c.is_ascii_lowercase())
        && text
            .bytes()
            .all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-')
}

/// A flag of etcd that may be the same on all members.
pub fn etcd_flag(key: &Given<String>) -> Result<String, Problem> {
    let flag = flag("etcd", key)?;
    if OWN_TO_EACH_MEMBER.contains(&flag.as_str()) {
        return Err(Problem::at(
            key.place,
            format!("etcd's `{flag}` is each member's own and cannot be set for all"),
        )
        .help("remove it: kubeadm sets it from the host's name and address"));
    }
    Ok(flag)
}

/// A sysctl's name.
pub fn sysctl(key: &Given<String>) -> Result<String, Problem> {
    let text = &key.value;
    let is_good = text.contains(['.', '/'])
        && text
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || b"._-/".contains(&b))
        && !text.contains("..");
    if is_good {
        return Ok(text.clone());
    }
    Err(Problem::at(key.place, format!("`{text}` is not a sysctl"))
        .help("write its full name, for example `net.core.somaxconn`"))
}

/// Text that must stay on one line of a configuration file.
pub fn one_line(given: &Given<String>) -> Result<String, Problem> {
    if !given.value.contains(char::is_control) {
        return Ok(given.value.clone());
    }
    Err(Problem::at(
        given.place,
        "the value has a line break or another control character",
    )
    .help("write it on one line"))
}

/// A word for `--on @tag`.
pub fn tag(given: &Given<String>) -> Result<String, Problem> {
    let text = &given.value;
    if is_label_value(text) && !text.is_empty() {
        return Ok(text.clone());
    }
    let help = match text.strip_prefix('@') {
        Some(name) if is_label_value(name) => format!("write `{name}`: the `@` belongs to `--on`"),
        _ => "write letters, digits, `.`, `_` and `-`".to_owned(),
    };
    Err(Problem::at(given.place, format!("`{text}` is not a tag")).help(help))
}

fn is_label_key(text: &str) -> bool {
    let (prefix, name) = text
        .split_once('/')
        .map_or((None, text), |(prefix, name)| (Some(prefix), name));
    prefix.is_none_or(is_dns_name) && !name.is_empty() && is_label_value(name)
}

fn is_label_value(text: &str) -> bool {
    let is_end = |c: char| c.is_ascii_alphanumeric();
    text.is_empty()
        || (text.len() <= 63
            && text.starts_with(is_end)
            && text.ends_with(is_end)
            && text
                .bytes()
                .all(|b| b.is_ascii_alphanumeric() || b"._-".contains(&b)))
}
