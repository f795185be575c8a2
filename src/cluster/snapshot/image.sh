# The programs of etcd's own image, without a container: kubeadm hosts have no etcdctl. After this, $root is the image's
# file system, $utility its program for files of snapshots (etcdutl from 3.5 on, etcdctl before), $pki and $data are where the
# member has its certificates and its data.
set -eu
umask 077
root=/run/quorate/etcd-image pki=/etc/kubernetes/pki/etcd data=/var/lib/etcd
mkdir -p /run/quorate
exec 7>>/run/quorate/etcd-image.lock
flock 7
dismiss() { ctr -n k8s.io images unmount --rm $root >/dev/null 2>&1 || true; }
trap dismiss EXIT
trap 'exit 143' INT TERM
dismiss
manifest=
for file in /etc/kubernetes/manifests/etcd.yaml /var/lib/quorate/restore/manifests/etcd.yaml; do
    if [ -z "$manifest" ] && [ -e $file ]; then manifest=$file; fi
done
[ -n "$manifest" ] || { echo "no manifest of etcd names its image" >&2; exit 1; }
image=$(sed -n 's/^ *image: *//p' "$manifest" | head -n 1 | tr -d \"\')
mkdir -p $root
ctr -n k8s.io images ls -q | grep -qxF "$image" || crictl pull "$image" >&2
ctr -n k8s.io images mount --rw "$image" $root >/dev/null
mkdir -p $root/snapshot $root$pki $root/tmp
export ETCDCTL_API=3 root
utility=/usr/local/bin/etcdctl
if [ -e $root/usr/local/bin/etcdutl ]; then utility=/usr/local/bin/etcdutl; fi
export utility
