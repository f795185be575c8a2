//! `quorate provision`: from bare hosts to a highly available control plane.
//!
//! One reading of all hosts decides everything: what preflight refuses, what would change, and, where nothing would, that
//! all is well already. Success after a change is reported only when a second reading of everything was judged and nothing
//! was left to change.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

use serde_json::json;

use super::consent::agree;
use super::desk::Desk;
use super::forecast::{Pending, Verdict, forecast};
use super::{Session, preflight};
use crate::action::AnyAction;
use crate::cluster::etcd::View;
use crate::cluster::etcd_member::Seat;
use crate::cluster::master::MasterState;
use crate::cluster::plane::{Member, Plane};
use crate::engine::event::{Event, RunId, RunResult};
use crate::engine::events::{Events, Listener};
use crate::engine::journal::{self, Journal};
use crate::engine::lock;
use crate::engine::meter::Meter;
use crate::engine::reader::Reader;
use crate::engine::{Engine, EngineError, Summary};
use crate::error::Error;
use crate::host::Hosts;
use crate::host::command::{Command, Script};
use crate::plan::Plan;
use crate::playbook::Step;
use crate::report::table::wrapped;
use crate::report::{EventsFile, Format, eprintln, screen};

/// How long a cluster may take to settle before what is read back counts, and the rest between two readings.
const SETTLES: Duration = Duration::from_secs(60);
const PAUSE: Duration = Duration::from_secs(2);

/// How long a piece of work that an earlier run left behind may take to end.
const LEFTOVER_JOB: Duration = Duration::from_secs(15 * 60);

/// Reads, plans, asks, changes, reads back.
pub async fn provision(session: &Session) -> Result<(), Error> {
    let begun = Instant::now();
    let mut plan = session.plan("provision")?;
    let meter = Arc::new(Meter::default());
    let hosts = session.connect_all(&plan, &meter).await?;
    let reader = Reader::new(&hosts);
    session.read(&plan, &hosts, &reader).await?;
    let tell = |host: &str, what: String| eprintln(&format!("{host}: found: {what}"));
    follow_leftovers(session, &plan, &hosts, &reader, &tell).await?;
    preflight::refuse(&session.inventory, &reader.fleet())?;
    {
        let fleet = reader.fleet();
        let plane = Plane::read(&session.inventory, &fleet);
        etcd_leader_last(&mut plan, &plane);
        lost_masters_first(&mut plan, &plane);
    }

    let pending = forecast(session, &plan, &reader.fleet())?;
    if !pending.is_empty() {
        confirm(session, &pending)?;
    }
    let work = Work {
        operation: "provision",
        plan: &plan,
        hosts: &hosts,
        reader: &reader,
        meter: &meter,
        begun,
        holds: pending.is_empty(),
    };
    carry_out(session, &work).await
}

/// Lets the member of an external etcd that leads take its turn last, so that leadership moves once.
pub(super) fn etcd_leader_last(plan: &mut Plan, plane: &Plane<'_>) {
    let mut seats = plane.external.iter().flat_map(|seats| &seats.seats);
    let leads = |seat: &&Seat<'_>| seat.etcd.as_ref().is_some_and(View::is_leader);
    let Some(leader) = seats.find(leads) else {
        return;
    };
    let disturbs = |step: &Step| {
        matches!(
            step.action,
            AnyAction::EtcdMember(_) | AnyAction::EtcdUpgrade(_)
        )
    };
    for play in &mut plan.plays {
        if play.steps.iter().any(disturbs) {
            play.hosts.sort_by_key(|host| *host == leader.node.name);
        }
    }
}

/// Lets masters with the data of another etcd join first, which stops what they serve: while they do, a client of the virtual
/// IP may be answered by the wrong one, and kubeadm on a host that joins is such a client.
fn lost_masters_first(plan: &mut Plan, plane: &Plane<'_>) {
    let masters = plane.masters.iter();
    let is_lost = |own: &&Member<'_>| matches!(MasterState::of(own, plane), MasterState::Wiped(_));
    let lost: BTreeSet<&str> = masters
        .filter(is_lost)
        .map(|own| own.node.name.as_str())
        .collect();
    let joins = |step: &Step| matches!(step.action, AnyAction::ControlPlaneJoin(_));
    for play in &mut plan.plays {
        if play.steps.iter().any(joins) {
            play.hosts.sort_by_key(|host| !lost.contains(host.as_str()));
        }
    }
}

/// A plan whose hosts were read and judged, and which shall be walked now.
pub(super) struct Work<'a> {
    /// The command.
    pub(super) operation: &'static str,
    /// What to walk.
    pub(super) plan: &'a Plan,
    /// The hosts, metered.
    pub(super) hosts: &'a Hosts,
    /// What was read of them.
    pub(super) reader: &'a Reader<'a>,
    /// The clock of remote calls.
    pub(super) meter: &'a Arc<Meter>,
    /// Since when the person waits.
    pub(super) begun: Instant,
    /// Whether every task was judged to hold, from what was read.
    pub(super) holds: bool,
}

/// Walks a plan as a run of its own: journalled, read back, summed up.
pub(super) async fn carry_out(session: &Session, work: &Work<'_>) -> Result<(), Error> {
    let (plan, hosts, reader) = (work.plan, work.hosts, work.reader);
    let run = RunId::new();
    let found = interrupted_before(&session.inventory.name);
    let events = open_events(session, &run)?;
    let stop = session.desk.stop();
    let owner = lock::owner();
    events
        .emit(started(session, work, &run))
        .map_err(EngineError::from)?;
    for (host, what) in found {
        events
            .emit(Event::Found { host, what })
            .map_err(EngineError::from)?;
    }
    let engine = Engine {
        inventory: &session.inventory,
        templates: &session.templates,
        hosts,
        reader,
        events: &events,
        stop: &stop,
        meter: work.meter,
        run: &run,
        owner: &owner,
    };
    let mut summary = if work.holds {
        engine.tell_held(plan)?
    } else {
        engine.run(plan).await?
    };
    let mut left = 0;
    if summary.changed > 0 && summary.result == RunResult::Done {
        left = read_back(session, plan, hosts, reader).await?;
        if left > 0 {
            summary.result = RunResult::Failed;
        }
    }
    // What the person waited for: connecting, the first reading and the reading back included.
    summary.duration = work.begun.elapsed();
    summary.own = work.meter.idle();
    finish(session, work, &run, &events, &summary, left)
}

/// Work that an interrupted run left running on a host is followed to its end before anything is judged.
///
/// `tell` is told of each host with such work before it is waited for.
pub async fn follow_leftovers(
    session: &Session,
    plan: &Plan,
    hosts: &Hosts,
    reader: &Reader<'_>,
    tell: &(dyn Fn(&str, String) + Sync),
) -> Result<(), Error> {
    let fleet = reader.fleet();
    let mut waited = false;
    for host in hosts.iter() {
        let jobs = fleet
            .of(&host.node.name)
            .machine()
            .map(|machine| machine.jobs.clone())
            .unwrap_or_default();
        if jobs.is_empty() {
            continue;
        }
        let what = format!(
            "{} still running from an earlier run: waiting for it",
            jobs.join(", ")
        );
        tell(&host.node.name, what);
        let wait = Script::new(
            "wait-for-units",
            r#"for unit in "$@"; do while systemctl is-active --quiet "$unit"; do sleep 0.3; done; done"#,
        );
        let command = Command::script(wait).args(jobs).deadline(LEFTOVER_JOB);
        let failed = |source| Error::Read {
            host: host.node.name.clone(),
            source,
        };
        host.succeed(&command).await.map_err(failed)?;
        waited = true;
    }
    if waited {
        reader.distrust();
        session.read(plan, hosts, reader).await?;
    }
    Ok(())
}

/// Reads everything again and judges it; how many tasks would still change something. What was proved once may be away for a
/// moment while a cluster settles, so it is given the time to come back.
async fn read_back(
    session: &Session,
    plan: &Plan,
    hosts: &Hosts,
    reader: &Reader<'_>,
) -> Result<usize, Error> {
    let since = tokio::time::Instant::now();
    let left = loop {
        reader.distrust();
        session.read(plan, hosts, reader).await?;
        let left = forecast(session, plan, &reader.fleet())?;
        match left.first().and_then(|it| hosts.get(&it.task.host)) {
            Some(host) if since.elapsed() < SETTLES => host.transport.rest(PAUSE).await,
            _ => break left,
        }
    };
    for pending in &left {
        eprintln(&format!(
            "{}: {}: read back: {}",
            pending.task.host,
            pending.step,
            summary_of(&pending.verdict)
        ));
    }
    Ok(left.len())
}

fn started(session: &Session, work: &Work<'_>, run: &RunId) -> Event {
    let plan = work.plan;
    Event::RunStarted {
        run: run.clone(),
        operation: work.operation.to_owned(),
        cluster: session.inventory.name.clone(),
        hosts: plan
            .hosts(&session.inventory)
            .iter()
            .map(|node| node.name.clone())
            .collect(),
        plan: plan.digest.clone(),
        tasks: plan.tasks(),
    }
}

/// What the last run of this cluster was doing when it died.
fn interrupted_before(cluster: &str) -> Vec<(String, String)> {
    let Some(last) = journal::runs(cluster).pop() else {
        return Vec::new();
    };
    let line = |step: String| format!("run {last} was interrupted during `{step}`");
    journal::interrupted_in(cluster, &last)
        .into_iter()
        .map(|(task, step)| (task.host, line(step)))
        .collect()
}

fn open_events(session: &Session, run: &RunId) -> Result<Events, Error> {
    let journal = || Journal::create(&session.inventory.name, run).map_err(EngineError::from);
    let mut listeners: Vec<Box<dyn Listener>> = Vec::new();
    if let Some(recorder) = &session.recorder {
        listeners.push(Box::new(recorder.clone()));
    }
    if let Desk::Rehearsal(rehearsal) = &session.desk {
        let journal = if rehearsal.keeps_journals {
            Some(journal()?)
        } else {
            None
        };
        listeners.push(Box::new(rehearsal.heard.clone()));
        return Ok(Events::new(journal, listeners));
    }
    listeners.push(screen());
    if let Some(path) = &session.settings.events {
        let failed = |source| Error::Local {
            doing: format!("create {path}"),
            source,
        };
        listeners.push(Box::new(EventsFile::create(path).map_err(failed)?));
    }
    Ok(Events::new(Some(journal()?), listeners))
}

fn summary_of(verdict: &Verdict) -> String {
    match verdict {
        Verdict::Change(change) => change.summary.clone(),
        Verdict::Unknown { until } => format!("unknown until {until}"),
    }
}

/// Shows what would change, by host, and asks.
fn confirm(session: &Session, pending: &[Pending]) -> Result<(), Error> {
    let mut by_host: BTreeMap<&str, usize> = BTreeMap::new();
    for task in pending {
        *by_host.entry(task.task.host.as_str()).or_default() += 1;
    }
    let hosts: Vec<String> = session
        .inventory
        .nodes
        .iter()
        .filter_map(|node| {
            by_host
                .get(node.name.as_str())
                .map(|count| format!("{} {count}", node.name))
        })
        .collect();
    let needed = match pending.len() {
        1 => "1 change is needed".to_owned(),
        count => format!("{count} changes are needed"),
    };
    eprintln(&wrapped(&format!("{needed}: "), &hosts.join(", ")));
    for (host, summary, why) in points_of_no_return(pending) {
        let line = format!("{host}: {summary}: {why}");
        eprintln(&wrapped("  NO WAY BACK: ", &crate::text::escape(&line)));
    }
    let question = "Make them? Only `yes` goes on (`quorate plan` shows each): ";
    agree(session, question, "quorate plan")
}

/// Changes from which there is no way back: host, what, and why.
fn points_of_no_return(pending: &[Pending]) -> impl Iterator<Item = (&str, &str, &str)> {
    pending.iter().filter_map(|pending| {
        let Verdict::Change(change) = &pending.verdict else {
            return None;
        };
        let why = change.no_way_back.as_deref()?;
        Some((pending.task.host.as_str(), change.summary.as_str(), why))
    })
}

fn finish(
    session: &Session,
    work: &Work<'_>,
    run: &RunId,
    events: &Events,
    summary: &Summary,
    left: usize,
) -> Result<(), Error> {
    let millis = |duration: Duration| u64::try_from(duration.as_millis()).unwrap_or(u64::MAX);
    let _ = events.emit(Event::RunFinished {
        result: summary.result,
        changed: summary.changed,
        unchanged: summary.unchanged,
        failed: summary.failed.len() + left,
        duration_ms: millis(summary.duration),
        own_ms: millis(summary.own),
    });
    print_summary(session, work, run, summary, left);
    match summary.result {
        RunResult::Done => Ok(()),
        RunResult::Failed => Err(Error::Failed {
            failed: summary.failed.len() + left,
        }),
        RunResult::Interrupted => Err(Error::Interrupted),
    }
}

fn print_summary(session: &Session, work: &Work<'_>, run: &RunId, summary: &Summary, left: usize) {
    let failed = summary.failed.len() + left;
    match session.settings.format {
        Format::Json => {
            let line = json!({
                "run": run,
                "operation": work.operation,
                "result": summary.result,
                "hosts": work.hosts.iter().count(),
                "changed": summary.changed,
                "unchanged": summary.unchanged,
                "failed": failed,
                "duration_s": summary.duration.as_secs_f64(),
                "own_s": summary.own.as_secs_f64(),
            });
            crate::report::println(&line.to_string());
        }
        Format::Table => {
            let seconds = summary.duration.as_secs_f64();
            let (changed, unchanged, failed) =
                (summary.changed, summary.unchanged, summary.failed.len());
            if changed == 0 && failed == 0 && summary.result == RunResult::Done {
                crate::report::println(&format!(
                    "Nothing to change: all {unchanged} tasks hold ({seconds:.2} s)"
                ));
            } else {
                crate::report::println(&format!(
                    "{changed} changed, {unchanged} held already, {failed} failed ({seconds:.1} s)"
                ));
            }
        }
    }
}
