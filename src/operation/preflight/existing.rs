//! A cluster that is there already: it must be ours, and one.

use std::collections::BTreeMap;

use super::{Examined, Finding, Verdict};
use crate::cluster::ca::Ca;
use crate::inventory::{Inventory, Role};

const RESET: &str = "if it is to leave that cluster for good, `kubeadm reset -f` on it and remove /etc/kubernetes, then run again";

pub(super) fn judge(inventory: &Inventory, hosts: &[Examined<'_>], verdict: &mut Verdict) {
    let authorities = authorities(hosts);
    if authorities.len() > 1 {
        verdict.refusals.push(two_clusters(&authorities));
    }
    for host in hosts {
        let strange = match host.node.role {
            Role::Master => orphan(hosts, host).or_else(|| other_endpoint(inventory, host)),
            Role::Worker => {
                other_cluster(&authorities, host).or_else(|| other_endpoint(inventory, host))
            }
            Role::LoadBalancer => balancer_in_cluster(host),
            Role::Etcd => None,
        };
        verdict.refusals.extend(strange);
    }
}

/// Which masters hold which CA, by the hash of its key.
fn authorities<'a>(hosts: &[Examined<'a>]) -> BTreeMap<String, Vec<&'a str>> {
    let mut authorities: BTreeMap<String, Vec<&str>> = BTreeMap::new();
    for host in hosts.iter().filter(|host| host.node.role == Role::Master) {
        if let Some(ca) = host.ca.and_then(Ca::parse) {
            authorities
                .entry(ca.hash)
                .or_default()
                .push(&host.node.name);
        }
    }
    authorities
}

fn two_clusters(authorities: &BTreeMap<String, Vec<&str>>) -> Finding {
    let groups: Vec<String> = authorities
        .iter()
        .map(|(hash, hosts)| format!("{} ({})", hosts.join(", "), hash.get(..19).unwrap_or(hash)))
        .collect();
    Finding {
        host: authorities.values().flatten().copied().collect::<Vec<_>>().join(","),
        check: "cluster-ca",
        what: format!("the masters belong to different clusters: {}", groups.join(" and ")),
        help: "find out which cluster is the right one; reset the other masters (`kubeadm reset -f`, remove /etc/kubernetes) or take them out of the inventory".to_owned(),
    }
}

/// A worker that trusts another CA than the masters', or any CA while the masters have none.
fn other_cluster(
    authorities: &BTreeMap<String, Vec<&str>>,
    host: &Examined<'_>,
) -> Option<Finding> {
    let ca = Ca::parse(host.ca?)?;
    if authorities.contains_key(&ca.hash) || !host.facts.joined {
        return None;
    }
    let masters = if authorities.is_empty() {
        "no master here holds its CA"
    } else {
        "the masters here hold another CA"
    };
    Some(host.finding(
        "cluster-ca",
        format!("it has joined a cluster ({}), but {masters}", ca.short()),
        RESET,
    ))
}

/// A kubeconfig that names another endpoint: another cluster, or an endpoint that was changed in the inventory. Masters may
/// name their own apiserver.
fn other_endpoint(inventory: &Inventory, host: &Examined<'_>) -> Option<Finding> {
    let endpoint = host.facts.endpoint.as_deref()?;
    let ours = [
        inventory.control_plane_endpoint(),
        format!("{}:{}", inventory.vip.address, inventory.vip.port),
        format!("{}:{}", host.node.address, super::API_SERVER_PORT),
    ];
    let named = endpoint
        .trim_start_matches("https://")
        .trim_end_matches('/');
    if ours.iter().any(|ours| ours == named) {
        return None;
    }
    Some(host.finding(
        "endpoint",
        format!(
            "it belongs to the cluster at {}, not to {}",
            crate::text::escape(endpoint),
            inventory.control_plane_endpoint()
        ),
        format!(
            "an endpoint cannot be changed by provisioning: write that one under `vip:`; {RESET}"
        ),
    ))
}

/// etcd's data with no CA anywhere: founding a cluster there would be founding a second one over the first one's data.
fn orphan(hosts: &[Examined<'_>], host: &Examined<'_>) -> Option<Finding> {
    let has_ca = hosts.iter().any(|host| host.ca.is_some());
    if !host.facts.etcd_data || has_ca {
        return None;
    }
    Some(host.finding(
        "etcd-data",
        "/var/lib/etcd holds a member's data, but no host holds the CA of its cluster",
        "restore /etc/kubernetes/pki from a backup; if the data may go, move /var/lib/etcd/member away",
    ))
}

fn balancer_in_cluster(host: &Examined<'_>) -> Option<Finding> {
    let endpoint = host.facts.endpoint.as_deref()?;
    Some(host.finding(
        "cluster-ca",
        format!(
            "a load balancer that is a node of the cluster at {}",
            crate::text::escape(endpoint)
        ),
        RESET,
    ))
}

#[cfg(test)]
mod tests {
    use crate::cluster::ca::samples::{ONE, OTHER};
    use crate::operation::fixture::{Site, checks};

    #[test]
    fn masters_of_two_clusters_are_refused() {
        let mut site = Site::new();
        site.ca("master1", ONE);
        site.ca("master3", ONE);
        assert!(!site.judge().is_refusal());
        site.ca("master2", OTHER);
        assert_eq!(checks(&site.judge().refusals), ["cluster-ca"]);
    }

    #[test]
    fn a_worker_of_another_cluster_is_refused() {
        let mut site = Site::new();
        site.ca("worker1", ONE);
        assert!(!site.judge().is_refusal(), "left behind by a reset");
        site.script("worker1", "joined yes\nendpoint https://10.1.1.100:6443\n");
        assert_eq!(checks(&site.judge().refusals), ["cluster-ca"]);
        site.ca("master1", OTHER);
        assert_eq!(checks(&site.judge().refusals), ["cluster-ca"]);
        site.ca("master1", ONE);
        assert!(!site.judge().is_refusal());
    }

    #[test]
    fn another_endpoint_is_another_cluster() {
        for (host, endpoint, refused) in [
            ("master1", "https://10.1.1.100:6443", false),
            ("master1", "https://10.1.1.101:6443", false),
            ("master1", "https://192.0.2.7:6443", true),
            ("lb1", "https://10.1.1.100:6443", true),
        ] {
            let mut site = Site::new();
            site.script(host, &format!("joined yes\nendpoint {endpoint}\n"));
            assert_eq!(site.judge().is_refusal(), refused, "{host} {endpoint}");
        }
    }

    #[test]
    fn data_of_etcd_without_any_ca_is_refused() {
        let mut site = Site::new();
        site.script("master2", "joined no\netcd-data yes\n");
        assert_eq!(checks(&site.judge().refusals), ["etcd-data"]);
        site.ca("master1", ONE);
        assert!(!site.judge().is_refusal());
    }
}
