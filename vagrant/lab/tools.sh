#!/usr/bin/env bash
# Installs what tests and lab need from the system's own package sources; does nothing where it is installed already.
# Services that packages would start on this computer stay off: the lab's hosts run them, not we.
set -euo pipefail

packages=(
  build-essential ca-certificates curl openssl openssh-client openssh-server sudo busybox procps iproute2 iptables kmod
  debootstrap systemd-container haproxy keepalived vagrant vagrant-libvirt
  skopeo golang-go dpkg-dev apt-utils gnupg python3 python3-venv rsync
)

missing=()
for package in "${packages[@]}"; do
  status=$(dpkg-query --show --showformat='${db:Status-Abbrev}' "$package" 2>/dev/null || true)
  [[ $status == ii* ]] || missing+=("$package")
done
((${#missing[@]})) || exit 0

if ((EUID != 0)); then
  echo "missing packages: ${missing[*]}; run as root, or install them with apt-get" >&2
  exit 1
fi

echo "installing: ${missing[*]}" >&2
policy=/usr/sbin/policy-rc.d
if [[ ! -e $policy ]]; then
  trap 'rm -f "$policy"' EXIT
  printf '#!/bin/sh\nexit 101\n' >"$policy"
  chmod 755 "$policy"
fi
apt-get update -qq
DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "${missing[@]}" >/dev/null
