#!/usr/bin/env bash
# Builds Kubernetes from Debian's source package, offline, and links it once per version string.
#
# Result: RESULT/<version>/{kubeadm,kubectl,kubelet,kube-apiserver,kube-controller-manager,kube-scheduler,kube-proxy},
# static and stripped; RESULT/source-version names the Debian source it came from.
set -euo pipefail
# shellcheck source=common.sh
. "$(dirname "${BASH_SOURCE[0]}")/common.sh"

readonly UPSTREAM=1.20.2
readonly VERSIONS=(v1.20.2 v1.20.3)
readonly COMMANDS=(kubeadm kubectl kubelet kube-apiserver kube-controller-manager kube-scheduler kube-proxy)
readonly PACKAGE=k8s.io/kubernetes
readonly TREE=$WORK/go/src/$PACKAGE

# A deb-src line in apt settings of our own; the computer's own sources stay as they are.
private_apt() {
  local apt=$WORK/apt keyring=/usr/share/keyrings/debian-archive-keyring.gpg
  mkdir -p "$apt/lists/partial" "$apt/cache/archives/partial" "$apt/parts"
  printf 'deb-src [signed-by=%s] %s %s main\n' "$keyring" "$(debian_mirror)" "$SUITE" >"$apt/sources.list"
  cat >"$apt/apt.conf" <<CONF
Dir::Etc::sourcelist "$apt/sources.list";
Dir::Etc::sourceparts "$apt/parts";
Dir::State::lists "$apt/lists";
Dir::Cache "$apt/cache";
APT::Sandbox::User "root";
CONF
  printf '%s\n' "$apt/apt.conf"
}

fetch_source() {
  local conf
  conf=$(private_apt)
  mkdir -p "$WORK/source"
  cd "$WORK/source"
  APT_CONFIG=$conf apt_update
  APT_CONFIG=$conf apt-get -qq source --download-only kubernetes >>"$WORK/log" 2>&1 || fail "apt-get source kubernetes failed: $(tail -n 5 "$WORK/log")"
  local dsc=(*.dsc)
  grep -q "really$UPSTREAM\|^Version: $UPSTREAM" "${dsc[0]}" || fail "Debian's kubernetes is no longer $UPSTREAM: $(grep ^Version: "${dsc[0]}")"
  sed -n 's/^Version: //p' "${dsc[0]}" | head -n 1 >"$RESULT/source-version"
  mkdir -p "$(dirname "$TREE")"
  dpkg-source --no-check -x "${dsc[0]}" "$TREE" >>"$WORK/log" 2>&1
}

# The vendored reflect2 crashes every program built with this Go as soon as it decodes a map.
mend_vendored_reflect2() {
  local vendored=$TREE/vendor/github.com/modern-go/reflect2
  rm -rf "$vendored"
  cp -rL /usr/share/gocode/src/github.com/modern-go/reflect2 "$vendored"
}

# Both the plain and the vendored path, or the kubelet calls itself v0.0.0-master and kubeadm refuses it.
version_flags() {
  local version=$1 prefix key flags=('-s' '-w')
  local -A values=([gitVersion]=$version [gitMajor]=1 [gitMinor]=20 [gitTreeState]=clean [gitCommit]=debian [buildDate]=2021-01-13T13:20:00Z)
  for prefix in '' "$PACKAGE/vendor/"; do
    for key in "${!values[@]}"; do
      flags+=("-X ${prefix}k8s.io/component-base/version.$key=${values[$key]}" "-X ${prefix}k8s.io/client-go/pkg/version.$key=${values[$key]}")
    done
  done
  printf '%s\n' "${flags[*]}"
}

link() {
  local version=$1 packages=() command
  for command in "${COMMANDS[@]}"; do
    packages+=("$PACKAGE/cmd/$command")
  done
  mkdir -p "$RESULT/$version"
  go build -ldflags "$(version_flags "$version")" -o "$RESULT/$version/" "${packages[@]}"
}

prove() {
  local version=$1 said
  said=$("$RESULT/$version/kubelet" --version)
  [[ $said == "Kubernetes $version" ]] || fail "the kubelet just built says '$said' instead of 'Kubernetes $version'"
}

need golang-go golang-github-modern-go-reflect2-dev dpkg-dev rsync make gcc libc6-dev
export GOPATH=$WORK/go GOCACHE=$WORK/gocache GO111MODULE=off CGO_ENABLED=0 GOFLAGS=
PATH=/usr/lib/go-1.19/bin:$PATH
unset GOROOT
step "fetch Debian's source of Kubernetes $UPSTREAM"
fetch_source
mend_vendored_reflect2
cd "$TREE"
quietly 'generate code (about two minutes)' make generated_files
for version in "${VERSIONS[@]}"; do
  quietly "build $version (the first takes about six minutes on two cores)" link "$version"
  prove "$version"
done
step 'done'
