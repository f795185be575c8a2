//! Enums: one variant, written as a word or as a map of one key.

use serde::de::{self, DeserializeSeed, Deserializer, EnumAccess, VariantAccess, Visitor};

use super::NodeDeserializer;
use super::access::text_deserializer;
use super::error::Error;
use crate::input::Place;
use crate::input::suggest::{did_you_mean, list, one_of, question};

/// One variant of an enum: a word, or a map of one key.
pub(super) struct Choice<'a> {
    pub(super) word: &'a str,
    pub(super) place: Place,
    pub(super) value: Option<NodeDeserializer<'a>>,
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

/// Neither a word nor a map of one key.
pub(super) fn choose_one(variants: &'static [&'static str]) -> Error {
    <Error as de::Error>::custom("expected exactly one choice")
        .with_help(format!("write {}", one_of(variants.iter().copied())))
}

/// A word that is no variant.
pub(super) fn unknown_choice(word: &str, variants: &'static [&'static str]) -> Error {
    let help = match did_you_mean(word, variants.iter().copied()) {
        Some(meant) => {
            let choices = list(variants.iter().copied());
            format!("{} The choices: {choices}", question(meant))
        }
        None => format!("write {}", one_of(variants.iter().copied())),
    };
    <Error as de::Error>::custom(format_args!("unknown choice `{word}`")).with_help(help)
}
