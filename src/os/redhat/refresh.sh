dnf -y --disablerepo='*' --enablerepo=quorate-kubernetes --refresh makecache
