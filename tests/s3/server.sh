#!/bin/sh
# Starts an S3 server on loopback, on a port that it chooses and says, until standard input ends.
# usage: tests/s3/server.sh DIRECTORY ACCESS-KEY SECRET-KEY; each directory in DIRECTORY is a bucket.
# It is s3s-fs, a Rust crate, built once and kept outside the source tree in QUORATE_S3_CACHE (/var/cache/quorate-s3).
set -eu
version=0.13.0-alpha.3
cache=${QUORATE_S3_CACHE:-/var/cache/quorate-s3}/$version
mkdir -p "$cache"
# Tests that run at once must not build it twice.
exec 9>"$cache/lock"
flock 9
if [ ! -x "$cache/bin/s3s-fs" ]; then
    echo "Building s3s-fs $version into $cache" >&2
    # Not among the settings of the package that is being tested.
    (cd / && cargo install --quiet --locked --debug --root "$cache" s3s-fs --version "$version" --features binary)
fi
exec 9>&-
RUST_LOG=s3s_fs=info "$cache/bin/s3s-fs" --host 127.0.0.1 --port 0 --access-key "$2" --secret-key "$3" "$1" &
server=$!
trap 'kill $server; wait $server || true' EXIT
cat >/dev/null
