#!/usr/bin/env bash
# Fetches Debian's source package of Kubernetes and lays it out as a GOPATH that builds offline.
#
# Result: RESULT/src/k8s.io/kubernetes, everything vendored; RESULT/source-version names the Debian source.
set -euo pipefail
# shellcheck source-path=SCRIPTDIR source=common.sh
. "$(dirname "${BASH_SOURCE[0]}")/common.sh"

readonly UPSTREAM=1.20.2
readonly TREE=$RESULT/src/k8s.io/kubernetes

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

download() {
  APT_CONFIG=$(private_apt)
  export APT_CONFIG
  apt_update
  apt-get -qq source --download-only kubernetes
  grep -q "^Version: .*$UPSTREAM" ./*.dsc || fail "Debian's kubernetes is no longer $UPSTREAM: $(grep ^Version: ./*.dsc)"
}

# The vendored reflect2 crashes every program built with Debian's Go as soon as it decodes a map.
mend_vendored_reflect2() {
  local vendored=$TREE/vendor/github.com/modern-go/reflect2
  rm -rf "$vendored"
  cp -rL /usr/share/gocode/src/github.com/modern-go/reflect2 "$vendored"
}

need golang-github-modern-go-reflect2-dev dpkg-dev
mkdir -p "$WORK/source" "$(dirname "$TREE")"
cd "$WORK/source"
quietly "fetch Debian's source of Kubernetes $UPSTREAM (34 MB)" download
quietly 'unpack it' dpkg-source --no-check -x ./*.dsc "$TREE"
mend_vendored_reflect2
sed -n 's/^Version: //p' ./*.dsc | head -n 1 >"$RESULT/source-version"
step 'done'
