set -u
export LC_ALL=C.UTF-8
dnf -y --setopt=install_weak_deps=False install "$@" || dnf -y --refresh --setopt=install_weak_deps=False install "$@"
