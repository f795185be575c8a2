set -u
export LC_ALL=C.UTF-8
release=$1
shift
exact=
for name in "$@"; do exact="$exact $name-$release"; done
# Words are split on purpose: names and versions hold no spaces.
# shellcheck disable=SC2086
dnf -y --setopt=install_weak_deps=False install $exact || dnf -y --refresh --setopt=install_weak_deps=False install $exact
