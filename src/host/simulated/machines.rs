//! All machines, and on which of them something is due by itself: of a thousand machines that is asked at every call, and most
//! have nothing to come.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Deref;

use super::machine::Machine;

/// The machines by name. Whoever may change one is handed it by a method of this type, so that it is known whose dates have
/// to be looked at again.
#[derive(Debug, Clone, Default)]
pub struct Machines {
    by_name: BTreeMap<String, Machine>,
    /// Those that may have been changed since their dates were looked at.
    touched: BTreeSet<String>,
    /// When something happens by itself next, on those on which something will.
    due: BTreeMap<String, u64>,
}

impl Deref for Machines {
    type Target = BTreeMap<String, Machine>;

    fn deref(&self) -> &Self::Target {
        &self.by_name
    }
}

impl FromIterator<(String, Machine)> for Machines {
    fn from_iter<I: IntoIterator<Item = (String, Machine)>>(machines: I) -> Self {
        let by_name: BTreeMap<String, Machine> = machines.into_iter().collect();
        Self {
            touched: by_name.keys().cloned().collect(),
            by_name,
            due: BTreeMap::new(),
        }
    }
}

impl Machines {
    /// One, to change it.
    pub fn get_mut(&mut self, name: &str) -> Option<&mut Machine> {
        if !self.touched.contains(name) {
            self.touched.insert(name.to_owned());
        }
        self.by_name.get_mut(name)
    }

    /// All, to change them.
    pub fn values_mut(&mut self) -> impl Iterator<Item = &mut Machine> {
        self.touched.extend(self.by_name.keys().cloned());
        self.by_name.values_mut()
    }

    /// Puts one in the place of whichever had its name.
    pub fn insert(&mut self, name: String, machine: Machine) {
        self.touched.insert(name.clone());
        self.by_name.insert(name, machine);
    }

    /// When and on which machine something happens by itself next, after what follows from the time `settled`.
    pub(super) fn next_due(&mut self, settled: u64) -> Option<(u64, String)> {
        let past = self.due.iter().filter(|(_, due)| **due <= settled);
        self.touched.extend(past.map(|(name, _)| name.clone()));
        for name in std::mem::take(&mut self.touched) {
            let machine = self.by_name.get(&name);
            match machine.and_then(|machine| machine.next_due(settled)) {
                Some(due) => self.due.insert(name, due),
                None => self.due.remove(&name),
            };
        }
        let next = self.due.iter().min_by_key(|(name, due)| (**due, *name));
        next.map(|(name, due)| (*due, name.clone()))
    }
}
