# Restores a snapshot into a scratch etcd that nothing can reach (its loopback is its own), and says what that holds at
# revision $1. The snapshot lies at $2.
revision=$1 file=$2
work=$(dirname "$file")
name=$(basename "$file")
memory=$(( $(stat -c %s "$file") * 3 / 1048576 + 512 ))M
export work name revision
cat >$work/trial <<'INNER'
set -eu
eval "$scratch"
mount --bind $work $root/snapshot
rm -rf $work/scratch
chroot $root $utility snapshot restore /snapshot/$name --data-dir /snapshot/scratch --name scratch \
    --initial-cluster scratch=http://127.0.0.1:2380 --initial-advertise-peer-urls http://127.0.0.1:2380 >&2
chroot $root /usr/local/bin/etcd --name scratch --data-dir /snapshot/scratch --log-outputs stderr \
    --listen-client-urls $url --advertise-client-urls $url \
    --listen-peer-urls http://127.0.0.1:2380 >$work/scratch.log 2>&1 7>&- &
pid=$!
trap 'kill -9 $pid 2>/dev/null; rm -rf $work/scratch' EXIT
serves "the scratch etcd does not serve" $work/scratch.log
echo "hash $(etcdctl endpoint hashkv --rev=$revision -w json)"
echo "count $(etcdctl get "" --from-key --keys-only --limit=1 --rev=$revision -w json)"
INNER
# Proving must not cost the cluster what it runs on.
systemd-run --scope --quiet --collect -p MemoryMax=$memory -p CPUQuota=100% -p IOWeight=10 \
    timeout -k 5 900 nice -n 10 unshare --mount --net sh $work/trial 2>$work/log || {
    tail -n 20 $work/log >&2
    exit 1
}
