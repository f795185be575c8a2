url=$1
shift 2
export LC_ALL=C.UTF-8
[ -z "$url" ] || set -- "--repofrompath=quorate-offered,$url" --setopt=quorate-offered.gpgcheck=0 \
    --setopt=quorate-offered.skip_if_unavailable=1 "$@"
timeout 45 dnf -q repoquery --available --qf '%{name} %{version}\n' "$@" 2>/dev/null | sort -u
exit 0
