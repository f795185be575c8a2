//! A status as text for people: at most 80 columns, nothing said by colour alone.

use std::fmt;

use super::masters::{ApiServer, EtcdMember, MasterStatus};
use super::nodes::{NodeStatus, Readiness};
use super::{Health, LoadBalancerStatus, SeatStatus, Status};
use crate::cluster::load_balancer::API_BACKEND;
use crate::cluster::vip::Holder;
use crate::inventory::Role;
use crate::report::table::{table, wrapped};

impl fmt::Display for Status {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.headline())?;
        let sections = [
            self.balancers_table(),
            self.masters_table(),
            self.etcd_table(),
            self.nodes_table(),
        ];
        for section in sections.into_iter().flatten() {
            write!(f, "\n\n{section}")?;
        }
        if self.problems.is_empty() {
            return Ok(());
        }
        write!(f, "\n\nProblems")?;
        for problem in &self.problems {
            let host = if problem.host.is_empty() {
                "cluster"
            } else {
                &problem.host
            };
            let what = format!("{host}: {}", problem.what);
            write!(f, "\n{}", wrapped("  - ", &crate::text::escape(&what)))?;
            write!(f, "\n{}", wrapped("    help: ", &problem.help))?;
        }
        Ok(())
    }
}

impl Status {
    fn headline(&self) -> String {
        let health = match (self.health, self.problems.len()) {
            (Health::Ok, _) => "ok".to_owned(),
            (Health::Degraded, 1) => "degraded, 1 problem".to_owned(),
            (Health::Degraded, count) => format!("degraded, {count} problems"),
        };
        let holder = match &self.virtual_ip.holder {
            Holder::Nobody => "held by nobody".to_owned(),
            Holder::Unknown => "holder unknown".to_owned(),
            Holder::One(host) => format!("held by {host}"),
            Holder::Several(hosts) => format!("held by {}", hosts.join(" and ")),
            Holder::Foreign => "managed elsewhere".to_owned(),
        };
        let ready = match self.virtual_ip.is_ready {
            Some(true) => ", /readyz ok",
            Some(false) => ", /readyz fails",
            None => "",
        };
        format!(
            "Cluster {} {}: {health}\nEndpoint {}, virtual IP {} {holder}{ready}",
            self.cluster, self.kubernetes, self.endpoint, self.virtual_ip.address
        )
    }

    fn balancers_table(&self) -> Option<String> {
        let mut rows: Vec<Vec<String>> = self.load_balancers.iter().map(balancer_row).collect();
        rows.extend(self.unreachable_rows("load balancer"));
        table(
            &[
                "Load balancer",
                "Virtual IP",
                "HAProxy",
                "Keepalived",
                "Apiservers up",
            ],
            rows,
        )
    }

    fn masters_table(&self) -> Option<String> {
        if !self.etcd.is_empty() {
            let row = |master: &MasterStatus| vec![master.name.clone(), apiserver(master)];
            return table(
                &["Master", "Apiserver"],
                self.masters.iter().map(row).collect(),
            );
        }
        table(
            &[
                "Master",
                "Apiserver",
                "Etcd",
                "Version",
                "Database",
                "Members",
            ],
            self.masters.iter().map(master_row).collect(),
        )
    }

    /// The members of an external etcd.
    fn etcd_table(&self) -> Option<String> {
        let row = |seat: &SeatStatus| {
            let mut row = vec![seat.name.clone()];
            row.extend(match &seat.etcd {
                Some(member) => member_columns(member),
                None => vec![short(&seat.unit)],
            });
            row.resize(5, "-".to_owned());
            row.push(self.nearest_expiry(&seat.name, "/etc/etcd/"));
            row
        };
        table(
            &[
                "Etcd",
                "State",
                "Version",
                "Database",
                "Members",
                "Certificates",
            ],
            self.etcd.iter().map(row).collect(),
        )
    }

    /// How long the first certificate of a host that ends has left, of those whose file begins so.
    fn nearest_expiry(&self, host: &str, below: &str) -> String {
        let nearest = self
            .certificates
            .iter()
            .filter(|it| it.host == host && !it.renews_itself && it.file.starts_with(below))
            .map(|it| it.days)
            .min();
        nearest.map_or_else(|| "-".to_owned(), |days| format!("{days} days"))
    }

    fn nodes_table(&self) -> Option<String> {
        let mut rows: Vec<Vec<String>> =
            self.nodes.iter().map(|node| self.node_row(node)).collect();
        rows.extend(self.unreachable_rows("node"));
        table(
            &[
                "Node",
                "Role",
                "State",
                "Kubelet",
                "Containerd",
                "Certificates",
            ],
            rows,
        )
    }

    /// Hosts that did not answer, where the others of their kind are listed.
    fn unreachable_rows(&self, kind: &'static str) -> impl Iterator<Item = Vec<String>> + '_ {
        self.unreachable
            .iter()
            .filter(move |host| (host.role == Role::LoadBalancer) == (kind == "load balancer"))
            .map(move |host| match host.role {
                Role::LoadBalancer => vec![host.name.clone(), "unreachable".to_owned()],
                role => vec![
                    host.name.clone(),
                    role_word(role).to_owned(),
                    "unreachable".to_owned(),
                ],
            })
    }

    fn node_row(&self, node: &NodeStatus) -> Vec<String> {
        let mut state = match &node.ready {
            Readiness::Ready => "ready",
            Readiness::NotReady(_) => "not ready",
            Readiness::NoNode => "no Node",
            Readiness::Unknown => "unknown",
            Readiness::NotJoined => "not joined",
        }
        .to_owned();
        if node.is_schedulable == Some(false) {
            state.push_str(", cordoned");
        }
        vec![
            node.name.clone(),
            role_word(node.role).to_owned(),
            state,
            or_dash(&node.kubelet),
            or_dash(&node.containerd),
            self.nearest_expiry(&node.name, "/"),
        ]
    }
}

fn role_word(role: Role) -> &'static str {
    match role {
        Role::LoadBalancer => "lb",
        Role::Etcd => "etcd",
        Role::Master => "master",
        Role::Worker => "worker",
    }
}

fn balancer_row(balancer: &LoadBalancerStatus) -> Vec<String> {
    let up = balancer.servers.as_ref().map(|servers| {
        let api = || {
            servers
                .iter()
                .filter(|server| server.backend == API_BACKEND)
        };
        format!(
            "{} of {}",
            api().filter(|server| server.is_up()).count(),
            api().count()
        )
    });
    vec![
        balancer.name.clone(),
        if balancer.holds_virtual_ip {
            "holds it".to_owned()
        } else {
            "-".to_owned()
        },
        short(&balancer.haproxy),
        short(&balancer.keepalived),
        up.unwrap_or_else(|| "unknown".to_owned()),
    ]
}

fn apiserver(master: &MasterStatus) -> String {
    match &master.apiserver {
        ApiServer::Ready => "ready".to_owned(),
        ApiServer::NotReady { code, .. } => format!("not ready ({code})"),
        ApiServer::Silent => "silent".to_owned(),
        ApiServer::Absent => "absent".to_owned(),
    }
}

fn master_row(master: &MasterStatus) -> Vec<String> {
    let mut row = vec![master.name.clone(), apiserver(master)];
    match &master.etcd {
        Some(member) => row.extend(member_columns(member)),
        None if master.has_etcd => row.push("silent".to_owned()),
        None => row.push("absent".to_owned()),
    }
    row
}

/// State, version, size and members, as one member tells them.
fn member_columns(member: &EtcdMember) -> Vec<String> {
    vec![
        match (member.is_healthy, member.is_leader, member.is_learner) {
            (false, _, _) => "unhealthy".to_owned(),
            (true, true, _) => "healthy, leader".to_owned(),
            (true, false, true) => "learner".to_owned(),
            (true, false, false) => "healthy".to_owned(),
        },
        or_dash(&member.version),
        format!("{:.1} MB", bytes_as_megabytes(member.db_size)),
        member.members.len().to_string(),
    ]
}

#[expect(clippy::cast_precision_loss, reason = "shown with one decimal")]
fn bytes_as_megabytes(bytes: u64) -> f64 {
    bytes as f64 / f64::from(1 << 20)
}

/// `active` for `active/running`: the rest is only worth its columns when something is wrong.
fn short(state: &str) -> String {
    match state.split_once('/') {
        Some(("active", _)) => "active".to_owned(),
        _ => state.to_owned(),
    }
}

fn or_dash(text: &str) -> String {
    if text.is_empty() {
        "-".to_owned()
    } else {
        text.to_owned()
    }
}
