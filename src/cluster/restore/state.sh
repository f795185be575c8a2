d=/var/lib/quorate/restore
[ ! -e $d/settings ] || sed 's/^/set /' $d/settings
for mark in stopped aside restored etcd apiserver finished abort rebuilt; do
    [ ! -e $d/$mark ] || echo "mark $mark"
done
[ ! -e $d/snapshot.db ] || echo "snapshot $(stat -c %s $d/snapshot.db)"
for manifest in /etc/kubernetes/manifests/etcd.yaml $d/manifests/etcd.yaml; do
    [ ! -e $manifest ] || sed -n 's/^ *image: *//p' $manifest | head -n 1 | sed 's/^/image /'
done
exit 0
