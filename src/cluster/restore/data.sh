# Makes this member's data beside etcd's, and gives it its name when it is whole: from the snapshot, or (way
# `force-new-cluster`) from a copy of its own old data, as a cluster of one.
d=/var/lib/quorate/restore
setting() { sed -n "s/^$1 //p" $d/settings; }
etcd=$(setting data)
etcd=${etcd:-/var/lib/etcd}
# systemd runs etcd as a user of its own, who owns its data.
owner=root
[ "$(setting runner)" != systemd ] || owner=etcd
install -d -o $owner -g $owner -m 700 $etcd
from_snapshot() {
    arrived=$(sha256sum $d/snapshot.db)
    if [ "${arrived%% *}" != "$(setting sha256)" ]; then
        echo "$d/snapshot.db is not the snapshot of the backup: SHA-256 ${arrived%% *}" >&2
        return 1
    fi
    bump=
    if chroot $root $utility snapshot restore --help 2>&1 | grep -q -e --bump-revision; then
        bump="--bump-revision 1000000000 --mark-compacted"
    else
        echo "etcd's tool here cannot bump the revision (it can from 3.4.27, 3.5.10 and 3.6 on)"
    fi
    export bump cluster=$(setting initial-cluster) token=$(setting token) url=$(setting peer-url)
    unshare --mount sh -euc '
mount --bind $d $root/snapshot
mount --bind $etcd $root/var/lib/etcd
chroot $root $utility snapshot restore /snapshot/snapshot.db --data-dir /var/lib/etcd/quorate-new --name $name \
    --initial-cluster $cluster --initial-cluster-token $token --initial-advertise-peer-urls $url $bump
'
}
# etcd runs once with the flag, where nobody can reach it, so that no manifest ever holds it.
from_old_data() {
    mkdir $etcd/quorate-new
    cp -a $etcd/quorate-old-$(setting token) $etcd/quorate-new/member
    export address=$(setting address)
    unshare --mount --net sh -euc '
eval "$scratch"
mount --bind $etcd $root/var/lib/etcd
chroot $root /usr/local/bin/etcd --force-new-cluster --name $name --data-dir /var/lib/etcd/quorate-new --log-outputs stderr \
    --listen-client-urls $url --advertise-client-urls https://$address:2379 \
    --listen-peer-urls http://127.0.0.1:2380 >$d/forced.log 2>&1 7>&- &
pid=$!
trap "kill -9 $pid 2>/dev/null || true" EXIT
serves "etcd does not serve its old data as a cluster of one" $d/forced.log
members=$(etcdctl member list | wc -l)
[ "$members" = 1 ] || { echo "etcd still has $members members" >&2; exit 1; }
kill -TERM $pid
wait $pid || true
'
}
if [ ! -d $etcd/member ]; then
    rm -rf $etcd/quorate-new
    mkdir -p $root/var/lib/etcd
    export d etcd name=$(setting name)
    if [ "$(setting way)" = force-new-cluster ]; then from_old_data; else from_snapshot; fi
    # One line: when this data is made, what it leaves behind, and what the data before it said.
    old=$etcd/quorate-old-$(setting token)/quorate-left-behind
    [ ! -e $old ] || before=$(cat $old)
    echo made=$(date +%s) $(setting left-behind) ${before:-} >$etcd/quorate-new/member/quorate-left-behind
    chmod 700 $etcd/quorate-new/member
    chown -R $owner:$owner $etcd/quorate-new/member
    sync
    mv -T $etcd/quorate-new/member $etcd/member
    rm -rf $etcd/quorate-new
fi
: >$d/restored
sync $etcd $d
