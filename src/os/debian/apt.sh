set -u
export DEBIAN_FRONTEND=noninteractive NEEDRESTART_MODE=l LC_ALL=C.UTF-8

# Packages are added, never removed: a containerd from elsewhere must not give way to the distribution's.
apt() {
    apt-get -q --no-remove -o DPkg::Lock::Timeout=600 -o Dpkg::Use-Pty=0 \
        -o Dpkg::Options::=--force-confdef -o Dpkg::Options::=--force-confold "$@"
}

# An installation that was cut off leaves packages unpacked and apt refusing everything until dpkg has finished them.
# While somebody else's dpkg runs there is nothing to repair: apt waits for its lock.
repair() {
    [ -n "$(ls -A /var/lib/dpkg/updates 2>/dev/null)" ] || [ -n "$(dpkg --audit 2>/dev/null)" ] || return 0
    echo 'finishing an interrupted installation'
    dpkg --force-confdef --force-confold --configure -a || apt -y --fix-broken install
}

# The lists have a lock of their own, for which apt has no waiting.
update() {
    tries=0
    while ! said=$(apt "$@" update 2>&1); do
        printf '%s\n' "$said"
        case $said in *'Could not get lock'*) ;; *) return 1 ;; esac
        tries=$((tries + 1))
        [ "$tries" -lt 120 ] || return 1
        sleep 5
    done
}
