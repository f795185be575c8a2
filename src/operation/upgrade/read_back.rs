//! The end of an upgrade: what every host shows, read back.

use std::time::{Duration, Instant};

use serde_json::json;

use super::gates;
use crate::action::Fleet;
use crate::cluster::objects::Objects;
use crate::cluster::release;
use crate::cluster::standing::Standing;
use crate::engine::reader::Reader;
use crate::error::Error;
use crate::host::Hosts;
use crate::inventory::Role;
use crate::operation::Session;
use crate::report::{Format, println};

/// Mirror pods and DaemonSets follow what runs by themselves, a little later: kubelet looks at a pod every 60 to 90 seconds
/// (`syncFrequency` with a jitter of half of it, `pod_workers.go`), and 59 were seen.
const SETTLES: Duration = Duration::from_secs(180);

const PAUSE: Duration = Duration::from_secs(2);

/// Reads every host until each shows the release everywhere.
pub(super) async fn all(session: &Session, hosts: &Hosts, begun: Instant) -> Result<(), Error> {
    settled(session, hosts).await?;
    tell(session, "upgraded", begun);
    Ok(())
}

/// There was nothing to do. `fleet`: what was read already; only if some of it is still on its way, it is read again.
pub(super) async fn nothing_to_do(
    session: &Session,
    hosts: &Hosts,
    fleet: &Fleet,
    begun: Instant,
) -> Result<(), Error> {
    if !differences(session, fleet).is_empty() {
        settled(session, hosts).await?;
    }
    tell(session, "unchanged", begun);
    Ok(())
}

async fn settled(session: &Session, hosts: &Hosts) -> Result<(), Error> {
    let since = tokio::time::Instant::now();
    loop {
        let reader = Reader::new(hosts);
        let wanted = hosts.iter().map(|host| {
            (
                host.node.name.clone(),
                gates::probes(&session.inventory, &host.node),
            )
        });
        let errors = reader.read(wanted.collect()).await;
        if let Some((host, source)) = errors.into_iter().next() {
            return Err(Error::Read { host, source });
        }
        let differences = differences(session, &reader.fleet());
        if differences.is_empty() {
            return Ok(());
        }
        if since.elapsed() > SETTLES {
            for line in &differences {
                crate::report::eprintln(&format!("read back: {line}"));
            }
            return Err(Error::Failed {
                failed: differences.len(),
            });
        }
        tokio::time::sleep(PAUSE).await;
    }
}

fn differences(session: &Session, fleet: &Fleet) -> Vec<String> {
    let inventory = &session.inventory;
    let target = inventory.kubernetes;
    let etcd = inventory.with_role(Role::Etcd);
    let of_etcd = etcd.filter_map(|node| {
        let line = release::tool_difference(inventory, fleet.of(&node.name), target)?;
        Some(format!("{}: {line}", node.name))
    });
    let nodes = inventory.nodes.iter().filter(|node| node.role.is_node());
    let of_host =
        nodes.flat_map(
            |node| match Standing::read(inventory, node, fleet.of(&node.name)) {
                Some(standing) => standing
                    .differences(target)
                    .into_iter()
                    .map(|line| format!("{}: {line}", node.name))
                    .collect(),
                None => vec![format!("{}: nothing was read", node.name)],
            },
        );
    let proxy = Objects::read(inventory, fleet)
        .proxy
        .filter(|proxy| *proxy != target);
    of_host
        .chain(of_etcd)
        .chain(proxy.map(|proxy| format!("kube-proxy is {proxy}")))
        .collect()
}

fn tell(session: &Session, result: &str, begun: Instant) {
    let release = session.inventory.kubernetes;
    let hosts = session
        .inventory
        .nodes
        .iter()
        .filter(|node| node.role.is_node())
        .count();
    let seconds = begun.elapsed().as_secs_f64();
    match session.settings.format {
        Format::Json => println(
            &json!({ "operation": "upgrade", "result": result, "release": release, "hosts": hosts, "duration_s": seconds }).to_string(),
        ),
        Format::Table if result == "unchanged" => {
            println(&format!("Nothing to upgrade: all {hosts} hosts run {release} ({seconds:.2} s)"));
        }
        Format::Table => println(&format!(
            "All {hosts} hosts run {release}, read back from each ({seconds:.0} s). Write `kubernetes: {release}` into the inventory"
        )),
    }
}
