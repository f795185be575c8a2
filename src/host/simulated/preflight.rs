//! What preflight's script says of a machine.

use super::etcd::DATA;
use super::machine::Machine;
use super::probes::listeners;
use super::world::World;
use crate::inventory::Role;

/// What `preflight.sh` prints; `targets` are `name,address,port…`.
pub(super) fn preflight(world: &mut World, host: &str, targets: &[String]) -> String {
    let machine = world.machine(host).clone();
    let is_joined = match machine.role {
        Role::LoadBalancer => {
            machine.runs("haproxy") && machine.files.has("/etc/keepalived/keepalived.conf")
        }
        Role::Master | Role::Worker => machine.files.has("/etc/kubernetes/kubelet.conf"),
        Role::Etcd => machine.files.has(crate::cluster::etcd::MEMBERSHIP),
    };
    let mut lines = vec![format!("joined {}", if is_joined { "yes" } else { "no" })];
    let configurations = ["/etc/kubernetes/admin.conf", "/etc/kubernetes/kubelet.conf"];
    let server = configurations
        .iter()
        .find_map(|path| machine.files.text(path)?.split_once("server: "));
    lines.extend(
        server.map(|(_, rest)| format!("endpoint {}", rest.lines().next().unwrap_or_default())),
    );
    if machine.role.is_node() && machine.files.has(DATA) {
        lines.push("etcd-data yes".to_owned());
    }
    if !is_joined {
        lines.extend(preflight_of_bare(world, &machine, targets));
    }
    lines.push("end\n".to_owned());
    lines.join("\n")
}

fn preflight_of_bare(world: &World, machine: &Machine, targets: &[String]) -> Vec<String> {
    let mut lines: Vec<String> = Vec::new();
    if machine.role == Role::LoadBalancer {
        let holder = world
            .machines
            .values()
            .find(|other| other.holds_vip && other.name != machine.name);
        lines.push(holder.map_or("vip silent".to_owned(), |holder| {
            format!("vip answered {}", super::probes::mac(holder.address))
        }));
        lines.push("listened yes".to_owned());
    } else if machine.role.is_node() {
        lines.extend(["overlay", "br_netfilter"].map(|module| format!("module {module} yes")));
    }
    if let Some(package) = machine
        .packages
        .get("containerd")
        .filter(|package| package.is_configured)
    {
        lines.push(format!(
            "containerd github.com/containerd/containerd {}",
            package.version
        ));
    }
    for target in targets {
        let mut words = target.split(',');
        let name = words.next().unwrap_or_default();
        let target = world.machines.get(name).filter(|machine| machine.is_up());
        let open = target.map(listeners);
        let verdict = |port: &str| match &open {
            None => "blocked",
            Some(open) if open.iter().any(|it| it.port.to_string() == port) => "open",
            Some(_) => "closed",
        };
        lines.extend(
            words
                .skip(1)
                .map(|port| format!("reach {name} {port} {}", verdict(port))),
        );
    }
    if matches!(machine.role, Role::Master | Role::Etcd) {
        lines.extend([
            "space 104857600 /var/lib/etcd".to_owned(),
            "sync p99 900 /var/lib/etcd".to_owned(),
        ]);
    }
    lines
}
