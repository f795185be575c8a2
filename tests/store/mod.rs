//! Backups that no cluster was asked for.

use quorate::backup::Id;
use quorate::backup::manifest::{Etcd, Manifest, SNAPSHOT, VERSION, Verified};
use quorate::backup::seal::Seal;
use quorate::backup::store::Store;
use quorate::cluster::snapshot::Contents;

const SNAPSHOT_SIZE: usize = 20_000;

/// A tar of a master without these files of its PKI.
pub fn master_tar(without: &[&str]) -> Vec<u8> {
    let mut builder = tar::Builder::new(Vec::new());
    let names = quorate::cluster::ca::SHARED_PKI;
    for name in names.iter().filter(|name| !without.contains(name)) {
        let mut header = tar::Header::new_gnu();
        header.set_size(3);
        header.set_mode(0o600);
        let path = format!("etc/kubernetes/pki/{name}");
        builder.append_data(&mut header, path, &b"key"[..]).unwrap();
    }
    builder.into_inner().unwrap()
}

/// Writes a backup of a master's tar and a snapshot that is no snapshot, all bytes of which are random.
pub fn write(store: &Store, seal: &Seal, tar: &[u8]) -> Manifest {
    let taken: jiff::Timestamp = "2026-11-21T13:30:00Z".parse().unwrap();
    let writing = store.write().unwrap();
    let id = Id::new(taken);
    let growing = writing.begin(id.clone()).unwrap();
    // Nothing that zstd could make smaller than a page.
    let snapshot: Vec<u8> = (0..SNAPSHOT_SIZE).map(|_| rand::random()).collect();
    let objects = vec![
        seal.whole(growing.directory(), SNAPSHOT, &snapshot)
            .unwrap(),
        seal.whole(growing.directory(), "master1.tar", tar).unwrap(),
    ];
    let manifest = Manifest {
        version: VERSION,
        id,
        cluster: "x".to_owned(),
        ca: "sha256:1".to_owned(),
        taken,
        duration_ms: 1,
        etcd: Etcd {
            cluster_id: "1".to_owned(),
            version: "3.4.23".to_owned(),
            image: "etcd".to_owned(),
            member: "master1".to_owned(),
            had_quorum: true,
            revision: 7,
            contents: Contents {
                hash: 1,
                compacted: 1,
                keys: 1,
            },
            members: vec![("master1".to_owned(), "https://10.1.1.101:2380".to_owned())],
        },
        kubernetes: "v1.36.2".to_owned(),
        quorate: "0".to_owned(),
        sealed: seal.kind(),
        missing_hosts: Vec::new(),
        objects,
        verified: Verified {
            at: taken,
            on: "master1".to_owned(),
            how: "a test".to_owned(),
        },
    };
    growing.finish(&manifest).unwrap();
    manifest
}
