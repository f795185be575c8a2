//! The bridge from a [`super::Tree`] to serde types: it collects problems where serde would stop.
//!
//! Three things make that possible. Unknown keys of a struct are reported here and never reach the visitor. A
//! [`super::Field`] turns the error of its value into a reported problem. And scalars keep their text, so that `1.30` read
//! into a `String` stays `1.30`.

use std::cell::RefCell;
use std::fmt;

use serde::de::value::{StrDeserializer, UsizeDeserializer};
use serde::de::{
    self, DeserializeSeed, Deserializer, EnumAccess, Expected, IntoDeserializer, MapAccess,
    SeqAccess, Unexpected, VariantAccess, Visitor,
};

use super::suggest::{did_you_mean, one_of};
use super::tree::{Key, Kind, Node};
use super::{Place, Problem};

/// The newtype name by which [`super::Field`] asks for its place.
pub(super) const FIELD: &str = "quorate::input::Field";

/// The newtype name by which [`super::Shorthand`] asks for a text as it stands.
pub(super) const SHORTHAND: &str = "quorate::input::Shorthand";

/// Where problems go while the reading continues.
pub(super) struct Sink(RefCell<Vec<Problem>>);

impl Sink {
    pub(super) fn new(problems: Vec<Problem>) -> Self {
        Self(RefCell::new(problems))
    }

    pub(super) fn push(&self, problem: Problem) {
        self.0.borrow_mut().push(problem);
    }

    pub(super) fn into_problems(self) -> Vec<Problem> {
        self.0.into_inner()
    }
}

/// Why a value does not fit; its place is added on the way up.
#[derive(Debug)]
pub(super) struct Error {
    message: String,
    help: Option<String>,
    place: Option<Place>,
}

impl Error {
    pub(super) fn into_problem(self, fallback: Place) -> Problem {
        Problem {
            message: self.message,
            place: Some(self.place.unwrap_or(fallback)),
            help: self.help,
            related: None,
        }
    }

    fn at(mut self, place: Place) -> Self {
        self.place.get_or_insert(place);
        self
    }

    fn with_help(mut self, help: String) -> Self {
        self.help = Some(help);
        self
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for Error {}

impl de::Error for Error {
    fn custom<T: fmt::Display>(message: T) -> Self {
        Self {
            message: message.to_string(),
            help: None,
            place: None,
        }
    }

    fn invalid_type(found: Unexpected<'_>, expected: &dyn Expected) -> Self {
        Self::custom(format_args!("expected {expected}, found {}", name(found)))
    }

    fn invalid_value(found: Unexpected<'_>, expected: &dyn Expected) -> Self {
        Self::invalid_type(found, expected)
    }

    fn missing_field(field: &'static str) -> Self {
        Self::custom(format_args!("`{field}` is missing"))
    }
}

/// What was found, in the words of somebody who writes YAML.
fn name(found: Unexpected<'_>) -> String {
    match found {
        Unexpected::Bool(value) => format!("`{value}`"),
        Unexpected::Unsigned(value) => format!("the number {value}"),
        Unexpected::Signed(value) => format!("the number {value}"),
        Unexpected::Float(value) => format!("the number {value}"),
        Unexpected::Str(text) => format!("`{text}`"),
        Unexpected::Unit => "nothing".to_owned(),
        Unexpected::Seq => "a list".to_owned(),
        Unexpected::Map => "a map".to_owned(),
        other => other.to_string(),
    }
}

/// Reads one node.
#[derive(Clone, Copy)]
pub(super) struct NodeDeserializer<'a> {
    node: &'a Node,
    key: Place,
    sink: &'a Sink,
}

impl<'a> NodeDeserializer<'a> {
    pub(super) fn new(node: &'a Node, sink: &'a Sink) -> Self {
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
        Some(meant) => format!("did you mean `{meant}`?"),
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
            (FIELD, Kind::Null) => visitor.visit_unit(),
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
                    error.with_help(format!("its keys are {}", one_of(fields.iter().copied())))
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

fn choose_one(variants: &'static [&'static str]) -> Error {
    <Error as de::Error>::custom("expected exactly one choice")
        .with_help(format!("write {}", one_of(variants.iter().copied())))
}

fn unknown_choice(word: &str, variants: &'static [&'static str]) -> Error {
    let help = match did_you_mean(word, variants.iter().copied()) {
        Some(meant) => format!("did you mean `{meant}`?"),
        None => format!("write {}", one_of(variants.iter().copied())),
    };
    <Error as de::Error>::custom(format_args!("unknown choice `{word}`")).with_help(help)
}

/// The entries of a map.
struct Entries<'a> {
    rest: std::vec::IntoIter<&'a (Key, Node)>,
    current: Option<&'a (Key, Node)>,
    sink: &'a Sink,
}

impl<'a> Entries<'a> {
    fn new(entries: Vec<&'a (Key, Node)>, sink: &'a Sink) -> Self {
        Self {
            rest: entries.into_iter(),
            current: None,
            sink,
        }
    }
}

impl<'a> MapAccess<'a> for Entries<'a> {
    type Error = Error;

    fn next_key_seed<K: DeserializeSeed<'a>>(
        &mut self,
        seed: K,
    ) -> Result<Option<K::Value>, Error> {
        self.current = self.rest.next();
        let Some((key, _)) = self.current else {
            return Ok(None);
        };
        let key = KeyDeserializer {
            key,
            sink: self.sink,
        };
        seed.deserialize(key).map(Some)
    }

    fn next_value_seed<V: DeserializeSeed<'a>>(&mut self, seed: V) -> Result<V::Value, Error> {
        let (key, node) = self.current.expect("serde asks for a value after its key");
        seed.deserialize(NodeDeserializer::under(node, key.place, self.sink))
    }

    fn size_hint(&self) -> Option<usize> {
        Some(self.rest.len())
    }
}

/// A key, as a text or as a [`super::Field`].
struct KeyDeserializer<'a> {
    key: &'a Key,
    sink: &'a Sink,
}

impl<'a> Deserializer<'a> for KeyDeserializer<'a> {
    type Error = Error;

    fn deserialize_any<V: Visitor<'a>>(self, visitor: V) -> Result<V::Value, Error> {
        visitor
            .visit_str(&self.key.text)
            .map_err(|error: Error| error.at(self.key.place))
    }

    fn deserialize_newtype_struct<V: Visitor<'a>>(
        self,
        name: &'static str,
        visitor: V,
    ) -> Result<V::Value, Error> {
        if name == FIELD {
            visitor.visit_seq(KeyParts {
                key: self.key,
                parts: 0,
                sink: self.sink,
            })
        } else {
            visitor.visit_newtype_struct(self)
        }
    }

    serde::forward_to_deserialize_any! { <W: Visitor<'a>>
        bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char str string bytes byte_buf option unit
        unit_struct seq tuple tuple_struct map struct enum identifier ignored_any
    }
}

/// The elements of a list.
struct Items<'a> {
    items: std::slice::Iter<'a, Node>,
    sink: &'a Sink,
}

impl<'a> SeqAccess<'a> for Items<'a> {
    type Error = Error;

    fn next_element_seed<T: DeserializeSeed<'a>>(
        &mut self,
        seed: T,
    ) -> Result<Option<T::Value>, Error> {
        let Some(node) = self.items.next() else {
            return Ok(None);
        };
        seed.deserialize(NodeDeserializer::new(node, self.sink))
            .map(Some)
    }

    fn size_hint(&self) -> Option<usize> {
        Some(self.items.len())
    }
}

/// What a [`super::Field`] takes: four offsets, then the value, whose error is reported rather than passed on.
struct FieldParts<'a> {
    offsets: std::array::IntoIter<usize, 4>,
    value: Option<NodeDeserializer<'a>>,
}

impl<'a> FieldParts<'a> {
    fn new(value: NodeDeserializer<'a>) -> Self {
        let (place, key) = (value.node.place, value.key);
        Self {
            offsets: [place.start, place.end, key.start, key.end].into_iter(),
            value: Some(value),
        }
    }
}

impl<'a> SeqAccess<'a> for FieldParts<'a> {
    type Error = Error;

    fn next_element_seed<T: DeserializeSeed<'a>>(
        &mut self,
        seed: T,
    ) -> Result<Option<T::Value>, Error> {
        if let Some(offset) = self.offsets.next() {
            return seed.deserialize(offset_deserializer(offset)).map(Some);
        }
        let Some(value) = self.value.take() else {
            return Ok(None);
        };
        seed.deserialize(value).map(Some).map_err(|error| {
            let message = error.to_string();
            value.sink.push(error.into_problem(value.place()));
            <Error as de::Error>::custom(message)
        })
    }
}

/// The same for a key.
struct KeyParts<'a> {
    key: &'a Key,
    parts: usize,
    sink: &'a Sink,
}

impl<'a> SeqAccess<'a> for KeyParts<'a> {
    type Error = Error;

    fn next_element_seed<T: DeserializeSeed<'a>>(
        &mut self,
        seed: T,
    ) -> Result<Option<T::Value>, Error> {
        let place = self.key.place;
        let part = self.parts;
        self.parts += 1;
        match part {
            0 | 2 => seed.deserialize(offset_deserializer(place.start)),
            1 | 3 => seed.deserialize(offset_deserializer(place.end)),
            _ => seed
                .deserialize(text_deserializer(&self.key.text))
                .inspect_err(|error| self.sink.push(Problem::at(place, error.to_string()))),
        }
        .map(Some)
    }
}

fn offset_deserializer(offset: usize) -> UsizeDeserializer<Error> {
    offset.into_deserializer()
}

fn text_deserializer(text: &str) -> StrDeserializer<'_, Error> {
    text.into_deserializer()
}

/// One variant of an enum: a word, or a map of one key.
struct Choice<'a> {
    word: &'a str,
    place: Place,
    value: Option<NodeDeserializer<'a>>,
}

impl<'a> EnumAccess<'a> for Choice<'a> {
    type Error = Error;
    type Variant = Self;

    fn variant_seed<V: DeserializeSeed<'a>>(self, seed: V) -> Result<(V::Value, Self), Error> {
        Ok((seed.deserialize(text_deserializer(self.word))?, self))
    }
}

impl Choice<'_> {
    fn needs_value(&self) -> Error {
        let word = self.word;
        <Error as de::Error>::custom(format_args!("`{word}` needs a value"))
            .with_help(format!("write `{{ {word}: … }}`"))
            .at(self.place)
    }
}

impl<'a> VariantAccess<'a> for Choice<'a> {
    type Error = Error;

    fn unit_variant(self) -> Result<(), Error> {
        if self.value.is_none() {
            return Ok(());
        }
        let word = self.word;
        let error = <Error as de::Error>::custom(format_args!("`{word}` takes no value"));
        Err(error.with_help(format!("write `{word}` alone")))
    }

    fn newtype_variant_seed<T: DeserializeSeed<'a>>(self, seed: T) -> Result<T::Value, Error> {
        match self.value {
            Some(value) => seed.deserialize(value),
            None => Err(self.needs_value()),
        }
    }

    fn tuple_variant<V: Visitor<'a>>(self, _len: usize, visitor: V) -> Result<V::Value, Error> {
        match self.value {
            Some(value) => value.deserialize_seq(visitor),
            None => Err(self.needs_value()),
        }
    }

    fn struct_variant<V: Visitor<'a>>(
        self,
        fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Error> {
        match self.value {
            Some(value) => value.deserialize_struct("variant", fields, visitor),
            None => Err(self.needs_value()),
        }
    }
}
