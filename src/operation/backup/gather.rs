//! What besides etcd's snapshot belongs to a backup.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use crate::backup::BackupError;
use crate::cluster::api::{self, Request};
use crate::cluster::ca::SHARED_PKI;
use crate::cluster::etcd::{MEMBERSHIP, Members};
use crate::cluster::etcd_member::{CA, CA_KEY};
use crate::host::Host;
use crate::host::command::{Command, Script};
use crate::host::error::HostError;

/// Where kubeadm keeps what it needs to know again, below `kube-system`; kubelet's carries the minor before 1.24.
fn config_maps(minor: u16) -> [String; 3] {
    let kubelet = if minor < 24 {
        format!("kubelet-config-1.{minor}")
    } else {
        "kubelet-config".to_owned()
    };
    [
        "kubeadm-config".to_owned(),
        kubelet,
        "kube-proxy".to_owned(),
    ]
}

/// The files of a host, as a tar.
pub async fn files(host: &Host) -> Result<Vec<u8>, HostError> {
    let script = Script::new("backup-files", include_str!("files.sh"));
    Ok(host.succeed(&Command::script(script)).await?.stdout)
}

/// The files of a tar that hold anything.
fn names(tar: &[u8]) -> std::io::Result<BTreeSet<String>> {
    let mut archive = tar::Archive::new(tar);
    let mut found = BTreeSet::new();
    for entry in archive.entries()? {
        let entry = entry?;
        if entry.size() > 0 {
            found.insert(entry.path()?.to_string_lossy().into_owned());
        }
    }
    Ok(found)
}

/// What a host was, going by its files.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Kind {
    /// It has an apiserver.
    pub is_master: bool,
    /// It is a member of an external etcd.
    pub is_member: bool,
}

/// What a host was whose tar this is; refuses that of a member of an external etcd that lacks etcd's CA.
pub fn kind(id: &str, host: &str, tar: &[u8]) -> Result<Kind, BackupError> {
    let damaged = |what: String| BackupError::Damaged {
        id: id.to_owned(),
        what: format!("{host}.tar: {what}"),
    };
    let found = names(tar).map_err(|error| damaged(error.to_string()))?;
    let has = |path: &str| found.contains(path.trim_start_matches('/'));
    let is_member = has(MEMBERSHIP);
    if is_member && !(has(CA) && has(CA_KEY)) {
        return Err(damaged(format!("it lacks {CA} or {CA_KEY}")));
    }
    Ok(Kind {
        is_master: has("etc/kubernetes/manifests/kube-apiserver.yaml"),
        is_member,
    })
}

/// What of [`SHARED_PKI`] a master's tar lacks.
pub fn missing_pki(tar: &[u8]) -> std::io::Result<Vec<String>> {
    let found = names(tar)?;
    // A master that asks an external etcd has no CA of etcd's to give on.
    let is_external = found.contains("etc/kubernetes/quorate/etcd/client.key");
    let is_wanted = |name: &&str| !(is_external && name.starts_with("etcd/"));
    let lacks = |name: &&str| !found.contains(&format!("etc/kubernetes/pki/{name}"));
    Ok(SHARED_PKI
        .into_iter()
        .filter(is_wanted)
        .filter(lacks)
        .map(str::to_owned)
        .collect())
}

/// Refuses a master's tar that lacks what no control plane can be brought back without.
pub fn check_pki(id: &str, host: &str, tar: &[u8]) -> Result<(), BackupError> {
    let damaged = |what: String| BackupError::Damaged {
        id: id.to_owned(),
        what: format!("{host}.tar: {what}"),
    };
    let missing = missing_pki(tar).map_err(|error| damaged(error.to_string()))?;
    if missing.is_empty() {
        return Ok(());
    }
    Err(damaged(format!(
        "/etc/kubernetes/pki lacks {}",
        missing.join(", ")
    )))
}

/// The cluster's own description: members, and the configuration that kubeadm keeps in it, if the API answers.
pub async fn description(master: &Host, members: &Members, minor: u16) -> Value {
    let mut configs = serde_json::Map::new();
    for name in config_maps(minor) {
        let path = format!("/api/v1/namespaces/kube-system/configmaps/{name}");
        match api::send(master, &path, Request::Get).await {
            Ok(response) if response.code == 200 => {
                configs.extend(response.json().map(|map| (name, map)));
            }
            Ok(response) if response.code == 404 => {}
            // Without quorum every question waits its time out: the next would too.
            Ok(_) | Err(_) => break,
        }
    }
    let members: Vec<Value> = members
        .0
        .iter()
        .map(|member| {
            json!({
                "id": member.id.to_string(),
                "name": member.name,
                "peer-urls": member.peer_urls,
                "client-urls": member.client_urls,
                "learner": member.is_learner,
            })
        })
        .collect();
    json!({ "members": members, "config-maps": configs })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A tar with these files below the PKI's directory.
    fn tar_of(names: &[&str], content: &[u8]) -> Vec<u8> {
        let mut builder = tar::Builder::new(Vec::new());
        for name in names {
            let mut header = tar::Header::new_gnu();
            header.set_size(content.len() as u64);
            header.set_mode(0o600);
            let path = format!("etc/kubernetes/pki/{name}");
            builder
                .append_data(&mut header, path, content)
                .expect("written");
        }
        builder.into_inner().expect("written")
    }

    #[test]
    fn a_master_without_one_file_of_its_pki_is_refused_by_name() {
        assert!(check_pki("x", "master1", &tar_of(&SHARED_PKI, b"key")).is_ok());
        for missing in SHARED_PKI {
            let rest: Vec<&str> = SHARED_PKI
                .into_iter()
                .filter(|name| *name != missing)
                .collect();
            let error = check_pki("x", "master1", &tar_of(&rest, b"key")).expect_err("refused");
            assert!(
                error.to_string().ends_with(&format!("lacks {missing}")),
                "{error}"
            );
        }
        assert!(
            check_pki("x", "master1", &tar_of(&SHARED_PKI, b"")).is_err(),
            "empty files are none"
        );
    }

    /// A tar with these files at absolute paths.
    fn at(paths: &[&str]) -> Vec<u8> {
        let mut builder = tar::Builder::new(Vec::new());
        for path in paths {
            let mut header = tar::Header::new_gnu();
            header.set_size(1);
            let path = path.trim_start_matches('/');
            let appended = builder.append_data(&mut header, path, b"x".as_slice());
            appended.expect("written");
        }
        builder.into_inner().expect("written")
    }

    #[test]
    fn a_member_of_an_external_etcd_has_its_ca_or_is_refused() {
        let whole = kind("x", "etcd1", &at(&[MEMBERSHIP, CA, CA_KEY])).expect("it is whole");
        assert!(whole.is_member && !whole.is_master);
        assert!(kind("x", "etcd1", &at(&[MEMBERSHIP, CA])).is_err());
        let manifest = "/etc/kubernetes/manifests/kube-apiserver.yaml";
        let master = kind("x", "master1", &at(&[manifest])).expect("it is whole");
        assert!(master.is_master && !master.is_member);
    }

    #[test]
    fn a_tar_that_is_cut_off_is_refused() {
        let whole = tar_of(&SHARED_PKI, b"key");
        let cut = whole.get(..700).expect("long enough");
        assert!(check_pki("x", "master1", cut).is_err());
        assert!(check_pki("x", "master1", b"no tar at all").is_err());
    }
}
