//! What HAProxy says of its back ends. Pure, but for the script that asks.
//!
//! It is asked over its own metrics, which need no password and no tool but curl, rather than over the admin socket, for
//! which hosts would need socat.

use serde::Serialize;

use crate::host::command::Script;

/// Asks for the servers only, and keeps the two lines of each that are used.
const BODY: &str = r#"
metrics=$(curl -fsS --max-time 4 'http://127.0.0.1:8404/metrics?scope=server' 2>/dev/null) || exit 1
printf '%s\n' "$metrics" | grep -E '^haproxy_server_(status|check_status)\{' | grep -v ' 0$'
exit 0
"#;

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
