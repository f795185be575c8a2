#!/usr/bin/env bash
# Makes every image of a kubeadm 1.20 cluster and fills a registry with them.
#
# Uses LAB_KUBERNETES and LAB_STANDINS. Result: RESULT/registry, the storage of a docker-registry (names as in
# k8s.gcr.io, without the host); RESULT/bin/docker-registry, which serves it. The registry is unpacked, not
# installed: Debian's package would start a server of its own.
set -euo pipefail
# shellcheck source-path=SCRIPTDIR source=common.sh
. "$(dirname "${BASH_SOURCE[0]}")/common.sh"

# What `kubeadm config images list` of these versions asks for.
readonly VERSIONS=(v1.20.2 v1.20.3)
readonly PAUSE=3.2 ETCD=3.4.13-0 COREDNS=1.7.0 HELLO=1
readonly STATIC=(kube-apiserver kube-controller-manager kube-scheduler)
RECIPES=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
readonly RECIPES
readonly TREES=$WORK/trees LAYERS=$WORK/layers DEBIAN=$WORK/debian

# The libraries that a program loads, and the loader itself.
copy_with_libraries() {
  local tree=$1 program=$2 to=$3 library
  install -D -m 755 "$program" "$tree/$to"
  copy_libraries "$tree" "$program"
}

copy_libraries() {
  local tree=$1 library
  { ldd "$2" 2>/dev/null || true; } | grep -o '/[^ ]*' | while read -r library; do
    install -D -m 755 "$library" "$tree/$library"
  done
}

busybox() {
  local tree=$1 name
  install -D -m 755 "$DEBIAN/bin/busybox" "$tree/bin/busybox"
  for name in sh cat ls wget nslookup sleep; do
    ln -s busybox "$tree/bin/$name"
  done
}

tree_of_etcd() {
  copy_with_libraries "$1" "$DEBIAN/usr/bin/etcd" usr/local/bin/etcd
  copy_with_libraries "$1" "$DEBIAN/usr/bin/etcdctl" usr/local/bin/etcdctl
  busybox "$1"
}

# kube-proxy runs iptables and conntrack; the same Debian ones that the hosts have.
tree_of_proxy() {
  local tree=$1 version=$2 name
  install -D -m 755 "$LAB_KUBERNETES/$version/kube-proxy" "$tree/usr/local/bin/kube-proxy"
  copy_with_libraries "$tree" /usr/sbin/xtables-nft-multi usr/sbin/xtables-nft-multi
  copy_with_libraries "$tree" "$DEBIAN/usr/sbin/conntrack" usr/sbin/conntrack
  for name in iptables iptables-save iptables-restore ip6tables ip6tables-save ip6tables-restore; do
    ln -s xtables-nft-multi "$tree/usr/sbin/$name"
  done
  mkdir -p "$tree/run" "$tree/$(dirname "$(xtables_modules)")"
  cp -a "$(xtables_modules)" "$tree/$(xtables_modules)"
  # A Service with several endpoints needs libxt_statistic, and that libm.
  for name in "$(xtables_modules)"/*.so; do
    copy_libraries "$tree" "$name"
  done
  busybox "$tree"
}

xtables_modules() {
  dpkg -L iptables | grep '/xtables$'
}

make_trees() {
  local version name
  unpack "$DEBIAN" etcd-server etcd-client busybox-static conntrack docker-registry
  for version in "${VERSIONS[@]}"; do
    for name in "${STATIC[@]}"; do
      install -D -m 755 "$LAB_KUBERNETES/$version/$name" "$TREES/$name@$version/usr/local/bin/$name"
    done
    tree_of_proxy "$TREES/kube-proxy@$version" "$version"
  done
  mkdir -p "$TREES/pause@$PAUSE"
  gcc -Os -static -s -o "$TREES/pause@$PAUSE/pause" "$RECIPES/pause.c"
  tree_of_etcd "$TREES/etcd@$ETCD"
  install -D -m 755 "$LAB_STANDINS/coredns" "$TREES/coredns@$COREDNS/coredns"
  install -D -m 755 "$LAB_STANDINS/hello" "$TREES/hello@$HELLO/hello"
  busybox "$TREES/hello@$HELLO"
}

# What runs where a Pod names no command.
entrypoint() {
  case $1 in
    pause | coredns | hello) printf '["/%s"]' "$1" ;;
    *) printf '["/usr/local/bin/%s"]' "$1" ;;
  esac
}

# One docker-archive of one layer: `archive NAME@TAG`. (A colon in a path would end it for skopeo.)
archive() {
  local image=$1 name=${1%@*} directory=$LAYERS/$1 digest
  mkdir -p "$directory"
  tar -C "$TREES/$image" --sort=name --owner=0 --group=0 --numeric-owner --mtime=@0 -cf "$directory/layer.tar" .
  digest=$(sha256sum "$directory/layer.tar" | cut -d ' ' -f 1)
  cat >"$directory/config.json" <<JSON
{"architecture":"$(dpkg --print-architecture)","os":"linux","created":"1970-01-01T00:00:00Z",
 "config":{"Entrypoint":$(entrypoint "$name"),"Env":["PATH=/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"]},
 "rootfs":{"type":"layers","diff_ids":["sha256:$digest"]},"history":[{"created_by":"quorate lab"}]}
JSON
  printf '[{"Config":"config.json","RepoTags":["%s"],"Layers":["layer.tar"]}]\n' "${image/@/:}" >"$directory/manifest.json"
  tar -C "$directory" -cf "$LAYERS/$image.tar" manifest.json config.json layer.tar
  rm -rf "$directory"
}

free_port() {
  python3 -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])'
}

# Starts the registry on loopback while this recipe runs.
start_registry() {
  local deadline=$((SECONDS + 30))
  PORT=$(free_port)
  install -D -m 755 "$DEBIAN/usr/bin/docker-registry" "$RESULT/bin/docker-registry"
  mkdir -p "$RESULT/registry"
  cat >"$WORK/registry.yaml" <<YAML
version: 0.1
log: { level: warn }
http: { addr: '127.0.0.1:$PORT' }
storage: { filesystem: { rootdirectory: $RESULT/registry } }
YAML
  "$RESULT/bin/docker-registry" serve "$WORK/registry.yaml" >>"$WORK/log" 2>&1 &
  REGISTRY=$!
  trap 'kill $REGISTRY' EXIT
  until (exec 3<>"/dev/tcp/127.0.0.1/$PORT") 2>/dev/null; do
    kill -0 $REGISTRY 2>/dev/null || fail "docker-registry ended: $(tail -n 3 "$WORK/log")"
    ((SECONDS < deadline)) || fail "docker-registry did not listen on 127.0.0.1:$PORT within 30 s"
    sleep 0.1
  done
}

# Layers stay as they are: compressing them would cost more than a lab ever saves.
push_all() {
  local archive image
  for archive in "$LAYERS"/*.tar; do
    image=$(basename "$archive" .tar)
    image=${image/@/:}
    skopeo --insecure-policy copy --preserve-digests --dest-tls-verify=false "docker-archive:$archive" "docker://127.0.0.1:$PORT/$image"
    rm "$archive"
  done
}

need skopeo gcc libc6-dev iptables python3-minimal libnetfilter-conntrack3
quietly 'collect what goes into images' make_trees
mkdir -p "$LAYERS"
for tree in "$TREES"/*; do
  quietly "pack $(basename "$tree")" archive "$(basename "$tree")"
done
start_registry
quietly 'push all into the registry' push_all
step 'done'
