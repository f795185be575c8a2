//! Debian, Ubuntu and their kin: apt and dpkg.

use super::{EtcdFormat, Family, Hold, RepositoryFormat};

/// The family.
pub const FAMILY: Family = Family {
    name: "Debian",
    ids: &["debian", "ubuntu"],
    install: concat!(
        include_str!("debian/apt.sh"),
        include_str!("debian/install.sh")
    ),
    install_release: concat!(
        include_str!("debian/apt.sh"),
        include_str!("debian/install_release.sh")
    ),
    refresh: concat!(
        include_str!("debian/apt.sh"),
        include_str!("debian/refresh.sh")
    ),
    listings: include_str!("debian/listings.sh"),
    offered: include_str!("debian/offered.sh"),
    renamed: &[],
    hold: Hold::Mark,
    repository: RepositoryFormat {
        file: "/etc/apt/sources.list.d/quorate-kubernetes.list",
        key: "/etc/apt/keyrings/quorate-kubernetes.asc",
        content: list,
        upstream: "https://pkgs.k8s.io/core:/stable:/v{minor}/deb/",
        key_url: "Release.key",
    },
    etcd: EtcdFormat {
        packages: &["etcd-server", "etcd-client"],
        install: concat!(
            include_str!("debian/apt.sh"),
            include_str!("debian/install_etcd.sh")
        ),
        offered: include_str!("debian/offered_etcd.sh"),
        file: "/etc/apt/sources.list.d/quorate-etcd.list",
        key: "/etc/apt/keyrings/quorate-etcd.asc",
        content: list,
    },
};

fn list(url: &str, key: &str) -> String {
    format!("# Written by quorate; changes made here are lost.\ndeb [signed-by={key}] {url} /\n")
}
