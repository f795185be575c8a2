//! Backups in an object store, against a server that speaks S3 (`server.sh` builds and starts it). Needs the feature `s3`.

#![expect(
    clippy::indexing_slicing,
    clippy::unwrap_used,
    reason = "a test that meets something else may panic, and says it shortly"
)]

#[path = "../store/mod.rs"]
mod store;

use std::io::{BufRead as _, BufReader};
use std::process::{Child, Command, Output, Stdio};
use std::sync::Arc;

use camino::{Utf8Path, Utf8PathBuf};
use quorate::backup::bucket::Bucket as _;
use quorate::backup::manifest::Manifest;
use quorate::backup::s3::S3;
use quorate::backup::seal::{Keys, Seal};
use quorate::backup::store::Store;
use quorate::backup::{BackupError, Id};
use quorate::operation::backup::keep;
use serde_json::Value;
use store::{master_tar, write};

/// A server with one bucket; it ends with the value.
struct Server {
    child: Child,
    _directory: tempfile::TempDir,
    base: Utf8PathBuf,
    credentials: Utf8PathBuf,
}

impl Server {
    fn start() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let base = Utf8PathBuf::from_path_buf(directory.path().to_owned()).unwrap();
        let buckets = base.join("buckets");
        std::fs::create_dir_all(buckets.join("backups")).unwrap();
        let script = Utf8Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/s3/server.sh");
        let mut child = Command::new(script)
            .args([buckets.as_str(), "key", "hush-hush"])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let mut said = String::new();
        let endpoint = loop {
            let line = lines
                .next()
                .unwrap_or_else(|| panic!("no server:\n{said}"))
                .unwrap();
            if let Some((_, url)) = line.split_once("server is running at ") {
                break url.trim().to_owned();
            }
            said.push_str(&line);
        };
        // It logs every request: somebody must read.
        std::thread::spawn(move || lines.for_each(drop));
        let credentials = base.join("credentials");
        let text = format!(
            "# for tests\nAWS_ACCESS_KEY_ID=key\nAWS_SECRET_ACCESS_KEY=\"hush-hush\"\nAWS_REGION=us-east-1\n\
             AWS_ENDPOINT={endpoint}\nAWS_ALLOW_HTTP=true\n"
        );
        std::fs::write(&credentials, text).unwrap();
        Self {
            child,
            _directory: directory,
            base,
            credentials,
        }
    }

    fn s3(&self, prefix: &str) -> S3 {
        S3::open(&format!("s3://backups/{prefix}"), Some(&self.credentials)).unwrap()
    }

    fn store(&self, prefix: &str) -> Store {
        Store::behind(Arc::new(self.s3(prefix)), self.base.join("staging"))
    }

    /// Runs `quorate backup …` on the bucket.
    fn backup(&self, words: &[&str], prefix: &str) -> Output {
        let inventory = Utf8Path::new(env!("CARGO_MANIFEST_DIR")).join("inventory/lab.yaml");
        Command::new(env!("CARGO_BIN_EXE_quorate"))
            .arg("backup")
            .args(words)
            .args(["--to", &format!("s3://backups/{prefix}")])
            .args(["--s3-credentials", self.credentials.as_str()])
            .args(["--inventory", inventory.as_str()])
            .env("XDG_STATE_HOME", &self.base)
            .output()
            .unwrap()
    }

    fn json(&self, words: &[&str], prefix: &str) -> Value {
        let output = self.backup(&[words, &["--output", "json"]].concat(), prefix);
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{words:?}: {said}");
        serde_json::from_slice(&output.stdout).unwrap()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // Its standard input ends, and with it the server.
        drop(self.child.stdin.take());
        let _ = self.child.wait();
    }
}

#[test]
fn backups_in_an_object_store_are_kept_as_those_in_a_directory() {
    let server = Server::start();
    what_was_stored_reads_back_and_its_parts_are_in_order(&server);
    what_changed_in_the_bucket_is_refused(&server);
    without_its_manifest_it_is_no_backup(&server);
    the_commands_work_on_it(&server);
    what_cannot_be_reached_is_said_without_a_key(&server);
}

fn open_seal() -> Seal {
    Seal::of(&[], true).unwrap()
}

fn what_was_stored_reads_back_and_its_parts_are_in_order(server: &Server) {
    let store = server.store("whole/a b");
    let manifest = write(&store, &open_seal(), &master_tar(&[]));
    assert_eq!(store.list().unwrap().len(), 1);
    assert_eq!(store.find("latest", "x").unwrap(), manifest);
    keep::check(&store, &manifest, &Keys::default()).unwrap();
    let held = store.hold(&manifest).unwrap();
    let tar = held.content(&manifest, &Keys::default(), "master1.tar");
    assert_eq!(tar.unwrap(), master_tar(&[]));

    // Larger than one part, and its last part smaller than the others.
    let content: Vec<u8> = (0..(40_u32 << 20)).map(|at| (at % 251) as u8).collect();
    let path = server.base.join("large");
    std::fs::write(&path, &content).unwrap();
    let (bucket, id) = (server.s3("large"), Id::new(jiff::Timestamp::now()));
    bucket.put(&id, "large", &path).unwrap();
    let mut back = Vec::new();
    bucket.get(&id, "large", &mut back).unwrap();
    assert!(back == content, "{} bytes came back", back.len());
    bucket.remove(&id, "large").unwrap();
    bucket.remove(&id, "large").unwrap();
    assert!(bucket.files().unwrap().is_empty());
}

fn what_changed_in_the_bucket_is_refused(server: &Server) {
    let store = server.store("damaged");
    let manifest = write(&store, &open_seal(), &master_tar(&[]));
    let bucket = server.s3("damaged");
    for object in &manifest.objects {
        let mut whole = Vec::new();
        bucket.get(&manifest.id, &object.file, &mut whole).unwrap();
        let mut flipped = whole.clone();
        *flipped.last_mut().unwrap() ^= 1;
        let cut = whole.split_last().unwrap().1.to_vec();
        for damaged in [flipped, cut, Vec::new()] {
            put(server, &bucket, &manifest, &object.file, &damaged);
            refuses(&store, &manifest, &object.file);
        }
        bucket.remove(&manifest.id, &object.file).unwrap();
        refuses(&store, &manifest, &object.file);
        put(server, &bucket, &manifest, &object.file, &whole);
    }
    store.check(&manifest).unwrap();
}

fn put(server: &Server, bucket: &S3, manifest: &Manifest, file: &str, content: &[u8]) {
    let path = server.base.join("content");
    std::fs::write(&path, content).unwrap();
    bucket.put(&manifest.id, file, &path).unwrap();
}

fn refuses(store: &Store, manifest: &Manifest, file: &str) {
    let error = store.check(manifest).unwrap_err();
    assert!(matches!(error, BackupError::Damaged { .. }), "{error}");
    assert!(error.to_string().contains(file), "{error}");
}

fn without_its_manifest_it_is_no_backup(server: &Server) {
    let store = server.store("half");
    let manifest = write(&store, &open_seal(), &master_tar(&[]));
    server
        .s3("half")
        .remove(&manifest.id, "manifest.json")
        .unwrap();
    assert!(store.list().unwrap().is_empty());
    let found = store.find(&manifest.id.to_string(), "x");
    assert!(matches!(found, Err(BackupError::Missing { .. })));
    drop(store.write().unwrap());
    let left = server.s3("half").files().unwrap();
    assert_eq!(left.len(), 2, "another run may be on the way: {left:?}");
}

fn the_commands_work_on_it(server: &Server) {
    let store = server.store("commands");
    let inventory = Utf8Path::new(env!("CARGO_MANIFEST_DIR")).join("inventory/lab.yaml");
    let name = quorate::inventory::Inventory::load(&inventory)
        .unwrap()
        .inventory
        .name;
    let old = write(&store, &open_seal(), &master_tar(&[]));
    let new = write(&store, &open_seal(), &master_tar(&[]));
    // As taken of the inventory's cluster, an hour apart.
    for (manifest, hours) in [(&old, 0), (&new, 1)] {
        let manifest = Manifest {
            cluster: name.clone(),
            taken: manifest.taken + jiff::SignedDuration::from_hours(hours),
            ..manifest.clone()
        };
        put(
            server,
            &server.s3("commands"),
            &manifest,
            "manifest.json",
            &manifest.to_bytes(),
        );
    }
    let listed = server.json(&["list"], "commands");
    assert_eq!(listed["backups"].as_array().unwrap().len(), 2, "{listed:#}");
    let place = listed["backups"][0]["place"].as_str().unwrap();
    assert!(place.starts_with("s3://backups/commands/2026"), "{place}");
    let shown = server.json(&["show", &new.id.to_string()], "commands");
    assert_eq!(shown["id"], new.id.to_string());
    let verified = server.json(&["verify", "--all"], "commands");
    assert_eq!(verified["backups"][1]["whole"], true, "{verified:#}");
    let pruned = server.json(&["prune", "--keep-last", "1"], "commands");
    assert_eq!(pruned["removed"][0], old.id.to_string(), "{pruned:#}");
    let listed = server.json(&["list"], "commands");
    assert_eq!(listed["backups"].as_array().unwrap().len(), 1, "{listed:#}");
    assert_eq!(
        server.s3("commands").files().unwrap().len(),
        3,
        "its files went too"
    );
}

fn what_cannot_be_reached_is_said_without_a_key(server: &Server) {
    let nothing = server.base.join("nothing");
    std::fs::write(&nothing, "").unwrap();
    let error = S3::open("s3://backups", Some(&nothing)).unwrap_err();
    assert!(error.to_string().contains("no key is set"), "{error}");
    assert!(
        error.help().unwrap().contains("--s3-credentials"),
        "{error}"
    );
    let missing = server.backup(&["list"], "../x");
    assert_eq!(missing.status.code(), Some(2));
    let text = std::fs::read_to_string(&server.credentials).unwrap();
    std::fs::write(
        &server.credentials,
        text.replace("AWS_ALLOW_HTTP=true\n", ""),
    )
    .unwrap();
    let refused = server.backup(&["list"], "commands");
    std::fs::write(&server.credentials, text).unwrap();
    let said = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert_eq!(
        refused.status.code(),
        Some(1),
        "no keys over an open line: {said}"
    );
    assert!(said.contains("s3://backups/commands"), "{said}");
    assert!(!said.contains("hush-hush"), "{said}");
}
