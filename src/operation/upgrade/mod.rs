//! `quorate upgrade`: a running cluster to another release (`--to vX.Y.Z`), or its etcd to another version ([`etcd`]), without
//! its clients noticing.
//!
//! One reading of all hosts says where each stands, what the gates refuse and what is left to do; so an upgrade that was
//! interrupted is continued by the same command. Each hop (at most one minor) is a run of the playbook `upgrade-hop` with a
//! journal of its own. Success is reported only after every component's release was read back from every host.

pub mod etcd;
pub mod gates;
pub mod plan;
mod read_back;
mod snapshot;

use std::collections::BTreeMap;
use std::str::FromStr;
use std::sync::Arc;
use std::time::Instant;

use gates::{Hops, Site};

use super::Session;
use super::consent::agree;
use super::forecast::forecast;
use super::provision::{Work, carry_out, follow_leftovers};
use crate::action::{Action as _, BarePods, Blocked, Fleet, Scope, repository_url};
use crate::engine::meter::Meter;
use crate::engine::reader::Reader;
use crate::error::Error;
use crate::host::Hosts;
use crate::host::probe::Probe;
use crate::inventory::version::KubeVersion;
use crate::inventory::{Inventory, Node, PackageSource, Role};
use crate::os::Family;
use crate::plan::Plan;
use crate::report::eprintln;

/// What the command line asks for.
#[derive(Debug, Clone)]
pub struct Options {
    /// The release.
    pub to: KubeVersion,
    /// How far to go.
    pub intent: Intent,
    /// What may be done to get there.
    pub policies: Policies,
}

/// How far to go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Intent {
    /// To the gates and the plan.
    Check,
    /// All the way.
    Upgrade,
}

/// What may be done.
#[derive(Debug, Clone)]
pub struct Policies {
    /// Workers that may be away at once.
    pub at_once: AtOnce,
    /// Pods that nobody would make again.
    pub bare_pods: BarePods,
    /// Pods that a budget keeps.
    pub blocked: Blocked,
    /// Seconds that the pods of a node may take to leave.
    pub drain_timeout: u64,
    /// Hosts before whose uncordon a person is asked.
    pub pause_after: Vec<String>,
}

impl Default for Policies {
    /// Stop wherever something could be lost.
    fn default() -> Self {
        Self {
            at_once: AtOnce::Count(1),
            bare_pods: BarePods::Stop,
            blocked: Blocked::Stop,
            drain_timeout: 600,
            pause_after: Vec::new(),
        }
    }
}

/// How many workers may be away at once.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AtOnce {
    /// So many.
    Count(usize),
    /// So many of a hundred, rounded down, but one at least.
    Percent(usize),
}

impl AtOnce {
    /// Of so many.
    #[must_use]
    pub fn of(self, workers: usize) -> usize {
        match self {
            Self::Count(count) => count,
            Self::Percent(percent) => (workers * percent / 100).max(1),
        }
    }
}

impl FromStr for AtOnce {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || {
            format!(
                "`{text}` is neither a number of workers, at least 1, nor a share from 1% to 100%"
            )
        };
        match text.strip_suffix('%') {
            Some(percent) => match percent.parse().map_err(|_| wrong())? {
                percent @ 1..=100 => Ok(Self::Percent(percent)),
                _ => Err(wrong()),
            },
            None => match text.parse().map_err(|_| wrong())? {
                0 => Err(wrong()),
                count => Ok(Self::Count(count)),
            },
        }
    }
}

/// Reads, gates, plans, asks, upgrades hop by hop, reads back.
pub async fn upgrade(session: &Session, options: &Options) -> Result<(), Error> {
    let begun = Instant::now();
    refuse_nonsense(session, options)?;
    let target = at(session, options.to);
    let whole = plan::of_hop(&target, &options.policies)?;
    let meter = Arc::new(Meter::default());
    let hosts = target.connect_all(&whole, &meter).await?;
    let reader = Reader::new(&hosts);
    read(&target, &whole, &hosts, &reader, gates::probes).await?;
    let tell = |host: &str, what: String| eprintln(&format!("{host}: found: {what}"));
    follow_leftovers(&target, &whole, &hosts, &reader, &tell).await?;
    let fleet = reader.fleet();
    if forecast(&target, &whole, &fleet).is_ok_and(|pending| pending.is_empty()) {
        return read_back::nothing_to_do(&target, &hosts, &fleet, begun).await;
    }

    let begins_at = site(&target, &reader.fleet(), options).begins_at();
    let offered = offered(&target, &hosts, begins_at, options.to).await;
    let hops = Hops::find(begins_at.unwrap_or(options.to), options.to, &offered);
    let fleet = reader.fleet();
    let site = site(&target, &fleet, options);
    refuse(&gates::judge(&site, options.to, &hops))?;
    eprintln(&plan::text(&site, &hops, options.to));
    if begins_at == Some(options.to) {
        for pending in forecast(&target, &whole, &fleet)? {
            eprintln(&format!(
                "  {}: still to do: {}",
                pending.task.host,
                pending.summary()
            ));
        }
    }
    if options.intent == Intent::Check {
        return Ok(());
    }
    let look = format!("quorate upgrade --to {} --check", options.to);
    agree(session, "Upgrade? Only `yes` goes on: ", &look)?;
    snapshot::before_kubernetes(&hosts, &site, options.to).await?;

    for release in hops.releases {
        let hop = at(session, release);
        let mut plan = plan::of_hop(&hop, &options.policies)?;
        read(&hop, &plan, &hosts, &reader, gates::probes).await?;
        plan::order_masters(&mut plan, &hop, &reader.fleet());
        let work = Work {
            operation: "upgrade",
            plan: &plan,
            hosts: &hosts,
            reader: &reader,
            meter: &meter,
            begun,
            holds: false,
        };
        carry_out(&hop, &work).await?;
    }
    read_back::all(&target, &hosts, begun).await
}

/// The session for a release: its playbook and templates see that one.
fn at(session: &Session, release: KubeVersion) -> Session {
    let mut session = session.clone();
    session.inventory.kubernetes = release;
    session
}

fn refuse_nonsense(session: &Session, options: &Options) -> Result<(), Error> {
    if !session.settings.on.is_empty() {
        let message = "--on: an upgrade is of the whole cluster; what is at its release already is passed over".to_owned();
        return Err(Error::Usage { message });
    }
    let is_node = |name: &String| session.inventory.node(name).is_some();
    match options
        .policies
        .pause_after
        .iter()
        .find(|name| !is_node(name))
    {
        Some(name) => Err(Error::Usage {
            message: format!("--pause-after {name}: the inventory has no such host"),
        }),
        None => Ok(()),
    }
}

fn site<'a>(session: &'a Session, fleet: &'a Fleet, options: &Options) -> Site<'a> {
    Site::read(
        &session.inventory,
        &session.templates,
        fleet,
        options.policies.clone(),
    )
}

/// Reads what is stale of everything that the gates (`of_gates`) and the playbook want to know, one round trip per host.
async fn read(
    session: &Session,
    plan: &Plan,
    hosts: &Hosts,
    reader: &Reader<'_>,
    of_gates: fn(&Inventory, &Node) -> Vec<Probe>,
) -> Result<(), Error> {
    let fleet = Fleet::default();
    let probes = |node: &Node| {
        let cx = session.context(node, &fleet);
        let mut probes = of_gates(&session.inventory, node);
        probes.extend(
            plan.steps_of(&node.name)
                .flat_map(|(_, _, step)| step.action.probes(&cx)),
        );
        probes
    };
    let wanted = hosts
        .iter()
        .map(|host| (host.node.name.clone(), probes(&host.node)))
        .collect();
    match reader.freshen(wanted, Scope::Host).await.into_iter().next() {
        None => Ok(()),
        Some((host, source)) => Err(Error::Read { host, source }),
    }
}

/// The releases that the package repository of every host but the load balancers offers, by minor and host.
async fn offered(
    session: &Session,
    hosts: &Hosts,
    from: Option<KubeVersion>,
    to: KubeVersion,
) -> BTreeMap<u16, BTreeMap<String, Vec<KubeVersion>>> {
    let source = &session.inventory.packages;
    let from = from
        .filter(|from| *from <= to)
        .map_or(to.minor, |from| from.minor);
    let mut offered: BTreeMap<u16, BTreeMap<String, Vec<KubeVersion>>> = BTreeMap::new();
    if *source == PackageSource::Preinstalled {
        return offered;
    }
    let with_tools = hosts
        .iter()
        .filter(|host| host.node.role != Role::LoadBalancer);
    let asked = with_tools.map(async |host| {
        let machine = host.transport.probe(&[Probe::Machine]).await.ok()?;
        let family = Family::of(machine.machine().ok()?)?;
        let scripts: Vec<_> = (from..=to.minor)
            .map(|minor| {
                (
                    minor,
                    family.offered(&repository_url(source, family, minor)),
                )
            })
            .collect();
        let probes: Vec<Probe> = scripts
            .iter()
            .map(|(_, script)| Probe::Script(script.clone()))
            .collect();
        let readings = host.transport.probe(&probes).await.ok()?;
        let releases = |text: &str| {
            text.lines()
                .filter_map(KubeVersion::find)
                .collect::<Vec<_>>()
        };
        let of_minor =
            |(minor, script)| Some((minor, releases(&readings.script(&script).ok()?.stdout)));
        Some((
            host.node.name.clone(),
            scripts.into_iter().filter_map(of_minor).collect::<Vec<_>>(),
        ))
    });
    for (host, minors) in futures::future::join_all(asked).await.into_iter().flatten() {
        for (minor, releases) in minors {
            offered
                .entry(minor)
                .or_default()
                .insert(host.clone(), releases);
        }
    }
    offered
}

/// Shows warnings and refusals, and ends the command if there is one of these.
fn refuse(verdict: &super::preflight::Verdict) -> Result<(), Error> {
    for finding in &verdict.warnings {
        eprintln(&format!("warning: {finding}"));
    }
    for finding in &verdict.refusals {
        eprintln(&format!("refused: {finding}"));
    }
    if !verdict.is_refusal() {
        return Ok(());
    }
    let findings = verdict
        .refusals
        .iter()
        .map(|finding| format!("{}: {}", finding.host, finding.what));
    Err(Error::Refused {
        findings: findings.collect(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_share_of_the_workers_is_one_at_least() {
        let of = |text: &str, workers| text.parse::<AtOnce>().map(|at_once| at_once.of(workers));
        assert_eq!(of("1", 10), Ok(1));
        assert_eq!(of("25%", 10), Ok(2));
        assert_eq!(of("10%", 3), Ok(1));
        assert_eq!(of("100%", 7), Ok(7));
        for wrong in ["0", "0%", "101%", "x", "-1", ""] {
            assert!(of(wrong, 3).is_err(), "{wrong}");
        }
    }
}
