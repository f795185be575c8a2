//! Which hosts are meant: the text of `--on` and of a play's `hosts:`.
//!
//! Terms separated by commas: a role (`all`, `load-balancers` or `lb`, `masters`, `workers`), `etcd` for the members of an
//! external etcd, be they masters or hosts of their own, a host name with `*` and `?`, or `@tag`. A term with `!` in front takes hosts away again; if all terms do, they take away from all hosts.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use super::{Node, Role};
use crate::input::did_you_mean;

/// A parsed selection.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Selector(Vec<Term>);

#[derive(Debug, Clone, PartialEq, Eq)]
struct Term {
    effect: Effect,
    pattern: Pattern,
    text: String,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Effect {
    Adds,
    TakesAway,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Pattern {
    All,
    Role(Role),
    Etcd,
    Tag(String),
    Name(String),
}

/// Why a text selects nothing.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SelectError {
    /// Nothing between two commas, or nothing at all.
    #[error(
        "a term of the selection is empty: write host names, roles or `@tag`, separated by commas"
    )]
    EmptyTerm,
    /// A character that no name, role or tag has.
    #[error("`{0}` is no host name, role or tag: names may hold `*` and `?`, tags begin with `@`")]
    BadTerm(String),
    /// A term that no host of the inventory fits.
    #[error("`{term}` matches no host{}", meant.as_ref().map(|meant| format!(": did you mean `{meant}`?")).unwrap_or_default())]
    MatchesNothing {
        /// The term as written.
        term: String,
        /// What was probably meant.
        meant: Option<String>,
    },
    /// The terms match hosts, but together they leave none.
    #[error("`{0}` leaves no host")]
    LeavesNothing(String),
}

impl Selector {
    /// All hosts.
    #[must_use]
    pub fn all() -> Self {
        Self(vec![Term {
            effect: Effect::Adds,
            pattern: Pattern::All,
            text: "all".to_owned(),
        }])
    }

    /// Parses a text; whether it fits any host is not asked here.
    pub fn parse(text: &str) -> Result<Self, SelectError> {
        text.split(',')
            .map(|term| Term::parse(term.trim()))
            .collect::<Result<_, _>>()
            .map(Self)
    }

    /// Whether a host is meant.
    #[must_use]
    pub fn matches(&self, node: &Node) -> bool {
        let mut adding = self.with(Effect::Adds).peekable();
        let is_added = adding.peek().is_none() || adding.any(|term| term.fits(node));
        is_added && !self.with(Effect::TakesAway).any(|term| term.fits(node))
    }

    /// The hosts that are meant; an error when a term fits none, for what a person typed.
    pub fn select<'a>(&self, nodes: &'a [Node]) -> Result<Vec<&'a Node>, SelectError> {
        if let Some(idle) = self
            .0
            .iter()
            .find(|term| !nodes.iter().any(|node| term.fits(node)))
        {
            return Err(SelectError::MatchesNothing {
                term: idle.text.clone(),
                meant: idle.meant(nodes),
            });
        }
        let selected: Vec<&Node> = nodes.iter().filter(|node| self.matches(node)).collect();
        if selected.is_empty() {
            return Err(SelectError::LeavesNothing(self.to_string()));
        }
        Ok(selected)
    }

    fn with(&self, effect: Effect) -> impl Iterator<Item = &Term> {
        self.0.iter().filter(move |term| term.effect == effect)
    }
}

impl Term {
    fn parse(text: &str) -> Result<Self, SelectError> {
        let (effect, rest) = match text.strip_prefix('!') {
            Some(rest) => (Effect::TakesAway, rest),
            None => (Effect::Adds, text),
        };
        Ok(Self {
            effect,
            pattern: Pattern::parse(rest)?,
            text: text.to_owned(),
        })
    }

    fn fits(&self, node: &Node) -> bool {
        match &self.pattern {
            Pattern::All => true,
            Pattern::Role(role) => node.role == *role,
            Pattern::Etcd => node.etcd.is_some(),
            Pattern::Tag(tag) => node.tags.contains(tag),
            Pattern::Name(glob) => is_match(glob.as_bytes(), node.name.as_bytes()),
        }
    }

    /// The closest tag or name and role word.
    fn meant(&self, nodes: &[Node]) -> Option<String> {
        let names = nodes.iter().map(|node| node.name.as_str());
        let tags = nodes
            .iter()
            .flat_map(|node| node.tags.iter().map(String::as_str));
        match &self.pattern {
            Pattern::All | Pattern::Role(_) | Pattern::Etcd => None,
            Pattern::Name(name) if name.contains(['*', '?']) => None,
            Pattern::Tag(tag) => did_you_mean(tag, tags).map(|tag| format!("@{tag}")),
            Pattern::Name(name) => {
                let words = ["all", "load-balancers", "masters", "workers", "etcd"];
                did_you_mean(name, names.chain(words)).map(str::to_owned)
            }
        }
    }
}

impl Pattern {
    fn parse(text: &str) -> Result<Self, SelectError> {
        let is_word = |text: &str, extra: &[u8]| {
            text.bytes()
                .all(|b| b.is_ascii_alphanumeric() || b"._-".contains(&b) || extra.contains(&b))
        };
        match text {
            "" | "@" => Err(SelectError::EmptyTerm),
            "all" => Ok(Self::All),
            "lb" | "load-balancers" => Ok(Self::Role(Role::LoadBalancer)),
            "masters" => Ok(Self::Role(Role::Master)),
            "workers" => Ok(Self::Role(Role::Worker)),
            "etcd" => Ok(Self::Etcd),
            _ => match text.strip_prefix('@') {
                Some(tag) if is_word(tag, b"") => Ok(Self::Tag(tag.to_owned())),
                None if is_word(text, b"*?") => Ok(Self::Name(text.to_owned())),
                Some(_) | None => Err(SelectError::BadTerm(text.to_owned())),
            },
        }
    }
}

/// Whether a name fits a pattern of letters, `?` for any one and `*` for any number of them.
///
/// Goes back only to the last `*`, so the time is at most the product of the lengths.
fn is_match(pattern: &[u8], name: &[u8]) -> bool {
    let (mut at, mut position) = (0, 0);
    let mut star: Option<(usize, usize)> = None;
    while let Some(letter) = name.get(position) {
        match (pattern.get(at), star) {
            (Some(b'*'), _) => {
                star = Some((at, position));
                at += 1;
            }
            (Some(wanted), _) if *wanted == b'?' || wanted == letter => {
                at += 1;
                position += 1;
            }
            (_, Some((star_at, star_position))) => {
                star = Some((star_at, star_position + 1));
                at = star_at + 1;
                position = star_position + 1;
            }
            (_, None) => return false,
        }
    }
    pattern
        .get(at..)
        .is_some_and(|rest| rest.iter().all(|letter| *letter == b'*'))
}

impl fmt::Display for Selector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let terms: Vec<&str> = self.0.iter().map(|term| term.text.as_str()).collect();
        f.write_str(&terms.join(","))
    }
}

impl FromStr for Selector {
    type Err = SelectError;

    fn from_str(text: &str) -> Result<Self, SelectError> {
        Self::parse(text)
    }
}

impl TryFrom<String> for Selector {
    type Error = SelectError;

    fn try_from(text: String) -> Result<Self, SelectError> {
        Self::parse(&text)
    }
}

impl From<Selector> for String {
    fn from(selector: Selector) -> Self {
        selector.to_string()
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests")]

    use camino::Utf8Path;
    use proptest::prelude::*;

    use super::super::Inventory;
    use super::*;

    const CLUSTER: &str = "
cluster: { name: c, kubernetes: v1.36.2 }
vip: { address: 10.1.1.100 }
lb: { lb1: 10.1.1.11, lb2: 10.1.1.12 }
masters: { master1: 10.1.1.101 }
workers:
  worker1: { address: 10.1.1.201, tags: [rack1] }
  worker2: { address: 10.1.1.202, tags: [rack2] }
  worker10: { address: 10.1.1.210, tags: [rack2, ssd] }
cni: none
";

    fn nodes() -> Vec<Node> {
        let loaded = Inventory::from_text(Utf8Path::new("inventory.yaml"), CLUSTER).unwrap();
        loaded.inventory.nodes
    }

    fn selected(text: &str) -> String {
        match Selector::parse(text).and_then(|selector| {
            let nodes = nodes();
            let names: Vec<String> = selector
                .select(&nodes)?
                .into_iter()
                .map(|node| node.name.clone())
                .collect();
            Ok(names.join(" "))
        }) {
            Ok(names) => names,
            Err(error) => format!("error: {error}"),
        }
    }

    #[test]
    fn selects_by_role_name_and_tag() {
        assert_eq!(selected("all"), "lb1 lb2 master1 worker1 worker2 worker10");
        assert_eq!(selected("lb"), "lb1 lb2");
        assert_eq!(selected("load-balancers,masters"), "lb1 lb2 master1");
        assert_eq!(selected("worker?"), "worker1 worker2");
        assert_eq!(selected("*1*"), "lb1 master1 worker1 worker10");
        assert_eq!(selected("@rack2, master1"), "master1 worker2 worker10");
    }

    #[test]
    fn takes_away_what_follows_an_exclamation_mark() {
        assert_eq!(selected("workers,!@rack2"), "worker1");
        assert_eq!(selected("!workers"), "lb1 lb2 master1");
        assert_eq!(selected("!lb1,lb"), "lb2");
    }

    #[test]
    fn names_the_term_that_matches_nothing() {
        assert_eq!(
            selected("lb1,wroker1"),
            "error: `wroker1` matches no host: did you mean `worker1`?"
        );
        assert_eq!(
            selected("@rakc1"),
            "error: `@rakc1` matches no host: did you mean `@rack1`?"
        );
        assert_eq!(selected("!worker9*"), "error: `!worker9*` matches no host");
        assert_eq!(selected("lb1,!lb"), "error: `lb1,!lb` leaves no host");
        assert_eq!(
            selected("control-plane"),
            "error: `control-plane` matches no host: did you mean `masters`?"
        );
    }

    #[test]
    fn refuses_what_is_no_selection() {
        let empty = "error: a term of the selection is empty: write host names, roles or `@tag`, separated by commas";
        for text in ["", "lb1,,lb2", "!", "@"] {
            assert_eq!(selected(text), empty);
        }
        assert!(selected("worker[1-2]").starts_with("error: `worker[1-2]` is no host name"));
    }

    proptest! {
        #[test]
        fn never_panics_and_shows_what_was_parsed(text in "[a-z0-9*?@!,. -]{0,24}") {
            if let Ok(selector) = Selector::parse(&text) {
                let again = Selector::parse(&selector.to_string()).unwrap();
                prop_assert_eq!(&again, &selector);
                let count = nodes().iter().filter(|node| selector.matches(node)).count();
                prop_assert!(count <= 6);
            }
        }

        #[test]
        fn a_star_matches_every_part(before in "[a-z]{0,4}", inner in "[a-z0-9-]{0,9}", after in "[a-z]{0,4}") {
            let (pattern, name) = (format!("{before}*{after}"), format!("{before}{inner}{after}"));
            prop_assert!(is_match(pattern.as_bytes(), name.as_bytes()));
        }
    }
}
