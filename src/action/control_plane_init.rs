//! `control-plane-init`: founds the cluster on one master, if no host holds its CA yet.
//!
//! No master is privileged. If any master holds a CA, its cluster is the cluster, and the others join it whatever their
//! place in the inventory. A second CA is never made: founding is refused while a master cannot be read (it might hold the
//! CA), and when only load balancers or workers know one, since then the cluster's masters were lost. Naming all masters is
//! asked for even when one is broken: leaving a dead master out of the inventory is a decision that a person takes.

use std::time::Duration;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::cluster_ca::{self, ON_LOAD_BALANCERS};
use super::{Action, ActionError, Change, Check, Context, Effect, Scope};
use crate::cluster::etcd::{client_url, peer_url};
use crate::cluster::etcd_member::Seat;
use crate::cluster::join::{Token, extras};
use crate::cluster::kubeadm::{self, Start};
use crate::cluster::plane::{Member, Plane};
use crate::cluster::report::{self, Has};
use crate::cluster::survey::{self, Look};
use crate::host::probe::Probe;
use crate::inventory::{EtcdTopology, Role};

/// How long `kubeadm init` may take: images may have to be pulled.
const DEADLINE: Duration = Duration::from_secs(1200);

/// How long the founded control plane may take to serve.
const SERVES: Duration = Duration::from_secs(240);

/// The unit of a job is cleared away a moment after the job has ended.
const CLEARS: Duration = Duration::from_secs(30);

/// Founds the cluster, once.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct ControlPlaneInit {}

/// What founding means for the fleet as it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Founding {
    /// A master holds a cluster.
    Done,
    /// This master founds, from nothing or continuing.
    By(String, Start),
}

impl Founding {
    /// Decides who founds, if anybody must.
    pub(crate) fn of(cx: &Context<'_>, plane: &Plane<'_>) -> Result<Self, ActionError> {
        refuse_two_cas(plane)?;
        let half_done = plane
            .masters
            .iter()
            .find(|master| is_half_done(master, plane));
        if let Some(master) = half_done {
            return Ok(Self::By(master.node.name.clone(), Start::Continued));
        }
        if plane.masters.iter().any(|master| master.ca.is_some()) {
            return Ok(Self::Done);
        }
        refuse_unread(plane)?;
        refuse_orphans(cx)?;
        let Some(first) = plane.masters.first() else {
            return Err(unreadable("no master"));
        };
        refuse_foreign_data(plane)?;
        refuse_used_etcd(plane)?;
        Ok(Self::By(first.node.name.clone(), Start::Fresh))
    }
}

/// Whether an init stopped half-way: it left its mark, or a CA with its key and nothing that ever ran, on any master.
fn is_half_done(master: &Member<'_>, plane: &Plane<'_>) -> bool {
    let founded = |member: &Member<'_>| match plane.external {
        None => member.report.has(Has::EtcdData) || member.is_living(),
        Some(_) => !member.is_bare(),
    };
    if master.report.has(Has::Founding) || master.jobs.contains(&"kubeadm-init") {
        return true;
    }
    master.ca.is_some()
        && master.report.has(Has::CaKey)
        && !master.report.has(Has::Joining)
        && !plane.masters.iter().any(founded)
        && plane.unread.is_empty()
}

fn refuse_two_cas(plane: &Plane<'_>) -> Result<(), ActionError> {
    let mut holders = plane
        .masters
        .iter()
        .filter_map(|master| Some((master, master.ca.as_ref()?)));
    let Some((first, ca)) = holders.next() else {
        return Ok(());
    };
    let Some((other, _)) = holders.find(|(_, other)| !other.is(ca)) else {
        return Ok(());
    };
    Err(ActionError::Unsafe {
        why: format!(
            "{} and {} hold CAs of different clusters",
            first.node.name, other.node.name
        ),
        help: "find out which cluster is yours, and on the host that belongs to the other run `kubeadm reset -f` and `rm -rf /var/lib/etcd/*`".to_owned(),
    })
}

fn refuse_unread(plane: &Plane<'_>) -> Result<(), ActionError> {
    match plane.unread.first() {
        None => Ok(()),
        Some(name) => Err(unreadable(name)),
    }
}

fn unreadable(name: &str) -> ActionError {
    ActionError::Unsafe {
        why: format!(
            "no cluster was found, and {name} could not be asked: it might hold the CA of one, and a second must not be made"
        ),
        help: format!("bring {name} back, or take it out of the inventory if it is lost for good"),
    }
}

/// Refuses when others than masters know a cluster that no master knows.
fn refuse_orphans(cx: &Context<'_>) -> Result<(), ActionError> {
    for node in &cx.inventory.nodes {
        let (ca, path) = match node.role {
            Role::Master | Role::Etcd => continue,
            Role::LoadBalancer => (cluster_ca::known_to(cx, &node.name), ON_LOAD_BALANCERS),
            Role::Worker => {
                let worker = Member::read(node, cx.fleet.of(&node.name));
                let joined = worker.filter(|worker| !worker.is_bare());
                (joined.and_then(|worker| worker.ca), report::CA)
            }
        };
        if ca.is_some() {
            return Err(orphan(&node.name, path));
        }
    }
    Ok(())
}

fn orphan(name: &str, path: &str) -> ActionError {
    ActionError::Unsafe {
        why: format!(
            "{name} knows a cluster's CA ({path}), but no master holds it: founding would make a second cluster"
        ),
        help: format!(
            "restore /etc/kubernetes/pki on a master from a backup; or, if that cluster is gone for good, remove {path} on {name} (and run `kubeadm reset -f` there, if it is a worker)"
        ),
    }
}

fn refuse_foreign_data(plane: &Plane<'_>) -> Result<(), ActionError> {
    let Some(master) = plane
        .masters
        .iter()
        .find(|master| master.report.has(Has::EtcdData))
    else {
        return Ok(());
    };
    Err(ActionError::Unsafe {
        why: format!(
            "{} has etcd data in /var/lib/etcd, but no master holds the CA of its cluster",
            master.node.name
        ),
        help: "restore /etc/kubernetes/pki from a backup; or, if that data is worth nothing, move it away: `mv /var/lib/etcd/member /root/`".to_owned(),
    })
}

/// Refuses to found a cluster in an external etcd that holds another one's objects already. One that nobody has written to is
/// at revision 1.
fn refuse_used_etcd(plane: &Plane<'_>) -> Result<(), ActionError> {
    let seats = plane.external.iter().flat_map(|seats| &seats.seats);
    let revision = |seat: &Seat<'_>| Some((seat.node.name.clone(), seat.etcd.as_ref()?.revision));
    let Some((name, revision)) = seats
        .filter_map(revision)
        .find(|(_, revision)| *revision > 1)
    else {
        return Ok(());
    };
    Err(ActionError::Unsafe {
        why: format!("etcd holds data already ({name} is at revision {revision}), but no master holds the CA of its cluster"),
        help: "restore /etc/kubernetes/pki on a master from a backup; or, if that cluster is gone for good, give etcd new data directories (`etcd: { data-directory: … }`)".to_owned(),
    })
}

impl Action for ControlPlaneInit {
    fn probes(&self, cx: &Context<'_>) -> Vec<Probe> {
        report::probes(cx.node)
    }

    fn scope(&self, _cx: &Context<'_>) -> Scope {
        Scope::Cluster
    }

    fn settles_within(&self) -> Duration {
        CLEARS
    }

    fn check(&self, cx: &Context<'_>) -> Result<Check, ActionError> {
        let plane = Plane::read(cx.inventory, cx.fleet);
        Ok(match Founding::of(cx, &plane)? {
            Founding::By(name, start) if name == cx.node.name => Check::Needed(change(cx, start)),
            Founding::By(..) | Founding::Done => Check::Satisfied,
        })
    }

    async fn apply(&self, effect: &Effect<'_>, _change: &Change) -> Result<(), ActionError> {
        let cx = &effect.cx;
        let fleet = survey::survey(effect).await?;
        let plane = Plane::read(cx.inventory, &fleet);
        let start = match Founding::of(cx, &plane)? {
            Founding::By(name, start) if name == cx.node.name => start,
            Founding::By(..) | Founding::Done => return Ok(()),
        };
        let own = plane.of(&cx.node.name);
        if own.is_some_and(|own| own.jobs.contains(&"kubeadm-init")) {
            (effect.note)(
                "found a kubeadm init of an earlier run still going: waiting for it".to_owned(),
            );
            kubeadm::follow(effect, "kubeadm-init", DEADLINE).await?;
        }
        let token = if is_done(effect).await? {
            None
        } else {
            Some(init(effect, start).await?)
        };
        survey::until(effect, "the new control plane", SERVES, |plane, own| {
            Ok(match own {
                Some(own) if own.is_living() => Look::Done(()),
                Some(own) => Look::NotYet(crate::cluster::plane::ailment(own)),
                None => Look::NotYet(format!("{} masters were read", plane.masters.len())),
            })
        })
        .await?;
        if let Some(token) = token {
            token.delete(effect.host).await?;
        }
        Ok(())
    }
}

/// Whether an init that was waited for has ended well.
async fn is_done(effect: &Effect<'_>) -> Result<bool, ActionError> {
    let fleet = survey::survey(effect).await?;
    let plane = Plane::read(effect.cx.inventory, &fleet);
    Ok(plane
        .of(&effect.cx.node.name)
        .is_some_and(|own| own.applied.is_some() && !own.report.has(Has::Founding)))
}

async fn init(effect: &Effect<'_>, start: Start) -> Result<Token, ActionError> {
    let cx = &effect.cx;
    let token = Token::generate();
    let extras = extras(cx.inventory, Role::Master, &token, None);
    let config = cx.templates.render_with("kubeadm/init.yaml", cx, extras)?;
    kubeadm::run(
        effect,
        "kubeadm-init",
        kubeadm::init(cx.inventory, start, config),
        DEADLINE,
    )
    .await?;
    Ok(token)
}

/// Which etcd a master works with, for a change's summary.
pub(crate) fn with_etcd(cx: &Context<'_>) -> String {
    let (name, address) = (&cx.node.name, cx.node.address);
    match cx.inventory.etcd {
        EtcdTopology::Stacked => format!(
            "with etcd member {name} ({}, {})",
            client_url(address),
            peer_url(address)
        ),
        EtcdTopology::External(_) => {
            let places = cx.inventory.etcd_places();
            let names: Vec<&str> = places
                .iter()
                .map(|place| place.node.name.as_str())
                .collect();
            format!("with the etcd of {}", names.join(", "))
        }
    }
}

fn change(cx: &Context<'_>, start: Start) -> Change {
    let name = &cx.node.name;
    let what = with_etcd(cx);
    let change = match start {
        Start::Fresh => Change::new(format!(
            "found the cluster {} on {name}, {what}",
            cx.inventory.name
        )),
        Start::Continued => Change::new(format!(
            "finish founding the cluster {} on {name}, {what}",
            cx.inventory.name
        ))
        .found(format!(
            "a kubeadm init on {name} did not finish: it is done again, with the CA that it made"
        )),
    };
    change.without_way_back("its CA is the cluster's from here on")
}
