#!/usr/bin/env bash
# usage: LONG | tests/beside.sh LINE COMMAND...
# Shows what LONG says and runs the command beside it, from the moment it says LINE; at the latest when it has ended. What the
# command says is shown in the end. The exit code is the command's.
set -euo pipefail

line=$1
shift
said=$(mktemp)
run=
trap '[[ -z $run ]] || kill -- "-$run"; rm -f "$said"' EXIT

# It is a group of its own: it does not hear Ctrl-C, and is ended with all that it started.
begin() {
  [[ -z $run ]] || return 0
  set -m
  "$@" >"$said" 2>&1 </dev/null &
  set +m
  run=$!
}

while IFS= read -r seen; do
  printf '%s\n' "$seen"
  [[ $seen != *"$line"* ]] || begin "$@"
done
begin "$@"
code=0
wait "$run" || code=$?
run=
cat "$said"
exit "$code"
