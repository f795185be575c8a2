//! `etcd-certificates`: the certificates of a member of an external etcd, made on its host.

use std::time::Duration;

use camino::Utf8Path;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{Action, ActionError, Change, Check, Context, Effect};
use crate::cluster::etcd_pki::{self, Whose, lacking};
use crate::host::probe::{NotProbed, Probe};
use crate::template::EtcdMember;

const DEADLINE: Duration = Duration::from_secs(120);

/// Certificates whose names matter.
const NAMED: [&str; 2] = ["/etc/etcd/pki/server.crt", "/etc/etcd/pki/peer.crt"];

/// What has to be there beside them.
const OTHERS: [&str; 4] = [
    "/etc/etcd/pki/server.key",
    "/etc/etcd/pki/peer.key",
    "/etc/etcd/pki/healthcheck-client.crt",
    "/etc/etcd/pki/healthcheck-client.key",
];

/// Server, peer and client certificates of a member, with the names that it has, made anew a month before they end. etcd
/// reads them with every connection, so nothing is restarted.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct EtcdCertificates {}

impl Action for EtcdCertificates {
    fn probes(&self, _cx: &Context<'_>) -> Vec<Probe> {
        let named = NAMED.into_iter().map(|path| Probe::File(path.into()));
        let named = std::iter::once(Probe::Machine).chain(named);
        named
            .chain(OTHERS.into_iter().map(|path| Probe::Digest(path.into())))
            .collect()
    }

    fn check(&self, cx: &Context<'_>) -> Result<Check, ActionError> {
        let Some(member) = crate::template::etcd_member(cx.inventory, cx.node) else {
            return Ok(Check::Satisfied);
        };
        let why = lacks(cx, &member)?;
        if why.is_empty() {
            return Ok(Check::Satisfied);
        }
        let change = Change::new(format!(
            "make the certificates of etcd member {}: {}",
            member.name,
            why.join(", ")
        ));
        Ok(Check::Needed(
            NAMED.into_iter().fold(change, Change::touching),
        ))
    }

    async fn apply(&self, effect: &Effect<'_>, _change: &Change) -> Result<(), ActionError> {
        let configuration = effect
            .cx
            .templates
            .render("etcd/kubeadm.yaml", &effect.cx)?;
        let command = etcd_pki::make(Whose::Member, &configuration, None);
        effect.host.succeed(&command.deadline(DEADLINE)).await?;
        Ok(())
    }
}

/// What is missing, in words.
fn lacks(cx: &Context<'_>, member: &EtcdMember) -> Result<Vec<String>, NotProbed> {
    let clock = cx.facts().machine()?.clock_us;
    let mut why = Vec::new();
    for (path, wanted) in NAMED
        .into_iter()
        .zip([&member.server_sans, &member.peer_sans])
    {
        match cx.facts().file(Utf8Path::new(path))?.text() {
            None => why.push(format!("there is no {path}")),
            Some(pem) => {
                let names = lacking(pem, wanted);
                if !names.is_empty() {
                    why.push(format!("{path} lacks {}", names.join(", ")));
                }
                why.extend(etcd_pki::ending(path, pem, clock));
            }
        }
    }
    for path in OTHERS {
        if cx.facts().file(Utf8Path::new(path))?.present().is_none() {
            why.push(format!("there is no {path}"));
        }
    }
    why.truncate(1);
    Ok(why)
}
