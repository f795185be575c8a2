//! Reading a playbook: the whole, or everything that is wrong with it.

use camino::Utf8Path;
use serde::Deserialize;

use super::{Play, Playbook, Step, Strategy};
use crate::action::AnyAction;
use crate::input::{Field, InputErrors, Place, Problem, Source, Tree};
use crate::inventory::select::Selector;

/// A playbook as it is read: what is wrong in one field hides nothing of the others.
#[derive(Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
struct PlaybookSpec {
    #[serde(default)]
    name: Field<String>,
    #[serde(default)]
    plays: Field<Vec<Field<PlaySpec>>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
struct PlaySpec {
    #[serde(default)]
    name: Field<String>,
    #[serde(default)]
    hosts: Field<String>,
    #[serde(default)]
    strategy: Field<Strategy>,
    #[serde(default)]
    steps: Field<Vec<Field<StepSpec>>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
struct StepSpec {
    #[serde(default)]
    name: Field<String>,
    #[serde(default, rename = "do")]
    action: Field<AnyAction>,
}

/// Reads a text; `path` is for messages.
pub(super) fn read(path: &Utf8Path, text: &str) -> Result<Playbook, InputErrors> {
    let refuse = |problems| InputErrors::new(Source::new(path, text), problems);
    let tree = Tree::parse(text).map_err(|problem| refuse(vec![problem]))?;
    let (spec, problems) = tree.read::<PlaybookSpec>();
    let mut reader = Reader { problems };
    let playbook = spec.and_then(|spec| reader.playbook(spec, tree.root.place));
    match playbook {
        Some(playbook) if reader.problems.is_empty() => Ok(playbook),
        _ => Err(refuse(reader.problems)),
    }
}

/// Turns what was read into what is meant; `None` where a problem was noted.
struct Reader {
    problems: Vec<Problem>,
}

impl Reader {
    fn playbook(&mut self, spec: PlaybookSpec, place: Place) -> Option<Playbook> {
        let name = self.required(spec.name, "name", place);
        let plays = self.required(spec.plays, "plays", place);
        let plays = self.each(plays?, Self::play);
        Some(Playbook { name: name?, plays })
    }

    fn play(&mut self, spec: PlaySpec, place: Place) -> Option<Play> {
        let name = self.required(spec.name, "name", place);
        let hosts = self.hosts(spec.hosts, place);
        let steps = self.required(spec.steps, "steps", place);
        let steps = self.each(steps?, Self::step);
        Some(Play {
            name: name?,
            hosts: hosts?,
            strategy: spec.strategy.value().copied().unwrap_or_default(),
            steps,
        })
    }

    fn step(&mut self, spec: StepSpec, place: Place) -> Option<Step> {
        let name = self.required(spec.name, "name", place);
        let action = self.required(spec.action, "do", place);
        Some(Step {
            name: name?,
            action: action?,
        })
    }

    fn hosts(&mut self, field: Field<String>, owner: Place) -> Option<String> {
        let place = field.given().map_or(owner, |given| given.place);
        let hosts = self.required(field, "hosts", owner)?;
        match Selector::parse(&hosts) {
            Ok(_) => Some(hosts),
            Err(error) => {
                let problem = Problem::at(place, error.to_string());
                self.problems
                    .push(problem.help("write `all`, roles, names or tags: `masters,workers`"));
                None
            }
        }
    }

    fn each<S, T>(
        &mut self,
        fields: Vec<Field<S>>,
        read: fn(&mut Self, S, Place) -> Option<T>,
    ) -> Vec<T> {
        fields
            .into_iter()
            .filter_map(|field| match field {
                Field::Given(given) => read(self, given.value, given.place),
                Field::Absent | Field::Wrong => None,
                Field::Empty(place) => {
                    self.problems.push(Problem::at(place, "an empty element"));
                    None
                }
            })
            .collect()
    }

    fn required<T>(&mut self, field: Field<T>, key: &str, owner: Place) -> Option<T> {
        let place = match field {
            Field::Given(given) => return Some(given.value),
            Field::Wrong => return None,
            Field::Empty(place) => place,
            Field::Absent => owner,
        };
        let missing = Problem::at(place, format!("`{key}` is missing"));
        self.problems
            .push(missing.help("`quorate schema playbook` describes playbooks"));
        None
    }
}
