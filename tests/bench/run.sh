#!/bin/sh
# Quorate against parallel OpenSSH, a bare SSH client, Ansible and pyinfra, on hosts that are provisioned already.
# usage: tests/bench/run.sh INVENTORY
# QUORATE_BENCH_RUNS: how often each is measured (7); QUORATE_BENCH_CACHE: where Ansible and pyinfra are kept.
set -eu
inventory=${1:?usage: tests/bench/run.sh INVENTORY}
here=$(dirname "$0")
target=${CARGO_TARGET_DIR:-target}
cache=${QUORATE_BENCH_CACHE:-/var/cache/quorate-bench}

cargo build --locked --release --bin quorate --example bare_client
if ! "$cache/venv/bin/ansible-playbook" --version >/dev/null 2>&1 || ! "$cache/venv/bin/pyinfra" --version >/dev/null 2>&1; then
    echo "Installing Ansible and pyinfra from PyPI into $cache"
    rm -rf "$cache/venv"
    mkdir -p "$cache"
    python3 -m venv "$cache/venv"
    "$cache/venv/bin/pip" install --quiet ansible-core pyinfra
fi
exec "$cache/venv/bin/python" "$here/bench.py" "$inventory" "$target/release" "$cache/venv/bin"
