//! `make bench-scale`: quorate against many hosts, each a real SSH server of this process on loopback, with a simulated host
//! behind it that was provisioned before. Measured are the release binary's wall time, CPU time and peak memory for a
//! provision that changes nothing, `exec` and `status`, beside a bare SSH client that runs one command on each host.
//!
//! `scale [N]…`: numbers of workers, by default 10 100 1000. The servers share the computer with what is measured.

#![expect(clippy::unwrap_used, reason = "a measurement may panic")]

#[path = "../server/mod.rs"]
mod server;

use std::collections::HashMap;
use std::fmt::Write as _;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use camino::Utf8PathBuf;
use quorate::host::Host;
use quorate::host::facts::Machine;
use quorate::host::probe::{Probe, Readings};
use quorate::host::simulated::answer;
use quorate::inventory::Node;
use quorate::operation::rehearse::{End, Operation, Stage, with_clock};
use quorate::operation::{Session, Settings, status};
use quorate::report::Format;
use quorate::state::{cluster_dir, write_private};
use server::{Asked, Keys, Server};

/// Times that each figure is taken; the median counts.
const TIMES: usize = 3;

/// The mark that stands for the one of a request.
const MARK: &str = "@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@";

/// The time that stands for the one at which a host is asked, microseconds.
const CLOCK: u64 = 1;

/// A question and what the host answers.
#[derive(Clone)]
struct Prepared {
    question: String,
    answer: String,
}

/// What a command took.
struct Cost {
    wall: Duration,
    cpu: Duration,
    /// KiB.
    peak: u64,
    output: String,
    code: Option<i32>,
}

fn main() {
    let arguments: Vec<usize> = std::env::args()
        .skip(1)
        .filter_map(|word| word.parse().ok())
        .collect();
    let counts = if arguments.is_empty() {
        vec![10, 100, 1000]
    } else {
        arguments
    };
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    println!("hosts  what                 wall s    ms/host  CPU ms/host  peak MB  of bare");
    for workers in counts {
        let site = Site::new(workers);
        runtime.block_on(site.measure());
        if workers == 100 {
            runtime.block_on(site.measure_delays());
        }
        runtime.block_on(site.measure_broken());
    }
}

/// The hosts of one measurement.
struct Site {
    keys: Keys,
    nodes: Vec<Node>,
    prepared: HashMap<String, Vec<Prepared>>,
}

impl Site {
    /// Provisions a simulated cluster and prepares what its hosts answer.
    fn new(workers: usize) -> Self {
        let keys = Keys::make();
        let path = keys.directory.join("inventory.yaml");
        fs_err::write(&path, inventory(&keys, workers, |_| 22)).expect("written");
        let session = Session::open(settings(path)).expect("loads");
        let operation = Operation::find("provision").expect("there");
        let stage = Stage::new(session, operation).expect("a stage");
        stage.simulation().world().keeps_shown = false;
        let begun = Instant::now();
        let end = with_clock(stage.run()).end;
        assert!(matches!(end, End::Done { .. }), "{end:?}");
        eprintln!(
            "{workers} workers provisioned in {:.1} s",
            begun.elapsed().as_secs_f64()
        );
        keep_kubeconfig(&stage, &keys);
        let plan = stage.session.plan("provision").expect("a plan");
        let inventory = &stage.session.inventory;
        let hosts = stage.simulation().hosts();
        let prepared = inventory.nodes.iter().map(|node| {
            let asked = [
                stage.session.probes_of(&plan, node),
                status::probes(inventory, node),
            ];
            let prepared =
                asked.map(|probes| prepare(hosts.get(&node.name).expect("there"), &probes));
            (node.name.clone(), prepared.to_vec())
        });
        Self {
            prepared: prepared.collect(),
            nodes: inventory.nodes.clone(),
            keys,
        }
    }

    /// Starts a server per host.
    async fn serve(&self, delay: Duration) -> Vec<Server> {
        let mut servers = Vec::new();
        for node in &self.nodes {
            let prepared = Arc::new(self.prepared.get(&node.name).cloned().unwrap_or_default());
            let behaviour = move |asked: Asked| {
                let prepared = Arc::clone(&prepared);
                async move { reply(&asked, &prepared).await }
            };
            let config = self.keys.config();
            servers.push(Server::start_with_delay(config, Arc::new(behaviour), delay).await);
        }
        let ports: Vec<u16> = servers.iter().map(|server| server.port).collect();
        self.trust(&ports);
        servers
    }

    fn trust(&self, ports: &[u16]) {
        self.keys.trust(ports);
        let port = |index: usize| ports.get(index).copied().unwrap_or_default();
        let workers = self.nodes.len() - 5;
        let path = self.keys.directory.join("inventory.yaml");
        fs_err::write(path, inventory(&self.keys, workers, port)).expect("written");
        let identity = self.keys.directory.join("id");
        let mut hosts = String::new();
        for (node, port) in self.nodes.iter().zip(ports) {
            let _ = writeln!(
                hosts,
                "{} worker 127.0.0.1 root {identity} - {port}",
                node.name
            );
            let script = self.keys.directory.join(format!("{}.sh", node.name));
            fs_err::write(script, "true\n").expect("written");
        }
        fs_err::write(self.keys.directory.join("hosts"), hosts).expect("written");
    }

    async fn measure(&self) {
        let _servers = self.serve(Duration::ZERO).await;
        let hosts = self.nodes.len();
        let bare = self.bare().await;
        show(hosts, "bare SSH, 1 command", &bare, &bare);
        for (name, words, expected) in [
            ("provision, no-op", &["provision", "--yes"][..], Some(0)),
            ("exec -- true", &["exec", "--", "true"], Some(0)),
            ("status", &["status"], None),
        ] {
            let cost = self.median(words).await;
            assert!(
                expected.is_none() || cost.code == expected,
                "{name}: {:?}\n{}",
                cost.code,
                tail(&cost.output)
            );
            show(hosts, name, &cost, &bare);
        }
    }

    /// Slow links: how many round trips of delay a run takes.
    async fn measure_delays(&self) {
        for delay in [50, 200].map(Duration::from_millis) {
            let _servers = self.serve(delay).await;
            let bare = self.bare().await;
            let cost = self.median(&["provision", "--yes"]).await;
            assert_eq!(cost.code, Some(0), "{}", tail(&cost.output));
            let trips = |cost: &Cost| cost.wall.as_secs_f64() / delay.as_secs_f64();
            println!(
                "{:5}  {} ms a round trip: no-op provision {:.2} s ({:.1} round trips), bare {:.2} s ({:.1})",
                self.nodes.len(),
                delay.as_millis(),
                cost.wall.as_secs_f64(),
                trips(&cost),
                bare.wall.as_secs_f64(),
                trips(&bare)
            );
        }
    }

    /// One host refuses connections and one never says a word: both are named, and nobody else waits for them.
    async fn measure_broken(&self) {
        let mut servers = self.serve(Duration::ZERO).await;
        let silent = tokio::net::TcpListener::bind(("127.0.0.1", 0))
            .await
            .expect("a port");
        let mut ports: Vec<u16> = servers.iter().map(|server| server.port).collect();
        let (dead, hanging) = (5, 6);
        drop(servers.remove(dead));
        if let Some(port) = ports.get_mut(hanging) {
            *port = silent.local_addr().expect("bound").port();
        }
        self.trust(&ports);
        let begun = Instant::now();
        let cost = self.quorate(&["exec", "--", "true"]).await;
        let names: Vec<&str> = [dead, hanging]
            .iter()
            .filter_map(|index| self.nodes.get(*index))
            .map(|node| node.name.as_str())
            .collect();
        for name in &names {
            assert!(
                cost.output.contains(name),
                "{name} is not named: {}",
                tail(&cost.output)
            );
        }
        let last = servers.iter().filter_map(Server::answered_at).max();
        let last = last.map(|at| at.saturating_duration_since(begun));
        println!(
            "{:5}  one dead and one hanging ({}): exec ends after {:.2} s, the last of the others was answered after {:.2} s",
            self.nodes.len(),
            names.join(", "),
            cost.wall.as_secs_f64(),
            last.unwrap_or_default().as_secs_f64()
        );
    }

    async fn median(&self, words: &[&str]) -> Cost {
        let mut costs = Vec::new();
        for _ in 0..TIMES {
            costs.push(self.quorate(words).await);
        }
        costs.sort_by_key(|cost| cost.wall);
        costs.swap_remove(TIMES / 2)
    }

    async fn quorate(&self, words: &[&str]) -> Cost {
        let inventory = self.keys.directory.join("inventory.yaml");
        let (first, rest) = words.split_first().expect("a command");
        let mut command = Command::new("target/release/quorate");
        command.args([*first, "-i", inventory.as_str()]).args(rest);
        self.run(command).await
    }

    async fn bare(&self) -> Cost {
        let mut costs = Vec::new();
        for _ in 0..TIMES {
            let mut command = Command::new("target/release/examples/bare_client");
            command.arg(self.keys.directory.as_str());
            let cost = self.run(command).await;
            assert_eq!(cost.code, Some(0), "{}", tail(&cost.output));
            costs.push(cost);
        }
        costs.sort_by_key(|cost| cost.wall);
        costs.swap_remove(TIMES / 2)
    }

    /// Runs a command to its end, beside the servers.
    async fn run(&self, mut command: Command) -> Cost {
        command
            .env("XDG_STATE_HOME", self.keys.directory.join("state"))
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        tokio::task::spawn_blocking(move || cost_of(&mut command))
            .await
            .expect("it ran")
    }
}

fn cost_of(command: &mut Command) -> Cost {
    let before = children_cpu();
    let begun = Instant::now();
    let child = command.spawn().expect("built with --release");
    let id = child.id();
    let reader = std::thread::spawn(move || child.wait_with_output());
    let mut peak = 0;
    while !reader.is_finished() {
        peak = peak.max(peak_of(id));
        std::thread::sleep(Duration::from_millis(5));
    }
    let wall = begun.elapsed();
    let output = reader.join().expect("no panic").expect("it ran");
    let text = [output.stdout, output.stderr].concat();
    Cost {
        wall,
        cpu: children_cpu().saturating_sub(before),
        peak,
        output: String::from_utf8_lossy(&text).into_owned(),
        code: output.status.code(),
    }
}

/// KiB.
fn peak_of(process: u32) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{process}/status")).unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    let number = line.and_then(|rest| rest.split_whitespace().next()?.parse().ok());
    number.unwrap_or(0)
}

/// User and system time of the children that were waited for.
fn children_cpu() -> Duration {
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap_or_default();
    let after_name = stat.rsplit(')').next().unwrap_or_default();
    let ticks = after_name.split_whitespace().skip(13).take(2);
    let sum: u64 = ticks.filter_map(|word| word.parse::<u64>().ok()).sum();
    Duration::from_millis(sum * 10)
}

fn show(hosts: usize, what: &str, cost: &Cost, bare: &Cost) {
    let per_host =
        |time: Duration| time.as_secs_f64() * 1000.0 / f64::from(u32::try_from(hosts).unwrap_or(1));
    println!(
        "{hosts:5}  {what:20} {:6.2}    {:7.2}  {:11.2}  {:7.1}  {:7.2}",
        cost.wall.as_secs_f64(),
        per_host(cost.wall),
        per_host(cost.cpu),
        f64::from(u32::try_from(cost.peak).unwrap_or(0)) / 1024.0,
        cost.wall.as_secs_f64() / bare.wall.as_secs_f64()
    );
}

fn tail(text: &str) -> String {
    let lines: Vec<&str> = text.lines().collect();
    lines
        .get(lines.len().saturating_sub(12)..)
        .unwrap_or_default()
        .join("\n")
}

fn settings(inventory: Utf8PathBuf) -> Settings {
    Settings {
        inventory,
        on: Vec::new(),
        format: Format::Table,
        yes: true,
        events: None,
        overlay: None,
        accept_new_host_keys: false,
    }
}

/// Two load balancers, three masters and so many workers, all on this computer's loopback.
fn inventory(keys: &Keys, workers: usize, port: impl Fn(usize) -> u16) -> String {
    let mut text = format!(
        "cluster: {{ name: scale, kubernetes: v1.36.2 }}\nvip: {{ address: 10.1.1.100 }}\nnetwork: {{ hosts: 10.1.0.0/16, pods: 10.244.0.0/14 }}\n\
         ssh: {{ user: root, identity-file: {}, known-hosts: {}, config: false }}\ncni: {{ bridge: {{}} }}\n",
        keys.directory.join("id"),
        keys.directory.join("known_hosts")
    );
    let mut index = 0;
    let mut group = |title: &str, names: &[(String, String)]| {
        let _ = writeln!(text, "{title}:");
        for (name, address) in names {
            let _ = writeln!(
                text,
                "  {name}: {{ address: {address}, ssh: {{ host: 127.0.0.1, port: {} }} }}",
                port(index)
            );
            index += 1;
        }
    };
    let named =
        |name: &str, count: usize, address: &dyn Fn(usize) -> String| -> Vec<(String, String)> {
            (1..=count)
                .map(|number| (format!("{name}{number}"), address(number)))
                .collect()
        };
    group(
        "lb",
        &named("lb", 2, &|number| format!("10.1.1.{}", 10 + number)),
    );
    group(
        "masters",
        &named("master", 3, &|number| format!("10.1.1.{}", 100 + number)),
    );
    let address = |number: usize| format!("10.1.{}.{}", 2 + number / 250, 1 + number % 250);
    group("workers", &named("worker", workers, &address));
    text
}

/// The kubeconfig that the simulated run fetched is the one that the real binary finds.
fn keep_kubeconfig(stage: &Stage, keys: &Keys) {
    let path = || cluster_dir("scale").join("kubeconfig");
    let fetched = with_clock(stage.at_computer(async { fs_err::read(path()) })).expect("fetched");
    let kept = keys.directory.join("state/quorate/scale/kubeconfig");
    write_private(&kept, &fetched).expect("written");
}

fn prepare(host: &Host, probes: &[Probe]) -> Prepared {
    let mut readings = readings(host, probes);
    if let Ok(machine) = readings.machine().cloned() {
        readings = readings.with_machine(Machine {
            clock_us: CLOCK,
            ..machine
        });
    }
    let answer = answer::answer(probes, MARK, &readings);
    Prepared {
        question: answer::question(probes, MARK),
        answer: String::from_utf8_lossy(&answer).into_owned(),
    }
}

/// What the simulation knows of these probes; a script that it does not know says nothing and succeeds.
fn readings(host: &Host, probes: &[Probe]) -> Readings {
    let mut all = Readings::default();
    for probe in probes {
        if let Ok(readings) = with_clock(host.transport.probe(std::slice::from_ref(probe))) {
            all.update(readings);
        }
    }
    all
}

fn nanoseconds() -> u128 {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    since.map_or(0, |since| since.as_nanos())
}

/// Answers as the host's shell would.
async fn reply(asked: &Asked, prepared: &[Prepared]) {
    let nonce = asked.nonce();
    let question = asked.script.replace(nonce, MARK);
    let known = prepared.iter().find(|known| known.question == question);
    let answer = match known {
        Some(known) => known.answer.replace(MARK, nonce).replace(
            &format!("clock {CLOCK}000\n"),
            &format!("clock {}\n", nanoseconds()),
        ),
        None => format!("{nonce}\n"),
    };
    asked.answer(answer.into_bytes()).await;
}
