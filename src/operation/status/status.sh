# What `quorate status` wants to know of a master or worker beyond the report that provisioning reads.
# $1 role, $2 the host's own address, $3 host:port of the control plane
# The versions are those of the programs on disk: what runs is read from the Node, where the cluster answers.
ca=/etc/kubernetes/pki/ca.crt
version() { printf '%s %s\n' "$1" "$("$@" 2>/dev/null | head -n 1)"; }
{ command -v kubelet >/dev/null && version kubelet --version; } &
{ command -v containerd >/dev/null && version containerd --version; } &
if [ "$1" = master ] && [ -r $ca ] && command -v curl >/dev/null; then
    {
        code=$(curl -s -o /dev/null --max-time 4 --cacert $ca -w '%{http_code}' "https://$3/readyz" 2>/dev/null)
        echo "endpoint $code"
    } &
    curl -s --max-time 4 --cacert $ca "https://$2:6443/readyz?verbose" 2>/dev/null | sed -n 's/^\[-\]\([^ ]*\).*/failing \1/p' &
fi
wait
exit 0
