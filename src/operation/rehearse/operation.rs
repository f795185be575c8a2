//! The operations that can be rehearsed: one entry each.

use futures::future::LocalBoxFuture;

use crate::error::Error;
use crate::host::simulated::world::World;
use crate::inventory::version::KubeVersion;
use crate::operation::Session;
use crate::operation::provision::provision;
use crate::operation::upgrade::{Intent, Options, Policies, upgrade};

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
pub const OPERATIONS: &[Operation] = &[
    Operation {
        name: "provision",
        after: None,
        since: |_, _| (),
        run: |session| Box::pin(provision(session)),
    },
    Operation {
        name: "upgrade",
        after: Some("provision"),
        since: |session, world| {
            world.offered.push(next_patch(session));
            world.deploy("web", "worker1");
        },
        run: |session| Box::pin(upgrade_by_a_patch(session)),
    },
];

fn next_patch(session: &Session) -> KubeVersion {
    let release = session.inventory.kubernetes;
    KubeVersion {
        patch: release.patch + 1,
        ..release
    }
}

async fn upgrade_by_a_patch(session: &Session) -> Result<(), Error> {
    let options = Options {
        to: next_patch(session),
        intent: Intent::Upgrade,
        policies: Policies::default(),
    };
    upgrade(session, &options).await
}

impl Operation {
    /// The operation of that name.
    #[must_use]
    pub fn find(name: &str) -> Option<&'static Self> {
        OPERATIONS.iter().find(|operation| operation.name == name)
    }
}
