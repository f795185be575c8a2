# Saves a snapshot of the etcd of this host, and says what the living member holds at its revision.
work=/var/lib/quorate/snapshot
# A trial that a dead run left under way reads what is replaced here.
while systemctl show -p ActiveState quorate-etcd-trial.service | grep -qx -e ActiveState=active -e ActiveState=activating; do
    sleep 0.3
done
rm -rf $work
mkdir -p $work
needed=$(( $(stat -c %s "$data/member/snap/db") * 4 / 1024 ))
free=$(df -Pk $work | awk 'NR == 2 { print $4 }')
if [ "$free" -lt "$needed" ]; then
    echo "$work has $free KiB free, and a snapshot with its trial restore needs $needed" >&2
    exit 1
fi
export work pki
unshare --mount sh -euc '
mount --bind $work $root/snapshot
mount --bind $pki $root$pki
etcdctl() {
    chroot $root /usr/local/bin/etcdctl --endpoints=https://127.0.0.1:2379 --command-timeout=600s --dial-timeout=5s \
        --cacert=$pki/ca.crt --cert=$pki/healthcheck-client.crt --key=$pki/healthcheck-client.key "$@"
}
etcdctl snapshot save /snapshot/snapshot.db >&2
status=$(chroot $root $utility snapshot status /snapshot/snapshot.db -w json)
revision=$(printf %s "$status" | sed "s/.*\"revision\":\([0-9]*\).*/\1/")
echo "status $status"
echo "hash $(etcdctl endpoint hashkv --rev=$revision -w json)"
echo "count $(etcdctl get "" --from-key --keys-only --limit=1 --rev=$revision --consistency=s -w json)"
' 2>$work/log || { cat $work/log >&2; exit 1; }
echo "image $image"
digest=$(sha256sum $work/snapshot.db)
echo "sha256 ${digest%% *}"
echo "size $(stat -c %s $work/snapshot.db)"
