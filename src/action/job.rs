//! Long work from an action: one helper, so that every job is named, tokened and reported alike.

use std::time::Duration;

use super::{ActionError, Effect};
use crate::host::command::Script;
use crate::host::job::Job;
use crate::text;

/// Long work as an action asks for it.
pub(crate) struct Work {
    /// What it is, for messages: `installing packages`.
    pub(crate) what: &'static str,
    /// What runs; the unit is named after the script.
    pub(crate) script: Script,
    /// Files for it, see [`Job::files`].
    pub(crate) files: Vec<(String, Vec<u8>)>,
    /// When it counts as stuck.
    pub(crate) deadline: Duration,
}

/// Runs a job, or follows the one that runs already, and refuses any status but 0. Returns what it printed.
pub(crate) async fn run(effect: &Effect<'_>, work: Work) -> Result<String, ActionError> {
    let job = Job {
        name: work.script.name,
        token: format!("{}/{}", effect.run, effect.task),
        script: work.script,
        files: work.files,
        deadline: work.deadline,
    };
    let ended = effect.host.transport.job(&job).await?;
    if ended.followed {
        (effect.note)(format!("followed `{}`, which was there already", job.name));
    }
    if ended.is_success() {
        return Ok(ended.output);
    }
    Err(ActionError::Job {
        what: work.what.to_owned(),
        host: effect.host.node.name.clone(),
        status: ended.status,
        output: text::last_lines(ended.output.as_bytes()),
    })
}
