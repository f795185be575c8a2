//! `quorate render`: all files for all hosts, offline. What only a host can say (its interface, its containerd) takes the
//! documented assumptions of [`crate::template`].

use std::collections::BTreeMap;

use camino::{Utf8Path, Utf8PathBuf};

use super::Session;
use crate::action::{Action as _, Fleet};
use crate::error::Error;
use crate::inventory::Node;
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

/// Every file that the plan would put on its hosts.
pub fn files(session: &Session, plan: &Plan) -> Result<Vec<Rendered>, Error> {
    let mut rendered = Vec::new();
    for node in plan.hosts(&session.inventory) {
        rendered.extend(files_of(session, plan, node)?);
    }
    Ok(rendered)
}

/// Every file that the plan would put on one host.
pub fn files_of(session: &Session, plan: &Plan, node: &Node) -> Result<Vec<Rendered>, Error> {
    let fleet = Fleet::default();
    let cx = session.context(node, &fleet);
    let mut rendered = Vec::new();
    for (_, _, step) in plan.steps_of(&node.name) {
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
        rendered.extend(files.into_iter().map(here));
    }
    Ok(rendered)
}

/// Writes them to `<out>/<host>/<absolute path>`; the number of files. Where several steps write one, the last stands.
pub fn render(session: &Session, out: &Utf8Path) -> Result<usize, Error> {
    let plan = session.plan("provision")?;
    let place = |file: &Rendered| {
        let path = file.path.as_str().trim_start_matches('/');
        out.join(&file.host).join(path)
    };
    let rendered: BTreeMap<Utf8PathBuf, Vec<u8>> = files(session, &plan)?
        .into_iter()
        .map(|file| (place(&file), file.content))
        .collect();
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
