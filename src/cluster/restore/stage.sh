# Brings this host one stage further; what it has reached is marked in $d, on disk, so that it can be done again after
# any interruption. $1: the stage.
stage=$1
d=/var/lib/quorate/restore manifests=/etc/kubernetes/manifests
[ -e $d/settings ] || { echo "there is no restore on this host" >&2; exit 1; }
setting() { sed -n "s/^$1 //p" $d/settings; }
mark() { : >$d/$1.new && mv -f $d/$1.new $d/$1 && sync $d/$1 $d; }
token=$(setting token) role=$(setting role)
# Settings that an older quorate laid do not say: etcd is kubelet's then.
runner=$(setting runner) plane=$(setting control-plane) etcd=$(setting data)
runner=${runner:-kubelet} plane=${plane:-yes} etcd=${etcd:-/var/lib/etcd}

# Waits until `$@` succeeds, at most for 4 minutes.
await() {
    tries=0
    until "$@"; do
        tries=$((tries + 1))
        [ $tries -lt 480 ] || { echo "gave up waiting: $*" >&2; return 1; }
        sleep 0.5
    done
}
# The apiserver would wait half a minute for its clients' watches; what it could still write is replaced anyway.
gone() {
    pgrep -x "etcd|kube-apiserver|kube-controller|kube-scheduler" >/dev/null || return 0
    [ $tries -lt 10 ] || pkill -KILL -x "kube-apiserver|kube-controller|kube-scheduler" || true
    return 1
}
has_unit() { [ $runner = systemd ] && [ "$role" != client ]; }
# Not even a boot may start it before its data is there.
stop_etcd() {
    has_unit || return 0
    for unit in etcd-watch etcd; do
        systemctl disable --quiet --now $unit 2>/dev/null || true
    done
}
start_etcd() {
    if has_unit; then
        systemctl daemon-reload
        systemctl enable --quiet etcd
        systemctl reset-failed etcd 2>/dev/null || true
        systemctl start --no-block etcd
    else
        back etcd
    fi
}
# What lets a member step aside that has lost the others.
start_watch() {
    if has_unit && [ -e /etc/systemd/system/etcd-watch.service ]; then
        systemctl enable --quiet --now etcd-watch
    fi
}
park() {
    stop_etcd
    mkdir -p $d/manifests
    for name in kube-apiserver kube-controller-manager kube-scheduler etcd; do
        [ ! -e $manifests/$name.yaml ] || mv -f $manifests/$name.yaml $d/manifests/
    done
    # A blank machine has none, and nothing to stop.
    [ $plane = no ] || systemctl start kubelet 2>/dev/null || true
    await gone
}
back() { [ ! -e $d/manifests/$1.yaml ] || mv -f $d/manifests/$1.yaml $manifests/; }
etcd_serves() { curl -s --max-time 3 http://127.0.0.1:2381/health | grep -q '"true"'; }
api_serves() {
    curl -s -f -o /dev/null --max-time 3 --cacert /etc/kubernetes/pki/ca.crt "https://$(setting address):6443/readyz"
}
# Takes the data out of etcd's sight. That is a rename, but where kubeadm will empty the directory: then a copy, that counts only
# when it is whole.
aside() {
    [ -d $etcd/member ] || return 0
    if [ "$role" = member ] || has_unit; then
        mv -T $etcd/member $etcd/quorate-old-$token
    else
        rm -rf $d/old.part
        cp -a $etcd/member $d/old.part
        sync
        rm -rf $d/old
        mv -T $d/old.part $d/old
        rm -rf $etcd/member
    fi
}

case $stage in
stopped)
    park
    mark stopped
    ;;
aside)
    stop_etcd
    aside
    sync $etcd
    mark aside
    ;;
etcd)
    start_etcd
    await etcd_serves
    mark etcd
    ;;
apiserver)
    back kube-apiserver
    await api_serves
    mark apiserver
    ;;
finished)
    [ "$role" != member ] || start_watch
    # A master that joins again is reset before: nothing of it starts.
    if [ $plane != no ] && { [ "$role" = member ] || [ $runner = systemd ]; }; then
        back kube-controller-manager
        back kube-scheduler
        systemctl restart kubelet
    fi
    rm -f $d/snapshot.db
    mark finished
    ;;
abort-stop)
    mark abort
    park
    ;;
abort-data)
    if [ -d $etcd/quorate-old-$token ]; then
        rm -rf $etcd/quorate-new
        [ ! -d $etcd/member ] || mv -T $etcd/member $etcd/quorate-discarded-$token
        mv -T $etcd/quorate-old-$token $etcd/member
    elif [ -d $d/old ] && [ ! -d $etcd/member ]; then
        rm -rf $etcd/member.part
        cp -a $d/old $etcd/member.part
        mv -T $etcd/member.part $etcd/member
    fi
    [ "$role" = client ] || sync $etcd
    ;;
abort-start)
    if [ "$role" != client ]; then start_etcd; fi
    if [ $plane != no ]; then
        for name in kube-apiserver kube-controller-manager kube-scheduler; do back $name; done
        systemctl restart kubelet
    fi
    [ "$role" = client ] || await etcd_serves
    start_watch
    [ $plane = no ] || await api_serves
    mkdir -p /var/lib/quorate/restored
    mv -T $d /var/lib/quorate/restored/aborted-$token
    ;;
*)
    echo "there is no stage $stage" >&2
    exit 1
    ;;
esac
