#!/usr/bin/env bash
# Makes the root file system that every lab host starts from: a plain Debian server with sshd and sudo.
#
# Result: RESULT/root, the read-only lower layer of every host. It holds Debian's package lists and the
# packages that quorate installs, downloaded but not installed, so that a host's own `apt-get install` works
# as on any server and needs no network. Host keys, machine-id and hostname are left to whoever boots it.
set -euo pipefail
# shellcheck source-path=SCRIPTDIR source=common.sh
. "$(dirname "${BASH_SOURCE[0]}")/common.sh"

readonly ROOT=$RESULT/root
readonly BASE=(systemd systemd-sysv dbus openssh-server sudo iproute2 iptables nftables ethtool socat conntrack
  ebtables kmod procps psmisc ca-certificates curl iputils-ping gpg util-linux mount less)
readonly DOWNLOADED=(haproxy keepalived containerd runc containernetworking-plugins etcd-client chrony
  tcpdump openssl)

bootstrap() {
  local include
  include=$(IFS=,; printf '%s' "${BASE[*]}")
  debootstrap --variant=minbase --include="$include" "$SUITE" "$ROOT" "$(debian_mirror)"
}

# The mirrors of this computer, so that a host updates from where the computer does.
write_sources() {
  local mirror
  mirror=$(debian_mirror)
  cat >"$ROOT/etc/apt/sources.list" <<LIST
deb $mirror $SUITE main
deb $mirror $SUITE-updates main
LIST
  # shellcheck disable=SC2016
  apt-get indextargets --format 'deb $(REPO_URI) $(RELEASE) main' 'Created-By: Packages' "Codename: $SUITE-security" |
    sort -u >>"$ROOT/etc/apt/sources.list"
  # What this computer must tell its own apt to reach the mirror (a proxy, a mirror frozen in time).
  apt-config dump | grep -E '^Acquire::(Check-Valid-Until|Check-Date|https?::Proxy) ' >"$ROOT/etc/apt/apt.conf.d/90lab" || true
  # A lab disk may lose its last second; a real server keeps dpkg's fsyncs.
  echo force-unsafe-io >"$ROOT/etc/dpkg/dpkg.cfg.d/lab"
}

in_root() {
  chroot "$ROOT" /usr/bin/env -i PATH=/usr/sbin:/usr/bin:/sbin:/bin LC_ALL=C DEBIAN_FRONTEND=noninteractive "$@"
}

download_packages() {
  cp /etc/resolv.conf "$ROOT/etc/resolv.conf"
  in_root apt-get -qq clean
  in_root apt-get -qq update
  in_root apt-get -qq -y upgrade
  in_root apt-get -qq -y --no-install-recommends --download-only install "${DOWNLOADED[@]}"
}

# An ordinary server: an operator with sudo, no root login, no passwords.
add_operator() {
  in_root useradd --create-home --shell /bin/bash --groups sudo ops
  install -d -m 700 "$ROOT/home/ops/.ssh"
  in_root chown ops:ops /home/ops/.ssh
  echo 'ops ALL=(ALL) NOPASSWD: ALL' >"$ROOT/etc/sudoers.d/ops"
  chmod 440 "$ROOT/etc/sudoers.d/ops"
  printf '%s\n' 'PermitRootLogin no' 'PasswordAuthentication no' 'UseDNS no' >"$ROOT/etc/ssh/sshd_config.d/lab.conf"
}

# What would run by itself at some time of the day, in the middle of a test.
switch_off_timers() {
  in_root systemctl -q mask apt-daily.timer apt-daily-upgrade.timer dpkg-db-backup.timer e2scrub_all.timer fstrim.timer
}

# On cgroup v1, nspawn mounts the controllers read-only; containerd and the kubelet write into them. On
# cgroup v2 the unit's condition fails and it does nothing.
add_cgroup_remount() {
  cat >"$ROOT/usr/local/sbin/lab-cgroups" <<'SH'
#!/bin/sh
for controller in /sys/fs/cgroup/*/; do
  mountpoint -q "$controller" && mount -o remount,bind,rw "$controller"
done
exit 0
SH
  chmod 755 "$ROOT/usr/local/sbin/lab-cgroups"
  cat >"$ROOT/etc/systemd/system/lab-cgroups.service" <<'UNIT'
[Unit]
Description=Let containers be managed inside this lab host (cgroup v1)
ConditionPathExists=!/sys/fs/cgroup/cgroup.controllers
Before=containerd.service kubelet.service ssh.service

[Service]
Type=oneshot
RemainAfterExit=yes
ExecStart=/usr/local/sbin/lab-cgroups

[Install]
WantedBy=multi-user.target
UNIT
  in_root systemctl -q enable lab-cgroups.service
}

# On cgroup v1 nothing tells a systemd in a namespace that the last process of a killed service has gone: it waits for as long
# as a stop may take. No service of a lab host needs a server's 90 s.
shorten_stops() {
  install -d "$ROOT/etc/systemd/system.conf.d"
  printf '%s\n' '[Manager]' 'DefaultTimeoutStopSec=10s' >"$ROOT/etc/systemd/system.conf.d/lab.conf"
}

# What would be the same on every host, or is true only of the computer that built this.
forget_identity() {
  rm -f "$ROOT"/etc/ssh/ssh_host_*_key* "$ROOT/etc/machine-id" "$ROOT/var/lib/dbus/machine-id" "$ROOT/etc/hostname" \
    "$ROOT/etc/resolv.conf" "$ROOT/usr/sbin/policy-rc.d"
  : >"$ROOT/etc/machine-id"
  rm -rf "$ROOT"/var/log/*.log "$ROOT"/var/log/apt "$ROOT/debootstrap"
}

need debootstrap
quietly "debootstrap $SUITE (about 75 s)" bootstrap
write_sources
quietly 'download what quorate installs on hosts' download_packages
add_operator
add_cgroup_remount
shorten_stops
switch_off_timers
forget_identity
step 'done'
