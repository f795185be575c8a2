//! Reading an inventory file: parse, resolve, and either the whole or everything that is wrong.

use camino::Utf8Path;
use serde_json::Value;

use super::Inventory;
use super::resolve::resolve;
use super::rules::Findings;
use super::spec::Spec;
use crate::input::{InputErrors, Source, Tree, Warning};

/// What to do about an inventory that cannot be read.
const SUGGESTION: &str = "name your inventory with `--inventory FILE` or in QUORATE_INVENTORY; `quorate schema` describes it";

/// A good inventory and what deserves a word nevertheless.
#[derive(Debug, Clone)]
pub struct Loaded {
    /// The inventory.
    pub inventory: Inventory,
    /// In the order of the file.
    pub warnings: Vec<Warning>,
}

impl Inventory {
    /// Reads and checks a file.
    ///
    /// Paths in it are relative to its directory. No connection is made; files that it names are read.
    pub fn load(path: &Utf8Path) -> Result<Loaded, InputErrors> {
        Self::from_source(&Source::read(path).map_err(with_suggestion)?)
    }

    /// Checks a text as if it were the file of that path.
    pub fn from_text(path: &Utf8Path, text: &str) -> Result<Loaded, InputErrors> {
        Self::from_source(&Source::new(path, text))
    }

    fn from_source(source: &Source) -> Result<Loaded, InputErrors> {
        let refuse = |problems| InputErrors::new(source.clone(), problems);
        let tree = Tree::parse(&source.text).map_err(|problem| refuse(vec![problem]))?;
        let (spec, problems) = tree.read::<Spec>();
        let mut findings = Findings {
            problems,
            warnings: Vec::new(),
        };
        let inventory = spec.and_then(|spec| resolve(&source.path, &spec, &mut findings));
        let Some(inventory) = inventory else {
            return Err(refuse(findings.problems));
        };
        Ok(Loaded {
            inventory,
            warnings: warnings(source, findings),
        })
    }
}

fn with_suggestion(mut errors: InputErrors) -> InputErrors {
    for problem in &mut errors.problems {
        problem.help = Some(SUGGESTION.to_owned());
    }
    errors
}

fn warnings(source: &Source, mut findings: Findings) -> Vec<Warning> {
    findings
        .warnings
        .sort_by_key(|problem| problem.place.map_or(0, |place| place.start));
    findings
        .warnings
        .into_iter()
        .map(|problem| Warning {
            source: source.clone(),
            problem,
        })
        .collect()
}

/// The JSON Schema of the inventory, for editors.
#[must_use]
pub fn json_schema() -> Value {
    schemars::schema_for!(Spec).to_value()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::torture::torture_text;

    #[test]
    fn no_inventory_makes_the_parser_panic() {
        let good = [
            include_str!("../../inventory/ha.yaml"),
            include_str!("../../inventory/lab.yaml"),
            include_str!("../../inventory/minimal.yaml"),
        ];
        torture_text("inventories", &good, |text| {
            let _ = Inventory::from_text(Utf8Path::new("inventory.yaml"), text);
        });
    }
}
