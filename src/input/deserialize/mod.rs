//! The bridge from a [`crate::input::Tree`] to serde types: it collects problems where serde would stop.
//!
//! Three things make that possible. Unknown keys of a struct are reported here and never reach the visitor. A
//! [`crate::input::Field`] turns the error of its value into a reported problem. And scalars keep their text, so that `1.30` read
//! into a `String` stays `1.30`.

use std::cell::RefCell;

use serde::de::{self, Deserializer, Expected, Unexpected, Visitor};

use super::suggest::{did_you_mean, list, one_of, question};
use super::tree::{Key, Kind, Node};
use super::{Place, Problem};
use access::{Entries, FieldParts, Items};
use choice::{Choice, choose_one, unknown_choice};
use error::Error;

mod access;
mod choice;
mod error;

/// The newtype name by which [`crate::input::Field`] asks for its place.
pub(in crate::input) const FIELD: &str = "quorate::input::Field";

/// The newtype name by which [`crate::input::Shorthand`] asks for a text as it stands.
pub(in crate::input) const SHORTHAND: &str = "quorate::input::Shorthand";

/// Where problems go while the reading continues.
pub(in crate::input) struct Sink(RefCell<Vec<Problem>>);

impl Sink {
    pub(in crate::input) fn new(problems: Vec<Problem>) -> Self {
        Self(RefCell::new(problems))
    }

    pub(in crate::input) fn push(&self, problem: Problem) {
        self.0.borrow_mut().push(problem);
    }

    pub(in crate::input) fn into_problems(self) -> Vec<Problem> {
        self.0.into_inner()
    }
}

/// Reads one node.
#[derive(Clone, Copy)]
pub(in crate::input) struct NodeDeserializer<'a> {
    node: &'a Node,
    key: Place,
    sink: &'a Sink,
}

impl<'a> NodeDeserializer<'a> {
    pub(in crate::input) fn new(node: &'a Node, sink: &'a Sink) -> Self {
        Self {
            node,
            key: node.place,
            sink,
        }
    }

    fn under(node: &'a Node, key: Place, sink: &'a Sink) -> Self {
        Self { node, key, sink }
    }

    /// The place to underline: the value, or its key when the value is empty or spans lines.
    fn unexpected(&self) -> Unexpected<'a> {
        match &self.node.kind {
            Kind::Null => Unexpected::Unit,
            Kind::Scalar { text, .. } => Unexpected::Str(text),
            Kind::Sequence(_) => Unexpected::Seq,
            Kind::Mapping(_) => Unexpected::Map,
        }
    }

    fn refuse<T>(self, expected: &dyn Expected) -> Result<T, Error> {
        let error = <Error as de::Error>::invalid_type(self.unexpected(), expected);
        Err(error.at(self.place()))
    }

    fn refuse_for<T>(self, expected: &str, help: &str) -> Result<T, Error> {
        self.refuse(&expected)
            .map_err(|error| error.with_help(help.to_owned()))
    }

    fn place(&self) -> Place {
        match &self.node.kind {
            Kind::Null => self.key,
            Kind::Scalar { .. } | Kind::Sequence(_) | Kind::Mapping(_) => self.node.place,
        }
    }

    fn plain(&self) -> Option<&'a str> {
        match &self.node.kind {
            Kind::Scalar { text, plain: true } => Some(text),
            Kind::Null | Kind::Scalar { .. } | Kind::Sequence(_) | Kind::Mapping(_) => None,
        }
    }

    fn map<V: Visitor<'a>>(
        self,
        entries: &'a [(Key, Node)],
        visitor: V,
    ) -> Result<V::Value, Error> {
        let entries = entries.iter().collect();
        visitor.visit_map(Entries::new(entries, self.sink))
    }

    /// Hands on the entries of known keys and reports the others.
    fn known<V: Visitor<'a>>(
        self,
        entries: &'a [(Key, Node)],
        fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Error> {
        let (known, unknown): (Vec<_>, Vec<_>) = entries
            .iter()
            .partition(|(key, _)| fields.contains(&key.text.as_str()));
        for (key, _) in unknown {
            self.sink.push(unknown_key(key, fields));
        }
        visitor.visit_map(Entries::new(known, self.sink))
    }

    fn items<V: Visitor<'a>>(self, items: &'a [Node], visitor: V) -> Result<V::Value, Error> {
        visitor.visit_seq(Items {
            items: items.iter(),
            sink: self.sink,
        })
    }
}

fn unknown_key(key: &Key, fields: &'static [&'static str]) -> Problem {
    let help = match did_you_mean(&key.text, fields.iter().copied()) {
        Some(meant) => question(meant),
        None => format!("write {}", one_of(fields.iter().copied())),
    };
    Problem::at(key.place, format!("unknown key `{}`", key.text)).help(help)
}

/// A number as YAML's core schema writes it.
fn integer(text: &str) -> Option<i64> {
    match text.strip_prefix("0x") {
        Some(digits) => i64::from_str_radix(digits, 16).ok(),
        None => text.parse().ok(),
    }
}

fn float(text: &str) -> Option<f64> {
    let looks_like_a_number = text.contains(|c: char| c.is_ascii_digit())
        && text
            .chars()
            .all(|c| matches!(c, '0'..='9' | '.' | '-' | '+' | 'e' | 'E'));
    looks_like_a_number.then(|| text.parse().ok()).flatten()
}

macro_rules! numbers {
    ($($method:ident)*) => {$(
        fn $method<V: Visitor<'a>>(self, visitor: V) -> Result<V::Value, Error> {
            match self.plain().and_then(integer) {
                Some(number) => visitor.visit_i64(number).map_err(|error: Error| error.at(self.place())),
                None => self.refuse_for("a whole number", "write digits without quotes"),
            }
        }
    )*};
}

impl<'a> Deserializer<'a> for NodeDeserializer<'a> {
    type Error = Error;

    fn deserialize_any<V: Visitor<'a>>(self, visitor: V) -> Result<V::Value, Error> {
        let result = match &self.node.kind {
            Kind::Null => visitor.visit_unit(),
            Kind::Sequence(items) => self.items(items, visitor),
            Kind::Mapping(entries) => self.map(entries, visitor),
            Kind::Scalar { text, plain: false } => visitor.visit_str(text),
            Kind::Scalar { text, plain: true } => match text.as_str() {
                "true" | "True" | "TRUE" => visitor.visit_bool(true),
                "false" | "False" | "FALSE" => visitor.visit_bool(false),
                text => match (integer(text), float(text)) {
                    (Some(number), _) => visitor.visit_i64(number),
                    (None, Some(number)) => visitor.visit_f64(number),
                    (None, None) => visitor.visit_str(text),
                },
            },
        };
        result.map_err(|error: Error| error.at(self.place()))
    }

    fn deserialize_bool<V: Visitor<'a>>(self, visitor: V) -> Result<V::Value, Error> {
        match self.plain() {
            Some("true" | "True" | "TRUE") => visitor.visit_bool(true),
            Some("false" | "False" | "FALSE") => visitor.visit_bool(false),
            _ => self.refuse_for("`true` or `false`", "write one of the two, without quotes"),
        }
    }

    numbers! {
        deserialize_i8 deserialize_i16 deserialize_i32 deserialize_i64
        deserialize_u8 deserialize_u16 deserialize_u32 deserialize_u64
    }

    fn deserialize_str<V: Visitor<'a>>(self, visitor: V) -> Result<V::Value, Error> {
        match &self.node.kind {
            Kind::Scalar { text, .. } => visitor
                .visit_str(text)
                .map_err(|error: Error| error.at(self.place())),
            Kind::Null | Kind::Sequence(_) | Kind::Mapping(_) => {
                self.refuse_for("a text", "write one word or a text in quotes")
            }
        }
    }

    fn deserialize_string<V: Visitor<'a>>(self, visitor: V) -> Result<V::Value, Error> {
        self.deserialize_str(visitor)
    }

    fn deserialize_option<V: Visitor<'a>>(self, visitor: V) -> Result<V::Value, Error> {
        match &self.node.kind {
            Kind::Null => visitor.visit_none(),
            Kind::Scalar { .. } | Kind::Sequence(_) | Kind::Mapping(_) => visitor.visit_some(self),
        }
    }

    fn deserialize_newtype_struct<V: Visitor<'a>>(
        self,
        name: &'static str,
        visitor: V,
    ) -> Result<V::Value, Error> {
        match (name, &self.node.kind) {
            (FIELD, _) => visitor.visit_seq(FieldParts::new(self)),
            (SHORTHAND, Kind::Scalar { text, .. }) => visitor.visit_str(text),
            _ => visitor.visit_newtype_struct(self),
        }
    }

    fn deserialize_seq<V: Visitor<'a>>(self, visitor: V) -> Result<V::Value, Error> {
        match &self.node.kind {
            Kind::Sequence(items) => self.items(items, visitor),
            Kind::Null | Kind::Scalar { .. } | Kind::Mapping(_) => {
                self.refuse_for("a list", "write `[a, b]`, or one `- item` per line")
            }
        }
        .map_err(|error: Error| error.at(self.place()))
    }

    fn deserialize_map<V: Visitor<'a>>(self, visitor: V) -> Result<V::Value, Error> {
        match &self.node.kind {
            Kind::Mapping(entries) => self.map(entries, visitor),
            Kind::Null | Kind::Scalar { .. } | Kind::Sequence(_) => self.refuse_for(
                "a map",
                "write `key: value` lines below it, or `{ key: value }`",
            ),
        }
        .map_err(|error: Error| error.at(self.place()))
    }

    fn deserialize_struct<V: Visitor<'a>>(
        self,
        _name: &'static str,
        fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Error> {
        match &self.node.kind {
            Kind::Mapping(entries) => self.known(entries, fields, visitor),
            Kind::Null | Kind::Scalar { .. } | Kind::Sequence(_) => {
                self.refuse(&"a map").map_err(|error: Error| {
                    error.with_help(format!("its keys: {}", list(fields.iter().copied())))
                })
            }
        }
        .map_err(|error: Error| error.at(self.place()))
    }

    fn deserialize_enum<V: Visitor<'a>>(
        self,
        _name: &'static str,
        variants: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Error> {
        let (word, place, value) = match &self.node.kind {
            Kind::Scalar { text, .. } => (text.as_str(), self.node.place, None),
            Kind::Mapping(entries) => match entries.as_slice() {
                [(key, value)] => (key.text.as_str(), key.place, Some((key, value))),
                _ => return Err(choose_one(variants).at(self.place())),
            },
            Kind::Null | Kind::Sequence(_) => return Err(choose_one(variants).at(self.place())),
        };
        if !variants.contains(&word) {
            return Err(unknown_choice(word, variants).at(place));
        }
        let choice = Choice {
            word,
            place,
            value: value.map(|(key, node)| Self::under(node, key.place, self.sink)),
        };
        visitor.visit_enum(choice).map_err(|error| error.at(place))
    }

    fn deserialize_identifier<V: Visitor<'a>>(self, visitor: V) -> Result<V::Value, Error> {
        self.deserialize_str(visitor)
    }

    fn deserialize_ignored_any<V: Visitor<'a>>(self, visitor: V) -> Result<V::Value, Error> {
        visitor.visit_unit()
    }

    serde::forward_to_deserialize_any! { <W: Visitor<'a>>
        i128 u128 f32 f64 char bytes byte_buf unit unit_struct tuple tuple_struct
    }
}
