//! What a host's shell prints when it runs the script that reads probes: the inverse of the reader, for simulated hosts
//! behind a real SSH server.

use std::collections::BTreeSet;
use std::fmt::Write as _;

use crate::host::command::Status;
use crate::host::facts::Machine;
use crate::host::probe::{
    FileContent, FileReading, FileState, PackageReading, Probe, Readings, ScriptReading,
    UnitReading,
};
use crate::host::shell::Nonce;
use crate::host::shell::probe::{Questions, Wanted, sysctl_path};

/// The script that asks for probes, with the mark of its frames as a parameter: what a server is asked is compared with it.
#[must_use]
pub fn question(probes: &[Probe], nonce: &str) -> String {
    Questions::of(probes)
        .compile(Nonce::known(nonce.to_owned()))
        .text
}

/// Everything that the host prints, from the first line on.
#[must_use]
pub fn answer(probes: &[Probe], nonce: &str, readings: &Readings) -> Vec<u8> {
    let questions = Questions::of(probes);
    let mut answer = Answer {
        nonce,
        bytes: format!("{nonce}\n").into_bytes(),
    };
    if let Some(machine) = readings.machine.as_ref().filter(|_| questions.machine) {
        answer.machine(machine);
    }
    if !questions.files.is_empty() {
        answer.files(&questions, readings);
    }
    if !questions.packages.is_empty() {
        answer.packages(&questions.packages, readings);
    }
    if !questions.units.is_empty() {
        answer.units(&questions.units, readings);
    }
    if !questions.sysctls.is_empty() {
        answer.sysctls(&questions.sysctls, readings);
    }
    for script in &questions.scripts {
        answer.script(readings.scripts.get(*script));
    }
    answer.frame("end");
    answer.bytes
}

struct Answer<'a> {
    nonce: &'a str,
    bytes: Vec<u8>,
}

impl Answer<'_> {
    fn frame(&mut self, header: &str) {
        let nonce = self.nonce;
        self.text(&format!("\n{nonce} {header}\n"));
    }

    fn text(&mut self, text: &str) {
        self.bytes.extend_from_slice(text.as_bytes());
    }

    fn machine(&mut self, machine: &Machine) {
        self.frame("machine");
        self.text(&facts(machine));
        self.frame("addresses");
        for interface in &machine.interfaces {
            for (address, prefix) in &interface.addresses {
                let line = format!(
                    "2: {}    inet {address}/{prefix} scope global\n",
                    interface.name
                );
                self.text(&line);
            }
        }
        self.frame("listeners");
        for listener in &machine.listeners {
            let (port, process) = (listener.port, &listener.process);
            let line = format!(
                "LISTEN 0 128 0.0.0.0:{port} 0.0.0.0:* users:((\"{process}\",pid=1,fd=3))\n"
            );
            self.text(&line);
        }
        self.frame("jobs");
        for unit in &machine.jobs {
            self.text(&format!("{unit} loaded active running\n"));
        }
    }

    fn files(&mut self, questions: &Questions<'_>, readings: &Readings) {
        let reading = |path: &str| readings.files.get(path);
        let states: Vec<_> = questions
            .files
            .iter()
            .map(|(path, wanted)| (*path, *wanted, reading(path).and_then(FileReading::present)))
            .collect();
        let presence = |state: Option<&FileState>| if state.is_some() { '+' } else { '-' };
        let presence: String = states
            .iter()
            .map(|(_, _, state)| presence(*state))
            .collect();
        self.frame(&format!("stat {presence}"));
        for (_, _, state) in &states {
            if let Some(state) = state {
                self.text(&stat(state));
            }
        }
        self.frame("content");
        let mut separator = "";
        for (path, wanted, state) in &states {
            if let (Wanted::Content, Some(FileContent::Bytes(bytes))) =
                (wanted, state.map(|state| &state.content))
            {
                self.text(&format!("{separator}==> {path} <==\n"));
                self.bytes.extend_from_slice(bytes);
                separator = "\n";
            }
        }
        self.frame("digest");
        for (path, wanted, state) in &states {
            if let (Wanted::Digest, Some(FileContent::Sha256(digest))) =
                (wanted, state.map(|state| &state.content))
            {
                self.text(&format!("{digest}  {path}\n"));
            }
        }
    }

    fn packages(&mut self, names: &[&str], readings: &Readings) {
        self.frame("dpkg");
        for name in names {
            if let Some(PackageReading {
                version: Some(version),
                held,
            }) = readings.packages.get(*name)
            {
                let want = if *held { "hold" } else { "install" };
                self.text(&format!("{name} {version} {want} ok installed\n"));
            }
        }
        self.frame("status 0");
    }

    fn units(&mut self, names: &[&str], readings: &Readings) {
        self.frame("units");
        let none = UnitReading::default();
        let blocks: Vec<String> = names
            .iter()
            .map(|name| unit(readings.units.get(*name).unwrap_or(&none)))
            .collect();
        self.text(&blocks.join("\n"));
    }

    fn sysctls(&mut self, names: &[&str], readings: &Readings) {
        self.frame("sysctls");
        for name in names {
            let machine = readings.machine.as_ref();
            let boot = machine.filter(|_| *name == crate::host::shell::machine::BOOT_ID);
            let value = boot
                .map(|machine| machine.boot_id.clone())
                .or_else(|| readings.sysctls.get(*name).cloned().flatten());
            if let Some(value) = value {
                self.text(&format!("==> {} <==\n{value}\n\n", sysctl_path(name)));
            }
        }
    }

    fn script(&mut self, reading: Option<&ScriptReading>) {
        self.frame("script");
        let code = match reading {
            Some(reading) => {
                self.text(&reading.stdout);
                match reading.status {
                    Status::Code(code) => code,
                    Status::Signal => 128,
                }
            }
            None => 0,
        };
        self.frame(&format!("status {code}"));
    }
}

fn facts(machine: &Machine) -> String {
    let mut text = format!("clock {}\n", machine.clock_us * 1000);
    let mut line = |key: &str, value: &str| {
        let _ = writeln!(text, "{key} {value}");
    };
    line("os", &format!("ID={}", machine.os_id));
    if !machine.os_like.is_empty() {
        line("os", &format!("ID_LIKE=\"{}\"", machine.os_like.join(" ")));
    }
    line("os", &format!("VERSION_ID=\"{}\"", machine.os_version));
    line("os", &format!("PRETTY_NAME=\"{}\"", machine.os_name));
    let names = [&machine.hostname, &machine.kernel, &machine.architecture];
    line("uname", &names.map(String::as_str).join(" "));
    line("machine-id", &machine.machine_id);
    line(
        "product-uuid",
        machine.product_uuid.as_deref().unwrap_or_default(),
    );
    line("cpus", &format!("0-{}", machine.cpus.saturating_sub(1)));
    line("memory", &format!("MemTotal: {} kB", machine.memory >> 10));
    line("swap", &(machine.swap >> 10).to_string());
    line("disk", &format!("{} 4096", machine.disk_free >> 12));
    line("init", &machine.init);
    for interface in &machine.interfaces {
        line("link", &format!("{} {}", interface.name, interface.mac));
    }
    let modules: BTreeSet<&String> = machine.modules.iter().collect();
    for module in modules {
        line("module", &format!("/sys/module/{module}"));
    }
    if machine.cgroup_v2 {
        text.push_str("cgroup2\n");
    }
    text
}

/// A line of `stat -c '%f %s %U %G %y'`.
fn stat(state: &FileState) -> String {
    let kind = match state.content {
        FileContent::Bytes(_) | FileContent::Sha256(_) => 0o100_000,
        FileContent::Directory => 0o040_000,
        FileContent::Other => 0o120_000,
    };
    format!(
        "{:x} {} {} {} {}\n",
        kind | state.mode,
        state.size,
        state.owner,
        state.group,
        moment(state.modified_us)
    )
}

fn unit(reading: &UnitReading) -> String {
    let (active, sub) = reading
        .state
        .split_once('/')
        .unwrap_or((&reading.state, ""));
    let load = if reading.exists {
        "loaded"
    } else {
        "not-found"
    };
    let file = if reading.enabled {
        "enabled"
    } else {
        "disabled"
    };
    let changed = match reading.changed_us {
        0 => String::new(),
        at => format!("Thu {}", moment(at).replace("+0000", "UTC")),
    };
    format!(
        "LoadState={load}\nActiveState={active}\nSubState={sub}\nUnitFileState={file}\nStateChangeTimestamp={changed}\n"
    )
}

/// `2026-01-01 00:00:00.000000 +0000`.
fn moment(us: u64) -> String {
    let time = i64::try_from(us)
        .ok()
        .and_then(|us| jiff::Timestamp::from_microsecond(us).ok())
        .unwrap_or_default();
    time.to_zoned(jiff::tz::TimeZone::UTC)
        .strftime("%Y-%m-%d %H:%M:%S.%6f +0000")
        .to_string()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::host::shell::reading;
    use crate::operation::rehearse::{End, Operation, Stage, with_clock};
    use crate::operation::{Session, Settings};
    use crate::report::Format;

    /// Every reading of every host of a whole cluster reads back as it was.
    #[test]
    fn what_is_answered_reads_back() {
        let settings = Settings {
            inventory: concat!(env!("CARGO_MANIFEST_DIR"), "/tests/data/simulated.yaml").into(),
            on: Vec::new(),
            format: Format::Table,
            yes: true,
            events: None,
            overlay: None,
            accept_new_host_keys: false,
        };
        let session = Session::open(settings).expect("loads");
        let operation = Operation::find("provision").expect("there");
        let stage = Stage::new(session, operation).expect("a stage");
        assert!(matches!(with_clock(stage.run()).end, End::Done { .. }));
        let plan = stage.session.plan("provision").expect("a plan");
        for node in &stage.session.inventory.nodes {
            let probes = stage.session.probes_of(&plan, node);
            let mut world = stage.simulation().world();
            let mut read = world.read(&node.name, &probes).expect("known");
            let nonce = "0123456789abcdef0123456789abcdef";
            let bytes = answer(&probes, nonce, &read);
            let (_, body) = bytes.split_at(nonce.len() + 1);
            let known = Nonce::known(nonce.to_owned());
            let (back, large) =
                reading::parse(&Questions::of(&probes), &known, body).expect("readable");
            assert!(large.is_empty());
            // Who asks adds what it saw of the time; and the machine's own sysctl comes with it.
            let machine = read.machine.as_mut().expect("asked for");
            (machine.operator_clock_us, machine.clock_error_us) = (0, 0);
            let boot = Some(machine.boot_id.clone());
            let name = crate::host::shell::machine::BOOT_ID.to_owned();
            read.sysctls.insert(name, boot);
            assert_eq!(shown(&back), shown(&read), "{}", node.name);
        }
    }

    /// Readings by kind, in words: they have no equality of their own.
    fn shown(readings: &Readings) -> [(&'static str, String); 6] {
        [
            ("machine", format!("{:?}", readings.machine)),
            ("files", format!("{:?}", readings.files)),
            ("packages", format!("{:?}", readings.packages)),
            ("units", format!("{:?}", readings.units)),
            ("sysctls", format!("{:?}", readings.sysctls)),
            ("scripts", format!("{:?}", readings.scripts)),
        ]
    }
}
