# The programs of the etcd that the host itself has, in a root of their own, laid out as etcd's image is: see image.sh, which
# this takes the place of where systemd runs etcd. Mounts are private: nothing of them shows outside $root.
set -eu
umask 077
root=/run/quorate/etcd-root pki=/etc/etcd/pki
data=$(sed -n 's/^data-dir: *"\(.*\)"$/\1/p' /etc/etcd/etcd.yaml)
mkdir -p $root
exec 7>>/run/quorate/etcd-image.lock
flock 7
dismiss() { umount -R $root >/dev/null 2>&1 || true; }
trap dismiss EXIT
trap 'exit 143' INT TERM
dismiss
mount -t tmpfs -o mode=755,size=512m tmpfs $root
mount --make-private $root
mkdir -p $root/snapshot $root/tmp $root/programs $root$pki
for name in usr lib lib32 lib64 libx32 bin sbin; do
    if [ -L /$name ]; then
        cp -a /$name $root/
    elif [ -d /$name ]; then
        mkdir $root/$name
        mount --bind --make-private /$name $root/$name
    fi
done
for program in etcd etcdctl etcdutl; do
    path=$(command -v $program) || continue
    install -m 755 "$path" $root/programs/
done
mount --bind $root/programs $root/usr/local/bin
image="etcd $(etcd --version | sed -n 's/^etcd Version: *//p')"
export ETCDCTL_API=3 root
utility=/usr/local/bin/etcdctl
if [ -e $root/usr/local/bin/etcdutl ]; then utility=/usr/local/bin/etcdutl; fi
export utility
