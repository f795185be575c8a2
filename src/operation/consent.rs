//! Asking the person before hosts are changed.

use std::io::IsTerminal as _;

use super::Session;
use super::desk::Desk;
use crate::error::Error;
use crate::report::eprint;
use crate::text;

/// Asks the person, unless they said yes on the command line; `look` is the command that shows what they are asked about.
pub(super) fn agree(session: &Session, question: &str, look: &str) -> Result<(), Error> {
    if session.settings.yes {
        return Ok(());
    }
    if !std::io::stdin().is_terminal() {
        return Err(Error::refused(format!(
            "there is nobody to ask: look with `{look}`, then run with --yes"
        )));
    }
    eprint(question);
    let mut answer = String::new();
    let read = std::io::stdin().read_line(&mut answer);
    if read.is_ok() && answer.trim() == "yes" {
        return Ok(());
    }
    Err(Error::refused("not confirmed"))
}

/// Has the cluster's name typed, where data is given up: `confirm` is what the command line said already, `what` the condition
/// under which somebody who cannot be asked may say it there.
pub(super) fn agree_by_name(
    session: &Session,
    confirm: Option<&str>,
    what: &str,
) -> Result<(), Error> {
    let name = &session.inventory.name;
    let is_anybody_there = || matches!(session.desk, Desk::Real) && std::io::stdin().is_terminal();
    let typed = match confirm {
        Some(typed) => typed.to_owned(),
        None if !is_anybody_there() => {
            return Err(Error::refused(format!(
                "there is nobody to ask: if {what}, run with --confirm {name}"
            )));
        }
        None => {
            eprint("Type the cluster's name to go on: ");
            let mut typed = String::new();
            let _ = std::io::stdin().read_line(&mut typed);
            typed
        }
    };
    if typed.trim() == name {
        return Ok(());
    }
    Err(Error::refused(format!(
        "`{}` is not the cluster's name",
        text::escape(typed.trim())
    )))
}
