//! What is known of a variable: the shape of its value, read off an example.

use serde_json::Value;

/// The shape of a variable.
///
/// An example value says what a path may be: an object's keys are its only ones, except that `"*"` stands for any key; a
/// list's first element stands for all; `null` is anything.
#[derive(Debug, Clone, Copy)]
pub(super) enum Known<'a> {
    /// Nothing is known of it, so everything is allowed.
    Anything,
    /// It looks like this.
    Like(&'a Value),
}

impl<'a> Known<'a> {
    /// The shape of an example.
    pub fn of(example: &'a Value) -> Self {
        match example {
            Value::Null => Self::Anything,
            other => Self::Like(other),
        }
    }

    /// The shape of `self.name`, if there can be such a thing.
    pub fn member(self, name: &str) -> Option<Self> {
        match self {
            Self::Anything => Some(Self::Anything),
            Self::Like(value) => value.get("*").or_else(|| value.get(name)).map(Self::of),
        }
    }

    /// The shape of what `for` or an index takes out of it.
    pub fn element(self) -> Self {
        match self {
            Self::Like(Value::Array(items)) => items.first().map_or(Self::Anything, Self::of),
            Self::Like(Value::Object(map)) => map.get("*").map_or(Self::Anything, Self::of),
            Self::Like(_) | Self::Anything => Self::Anything,
        }
    }

    /// The names that `self.` may be followed by.
    pub fn names(self) -> Vec<&'a str> {
        match self {
            Self::Like(Value::Object(map)) => {
                let mut names: Vec<&str> = map.keys().map(String::as_str).collect();
                names.sort_unstable();
                names
            }
            Self::Like(_) | Self::Anything => Vec::new(),
        }
    }
}
