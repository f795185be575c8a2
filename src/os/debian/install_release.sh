
release=$1
shift
exact=
for name in "$@"; do exact="$exact $name=$release-*"; done
set -f

# Words are split on purpose: names and versions hold no spaces.
# shellcheck disable=SC2086
install() {
    apt -y --no-install-recommends --allow-change-held-packages --allow-downgrades "$@" install $exact $tools
}

repair
tools=
install -s >/dev/null 2>&1 || update
# kubeadm before 1.32 needs crictl, later ones do without; take it where the repository has it.
[ -z "$(apt-cache madison cri-tools 2>/dev/null)" ] || tools=cri-tools
install || { repair; update; install; } || exit
apt-mark hold "$@"
