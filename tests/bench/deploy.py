"""What `provision` reads and judges on hosts that are in order, with pyinfra's own operations and facts."""

from pyinfra import host
from pyinfra.facts.files import File
from pyinfra.facts.hardware import Cpus, Memory, NetworkDevices
from pyinfra.facts.server import Command, Hostname, LinuxDistribution
from pyinfra.operations import apt, files, server, systemd

for fact in (Hostname, LinuxDistribution, Cpus, Memory, NetworkDevices):
    host.get_fact(fact)

for path in host.data.quorate_files:
    files.put(
        name=f"File {path}",
        src=f"{host.data.files_root}/{host.name}{path}",
        dest=path,
        mode=True,
    )

if "load_balancers" in host.groups:
    apt.packages(name="HAProxy and Keepalived", packages=["haproxy", "keepalived", "curl"])
    server.user(name="The user of the check", user="keepalived_script", system=True, ensure_home=False)
    host.get_fact(File, "/etc/haproxy/stats.env")
    host.get_fact(Command, "haproxy -c -q -f /etc/haproxy/haproxy.cfg; true")
    systemd.service(name="Run HAProxy", service="haproxy", running=True, enabled=True)
    systemd.service(name="Run Keepalived", service="keepalived", running=True, enabled=True)
    host.get_fact(Command, "ip -brief address")
    host.get_fact(Command, "curl -fsS http://127.0.0.1:8404/metrics?scope=server")
else:
    host.get_fact(Command, "grep -c overlay /proc/filesystems")
    host.get_fact(Command, "sysctl -n net.ipv4.ip_forward net.bridge.bridge-nf-call-iptables")
    host.get_fact(Command, "cat /proc/swaps")
    apt.packages(
        name="Containerd and what kubelet needs",
        packages=["containerd", "curl", "conntrack", "socat", "ethtool"],
    )
    systemd.service(name="Run containerd", service="containerd", running=True, enabled=True)
    apt.packages(
        name="Kubernetes packages at the exact version",
        packages=[f"{name}={host.data.kubernetes}" for name in ("kubeadm", "kubelet", "kubectl")],
    )
    host.get_fact(Command, "apt-mark showhold")
    systemd.service(name="Run kubelet", service="kubelet", running=True, enabled=True)

if "masters" in host.groups:
    for path in (
        "/etc/kubernetes/pki/ca.crt",
        "/etc/kubernetes/admin.conf",
        "/etc/kubernetes/manifests/kube-apiserver.yaml",
        "/etc/kubernetes/manifests/etcd.yaml",
    ):
        host.get_fact(File, path)
    host.get_fact(
        Command,
        f"curl -fsS --cacert /etc/kubernetes/pki/ca.crt https://{host.data.ssh_hostname}:6443/readyz",
    )
    host.get_fact(
        Command,
        "curl -fsS --cacert /etc/kubernetes/pki/etcd/ca.crt "
        "--cert /etc/kubernetes/pki/etcd/healthcheck-client.crt "
        "--key /etc/kubernetes/pki/etcd/healthcheck-client.key "
        "-X POST -d '{}' https://127.0.0.1:2379/v3/cluster/member/list",
    )

if "load_balancers" not in host.groups:
    host.get_fact(File, "/etc/kubernetes/kubelet.conf")
    host.get_fact(
        Command,
        f"kubectl --kubeconfig /etc/kubernetes/kubelet.conf get node {host.name} -o json",
    )
