# For a namespace of its own, in which nobody can reach what runs: after `eval "$scratch"` its loopback is up, `etcdctl` asks
# the etcd at $url, and `serves WHAT LOG` waits until that, whose process id is $pid, is healthy: at most two minutes.
export scratch='
ip link set lo up
url=http://127.0.0.1:2379
etcdctl() { chroot $root /usr/local/bin/etcdctl --endpoints=$url --command-timeout=120s "$@"; }
serves() {
    tries=0
    until etcdctl --command-timeout=10s endpoint health >/dev/null 2>&1; do
        tries=$((tries + 1))
        if ! kill -0 $pid 2>/dev/null || [ $tries -gt 240 ]; then
            tail -n 15 "$2" >&2
            echo "$1" >&2
            exit 1
        fi
        sleep 0.5
    done
}
'
