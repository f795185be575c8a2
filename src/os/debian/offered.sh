url=${1%/}
get() { curl -fsS --connect-timeout 10 --max-time 40 "$1" 2>/dev/null; }
{ get "$url/Packages.gz" | gzip -dc 2>/dev/null || get "$url/Packages"; } |
    awk '$1 == "Package:" { name = $2 } $1 == "Version:" && name == "kubeadm" { print $2 }' | sort -u
exit 0
