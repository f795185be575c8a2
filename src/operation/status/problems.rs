//! What is wrong with a cluster, and what to do about it. Pure.

use std::collections::BTreeSet;

use serde::Serialize;

use super::masters::{ApiServer, EtcdMember, MasterStatus};
use super::nodes::{Certificate, NodeStatus, Readiness};
use super::{LoadBalancerStatus, Status};
use crate::cluster::etcd::quorum;
use crate::cluster::etcd_pki;
use crate::cluster::load_balancer::API_BACKEND;
use crate::cluster::vip::Holder;
use crate::inventory::{EtcdTopology, Inventory, Role};

/// Days before the end of a certificate at which it becomes a problem.
const EXPIRES_SOON: i64 = 30;
/// Share of its quota, in percent, at which etcd's database becomes a problem.
const DB_FULL_PERCENT: u64 = 80;
/// etcd's own limit for its database unless `quota-backend-bytes` says otherwise.
const DB_QUOTA: u64 = 2 << 30;

const PROVISION: &str = "`quorate provision` brings it back";

/// Something that is wrong.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Problem {
    /// Host name, or several joined by commas; empty: the cluster as a whole.
    pub host: String,
    /// What is wrong, one line.
    pub what: String,
    /// What to do.
    pub help: String,
}

fn problem(host: &str, what: impl Into<String>, help: impl Into<String>) -> Problem {
    Problem {
        host: host.to_owned(),
        what: what.into(),
        help: help.into(),
    }
}

/// Everything that is wrong: the cluster first, then host by host.
pub(super) fn find(inventory: &Inventory, status: &Status) -> Vec<Problem> {
    let mut problems = Vec::new();
    virtual_ip(status, &mut problems);
    etcd(inventory, status, &mut problems);
    for host in &status.unreachable {
        let help = host.help.clone();
        problems.push(problem(
            &host.name,
            format!("does not answer: {}", host.error),
            help.unwrap_or_else(|| "see what is wrong with the host or the way to it".to_owned()),
        ));
    }
    for balancer in &status.load_balancers {
        load_balancer(balancer, &mut problems);
    }
    for master in &status.masters {
        apiserver(master, &mut problems);
        let own = Own {
            host: &master.name,
            member: master.etcd.as_ref(),
            is_expected: master.has_etcd,
            silent: "see `crictl ps -a --name etcd` and `journalctl -u kubelet` there",
        };
        etcd_member(inventory, &own, &mut problems);
    }
    for seat in &status.etcd {
        unit_problem(&seat.name, "etcd", &seat.unit, &mut problems);
        let own = Own {
            host: &seat.name,
            member: seat.etcd.as_ref(),
            is_expected: seat.is_member,
            silent: "see `journalctl -u etcd` there",
        };
        etcd_member(inventory, &own, &mut problems);
    }
    for node in &status.nodes {
        node_problems(inventory, node, &mut problems);
    }
    certificates(&status.certificates, &mut problems);
    problems
}

fn virtual_ip(status: &Status, problems: &mut Vec<Problem>) {
    let address = &status.virtual_ip.address;
    match &status.virtual_ip.holder {
        Holder::Nobody => problems.push(problem(
            "",
            format!("nobody holds the virtual IP {address}"),
            "see `journalctl -u keepalived` on the load balancers: a failing check of HAProxy takes it off both",
        )),
        Holder::Several(hosts) => problems.push(problem(
            &hosts.join(","),
            format!("the virtual IP {address} is held {} times (split brain)", hosts.len()),
            "let VRRP (IP protocol 112) pass between the load balancers",
        )),
        Holder::One(_) | Holder::Unknown | Holder::Foreign => {}
    }
    if status.virtual_ip.is_ready == Some(false) {
        problems.push(problem(
            "",
            format!("no apiserver answers ready through {}", status.endpoint),
            "see the load balancers and apiservers below",
        ));
    }
}

fn etcd(inventory: &Inventory, status: &Status, problems: &mut Vec<Problem>) {
    let members: Vec<&EtcdMember> = status
        .masters
        .iter()
        .filter_map(|master| master.etcd.as_ref())
        .chain(status.etcd.iter().filter_map(|seat| seat.etcd.as_ref()))
        .collect();
    // The member list of a healthy one is the agreed one; any other may be old.
    let Some(best) = members
        .iter()
        .find(|member| member.is_healthy)
        .or(members.first())
    else {
        if status.masters.iter().any(|master| master.has_etcd) {
            problems.push(problem(
                "",
                "no etcd member answers",
                "see `crictl ps -a --name etcd` and `journalctl -u kubelet` on the masters",
            ));
        }
        if status.etcd.iter().any(|seat| seat.is_member) {
            problems.push(problem(
                "",
                "no etcd member answers",
                "see `journalctl -u etcd` on its hosts",
            ));
        }
        return;
    };
    let voters = best.members.iter().filter(|member| !member.is_learner);
    let (voters, healthy) = (
        voters.count(),
        members.iter().filter(|member| member.is_healthy).count(),
    );
    if healthy < quorum(voters) && status.unreachable.is_empty() {
        problems.push(problem(
            "",
            format!("etcd has no quorum: {healthy} of {voters} voting members are healthy"),
            "bring a stopped member back; its data must not be deleted",
        ));
    }
    for known in &best.members {
        let mut places = inventory.etcd_places().into_iter();
        let is_ours = places.any(|place| known.peer_urls.contains(&place.peer_url()));
        let label = if known.name.is_empty() {
            known.peer_urls.join(" ")
        } else {
            known.name.clone()
        };
        let label = crate::text::escape(&label);
        if !is_ours {
            problems.push(problem(
                "",
                format!("etcd counts a member that the inventory has not: {label} ({})", known.id),
                match inventory.etcd {
                    EtcdTopology::Stacked => {
                        "remove it from etcd if its host is gone for good: every vote that cannot be cast costs tolerance"
                    }
                    EtcdTopology::External(_) => {
                        "`quorate provision` removes it, after the apiservers have heard of the members that stay"
                    }
                },
            ));
        } else if known.name.is_empty() {
            problems.push(problem(
                "",
                format!(
                    "etcd has a member that never started: {label} ({})",
                    known.id
                ),
                format!("a join died half-way: {PROVISION}"),
            ));
        }
    }
    let clusters: BTreeSet<Vec<&str>> = members
        .iter()
        .filter(|member| member.is_healthy)
        .map(|member| {
            member
                .members
                .iter()
                .map(|known| known.id.as_str())
                .collect()
        })
        .collect();
    if clusters.len() > 1 {
        problems.push(problem(
            "",
            "the etcd members do not agree on who is a member",
            "compare `members` in `quorate status --output json`: two clusters may have been founded",
        ));
    }
}

fn load_balancer(balancer: &LoadBalancerStatus, problems: &mut Vec<Problem>) {
    for (unit, state) in [
        ("haproxy", &balancer.haproxy),
        ("keepalived", &balancer.keepalived),
    ] {
        unit_problem(&balancer.name, unit, state, problems);
    }
    let Some(servers) = &balancer.servers else {
        if is_active(&balancer.haproxy) {
            problems.push(problem(
                &balancer.name,
                "HAProxy does not answer on 127.0.0.1:8404/metrics",
                PROVISION,
            ));
        }
        return;
    };
    let down: Vec<String> = servers
        .iter()
        .filter(|server| server.backend == API_BACKEND && !server.is_up())
        .map(|server| format!("{} {} {}", server.name, server.state, server.check))
        .map(|server| crate::text::escape(server.trim()))
        .collect();
    if !down.is_empty() {
        problems.push(problem(
            &balancer.name,
            format!("HAProxy sends nothing to: {}", down.join(", ")),
            "see that master's apiserver, and whether this host reaches its port 6443",
        ));
    }
}

fn is_active(state: &str) -> bool {
    state == "active" || state.starts_with("active/")
}

fn unit_problem(host: &str, unit: &str, state: &str, problems: &mut Vec<Problem>) {
    if is_active(state) {
        return;
    }
    let help = if state == "absent" {
        "`quorate provision` installs it".to_owned()
    } else {
        format!("see `journalctl -u {unit}` there; {PROVISION}")
    };
    let what = format!("{unit} is {}", crate::text::escape(state));
    problems.push(problem(host, what, help));
}

fn apiserver(master: &MasterStatus, problems: &mut Vec<Problem>) {
    let (what, help) = match &master.apiserver {
        ApiServer::Ready => return,
        ApiServer::NotReady { code, failing } => (
            format!(
                "its apiserver is not ready ({code}): {}",
                crate::text::escape(&failing.join(", "))
            ),
            "see `crictl logs` of kube-apiserver there".to_owned(),
        ),
        ApiServer::Silent => (
            "its apiserver does not answer".to_owned(),
            "see `crictl ps -a --name kube-apiserver` and `journalctl -u kubelet` there".to_owned(),
        ),
        ApiServer::Absent => (
            "it is not a master yet".to_owned(),
            "`quorate provision` lets it join".to_owned(),
        ),
    };
    problems.push(problem(&master.name, what, help));
}

/// A host's own member of etcd, stacked or external.
struct Own<'a> {
    host: &'a str,
    member: Option<&'a EtcdMember>,
    /// Whether there should be one.
    is_expected: bool,
    /// What to do when it does not answer.
    silent: &'static str,
}

fn etcd_member(inventory: &Inventory, own: &Own<'_>, problems: &mut Vec<Problem>) {
    let host = own.host;
    let Some(member) = own.member else {
        if own.is_expected {
            problems.push(problem(host, "its etcd does not answer", own.silent));
        }
        return;
    };
    if !member.is_healthy {
        problems.push(problem(
            host,
            "its etcd has no leader or no quorum",
            "see whether it reaches the other members on 2380",
        ));
    }
    if member.is_learner {
        problems.push(problem(
            host,
            "its etcd is still a learner without a vote",
            format!("wait until it has caught up; a join that died there: {PROVISION}"),
        ));
    }
    for alarm in &member.alarms {
        problems.push(problem(
            host,
            format!("etcd reports: {alarm}"),
            "for NOSPACE: compact and defragment, then disarm; for CORRUPT: replace the member",
        ));
    }
    let quota = inventory.etcd_quota().unwrap_or(DB_QUOTA);
    if member.db_size > quota / 100 * DB_FULL_PERCENT {
        problems.push(problem(
            host,
            format!("etcd's database fills more than {DB_FULL_PERCENT} % of its quota"),
            match inventory.etcd {
                EtcdTopology::Stacked => {
                    "defragment it, or raise `kubeadm: { etcd: { quota-backend-bytes: … } }`"
                }
                EtcdTopology::External(_) => "defragment it, or raise `etcd: { quota: … }`",
            },
        ));
    }
}

fn node_problems(inventory: &Inventory, node: &NodeStatus, problems: &mut Vec<Problem>) {
    if node.ready == Readiness::NotJoined {
        // Of a master the missing apiserver says the same.
        if node.role == Role::Worker {
            problems.push(problem(
                &node.name,
                "it has not joined the cluster",
                "`quorate provision` lets it join",
            ));
        }
        return;
    }
    unit_problem(&node.name, "containerd", &node.containerd_unit, problems);
    unit_problem(&node.name, "kubelet", &node.kubelet_unit, problems);
    match &node.ready {
        Readiness::Ready | Readiness::NotJoined => {}
        Readiness::NotReady(why) => problems.push(problem(
            &node.name,
            format!("its Node is not ready: {why}"),
            "see `journalctl -u kubelet` there",
        )),
        Readiness::NoNode => problems.push(problem(
            &node.name,
            "the cluster has no Node of that name",
            "restart kubelet there: it registers itself",
        )),
        Readiness::Unknown => problems.push(problem(
            &node.name,
            "no apiserver told about its Node",
            "see the apiservers, and whether this host reaches the endpoint",
        )),
    }
    let target = inventory.kubernetes.to_string();
    if !node.kubelet.is_empty() && node.kubelet != target {
        problems.push(problem(
            &node.name,
            format!("kubelet is {}, the inventory says {target}", node.kubelet),
            "bring the inventory and the cluster in line",
        ));
    }
}

/// Certificates of one host that end soon are one problem; what renews itself only counts when it has failed to.
pub(super) fn certificates(certificates: &[Certificate], problems: &mut Vec<Problem>) {
    let hosts: BTreeSet<&str> = certificates.iter().map(|it| it.host.as_str()).collect();
    for host in hosts {
        let mut ending: Vec<&Certificate> = certificates
            .iter()
            .filter(|it| it.host == host && is_ending(it))
            .collect();
        ending.sort_by_key(|it| it.days);
        let Some(first) = ending.first() else {
            continue;
        };
        let when = if first.days < 0 {
            format!("expired {} days ago", -first.days)
        } else {
            format!("expires in {} days", first.days)
        };
        let more = match ending.len() {
            1 => String::new(),
            count => format!(" (and {} more)", count - 1),
        };
        let help = if first.is_ca {
            "a CA must be replaced by hand, everywhere"
        } else if first.renews_itself {
            "kubelet could not renew it: see `journalctl -u kubelet` there"
        } else if etcd_pki::is_renewed(&first.file) {
            "`quorate provision` makes them anew, and nothing is restarted"
        } else {
            "`kubeadm certs renew all` there, then restart its four static pods"
        };
        problems.push(problem(host, format!("{} {when}{more}", first.file), help));
    }
}

fn is_ending(certificate: &Certificate) -> bool {
    if certificate.renews_itself {
        certificate.days < 0
    } else {
        certificate.days < EXPIRES_SOON
    }
}
