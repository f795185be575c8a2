//! Probes as one script: one `stat` for all files, one `head` for all contents, one `sha256sum`, one `dpkg-query` or `rpm`,
//! one `systemctl`; sysctls by the shell itself.

use std::collections::BTreeMap;

use super::{Nonce, Request, machine, quote, quote_all};
use crate::host::command::Script;
use crate::host::probe::Probe;

/// The largest file whose content is read.
pub(crate) const CONTENT_LIMIT: u64 = 1024 * 1024;

/// Properties that are read of every unit.
const UNIT_PROPERTIES: &str = "LoadState,ActiveState,SubState,UnitFileState,StateChangeTimestamp,StateChangeTimestampMonotonic";

/// What the probes ask for, sorted by kind, each once.
#[derive(Debug, Default)]
pub(crate) struct Questions<'a> {
    pub(crate) machine: bool,
    /// Whether the content is wanted, by path.
    pub(crate) files: BTreeMap<&'a str, Wanted>,
    pub(crate) packages: Vec<&'a str>,
    pub(crate) units: Vec<&'a str>,
    pub(crate) sysctls: Vec<&'a str>,
    pub(crate) scripts: Vec<&'a Script>,
}

/// What is wanted of a file. The larger wins when both are asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Wanted {
    /// Its digest.
    Digest,
    /// Its content.
    Content,
}

impl<'a> Questions<'a> {
    /// Sorts probes.
    pub(crate) fn of(probes: &'a [Probe]) -> Self {
        let mut questions = Self::default();
        for probe in probes {
            match probe {
                Probe::Machine => {
                    questions.machine = true;
                    questions.sysctls.push(machine::BOOT_ID);
                }
                Probe::File(path) => drop(questions.files.insert(path.as_str(), Wanted::Content)),
                Probe::Digest(path) => {
                    questions
                        .files
                        .entry(path.as_str())
                        .or_insert(Wanted::Digest);
                }
                Probe::Package(name) => questions.packages.push(name),
                Probe::Unit(name) => questions.units.push(name),
                Probe::Sysctl(name) => questions.sysctls.push(name),
                Probe::Script(script) => questions.scripts.push(script),
            }
        }
        for names in [
            &mut questions.packages,
            &mut questions.units,
            &mut questions.sysctls,
        ] {
            names.sort_unstable();
            names.dedup();
        }
        questions.scripts.sort_unstable();
        questions.scripts.dedup();
        questions
    }

    /// Compiles them. The parts come in the order in which [`super::reading`] takes them.
    pub(crate) fn compile(&self, nonce: Nonce) -> Request {
        let mut body = String::from("exec 2>/dev/null </dev/null\n");
        if self.machine {
            body.push_str(machine::script());
        }
        if !self.files.is_empty() {
            body.push_str(&self.file_script());
        }
        if !self.packages.is_empty() {
            body.push_str(&package_script(&self.packages));
        }
        if !self.units.is_empty() {
            body.push_str(&unit_script(&self.units));
        }
        if !self.sysctls.is_empty() {
            body.push_str(&sysctl_script(&self.sysctls));
        }
        for script in &self.scripts {
            body.push_str(&script_script(script));
        }
        body.push_str("q end");
        let start = if self.machine { machine::START } else { "" };
        Request::with_start(nonce, start, &body)
    }

    /// Which exist is found by the shell, so that the tools only get names that are there; what vanishes in between is
    /// noticed by the reader. `head` names each file and so lets the reader check every size.
    fn file_script(&self) -> String {
        let all: Vec<&str> = self.files.keys().copied().collect();
        let of = |wanted| {
            let paths: Vec<&str> = self
                .files
                .iter()
                .filter(|(_, kind)| **kind == wanted)
                .map(|(path, _)| *path)
                .collect();
            quote_all(&paths)
        };
        format!(
            "set --\n\
             p=\n\
             for f in {all}; do\n\
             if [ -e \"$f\" ] || [ -L \"$f\" ]; then p=$p+; set -- \"$@\" \"$f\"; else p=$p-; fi\n\
             done\n\
             q stat $p\n\
             [ $# -eq 0 ] || TZ=UTC0 stat -c '%f %s %U %G %y' -- \"$@\"\n\
             set --\n\
             for f in {content}; do [ ! -f \"$f\" ] || [ -L \"$f\" ] || set -- \"$@\" \"$f\"; done\n\
             q content $#\n\
             [ $# -eq 0 ] || head -v -c {limit} -- \"$@\"\n\
             set --\n\
             for f in {digest}; do [ ! -f \"$f\" ] || [ -L \"$f\" ] || set -- \"$@\" \"$f\"; done\n\
             q digest $#\n\
             [ $# -eq 0 ] || sha256sum -- \"$@\"\n\
             set --\n",
            all = quote_all(&all),
            content = of(Wanted::Content),
            digest = of(Wanted::Digest),
            limit = CONTENT_LIMIT + 1,
        )
    }
}

/// dpkg says in one go what is installed and what is held; dnf keeps its holds in a file.
fn package_script(names: &[&str]) -> String {
    format!(
        "set -- {names}\n\
         if command -v dpkg-query >/dev/null; then\n\
         q dpkg\n\
         dpkg-query -W -f '${{Package}} ${{Version}} ${{Status}}\\n' -- \"$@\"\n\
         q status $?\n\
         elif command -v rpm >/dev/null; then\n\
         q rpm\n\
         rpm -q --qf '%{{NAME}} %|EPOCH?{{%{{EPOCH}}:}}|%{{VERSION}}-%{{RELEASE}}\\n' -- \"$@\"\n\
         q holds\n\
         for f in /etc/dnf/plugins/versionlock.list /etc/yum/pluginconf.d/versionlock.list; do\n\
         [ ! -r \"$f\" ] || while IFS= read -r v; do printf '%s\\n' \"$v\"; done <\"$f\"\n\
         done\n\
         else q unpackaged\n\
         fi\n\
         set --\n",
        names = quote_all(names),
    )
}

/// systemd 247 and later print times to the microsecond; for older ones the monotonic clock is brought along.
fn unit_script(names: &[&str]) -> String {
    format!(
        "set -- {names}\n\
         if [ -d /run/systemd/system ]; then\n\
         q units\n\
         if ! systemctl show --timestamp=us+utc -p {UNIT_PROPERTIES} -- \"$@\"; then\n\
         IFS= read -r u </proc/uptime\n\
         q units-by-uptime \"${{u%% *}}\" \"$(date +%s%N)\"\n\
         systemctl show -p {UNIT_PROPERTIES} -- \"$@\"\n\
         fi\n\
         else q unmanaged\n\
         fi\n\
         set --\n",
        names = quote_all(names),
    )
}

/// Not by the shell, which reads byte by byte: the kernel gives such a reader the first byte only.
fn sysctl_script(names: &[&str]) -> String {
    let paths: Vec<String> = names
        .iter()
        .map(|name| quote(sysctl_path(name).as_str()))
        .collect();
    format!(
        "set --\n\
         for f in {paths}; do [ ! -f \"$f\" ] || set -- \"$@\" \"$f\"; done\n\
         q sysctls\n\
         [ $# -eq 0 ] || head -v -n 1 -- \"$@\"\n\
         set --\n",
        paths = paths.join(" "),
    )
}

/// `net.ipv4.conf.eth0/1.forwarding` is `/proc/sys/net/ipv4/conf/eth0.1/forwarding`, as for sysctl(8).
pub(crate) fn sysctl_path(name: &str) -> String {
    let relative: String = name
        .chars()
        .map(|character| match character {
            '.' => '/',
            '/' => '.',
            other => other,
        })
        .collect();
    format!("/proc/sys/{relative}")
}

fn script_script(script: &Script) -> String {
    format!(
        "q script\n(\nset -- {arguments}\n{body})\nq status $?\n",
        arguments = quote_all(&script.arguments),
        body = bare(script.body),
    )
}

/// A script without indentation, comments and empty lines, which are an eighth of what every host is sent. No script that
/// reads has a string of several lines in which they mean something.
fn bare(body: &str) -> String {
    let lines = body.lines().map(str::trim_start);
    lines
        .filter(|line| !line.is_empty() && !line.starts_with('#'))
        .flat_map(|line| [line, "\n"])
        .collect()
}
