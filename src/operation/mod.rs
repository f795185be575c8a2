//! One file per command: what it reads, what it refuses, which playbook it walks, what must be true at the end.

pub mod backup;
mod consent;
pub mod desk;
pub mod exec;
#[cfg(test)]
pub(crate) mod fixture;
pub mod forecast;
pub mod lab;
pub mod plan;
pub mod preflight;
pub mod probe_scripts;
pub mod provision;
pub mod recover;
pub mod rehearse;
pub mod render;
pub mod restore;
pub mod runs;
pub mod status;
pub mod upgrade;

use std::sync::Arc;

use camino::{Utf8Path, Utf8PathBuf};

use desk::Desk;

use crate::action::{Action as _, Context, Fleet, Scope};
use crate::engine::meter::Meter;
use crate::engine::reader::Reader;
use crate::engine::recorder::{self, Recorder};
use crate::error::Error;
use crate::host::error::HostError;
use crate::host::host_key::NewHostKeys;
use crate::host::probe::Probe;
use crate::host::ssh::{ConnectOptions, Shared};
use crate::host::{Host, Hosts};
use crate::input::Colour;
use crate::inventory::select::{SelectError, Selector};
use crate::inventory::{Inventory, Node};
use crate::plan::Plan;
use crate::playbook::{Playbook, Step};
use crate::report::{Format, eprintln};
use crate::template::Templates;

/// What the command line says for every command that talks to hosts.
#[derive(Debug, Clone)]
pub struct Settings {
    /// The inventory file.
    pub inventory: Utf8PathBuf,
    /// `--on` selectors; empty: all hosts.
    pub on: Vec<String>,
    /// What standard output is for.
    pub format: Format,
    /// Do not ask.
    pub yes: bool,
    /// Where to write every event as JSON Lines.
    pub events: Option<Utf8PathBuf>,
    /// Overlay directory; wins over the inventory's.
    pub overlay: Option<Utf8PathBuf>,
    /// Trust keys of hosts that have none on file yet.
    pub accept_new_host_keys: bool,
}

/// A loaded inventory with what belongs to it.
#[derive(Clone)]
pub struct Session {
    /// The settings.
    pub settings: Settings,
    /// The cluster as it should be.
    pub inventory: Inventory,
    /// Templates, overlay included.
    pub templates: Templates,
    /// The hosts that `--on` selects.
    pub selector: Selector,
    /// Where the operation is carried out from.
    pub desk: Desk,
    /// Whoever writes down every remote call, for the test that holds the simulated hosts to the real ones.
    pub recorder: Option<Recorder>,
    /// What its connections have learnt: jump hosts, passwords that were asked for.
    shared: Arc<Shared>,
}

impl Session {
    /// Loads everything that is local and refuses what is wrong with it, before any connection. Warnings go to standard
    /// error.
    pub fn open(settings: Settings) -> Result<Self, Error> {
        let loaded = Inventory::load(&settings.inventory)?;
        for warning in &loaded.warnings {
            eprintln(&warning.render(Colour::Always));
        }
        let mut inventory = loaded.inventory;
        if settings.overlay.is_some() {
            inventory.overlay.clone_from(&settings.overlay);
        }
        let templates = Templates::load(inventory.overlay.as_deref())?;
        let selector = selector(&inventory, &settings.on)?;
        Ok(Self {
            settings,
            inventory,
            templates,
            selector,
            desk: Desk::Real,
            recorder: Recorder::from_environment().map_err(|source| Error::Local {
                doing: format!("open the file that {} names", recorder::VARIABLE),
                source,
            })?,
            shared: Arc::default(),
        })
    }

    /// The same session, whose person has agreed already.
    #[must_use]
    pub fn agreed(mut self) -> Self {
        self.settings.yes = true;
        self
    }

    /// The same session for these hosts only.
    pub fn narrowed_to(&self, hosts: &Hosts) -> Result<Self, Error> {
        self.narrowed_to_names(hosts.iter().map(|host| host.node.name.clone()).collect())
    }

    /// The same session for the hosts of these names only.
    pub fn narrowed_to_names(&self, names: Vec<String>) -> Result<Self, Error> {
        let mut session = self.clone();
        session.settings.on = names;
        session.selector = selector(&session.inventory, &session.settings.on)?;
        Ok(session)
    }

    /// The overlay directory in force.
    #[must_use]
    pub fn overlay(&self) -> Option<&Utf8Path> {
        self.inventory.overlay.as_deref()
    }

    /// A playbook multiplied out for the selected hosts.
    pub fn plan(&self, playbook: &str) -> Result<Plan, Error> {
        let playbook = Playbook::load(playbook, self.overlay())?;
        let plan = Plan::new(&playbook, &self.inventory, &self.selector)?;
        self.check_templates(&plan)?;
        Ok(plan)
    }

    /// Connects to `nodes`, all at once. The calls on the returned hosts are counted by `meter`.
    pub async fn connect(
        &self,
        nodes: &[&Node],
        meter: &Arc<Meter>,
    ) -> (Hosts, Vec<(String, HostError)>) {
        if let Desk::Rehearsal(rehearsal) = &self.desk {
            let (hosts, errors) = rehearsal.simulation.connect(nodes);
            return (self.watched(&hosts, meter), errors);
        }
        let new_host_keys = if self.settings.accept_new_host_keys {
            NewHostKeys::Accept
        } else {
            NewHostKeys::Refuse
        };
        let options = ConnectOptions {
            new_host_keys,
            shared: Arc::clone(&self.shared),
            ..ConnectOptions::default()
        };
        let nodes: Vec<Arc<Node>> = nodes.iter().map(|node| Arc::new((*node).clone())).collect();
        let (hosts, errors) = Hosts::connect(&nodes, &options).await;
        (self.watched(&hosts, meter), errors)
    }

    /// Connects to one node.
    pub async fn connect_one(&self, node: &Node) -> Result<Host, HostError> {
        let (hosts, errors) = self.connect(&[node], &Arc::default()).await;
        match (hosts.get(&node.name), errors.into_iter().next()) {
            (Some(host), _) => Ok(host.clone()),
            (None, Some((_, error))) => Err(error),
            (None, None) => Err(HostError::Unreachable {
                host: node.name.clone(),
                address: node.address.to_string(),
                reason: "it was not tried".to_owned(),
            }),
        }
    }

    /// The hosts behind everyone who watches their calls.
    fn watched(&self, hosts: &Hosts, meter: &Arc<Meter>) -> Hosts {
        let recorded = self.recorder.as_ref().map(|recorder| recorder.wrap(hosts));
        meter.wrap(recorded.as_ref().unwrap_or(hosts))
    }

    /// Connects to every host of a plan; refuses if one cannot be reached.
    pub async fn connect_all(&self, plan: &Plan, meter: &Arc<Meter>) -> Result<Hosts, Error> {
        match self.connect(&plan.hosts(&self.inventory), meter).await {
            (hosts, errors) if errors.is_empty() => Ok(hosts),
            (_, errors) => Err(Error::Connect { errors }),
        }
    }

    /// Reads what is stale of everything that a plan and its preflight want to know, one round trip per host.
    pub async fn read(&self, plan: &Plan, hosts: &Hosts, reader: &Reader<'_>) -> Result<(), Error> {
        match reader
            .freshen(self.probes(plan, hosts), Scope::Host)
            .await
            .into_iter()
            .next()
        {
            None => Ok(()),
            Some((host, source)) => Err(Error::Read { host, source }),
        }
    }

    /// What judging sees.
    #[must_use]
    pub fn context<'a>(&'a self, node: &'a Node, fleet: &'a Fleet) -> Context<'a> {
        Context {
            inventory: &self.inventory,
            node,
            templates: &self.templates,
            fleet,
        }
    }

    /// Everything that a plan and its preflight want read, per host.
    fn probes(&self, plan: &Plan, hosts: &Hosts) -> Vec<(String, Vec<Probe>)> {
        let mut steps = plan.steps_by_host();
        let probes_of = |host: &Host| {
            let name = &host.node.name;
            let steps = steps.remove(name.as_str()).unwrap_or_default();
            (name.clone(), self.probes_for(&host.node, steps))
        };
        hosts.iter().map(probes_of).collect()
    }

    /// Everything that a plan and its preflight want read of one host.
    #[must_use]
    pub fn probes_of(&self, plan: &Plan, node: &Node) -> Vec<Probe> {
        self.probes_for(node, plan.steps_of(&node.name).map(|(_, _, step)| step))
    }

    fn probes_for<'s>(&self, node: &Node, steps: impl IntoIterator<Item = &'s Step>) -> Vec<Probe> {
        let fleet = Fleet::default();
        let cx = self.context(node, &fleet);
        let mut probes = preflight::probes(&self.inventory, node);
        let steps = steps.into_iter();
        probes.extend(steps.flat_map(|step| step.action.probes(&cx)));
        probes.sort();
        probes.dedup();
        probes
    }

    /// Renders once, offline, every file of the plan: an overlay that cannot render is refused here.
    fn check_templates(&self, plan: &Plan) -> Result<(), Error> {
        render::each_file(self, plan, |_| ())
    }
}

fn selector(inventory: &Inventory, on: &[String]) -> Result<Selector, Error> {
    if on.is_empty() {
        return Ok(Selector::all());
    }
    let usage = |error: SelectError| Error::Usage {
        message: format!("--on {}: {error}", on.join(",")),
    };
    let selector = Selector::parse(&on.join(",")).map_err(usage)?;
    selector.select(&inventory.nodes).map_err(usage)?;
    Ok(selector)
}
