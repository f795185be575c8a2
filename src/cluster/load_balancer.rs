//! What HAProxy says of its back ends. Pure, but for the script that asks.
//!
//! It is asked over its own metrics, which need no password and no tool but curl. A server is taken out and put back over
//! the admin socket, with socat. Such a state lives in the running process only: a reload of HAProxy forgets it and the
//! server's own health decides again, which is safe, if less gentle. What quorate takes out it marks in
//! `/run/quorate/haproxy`, which a reboot forgets as well; only what is marked is ever put back.

use std::time::Duration;

use serde::Serialize;

use crate::host::command::Script;
use crate::host::probe::{Probe, Readings};

/// Asks for the servers only, and keeps the two lines of each that are used.
const BODY: &str = r#"
metrics=$(curl -fsS --max-time 4 'http://127.0.0.1:8404/metrics?scope=server' 2>/dev/null) || exit 1
printf '%s\n' "$metrics" | grep -E '^haproxy_server_(status|check_status)\{' | grep -v ' 0$'
exit 0
"#;

/// Takes the server `$1` out for the run `$2`: no new connections, up to `$3` seconds for the present ones to end, then none.
const LEAVE: &str = r#"
server=$1 run=$2 patience=$3
marks=/run/quorate/haproxy
admin() { printf '%s\n' "$1" | socat -t 5 - UNIX-CONNECT:/run/haproxy/admin.sock; }
set_state() {
    said=$(admin "set server kube_apiserver/$server state $1") || exit 1
    [ -z "$said" ] || { printf '%s\n' "$said" >&2; exit 1; }
}
sessions() { admin 'show stat' | awk -F, -v server="$server" '$1 == "kube_apiserver" && $2 == server { print $5 }'; }
mkdir -p $marks
printf '%s\n' "$run" >"$marks/$server"
set_state drain
waited=0
while left=$(sessions) && [ "$left" != 0 ] && [ "$waited" -lt "$patience" ]; do
    waited=$((waited + 1))
    sleep 1
done
set_state maint
echo "${left:-0}"
"#;

/// Puts the server `$1` back: its health decides again.
const RETURN: &str = r#"
server=$1
said=$(printf 'set server kube_apiserver/%s state ready\n' "$server" | socat -t 5 - UNIX-CONNECT:/run/haproxy/admin.sock) || exit 1
[ -z "$said" ] || { printf '%s\n' "$said" >&2; exit 1; }
rm -f "/run/quorate/haproxy/$server"
"#;

const MARKS: &str = r#"
for mark in /run/quorate/haproxy/*; do
    [ ! -e "$mark" ] || echo "$(basename "$mark") $(head -n 1 "$mark")"
done
exit 0
"#;

/// Takes a server out of the apiservers' back end; prints how many connections were left after `patience` and were cut.
#[must_use]
pub fn leave(server: &str, run: &str, patience: Duration) -> Script {
    Script::new("haproxy-server-leave", LEAVE)
        .arg(server)
        .arg(run)
        .arg(patience.as_secs().to_string())
}

/// Puts a server back.
#[must_use]
pub fn put_back(server: &str) -> Script {
    Script::new("haproxy-server-return", RETURN).arg(server)
}

/// Prints which servers a run of quorate has taken out, and which run.
#[must_use]
pub fn marks() -> Script {
    Script::new("haproxy-server-marks", MARKS)
}

/// How a master stands in one load balancer.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Place {
    /// Its state there; `None`: HAProxy does not say.
    pub state: Option<String>,
    /// The run of quorate that took it out.
    pub taken_out_by: Option<String>,
    /// Other servers that are up there.
    pub others_up: usize,
}

impl Place {
    /// What is read of a load balancer.
    #[must_use]
    pub fn probes() -> Vec<Probe> {
        vec![Probe::Script(script()), Probe::Script(marks())]
    }

    /// The place of a master; `None`: that load balancer was not read.
    #[must_use]
    pub fn read(master: &str, readings: &Readings) -> Option<Self> {
        let servers = parse(&readings.script(&script()).ok()?.stdout);
        let marks = &readings.script(&marks()).ok()?.stdout;
        let servers = || {
            servers
                .iter()
                .filter(|server| server.backend == API_BACKEND)
        };
        let own = servers().find(|server| server.name == master);
        let mut marks = marks.lines().filter_map(|line| line.split_once(' '));
        Some(Self {
            state: own.map(|own| own.state.clone()),
            taken_out_by: marks
                .find(|(name, _)| *name == master)
                .map(|(_, run)| run.to_owned()),
            others_up: servers()
                .filter(|server| server.name != master && server.is_up())
                .count(),
        })
    }

    /// Whether it gets connections.
    #[must_use]
    pub fn is_up(&self) -> bool {
        self.state.as_deref() == Some("UP")
    }

    /// Whether it gets none, and has none, because a person or a run said so.
    #[must_use]
    pub fn is_out(&self) -> bool {
        self.state.as_deref() == Some("MAINT")
    }
}

/// The back end of the apiservers in HAProxy's configuration.
pub const API_BACKEND: &str = "kube_apiserver";

/// Prints the state of every server of HAProxy, as Prometheus text; fails if HAProxy does not answer.
#[must_use]
pub fn script() -> Script {
    Script::new("haproxy-servers", BODY)
}

/// One server of a back end.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Server {
    /// Back end.
    pub backend: String,
    /// Its name, that of a host.
    pub name: String,
    /// `UP`, `DOWN`, `MAINT`, `DRAIN`, `NOLB`, as HAProxy says it.
    pub state: String,
    /// What its last check found, `L7OK`, `L4CON`; empty if HAProxy does not say.
    pub check: String,
}

impl Server {
    /// Whether it gets connections.
    #[must_use]
    pub fn is_up(&self) -> bool {
        self.state == "UP"
    }
}

/// Reads Prometheus text as HAProxy 2.0 and later write it. Before 2.4 a status was one line with 1 for up and 0 for down;
/// since then it is a line per state, of which the one with 1 holds.
#[must_use]
pub fn parse(text: &str) -> Vec<Server> {
    let mut servers: Vec<Server> = Vec::new();
    for sample in text.lines().filter_map(Sample::parse) {
        let (Some(backend), Some(name)) = (sample.label("proxy"), sample.label("server")) else {
            continue;
        };
        let state = sample.label("state").unwrap_or("UP");
        match sample.name {
            "haproxy_server_status" if sample.is_one => {
                state.clone_into(&mut server(&mut servers, backend, name).state);
            }
            "haproxy_server_status" if sample.label("state").is_none() => {
                "DOWN".clone_into(&mut server(&mut servers, backend, name).state);
            }
            "haproxy_server_check_status" if sample.is_one && sample.label("state").is_some() => {
                state.clone_into(&mut server(&mut servers, backend, name).check);
            }
            _ => {}
        }
    }
    servers.retain(|server| !server.state.is_empty());
    servers
}

fn server<'a>(servers: &'a mut Vec<Server>, backend: &str, name: &str) -> &'a mut Server {
    let position = servers
        .iter()
        .position(|server| server.backend == backend && server.name == name)
        .unwrap_or_else(|| {
            servers.push(Server {
                backend: backend.to_owned(),
                name: name.to_owned(),
                state: String::new(),
                check: String::new(),
            });
            servers.len() - 1
        });
    servers
        .get_mut(position)
        .expect("it is there or was pushed")
}

/// A line of Prometheus text: `name{label="value",…} 1`.
struct Sample<'a> {
    name: &'a str,
    labels: Vec<(&'a str, &'a str)>,
    is_one: bool,
}

impl<'a> Sample<'a> {
    fn parse(line: &'a str) -> Option<Self> {
        let (name, rest) = line.split_once('{')?;
        let (labels, value) = rest.rsplit_once('}')?;
        // Names of proxies and servers hold neither quotes nor commas: HAProxy refuses them.
        let labels = labels
            .split(',')
            .filter_map(|label| {
                let (key, value) = label.split_once('=')?;
                Some((key.trim(), value.trim_matches('"')))
            })
            .collect();
        Some(Self {
            name,
            labels,
            is_one: value.split_whitespace().next() == Some("1"),
        })
    }

    fn label(&self, key: &str) -> Option<&'a str> {
        self.labels
            .iter()
            .find(|(name, _)| *name == key)
            .map(|(_, value)| *value)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::torture::torture_text;

    fn states(text: &str) -> Vec<(String, String, String)> {
        parse(text)
            .into_iter()
            .map(|it| (it.name, it.state, it.check))
            .collect()
    }

    fn row(name: &str, state: &str, check: &str) -> (String, String, String) {
        (name.to_owned(), state.to_owned(), check.to_owned())
    }

    #[test]
    fn a_line_per_state_is_read() {
        let text = r#"
# TYPE haproxy_server_status gauge
haproxy_server_status{proxy="kube_apiserver",server="master1",state="DOWN"} 0
haproxy_server_status{proxy="kube_apiserver",server="master1",state="UP"} 1
haproxy_server_status{proxy="kube_apiserver",server="master2",state="DOWN"} 1
haproxy_server_check_status{proxy="kube_apiserver",server="master1",state="L7OK"} 1
haproxy_server_check_status{proxy="kube_apiserver",server="master2",state="L4CON"} 1
haproxy_server_check_status{proxy="kube_apiserver",server="master2",state="L7OK"} 0
haproxy_server_weight{proxy="kube_apiserver",server="master3"} 1
"#;
        assert_eq!(
            states(text),
            [
                row("master1", "UP", "L7OK"),
                row("master2", "DOWN", "L4CON")
            ]
        );
    }

    #[test]
    fn the_single_line_of_older_versions_is_read() {
        let text = "haproxy_server_status{proxy=\"k\",server=\"a\"} 1\nhaproxy_server_status{proxy=\"k\",server=\"b\"} 0\n";
        assert_eq!(states(text), [row("a", "UP", ""), row("b", "DOWN", "")]);
    }

    #[test]
    fn a_place_tells_whose_doing_it_is() {
        let text = "haproxy_server_status{proxy=\"kube_apiserver\",server=\"master1\",state=\"MAINT\"} 1\n\
                    haproxy_server_status{proxy=\"kube_apiserver\",server=\"master2\",state=\"UP\"} 1\n";
        let readings = |marked: &str| {
            Readings::default()
                .with_script(script(), 0, text)
                .with_script(marks(), 0, marked)
        };
        let place = Place::read("master1", &readings("master1 01a1\n")).expect("it was read");
        assert!(place.is_out() && place.others_up == 1);
        assert_eq!(place.taken_out_by.as_deref(), Some("01a1"));
        assert_eq!(
            Place::read("master1", &readings("")).and_then(|place| place.taken_out_by),
            None
        );
        assert_eq!(Place::read("master1", &Readings::default()), None);
    }

    #[test]
    fn scripts_are_posix_shell() {
        for body in [BODY, LEAVE, RETURN, MARKS] {
            let checked = std::process::Command::new("sh")
                .args(["-n", "-c", body])
                .status();
            assert!(checked.expect("there is a shell").success(), "{body}");
        }
    }

    #[test]
    fn no_statistics_make_the_parser_panic() {
        let good = [
            "haproxy_server_status{proxy=\"k\",server=\"a\"} 1\nhaproxy_server_status{proxy=\"k\",server=\"b\"} 0\n",
            "haproxy_server_status{proxy=\"k8s\",server=\"master1\",state=\"UP\"} 1\nhaproxy_server_check_status{proxy=\"k8s\",server=\"master1\",state=\"L7OK\"} 1\n",
        ];
        torture_text("HAProxy statistics", &good, |text| {
            let _ = parse(text);
        });
    }
}
