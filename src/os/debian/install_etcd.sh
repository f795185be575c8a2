
release=$1
shift

# The packages' own versions of that release, whatever their epoch and revision.
exact() {
    for name in "$@"; do
        version=$(apt-cache madison "$name" 2>/dev/null | awk -v release="$release" '{
            plain = $3
            sub(/^[0-9]+:/, "", plain)
            if (index(plain, release) == 1 && substr(plain, length(release) + 1) !~ /^[0-9.]/) { print $3; exit }
        }')
        if [ -z "$version" ]; then
            echo "no repository of this host has $name $release" >&2
            return 1
        fi
        printf '%s=%s ' "$name" "$version"
    done
}

install() { apt -y --no-install-recommends --allow-change-held-packages install "$@"; }

repair
wanted=$(exact "$@" 2>/dev/null) || { update && wanted=$(exact "$@"); } || exit
# Words are split on purpose: names and versions hold no spaces.
# shellcheck disable=SC2086
install $wanted || { repair; update; install $wanted; } || exit
apt-mark hold "$@"
