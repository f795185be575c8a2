export LC_ALL=C.UTF-8
dnf -q --disablerepo='*' --repofrompath="quorate-offered,$1" --enablerepo=quorate-offered \
    --setopt=quorate-offered.gpgcheck=0 --setopt=quorate-offered.skip_if_unavailable=1 \
    repoquery --qf '%{version}\n' kubeadm 2>/dev/null | sort -u
exit 0
