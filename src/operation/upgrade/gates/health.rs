//! The cluster is well, and it is the one that the inventory describes.

use super::{Site, finding};
use crate::cluster::load_balancer::Place;
use crate::cluster::node::NodeObject;
use crate::inventory::Role;
use crate::operation::preflight::Verdict;
use crate::operation::status::ApiServer;

pub(super) fn judge(site: &Site<'_>, verdict: &mut Verdict) {
    apiservers(site, verdict);
    membership(site, verdict);
    nodes(site, verdict);
    load_balancers(site, verdict);
    dns(site, verdict);
}

/// kubeadm upgrades the cluster's DNS at the end of `apply`, and waits for it in vain if it is not well: until 1.20 for five
/// minutes, after which it fails.
fn dns(site: &Site<'_>, verdict: &mut Verdict) {
    if site.objects.dns_ready == Some(0) {
        verdict.refusals.push(finding(
            "all",
            "dns",
            "no replica of CoreDNS is ready",
            "see `kubectl -n kube-system get pods -l k8s-app=kube-dns`, and kube-proxy on their nodes",
        ));
    }
}

fn apiservers(site: &Site<'_>, verdict: &mut Verdict) {
    for master in site
        .status
        .masters
        .iter()
        .filter(|master| !site.is_under_way(&master.name))
    {
        let what = match &master.apiserver {
            ApiServer::Ready => continue,
            ApiServer::NotReady { code, failing } => {
                format!(
                    "its apiserver is not ready ({code}): {}",
                    crate::text::escape(&failing.join(", "))
                )
            }
            ApiServer::Silent => "its apiserver does not answer".to_owned(),
            ApiServer::Absent => "it has no apiserver".to_owned(),
        };
        verdict.refusals.push(finding(
            &master.name,
            "readyz",
            what,
            "see `crictl ps -a --name kube-apiserver` there, then `quorate provision`",
        ));
    }
}

/// The hosts of the inventory are the Nodes of the cluster.
fn membership(site: &Site<'_>, verdict: &mut Verdict) {
    let Some(nodes) = &site.objects.nodes else {
        verdict.refusals.push(finding(
            "all",
            "nodes",
            "the Nodes of the cluster cannot be listed",
            "see `quorate status`",
        ));
        return;
    };
    let is_node = |name: &str| nodes.iter().any(|node| node.name == name);
    for host in site
        .inventory
        .nodes
        .iter()
        .filter(|node| node.role.is_node() && !is_node(&node.name))
    {
        verdict.refusals.push(finding(
            &host.name,
            "nodes",
            "it is in the inventory and not in the cluster",
            "`quorate provision` lets it join, or take it out of the inventory",
        ));
    }
    let is_host = |node: &&NodeObject| {
        let is_ours = |host: &crate::inventory::Node| host.role.is_node() && host.name == node.name;
        site.inventory.nodes.iter().any(is_ours)
    };
    for node in nodes.iter().filter(|node| !is_host(node)) {
        verdict.refusals.push(finding(
            &crate::text::escape(&node.name),
            "nodes",
            "it is a Node of the cluster and not in the inventory",
            "add it to the inventory, or `kubectl delete node` it if it is gone for good",
        ));
    }
}

fn nodes(site: &Site<'_>, verdict: &mut Verdict) {
    for node in site.objects.nodes.iter().flatten() {
        let name = crate::text::escape(&node.name);
        if node.is_cordoned && !node.is_cordoned_by_us() {
            verdict.refusals.push(finding(
                &name,
                "cordoned",
                "somebody has cordoned it",
                format!(
                    "find out why; then `kubectl uncordon {name}`, or take it out of the inventory"
                ),
            ));
        }
        let waits_for_others =
            site.inventory.cni == crate::inventory::Cni::None && node.ready.waits_for_network();
        if !node.ready.is_true && !waits_for_others && !site.is_under_way(&node.name) {
            verdict.refusals.push(finding(
                &name,
                "ready",
                format!(
                    "its Node is not ready: {}",
                    crate::text::escape(&node.ready.why)
                ),
                "see `journalctl -u kubelet` there",
            ));
        }
    }
}

fn load_balancers(site: &Site<'_>, verdict: &mut Verdict) {
    for balancer in site.inventory.with_role(Role::LoadBalancer) {
        for master in site.inventory.with_role(Role::Master) {
            let Some(place) = Place::read(&master.name, site.fleet.of(&balancer.name)) else {
                continue;
            };
            if place.is_up() || place.taken_out_by.is_some() || site.is_under_way(&master.name) {
                continue;
            }
            let state = place
                .state
                .map_or("not known".to_owned(), |state| crate::text::escape(&state));
            verdict.refusals.push(finding(
                &balancer.name,
                "load-balancer",
                format!("{} is {state} there, which no run of quorate did", master.name),
                format!("see why; `echo 'set server kube_apiserver/{} state ready' | socat - /run/haproxy/admin.sock` puts it back", master.name),
            ));
        }
    }
}
