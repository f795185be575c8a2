# What each member of the etcd of this host holds at revision $1, asked of all of them from here.
revision=$1
export revision pki
unshare --mount sh -euc '
mount --bind $pki $root$pki
hash=$(chroot $root /usr/local/bin/etcdctl --endpoints=https://127.0.0.1:2379 --command-timeout=60s --dial-timeout=5s \
    --cacert=$pki/ca.crt --cert=$pki/healthcheck-client.crt --key=$pki/healthcheck-client.key \
    endpoint hashkv --cluster --rev=$revision -w json)
echo "hash $hash"
'
