//! The operations that can be rehearsed: one entry each.

use futures::future::LocalBoxFuture;

use crate::error::Error;
use crate::host::simulated::world::World;
use crate::operation::Session;
use crate::operation::provision::provision;

/// An operation, as its command carries it out.
#[derive(Debug)]
pub struct Operation {
    /// Its command.
    pub name: &'static str,
    /// The operation that made the cluster which it begins with; `None`: bare hosts.
    pub after: Option<&'static str>,
    /// What happened to that cluster since.
    pub since: fn(&Session, &mut World),
    /// Carries it out.
    pub run: for<'a> fn(&'a Session) -> LocalBoxFuture<'a, Result<(), Error>>,
}

/// All of them. Tests and `quorate rehearse` walk over this list.
pub const OPERATIONS: &[Operation] = &[Operation {
    name: "provision",
    after: None,
    since: |_, _| (),
    run: |session| Box::pin(provision(session)),
}];

impl Operation {
    /// The operation of that name.
    #[must_use]
    pub fn find(name: &str) -> Option<&'static Self> {
        OPERATIONS.iter().find(|operation| operation.name == name)
    }
}
