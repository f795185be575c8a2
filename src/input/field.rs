//! A value of a file together with its place, read on its own.

use std::borrow::Cow;
use std::fmt;
use std::marker::PhantomData;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::de::{Deserialize, Deserializer, MapAccess, SeqAccess, Visitor};

use super::Place;
use super::deserialize::{FIELD, SHORTHAND};

/// A value that was given, with its place.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Given<T> {
    /// The value.
    pub value: T,
    /// Where the value stands.
    pub place: Place,
    /// Where its key stands; the same as `place` for a list's elements.
    pub key: Place,
}

impl<T> Given<T> {
    /// The same place with another value.
    pub fn with<U>(&self, value: U) -> Given<U> {
        Given {
            value,
            place: self.place,
            key: self.key,
        }
    }
}

/// A value that may be absent, or wrong without hiding the other mistakes of the file.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum Field<T> {
    /// Not in the file.
    #[default]
    Absent,
    /// The key stands there without a value, which counts as absent.
    Empty(Place),
    /// There, but not of the right shape; the problem is reported already.
    Wrong,
    /// There.
    Given(Given<T>),
}

impl<T> Field<T> {
    /// The value with its place.
    pub fn given(&self) -> Option<&Given<T>> {
        match self {
            Self::Given(given) => Some(given),
            Self::Absent | Self::Empty(_) | Self::Wrong => None,
        }
    }

    /// The value.
    pub fn value(&self) -> Option<&T> {
        self.given().map(|given| &given.value)
    }

    /// Whether nothing was written.
    pub fn is_absent(&self) -> bool {
        matches!(self, Self::Absent | Self::Empty(_))
    }
}

impl<'de, T: Deserialize<'de>> Deserialize<'de> for Field<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_newtype_struct(FIELD, FieldVisitor(PhantomData))
    }
}

/// Takes what [`super::deserialize`] hands out under the name [`FIELD`]: four offsets, then the value if there is one.
struct FieldVisitor<T>(PhantomData<T>);

impl<'de, T: Deserialize<'de>> Visitor<'de> for FieldVisitor<T> {
    type Value = Field<T>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a value with its place")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut parts: A) -> Result<Field<T>, A::Error> {
        let mut offset = || parts.next_element().map(Option::unwrap_or_default);
        let place = Place {
            start: offset()?,
            end: offset()?,
        };
        let key = Place {
            start: offset()?,
            end: offset()?,
        };
        Ok(match parts.next_element() {
            Ok(Some(value)) => Field::Given(Given { value, place, key }),
            Ok(None) => Field::Empty(key),
            Err(_) => Field::Wrong,
        })
    }
}

impl<T: JsonSchema> JsonSchema for Field<T> {
    fn inline_schema() -> bool {
        T::inline_schema()
    }

    fn schema_name() -> Cow<'static, str> {
        T::schema_name()
    }

    fn schema_id() -> Cow<'static, str> {
        T::schema_id()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        T::json_schema(generator)
    }
}

/// A value with a short form: a text where that is enough, else the whole.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Shorthand<T> {
    /// The short form.
    Text(String),
    /// The long form.
    Whole(T),
}

impl<'de, T: Deserialize<'de>> Deserialize<'de> for Shorthand<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_newtype_struct(SHORTHAND, ShorthandVisitor(PhantomData))
    }
}

struct ShorthandVisitor<T>(PhantomData<T>);

impl<'de, T: Deserialize<'de>> Visitor<'de> for ShorthandVisitor<T> {
    type Value = Shorthand<T>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a text or the whole")
    }

    fn visit_str<E>(self, text: &str) -> Result<Shorthand<T>, E> {
        Ok(Shorthand::Text(text.to_owned()))
    }

    fn visit_newtype_struct<D: Deserializer<'de>>(
        self,
        whole: D,
    ) -> Result<Shorthand<T>, D::Error> {
        T::deserialize(whole).map(Shorthand::Whole)
    }
}

impl<T: JsonSchema> JsonSchema for Shorthand<T> {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        format!("Shorthand_{}", T::schema_name()).into()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        let whole = generator.subschema_for::<T>();
        json_schema!({ "oneOf": [{ "type": "string" }, whole] })
    }
}

/// What the schema says of a text that may look like a number or a truth value (`net.core.somaxconn: 1024`).
#[derive(JsonSchema)]
#[schemars(inline, extend("type" = ["string", "number", "boolean"]))]
pub struct AnyScalar;

/// A map whose keys the user chooses, in the order of the file, each with its place.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entries<T>(pub Vec<(Given<String>, Field<T>)>);

impl<T> Default for Entries<T> {
    fn default() -> Self {
        Self(Vec::new())
    }
}

impl<T> Entries<T> {
    /// The keys without a value.
    pub fn empty(&self) -> impl Iterator<Item = &Given<String>> {
        self.0
            .iter()
            .filter_map(|(key, value)| value.is_absent().then_some(key))
    }

    /// The keys with the values that are there.
    pub fn iter(&self) -> impl Iterator<Item = (&Given<String>, &Given<T>)> {
        self.0
            .iter()
            .filter_map(|(key, value)| Some((key, value.given()?)))
    }
}

impl<'de, T: Deserialize<'de>> Deserialize<'de> for Entries<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(EntriesVisitor(PhantomData))
    }
}

struct EntriesVisitor<T>(PhantomData<T>);

impl<'de, T: Deserialize<'de>> Visitor<'de> for EntriesVisitor<T> {
    type Value = Entries<T>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a map")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Entries<T>, A::Error> {
        let mut entries = Vec::new();
        while let Some((key, value)) = map.next_entry::<Field<String>, Field<T>>()? {
            if let Field::Given(key) = key {
                entries.push((key, value));
            }
        }
        Ok(Entries(entries))
    }
}

impl<T: JsonSchema> JsonSchema for Entries<T> {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        format!("Entries_{}", T::schema_name()).into()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        let values = generator.subschema_for::<T>();
        json_schema!({ "type": "object", "additionalProperties": values })
    }
}
