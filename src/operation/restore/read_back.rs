//! What must be true when a restore has ended, read back from the hosts.

use std::time::Duration;

use tokio::time::Instant;

use super::Session;
use super::stage::{read_error, states};
use crate::cluster::etcd::Member;
use crate::cluster::plane::{Cluster, Etcd, Plane};
use crate::cluster::restore::Runner;
use crate::cluster::restore::agreement::{self, Agreement};
use crate::error::Error;
use crate::host::command::Command;
use crate::host::error::HostError;
use crate::host::{Host, Hosts};
use crate::operation::backup::masters;
use crate::report::eprintln;

/// How long the members may be compacted differently.
const COMPACTS: Duration = Duration::from_secs(60);

/// The rest before they are asked again.
const PAUSE: Duration = Duration::from_secs(1);

/// Refuses to call the restore a success unless one etcd cluster has every restored host as a healthy member, all of its
/// members hold the same, and every master serves that is not to join again.
pub(super) async fn read_back(session: &Session, hosts: &Hosts) -> Result<(), Error> {
    let fleet = masters(hosts).await;
    let plane = Plane::read(&session.inventory, &fleet);
    let states = states(hosts).await?;
    let Etcd::Living(cluster) = plane.etcd() else {
        return Err(failed("etcd has no quorum"));
    };
    for (name, state) in &states {
        let Some(node) = session.inventory.node(name) else {
            continue;
        };
        let place = node.etcd.map_or(node.address, |seat| seat.peer_address);
        let member = cluster.members.at(place);
        if state.is_member() && !member.is_some_and(|member| cluster.healthy.contains(&member.id)) {
            return Err(failed(&format!("{name} is no healthy member of etcd")));
        }
        let is_ready = || plane.of(name).is_some_and(|own| own.report.readyz.is_ok());
        if state.serves() && !is_ready() {
            return Err(failed(&format!("the apiserver of {name} is not ready")));
        }
    }
    let mut restored = states.iter().filter(|(_, state)| state.is_member());
    let asked = restored.find_map(|(name, _)| hosts.get(name));
    let host = asked.ok_or_else(|| failed("no restored member is connected"))?;
    let views = plane.views().into_iter();
    let revision = views.map(|(_, view)| view.revision).min();
    let revision = revision.unwrap_or_default();
    let hash = agreed(session, host, &cluster, revision).await?;
    let members: Vec<&str> = cluster.members.0.iter().map(Member::label).collect();
    eprintln(&format!(
        "etcd cluster {}, members {}: all hold the same at revision {revision} (hash {hash:08x}), and {} apiservers are ready",
        cluster.id,
        members.join(", "),
        plane.living().count(),
    ));
    Ok(())
}

/// The hash that all members have at a revision.
async fn agreed(
    session: &Session,
    host: &Host,
    cluster: &Cluster,
    revision: u64,
) -> Result<u64, Error> {
    let runner = Runner::of(&session.inventory.etcd);
    let since = Instant::now();
    // Learners refuse to be asked, and one that has never started has no address.
    let voters = cluster.members.voters().filter(|it| it.is_started());
    let voters = voters.count();
    loop {
        let ask =
            Command::script(agreement::script(revision, runner)).deadline(Duration::from_secs(180));
        let said = host.succeed(&ask).await;
        let text = said.map_err(|source| read_error(host, source))?.text();
        let held = agreement::parse(&text).ok_or_else(|| {
            let source = HostError::Garbled {
                host: host.node.name.clone(),
                during: "asking every member for its hash".to_owned(),
                reason: crate::text::last_lines(text.as_bytes()),
            };
            read_error(host, source)
        })?;
        match agreement::judge(cluster.id, voters, &held) {
            Agreement::Same { hash } => return Ok(hash),
            Agreement::Compacting if since.elapsed() < COMPACTS => host.transport.rest(PAUSE).await,
            Agreement::Compacting => {
                return Err(failed("its members never agree on what is compacted"));
            }
            Agreement::Differs(why) => return Err(failed(&why)),
        }
    }
}

fn failed(finding: &str) -> Error {
    Error::refused(format!(
        "the restore is done, but {finding}: look at `quorate status`"
    ))
}
