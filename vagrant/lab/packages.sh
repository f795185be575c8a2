#!/usr/bin/env bash
# Makes Debian packages of Kubernetes and a signed repository in the layout of pkgs.k8s.io, and one with a later etcd.
#
# Uses LAB_KUBERNETES and LAB_STANDINS. Result: RESULT/repository/core:/stable:/v1.20/deb/ and RESULT/repository/etcd/deb/,
# each with Packages, Release, InRelease, Release.gpg and Release.key; RESULT/kubernetes.asc, the same key. The signing
# key is made here and thrown away: a repository is built once and never changed.
set -euo pipefail
# shellcheck source-path=SCRIPTDIR source=common.sh
. "$(dirname "${BASH_SOURCE[0]}")/common.sh"

readonly MINOR=1.20 REVISION=1.1
readonly VERSIONS=(1.20.2 1.20.3)
readonly CRI_TOOLS=1.20.0 CNI=1.1.1
ARCH=$(dpkg --print-architecture)
readonly ARCH
readonly REPOSITORY=$RESULT/repository/core:/stable:/v$MINOR/deb
readonly ETCD_REPOSITORY=$RESULT/repository/etcd/deb
export GNUPGHOME=$WORK/gnupg

# Writes a package's control file: `control NAME VERSION DEPENDS DESCRIPTION`.
control() {
  mkdir -p "$WORK/$1/DEBIAN"
  cat >"$WORK/$1/DEBIAN/control" <<CONTROL
Package: $1
Version: $2-$REVISION
Architecture: $ARCH
Maintainer: quorate lab <lab@localhost>
Section: admin
Priority: optional
Depends: $3
Description: $4
CONTROL
}

# Packs a tree without compressing it much, and forgets it.
pack() {
  dpkg-deb --root-owner-group -Zgzip -z1 --build "$WORK/$1" "$REPOSITORY/$ARCH/"
  rm -rf "${WORK:?}/$1"
}

tool() {
  local name=$1 version=$2 depends=$3 text=$4
  control "$name" "$version" "$depends" "$text"
  install -D -m 755 "$LAB_KUBERNETES/v$version/$name" "$WORK/$name/usr/bin/$name"
}

kubelet_unit() {
  local tree=$1
  mkdir -p "$tree/usr/lib/systemd/system/kubelet.service.d" "$tree/etc/default" "$tree/etc/kubernetes/manifests" "$tree/var/lib/kubelet"
  echo 'KUBELET_EXTRA_ARGS=' >"$tree/etc/default/kubelet"
  echo /etc/default/kubelet >"$tree/DEBIAN/conffiles"
  cat >"$tree/usr/lib/systemd/system/kubelet.service" <<'UNIT'
[Unit]
Description=kubelet: The Kubernetes Node Agent
Documentation=https://kubernetes.io/docs/
Wants=network-online.target
After=network-online.target

[Service]
ExecStart=/usr/bin/kubelet
Restart=always
StartLimitInterval=0
RestartSec=10

[Install]
WantedBy=multi-user.target
UNIT
  cat >"$tree/usr/lib/systemd/system/kubelet.service.d/10-kubeadm.conf" <<'UNIT'
# Note: This dropin only works with kubeadm and kubelet v1.11+
[Service]
Environment="KUBELET_KUBECONFIG_ARGS=--bootstrap-kubeconfig=/etc/kubernetes/bootstrap-kubelet.conf --kubeconfig=/etc/kubernetes/kubelet.conf"
Environment="KUBELET_CONFIG_ARGS=--config=/var/lib/kubelet/config.yaml"
# This is a file that "kubeadm init" and "kubeadm join" generates at runtime, populating the KUBELET_KUBEADM_ARGS variable dynamically
EnvironmentFile=-/var/lib/kubelet/kubeadm-flags.env
# This is a file that the user can use for overrides of the kubelet args as a last resort. Preferably, the user should use
# the .NodeRegistration.KubeletExtraArgs object in the configuration files instead. KUBELET_EXTRA_ARGS should be sourced from this file.
EnvironmentFile=-/etc/default/kubelet
ExecStart=
ExecStart=/usr/bin/kubelet $KUBELET_KUBECONFIG_ARGS $KUBELET_CONFIG_ARGS $KUBELET_KUBEADM_ARGS $KUBELET_EXTRA_ARGS
UNIT
  # As upstream's: the unit is known, but enabling and starting it is left to whoever sets up the node.
  printf '#!/bin/sh\nset -e\n[ -d /run/systemd/system ] && systemctl daemon-reload\nexit 0\n' >"$tree/DEBIAN/postinst"
  chmod 755 "$tree/DEBIAN/postinst"
}

make_packages() {
  local version
  mkdir -p "$REPOSITORY/$ARCH"
  for version in "${VERSIONS[@]}"; do
    tool kubectl "$version" '' 'Command-line utility for interacting with a Kubernetes cluster'
    sed -i '/^Depends: $/d' "$WORK/kubectl/DEBIAN/control"
    pack kubectl
    tool kubeadm "$version" "cri-tools (>= 1.20.0), kubelet (>= 1.19.0), kubectl (>= 1.19.0)" 'Command-line utility for administering a Kubernetes cluster'
    pack kubeadm
    tool kubelet "$version" 'iptables (>= 1.4.21), kubernetes-cni (>= 0.8.7), iproute2, socat, util-linux, mount, ebtables, ethtool, conntrack' 'Node agent for Kubernetes clusters'
    kubelet_unit "$WORK/kubelet"
    pack kubelet
  done
  control cri-tools "$CRI_TOOLS" 'init-system-helpers' "Container Runtime Interface tools (the lab's stand-in)"
  install -D -m 755 "$LAB_STANDINS/crictl" "$WORK/cri-tools/usr/bin/crictl"
  pack cri-tools
  unpack "$WORK/cni-plugins" containernetworking-plugins
  control kubernetes-cni "$CNI" 'init-system-helpers' "Container networking plugins (Debian's)"
  mkdir -p "$WORK/kubernetes-cni/opt/cni"
  mv "$WORK/cni-plugins/usr/lib/cni" "$WORK/kubernetes-cni/opt/cni/bin"
  pack kubernetes-cni
}

# Debian has one version of etcd, and an upgrade needs two. The second is the same program that calls itself by the number of
# the next patch: the number is of the same length, so nothing else of the program moves. Its packages are Debian's otherwise,
# with the scripts that start the service anew.
make_etcd() {
  local debs=$WORK/etcd-debs tree=$WORK/etcd deb program version next
  apt_update
  mkdir -p "$debs" "$ETCD_REPOSITORY"
  (cd "$debs" && apt-get -qq download etcd-server etcd-client)
  for deb in "$debs"/*.deb; do
    dpkg-deb -R "$deb" "$tree"
    version=$(dpkg-deb -f "$deb" Version)
    version=${version%%-*}
    next=${version%.*}.$((${version##*.} + 1))
    ((${#next} == ${#version})) || fail "etcd $version: the next patch, $next, is a longer word"
    for program in "$tree"/usr/bin/*; do
      grep -qF "$version" "$program" || fail "$program does not hold its version $version"
      sed -i "s/${version//./\\.}/$next/g" "$program"
    done
    sed -i -e "s/^Version: .*/Version: $next-1/" -e '/^Source: /d' "$tree/DEBIAN/control"
    rm "$tree/DEBIAN/md5sums"
    dpkg-deb --root-owner-group -Zgzip -z1 --build "$tree" "$ETCD_REPOSITORY/"
    rm -rf "${tree:?}"
  done
}

make_key() {
  mkdir -m 700 "$GNUPGHOME"
  gpg --batch --quiet --passphrase '' --quick-generate-key 'quorate lab <lab@localhost>' rsa3072 sign never
  gpg --batch --armor --export >"$RESULT/kubernetes.asc"
}

# Indexes and signs a repository: `sign DIRECTORY LABEL`.
sign() {
  cd "$1"
  apt-ftparchive packages . >Packages
  gzip -9kn Packages
  apt-ftparchive -o APT::FTPArchive::Release::Origin='quorate lab' -o APT::FTPArchive::Release::Label="$2" release . >"$WORK/Release"
  mv "$WORK/Release" Release
  gpg --batch --armor --detach-sign --output Release.gpg Release
  gpg --batch --clearsign --output InRelease Release
  cp "$RESULT/kubernetes.asc" Release.key
}

sign_all() {
  make_key
  sign "$REPOSITORY" "core:/stable:/v$MINOR"
  sign "$ETCD_REPOSITORY" etcd
  gpgconf --kill all
}

need apt-utils gpg gpg-agent dpkg-dev
quietly 'make packages' make_packages
quietly 'make packages of a later etcd' make_etcd
quietly 'index and sign the repositories' sign_all
step 'done'
