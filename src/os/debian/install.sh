
install() { apt -y --no-install-recommends install "$@"; }

repair
# Lists that are absent or too old to know a package are read again; so are lists whose files have left the mirror.
apt -s --no-install-recommends install "$@" >/dev/null 2>&1 || update
install "$@" || { repair; update; install "$@"; }
