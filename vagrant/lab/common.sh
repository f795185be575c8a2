# shellcheck shell=bash
# What the lab's recipes share. Sourced, never run.
#
# Every recipe is called as `RECIPE.sh RESULT WORK`: RESULT is an empty directory that becomes the cached
# artifact, WORK is a scratch directory beside it that the caller removes. Other artifacts that a recipe
# builds on arrive as LAB_<NAME> in the environment. Progress goes to stderr, one line per step.

export LC_ALL=C DEBIAN_FRONTEND=noninteractive

# The Debian release that lab hosts run.
readonly SUITE=bookworm

step() {
  printf '  %s [%3dm%02ds] %s\n' "$(basename "$0" .sh)" $((SECONDS / 60)) $((SECONDS % 60)) "$*" >&2
}

fail() {
  printf '%s: %s\n' "$(basename "$0")" "$*" >&2
  exit 1
}

# Runs a long command with its output in WORK/log, whose end is shown if it fails: `quietly TEXT COMMAND...`.
# In the background, because a shell function in a condition would go on after its own failures.
quietly() {
  local text=$1 log=$WORK/log
  shift
  step "$text"
  "$@" >>"$log" 2>&1 &
  if ! wait $!; then
    tail -n 40 "$log" >&2
    fail "this step failed: $text (its last output is above)"
  fi
}

# Two recipes, or somebody else's apt, may run at once: wait for the lists' lock, which apt itself does not.
apt_update() {
  local deadline=$((SECONDS + 300))
  until apt-get -qq update >>"$WORK/log" 2>&1; do
    grep -q 'Could not get lock' "$WORK/log" || fail "apt-get update failed: $(tail -n 3 "$WORK/log")"
    ((SECONDS < deadline)) || fail 'another apt held the lock of the package lists for five minutes'
    sleep 1
  done
}

# Installs Debian packages on this computer unless they are there.
need() {
  local missing=() package
  for package in "$@"; do
    [[ $(dpkg-query -W -f '${db:Status-Status}' "$package" 2>/dev/null) == installed ]] || missing+=("$package")
  done
  ((${#missing[@]})) || return 0
  step "install ${missing[*]}"
  apt_update
  apt-get -qq install -y --no-install-recommends -o DPkg::Lock::Timeout=600 "${missing[@]}" >>"$WORK/log" 2>&1 ||
    fail "apt-get install ${missing[*]} failed: $(tail -n 5 "$WORK/log")"
}

# The Debian mirror that this computer's own apt sources name.
debian_mirror() {
  local mirror
  # shellcheck disable=SC2016
  mirror=$(apt-get indextargets --format '$(REPO_URI)' 'Created-By: Packages' "Codename: $SUITE" 'Origin: Debian' | head -n 1)
  [[ -n $mirror ]] || fail "no apt source of this computer offers Debian $SUITE: add one to /etc/apt/sources.list"
  printf '%s\n' "$mirror"
}

# Downloads packages of the release and unpacks them into a directory, without installing them or starting
# what they hold: `unpack DIRECTORY PACKAGE...`.
unpack() {
  local into=$1 debs=$WORK/debs deb
  shift
  apt_update
  mkdir -p "$debs" "$into"
  (cd "$debs" && apt-get -qq download "$@") >>"$WORK/log" 2>&1 || fail "apt-get download $* failed: $(tail -n 5 "$WORK/log")"
  for deb in "$debs"/*.deb; do
    dpkg-deb -x "$deb" "$into"
  done
  rm -rf "$debs"
}

# Debian's Go, building from GOPATH alone: no modules, no network, no C.
go_settings() {
  export GOPATH=$WORK/go GOCACHE=$WORK/gocache GO111MODULE=off CGO_ENABLED=0 GOFLAGS='' PATH=/usr/lib/go-1.19/bin:$PATH
  unset GOROOT
}

[[ $EUID == 0 ]] || fail 'the lab is built as root'
(($# == 2)) || fail 'usage: RECIPE.sh RESULT WORK'
RESULT=$1 WORK=$2
readonly RESULT WORK
mkdir -p "$RESULT" "$WORK"
