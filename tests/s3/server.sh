#!/bin/sh
# Starts an S3-speaking server on loopback, on a port that it chooses and prints, until standard input ends.
# It is moto's, from PyPI, kept outside the source tree in QUORATE_S3_CACHE (/var/cache/quorate-s3).
set -eu
packages='moto[s3]==5.2.5 flask==3.1.3 flask-cors==6.0.5'
cache=${QUORATE_S3_CACHE:-/var/cache/quorate-s3}
venv=$cache/venv
mkdir -p "$cache"
# Tests that run at once must not install it twice.
exec 9>"$cache/lock"
flock 9
if [ "$(cat "$venv/packages" 2>/dev/null)" != "$packages" ]; then
    echo "Installing $packages from PyPI into $venv" >&2
    rm -rf "$venv"
    /usr/bin/python3 -m venv "$venv"
    # Words are split on purpose.
    # shellcheck disable=SC2086
    "$venv/bin/pip" install --quiet --disable-pip-version-check $packages
    printf '%s\n' "$packages" >"$venv/packages"
fi
exec 9>&-
"$venv/bin/moto_server" -H 127.0.0.1 -p 0 &
server=$!
trap 'kill $server; wait $server || true' EXIT
cat >/dev/null
