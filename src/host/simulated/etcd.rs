//! etcd: clusters, their members and who of them lives.

use std::collections::{BTreeMap, BTreeSet};
use std::net::Ipv4Addr;

use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

use super::machine::Machine;
use super::snapshot::Saved;
use super::world::World;
use crate::cluster::restore::Settings;

/// What a restore adds to the revision, so that nobody who watches sees it go back.
const BUMP: u64 = 1_000_000_000;

/// The release of a stacked etcd.
pub(super) const VERSION: &str = "3.6.12";

/// The file that stands for a member's data.
pub(super) const DATA: &str = "/var/lib/etcd/member/snap/db";

/// A cluster that was founded once, and what is stored in it.
#[derive(Debug, Clone, PartialEq)]
pub struct Cluster {
    /// Its id, derived from the founder's peer URL: founding again with the same URL gives the same id.
    pub id: u64,
    /// Its members.
    pub members: Vec<Member>,
    /// Of these, who has ever run: it may have agreed to something.
    pub started: BTreeSet<u64>,
    /// The token of the restore that made it.
    pub token: Option<String>,
    /// The revision of its key space.
    pub revision: u64,
    /// The member that was asked to lead last.
    pub leader: Option<u64>,
    /// Kubernetes' objects, by path.
    pub objects: BTreeMap<String, Value>,
}

/// A member.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Member {
    /// Its id.
    pub id: u64,
    /// Its name; empty until it has started once.
    pub name: String,
    /// How the others reach it.
    pub peer_url: String,
    /// Whether it has no vote yet.
    pub is_learner: bool,
}

impl Member {
    /// How clients reach it.
    pub(super) fn client_url(&self) -> String {
        self.peer_url.replace(":2380", ":2379")
    }
}

/// What a data directory holds: which founding (they are numbered), which member.
pub type Data = (usize, u64);

/// The data in a machine's data directory.
pub(super) fn data(machine: &Machine) -> Option<Data> {
    let path = super::external_etcd::data_path(machine);
    let (cluster, member) = machine.files.text(&path)?.split_once(' ')?;
    Some((cluster.parse().ok()?, member.parse().ok()?))
}

/// What stands in the file of such data, as [`data`] reads it.
pub(super) fn data_text((cluster, member): Data) -> String {
    format!("{cluster} {member}")
}

pub(super) fn id(text: &str) -> u64 {
    Sha256::digest(text)
        .iter()
        .take(8)
        .fold(0, |id, byte| id << 8 | u64::from(*byte))
}

fn peer_url(machine: &Machine) -> String {
    crate::cluster::etcd::peer_url(machine.address)
}

impl Cluster {
    /// A cluster that begins with a static list `name=url,…`, none of whose members has started.
    pub(super) fn listed(cluster: u64, list: &str) -> Self {
        let urls = list.split(',').filter_map(|entry| entry.split_once('='));
        let member = |(_, url): (&str, &str)| Member {
            id: id(&format!("member {url} {list}")),
            name: String::new(),
            peer_url: url.to_owned(),
            is_learner: false,
        };
        Self {
            id: cluster,
            members: urls.map(member).collect(),
            started: BTreeSet::new(),
            token: None,
            revision: 1,
            leader: None,
            objects: BTreeMap::new(),
        }
    }

    /// Adds a member without a vote, as the only one.
    pub(super) fn add_learner(&mut self, id: u64, url: &str) -> Result<(), String> {
        if self.members.iter().any(|member| member.peer_url == url) {
            return Err("etcdserver: Peer URLs already exists".to_owned());
        }
        if self.members.iter().any(|member| member.is_learner) {
            return Err("etcdserver: too many learner members in cluster".to_owned());
        }
        self.members.push(Member {
            id,
            name: String::new(),
            peer_url: url.to_owned(),
            is_learner: true,
        });
        Ok(())
    }
}

impl World {
    /// Starts a member with what its machine has: its data, or its manifest. `None`: it exits at once.
    pub(super) fn start_member(&mut self, host: &str) -> Option<Data> {
        let machine = self.machine(host).clone();
        let manifest = machine.files.text("/etc/kubernetes/manifests/etcd.yaml")?;
        let (cluster, member) = match data(&machine) {
            Some(data) => data,
            None if manifest.contains("--initial-cluster-state=existing") => {
                self.enter(&peer_url(&machine), &machine.name)?
            }
            None => self.found(&machine),
        };
        let state = self.etcd.get_mut(cluster)?;
        if !state.members.iter().any(|known| known.id == member) {
            return None;
        }
        state.started.insert(member);
        let now = self.now;
        let files = &mut self.machine(host).files;
        if !files.has(DATA) {
            files.put(DATA, data_text((cluster, member)), 0o600, now);
        }
        Some((cluster, member))
    }

    /// The cluster that a snapshot becomes under these settings, and which of its members this one is.
    pub(super) fn found_of_snapshot(&mut self, settings: &Settings, saved: Saved) -> Data {
        let token = &settings.token;
        let id_of = |url: &str| id(&format!("member {url} {token}"));
        let own = id_of(&settings.peer_url);
        let is_it = |cluster: &Cluster| cluster.token.as_ref() == Some(token);
        if let Some(index) = self.etcd.iter().position(is_it) {
            return (index, own);
        }
        let members = settings.initial_cluster.split(',');
        let members = members
            .filter_map(|member| member.split_once('='))
            .map(|(name, url)| Member {
                id: id_of(url),
                name: name.to_owned(),
                peer_url: url.to_owned(),
                is_learner: false,
            });
        self.etcd.push(Cluster {
            id: id(&format!("cluster {token} {}", settings.initial_cluster)),
            members: members.collect(),
            started: BTreeSet::new(),
            token: Some(token.clone()),
            revision: saved.revision + BUMP,
            leader: None,
            objects: saved.objects,
        });
        (self.etcd.len() - 1, own)
    }

    /// A member that was added and has never started; one that has is refused: `member … has already been bootstrapped`.
    pub(super) fn enter(&mut self, url: &str, name: &str) -> Option<Data> {
        let mut clusters = self.etcd.iter_mut().enumerate();
        let (index, member) = clusters.find_map(|(index, cluster)| {
            let mut members = cluster.members.iter_mut();
            let own = members.find(|member| member.peer_url == url && member.name.is_empty())?;
            Some((index, own))
        })?;
        name.clone_into(&mut member.name);
        Some((index, member.id))
    }

    fn found(&mut self, machine: &Machine) -> Data {
        let url = peer_url(machine);
        let member = Member {
            id: id(&format!("member {url}")),
            name: machine.name.clone(),
            peer_url: url.clone(),
            is_learner: false,
        };
        let data = (self.etcd.len(), member.id);
        self.etcd.push(Cluster {
            id: id(&format!("cluster {url}")),
            members: vec![member],
            started: BTreeSet::new(),
            token: None,
            revision: 1,
            leader: None,
            objects: BTreeMap::new(),
        });
        data
    }

    /// The member that serves clients on a machine.
    pub(super) fn serving(&self, machine: &Machine) -> Option<Data> {
        let serves = machine.pods.get("etcd").is_some_and(|pod| pod.serves);
        self.running(machine).filter(|_| serves)
    }

    /// The member that runs on a machine and talks to the others.
    pub(super) fn running(&self, machine: &Machine) -> Option<Data> {
        let pod = machine.pods.get("etcd").filter(|_| machine.is_up())?;
        let (cluster, member) = pod.member.filter(|_| self.now >= pod.comes_up_at()[0])?;
        let known = self
            .etcd
            .get(cluster)?
            .members
            .iter()
            .any(|known| known.id == member);
        known.then_some((cluster, member))
    }

    pub(super) fn is_running(&self, cluster: usize, member: u64) -> bool {
        self.machines
            .values()
            .any(|machine| self.running(machine) == Some((cluster, member)))
    }

    /// Voters of a cluster, and of them those that run.
    pub(super) fn votes(&self, cluster: usize) -> (usize, usize) {
        let members = self
            .etcd
            .get(cluster)
            .map(|cluster| cluster.members.as_slice())
            .unwrap_or_default();
        let voters = || members.iter().filter(|member| !member.is_learner);
        let running = voters()
            .filter(|member| self.is_running(cluster, member.id))
            .count();
        (voters().count(), running)
    }

    pub(super) fn has_quorum(&self, cluster: usize) -> bool {
        let (voters, running) = self.votes(cluster);
        running > voters / 2
    }

    /// Whether every member is a started voter that runs.
    pub(super) fn is_whole(&self, cluster: usize) -> bool {
        let members = self
            .etcd
            .get(cluster)
            .map(|cluster| cluster.members.as_slice())
            .unwrap_or_default();
        !members.is_empty()
            && members
                .iter()
                .all(|member| !member.is_learner && self.is_running(cluster, member.id))
    }

    /// Whether it is in step with the leader, so that it may be promoted.
    pub(super) fn promote(&mut self, host: &str) -> bool {
        let machine = self.machine(host).clone();
        let Some((cluster, id)) = self.running(&machine) else {
            return false;
        };
        if !self.has_quorum(cluster) {
            return false;
        }
        if let Some(member) = self.member(cluster, id) {
            member.is_learner = false;
        }
        true
    }

    pub(super) fn member(&mut self, cluster: usize, id: u64) -> Option<&mut Member> {
        self.etcd
            .get_mut(cluster)?
            .members
            .iter_mut()
            .find(|member| member.id == id)
    }

    /// `member add`, as kubeadm does it: as a learner if this release knows learners, and kept if it is there already.
    pub(super) fn add_member(&mut self, host: &str) -> Result<(), String> {
        let url = peer_url(self.machine(host));
        let cluster = self.live_cluster().ok_or("etcdserver: no leader")?;
        let learners = self.release.minor >= 29;
        let keeps = self.release.minor >= 32;
        let number = self.number();
        let Some(live) = self.etcd.get_mut(cluster) else {
            return Err("etcdserver: no leader".to_owned());
        };
        if live.members.iter().any(|member| member.peer_url == url) {
            let text = "etcdserver: Peer URLs already exists";
            return if keeps { Ok(()) } else { Err(text.to_owned()) };
        }
        if learners && live.members.iter().any(|member| member.is_learner) {
            return Err("etcdserver: too many learner members in cluster".to_owned());
        }
        live.members.push(Member {
            id: id(&format!("member {url} {number}")),
            name: String::new(),
            peer_url: url,
            is_learner: learners,
        });
        Ok(())
    }

    /// `member remove`, asked of a machine's etcd; refused as etcd refuses what would cost its quorum.
    pub(super) fn remove_member(&mut self, asked: &str, id: u64) -> Result<(), String> {
        let machine = self.machine(asked).clone();
        let (cluster, _) = self.running(&machine).ok_or("connection refused")?;
        if !self.has_quorum(cluster) {
            return Err("etcdserver: no leader".to_owned());
        }
        let member = self
            .member(cluster, id)
            .ok_or("etcdserver: member not found")?
            .clone();
        let (voters, running) = self.votes(cluster);
        let left = running - usize::from(self.is_running(cluster, id) && !member.is_learner);
        let voters = voters - usize::from(!member.is_learner);
        if left <= voters / 2 {
            return Err(
                "etcdserver: re-configuration failed due to not enough started members".to_owned(),
            );
        }
        if let Some(cluster) = self.etcd.get_mut(cluster) {
            cluster.members.retain(|member| member.id != id);
        }
        Ok(())
    }

    /// Whether the cluster that lives has a member at that address.
    #[must_use]
    pub fn knows(&self, address: Ipv4Addr) -> bool {
        let url = crate::cluster::etcd::peer_url(address);
        let living = self
            .live_cluster()
            .and_then(|cluster| self.etcd.get(cluster));
        living.is_some_and(|cluster| cluster.members.iter().any(|it| it.peer_url == url))
    }

    /// The cluster that has a quorum and was not given up; the one founded first, if there are several.
    #[must_use]
    pub fn live_cluster(&self) -> Option<usize> {
        let mut clusters = 0..self.etcd.len();
        clusters.find(|cluster| !self.given_up.contains(cluster) && self.has_quorum(*cluster))
    }

    /// The version that a member runs.
    fn version_of(&self, data: Data) -> String {
        let mut machines = self.machines.values();
        let machine = machines.find(|machine| self.running(machine) == Some(data));
        let version = machine.and_then(|machine| machine.pods.get("etcd")?.version);
        version.map_or(VERSION.to_owned(), |version| version.to_string())
    }

    /// Who leads a cluster that has a quorum: who was asked to last, else the first that may.
    pub(super) fn leader(&self, cluster: usize) -> Option<u64> {
        let state = self.etcd.get(cluster)?;
        let may_lead = |member: &&Member| !member.is_learner && self.is_running(cluster, member.id);
        let mut members = state.members.iter().filter(may_lead);
        let asked = members
            .clone()
            .find(|member| Some(member.id) == state.leader);
        let leader = asked.or_else(|| members.next());
        leader
            .filter(|_| self.has_quorum(cluster))
            .map(|member| member.id)
    }

    /// `maintenance/status`, as the gateway writes it.
    pub(super) fn etcd_status(&self, (cluster, member): Data) -> Option<String> {
        let state = self.etcd.get(cluster)?;
        let leader = self.leader(cluster).unwrap_or_default();
        let header = json!({ "cluster_id": state.id.to_string(), "member_id": member.to_string(),
            "revision": state.revision.to_string() });
        Some(
            json!({ "header": header, "version": self.version_of((cluster, member)), "leader": leader.to_string() })
                .to_string(),
        )
    }

    /// `cluster/member/list`.
    pub(super) fn etcd_members(&self, (cluster, _): Data) -> Option<String> {
        let state = self.etcd.get(cluster)?;
        let member = |member: &Member| {
            let mut json = json!({ "ID": member.id.to_string(), "peerURLs": [member.peer_url] });
            if !member.name.is_empty() {
                json["name"] = json!(member.name);
                json["clientURLs"] = json!([member.client_url()]);
            }
            if member.is_learner {
                json["isLearner"] = json!(true);
            }
            json
        };
        let members: Vec<Value> = state.members.iter().map(member).collect();
        Some(json!({ "members": members }).to_string())
    }
}
