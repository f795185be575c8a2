//! Red Hat Enterprise Linux and its kin: dnf and rpm.

use super::{EtcdFormat, Family, Hold, RepositoryFormat};

/// The family.
pub const FAMILY: Family = Family {
    name: "Red Hat",
    ids: &["rhel", "centos", "fedora", "rocky", "almalinux"],
    install: include_str!("redhat/install.sh"),
    install_release: include_str!("redhat/install_release.sh"),
    refresh: include_str!("redhat/refresh.sh"),
    listings: include_str!("redhat/listings.sh"),
    offered: include_str!("redhat/offered.sh"),
    renamed: &[
        ("conntrack", Some("conntrack-tools")),
        ("iptables", Some("iptables-nft")),
        ("ebtables", None),
        ("curl", None),
    ],
    hold: Hold::Repository,
    repository: RepositoryFormat {
        file: "/etc/yum.repos.d/quorate-kubernetes.repo",
        key: "/etc/pki/rpm-gpg/RPM-GPG-KEY-quorate-kubernetes",
        content: repo,
        upstream: "https://pkgs.k8s.io/core:/stable:/v{minor}/rpm/",
        key_url: "repodata/repomd.xml.key",
    },
    etcd: EtcdFormat {
        packages: &["etcd"],
        install: include_str!("redhat/install_etcd.sh"),
        offered: include_str!("redhat/offered_etcd.sh"),
        file: "/etc/yum.repos.d/quorate-etcd.repo",
        key: "/etc/pki/rpm-gpg/RPM-GPG-KEY-quorate-etcd",
        content: etcd_repo,
    },
};

fn etcd_repo(url: &str, key: &str) -> String {
    format!(
        "# Written by quorate; changes made here are lost.\n[quorate-etcd]\nname=etcd\nbaseurl={url}\nenabled=1\ngpgcheck=1\n\
         gpgkey=file://{key}\n"
    )
}

/// The excluded packages are out of everybody's reach but ours: an ordinary `dnf upgrade` leaves them alone.
fn repo(url: &str, key: &str) -> String {
    format!(
        "# Written by quorate; changes made here are lost.\n[quorate-kubernetes]\nname=Kubernetes\nbaseurl={url}\nenabled=1\ngpgcheck=1\n\
         gpgkey=file://{key}\nexclude=kubelet kubeadm kubectl cri-tools kubernetes-cni\n"
    )
}
