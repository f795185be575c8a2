# What preflight wants to know of one host, one fact per line. Reads only, but for a temporary file that is unlinked at once.
# $1 role, $2 the host's own address, $3 the virtual IP (empty: not ours), $4 interface of the virtual IP (may be empty),
# $5 where its etcd keeps its data (empty: it has none)
# $6... who must be reachable from here: name,address,port[,port...]
# All that takes time happens side by side, and only while the host is bare: a no-op run must not pay for it.
export LC_ALL=C
role=$1 own=$2 vip=$3 interface=$4 etcd=$5
shift 5
exec </dev/null

has() { command -v "$1" >/dev/null 2>&1; }

joined=no
case $role in
load-balancer) [ -S /run/haproxy/admin.sock ] && [ -e /etc/keepalived/keepalived.conf ] && joined=yes ;;
etcd) [ -e /etc/etcd/membership ] && joined=yes ;;
*) [ -e /etc/kubernetes/kubelet.conf ] && joined=yes ;;
esac
echo "joined $joined"

for config in /etc/kubernetes/admin.conf /etc/kubernetes/kubelet.conf; do
    [ -e "$config" ] || continue
    echo "endpoint $(sed -n '/^ *server: */{s///p;q;}' "$config")"
    break
done
case $role in
master | worker) [ ! -d /var/lib/etcd/member ] || echo "etcd-data yes" ;;
esac
[ $joined = no ] || { echo "end"; exit 0; }

module() {
    if [ -d "/sys/module/$1" ] || modprobe -n -q "$1" 2>/dev/null; then echo "module $1 yes"; return; fi
    case $1 in
    overlay) grep -qw overlay /proc/filesystems && { echo "module $1 yes"; return; } ;;
    br_netfilter) [ -d /proc/sys/net/bridge ] && { echo "module $1 yes"; return; } ;;
    esac
    echo "module $1 no"
}

# Tells a closed port (somebody answered: nothing is in the way) from a blocked one (silence, or a router's refusal).
# Five seconds of silence: less could be a computer that is busy, and only a blocked path has to wait for them.
reach() {
    if has bash; then
        said=$(timeout 5 bash -c 'exec 3<>"/dev/tcp/$1/$2"' reach "$2" "$3" 2>&1)
    elif has nc; then
        said=$(timeout 6 nc -z -v -w 5 "$2" "$3" 2>&1)
    elif has curl; then
        said=$(curl -v -sS -o /dev/null -m 5 -w 'connected=%{time_connect}' "http://$2:$3/" 2>&1)
    else
        echo "reach $1 $3 unknown"
        return
    fi
    code=$?
    case $code:$said in
    *refused*) verdict=closed ;;
    *"No route"* | *nreachable* | *prohibited* | *"timed out"*connected=0.000000* | *"timed out") verdict=blocked ;;
    0:* | *connected=*[1-9]*) verdict=open ;;
    124:* | 28:*) verdict=blocked ;;
    *) verdict=unknown ;;
    esac
    echo "reach $1 $3 $verdict"
}

virtual_ip() {
    if has ping; then
        ping -c 1 -W 1 "$vip" >/dev/null 2>&1 && answered=yes
    elif has bash; then
        timeout 1 bash -c 'exec 3<>"/dev/tcp/$1/9"' arp "$vip" >/dev/null 2>&1
    else
        echo "vip unknown"
        return
    fi
    neighbour=$(ip -4 neigh show to "$vip" 2>/dev/null | head -n 1)
    mac=$(printf '%s\n' "$neighbour" | sed -n 's/.*lladdr \([^ ]*\).*/\1/p')
    case ${answered:-no}:$neighbour in
    yes:* | *REACHABLE*) echo "vip answered ${mac:-unknown}" ;;
    *) echo "vip silent" ;;
    esac
}

# Two seconds of VRRP: whoever is master of a router id says so every second by default.
advertisements() {
    if has perl && perl -MSocket -e 1 2>/dev/null; then
        perl -MSocket -e '
            $| = 1;
            socket(my $s, PF_INET, SOCK_RAW, 112) or do { print "listened no\n"; exit };
            setsockopt($s, 0, 35, inet_aton("224.0.0.18") . inet_aton($ARGV[0]));
            print "listened yes\n";
            my %seen;
            $SIG{ALRM} = sub { exit };
            alarm 2;
            while (defined recv($s, my $packet, 2048, 0)) {
                my $header = (unpack("C", $packet) & 15) * 4;
                my $line = inet_ntoa(substr($packet, 12, 4)) . " " . unpack("C", substr($packet, $header + 1, 1));
                print "vrrp $line\n" unless $seen{$line}++;
            }' "$own"
    elif has tcpdump; then
        echo "listened yes"
        timeout 2 tcpdump -l -n -i "${interface:-any}" 'ip proto 112' 2>/dev/null |
            sed -n 's/.*IP \([0-9.]*\) > .*vrid \([0-9]*\),.*/vrrp \1 \2/p' | sort -u
    else
        echo "listened no"
    fi
}

# How long a small write takes to be on disk: 2300 bytes each, as etcd's log writes them.
sync_latency() {
    has perl && perl -e '
        use Fcntl;
        my %call = (x86_64 => 228, aarch64 => 113);
        my $machine = `uname -m`; chomp $machine;
        my $now = eval { require Time::HiRes; \&Time::HiRes::time };
        $now ||= $call{$machine} && sub {
            my $time = pack "qq", 0, 0;
            syscall($call{$machine}, 1, $time);
            my ($s, $ns) = unpack "qq", $time;
            return $s + $ns / 1e9;
        } or exit 1;
        my $path = "$ARGV[0]/.quorate-sync-$$";
        sysopen(my $file, $path, O_WRONLY | O_CREAT | O_EXCL | O_DSYNC, 0600) or exit 1;
        unlink $path;
        my ($begin, @took) = ($now->());
        while (@took < 200) {
            my $start = $now->();
            syswrite($file, "x" x 2300) or exit 1;
            push @took, $now->() - $start;
            last if $now->() - $begin > 2;
        }
        @took = sort { $a <=> $b } @took;
        printf "sync p99 %d %s\n", $took[int(0.99 * $#took)] * 1e6, $ARGV[0];' "$1" && return
    file=$1/.quorate-sync-$$
    said=$(dd if=/dev/zero of="$file" bs=2300 count=50 oflag=dsync 2>&1)
    rm -f "$file"
    seconds=$(printf '%s\n' "$said" | sed -n 's/.*copied, \([0-9.e-]*\) s.*/\1/p')
    [ -z "$seconds" ] || awk "BEGIN { printf \"sync mean %d %s\\n\", $seconds * 1e6 / 50, \"$1\" }"
}

case $role in
master | worker) module overlay; module br_netfilter ;;
esac
if has containerd; then
    version=$(containerd --version 2>/dev/null) && echo "containerd ${version#containerd }"
fi

for target in "$@"; do
    name=${target%%,*} rest=${target#*,}
    address=${rest%%,*} ports=${rest#*,}
    for port in $(printf '%s' "$ports" | tr , ' '); do
        reach "$name" "$address" "$port" &
    done
done
if [ "$role" = load-balancer ] && [ -n "$vip" ]; then
    virtual_ip &
    advertisements &
fi
if [ -n "$etcd" ]; then
    while [ ! -d "$etcd" ]; do etcd=${etcd%/*}; done
    etcd=${etcd:-/}
    df -P -k "$etcd" 2>/dev/null | awk -v dir="$etcd" 'NR == 2 { print "space", $4, dir }'
    sync_latency "$etcd" &
fi
wait
echo "end"
