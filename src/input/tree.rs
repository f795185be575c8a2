//! A YAML document as a tree that knows where everything stands.

use granit_parser::{Event, Parser, ScalarStyle, ScanError, StrInput, options};
use serde::de::DeserializeOwned;

use super::deserialize::{NodeDeserializer, Sink};
use super::{Place, Problem};

/// Deeper than any file that a person writes, shallow enough for every stack.
const MAX_DEPTH: usize = 64;

/// A value of the document.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Node {
    /// Where it stands.
    pub place: Place,
    /// What it is.
    pub kind: Kind,
}

/// What a value is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Kind {
    /// Nothing, `~` or `null`.
    Null,
    /// A text; unquoted ones may stand for a number or a truth value.
    Scalar {
        /// The text after unescaping.
        text: String,
        /// Whether it stands without quotes.
        plain: bool,
    },
    /// A list.
    Sequence(Vec<Node>),
    /// A map, without the entries whose key is a duplicate.
    Mapping(Vec<(Key, Node)>),
}

/// A map's key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Key {
    /// Its text.
    pub text: String,
    /// Where it stands.
    pub place: Place,
}

/// A parsed document and the mistakes found while parsing it (duplicate keys).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tree {
    /// The top of the document.
    pub root: Node,
    /// What the parsing found.
    pub problems: Vec<Problem>,
}

impl Tree {
    /// Parses one document; a syntax error ends it, a duplicate key does not.
    pub fn parse(text: &str) -> Result<Self, Problem> {
        let mut builder = Builder {
            parser: Parser::new_from_str_with_options(text, options! { emit_comments: false }),
            text,
            problems: Vec::new(),
        };
        let root = builder.document()?;
        Ok(Self {
            root,
            problems: builder.problems,
        })
    }

    /// Reads a type from the tree. The problems are those of the shape, duplicate keys included; `None` only when the top
    /// of the document is of the wrong shape altogether.
    #[must_use]
    pub fn read<T: DeserializeOwned>(&self) -> (Option<T>, Vec<Problem>) {
        let sink = Sink::new(self.problems.clone());
        let value = match T::deserialize(NodeDeserializer::new(&self.root, &sink)) {
            Ok(value) => Some(value),
            Err(error) => {
                sink.push(error.into_problem(self.root.place));
                None
            }
        };
        (value, sink.into_problems())
    }
}

type Next<'a> = (Event<'a>, Place);

struct Builder<'a> {
    parser: Parser<'a, StrInput<'a>>,
    text: &'a str,
    problems: Vec<Problem>,
}

impl<'a> Builder<'a> {
    fn document(&mut self) -> Result<Node, Problem> {
        loop {
            let (event, place) = self.next()?;
            match event {
                Event::StreamStart | Event::DocumentStart(..) => {}
                Event::StreamEnd => return Err(Problem::at(place, "the file is empty")),
                event => {
                    let root = self.node(event, place, 0)?;
                    self.end()?;
                    return Ok(root);
                }
            }
        }
    }

    fn end(&mut self) -> Result<(), Problem> {
        loop {
            let (event, place) = self.next()?;
            match event {
                Event::StreamEnd => return Ok(()),
                Event::DocumentEnd => {}
                _ => return Err(second_document(place)),
            }
        }
    }

    fn node(&mut self, event: Event<'a>, place: Place, depth: usize) -> Result<Node, Problem> {
        if depth > MAX_DEPTH {
            return Err(Problem::at(place, "nested too deeply"));
        }
        let is_text = event
            .tag()
            .is_some_and(|tag| tag.is_yaml_core_schema_tag("str"));
        if event.tag().is_some() && !is_text {
            return Err(tagged(place));
        }
        match event {
            Event::Scalar(text, style, ..) => Ok(self.scalar(&text, style, place, is_text)),
            Event::SequenceStart(..) => self.sequence(place, depth),
            Event::MappingStart(..) => self.mapping(place, depth),
            _ => Err(alias(place)),
        }
    }

    fn scalar(&self, text: &str, style: ScalarStyle, place: Place, is_text: bool) -> Node {
        let plain = style == ScalarStyle::Plain && !is_text;
        let place = if style == ScalarStyle::Plain {
            self.trimmed(place)
        } else {
            place
        };
        let is_null = plain && matches!(text, "" | "~" | "null" | "Null" | "NULL");
        let kind = if is_null {
            Kind::Null
        } else {
            Kind::Scalar {
                text: text.to_owned(),
                plain,
            }
        };
        Node { place, kind }
    }

    fn sequence(&mut self, start: Place, depth: usize) -> Result<Node, Problem> {
        let mut items = Vec::new();
        loop {
            let (event, place) = self.next()?;
            if event == Event::SequenceEnd {
                let place = self.trimmed(around(start, place));
                let kind = Kind::Sequence(items);
                return Ok(Node { place, kind });
            }
            items.push(self.node(event, place, depth + 1)?);
        }
    }

    fn mapping(&mut self, start: Place, depth: usize) -> Result<Node, Problem> {
        let mut entries: Vec<(Key, Node)> = Vec::new();
        loop {
            let (event, place) = self.next()?;
            if event == Event::MappingEnd {
                let place = self.trimmed(around(start, place));
                let kind = Kind::Mapping(entries);
                return Ok(Node { place, kind });
            }
            let key = self.key(event, place)?;
            let (event, place) = self.next()?;
            let value = self.node(event, place, depth + 1)?;
            match entries.iter().find(|(known, _)| known.text == key.text) {
                Some((first, _)) => self.problems.push(duplicate(&key, first)),
                None => entries.push((key, value)),
            }
        }
    }

    fn key(&self, event: Event<'a>, place: Place) -> Result<Key, Problem> {
        let Event::Scalar(text, style, ..) = event else {
            return Err(Problem::at(place, "a key must be a plain word")
                .help("quote the value if it contains `{`, `[`, `*` or `&`"));
        };
        let place = if style == ScalarStyle::Plain {
            self.trimmed(place)
        } else {
            place
        };
        Ok(Key {
            text: text.into_owned(),
            place,
        })
    }

    fn next(&mut self) -> Result<Next<'a>, Problem> {
        let end = Place {
            start: self.text.len(),
            end: self.text.len(),
        };
        let Some(next) = self.parser.next_event() else {
            return Err(Problem::at(end, "the file ends too early"));
        };
        let (event, span) = next.map_err(|error| syntax(&error, end))?;
        let place = span.byte_range().map_or(end, |range| Place {
            start: range.start,
            end: range.end,
        });
        Ok((event, place))
    }

    /// The place without the white space and comments that a block's end includes.
    fn trimmed(&self, place: Place) -> Place {
        let text = self.text.get(place.range()).unwrap_or_default();
        Place {
            start: place.start,
            end: place.start + text.trim_end().len(),
        }
    }
}

fn around(start: Place, end: Place) -> Place {
    Place {
        start: start.start,
        end: end.end.max(start.end),
    }
}

fn syntax(error: &ScanError, end: Place) -> Problem {
    let start = error.marker().byte_offset().unwrap_or(end.start);
    Problem::at(Place { start, end: start }, error.kind().to_string())
        .help("this is where the YAML parser gave up; the mistake may stand a little earlier")
}

fn duplicate(key: &Key, first: &Key) -> Problem {
    Problem::at(key.place, format!("duplicate key `{}`", key.text))
        .related(first.place, "first here")
        .help("keep one of the two")
}

fn second_document(place: Place) -> Problem {
    Problem::at(place, "a second YAML document")
        .help("one file holds one document: remove what follows `---`")
}

fn alias(place: Place) -> Problem {
    Problem::at(place, "YAML aliases are not supported").help("write the value out")
}

fn tagged(place: Place) -> Problem {
    Problem::at(place, "YAML tags are not supported").help("write the value without its `!tag`")
}
