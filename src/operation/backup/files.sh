# What of this host a bare machine needs to be it again, as a tar on standard output. Copies that quorate and kubeadm keep
# of older files are left out. Arguments: what to take besides.
cd /
umask 077
set -- etc/kubernetes var/lib/kubelet/config.yaml var/lib/kubelet/kubeadm-flags.env var/lib/kubelet/instance-config.yaml \
    var/lib/kubelet/pki etc/default/kubelet etc/containerd etc/haproxy etc/keepalived \
    etc/systemd/system/haproxy.service.d etc/systemd/system/keepalived.service.d etc/etcd \
    etc/systemd/system/etcd.service etc/machine-id "$@"
# Files that flags of static pods name: encryption providers, admission, webhooks, wherever they lie.
for manifest in etc/kubernetes/manifests/*.yaml; do
    [ -e "$manifest" ] || continue
    for path in $(sed -n 's,^ *- --[a-z-]*=/\([^ ]*\)$,\1,p' "$manifest"); do
        case $path in
        etc/kubernetes/* | var/log/* | var/lib/etcd* | usr/*) ;;
        *) [ ! -f "$path" ] || set -- "$@" "$path" ;;
        esac
    done
done
there=
for path in "$@"; do
    [ ! -e "$path" ] || there="$there $path"
done
[ -n "$there" ] || exit 0
# Words are split on purpose: the paths are the constants above or come from flags, which hold no spaces.
# shellcheck disable=SC2086
exec tar --create --file=- --numeric-owner --exclude=etc/kubernetes/tmp --exclude=etc/kubernetes/quorate/backup $there
