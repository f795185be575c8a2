//! Backups on the operator's side: written whole or not at all, every kind of damage refused.

#![expect(
    clippy::indexing_slicing,
    clippy::unwrap_used,
    reason = "a test that meets something else may panic, and says it shortly"
)]

use camino::{Utf8Path, Utf8PathBuf};
use quorate::backup::manifest::{Etcd, Manifest, SNAPSHOT, VERSION, Verified};
use quorate::backup::seal::{Keys, Seal};
use quorate::backup::store::Store;
use quorate::backup::{BackupError, Id};
use quorate::cluster::snapshot::Contents;
use quorate::operation::backup::keep;

/// A store with one backup in it, and what opens it.
struct Bench {
    _directory: tempfile::TempDir,
    store: Store,
    identity: Utf8PathBuf,
    manifest: Manifest,
}

const SNAPSHOT_SIZE: usize = 20_000;

impl Bench {
    fn new(encrypted: bool) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let base = Utf8PathBuf::from_path_buf(directory.path().to_owned()).unwrap();
        let store = Store::new(base.join("store"));
        let key = age::x25519::Identity::generate();
        let identity = base.join("identity");
        let secret = age::secrecy::ExposeSecret::expose_secret(&key.to_string()).to_owned();
        std::fs::write(&identity, format!("# a comment\n{secret}\n")).unwrap();
        let recipients = [key.to_public().to_string()];
        let seal = if encrypted {
            Seal::of(&recipients, false).unwrap()
        } else {
            Seal::of(&[], true).unwrap()
        };
        let manifest = write(&store, &seal, &master_tar(&[]));
        Self {
            _directory: directory,
            store,
            identity,
            manifest,
        }
    }

    fn keys(&self) -> Keys {
        Keys::read(std::slice::from_ref(&self.identity)).unwrap()
    }

    fn path(&self, file: &str) -> Utf8PathBuf {
        self.store.place(&self.manifest.id).join(file)
    }

    /// What a full look at the backup says.
    fn check(&self) -> Result<(), BackupError> {
        let manifest = self.store.manifest(&self.manifest.id)?;
        keep::check(&self.store, &manifest, &self.keys())
    }
}

/// A tar of a master without these files of its PKI.
fn master_tar(without: &[&str]) -> Vec<u8> {
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

fn write(store: &Store, seal: &Seal, tar: &[u8]) -> Manifest {
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

fn files_of(directory: &Utf8Path) -> Vec<String> {
    let entries = std::fs::read_dir(directory).unwrap();
    let mut names: Vec<String> = entries
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    names
}

#[test]
fn what_was_written_is_whole_private_and_reads_back() {
    use std::os::unix::fs::PermissionsExt as _;
    for encrypted in [true, false] {
        let bench = Bench::new(encrypted);
        bench.check().unwrap();
        let tar = bench
            .store
            .content(&bench.manifest, &bench.keys(), "master1.tar")
            .unwrap();
        assert_eq!(tar, master_tar(&[]));
        for name in files_of(&bench.store.place(&bench.manifest.id)) {
            let mode = std::fs::metadata(bench.path(&name))
                .unwrap()
                .permissions()
                .mode();
            assert_eq!(mode & 0o777, 0o600, "{name}");
        }
    }
}

#[test]
fn an_encrypted_backup_shows_nothing_of_its_content() {
    let bench = Bench::new(true);
    let stored = std::fs::read(bench.path("master1.tar.zst.age")).unwrap();
    assert!(stored.starts_with(b"age-encryption.org/v1"));
    let text = String::from_utf8_lossy(&stored);
    assert!(
        !text.contains("etc/kubernetes") && !text.contains("key"),
        "{text}"
    );
}

#[test]
fn a_flipped_byte_anywhere_is_refused() {
    for encrypted in [true, false] {
        let bench = Bench::new(encrypted);
        for name in files_of(&bench.store.place(&bench.manifest.id)) {
            let path = bench.path(&name);
            let whole = std::fs::read(&path).unwrap();
            // The manifest's own tests flip every bit of it; here places spread over each file, the last byte among them.
            let step = (whole.len() / 40).max(1);
            for at in (0..whole.len()).step_by(step).chain([whole.len() - 1]) {
                let mut damaged = whole.clone();
                damaged[at] ^= 0x10;
                std::fs::write(&path, &damaged).unwrap();
                let refused = bench.check().map_err(|error| error.code());
                assert_eq!(refused, Err(5), "{name}, byte {at}");
            }
            std::fs::write(&path, &whole).unwrap();
        }
        bench.check().unwrap();
    }
}

#[test]
fn a_truncated_or_missing_file_is_refused_by_name() {
    let bench = Bench::new(true);
    for name in files_of(&bench.store.place(&bench.manifest.id)) {
        let path = bench.path(&name);
        let whole = std::fs::read(&path).unwrap();
        for length in [0, 1, whole.len() / 2, whole.len() - 1] {
            std::fs::write(&path, &whole[..length]).unwrap();
            let error = bench.check().unwrap_err().to_string();
            assert!(error.contains(&name), "{name} cut at {length}: {error}");
        }
        std::fs::remove_file(&path).unwrap();
        let error = bench.check().unwrap_err().to_string();
        assert!(error.contains(&name), "{name} removed: {error}");
        std::fs::write(&path, &whole).unwrap();
    }
}

#[test]
fn the_wrong_key_is_refused_and_without_one_only_the_outside_is_looked_at() {
    let bench = Bench::new(true);
    let manifest = bench.store.manifest(&bench.manifest.id).unwrap();
    keep::check(&bench.store, &manifest, &Keys::default()).unwrap();
    let other = Bench::new(true);
    let error = keep::check(&bench.store, &manifest, &other.keys()).unwrap_err();
    assert!(matches!(error, BackupError::Key { .. }), "{error}");
    assert!(
        error.to_string().contains("none of the identities"),
        "{error}"
    );
    assert!(error.help().unwrap().contains("--identity"));
}

#[test]
fn a_master_without_a_file_of_its_pki_is_refused_by_that_name() {
    let bench = Bench::new(true);
    let seal = Seal::of(&[], true).unwrap();
    let manifest = write(&bench.store, &seal, &master_tar(&["etcd/ca.key"]));
    let error = keep::check(&bench.store, &manifest, &Keys::default())
        .unwrap_err()
        .to_string();
    assert!(
        error.contains("master1.tar") && error.contains("etcd/ca.key"),
        "{error}"
    );
}

#[test]
fn files_swapped_between_backups_are_refused() {
    let bench = Bench::new(false);
    let seal = Seal::of(&[], true).unwrap();
    let other = write(&bench.store, &seal, &master_tar(&[]));
    for file in ["snapshot.db.zst", "manifest.json"] {
        let (own, foreign) = (bench.path(file), bench.store.place(&other.id).join(file));
        let kept = std::fs::read(&own).unwrap();
        std::fs::copy(&foreign, &own).unwrap();
        assert!(bench.check().is_err(), "{file}");
        std::fs::write(&own, kept).unwrap();
    }
    bench.check().unwrap();
}

#[test]
fn nobody_sees_a_backup_before_it_is_whole_and_the_next_run_clears_what_a_dead_one_left() {
    let bench = Bench::new(false);
    let seal = Seal::of(&[], true).unwrap();
    let writing = bench.store.write().unwrap();
    let id = Id::new(jiff::Timestamp::now());
    let growing = writing.begin(id).unwrap();
    seal.whole(growing.directory(), SNAPSHOT, b"half").unwrap();
    assert_eq!(
        bench.store.list().unwrap().len(),
        1,
        "only the finished one"
    );
    // As kill -9 leaves it: nothing is dropped.
    std::mem::forget(growing);
    drop(writing);
    assert!(
        files_of(bench.store.directory())
            .iter()
            .any(|name| name.starts_with(".growing-"))
    );
    drop(bench.store.write().unwrap());
    assert!(
        !files_of(bench.store.directory())
            .iter()
            .any(|name| name.starts_with(".growing-"))
    );
    bench.check().unwrap();
}

#[test]
fn a_write_that_fails_leaves_nothing() {
    let bench = Bench::new(false);
    let seal = Seal::of(&[], true).unwrap();
    let writing = bench.store.write().unwrap();
    let growing = writing.begin(Id::new(jiff::Timestamp::now())).unwrap();
    let directory = growing.directory().to_owned();
    let object = seal.whole(&directory, SNAPSHOT, b"content").unwrap();
    // What is on disk is not what was written: as after a disk that lies.
    std::fs::write(directory.join(&object.file), b"other").unwrap();
    let mut manifest = bench.manifest.clone();
    manifest.objects = vec![object];
    assert!(growing.finish(&manifest).is_err());
    assert!(!directory.exists());
    assert_eq!(bench.store.list().unwrap().len(), 1);
}

#[test]
fn two_runs_do_not_write_at_once() {
    let bench = Bench::new(false);
    let _writing = bench.store.write().unwrap();
    let error = bench.store.write().unwrap_err();
    assert!(matches!(error, BackupError::Busy { .. }), "{error}");
    assert_eq!(error.code(), 5);
}

#[test]
fn without_recipient_a_backup_is_refused_unless_it_is_to_be_open() {
    let refused = |recipients: &[&str], plaintext| {
        let recipients: Vec<String> = recipients.iter().map(|&text| text.to_owned()).collect();
        Seal::of(&recipients, plaintext)
            .err()
            .map(|error| error.to_string())
    };
    assert!(refused(&[], false).unwrap().contains("CA keys"));
    assert!(
        refused(&["age1nonsense"], false)
            .unwrap()
            .contains("no age recipient")
    );
    assert!(refused(&["age1x"], true).is_some());
    assert_eq!(refused(&[], true), None);
}
