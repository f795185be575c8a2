//! Finds variables that nobody sets, by reading a template as text.
//!
//! tera checks filters, tests, functions and includes when it loads a template, but meets an unknown variable only when it
//! renders the branch that uses it. Waiting for that would stop a run half-way, so every path of every expression is looked
//! up here, loop variables and `set` included. The reader is lenient: tera has parsed the text before.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use super::known::Known;

/// Something wrong at a place in a template.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Problem {
    /// Byte offset.
    pub start: usize,
    /// Characters to underline.
    pub length: usize,
    /// What is wrong and what would be right.
    pub message: String,
}

/// Words of expressions that are no variables.
const KEYWORDS: [&str; 13] = [
    "and", "or", "not", "in", "if", "else", "true", "false", "True", "False", "none", "None",
    "null",
];

/// Tags that hold no expression.
const SILENT_TAGS: [&str; 9] = [
    "else", "endif", "endfor", "endset", "include", "break", "continue", "raw", "endraw",
];

/// The uses of unknown variables in a template, given an example of the known ones.
pub(super) fn unknown(text: &str, known: &Value) -> Vec<Problem> {
    let mut scan = Scan {
        scopes: vec![BTreeMap::new()],
        known: Known::of(known),
        problems: Vec::new(),
    };
    for tag in tags(text) {
        scan.tag(&tag);
    }
    scan.problems
}

/// The members of a variable that a template names; `None`: it may use any. Read without regard to loops and `set`, so that
/// rather too many are found than too few.
pub(super) fn members<'a>(text: &'a str, variable: &str) -> Option<BTreeSet<&'a str>> {
    let mut members = BTreeSet::new();
    for tag in tags(text) {
        for (at, token) in tag.tokens.iter().enumerate() {
            if token.kind == Kind::Word(variable) {
                members.insert(member_after(&tag.tokens, at + 1)?);
            }
        }
    }
    Some(members)
}

/// `.name` or `["name"]` at that place.
fn member_after<'a>(tokens: &[Token<'a>], at: usize) -> Option<&'a str> {
    let next = |more| kind_at(tokens, at + more);
    match (next(0), next(1), next(2)) {
        (Some(Kind::Sign("." | "?.")), Some(Kind::Word(name)), _)
        | (Some(Kind::Sign("[" | "?[")), Some(Kind::Text(name)), Some(Kind::Sign("]"))) => {
            Some(name)
        }
        _ => None,
    }
}

/// A word, string or sign of an expression, with its byte offset.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Token<'a> {
    start: usize,
    kind: Kind<'a>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind<'a> {
    Word(&'a str),
    Text(&'a str),
    Number,
    Sign(&'a str),
}

/// `{{ … }}` or `{% … %}`.
struct Tag<'a> {
    is_statement: bool,
    tokens: Vec<Token<'a>>,
}

fn tags(text: &str) -> Vec<Tag<'_>> {
    let mut tags = Vec::new();
    let mut at = 0;
    while let Some(found) = text.get(at..).and_then(next_opening) {
        let start = at + found;
        let rest = text.get(start..).unwrap_or_default();
        if rest.starts_with("{#") {
            at = rest
                .find("#}")
                .map_or(text.len(), |length| start + length + 2);
            continue;
        }
        let is_statement = rest.starts_with("{%");
        let (tokens, end) = tokens(text, start + 2, if is_statement { "%}" } else { "}}" });
        at = end;
        if is_statement && is_named(&tokens, "raw") {
            at = after_raw(text, end);
        }
        tags.push(Tag {
            is_statement,
            tokens,
        });
    }
    tags
}

fn next_opening(text: &str) -> Option<usize> {
    ["{{", "{%", "{#"]
        .iter()
        .filter_map(|opening| text.find(opening))
        .min()
}

/// Without the `-` that only trims white space, at either end.
fn without_trimming<'t, 'a>(tokens: &'t [Token<'a>]) -> &'t [Token<'a>] {
    let is_dash = |token: &Token<'_>| token.kind == Kind::Sign("-");
    let tokens = match tokens.split_first() {
        Some((first, rest)) if is_dash(first) => rest,
        _ => tokens,
    };
    match tokens.split_last() {
        Some((last, rest)) if is_dash(last) => rest,
        _ => tokens,
    }
}

/// Whether a tag is the one of that name.
fn is_named(tokens: &[Token<'_>], name: &str) -> bool {
    without_trimming(tokens).first().map(|token| token.kind) == Some(Kind::Word(name))
}

/// Behind the `endraw` tag that closes a raw block.
fn after_raw(text: &str, from: usize) -> usize {
    let mut at = from;
    while let Some(found) = text.get(at..).and_then(|rest| rest.find("{%")) {
        let (tokens, end) = tokens(text, at + found + 2, "%}");
        if is_named(&tokens, "endraw") {
            return end;
        }
        at += found + 2;
    }
    text.len()
}

/// The tokens from `from` up to the closing mark, and the offset behind it.
fn tokens<'a>(text: &'a str, from: usize, closing: &str) -> (Vec<Token<'a>>, usize) {
    let mut tokens = Vec::new();
    let mut at = from;
    while let Some(rest) = text.get(at..).filter(|rest| !rest.is_empty()) {
        if rest.starts_with(closing) {
            return (tokens, at + closing.len());
        }
        let (kind, length) = token(rest);
        if let Some(kind) = kind {
            tokens.push(Token { start: at, kind });
        }
        at += length;
    }
    (tokens, text.len())
}

/// The first token of `rest` (none for white space) and its length.
fn token(rest: &str) -> (Option<Kind<'_>>, usize) {
    let Some(first) = rest.chars().next() else {
        return (None, 1);
    };
    let while_in =
        |matches: fn(char) -> bool| rest.find(|each| !matches(each)).unwrap_or(rest.len());
    if first.is_whitespace() {
        return (None, first.len_utf8());
    }
    if first.is_ascii_alphabetic() || first == '_' {
        let length = while_in(|each| each.is_ascii_alphanumeric() || each == '_');
        return (rest.get(..length).map(Kind::Word), length);
    }
    if first.is_ascii_digit() {
        return (Some(Kind::Number), while_in(|each| each.is_ascii_digit()));
    }
    if matches!(first, '"' | '\'' | '`') {
        let length = string_length(rest, first);
        return (rest.get(1..length - 1).map(Kind::Text), length);
    }
    let length = if ["?.", "?[", "==", "!=", ">=", "<=", "//", "**"]
        .iter()
        .any(|sign| rest.starts_with(sign))
    {
        2
    } else {
        first.len_utf8()
    };
    (rest.get(..length).map(Kind::Sign), length)
}

fn string_length(rest: &str, quote: char) -> usize {
    let mut is_escaped = false;
    for (index, character) in rest.char_indices().skip(1) {
        if is_escaped {
            is_escaped = false;
        } else if character == '\\' {
            is_escaped = true;
        } else if character == quote {
            return index + 1;
        }
    }
    rest.len().max(2)
}

struct Scan<'a> {
    scopes: Vec<BTreeMap<&'a str, Known<'a>>>,
    known: Known<'a>,
    problems: Vec<Problem>,
}

impl<'a> Scan<'a> {
    fn tag(&mut self, tag: &Tag<'a>) {
        let tokens = without_trimming(&tag.tokens);
        if !tag.is_statement {
            self.expression(tokens, 0);
            return;
        }
        let Some((first, rest)) = tokens.split_first() else {
            return;
        };
        match first.kind {
            Kind::Word("for") => self.open_loop(rest),
            Kind::Word("set" | "set_global") => self.set(rest),
            Kind::Word("if" | "elif") => {
                self.expression(rest, 0);
            }
            Kind::Word(word) if SILENT_TAGS.contains(&word) => {
                if word == "endfor" {
                    self.scopes.pop();
                }
            }
            _ => self.refuse(
                first,
                "a tag that templates of quorate cannot use".to_owned(),
            ),
        }
    }

    /// `value in …` or `key, value in …`.
    fn open_loop(&mut self, tokens: &[Token<'a>]) {
        let names: Vec<&'a str> = tokens
            .iter()
            .map_while(|token| match token.kind {
                Kind::Word("in") => None,
                Kind::Word(name) => Some(name),
                _ => Some(","),
            })
            .filter(|name| *name != ",")
            .collect();
        let target = tokens
            .iter()
            .position(|token| token.kind == Kind::Word("in"))
            .and_then(|at| tokens.get(at + 1..))
            .unwrap_or_default();
        let element = self.value_of(target).element();
        self.expression(target, 0);
        let mut scope = BTreeMap::from([("loop", Known::Anything)]);
        for (index, name) in names.iter().enumerate() {
            let is_key = names.len() == 2 && index == 0;
            scope.insert(name, if is_key { Known::Anything } else { element });
        }
        self.scopes.push(scope);
    }

    /// `name = …`, or `name` alone for a block.
    fn set(&mut self, tokens: &[Token<'a>]) {
        let Some((name, rest)) = tokens.split_first() else {
            return;
        };
        let value = rest.get(1..).unwrap_or_default();
        self.expression(value, 0);
        let known = self.value_of(value);
        if let (Kind::Word(name), Some(scope)) = (name.kind, self.scopes.last_mut()) {
            scope.insert(name, known);
        }
    }

    /// The shape of an expression that is nothing but a path; of any other, nothing is known.
    fn value_of(&mut self, tokens: &[Token<'a>]) -> Known<'a> {
        let reported = self.problems.len();
        let (known, end) = self.path(tokens, 0);
        self.problems.truncate(reported);
        if end == tokens.len() {
            known
        } else {
            Known::Anything
        }
    }

    /// Looks every path up, until the bracket that closes this level; returns the index of that bracket.
    fn expression(&mut self, tokens: &[Token<'a>], from: usize) -> usize {
        let mut at = from;
        while let Some(token) = tokens.get(at) {
            match token.kind {
                Kind::Sign("(" | "[" | "{" | "?[") => at = self.expression(tokens, at + 1) + 1,
                Kind::Sign(")" | "]" | "}") => return at,
                Kind::Sign("|") => at += 2,
                Kind::Word("is") => {
                    let is_negated = kind_at(tokens, at + 1) == Some(Kind::Word("not"));
                    at += if is_negated { 3 } else { 2 };
                }
                Kind::Word("for") => {
                    self.refuse(
                        token,
                        "a list comprehension, which cannot be checked: use a loop".to_owned(),
                    );
                    at = tokens.len();
                }
                Kind::Word(word) if KEYWORDS.contains(&word) => at += 1,
                Kind::Word(_) if is_name_only(tokens, at) => at += 1,
                Kind::Word(_) => at = self.path(tokens, at).1,
                Kind::Text(_) | Kind::Number | Kind::Sign(_) => at += 1,
            }
        }
        at
    }

    /// The shape of the path that starts at `from`, and the index behind it.
    fn path(&mut self, tokens: &[Token<'a>], from: usize) -> (Known<'a>, usize) {
        let Some(Kind::Word(root)) = kind_at(tokens, from) else {
            return (Known::Anything, from);
        };
        let mut known = self.root(root, tokens, from);
        let mut at = from + 1;
        loop {
            match (kind_at(tokens, at), kind_at(tokens, at + 1)) {
                (Some(Kind::Sign("." | "?.")), Some(Kind::Word(name))) => {
                    known = self.step(known, name, tokens, at + 1);
                    at += 2;
                }
                (Some(Kind::Sign("[" | "?[")), Some(Kind::Text(name))) => {
                    known = self.step(known, name, tokens, at + 1);
                    at = self.expression(tokens, at + 1) + 1;
                }
                (Some(Kind::Sign("[" | "?[")), _) => {
                    known = known.element();
                    at = self.expression(tokens, at + 1) + 1;
                }
                _ => return (known, at),
            }
        }
    }

    fn root(&mut self, name: &str, tokens: &[Token<'a>], at: usize) -> Known<'a> {
        let local = self.scopes.iter().rev().find_map(|scope| scope.get(name));
        match local.copied() {
            Some(known) => known,
            None => self.step(self.known, name, tokens, at),
        }
    }

    fn step(&mut self, from: Known<'a>, name: &str, tokens: &[Token<'a>], at: usize) -> Known<'a> {
        if let Some(known) = from.member(name) {
            return known;
        }
        let known = from.names();
        let hint = if known.is_empty() {
            "it has no fields".to_owned()
        } else {
            format!("known here: {}", known.join(", "))
        };
        if let Some(token) = tokens.get(at) {
            self.refuse(token, format!("unknown variable `{name}`; {hint}"));
        }
        Known::Anything
    }

    fn refuse(&mut self, token: &Token<'_>, message: String) {
        let length = match token.kind {
            Kind::Word(text) | Kind::Sign(text) => text.chars().count(),
            Kind::Text(text) => text.chars().count() + 2,
            Kind::Number => 1,
        };
        self.problems.push(Problem {
            start: token.start,
            length,
            message,
        });
    }
}

fn kind_at<'a>(tokens: &[Token<'a>], at: usize) -> Option<Kind<'a>> {
    tokens.get(at).map(|token| token.kind)
}

/// Whether the word names a keyword argument or a function.
fn is_name_only(tokens: &[Token<'_>], at: usize) -> bool {
    matches!(kind_at(tokens, at + 1), Some(Kind::Sign("=" | "(")))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn unknown_in(text: &str) -> Vec<String> {
        let known = json!({
            "name": "x",
            "vip": { "address": "x", "dns": "x" },
            "nodes": [{ "name": "x", "labels": { "*": "x" } }],
            "flags": { "*": "x" },
            "open": null
        });
        unknown(text, &known)
            .into_iter()
            .map(|problem| {
                let rest = text.get(problem.start..).unwrap_or_default();
                rest.chars().take(problem.length).collect()
            })
            .collect()
    }

    #[test]
    fn finds_unknown_variables_and_only_them() {
        let cases: [(&str, &[&str]); 24] = [
            ("{{ name }} {{ vip.address }} {{ vip[\"dns\"] }}", &[]),
            ("{{ nam }}", &["nam"]),
            ("{{- vip.adress -}}", &["adress"]),
            ("{{ vip?.adress }}", &["adress"]),
            ("{{ vip[\"adress\"] }}", &["\"adress\""]),
            ("{{ name.length }}", &["length"]),
            (
                "{% for n in nodes %}{{ n.name }}{{ n.labels.a }}{{ loop.last }}{% endfor %}",
                &[],
            ),
            (
                "{%- for n in nodes -%}{{ n.nam }}{% endfor %}{{ n }}",
                &["nam", "n"],
            ),
            ("{% for k, v in flags %}{{ k }}{{ v }}{% endfor %}", &[]),
            ("{% for n in nods %}{{ n.whatever }}{% endfor %}", &["nods"]),
            ("{% set x = vip %}{{ x.address }}{{ x.port }}", &["port"]),
            ("{% set x = vip.port %}", &["port"]),
            ("{% set x = name ~ vip.dns | upper %}{{ x }}", &[]),
            (
                "{% if vip.dns is defined and nam %}{% elif name is not none or b %}{% endif %}",
                &["nam", "b"],
            ),
            ("{{ name | replace(from=name, to=nam) }}", &["nam"]),
            ("{{ range(end=nam) }}", &["nam"]),
            (
                "{{ {\"a\": nam, \"b\": [name, 1.5, flags[name], nodes[0].nme]} | length }}",
                &["nam", "nme"],
            ),
            (
                "{{ open.x.y[name].z }}{{ flags[name] }}{{ flags.any }}",
                &[],
            ),
            (
                "{# nam #}{{ \"{{ nam }}\" }}{% raw %}{{ nam }}{% endraw %}{{ b }}",
                &["b"],
            ),
            ("{{ nam if vip.dns == \"x\" else b }}", &["nam", "b"]),
            ("{% include \"nam\" %}", &[]),
            ("{{ [x for x in nodes] }}", &["x", "for"]),
            (
                "{% component c() %}{% endcomponent %}",
                &["component", "endcomponent"],
            ),
            ("{{ nodes | first | get(key=\"x\") }}{{ `a` }}", &[]),
        ];
        for (text, expected) in cases {
            assert_eq!(unknown_in(text), expected, "in {text}");
        }
    }

    #[test]
    fn members_are_found_or_any_may_be_used() {
        let cases: [(&str, Option<&[&str]>); 8] = [
            ("{{ name }} vip.port", Some(&[])),
            (
                "{{ vip.address }}{% if vip?.dns is defined %}{{ vip[\"port\"] }}{% endif %}",
                Some(&["address", "dns", "port"]),
            ),
            (
                "{% raw %}{{ vip }}{% endraw %}{# vip #}{{ \"vip\" }}",
                Some(&[]),
            ),
            ("{% for key, value in vip %}{{ key }}{% endfor %}", None),
            ("{% set x = vip %}{{ x.port }}", None),
            ("{{ vip[name] }}", None),
            ("{{ vip[\"po\" ~ \"rt\"] }}", None),
            ("{{ vip | json_encode }}", None),
        ];
        for (text, expected) in cases {
            let expected = expected.map(|names| names.iter().copied().collect());
            assert_eq!(members(text, "vip"), expected, "in {text}");
        }
    }
}
