//! The recording, and the same operations carried out on simulated hosts that begin as the recorded ones did.

use std::collections::BTreeMap;

use camino::{Utf8Path, Utf8PathBuf};
use quorate::engine::recorder::Recorder;
use quorate::engine::recording::{Entry, readings};
use quorate::host::probe::Readings;
use quorate::host::simulated::world::World;
use quorate::operation::Session;
use quorate::operation::rehearse::{Computer, Operation, Stage};
use quorate::playbook::Strategy;

use super::common::{self, End, with_clock};
use super::sections::{Section, sections};

/// What was recorded, one after the other on the same hosts.
pub const OPERATIONS: [&str; 3] = ["provision", "upgrade", "recover"];

const DIRECTORY: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/data/recording");

/// What the real hosts said, by operation.
pub fn recorded() -> Vec<Vec<Entry>> {
    let read = |operation: &&str| {
        let path = format!("{DIRECTORY}/{operation}.jsonl.zst");
        let file = std::fs::File::open(&path).unwrap_or_else(|error| panic!("{path}: {error}"));
        let text = zstd::decode_all(file).expect("zstd");
        let lines = String::from_utf8(text).expect("UTF-8");
        let entry = |line| {
            serde_json::from_str(line).unwrap_or_else(|error| panic!("{path}: {error}: {line}"))
        };
        lines.lines().map(entry).collect()
    };
    OPERATIONS.iter().map(read).collect()
}

/// What simulated hosts say, by operation. They begin as the recorded ones were first read.
pub fn simulated(recorded: &[Vec<Entry>]) -> Vec<Vec<Entry>> {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let later = Utf8Path::from_path(directory.path())
        .expect("UTF-8")
        .join("inventory.yaml");
    let inventory = Utf8PathBuf::from(format!("{DIRECTORY}/inventory.yaml"));
    let text = std::fs::read_to_string(&inventory).expect("readable");
    std::fs::write(&later, text.replace("v1.20.2", "v1.20.3")).expect("writable");
    let key = std::fs::read(inventory.with_file_name("kubernetes.asc")).expect("readable");
    std::fs::write(later.with_file_name("kubernetes.asc"), key).expect("writable");

    let first = common::session(inventory.as_str());
    let bare = beginning(&first, &recorded[0]);
    let mut computer = Computer::default();
    let (provisioned, provision) =
        carry_out(first.clone(), "provision", bare.snapshot(), &mut computer);
    let (upgraded, upgrade) = carry_out(first, "upgrade", provisioned, &mut computer);
    let session = common::session(later.as_str());
    let mut lost = upgraded;
    lost.machines
        .insert("master1".to_owned(), bare.machines["master1"].clone());
    lost.power_off("master1");
    let (_, recover) = carry_out(session, "recover", lost, &mut computer);
    vec![provision, upgrade, recover]
}

fn beginning(session: &Session, entries: &[Entry]) -> World {
    let plan = session.plan("provision").expect("a plan");
    let mut first: BTreeMap<String, Readings> = BTreeMap::new();
    for entry in entries {
        if let Entry::Probe { host, answers } = entry
            && !first.contains_key(host)
        {
            let node = session
                .inventory
                .node(host)
                .expect("a host of the inventory");
            first.insert(
                host.clone(),
                readings(&session.probes_of(&plan, node), answers),
            );
        }
    }
    let mut world = World::like(&session.inventory, |host| first.get(host));
    world.containerd = containerd(entries);
    world.offered.push("v1.20.3".parse().expect("a release"));
    world
}

/// The version of containerd that the recorded hosts got.
fn containerd(entries: &[Entry]) -> String {
    let installed = entries.iter().find_map(|entry| match entry {
        Entry::Probe { answers, .. } => answers.get("package containerd")?["version"].as_str(),
        _ => None,
    });
    installed.expect("it was installed").to_owned()
}

fn carry_out(
    session: Session,
    operation: &str,
    world: World,
    computer: &mut Computer,
) -> (World, Vec<Entry>) {
    let operation = Operation::find(operation).expect("it can be rehearsed");
    let mut stage = Stage::new(session, operation).unwrap_or_else(|error| panic!("{error}"));
    let recorder = Recorder::default();
    stage.session.recorder = Some(recorder.clone());
    stage.begin_at(world, computer);
    let run = with_clock(stage.run());
    assert!(
        matches!(run.end, End::Done { .. }),
        "{}: {:?}\n{}",
        operation.name,
        run.end,
        common::tail(&run)
    );
    *computer = stage.computer().expect("readable");
    let world = stage.simulation().world().snapshot();
    (world, recorder.take())
}

/// In sections.
pub fn cut(entries: &[Entry]) -> Vec<Section> {
    let session = common::session(&format!("{DIRECTORY}/inventory.yaml"));
    let is_rolling = |operation: &str, number: usize| {
        let playbook = match operation {
            "upgrade" => "upgrade-hop",
            _ => "provision",
        };
        let plan = session.plan(playbook).expect("a plan");
        let mut plays = plan.plays.iter();
        plays.any(|play| play.number == number && play.strategy == Strategy::Rolling)
    };
    sections(entries, &is_rolling)
}
