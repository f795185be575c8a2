url=$1 release=$2
shift 2
export LC_ALL=C.UTF-8

offers() { apt-cache madison "$@" 2>/dev/null | awk '{ print $1, $3 }'; }

# The lists of the host may be older than what there is. They stay as they are: newer ones are read beside them.
has_all() {
    for name in "$@"; do
        offers "$name" | awk -v release="$release" '
            { sub(/^[0-9]+:/, "", $2) }
            index($2, release) == 1 && substr($2, length(release) + 1) !~ /^[0-9.]/ { found = 1 }
            END { exit !found }' || return 1
    done
}

if ! has_all "$@"; then
    scratch=$(mktemp -d /var/tmp/quorate-offered.XXXXXX) || exit
    trap 'rm -rf "$scratch"' EXIT
    mkdir "$scratch/lists" "$scratch/sources" || exit
    cp /etc/apt/sources.list.d/* "$scratch/sources/" 2>/dev/null
    # Whoever installs from it checks its signature.
    [ -z "$url" ] || echo "deb [trusted=yes] $url /" >"$scratch/sources/quorate-etcd.list"
    cat >"$scratch/apt.conf" <<END
Dir::State::Lists "$scratch/lists";
Dir::Etc::SourceParts "$scratch/sources";
Dir::Cache "$scratch";
Dir::Cache::pkgcache "";
Dir::Cache::srcpkgcache "";
Acquire::Languages "none";
APT::Sandbox::User "root";
END
    export APT_CONFIG="$scratch/apt.conf"
    timeout 45 apt-get -qq update >/dev/null 2>&1
fi
offers "$@"
exit 0
