# Saves a snapshot of the etcd of this host, and says what that holds at its revision.
# $1: `data` where the member does not serve: etcd then runs on a copy of its data as a cluster of one, where nobody can reach
# it. $2: the member's name.
from=${1-living} name=${2-}
work=/var/lib/quorate/snapshot
# A trial that a dead run left under way reads what is replaced here.
while systemctl show -p ActiveState quorate-etcd-trial.service | grep -qx -e ActiveState=active -e ActiveState=activating; do
    sleep 0.3
done
rm -rf $work
mkdir -p $work
size() { stat -c '%s %y' "$data/member/snap/db"; }
before=$(size)
needed=$(( ${before%% *} * 4 / 1024 ))
if [ $from = data ]; then
    needed=$((needed + $(du -sk "$data/member" | cut -f 1)))
fi
free=$(df -Pk $work | awk 'NR == 2 { print $4 }')
if [ "$free" -lt "$needed" ]; then
    echo "$work has $free KiB free, and a snapshot with its trial restore needs $needed" >&2
    exit 1
fi
export work pki name
case $from in
living)
    own=
    serving='
mount --bind $pki $root$pki
etcdctl() {
    chroot $root /usr/local/bin/etcdctl --endpoints=https://127.0.0.1:2379 --command-timeout=600s --dial-timeout=5s \
        --cacert=$pki/ca.crt --cert=$pki/healthcheck-client.crt --key=$pki/healthcheck-client.key "$@"
}
' ;;
data)
    mkdir $work/copy
    cp -a "$data/member" $work/copy/
    if [ "$(size)" != "$before" ]; then
        echo "etcd has written to its data while it was copied: it serves again" >&2
        exit 1
    fi
    own=--net
    serving='
eval "$scratch"
chroot $root /usr/local/bin/etcd --force-new-cluster --name $name --data-dir /snapshot/copy --log-outputs stderr \
    --listen-client-urls $url --advertise-client-urls $url \
    --listen-peer-urls http://127.0.0.1:2380 >$work/copy.log 2>&1 7>&- &
pid=$!
trap "kill -9 $pid 2>/dev/null; rm -rf $work/copy" EXIT
serves "etcd does not serve a copy of its data" $work/copy.log
echo "member-status $(curl -s --max-time 10 -d "{}" $url/v3/maintenance/status)"
echo "member-list $(curl -s --max-time 10 -d "{}" $url/v3/cluster/member/list)"
' ;;
esac
unshare --mount $own sh -euc '
mount --bind $work $root/snapshot
'"$serving"'
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
