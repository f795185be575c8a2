//! The lab's network: one bridge per lab, one network namespace and one cable per host.
//!
//! Everything carries the lab's name, so that it can be found without a record: namespaces are called
//! `qr.<lab>.<host>`, the bridge has the lab's name as its alias, and firewall rules have it as their comment.

use std::process::Command;

use fs_err as fs;
use ipnetwork::Ipv4Network;
use serde::Deserialize;

use super::error::LabError;
use super::tool::{finish, run, succeeds};
use super::topology::{Host, LabName, Subnet};

/// Pod and service addresses of the lab's inventory: no router outside may ever see them.
pub(super) const CLUSTER_NETWORKS: [&str; 2] = ["10.244.0.0/16", "10.96.0.0/12"];

/// The name of a host's network namespace.
pub(super) fn namespace(lab: &LabName, host: &str) -> String {
    format!("{}{host}", namespace_prefix(lab))
}

fn namespace_prefix(lab: &LabName) -> String {
    format!("qr.{lab}.")
}

fn mark(lab: &LabName) -> String {
    format!("quorate-lab:{lab}")
}

/// A subnet that no route and no address of this computer overlaps. Callers hold the lab lock.
pub(super) fn free_subnet(promised: &[Subnet]) -> Result<Subnet, LabError> {
    let mut taken: Vec<Ipv4Network> = promised.iter().map(|subnet| subnet.network()).collect();
    let routes = run(
        "read the routes",
        "ip",
        &["-json", "-4", "route", "show", "table", "all"],
    )?;
    taken.extend(destinations(&routes));
    Subnet::first_free(&taken).ok_or(LabError::NoSubnet)
}

/// Networks that routes lead to; the default route takes nobody's place.
fn destinations(routes: &str) -> Vec<Ipv4Network> {
    #[derive(Deserialize)]
    struct Route {
        dst: String,
    }
    let routes: Vec<Route> = serde_json::from_str(routes).unwrap_or_default();
    routes
        .iter()
        .filter_map(|route| route.dst.parse().ok())
        .collect()
}

/// Makes the bridge, its address and the way out.
pub(super) fn open(lab: &LabName, subnet: Subnet) -> Result<(), LabError> {
    let bridge = subnet.bridge();
    let address = format!("{}/24", subnet.gateway());
    ip(
        "create the bridge",
        &[
            "link",
            "add",
            &bridge,
            "type",
            "bridge",
            "stp_state",
            "0",
            "forward_delay",
            "0",
        ],
    )?;
    ip(
        "name the bridge",
        &["link", "set", &bridge, "alias", &mark(lab)],
    )?;
    ip(
        "give the bridge its address",
        &["address", "add", &address, "dev", &bridge],
    )?;
    ip("switch the bridge on", &["link", "set", &bridge, "up"])?;
    fs::write("/proc/sys/net/ipv4/ip_forward", "1").map_err(LabError::file(
        "switch on forwarding in",
        "/proc/sys/net/ipv4/ip_forward",
    ))?;
    for rule in rules(lab, subnet) {
        run(
            "let the lab's traffic out",
            "iptables",
            &firewall_arguments("-I", &rule),
        )?;
    }
    Ok(())
}

/// `(table, rule)`, each put before all others of its chain, so the last comes first. What leaves the lab is
/// masqueraded; what stays or returns is accepted, whatever else (Docker, say) made of the FORWARD chain; what is meant
/// for a pod or a service and is not known to the hosts ends here instead of wandering off into the world.
fn rules(lab: &LabName, subnet: Subnet) -> Vec<(&'static str, Vec<String>)> {
    let network = subnet.network().to_string();
    let bridge = subnet.bridge();
    let mark = mark(lab);
    let rule = |words: &[&str]| -> Vec<String> {
        let comment = ["-m", "comment", "--comment", &mark];
        words
            .iter()
            .chain(&comment)
            .map(|&word| word.to_owned())
            .collect()
    };
    let mut rules = vec![
        (
            "nat",
            rule(&[
                "POSTROUTING",
                "-s",
                &network,
                "!",
                "-d",
                &network,
                "-j",
                "MASQUERADE",
            ]),
        ),
        ("filter", rule(&["FORWARD", "-i", &bridge, "-j", "ACCEPT"])),
        ("filter", rule(&["FORWARD", "-o", &bridge, "-j", "ACCEPT"])),
    ];
    rules.extend(CLUSTER_NETWORKS.map(|lost| {
        (
            "filter",
            rule(&[
                "FORWARD", "-i", &bridge, "!", "-o", &bridge, "-d", lost, "-j", "REJECT",
            ]),
        )
    }));
    rules
}

fn firewall_arguments(verb: &str, (table, rule): &(&str, Vec<String>)) -> Vec<String> {
    ["-w", "-t", table, verb]
        .map(str::to_owned)
        .into_iter()
        .chain(rule.iter().cloned())
        .collect()
}

/// Plugs a host in: its namespace, its cable, its address and its way out.
pub(super) fn plug(lab: &LabName, subnet: Subnet, host: &Host) -> Result<(), LabError> {
    let name = namespace(lab, &host.name);
    let address = format!("{}/24", host.address);
    let gateway = subnet.gateway().to_string();
    ip("create a network namespace", &["netns", "add", &name])?;
    ip(
        "create a cable",
        &[
            "link",
            "add",
            &host.interface,
            "type",
            "veth",
            "peer",
            "name",
            "eth0",
            "netns",
            &name,
        ],
    )?;
    ip(
        "plug the cable in",
        &[
            "link",
            "set",
            &host.interface,
            "master",
            &subnet.bridge(),
            "up",
        ],
    )?;
    ip("switch lo on", &["-n", &name, "link", "set", "lo", "up"])?;
    ip(
        "switch eth0 on",
        &["-n", &name, "link", "set", "eth0", "up"],
    )?;
    ip(
        "give a host its address",
        &["-n", &name, "address", "add", &address, "dev", "eth0"],
    )?;
    ip(
        "give a host its route",
        &["-n", &name, "route", "add", "default", "via", &gateway],
    )
}

/// Removes a host's namespace and cable, and with them whatever the host made of them: without power nothing answers for it,
/// not even its kernel.
pub(super) fn unplug(lab: &LabName, host: &Host) -> Result<(), LabError> {
    let name = namespace(lab, &host.name);
    if namespaces_of(lab).contains(&name) {
        ip("delete a network namespace", &["netns", "delete", &name])?;
    }
    delete_link(&host.interface)
}

/// Pulls a host's cable out, or back in.
pub(super) fn set_cable(host: &Host, cable: Cable) -> Result<(), LabError> {
    ip(
        "move the cable",
        &["link", "set", &host.interface, cable.word()],
    )
}

/// Whether a host's cable is in.
pub(super) fn cable(host: &Host) -> Cable {
    let flags =
        fs::read_to_string(format!("/sys/class/net/{}/flags", host.interface)).unwrap_or_default();
    let up = u32::from_str_radix(flags.trim().trim_start_matches("0x"), 16)
        .is_ok_and(|flags| flags & 1 == 1);
    if up { Cable::Plugged } else { Cable::Pulled }
}

/// A host's network cable.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Cable {
    Plugged,
    Pulled,
}

impl Cable {
    fn word(self) -> &'static str {
        match self {
            Self::Plugged => "up",
            Self::Pulled => "down",
        }
    }
}

/// How much there was to remove.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Cleared {
    pub(super) namespaces: usize,
    pub(super) links: usize,
    pub(super) rules: usize,
}

/// Removes every namespace, bridge, cable and firewall rule of the lab.
pub(super) fn clear(lab: &LabName) -> Result<Cleared, LabError> {
    let mut cleared = Cleared::default();
    for name in namespaces_of(lab) {
        ip("delete a network namespace", &["netns", "delete", &name])?;
        cleared.namespaces += 1;
    }
    for bridge in bridges_of(lab)? {
        for link in cables_of(&bridge)?.iter().chain([&bridge]) {
            delete_link(link)?;
            cleared.links += 1;
        }
    }
    for table in ["nat", "filter"] {
        cleared.rules += clear_rules(lab, table)?;
    }
    Ok(cleared)
}

fn namespaces_of(lab: &LabName) -> Vec<String> {
    let prefix = namespace_prefix(lab);
    fs::read_dir("/run/netns")
        .into_iter()
        .flatten()
        .flatten()
        .filter_map(|entry| entry.file_name().into_string().ok())
        .filter(|name| name.starts_with(&prefix))
        .collect()
}

#[derive(Deserialize)]
struct Link {
    ifname: String,
    #[serde(default)]
    ifalias: String,
}

fn links(arguments: &[&str]) -> Result<Vec<Link>, LabError> {
    let listed = run("list the interfaces", "ip", arguments)?;
    Ok(serde_json::from_str(&listed).unwrap_or_default())
}

fn bridges_of(lab: &LabName) -> Result<Vec<String>, LabError> {
    let mark = mark(lab);
    let bridges = links(&["-json", "link", "show", "type", "bridge"])?;
    Ok(bridges
        .into_iter()
        .filter(|link| link.ifalias == mark)
        .map(|link| link.ifname)
        .collect())
}

fn cables_of(bridge: &str) -> Result<Vec<String>, LabError> {
    let cables = links(&["-json", "link", "show", "master", bridge])?;
    Ok(cables.into_iter().map(|link| link.ifname).collect())
}

/// Deleting a namespace takes its cable along a moment later, so one that is gone already is as good.
fn delete_link(name: &str) -> Result<(), LabError> {
    match ip("delete an interface", &["link", "delete", name]) {
        Err(_) if !succeeds("ip", &["link", "show", name]) => Ok(()),
        result => result,
    }
}

fn clear_rules(lab: &LabName, table: &str) -> Result<usize, LabError> {
    let listed = run("list the firewall rules", "iptables-save", &["-t", table])?;
    let rules = rules_marked(&listed, &mark(lab));
    for rule in &rules {
        let mut delete = Command::new("iptables");
        delete
            .args(["-w", "-t", table, "-D"])
            .args(rule.split_whitespace());
        finish("delete a firewall rule", &mut delete)?;
    }
    Ok(rules.len())
}

/// The rules of an `iptables-save` listing that carry the comment, without `-A` and without quotes.
fn rules_marked(listed: &str, mark: &str) -> Vec<String> {
    listed
        .lines()
        .filter_map(|line| line.strip_prefix("-A "))
        .map(|rule| rule.replace('"', ""))
        .filter(|rule| rule.split_whitespace().any(|word| word == mark))
        .collect()
}

/// Runs `ip` for its effect.
fn ip(what: &str, arguments: &[&str]) -> Result<(), LabError> {
    run(what, "ip", arguments).map(drop)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_the_networks_that_routes_lead_to() {
        let routes = r#"[{"dst":"default","gateway":"10.0.0.1"},{"dst":"10.77.0.0/24","dev":"qr-0"},
            {"type":"local","dst":"10.77.1.1","dev":"x"}]"#;
        let found = destinations(routes);
        assert_eq!(
            found,
            ["10.77.0.0/24", "10.77.1.1/32"].map(|net| net.parse().expect("a network"))
        );
    }

    #[test]
    fn finds_only_the_rules_of_the_lab_with_exactly_that_name() {
        let listed = "*nat\n-A POSTROUTING -s 10.77.0.0/24 -m comment --comment \"quorate-lab:a\" -j MASQUERADE\n\
                      -A POSTROUTING -s 10.77.1.0/24 -m comment --comment \"quorate-lab:a-b\" -j MASQUERADE\n";
        assert_eq!(
            rules_marked(listed, "quorate-lab:a"),
            ["POSTROUTING -s 10.77.0.0/24 -m comment --comment quorate-lab:a -j MASQUERADE"]
        );
    }
}
