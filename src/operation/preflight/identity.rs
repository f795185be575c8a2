//! Hosts that could be taken for each other: cloned machines, above all.

use std::collections::BTreeMap;

use super::{Examined, Finding, Severity, Verdict};

pub(super) fn judge(hosts: &[Examined<'_>], verdict: &mut Verdict) {
    for rule in RULES {
        for (value, shared) in shared(hosts, rule.value) {
            verdict.add(
                rule.severity,
                Finding {
                    host: shared.join(","),
                    check: rule.check,
                    what: format!("{} {value} on {} hosts", rule.what, shared.len()),
                    help: rule.help.to_owned(),
                },
            );
        }
    }
    for host in hosts {
        judge_name(host, verdict);
        judge_machine_id(host, verdict);
    }
}

/// Something that must be unique.
struct Rule {
    check: &'static str,
    severity: Severity,
    what: &'static str,
    help: &'static str,
    value: fn(&Examined<'_>) -> Option<String>,
}

const RULES: &[Rule] = &[
    Rule {
        check: "hostname",
        severity: Severity::Refuse,
        what: "the same hostname",
        help: "give each host its own: `hostnamectl set-hostname NAME`, best the inventory's name",
        value: |host| filled(&host.machine.hostname),
    },
    Rule {
        check: "mac",
        severity: Severity::Refuse,
        what: "the same hardware address",
        help: "give the cloned machine's network interface an address of its own",
        value: |host| {
            // Bridges of container runtimes may repeat theirs without harm; the one that carries the host's address may not.
            filled(&host.machine.interface_of(host.node.address)?.mac)
        },
    },
    Rule {
        check: "machine-id",
        severity: Severity::Refuse,
        what: "the same machine-id",
        help: "make a new one on the clones: `rm /etc/machine-id; systemd-machine-id-setup`, then reboot",
        value: |host| filled(&host.machine.machine_id),
    },
    Rule {
        check: "product-uuid",
        severity: Severity::Warn,
        what: "the same product_uuid",
        help: "harmless to Kubernetes itself; change it in the hypervisor if something of yours identifies machines by it",
        value: |host| host.machine.product_uuid.as_deref().and_then(filled),
    },
];

fn filled(text: &str) -> Option<String> {
    let text = text.trim();
    (!text.is_empty()).then(|| text.to_ascii_lowercase())
}

/// Values that more than one host has, with those hosts.
fn shared<'a>(
    hosts: &[Examined<'a>],
    value: fn(&Examined<'_>) -> Option<String>,
) -> Vec<(String, Vec<&'a str>)> {
    let mut by_value: BTreeMap<String, Vec<&str>> = BTreeMap::new();
    for host in hosts {
        if let Some(value) = value(host) {
            by_value.entry(value).or_default().push(&host.node.name);
        }
    }
    by_value.retain(|_, hosts| hosts.len() > 1);
    by_value.into_iter().collect()
}

/// Only a warning: the Node's name is given to kubeadm, so another hostname works; people are confused by it, though.
fn judge_name(host: &Examined<'_>, verdict: &mut Verdict) {
    let short = host.machine.hostname.split('.').next().unwrap_or_default();
    if host.machine.hostname.is_empty() || short.eq_ignore_ascii_case(&host.node.name) {
        return;
    }
    verdict.add(
        Severity::Warn,
        host.finding(
            "hostname",
            format!(
                "the host calls itself `{}`, the inventory `{}`",
                crate::text::escape(&host.machine.hostname),
                host.node.name
            ),
            format!("`hostnamectl set-hostname {}` on it", host.node.name),
        ),
    );
}

fn judge_machine_id(host: &Examined<'_>, verdict: &mut Verdict) {
    if filled(&host.machine.machine_id).is_some() {
        return;
    }
    verdict.add(
        Severity::Refuse,
        host.finding(
            "machine-id",
            "/etc/machine-id is empty",
            "`systemd-machine-id-setup` on it",
        ),
    );
}

#[cfg(test)]
mod tests {
    #![expect(clippy::indexing_slicing, reason = "tests")]
    use crate::host::facts::Machine;
    use crate::operation::fixture::{Site, checks};

    #[test]
    fn clones_are_refused_and_a_shared_product_uuid_only_noted() {
        type Clone = fn(&mut Machine, &Machine);
        let cases: [(&str, Clone); 3] = [
            ("hostname", |to, from| {
                to.hostname.clone_from(&from.hostname);
            }),
            ("machine-id", |to, from| {
                to.machine_id.clone_from(&from.machine_id);
            }),
            ("mac", |to, from| {
                to.interfaces[0].mac.clone_from(&from.interfaces[0].mac);
            }),
        ];
        for (check, clone) in cases {
            let mut site = Site::new();
            let original = site.machine("master1").clone();
            clone(site.machine("worker1"), &original);
            let verdict = site.judge();
            assert_eq!(checks(&verdict.refusals), [check]);
            assert_eq!(verdict.refusals[0].host, "master1,worker1");
        }
        let mut site = Site::new();
        for host in ["master1", "master2", "master3"] {
            site.machine(host).product_uuid = Some("0302-ABC".to_owned());
        }
        let verdict = site.judge();
        assert!(!verdict.is_refusal());
        assert_eq!(verdict.warnings[0].host, "master1,master2,master3");
    }

    #[test]
    fn another_hostname_is_a_warning_and_a_domain_behind_it_none() {
        let mut site = Site::new();
        site.machine("master1").hostname = "master1.example.com".to_owned();
        assert_eq!(checks(&site.judge().warnings), [""; 0]);
        site.machine("master1").hostname = "ip-10-1-1-101".to_owned();
        assert_eq!(checks(&site.judge().warnings), ["hostname"]);
    }

    #[test]
    fn an_empty_machine_id_is_refused_but_not_called_shared() {
        let mut site = Site::new();
        site.machine("master1").machine_id.clear();
        site.machine("master2").machine_id.clear();
        assert_eq!(checks(&site.judge().refusals), ["machine-id", "machine-id"]);
    }
}
