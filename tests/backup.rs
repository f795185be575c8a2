//! Backups on the operator's side: written whole or not at all, every kind of damage refused.

#![expect(
    clippy::indexing_slicing,
    clippy::unwrap_used,
    reason = "a test that meets something else may panic, and says it shortly"
)]

mod store;

use std::io::Write as _;
use std::process::Command;
use std::sync::Arc;

use camino::{Utf8Path, Utf8PathBuf};
use jiff::{SignedDuration, Timestamp};
use quorate::backup::bucket::{Bucket, Stored};
use quorate::backup::manifest::{Manifest, SNAPSHOT};
use quorate::backup::seal::{Keys, Seal};
use quorate::backup::store::Store;
use quorate::backup::{BackupError, Id};
use quorate::operation::backup::keep;
use store::{master_tar, write};

/// A store with one backup in it, and what opens it.
struct Bench {
    _directory: tempfile::TempDir,
    base: Utf8PathBuf,
    store: Store,
    identity: Utf8PathBuf,
    manifest: Manifest,
}

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
            base,
            store,
            identity,
            manifest,
        }
    }

    fn keys(&self) -> Keys {
        Keys::read(std::slice::from_ref(&self.identity)).unwrap()
    }

    fn directory(&self) -> Utf8PathBuf {
        self.base.join("store")
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
        let held = bench.store.hold(&bench.manifest).unwrap();
        let tar = held
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
        files_of(&bench.directory())
            .iter()
            .any(|name| name.starts_with(".growing-"))
    );
    drop(bench.store.write().unwrap());
    assert!(
        !files_of(&bench.directory())
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

/// A directory that is used as a bucket, and that changes what is stored there if it is told to.
#[derive(Debug)]
struct Shelf {
    directory: Utf8PathBuf,
    /// The file of which a byte is flipped on its way.
    flips: Option<&'static str>,
    /// How old everything there looks.
    age: SignedDuration,
}

impl Bucket for Shelf {
    fn address(&self) -> String {
        format!("shelf://{}", self.directory)
    }

    fn files(&self) -> Result<Vec<Stored>, BackupError> {
        let ids = files_of(&self.directory).into_iter();
        let stored = ids.flat_map(|id| {
            let files = files_of(&self.directory.join(&id)).into_iter();
            files.map(move |file| Stored {
                id: id.parse().unwrap(),
                file,
                modified: Timestamp::now() - self.age,
            })
        });
        Ok(stored.collect())
    }

    fn get(&self, id: &Id, file: &str, to: &mut dyn std::io::Write) -> Result<(), BackupError> {
        let path = self.directory.join(id.to_string()).join(file);
        let content = std::fs::read(path).map_err(|source| BackupError::Io {
            doing: "read".to_owned(),
            source,
        })?;
        to.write_all(&content).unwrap();
        Ok(())
    }

    fn put(&self, id: &Id, file: &str, from: &Utf8Path) -> Result<(), BackupError> {
        let directory = self.directory.join(id.to_string());
        std::fs::create_dir_all(&directory).unwrap();
        let mut content = std::fs::read(from).unwrap();
        if self.flips.is_some_and(|flips| file.starts_with(flips)) {
            content[0] ^= 1;
        }
        std::fs::write(directory.join(file), content).unwrap();
        Ok(())
    }

    fn remove(&self, id: &Id, file: &str) -> Result<(), BackupError> {
        let _ = std::fs::remove_file(self.directory.join(id.to_string()).join(file));
        Ok(())
    }
}

/// A store in a bucket, and the bucket's directory.
fn shelf(
    base: &Utf8Path,
    flips: Option<&'static str>,
    age: SignedDuration,
) -> (Store, Utf8PathBuf) {
    let directory = base.join("shelf");
    std::fs::create_dir_all(&directory).unwrap();
    let bucket = Shelf {
        directory: directory.clone(),
        flips,
        age,
    };
    (
        Store::behind(Arc::new(bucket), base.join("staging")),
        directory,
    )
}

/// A backup that is whole on this computer and to be stored now.
fn finish(store: &Store, manifest: &Manifest) -> Result<Manifest, BackupError> {
    let writing = store.write()?;
    let id = Id::new(Timestamp::now());
    let growing = writing.begin(id.clone())?;
    let object = Seal::of(&[], true)?.whole(growing.directory(), SNAPSHOT, b"content")?;
    let manifest = Manifest {
        id,
        objects: vec![object],
        ..manifest.clone()
    };
    growing.finish(&manifest).map(|()| manifest)
}

#[test]
fn a_bucket_keeps_what_a_directory_keeps_and_nothing_stays_on_this_computer() {
    let bench = Bench::new(true);
    let (store, directory) = shelf(&bench.base, None, SignedDuration::ZERO);
    let key: age::x25519::Identity = std::fs::read_to_string(&bench.identity)
        .unwrap()
        .lines()
        .find_map(|line| line.parse().ok())
        .unwrap();
    let seal = Seal::of(&[key.to_public().to_string()], false).unwrap();
    let first = write(&store, &seal, &master_tar(&[]));
    let second = write(&store, &seal, &master_tar(&[]));
    let listed: Vec<Id> = store
        .of_cluster("x")
        .unwrap()
        .into_iter()
        .map(|it| it.id)
        .collect();
    assert_eq!(listed.len(), 2);
    assert!(listed.contains(&first.id) && listed.contains(&second.id));
    assert_eq!(store.find(&first.id.to_string(), "x").unwrap(), first);
    assert_eq!(
        store.place(&first.id),
        format!("shelf://{directory}/{}", first.id)
    );
    store.check(&first).unwrap();
    keep::check(&store, &first, &bench.keys()).unwrap();
    let staged = files_of(&bench.base.join("staging"));
    assert_eq!(staged, [".lock"], "copies are gone");
    store.write().unwrap().remove(&first.id).unwrap();
    assert_eq!(store.list().unwrap().len(), 1);
    assert!(matches!(
        store.find(&first.id.to_string(), "x"),
        Err(BackupError::Missing { .. })
    ));
}

#[test]
fn what_arrives_changed_in_a_bucket_never_becomes_a_backup() {
    let bench = Bench::new(false);
    for flips in [SNAPSHOT, "manifest"] {
        let (store, _) = shelf(&bench.base, Some(flips), SignedDuration::ZERO);
        let error = finish(&store, &bench.manifest).unwrap_err();
        assert!(matches!(error, BackupError::Damaged { .. }), "{error}");
        assert!(store.list().unwrap().is_empty(), "{flips}");
    }
    let (store, directory) = shelf(&bench.base, None, SignedDuration::ZERO);
    let whole = finish(&store, &bench.manifest).unwrap();
    let path = directory
        .join(whole.id.to_string())
        .join(&whole.objects[0].file);
    let content = std::fs::read(&path).unwrap();
    for damaged in [
        &content[..content.len() - 1],
        &[&content[1..], b"x"].concat(),
        b"",
    ] {
        std::fs::write(&path, damaged).unwrap();
        assert!(matches!(
            store.check(&whole),
            Err(BackupError::Damaged { .. })
        ));
    }
    std::fs::remove_file(&path).unwrap();
    let error = store.check(&whole).unwrap_err();
    assert!(matches!(error, BackupError::Damaged { .. }), "{error}");
}

#[test]
fn what_never_got_its_manifest_in_a_bucket_is_no_backup_and_goes_when_it_is_old() {
    let bench = Bench::new(false);
    let left = Id::new(Timestamp::now());
    for (age, stays) in [
        (SignedDuration::from_hours(23), true),
        (SignedDuration::from_hours(25), false),
    ] {
        let (store, directory) = shelf(&bench.base, None, age);
        let whole = finish(&store, &bench.manifest).unwrap();
        let half = directory.join(left.to_string());
        std::fs::create_dir_all(&half).unwrap();
        std::fs::write(half.join("snapshot.db.zst"), b"half").unwrap();
        assert!(
            store
                .list()
                .unwrap()
                .iter()
                .all(|it| it.as_ref().unwrap().id != left)
        );
        drop(store.write().unwrap());
        assert_eq!(half.join("snapshot.db.zst").exists(), stays);
        store.check(&whole).unwrap();
    }
}

/// Exit code 4 would tell that a host was asked; none is, since nobody answers at these addresses.
#[test]
fn a_restore_refuses_what_is_damaged_before_it_asks_any_host() {
    const INVENTORY: &str = "\
cluster: { name: x, kubernetes: v1.36.2 }
vip: { address: 192.0.2.100 }
network: { pods: 10.244.0.0/16, services: 10.96.0.0/12 }
ssh: { user: ops }
cni: { bridge: {} }
lb: { lb1: 192.0.2.11, lb2: 192.0.2.12 }
masters: { master1: 192.0.2.101, master2: 192.0.2.102, master3: 192.0.2.103 }
";
    let bench = Bench::new(true);
    let inventory = bench.base.join("inventory.yaml");
    std::fs::write(&inventory, INVENTORY).unwrap();
    let refused = |identity: &Utf8Path, manifest: &Manifest| {
        let output = Command::new(env!("CARGO_BIN_EXE_quorate"))
            .args(["restore", &manifest.id.to_string(), "--confirm", "x"])
            .args(["--from", bench.directory().as_str()])
            .args(["--identity", identity.as_str()])
            .args(["--inventory", inventory.as_str()])
            .env("XDG_STATE_HOME", &bench.base)
            .output()
            .unwrap();
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(5), "{said}");
        said
    };
    let snapshot = bench.path("snapshot.db.zst.age");
    let whole = std::fs::read(&snapshot).unwrap();
    let mut flipped = whole.clone();
    flipped[whole.len() / 2] ^= 1;
    for (damaged, words) in [
        (&whole[..whole.len() / 2], "recorded are"),
        (&flipped, "SHA-256"),
    ] {
        std::fs::write(&snapshot, damaged).unwrap();
        let said = refused(&bench.identity, &bench.manifest);
        assert!(
            said.contains("is damaged") && said.contains(words),
            "{said}"
        );
        assert!(said.contains("nothing was changed"), "{said}");
    }
    std::fs::write(&snapshot, whole).unwrap();

    let stranger = Bench::new(true);
    let said = refused(&stranger.identity, &bench.manifest);
    assert!(said.contains("none of the identities"), "{said}");

    let seal = Seal::of(&[], true).unwrap();
    let lacking = write(&bench.store, &seal, &master_tar(&["sa.key"]));
    let said = refused(&bench.identity, &lacking);
    assert!(said.contains("sa.key"), "{said}");

    let of_another = Manifest {
        cluster: "y".to_owned(),
        ..bench.manifest.clone()
    };
    let mut file = std::fs::File::create(bench.path("manifest.json")).unwrap();
    file.write_all(&of_another.to_bytes()).unwrap();
    let said = refused(&bench.identity, &bench.manifest);
    assert!(said.contains("of the cluster y"), "{said}");
}
