#!/bin/sh
# Prints a directory with Debian's etcd and etcdctl, which this computer need not have installed: they are unpacked into
# QUORATE_ETCD_CACHE (/var/cache/quorate-etcd).
set -eu
cache=${QUORATE_ETCD_CACHE:-/var/cache/quorate-etcd}
mkdir -p "$cache"
# Tests that run at once must not fetch them twice.
exec 9>"$cache/lock"
flock 9
if [ ! -e "$cache/root/usr/bin/etcdctl" ]; then
    rm -rf "$cache/new" "$cache/root"
    mkdir "$cache/new"
    cd "$cache/new"
    apt-get download -qq etcd-server etcd-client >&2
    for package in *.deb; do dpkg-deb --extract "$package" .; done
    rm -f ./*.deb
    cd ..
    mv new root
fi
echo "$cache/root/usr/bin"
