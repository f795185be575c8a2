//! Changes that the host takes back by itself.

use std::collections::BTreeMap;

use super::files::File;
use super::world::World;
use crate::host::file::Undo;

/// An undo that was armed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ArmedUndo {
    /// When it fires.
    pub due: u64,
    /// Whether it has.
    pub fired: bool,
    /// The old files.
    pub files: BTreeMap<String, File>,
    /// What it runs then.
    pub then: Vec<String>,
}

impl World {
    /// Arms an undo for a file that is about to be replaced; an armed one keeps the older file and starts its clock anew.
    pub(super) fn arm(&mut self, host: &str, undo: &Undo, path: &str) {
        let due = self.now + u64::from(undo.seconds) * 1_000_000;
        let machine = self.machine(host);
        if machine
            .undos
            .get(&undo.name)
            .is_some_and(|armed| armed.fired)
        {
            machine.undos.remove(&undo.name);
        }
        let Some(old) = machine.files.get(path).cloned() else {
            return;
        };
        let armed = machine
            .undos
            .entry(undo.name.clone())
            .or_insert_with(|| ArmedUndo {
                due,
                fired: false,
                files: BTreeMap::new(),
                then: undo.then.clone(),
            });
        armed.due = due;
        armed.files.entry(path.to_owned()).or_insert(old);
    }

    /// Disarms it; whether it had not fired.
    pub(super) fn disarm(&mut self, host: &str, name: &str) -> bool {
        let machine = self.machine(host);
        if machine.undos.get(name).is_some_and(|armed| armed.fired) {
            return false;
        }
        machine.undos.remove(name);
        true
    }

    /// Fires one that is due; whether there was one.
    pub(super) fn fire_undo(&mut self, host: &str) -> bool {
        let now = self.now;
        let machine = self.machine(host);
        let Some(armed) = machine
            .undos
            .values_mut()
            .find(|armed| !armed.fired && armed.due <= now)
        else {
            return false;
        };
        armed.fired = true;
        let (files, then) = (armed.files.clone(), armed.then.clone());
        for (path, file) in files {
            machine.files.insert(path, file);
        }
        if let [systemctl, verb, unit] = then.as_slice()
            && systemctl == "systemctl"
        {
            // What it says is lost on a real host, too.
            let _ = self.systemctl(host, verb, unit, now);
        }
        true
    }
}
