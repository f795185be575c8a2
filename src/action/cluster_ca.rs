//! `cluster-ca`: the CA of the living cluster on a load balancer, where HAProxy verifies the apiservers with it.

use camino::{Utf8Path, Utf8PathBuf};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{Action, ActionError, Change, Check, Context, Effect};
use crate::cluster::ca::Ca;
use crate::cluster::plane::Plane;
use crate::cluster::survey;
use crate::host::file::RemoteFile;
use crate::host::probe::Probe;

/// Puts the cluster's CA certificate on a host.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct ClusterCa {
    /// Absolute path on the host.
    #[schemars(with = "String")]
    pub dest: Utf8PathBuf,
}

impl Action for ClusterCa {
    fn probes(&self, _cx: &Context<'_>) -> Vec<Probe> {
        vec![Probe::File(self.dest.clone())]
    }

    fn check(&self, cx: &Context<'_>) -> Result<Check, ActionError> {
        let plane = Plane::read(cx.inventory, cx.fleet);
        let held = cx.facts().file(&self.dest)?;
        let Some(ca) = plane.ca() else {
            // With masters unread (not selected), what is there stands.
            return Ok(match held.present() {
                Some(_) if plane.masters.is_empty() => Check::Satisfied,
                _ => Check::Unknown {
                    until: "a master holds the cluster's CA".to_owned(),
                },
            });
        };
        if held.text() == Some(&ca.pem) {
            return Ok(Check::Satisfied);
        }
        let change = Change::new(format!("put the cluster's CA into {}", self.dest))
            .touching(self.dest.clone());
        Ok(Check::Needed(match held.text().and_then(Ca::parse) {
            Some(other) if !other.is(ca) => {
                change.found(format!("{} is the CA of another cluster", self.dest))
            }
            _ => change,
        }))
    }

    async fn apply(&self, effect: &Effect<'_>, _change: &Change) -> Result<(), ActionError> {
        let pem = self.current(effect).await?;
        let file = RemoteFile {
            path: self.dest.clone(),
            content: pem.into_bytes(),
            mode: 0o644,
            owner: "root:root".to_owned(),
            check: None,
            undo: None,
        };
        Ok(effect.host.transport.write(&[file]).await?)
    }
}

impl ClusterCa {
    async fn current(&self, effect: &Effect<'_>) -> Result<String, ActionError> {
        let fleet = survey::masters(effect).await;
        let plane = Plane::read(effect.cx.inventory, &fleet);
        let ca = plane.ca().ok_or_else(|| ActionError::Unsafe {
            why: "no master holds the cluster's CA any more".to_owned(),
            help: "look at `quorate status`".to_owned(),
        })?;
        Ok(ca.pem.clone())
    }
}

/// Where load balancers keep the cluster's CA.
pub(crate) const ON_LOAD_BALANCERS: &str = "/etc/haproxy/kubernetes-ca.crt";

/// The CA that a load balancer knows, if it was read.
pub(crate) fn known_to(cx: &Context<'_>, load_balancer: &str) -> Option<Ca> {
    let reading = cx
        .fleet
        .of(load_balancer)
        .file(Utf8Path::new(ON_LOAD_BALANCERS));
    Ca::parse(reading.ok()?.text()?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cluster::ca::samples;
    use crate::cluster::report;
    use crate::host::probe::{FileState, Readings};
    use crate::testing::World;

    fn check(on_master: Option<&str>, on_balancer: Option<&str>) -> Check {
        let action = ClusterCa {
            dest: ON_LOAD_BALANCERS.into(),
        };
        let mut world = World::new("lb1");
        let balancer = match on_balancer {
            Some(pem) => Readings::default().with_file(ON_LOAD_BALANCERS, FileState::regular(pem)),
            None => Readings::default().without_file(ON_LOAD_BALANCERS),
        };
        let script = report::script(world.inventory.node("master1").expect("a master"));
        let master = Readings::default().with_script(script, 0, "");
        let master = match on_master {
            Some(pem) => master.with_file(report::CA, FileState::regular(pem)),
            None => master.without_file(report::CA),
        };
        world.fleet.update("master1", master);
        action
            .check(&world.reading(balancer).cx())
            .expect("everything was read")
    }

    #[test]
    fn the_balancer_holds_what_the_masters_hold() {
        assert_eq!(
            check(Some(samples::ONE), Some(samples::ONE)),
            Check::Satisfied
        );
        assert!(matches!(check(Some(samples::ONE), None), Check::Needed(_)));
        assert!(matches!(check(None, None), Check::Unknown { .. }));
    }

    #[test]
    fn another_clusters_ca_is_reported_and_replaced() {
        let Check::Needed(change) = check(Some(samples::ONE), Some(samples::OTHER)) else {
            panic!("it must be replaced");
        };
        assert_eq!(change.found.len(), 1);
    }
}
