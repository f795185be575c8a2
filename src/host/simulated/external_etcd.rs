//! etcd as a service of its own: what its unit, its configuration and the scripts of `crate::cluster::etcd_unit` and
//! `crate::cluster::etcd_pki` do to a machine.

use super::certificate::Certificate;
use super::etcd::{DATA, Data};
use super::kubeadm::{QUORATE, items_of, value_of};
use super::machine::Machine;
use super::scripts::Ended;
use super::world::World;
use crate::cluster::etcd::MEMBERSHIP;
use crate::cluster::etcd_member::{CA, CA_KEY, CONFIG, FOUNDING, JOINING, UNIT};
use crate::cluster::etcd_unit::snapshot_file;
use crate::cluster::report::{Answer, Has, Report};
use crate::host::command::Script;
use crate::inventory::etcd::EtcdVersion;
use crate::template::EtcdClient;

const PKI: &str = "/etc/etcd/pki";

/// Microseconds from the start of a learner until it has what the leader has; before that etcd refuses to promote it.
const IN_SYNC_US: u64 = 3_000_000;

/// Whether the configuration of a master names an etcd that is elsewhere.
pub(super) fn is_external(machine: &Machine) -> bool {
    let configuration = machine.files.text(&format!("{QUORATE}/cluster.yaml"));
    configuration.is_some_and(|text| text.contains("\n  external:\n"))
}

/// Whether an apiserver has what it asks an external etcd with.
pub(super) fn may_ask(machine: &Machine) -> bool {
    let EtcdClient {
        ca,
        certificate,
        key,
    } = EtcdClient::FILES;
    [ca, certificate, key]
        .iter()
        .all(|path| machine.files.has(path))
}

/// Where a machine's etcd keeps its data.
pub(super) fn data_path(machine: &Machine) -> String {
    match setting(machine, "data-dir:") {
        Some(directory) => snapshot_file(directory.as_str().into()).into_string(),
        None => DATA.to_owned(),
    }
}

fn setting(machine: &Machine, key: &str) -> Option<String> {
    value_of(machine.files.text(CONFIG)?, key)
}

/// What the unit's conditions say.
pub(super) fn may_start(machine: &Machine) -> bool {
    let data = data_path(machine);
    let begins_or_has_begun = [FOUNDING, JOINING, &data];
    machine.files.has(CONFIG)
        && begins_or_has_begun
            .iter()
            .any(|path| machine.files.has(path))
}

impl World {
    /// The version of a host's programs: of their package, or of those that somebody has put there, who keeps them new.
    pub(super) fn programs(&self, host: &str) -> Option<EtcdVersion> {
        match self.machines.get(host)?.packages.get("etcd-server") {
            Some(package) => EtcdVersion::find(&package.version),
            None => self.offered_etcd.last().copied(),
        }
    }

    /// Lets members run whose unit does, and stops those whose unit is stopped.
    pub(super) fn settle_etcd_services(&mut self) {
        let hosts: Vec<(String, bool)> = self
            .machines
            .values()
            .filter_map(|machine| {
                let unit = machine.units.get(UNIT)?;
                Some((machine.name.clone(), unit.active && machine.is_up()))
            })
            .collect();
        for (host, runs) in hosts {
            let pod = self.machine(&host).pods.get(UNIT).copied();
            match (runs, pod) {
                (false, _) => {
                    self.machine(&host).pods.remove(UNIT);
                }
                (true, Some(pod)) if pod.member.is_some() => {}
                (true, _) => {
                    let member = self.start_configured_member(&host);
                    let mut pod = super::pods::Pod::starting(self.now, member);
                    pod.version = self.programs(&host);
                    self.machine(&host).pods.insert(UNIT.to_owned(), pod);
                }
            }
        }
    }

    /// Starts a member as its configuration says. `None`: it exits at once.
    fn start_configured_member(&mut self, host: &str) -> Option<Data> {
        let machine = self.machine(host).clone();
        if !machine.files.has(&format!("{PKI}/server.crt")) {
            return None;
        }
        if let Some((cluster, member)) = super::etcd::data(&machine) {
            let state = self.etcd.get_mut(cluster)?;
            let is_known = state.members.iter().any(|known| known.id == member);
            state.started.extend(is_known.then_some(member));
            return is_known.then_some((cluster, member));
        }
        let url = setting(&machine, "initial-advertise-peer-urls:")?;
        let list = setting(&machine, "initial-cluster:")?;
        let started = if setting(&machine, "initial-cluster-state:")? == "existing" {
            self.enter(&url, host)?
        } else {
            self.found_together(&list, &url, host)?
        };
        self.etcd.get_mut(started.0)?.started.insert(started.1);
        let text = super::etcd::data_text(started);
        let now = self.now;
        self.machine(host)
            .files
            .put(data_path(&machine), text, 0o600, now);
        Some(started)
    }

    /// A member adds itself to the etcd whose members all have the same list; refused if it has been bootstrapped already.
    fn found_together(&mut self, list: &str, url: &str, name: &str) -> Option<Data> {
        let id = super::etcd::id(&format!("cluster {list}"));
        let known = self.etcd.iter().position(|cluster| cluster.id == id);
        let index = known.unwrap_or(self.etcd.len());
        if known.is_none() {
            self.etcd.push(super::etcd::Cluster::listed(id, list));
        }
        let members = &mut self.etcd.get_mut(index)?.members;
        let own = members.iter_mut().find(|member| member.peer_url == url)?;
        if !own.name.is_empty() {
            return None;
        }
        name.clone_into(&mut own.name);
        Some((index, own.id))
    }

    /// `member add --learner`, asked of a machine's etcd.
    fn add_learner(&mut self, asked: &str, url: &str) -> Result<(), String> {
        let machine = self.machine(asked).clone();
        let (cluster, _) = self.running(&machine).ok_or("connection refused")?;
        if !self.has_quorum(cluster) {
            return Err("etcdserver: no leader".to_owned());
        }
        let number = self.number();
        let id = super::etcd::id(&format!("member {url} {number}"));
        let live = self.etcd.get_mut(cluster).ok_or("etcdserver: no leader")?;
        live.add_learner(id, url)
    }

    /// The member that answers at a client URL.
    fn answering_at(&self, url: &str) -> Option<Data> {
        let mut machines = self.machines.values();
        machines.find_map(|machine| {
            let (cluster, id) = self.serving(machine)?;
            let members = &self.etcd.get(cluster)?.members;
            let own = members.iter().find(|member| member.id == id)?;
            (own.client_url() == url).then_some((cluster, id))
        })
    }

    /// Of these client URLs those at which a member with a quorum answers.
    fn healthy_of(&self, urls: &[String]) -> String {
        let is_healthy = |url: &&String| {
            let found = self.answering_at(url);
            found.is_some_and(|(cluster, _)| self.has_quorum(cluster))
        };
        let healthy = urls.iter().filter(is_healthy);
        healthy.map(|url| format!("healthy {url}\n")).collect()
    }

    /// `maintenance/transfer-leadership`, asked of the etcd at a client URL, which must lead.
    fn lead_at(&mut self, url: &str, successor: u64) -> Result<(), String> {
        let (cluster, own) = self.answering_at(url).ok_or("connection refused")?;
        if self.leader(cluster) != Some(own) {
            return Err("etcdserver: not leader".to_owned());
        }
        let state = self.etcd.get_mut(cluster).ok_or("connection refused")?;
        state.leader = Some(successor);
        Ok(())
    }

    /// Whether a member runs for long enough to have what the leader has.
    fn is_in_sync(&self, cluster: usize, id: u64) -> bool {
        let is_its = |machine: &&Machine| self.running(machine) == Some((cluster, id));
        let pod = self.machines.values().find(is_its);
        let pod = pod.and_then(|machine| machine.pods.get(UNIT));
        pod.is_some_and(|pod| self.now >= pod.since + IN_SYNC_US)
    }

    /// `member promote`, asked of a machine's etcd.
    fn promote_learner(&mut self, asked: &str, id: u64) -> Result<(), String> {
        let machine = self.machine(asked).clone();
        let (cluster, _) = self.running(&machine).ok_or("connection refused")?;
        if !self.has_quorum(cluster) || !self.is_in_sync(cluster, id) {
            return Err(
                "etcdserver: can only promote a learner member which is in sync with leader"
                    .to_owned(),
            );
        }
        let member = self
            .member(cluster, id)
            .ok_or("etcdserver: member not found")?;
        member.is_learner = false;
        Ok(())
    }
}

/// What a member's host says of it.
pub(super) fn report(world: &mut World, host: &str) -> Report {
    let clock = i64::try_from(world.now / 1_000_000).unwrap_or_default();
    let machine = world.machine(host).clone();
    let mut report = Report {
        clock,
        machine_id: machine.machine_id.clone(),
        ..Report::default()
    };
    if machine.files.has(CONFIG) && machine.files.has(&data_path(&machine)) {
        report.has.insert(Has::EtcdData);
    }
    if let Some(data) = setting(&machine, "data-dir:") {
        report.etcd_past = super::report::past(&machine, &data);
    }
    if !machine.packages.contains_key("curl") {
        report.has.insert(Has::NoCurl);
        return report;
    }
    let can_ask = [CONFIG, "/etc/etcd/pki/healthcheck-client.crt"];
    if can_ask.iter().all(|path| machine.files.has(path)) {
        super::report::answers_of_etcd(world, &machine, &mut report);
        let is_learner = world.running(&machine).is_some_and(|(cluster, id)| {
            world
                .member(cluster, id)
                .is_some_and(|member| member.is_learner)
        });
        if is_learner {
            let refusal = "{\"error\":\"etcdserver: rpc not supported for learner\"}";
            report.etcd_members = Answer::Http(503, refusal.to_owned());
        }
    } else {
        report.etcd_status = Answer::Absent;
    }
    report
}

/// What its repositories offer of a script's packages.
pub(super) fn offered(world: &World, script: &Script) -> String {
    let names = script.arguments.iter().skip(2);
    let versions = |name: &String| {
        let line = |version: &EtcdVersion| format!("{name} {version}-4+b4\n");
        world.offered_etcd.iter().map(line).collect::<String>()
    };
    names.map(versions).collect()
}

/// What programs that somebody has put there say of their versions.
pub(super) fn versions(world: &World, host: &str) -> String {
    let version = world
        .programs(host)
        .map(|version| version.to_string())
        .unwrap_or_default();
    format!("etcd {version}\netcdctl {version}\n")
}

/// Runs a script by its name; `None`: it is none of etcd's.
pub(super) fn run(world: &mut World, host: &str, script: &Script, stdin: &[u8]) -> Option<Ended> {
    let argument = |index: usize| script.arguments.get(index).cloned().unwrap_or_default();
    let text = String::from_utf8_lossy(stdin).into_owned();
    let id = || argument(1).parse().unwrap_or_default();
    Some(match script.name {
        "etcd-ca-make" => make_ca(world, host),
        "etcd-ca-read" => read_ca(world.machine(host)),
        "etcd-ca-place" => place_ca(world, host, &text),
        "etcd-certificates-make" => make_certificates(world, host, &argument(0), &text),
        "etcd-start" => start(world, host, &argument(1)),
        "etcd-restart" => systemctl(world, host, &["restart"]),
        "etcd-membership" => keep(world, host, &text),
        "etcd-clear" => clear(world, host),
        "etcd-member-add" => answered(world.add_learner(host, &argument(0))),
        "etcd-member-promote" => answered(world.promote_learner(host, id())),
        "etcd-members-health" => {
            let urls = script.arguments.get(1..).unwrap_or_default();
            (0, world.healthy_of(urls), String::new())
        }
        "etcd-transfer-leadership-at" => answered(world.lead_at(&argument(2), id())),
        _ => return None,
    })
}

fn done() -> Ended {
    (0, String::new(), String::new())
}

fn failed(why: impl Into<String>) -> Ended {
    (1, String::new(), why.into())
}

fn answered(answer: Result<(), String>) -> Ended {
    match answer {
        Ok(()) => (0, "{}\n200\n".to_owned(), String::new()),
        Err(why) => (
            0,
            format!("{{\"message\":\"{why}\"}}\n500\n"),
            String::new(),
        ),
    }
}

fn systemctl(world: &mut World, host: &str, verbs: &[&str]) -> Ended {
    let now = world.now;
    for verb in verbs {
        if let Err(why) = world.systemctl(host, verb, UNIT, now) {
            return failed(why);
        }
    }
    done()
}

fn make_ca(world: &mut World, host: &str) -> Ended {
    if !world.machine(host).packages.contains_key("kubeadm") {
        return failed("kubeadm: command not found");
    }
    world.cas += 1;
    let number = world.cas;
    let secret = format!("planted-private-key-of-etcd-{number}");
    world.secrets.insert(secret.clone());
    let key = format!("etcd-ca {number}");
    let pem = Certificate {
        subject: "etcd-ca",
        issuer: "etcd-ca",
        key: &key,
        alt_names: &[],
    }
    .pem();
    let now = world.now;
    let files = &mut world.machine(host).files;
    let key = format!("-----BEGIN PRIVATE KEY-----\n{secret}\n-----END PRIVATE KEY-----\n");
    files.put(CA_KEY, key, 0o600, now);
    files.put(CA, pem, 0o644, now);
    done()
}

fn read_ca(machine: &Machine) -> Ended {
    let mut text = String::new();
    for (name, path) in [("ca.crt", CA), ("ca.key", CA_KEY)] {
        let Some(content) = machine.files.text(path) else {
            return failed(format!("cat: {path}: No such file or directory"));
        };
        text.push_str(&format!("file {name}\n{content}"));
    }
    (0, text, String::new())
}

/// The content of a file in what comes on standard input.
fn framed(text: &str, name: &str) -> Option<String> {
    let start = format!("file {name}");
    let lines = text.lines().skip_while(|line| *line != start).skip(1);
    let content: String = lines
        .take_while(|line| !line.starts_with("file "))
        .map(|line| format!("{line}\n"))
        .collect();
    (!content.is_empty()).then_some(content)
}

fn place_ca(world: &mut World, host: &str, text: &str) -> Ended {
    let (Some(certificate), Some(key)) = (framed(text, "ca.crt"), framed(text, "ca.key")) else {
        return failed("nothing came on standard input");
    };
    let now = world.now;
    let files = &mut world.machine(host).files;
    files.put(CA_KEY, key, 0o600, now);
    files.put(CA, certificate, 0o644, now);
    done()
}

fn make_certificates(world: &mut World, host: &str, kind: &str, text: &str) -> Ended {
    let machine = world.machine(host);
    let own = machine.files.text(CA).map(str::to_owned);
    let Some(ca) = framed(text, "ca.crt").or(own) else {
        return failed("there is no CA of etcd");
    };
    if !machine.packages.contains_key("kubeadm") {
        return failed("kubeadm: command not found");
    }
    let configuration = framed(text, "kubeadm.yaml").unwrap_or_default();
    let now = world.now;
    let mut put = |path: &str, content: String, mode| {
        world.machine(host).files.put(path, content, mode, now);
    };
    if kind == "client" {
        let EtcdClient {
            ca: path,
            certificate,
            key,
        } = EtcdClient::FILES;
        put(path, ca, 0o644);
        put(key, format!("key of {host}\n"), 0o600);
        put(certificate, format!("client {host}\n"), 0o644);
        return done();
    }
    for (name, list) in [("server", "serverCertSANs:"), ("peer", "peerCertSANs:")] {
        let alt_names = items_of(&configuration, list);
        let key = format!("etcd {name} {host} {now}");
        let pem = Certificate {
            subject: name,
            issuer: "etcd-ca",
            key: &key,
            alt_names: &alt_names,
        }
        .pem();
        put(&format!("{PKI}/{name}.key"), format!("{key}\n"), 0o600);
        put(&format!("{PKI}/{name}.crt"), pem, 0o644);
    }
    put(
        &format!("{PKI}/healthcheck-client.key"),
        "key\n".to_owned(),
        0o600,
    );
    put(
        &format!("{PKI}/healthcheck-client.crt"),
        "client\n".to_owned(),
        0o644,
    );
    done()
}

fn start(world: &mut World, host: &str, mark: &str) -> Ended {
    let now = world.now;
    if !mark.is_empty() {
        world.machine(host).files.put(mark, "", 0o644, now);
    }
    systemctl(world, host, &["enable", "start"])
}

fn keep(world: &mut World, host: &str, beginning: &str) -> Ended {
    let now = world.now;
    let files = &mut world.machine(host).files;
    files.put(
        MEMBERSHIP,
        format!("{}\n", beginning.trim_end()),
        0o644,
        now,
    );
    files.remove(FOUNDING);
    files.remove(JOINING);
    done()
}

fn clear(world: &mut World, host: &str) -> Ended {
    let stopped = systemctl(world, host, &["stop"]);
    let files = &mut world.machine(host).files;
    for mark in [MEMBERSHIP, FOUNDING, JOINING] {
        files.remove(mark);
    }
    let path = data_path(world.machine(host));
    world.machine(host).files.remove(&path);
    stopped
}
