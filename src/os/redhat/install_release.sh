set -u
export LC_ALL=C.UTF-8
release=$1
shift
exact=
for name in "$@"; do exact="$exact $name-$release-*"; done
set -f

# Our repository's file excludes these packages from every installation but this one; dnf 5 spells that differently.
if dnf --version 2>/dev/null | grep -q '^dnf5'; then
    all=--setopt=disable_excludes=quorate-kubernetes
else
    all=--disableexcludes=quorate-kubernetes
fi
tools=
[ -z "$(dnf -q "$all" list --available cri-tools 2>/dev/null)" ] || tools=cri-tools
# Words are split on purpose: names and versions hold no spaces.
# shellcheck disable=SC2086
dnf -y "$all" install $exact $tools
