#!/usr/bin/env bash
# Builds the programs that a cluster needs and Debian lacks, from the Go files beside this recipe.
#
# Uses LAB_SOURCE for its vendored libraries. Result: RESULT/{crictl,coredns,hello}, static.
set -euo pipefail
# shellcheck source-path=SCRIPTDIR source=common.sh
. "$(dirname "${BASH_SOURCE[0]}")/common.sh"

readonly PACKAGE=k8s.io/kubernetes
readonly PROGRAMS=(crictl coredns hello)
RECIPES=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
readonly RECIPES

# Vendored libraries are visible only below the tree that vendors them: link its files, add ours.
lay_out() {
  local program
  mkdir -p "$GOPATH"
  cp -al "$LAB_SOURCE/src" "$GOPATH/"
  for program in "${PROGRAMS[@]}"; do
    install -D -m 644 "$RECIPES/$program.go" "$GOPATH/src/$PACKAGE/cmd/lab-$program/main.go"
  done
}

build() {
  local program
  cd "$GOPATH/src/$PACKAGE"
  for program in "${PROGRAMS[@]}"; do
    go build -ldflags '-s -w' -o "$RESULT/$program" "$PACKAGE/cmd/lab-$program"
  done
}

need golang-go
go_settings
quietly 'lay out the source' lay_out
quietly "build ${PROGRAMS[*]} (one to two minutes)" build
step 'done'
