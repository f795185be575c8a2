"""Measures whole processes, in turns, and prints medians, ratios and whether each bar is met.

usage: bench.py INVENTORY DIRECTORY-OF-QUORATE DIRECTORY-OF-ANSIBLE-AND-PYINFRA
"""

import json
import os
import pathlib
import statistics
import subprocess
import sys
import tempfile
import time

HERE = pathlib.Path(__file__).resolve().parent
RUNS = int(os.environ.get("QUORATE_BENCH_RUNS", "7"))
GROUPS = {"load-balancer": "load_balancers", "master": "masters", "worker": "workers"}


class Host:
    """A line of the list that `quorate probe-scripts` writes."""

    def __init__(self, line):
        self.name, self.role, self.address, self.user, self.identity, self.known_hosts = line.split()
        self.group = GROUPS[self.role]

    def ssh(self, command):
        words = ["ssh", "-q", "-o", "BatchMode=yes", "-i", self.identity]
        words += ["-o", f"UserKnownHostsFile={self.known_hosts}", f"{self.user}@{self.address}"]
        return subprocess.run(words + [command], check=True, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE).stdout


def main():
    inventory, ours, theirs = (pathlib.Path(word).resolve() for word in sys.argv[1:4])
    quorate = [str(ours / "quorate")]
    with tempfile.TemporaryDirectory(prefix="quorate-bench-") as directory:
        work = pathlib.Path(directory)
        refuse_unless_provisioned(quorate, inventory)
        hosts = prepare(quorate, inventory, work)
        contenders = make_contenders(quorate, inventory, ours, theirs, work, hosts)
        results = measure(contenders)
        report(results, hosts, share_of_full_run((work / "cluster").read_text()))


def refuse_unless_provisioned(quorate, inventory):
    words = [*quorate, "plan", "-i", str(inventory), "--exit-code"]
    plan = subprocess.run(words, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    if plan.returncode != 0:
        sys.exit(f"{plan.stdout.decode()[-3000:]}\nProvision the hosts first: there is something to change, or a host is away")


def prepare(quorate, inventory, work):
    """What the contenders need: scripts, the hosts' files as they are, Python on the hosts for Ansible."""
    run([*quorate, "probe-scripts", "-i", inventory, "--out", work])
    hosts = [Host(line) for line in (work / "hosts").read_text().splitlines()]
    print("Installing Python on the hosts, which Ansible needs there", flush=True)
    python = "python3 -c 'import apt' 2>/dev/null || { apt-get update -q && apt-get install -q -y python3 python3-apt; }"
    run([*quorate, "exec", "-i", inventory, "--", python], stdout=subprocess.DEVNULL)
    run([*quorate, "render", "-i", inventory, "--out", work / "rendered"], stdout=subprocess.DEVNULL)
    version = next(host for host in hosts if host.role == "master").ssh("dpkg-query -W -f '${Version}' kubeadm").decode()
    files = {host.name: fetch(host, work) for host in hosts}
    (work / "vars.json").write_text(
        json.dumps({"files": files, "files_root": str(work / "files"), "kubernetes": version})
    )
    write_ansible_inventory(work, hosts)
    write_pyinfra_inventory(work, hosts, files, version)
    return hosts


def fetch(host, work):
    """Copies the files that quorate keeps on a host, as they are there; their absolute paths."""
    rendered = work / "rendered" / host.name
    paths = {str(path.relative_to(rendered)) for path in rendered.rglob("*") if path.is_file()} | {"etc/hosts"}
    root = work / "files" / host.name
    root.mkdir(parents=True)
    words = " ".join(f"'{path}'" for path in sorted(paths))
    archive = host.ssh(f"cd / && for f in {words}; do [ ! -e \"$f\" ] || echo \"$f\"; done | sudo -n tar -c -T - -f -")
    run(["tar", "-x", "-p", "-C", root, "-f", "-"], input=archive)
    return sorted("/" + str(path.relative_to(root)) for path in root.rglob("*") if path.is_file())


def write_ansible_inventory(work, hosts):
    lines = []
    for group in GROUPS.values():
        lines.append(f"[{group}]")
        lines += [
            f"{host.name} ansible_host={host.address} ansible_user={host.user}"
            f" ansible_ssh_private_key_file={host.identity}"
            f" ansible_ssh_common_args='-o UserKnownHostsFile={host.known_hosts}'"
            for host in hosts
            if host.group == group
        ]
    (work / "ansible.ini").write_text("\n".join(lines) + "\n")


def write_pyinfra_inventory(work, hosts, files, version):
    text = ""
    for group in GROUPS.values():
        members = [
            (
                host.name,
                {
                    "ssh_hostname": host.address,
                    "ssh_user": host.user,
                    "ssh_key": host.identity,
                    "ssh_known_hosts_file": host.known_hosts,
                    "_sudo": True,
                    "quorate_files": files[host.name],
                    "files_root": str(work / "files"),
                    "kubernetes": version,
                },
            )
            for host in hosts
            if host.group == group
        ]
        text += f"{group} = {members!r}\n"
    (work / "inventory.py").write_text(text)


def make_contenders(quorate, inventory, ours, theirs, work, hosts):
    """Name, words, environment, a function that finds the count of changes in the output, and how often to run."""
    ansible = [theirs / "ansible-playbook", "-i", work / "ansible.ini", "-e", f"@{work / 'vars.json'}"]
    ansible += ["--forks", str(len(hosts)), HERE / "ansible.yaml"]
    pyinfra = [theirs / "pyinfra", "-y", work / "inventory.py", HERE / "deploy.py"]
    plain = {"ANSIBLE_NOCOLOR": "1", "ANSIBLE_HOME": str(work / "ansible-home")}
    nothing = lambda output: 0
    return {
        "quorate": ([*quorate, "provision", "-i", inventory, "--yes", "--output", "json"], {}, changes_of_quorate, RUNS),
        "openssh": (["sh", HERE / "parallel_ssh.sh", work], {}, nothing, RUNS),
        "bare": ([ours / "examples" / "bare_client", work], {}, nothing, RUNS),
        "pyinfra": (pyinfra, {}, changes_of_pyinfra, RUNS),
        "ansible": (ansible, plain, changes_of_ansible, RUNS),
        "ansible-pipelining": (ansible, plain | {"ANSIBLE_PIPELINING": "1"}, changes_of_ansible, min(RUNS, 3)),
    }


def changes_of_quorate(output):
    return json.loads(output.splitlines()[-1])["changed"]


def changes_of_ansible(output):
    words = [word for line in output.splitlines() if "ok=" in line for word in line.split()]
    return sum(int(word.removeprefix("changed=")) for word in words if word.startswith("changed="))


def changes_of_pyinfra(output):
    rows = [line.split() for line in output.splitlines() if line.strip().startswith("Grand total")]
    return int(rows[0][3]) if rows and rows[0][3].isdigit() else 0


def measure(contenders):
    """One uncounted round, then in turns, so that whatever else the computer does meets all of them."""
    results = {name: [] for name in contenders}
    for turn in range(RUNS + 1):
        print(f"Round {turn} of {RUNS}" + (" (not counted)" if turn == 0 else ""), flush=True)
        for name, (words, environment, changes, runs) in contenders.items():
            if turn > runs:
                continue
            result = once(name, words, environment, changes)
            if turn > 0:
                results[name].append(result)
    return results


def once(name, words, environment, changes):
    """Seconds and peak memory in megabytes of one process with its children's time but its own memory."""
    with tempfile.TemporaryFile("w+") as output:
        start = time.perf_counter()
        process = subprocess.Popen(
            [str(word) for word in words],
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            env=os.environ | environment,
        )
        _, status, usage = os.wait4(process.pid, 0)
        seconds = time.perf_counter() - start
        process.returncode = os.waitstatus_to_exitcode(status)
        output.seek(0)
        text = output.read()
    if process.returncode != 0:
        sys.exit(f"{name} returned {process.returncode}:\n{text[-3000:]}")
    if changed := changes(text):
        sys.exit(f"{name} changed {changed} things where nothing was to change:\n{text[-3000:]}")
    return seconds, usage.ru_maxrss / 1024


def share_of_full_run(cluster):
    """Of the run that changed most: changes, seconds, and quorate's own seconds. `None` without such a run."""
    state = pathlib.Path(os.environ.get("XDG_STATE_HOME") or pathlib.Path.home() / ".local/state")
    ends = []
    for journal in state.glob(f"quorate/{cluster}/runs/*/journal.jsonl"):
        for line in journal.read_text().splitlines():
            try:
                event = json.loads(line)["event"]
            except (ValueError, KeyError):
                continue
            if event.get("kind") == "run-finished" and event.get("result") == "done" and event.get("changed"):
                ends.append((event["changed"], event["duration-ms"] / 1000, event["own-ms"] / 1000))
    return max(ends, default=None)


def report(results, hosts, full):
    titles = {
        "quorate": "quorate provision, nothing to change",
        "openssh": "(a) parallel OpenSSH, one script per host",
        "bare": "(b) bare client over the same SSH library",
        "ansible": "(c) Ansible",
        "ansible-pipelining": "    Ansible with pipelining",
        "pyinfra": "(d) pyinfra",
    }
    medians = {name: statistics.median(seconds for seconds, _ in runs) for name, runs in results.items()}
    print(f"\n{len(hosts)} hosts, {os.cpu_count()} processors, whole processes, seconds\n")
    print(f"{'':44}{'median':>8}{'least':>8}{'most':>8}{'runs':>6}")
    for name, title in titles.items():
        seconds = [second for second, _ in results[name]]
        print(f"{title:44}{medians[name]:8.2f}{min(seconds):8.2f}{max(seconds):8.2f}{len(seconds):6}")
    ours = medians["quorate"]
    memory = max(peak for _, peak in results["quorate"])
    print()
    bar(ours / medians["openssh"] <= 0.5, f"{ours / medians['openssh']:.2f} times parallel OpenSSH", "at most 0.5")
    bar(ours / medians["bare"] <= 2, f"{ours / medians['bare']:.2f} times the bare client", "at most 2")
    bar(medians["ansible"] / ours >= 50, f"{medians['ansible'] / ours:.0f} times faster than Ansible", "at least 50")
    bar(medians["pyinfra"] / ours >= 4, f"{medians['pyinfra'] / ours:.1f} times faster than pyinfra", "at least 4")
    bar(memory < 50, f"{memory:.0f} MB of memory at most", "under 50")
    if full is None:
        print("  --  no full provision in the journal: its own share cannot be told")
        return
    changed, total, own = full
    share = 100 * own / total
    bar(share <= 10, f"{share:.1f} % of a provision is its own time ({own:.1f} of {total:.0f} s, {changed} changes)", "at most 10 %")


def bar(is_met, figure, limit):
    print(f"{'PASS' if is_met else 'MISS'}  {figure} ({limit})")


def run(words, **options):
    subprocess.run([str(word) for word in words], check=True, **options)


if __name__ == "__main__":
    main()
