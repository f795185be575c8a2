d=/var/lib/quorate/restore
[ ! -e $d/settings ] || sed 's/^/set /' $d/settings
for mark in stopped aside restored etcd apiserver finished abort rebuilt; do
    [ ! -e $d/$mark ] || echo "mark $mark"
done
[ ! -e $d/snapshot.db ] || echo "snapshot $(stat -c %s $d/snapshot.db)"
stacked=
for manifest in /etc/kubernetes/manifests/etcd.yaml $d/manifests/etcd.yaml; do
    [ -e $manifest ] || continue
    stacked=yes
    sed -n 's/^ *image: *//p' $manifest | head -n 1 | sed 's/^/image /'
done
[ ! -e /etc/etcd/membership ] || echo "image etcd:$(etcd --version | sed -n 's/^etcd Version: *//p')"
for manifest in /etc/kubernetes/manifests/kube-apiserver.yaml $d/manifests/kube-apiserver.yaml; do
    [ ! -e $manifest ] || [ -n "$stacked" ] || echo "has apiserver-only"
done
exit 0
