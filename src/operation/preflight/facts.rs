//! What `preflight.sh` printed, as types.

use std::net::Ipv4Addr;

/// The script's answers. Lines that make no sense are passed over: what they would have said is then unknown.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct HostFacts {
    /// Whether the host is part of a cluster (or a running load balancer) already.
    pub joined: bool,
    /// `https://…` of the cluster that its kubeconfig names.
    pub endpoint: Option<String>,
    /// Whether there is a member's data in etcd's directory.
    pub etcd_data: bool,
    /// Modules that can neither be loaded nor are built in.
    pub missing_modules: Vec<String>,
    /// What `containerd --version` says after the first word.
    pub containerd: Option<String>,
    /// Who was tried, and what happened.
    pub reach: Vec<Reach>,
    /// Who answers for the virtual IP.
    pub virtual_ip: Answer,
    /// Whether advertisements could be listened for; `None` where it was not tried.
    pub listened: Option<bool>,
    /// Routers that advertised: address and router id.
    pub routers: Vec<(Ipv4Addr, u8)>,
    /// Free bytes where etcd writes, and where that is.
    pub etcd_space: Option<(u64, String)>,
    /// How long a small write takes to be on disk.
    pub sync: Option<Sync>,
}

/// One attempt to connect.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Reach {
    pub host: String,
    pub port: u16,
    pub path: Path,
}

/// What lies between two hosts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Path {
    /// An answer came: a connection, or a plain refusal because nothing listens yet.
    Clear,
    /// Silence, or a router's refusal.
    Blocked,
    /// It could not be tried.
    Unknown,
}

/// Who answers for the virtual IP.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) enum Answer {
    /// It was not asked.
    #[default]
    NotAsked,
    /// Nobody.
    Silent,
    /// Somebody of that hardware address.
    By(String),
    /// There was no way to ask.
    Unknown,
}

/// Disk latency.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Sync {
    pub us: u64,
    /// Whether it is the 99th percentile; else the mean.
    pub is_p99: bool,
    pub directory: String,
}

impl HostFacts {
    pub(super) fn parse(text: &str) -> Self {
        let mut facts = Self::default();
        for line in text.lines() {
            let words: Vec<&str> = line.split_whitespace().collect();
            facts.take(&words);
        }
        facts
    }

    fn take(&mut self, words: &[&str]) {
        match words {
            ["joined", answer] => self.joined = *answer == "yes",
            ["endpoint", url] => self.endpoint = Some((*url).to_owned()),
            ["etcd-data", "yes"] => self.etcd_data = true,
            ["module", name, "no"] => self.missing_modules.push((*name).to_owned()),
            ["containerd", rest @ ..] => self.containerd = Some(rest.join(" ")),
            ["reach", host, port, verdict] => self.reach.extend(reach(host, port, verdict)),
            ["vip", answer @ ..] => self.virtual_ip = virtual_ip(answer),
            ["listened", answer] => self.listened = Some(*answer == "yes"),
            ["vrrp", address, id] => self
                .routers
                .extend(address.parse().ok().zip(id.parse().ok())),
            ["space", kilobytes, directory] => {
                self.etcd_space = kilobytes
                    .parse::<u64>()
                    .ok()
                    .map(|size| (size.saturating_mul(1024), (*directory).to_owned()));
            }
            ["sync", kind, us, directory] => {
                self.sync = us.parse().ok().map(|us| Sync {
                    us,
                    is_p99: *kind == "p99",
                    directory: (*directory).to_owned(),
                });
            }
            _ => {}
        }
    }
}

fn reach(host: &str, port: &str, verdict: &str) -> Option<Reach> {
    Some(Reach {
        host: host.to_owned(),
        port: port.parse().ok()?,
        path: match verdict {
            "open" | "closed" => Path::Clear,
            "blocked" => Path::Blocked,
            _ => Path::Unknown,
        },
    })
}

fn virtual_ip(answer: &[&str]) -> Answer {
    match answer {
        ["answered", mac] => Answer::By(mac.to_ascii_lowercase()),
        ["silent"] => Answer::Silent,
        _ => Answer::Unknown,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::torture::torture_text;

    #[test]
    fn reads_what_the_script_prints_and_passes_over_what_it_does_not_know() {
        let facts = HostFacts::parse(
            "joined no\nendpoint https://10.1.1.100:6443\nmodule overlay yes\nmodule br_netfilter no\n\
             containerd github.com/containerd/containerd 1.6.20~ds1 1.6.20~ds1-1+deb12u1\n\
             reach master2 2379 closed\nreach master2 2380 blocked\nreach lb1 many open\n\
             vip answered AA:BB:cc:00:00:01\nlistened yes\nvrrp 10.1.1.9 51\n\
             space 1024 /var/lib/etcd\nsync p99 12000 /var/lib\nnews of another kind\nend\n",
        );
        assert!(!facts.joined);
        assert_eq!(facts.endpoint.as_deref(), Some("https://10.1.1.100:6443"));
        assert_eq!(facts.missing_modules, ["br_netfilter"]);
        assert_eq!(facts.reach.len(), 2);
        assert_eq!(facts.virtual_ip, Answer::By("aa:bb:cc:00:00:01".to_owned()));
        assert_eq!(facts.routers, [(Ipv4Addr::new(10, 1, 1, 9), 51)]);
        assert_eq!(
            facts.etcd_space,
            Some((1_048_576, "/var/lib/etcd".to_owned()))
        );
        assert!(facts.sync.is_some_and(|sync| sync.is_p99));
    }

    #[test]
    fn no_facts_make_the_parser_panic() {
        let good = "joined no\nendpoint https://10.1.1.100:6443\netcd-data yes\nmodule overlay yes\ncontainerd github.com/containerd/containerd v2.2.0\nvip answered aa:bb:cc:00:00:01\nlistened yes\nvrrp 10.1.1.9 51\nreach master1 6443 closed\nspace 1024 /var/lib/etcd\nsync p99 900 /var/lib/etcd\nend\n";
        torture_text("facts of preflight", &[good], |text| {
            let _ = HostFacts::parse(text);
        });
    }

    #[test]
    fn an_empty_answer_leaves_everything_unknown() {
        assert_eq!(HostFacts::parse(""), HostFacts::default());
    }
}
