# Makes this member's data from the snapshot, beside etcd's, and gives it its name when it is whole.
d=/var/lib/quorate/restore etcd=/var/lib/etcd
setting() { sed -n "s/^$1 //p" $d/settings; }
arrived=$(sha256sum $d/snapshot.db)
if [ "${arrived%% *}" != "$(setting sha256)" ]; then
    echo "$d/snapshot.db is not the snapshot of the backup: SHA-256 ${arrived%% *}" >&2
    exit 1
fi
if [ ! -d $etcd/member ]; then
    rm -rf $etcd/quorate-new
    mkdir -p $root/var/lib/etcd
    bump=
    if chroot $root $utility snapshot restore --help 2>&1 | grep -q -e --bump-revision; then
        bump="--bump-revision 1000000000 --mark-compacted"
    else
        echo "etcd's tool here cannot bump the revision (it can from 3.4.27, 3.5.10 and 3.6 on)"
    fi
    export d etcd bump name=$(setting name) cluster=$(setting initial-cluster) token=$(setting token) url=$(setting peer-url)
    unshare --mount sh -euc '
mount --bind $d $root/snapshot
mount --bind $etcd $root/var/lib/etcd
chroot $root $utility snapshot restore /snapshot/snapshot.db --data-dir /var/lib/etcd/quorate-new --name $name \
    --initial-cluster $cluster --initial-cluster-token $token --initial-advertise-peer-urls $url $bump
'
    chmod 700 $etcd/quorate-new/member
    sync
    mv -T $etcd/quorate-new/member $etcd/member
    rmdir $etcd/quorate-new
fi
chmod 700 $etcd
: >$d/restored
sync $etcd $d
