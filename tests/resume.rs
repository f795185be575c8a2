//! Any moment may be the last: whatever goes wrong at whichever remote call, running again converges to the same hosts.
//!
//! Every operation that can be rehearsed is tried. At every single call, before and after its effect, the connection is lost,
//! the host loses its power and the operator dies; `QUORATE_STRIDE` (default 1) tries power and death only at every so many.
//! `QUORATE_SEEDS` says how many schedules of several random faults are tried beside (default 100).
//! `QUORATE_OPERATION` names the only one to try, `QUORATE_TOPOLOGY` the only topology (`stacked`, `external`). Of
//! `restore-blank`, `recover-survivor` and the external topology every fourth case of one fault is tried here unless they are few,
//! of a restore and a recovery in the latter every twelfth and fewer schedules, and all by `make rehearse` with the release build.

mod common;

use std::time::Instant;

use common::{Bench, End, session, stage, with_clock};
use quorate::host::command::{Command, Script};
use quorate::host::simulated::faults::{Fault, What, When};
use quorate::host::simulated::record::{Call, Kind};
use quorate::operation::rehearse::{
    OPERATIONS, Operation, Outcome, Reference, Search, Stage, attempt, every, random, try_all,
};

const INVENTORY: &str = "tests/data/simulated.yaml";

/// etcd as a cluster of its own.
const EXTERNAL: &str = "tests/data/simulated-external.yaml";

fn number(variable: &str, default: usize) -> usize {
    let value = std::env::var(variable).ok();
    value.and_then(|text| text.parse().ok()).unwrap_or(default)
}

/// Operations that have to do with an etcd of its own only.
const ONLY_EXTERNAL: [&str; 1] = ["upgrade-etcd"];

/// Every operation on the topology, or both, that it knows.
fn scenes() -> impl Iterator<Item = Scene> {
    let with_stacked = |operation: &&Operation| !ONLY_EXTERNAL.contains(&operation.name);
    let stacked = OPERATIONS
        .iter()
        .filter(with_stacked)
        .map(|operation| Scene {
            operation,
            inventory: INVENTORY,
        });
    let external = [
        "provision",
        "backup",
        "upgrade",
        "upgrade-etcd",
        "restore",
        "restore-blank",
        "recover",
        "recover-survivor",
    ]
    .map(Scene::external);
    let operation = std::env::var("QUORATE_OPERATION").ok();
    let topology = std::env::var("QUORATE_TOPOLOGY").ok();
    stacked.chain(external).filter(move |scene| {
        let is_wanted =
            |wanted: &Option<String>, own: &str| wanted.as_deref().is_none_or(|it| it == own);
        is_wanted(&operation, scene.operation.name) && is_wanted(&topology, scene.topology())
    })
}

/// So many cases cost nearly nothing: they are all tried.
const FEW: usize = 250;

/// An operation on the hosts of an inventory.
#[derive(Clone, Copy)]
struct Scene {
    operation: &'static Operation,
    inventory: &'static str,
}

impl Scene {
    fn of(operation: &str) -> Self {
        Self {
            operation: Operation::find(operation).expect("there"),
            inventory: INVENTORY,
        }
    }

    fn external(operation: &str) -> Self {
        Self {
            inventory: EXTERNAL,
            ..Self::of(operation)
        }
    }

    /// How many hosts it has to ask.
    fn hosts(self) -> usize {
        let session = session(self.inventory);
        let nodes = session.inventory.nodes.iter();
        nodes
            .filter(|node| !ONLY_EXTERNAL.contains(&self.operation.name) || node.etcd.is_some())
            .count()
    }

    fn topology(self) -> &'static str {
        if self.inventory == EXTERNAL {
            "external"
        } else {
            "stacked"
        }
    }

    /// Of how many cases of one fault one is tried: an operation that meets something unusual is mostly made of calls that the
    /// usual ones try already.
    fn share(self) -> usize {
        let is_usual = !self.operation.name.contains('-') && self.inventory == INVENTORY;
        match is_usual {
            true => 1,
            false if self.is_disaster_of_external() => 12,
            false => 4,
        }
    }

    /// How many schedules of several faults are tried, if nobody says otherwise.
    fn schedules(self) -> usize {
        if self.is_disaster_of_external() {
            40
        } else {
            100
        }
    }

    fn is_disaster_of_external(self) -> bool {
        let name = self.operation.name;
        let is_disaster = name.starts_with("restore") || name.starts_with("recover");
        is_disaster && self.inventory == EXTERNAL
    }

    fn stage(self) -> Stage {
        stage(self.inventory, self.operation.name)
    }

    fn reference(self) -> Reference {
        let mut stage = self.stage();
        Reference::new(&mut stage, self.operation).unwrap_or_else(|error| panic!("{error}"))
    }

    /// What broke, and the command that replays it.
    fn shown(self, outcome: &Outcome) -> String {
        let start = format!(
            "quorate rehearse {} -i {}",
            self.operation.name, self.inventory
        );
        let command = outcome
            .faults
            .iter()
            .fold(start, |line, fault| format!("{line} --fault '{fault}'"));
        let why = outcome.broken.as_deref().unwrap_or_default();
        format!("{command}\n    {why}")
    }
}

/// Tries cases and fails with what broke, each with the command that replays it.
fn try_cases(
    scene: Scene,
    reference: &Reference,
    what: &str,
    case: &(dyn Fn(usize) -> Vec<Fault> + Sync),
    count: usize,
) {
    let began = Instant::now();
    let Scene {
        operation,
        inventory,
    } = scene;
    let broken = try_all(&session(inventory), operation, reference, case, count, 8)
        .unwrap_or_else(|error| panic!("{error}"));
    println!(
        "{} ({}): {count} cases of {what}, {} calls, {:.0} s",
        operation.name,
        scene.topology(),
        reference.calls.len(),
        began.elapsed().as_secs_f64()
    );
    let shown: Vec<String> = broken.iter().take(25).map(|it| scene.shown(it)).collect();
    assert!(
        broken.is_empty(),
        "{} of {count} cases:\n{}",
        broken.len(),
        shown.join("\n")
    );
}

#[test]
fn a_run_without_faults_keeps_every_promise() {
    for scene in scenes() {
        let operation = scene.operation;
        let reference = scene.reference();
        let mut stage = scene.stage();
        let outcome = attempt(&mut stage, &reference, &[], Search::Secrets);
        assert_eq!(outcome.broken, None, "{}", operation.name);
        assert_eq!(outcome.runs.len(), 1, "{}", operation.name);
        let world = stage.simulation().world();
        assert!(
            world.secrets.len() > 5,
            "keys, tokens and passwords were made"
        );
    }
}

#[test]
fn a_fault_at_any_remote_call_is_made_good_by_running_again() {
    for scene in scenes() {
        let reference = scene.reference();
        let cases = every(&reference.calls, number("QUORATE_STRIDE", 1));
        let share = if cases.len() <= FEW { 1 } else { scene.share() };
        let count = cases.len().div_ceil(share);
        let apart = cases.len() / count.max(1);
        let case = |index: usize| cases.get(index * apart).cloned().unwrap_or_default();
        try_cases(scene, &reference, "one fault", &case, count);
    }
}

#[test]
fn several_faults_at_random_are_made_good_by_running_again() {
    for scene in scenes() {
        let reference = scene.reference();
        let case = |index: usize| random(index as u64, &reference.calls);
        let count = number("QUORATE_SEEDS", scene.schedules());
        try_cases(scene, &reference, "several faults", &case, count);
    }
}

/// Finding out that nothing is left to do costs one round trip per host.
#[test]
fn a_run_that_changes_nothing_reads_each_host_once() {
    let external = ["provision", "upgrade", "upgrade-etcd"].map(Scene::external);
    let stacked = ["provision", "upgrade"].map(Scene::of);
    for scene in stacked.into_iter().chain(external) {
        let name = (scene.operation.name, scene.topology());
        let reference = scene.reference();
        let mut hosts: Vec<&str> = reference.idle.iter().map(|it| it.host.as_str()).collect();
        hosts.sort_unstable();
        assert_eq!(hosts.len(), scene.hosts(), "{name:?}");
        hosts.dedup();
        assert_eq!(hosts.len(), reference.idle.len(), "{name:?}");
        let is_probe = |call: &Call| call.kind == Kind::Probe;
        assert!(reference.idle.iter().all(is_probe), "{name:?}");
    }
}

/// A check that cannot fail proves nothing: a broken world is called broken.
#[test]
fn a_broken_promise_is_noticed() {
    let scene = Scene::of("provision");
    let mut reference = scene.reference();
    let mut stage = scene.stage();
    let violation = "two of something".to_owned();
    reference.begins.violations.push(violation.clone());
    let outcome = attempt(&mut stage, &reference, &[], Search::Nothing);
    assert_eq!(outcome.broken, Some(violation));
}

/// Provisions, lets something be done to a host, and returns what was noted as broken.
fn noted(done: impl AsyncFnOnce(&Bench)) -> Vec<String> {
    let bench = Bench::new("provision");
    with_clock(async {
        let run = bench.run().await;
        assert!(matches!(run.end, End::Done { .. }), "{:?}", run.end);
        done(&bench).await;
    });
    let mut world = bench.simulation().world();
    world.settle();
    world.violations.clone()
}

async fn call(bench: &Bench, host: &str, command: Command) {
    let hosts = bench.simulation().hosts();
    let host = hosts.get(host).expect("a host of the inventory");
    host.transport.run(&command).await.expect("it answers");
}

/// A check that cannot fail proves nothing: each of the world's own is made to.
#[test]
fn each_invariant_notices_its_breach() {
    let stop = |unit: &str| Command::new("systemctl").arg("stop").arg(unit);
    let violations = noted(async |bench| {
        call(bench, "lb1", stop("haproxy")).await;
        call(bench, "lb2", stop("haproxy")).await;
    });
    assert!(
        violations.iter().any(|it| it.contains("without a holder")),
        "{violations:?}"
    );

    let violations = noted(async |bench| {
        bench.simulation().world().power_off("master2");
        let park = Command::script(Script::new("park-manifests", ""));
        call(bench, "master3", park).await;
    });
    for breach in ["stopped a second etcd member", "cost etcd its quorum"] {
        assert!(
            violations.iter().any(|it| it.contains(breach)),
            "{violations:?}"
        );
    }

    let leave = |master: &str| {
        let script = Script::new("haproxy-server-leave", "").arg(master);
        Command::script(script.arg("a run"))
    };
    let violations = noted(async |bench| {
        call(bench, "lb1", leave("master1")).await;
        call(bench, "lb2", leave("master3")).await;
    });
    let breach = "master1 and master3 are out of the load balancers";
    assert!(violations.iter().any(|it| it == breach), "{violations:?}");

    let violations = noted(async |bench| {
        bench.simulation().world().cordon_by_hand("worker2");
        let patch = r#"{"spec":{"unschedulable":null}}"#;
        let arguments = ["10.1.1.101", "PATCH", "/api/v1/nodes/worker2", ""];
        let api = Command::script(Script::new("kubernetes-api", "")).args(arguments);
        call(bench, "master1", api.stdin(patch)).await;
    });
    let breach = "cordon of worker2 was undone";
    assert!(
        violations.iter().any(|it| it.contains(breach)),
        "{violations:?}"
    );

    let violations = noted(async |bench| {
        let number = bench.simulation().world().calls.len();
        let cut = Fault::at(number, When::During, What::LoseConnection);
        bench.simulation().world().faults = vec![cut];
        let script = Script::new("file-part-write", "");
        let arguments = ["/etc/haproxy/haproxy.cfg", "0"];
        let write = Command::script(script).args(arguments).stdin("a file");
        let hosts = bench.simulation().hosts();
        let host = hosts.get("lb1").expect("a host of the inventory");
        let lost = host.transport.run(&write).await;
        assert!(lost.is_err(), "the connection is cut in the midst");
    });
    let breach = "/etc/haproxy/haproxy.cfg on lb1 is written by half";
    assert!(violations.iter().any(|it| it == breach), "{violations:?}");

    let violations = noted(async |bench| {
        let mut world = bench.simulation().world();
        let now = world.now;
        let path = "/etc/kubernetes/pki/ca.crt";
        world
            .machine("master3")
            .files
            .put(path, "another", 0o644, now);
    });
    assert!(
        violations.iter().any(|it| it.contains("CAs")),
        "{violations:?}"
    );
}

/// Two operators start the same operation at the same time: one holds the lock, the other one is told so, and all is well.
#[test]
fn a_second_operator_is_refused_while_the_first_one_works() {
    let scene = Scene::of("provision");
    let reference = scene.reference();
    let mut stage = scene.stage();
    let fault = "master1:second-operator@kubeadm-init"
        .parse()
        .expect("a fault");
    let outcome = attempt(&mut stage, &reference, &[fault], Search::Secrets);
    assert_eq!(outcome.broken, None);
    assert!(outcome.unmet.is_empty(), "{:?}", outcome.unmet);
}

#[test]
fn an_operator_who_dies_is_noticed_as_dead() {
    let scene = Scene::of("provision");
    let reference = scene.reference();
    let mut stage = scene.stage();
    let fault: Fault = "master1:operator-dies@kubeadm-init+3"
        .parse()
        .expect("a fault");
    stage.begin(reference.begins.snapshot());
    stage.simulation().world().faults = vec![fault];
    let run = with_clock(stage.run());
    assert_eq!(run.end, End::Died);
}
