//! `quorate render`: all files for all hosts, offline. What only a host can say (its interface, its containerd) takes the
//! documented assumptions of [`crate::template`].

use std::collections::BTreeMap;

use camino::{Utf8Path, Utf8PathBuf};

use super::Session;
use crate::action::{Action as _, Fleet};
use crate::error::Error;
use crate::plan::Plan;

/// A file as it would be on a host.
pub struct Rendered {
    /// Host.
    pub host: String,
    /// Absolute path there.
    pub path: Utf8PathBuf,
    /// Bytes.
    pub content: Vec<u8>,
}

/// Renders every file that the plan would put on its hosts, host by host.
pub fn each_file(
    session: &Session,
    plan: &Plan,
    mut take: impl FnMut(Rendered),
) -> Result<(), Error> {
    let fleet = Fleet::default();
    let steps = plan.steps_by_host();
    for node in plan.hosts(&session.inventory) {
        let cx = session.context(node, &fleet);
        for step in steps.get(node.name.as_str()).into_iter().flatten() {
            let files = step.action.files(&cx).map_err(|source| Error::Judge {
                step: step.name.clone(),
                host: node.name.clone(),
                source,
            })?;
            let here = |(path, content)| Rendered {
                host: node.name.clone(),
                path,
                content,
            };
            files.into_iter().map(here).for_each(&mut take);
        }
    }
    Ok(())
}

/// Writes them to `<out>/<host>/<absolute path>`; the number of files. Where several steps write one, the last stands.
pub fn render(session: &Session, out: &Utf8Path) -> Result<usize, Error> {
    let plan = session.plan("provision")?;
    let place = |file: &Rendered| {
        let path = file.path.as_str().trim_start_matches('/');
        out.join(&file.host).join(path)
    };
    let mut rendered: BTreeMap<Utf8PathBuf, Vec<u8>> = BTreeMap::new();
    each_file(session, &plan, |file| {
        rendered.insert(place(&file), file.content);
    })?;
    for (path, content) in &rendered {
        let failed = |source| Error::Local {
            doing: format!("write {path}"),
            source,
        };
        fs_err::create_dir_all(path.parent().unwrap_or(out)).map_err(failed)?;
        fs_err::write(path, content).map_err(failed)?;
    }
    Ok(rendered.len())
}
