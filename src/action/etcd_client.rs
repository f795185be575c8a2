//! `etcd-client`: the certificate with which a master's apiserver asks an external etcd.

use std::time::Duration;

use camino::Utf8Path;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{Action, ActionError, Change, Check, Context, Effect, Scope};
use crate::cluster::etcd_member::{Seat, Seats};
use crate::cluster::etcd_pki::{self, Whose};
use crate::cluster::report;
use crate::cluster::survey;
use crate::host::probe::Probe;
use crate::inventory::{Inventory, Role};
use crate::template::EtcdClient as Files;

const DEADLINE: Duration = Duration::from_secs(120);

/// CA, certificate and key of an external etcd's client. Where etcd is stacked kubeadm makes them, and this has no step.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct EtcdClient {}

impl Action for EtcdClient {
    fn probes(&self, cx: &Context<'_>) -> Vec<Probe> {
        let mut probes = report::probes(cx.node);
        if cx.node.role == Role::Master {
            probes.push(Probe::Machine);
            probes.extend(
                [Files::FILES.ca, Files::FILES.certificate].map(|path| Probe::File(path.into())),
            );
            probes.push(Probe::Digest(Files::FILES.key.into()));
        }
        probes
    }

    fn scope(&self, _cx: &Context<'_>) -> Scope {
        Scope::Fleet
    }

    fn concerns(&self, inventory: &Inventory) -> bool {
        inventory.etcd.external().is_some()
    }

    fn check(&self, cx: &Context<'_>) -> Result<Check, ActionError> {
        let seats = Seats::read(cx.inventory, cx.fleet);
        let held = cx.facts().file(Utf8Path::new(Files::FILES.ca))?.text();
        let certificate = cx
            .facts()
            .file(Utf8Path::new(Files::FILES.certificate))?
            .text();
        let has_key = cx
            .facts()
            .file(Utf8Path::new(Files::FILES.key))?
            .present()
            .is_some();
        let clock = cx.facts().machine()?.clock_us;
        let ending =
            certificate.and_then(|pem| etcd_pki::ending(Files::FILES.certificate, pem, clock));
        let is_whole = held.is_some() && certificate.is_some() && has_key;
        let is_right = seats
            .ca()
            .is_none_or(|(_, ca)| held == Some(ca.pem.as_str()));
        if is_whole && is_right && ending.is_none() {
            return Ok(Check::Satisfied);
        }
        let change = Change::new(format!(
            "make the certificate with which {} asks etcd",
            cx.node.name
        ));
        let change = change.touching(Files::FILES.certificate);
        Ok(Check::Needed(
            ending.into_iter().fold(change, Change::found),
        ))
    }

    async fn apply(&self, effect: &Effect<'_>, _change: &Change) -> Result<(), ActionError> {
        let fleet = survey::survey(effect).await?;
        let seats = Seats::read(effect.cx.inventory, &fleet);
        let own = seats
            .of(&effect.cx.node.name)
            .filter(|seat| seat.ca.is_some());
        let ca = if own.is_some() {
            None
        } else {
            let holds = |seat: &&Seat<'_>| seat.ca.is_some();
            let mut holders = seats.seats.iter().filter(holds);
            let holder = holders
                .find_map(|seat| effect.hosts.get(&seat.node.name))
                .ok_or_else(nobody)?;
            Some(etcd_pki::read_ca(holder).await?)
        };
        let configuration = effect
            .cx
            .templates
            .render("etcd/kubeadm.yaml", &effect.cx)?;
        let command = etcd_pki::make(Whose::Client, &configuration, ca.as_ref());
        effect.host.succeed(&command.deadline(DEADLINE)).await?;
        Ok(())
    }
}

fn nobody() -> ActionError {
    ActionError::Unsafe {
        why: "no member of etcd that is connected holds its CA".to_owned(),
        help: "select etcd's hosts too (`--on`)".to_owned(),
    }
}
