#!/usr/bin/env bash
# Builds Kubernetes and links it once per version string, so that upgrades can be tried for the price of one build.
#
# Uses LAB_SOURCE. Result: RESULT/<version>/{kubeadm,kubectl,kubelet,kube-apiserver,kube-controller-manager,
# kube-scheduler,kube-proxy}, static and stripped.
set -euo pipefail
# shellcheck source-path=SCRIPTDIR source=common.sh
. "$(dirname "${BASH_SOURCE[0]}")/common.sh"

readonly VERSIONS=(v1.20.2 v1.20.3)
readonly COMMANDS=(kubeadm kubectl kubelet kube-apiserver kube-controller-manager kube-scheduler kube-proxy)
readonly PACKAGE=k8s.io/kubernetes

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
  local version=$1
  mkdir -p "$RESULT/$version"
  go build -ldflags "$(version_flags "$version")" -o "$RESULT/$version/" "${COMMANDS[@]/#/$PACKAGE/cmd/}"
}

prove() {
  local version=$1 said
  said=$("$RESULT/$version/kubelet" --version)
  [[ $said == "Kubernetes $version" ]] || fail "the kubelet just built says '$said' instead of 'Kubernetes $version'"
}

need golang-go rsync make gcc libc6-dev
go_settings
mkdir -p "$GOPATH"
cp -a "$LAB_SOURCE/src" "$GOPATH/"
cd "$GOPATH/src/$PACKAGE"
quietly 'generate code (one to two minutes)' make generated_files
for version in "${VERSIONS[@]}"; do
  quietly "build $version (the first takes six to ten minutes on two cores)" link "$version"
  prove "$version"
done
step 'done'
