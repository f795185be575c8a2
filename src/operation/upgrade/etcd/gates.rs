//! The gates of an upgrade of etcd: everything that would make it unsafe, found before anything is changed and told all at
//! once. Pure.
//!
//! What an interrupted upgrade left (a member that has the packages of the target and does not run yet) is no reason to
//! refuse: the run is there to finish it.

use std::collections::BTreeMap;

use crate::action::{ActionError, Context, Fleet, etcd_lacking, etcd_others, is_etcd_release};
use crate::cluster::plane::Plane;
use crate::host::probe::Probe;
use crate::inventory::etcd::{EtcdPackages, EtcdVersion, NotAccepted};
use crate::inventory::{ExternalEtcd, Inventory, Node};
use crate::operation::preflight::{Finding, Verdict};
use crate::operation::status::{self, Status};
use crate::operation::upgrade::gates::etcd::Members;
use crate::operation::upgrade::gates::finding;
use crate::template::Templates;

/// By host: name and version of every package of etcd that its repositories offer.
pub type Offered = BTreeMap<String, Vec<(String, String)>>;

/// What has to be read of a member's host, beside what the playbook reads.
#[must_use]
pub fn probes(inventory: &Inventory, node: &Node) -> Vec<Probe> {
    status::probes(inventory, node)
}

/// Everything that the gates look at.
pub struct Site<'a> {
    /// The cluster as it should be: with the target's version of etcd.
    pub inventory: &'a Inventory,
    /// The members' hosts.
    pub plane: Plane<'a>,
    templates: &'a Templates,
    fleet: &'a Fleet,
    status: Status,
}

impl<'a> Site<'a> {
    /// Puts together what was read.
    #[must_use]
    pub fn read(inventory: &'a Inventory, templates: &'a Templates, fleet: &'a Fleet) -> Self {
        Self {
            inventory,
            plane: Plane::read(inventory, fleet),
            templates,
            fleet,
            status: Status::of(inventory, fleet, &[]),
        }
    }

    /// The version that a host's member says it runs.
    #[must_use]
    pub fn running(&self, host: &str) -> Option<EtcdVersion> {
        let mut views = self.plane.views().into_iter();
        let (_, view) = views.find(|(node, _)| node.name == host)?;
        EtcdVersion::find(&view.version)
    }

    /// Whether a host's member leads.
    #[must_use]
    pub fn leads(&self, host: &str) -> bool {
        let mut views = self.plane.views().into_iter();
        views.any(|(node, view)| node.name == host && view.is_leader())
    }

    /// Whether an interrupted upgrade left a host in the middle: with packages of the target, or half of them, and not yet
    /// running it. Preinstalled programs say nothing of the kind.
    #[must_use]
    pub fn is_under_way(&self, host: &str) -> bool {
        let Some((etcd, node)) = self.etcd().zip(self.inventory.node(host)) else {
            return false;
        };
        if etcd.packages == EtcdPackages::Preinstalled || self.running(host) == Some(etcd.version) {
            return false;
        }
        let others = etcd_others(&self.context(node), etcd);
        // A package that is absent was unpacked and not configured: every member has them.
        others.is_ok_and(|others| others.iter().all(|(_, version)| version.is_none()))
    }

    /// Judges everything.
    #[must_use]
    pub fn judge(&self, to: EtcdVersion, offered: &Offered) -> Verdict {
        let mut verdict = Verdict::default();
        let is_under_way = |host: &str| self.is_under_way(host);
        let members = Members {
            inventory: self.inventory,
            plane: &self.plane,
            status: &self.status,
            is_under_way: &is_under_way,
        };
        members.judge(&mut verdict);
        verdict.refusals.extend(self.not_accepted(to));
        for (host, running) in members.running() {
            verdict.refusals.extend(step(host, running, to));
        }
        verdict.refusals.extend(self.lost_settings(to));
        for place in self.inventory.etcd_places() {
            verdict
                .refusals
                .extend(self.packages(place.node, to, offered));
        }
        verdict
    }

    fn etcd(&self) -> Option<&'a ExternalEtcd> {
        self.inventory.etcd.external()
    }

    fn context<'s>(&'s self, node: &'s Node) -> Context<'s> {
        Context {
            inventory: self.inventory,
            node,
            templates: self.templates,
            fleet: self.fleet,
        }
    }

    fn not_accepted(&self, to: EtcdVersion) -> Option<Finding> {
        let refused = to.accepted_by(Some(self.inventory.kubernetes)).err()?;
        let help = match &refused {
            NotAccepted::TooOld { oldest, .. } => format!("say `--etcd-to {oldest}` or later"),
            NotAccepted::Unspoken { .. } => "say a version of etcd 3".to_owned(),
        };
        Some(finding("all", "etcd-version", refused.to_string(), help))
    }

    /// etcd 3.7 knows none of the settings that were experiments, and does not start with one.
    fn lost_settings(&self, to: EtcdVersion) -> Option<Finding> {
        let is_lost = |key: &&String| to.minor >= 7 && key.starts_with("experimental-");
        let extra = self.etcd().into_iter().flat_map(|etcd| etcd.extra.keys());
        let lost: Vec<&str> = extra.filter(is_lost).map(String::as_str).collect();
        (!lost.is_empty()).then(|| {
            finding(
                "all",
                "removed-setting",
                format!(
                    "etcd {to} does not know {}, and the inventory sets it",
                    lost.join(", ")
                ),
                "take it out of `etcd: { extra }` and run `quorate provision` first",
            )
        })
    }

    /// The target can be installed on a host, or is installed.
    fn packages(&self, node: &Node, to: EtcdVersion, offered: &Offered) -> Option<Finding> {
        let etcd = self.etcd()?;
        let cx = self.context(node);
        let refusal = |what: String, help: &str| finding(&node.name, "packages", what, help);
        let unread = |error: ActionError| refusal(error.to_string(), "see `quorate status`");
        if etcd.packages == EtcdPackages::Preinstalled {
            let lacking = match etcd_lacking(&cx, etcd) {
                Ok(lacking) if lacking.is_empty() => return None,
                Ok(lacking) => lacking.join(", "),
                Err(error) => return Some(unread(error)),
            };
            return Some(refusal(
                format!("it should have etcd {to} preinstalled and has {lacking}"),
                "put etcd and etcdctl in place there, while the member runs: the upgrade restarts it in its turn",
            ));
        }
        let others = match etcd_others(&cx, etcd) {
            Ok(others) => others,
            Err(error) => return Some(unread(error)),
        };
        let newer = others.iter().find_map(|(name, version)| {
            let version = version.as_ref()?;
            EtcdVersion::find(version)
                .filter(|it| *it > to)
                .map(|it| (name, it))
        });
        if let Some((name, version)) = newer {
            return Some(refusal(
                format!("its package {name} is {version}, which is later than {to}"),
                "say that version, or later: it is what would run after a restart",
            ));
        }
        if others.is_empty() {
            return None;
        }
        let Some(offered) = offered.get(&node.name) else {
            return Some(refusal(
                "its repositories could not be asked what they offer of etcd".to_owned(),
                "see that the package manager works there",
            ));
        };
        let is_offered = |wanted: &str| {
            let mut versions = offered.iter().filter(|(name, _)| name == wanted);
            versions.any(|(_, version)| is_etcd_release(version, &to.to_string()))
        };
        let missing: Vec<&str> = others
            .iter()
            .map(|(name, _)| *name)
            .filter(|name| !is_offered(name))
            .collect();
        (!missing.is_empty()).then(|| {
            refusal(
                format!(
                    "its repositories do not offer {to} of {}",
                    missing.join(", ")
                ),
                "name one that does: `etcd: { packages: { source: mirror, url: …, key: … } }`",
            )
        })
    }
}

/// From what a member runs there is one safe step: no way back, no minor skipped, and the next one from a safe patch only.
fn step(host: &str, running: EtcdVersion, to: EtcdVersion) -> Option<Finding> {
    if running > to {
        return Some(finding(
            host,
            "downgrade",
            format!("its etcd runs {running}, which is later than {to}: etcd has no way back"),
            format!("say `--etcd-to {running}` or later"),
        ));
    }
    let next = running.minor + 1;
    if running.major != to.major || to.minor > next {
        return Some(finding(
            host,
            "minor",
            format!("its etcd runs {running}, and {to} is more than one minor ahead"),
            format!(
                "one minor at a time: `quorate upgrade --etcd-to {}.{next}.Z` first, with its newest patch",
                running.major
            ),
        ));
    }
    let least = EtcdVersion::least_before(to.minor).filter(|_| to.minor == next)?;
    (running < least).then(|| {
        finding(
            host,
            "etcd-version",
            format!(
                "its etcd {running} must be {least} or later before one of {} comes among the members",
                to.minor_text()
            ),
            format!("`quorate upgrade --etcd-to {least}`, or a later patch, first"),
        )
    })
}
