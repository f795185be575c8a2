//! `vip-answers`: the virtual IP answers from this load balancer and one load balancer holds it; then the changes that waited
//! for this proof are kept.
//!
//! Until then the host would put the old files back by itself (see [`Undo`](crate::host::file::Undo)): a configuration that
//! parses and does not work, or one that cuts the operator off, undoes itself.

use std::time::Duration;

use futures::future::join_all;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use tokio::time::Instant;

use super::{Action, ActionError, Change, Check, Context, Effect, Fleet, Scope};
use crate::cluster::plane::Plane;
use crate::host::command::Script;
use crate::host::probe::{Probe, Readings};
use crate::inventory::{Inventory, Node, Role};

/// How long the virtual IP may take: Keepalived must be elected, HAProxy must see a back end.
const ANSWERS: Duration = Duration::from_secs(45);

/// Asks through the virtual IP, and lists the undos that are armed. `$1`: address, `$2`: port.
const BODY: &str = r#"
address=$1 port=$2
holds=$(ip -o -4 address show to "$address/32" 2>/dev/null)
if [ -n "$holds" ]; then echo holds; fi
for undo in /run/quorate/undo/*/; do
    [ -d "$undo" ] && [ ! -d "$undo/claim" ] && echo "armed $(basename "$undo")"
done
if ! command -v curl >/dev/null 2>&1; then
    echo "answer absent"
    exit 0
fi
verify=--insecure
if [ -e /etc/haproxy/kubernetes-ca.crt ]; then
    verify='--cacert /etc/haproxy/kubernetes-ca.crt'
fi
code=$(curl -s -o /dev/null --max-time 3 --connect-timeout 2 -A quorate $verify -w '%{http_code} %{num_connects}' "https://$address:$port/readyz" 2>/dev/null)
status=$?
case $status in
0) echo "answer ${code%% *}" ;;
7|28) echo "answer unreachable" ;;
60) echo "answer untrusted" ;;
*) echo "answer connected" ;;
esac
exit 0
"#;

/// Sees the virtual IP answer, and keeps the changes that waited for it.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct VipAnswers {
    /// Names of the undos to disarm.
    #[serde(default)]
    pub disarm: Vec<String>,
}

/// What was seen from one load balancer.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
struct Seen {
    holds: bool,
    armed: Vec<String>,
    answer: String,
}

impl Seen {
    fn read(cx: &Context<'_>, node: &Node, fleet: &Fleet) -> Option<Self> {
        let reading = fleet.of(&node.name).script(&script(cx.inventory)).ok()?;
        let mut seen = Self::default();
        for line in reading.stdout.lines() {
            match line.split_once(' ').unwrap_or((line, "")) {
                ("holds", _) => seen.holds = true,
                ("armed", name) => seen.armed.push(name.to_owned()),
                ("answer", answer) => answer.clone_into(&mut seen.answer),
                _ => {}
            }
        }
        Some(seen)
    }
}

fn script(inventory: &Inventory) -> Script {
    Script::new("vip-answers", BODY)
        .arg(inventory.vip.address.to_string())
        .arg(inventory.vip.port.to_string())
}

impl Action for VipAnswers {
    fn probes(&self, cx: &Context<'_>) -> Vec<Probe> {
        vec![Probe::Script(script(cx.inventory))]
    }

    fn scope(&self, _cx: &Context<'_>) -> Scope {
        Scope::Cluster
    }

    fn check(&self, cx: &Context<'_>) -> Result<Check, ActionError> {
        let vip = cx.inventory.vip.address;
        let seen = Seen::read(cx, cx.node, cx.fleet).unwrap_or_default();
        let armed = seen.armed.iter().filter(|name| self.disarm.contains(name));
        let armed: Vec<&str> = armed.map(String::as_str).collect();
        Ok(match (trouble(cx, cx.fleet), armed.is_empty()) {
            (None, true) => Check::Satisfied,
            (None, false) => Check::needed(format!(
                "keep the new configuration of {}",
                armed.join(" and ")
            )),
            (Some(why), _) => Check::Needed(Change::new(format!("see {vip} answer")).found(why)),
        })
    }

    async fn apply(&self, effect: &Effect<'_>, _change: &Change) -> Result<(), ActionError> {
        let since = Instant::now();
        loop {
            let fleet = look(effect).await?;
            let Some(why) = trouble(&effect.cx, &fleet) else {
                break;
            };
            if since.elapsed() > ANSWERS {
                return Err(ActionError::Waited {
                    what: format!(
                        "an answer of the virtual IP {}",
                        effect.cx.inventory.vip.address
                    ),
                    waited: ANSWERS,
                    last: why,
                });
            }
            effect.host.transport.rest(Duration::from_millis(500)).await;
        }
        for undo in &self.disarm {
            if !effect.host.transport.disarm(undo).await? {
                return Err(fired(effect, undo));
            }
        }
        Ok(())
    }
}

/// What is wrong with the virtual IP in the eyes of the judged host, if anything is.
fn trouble(cx: &Context<'_>, fleet: &Fleet) -> Option<String> {
    let vip = cx.inventory.vip.address;
    let Some(own) = Seen::read(cx, cx.node, fleet) else {
        return Some("nothing was read yet".to_owned());
    };
    let holders: Vec<&str> = cx
        .inventory
        .with_role(Role::LoadBalancer)
        .filter(|node| Seen::read(cx, node, fleet).is_some_and(|seen| seen.holds))
        .map(|node| node.name.as_str())
        .collect();
    let serves = Plane::read(cx.inventory, fleet).living().next().is_some()
        || Plane::read(cx.inventory, cx.fleet)
            .living()
            .next()
            .is_some();
    match (&holders[..], own.answer.as_str()) {
        ([], _) => Some(format!("no load balancer holds {vip}")),
        ([_, _, ..], _) => Some(format!("{} hold {vip} at once", holders.join(" and "))),
        (_, "unreachable") => Some(format!("{vip} does not answer {}", cx.node.name)),
        (_, "untrusted") => Some(format!(
            "what answers at {vip} is not of this cluster: its certificate is of another CA"
        )),
        (_, "absent") => Some("curl is missing".to_owned()),
        (_, "200") => None,
        (_, answer) if serves => Some(format!(
            "masters serve, but {vip} does not pass /readyz on ({answer})"
        )),
        _ => None,
    }
}

/// Reads all load balancers and masters at once.
async fn look(effect: &Effect<'_>) -> Result<Fleet, ActionError> {
    let cx = &effect.cx;
    let probes = vec![Probe::Script(script(cx.inventory))];
    let balancers = effect
        .hosts
        .iter()
        .filter(|host| host.node.role == Role::LoadBalancer);
    let reads =
        balancers.map(async |host| (host.node.name.clone(), host.transport.probe(&probes).await));
    let mut fleet = Fleet::default();
    for (name, readings) in join_all(reads).await {
        let is_own = name == cx.node.name;
        match readings {
            Ok(readings) => fleet.update(&name, readings),
            Err(error) if is_own => return Err(error.into()),
            Err(_) => fleet.update(&name, Readings::default()),
        }
    }
    Ok(fleet)
}

fn fired(effect: &Effect<'_>, undo: &str) -> ActionError {
    ActionError::Unsafe {
        why: format!(
            "{} put the old configuration of {undo} back before the virtual IP was seen to answer",
            effect.cx.node.name
        ),
        help: format!("look at `journalctl -u {undo}` there, then run the same command again"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::World;

    fn check(own: &str, other: &str) -> Check {
        let mut world = World::new("lb1");
        let script = script(&world.inventory);
        let reading = |text: &str| Readings::default().with_script(script.clone(), 0, text);
        world.fleet.update("lb2", reading(other));
        let action = VipAnswers {
            disarm: vec!["haproxy".to_owned()],
        };
        action
            .check(&world.reading(reading(own)).cx())
            .expect("nothing can fail")
    }

    fn found(check: &Check) -> String {
        match check {
            Check::Needed(change) => format!("{} {}", change.summary, change.found.join(" ")),
            Check::Satisfied => "satisfied".to_owned(),
            Check::Unknown { until } => until.clone(),
        }
    }

    #[test]
    fn one_holder_that_answers_and_no_armed_undo_will_do() {
        let cases = [
            ("holds\nanswer 200\n", "answer 200\n", "satisfied"),
            ("answer 200\n", "holds\nanswer 200\n", "satisfied"),
            ("holds\nanswer connected\n", "", "satisfied"),
            (
                "holds\narmed haproxy\nanswer 200\n",
                "",
                "keep the new configuration of haproxy",
            ),
            ("holds\narmed keepalived\nanswer 200\n", "", "satisfied"),
            ("holds\nanswer 200\n", "holds\n", "hold 10.1.1.100 at once"),
            ("answer 200\n", "", "no load balancer holds"),
            ("holds\nanswer unreachable\n", "", "does not answer lb1"),
            ("holds\nanswer untrusted\n", "", "another CA"),
        ];
        for (own, other, expected) in cases {
            let verdict = found(&check(own, other));
            assert!(verdict.contains(expected), "{own:?} {other:?}: {verdict}");
        }
    }
}
