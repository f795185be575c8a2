//! What visitors draw values from: the entries of a map, the elements of a list, the parts of a field.

use serde::de::value::{StrDeserializer, UsizeDeserializer};
use serde::de::{
    self, DeserializeSeed, Deserializer, IntoDeserializer, MapAccess, SeqAccess, Visitor,
};

use super::error::Error;
use super::{FIELD, NodeDeserializer, Sink};
use crate::input::Problem;
use crate::input::tree::{Key, Kind, Node};

/// The entries of a map.
pub(super) struct Entries<'a> {
    rest: std::vec::IntoIter<&'a (Key, Node)>,
    current: Option<&'a (Key, Node)>,
    sink: &'a Sink,
}

impl<'a> Entries<'a> {
    pub(super) fn new(entries: Vec<&'a (Key, Node)>, sink: &'a Sink) -> Self {
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

/// A key, as a text or as a [`crate::input::Field`].
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
pub(super) struct Items<'a> {
    pub(super) items: std::slice::Iter<'a, Node>,
    pub(super) sink: &'a Sink,
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

/// What a [`crate::input::Field`] takes: four offsets, then the value, whose error is reported rather than passed on.
pub(super) struct FieldParts<'a> {
    offsets: std::array::IntoIter<usize, 4>,
    value: Option<NodeDeserializer<'a>>,
}

impl<'a> FieldParts<'a> {
    pub(super) fn new(value: NodeDeserializer<'a>) -> Self {
        let (place, key) = (value.node.place, value.key);
        Self {
            offsets: [place.start, place.end, key.start, key.end].into_iter(),
            value: (value.node.kind != Kind::Null).then_some(value),
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

pub(super) fn text_deserializer(text: &str) -> StrDeserializer<'_, Error> {
    text.into_deserializer()
}
