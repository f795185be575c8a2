//! Backups in an S3-compatible object store: `s3://bucket/prefix`. Only with the cargo feature `s3`.
//!
//! The store is asked on a runtime of its own, so that what reads and writes backups stays plain blocking code.

use std::fmt;
use std::io::{Error as IoError, ErrorKind, Read as _, Write};
use std::sync::{Arc, mpsc};
use std::time::Duration;

use camino::Utf8Path;
use futures::TryStreamExt as _;
use jiff::Timestamp;
use object_store::aws::{AmazonS3, AmazonS3Builder, AmazonS3ConfigKey};
use object_store::path::Path;
use object_store::{ClientOptions, ObjectStore as _, ObjectStoreExt as _, PutPayload, RetryConfig};
use tokio::runtime::Runtime;

use super::bucket::{Bucket, Stored};
use super::{BackupError, Id, io};

/// Larger files travel in parts of so many bytes.
const PART: usize = 16 << 20;

/// How long one request may take: a part over a slow line.
const REQUEST: Duration = Duration::from_secs(300);

/// How long a request is tried again.
const RETRIES: Duration = Duration::from_secs(60);

/// Settings of which any says where keys come from.
const KEYS: [&str; 5] = [
    "AWS_ACCESS_KEY_ID",
    "AWS_WEB_IDENTITY_TOKEN_FILE",
    "AWS_CONTAINER_CREDENTIALS_RELATIVE_URI",
    "AWS_CONTAINER_CREDENTIALS_FULL_URI",
    "AWS_METADATA_ENDPOINT",
];

/// A prefix in a bucket.
pub struct S3 {
    address: String,
    prefix: Path,
    client: Arc<AmazonS3>,
    runtime: Option<Runtime>,
}

impl S3 {
    /// Opens `s3://bucket/prefix`. Keys, region and endpoint are the `AWS_…` lines of the file `credentials`, or of the
    /// environment without one. Nothing is asked of the store yet.
    pub fn open(url: &str, credentials: Option<&Utf8Path>) -> Result<Self, BackupError> {
        let misnamed = |why: &str| BackupError::Place {
            what: format!(
                "`{}` is no place in an object store: {why}",
                crate::text::escape(url)
            ),
            help: "write s3://BUCKET/PREFIX".to_owned(),
        };
        let unopened = |why: &str| {
            BackupError::Place {
            what: format!("the object store of {url} cannot be opened: {why}"),
            help: "set AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY, AWS_REGION and, for a store that is not Amazon's, AWS_ENDPOINT \
                   (AWS_ALLOW_HTTP=true without TLS), in the environment or in --s3-credentials FILE"
                .to_owned(),
        }
        };
        let path = url
            .strip_prefix("s3://")
            .ok_or_else(|| misnamed("it lacks s3://"))?;
        let (bucket, prefix) = path.split_once('/').unwrap_or((path, ""));
        if bucket.is_empty() {
            return Err(misnamed("it names no bucket"));
        }
        let prefix =
            Path::parse(prefix.trim_matches('/')).map_err(|why| misnamed(&why.to_string()))?;
        let settings = settings(credentials)?;
        // Else the client would ask for keys at an address that only Amazon's own machines reach, and wait for it.
        if !settings.iter().any(|(name, _)| KEYS.contains(&&**name)) {
            return Err(unopened("no key is set"));
        }
        let mut builder = AmazonS3Builder::new()
            .with_bucket_name(bucket)
            .with_client_options(ClientOptions::new().with_timeout(REQUEST))
            .with_retry(RetryConfig {
                max_retries: 5,
                retry_timeout: RETRIES,
                ..RetryConfig::default()
            });
        for (name, value) in settings {
            if let Ok(key) = name.to_ascii_lowercase().parse::<AmazonS3ConfigKey>() {
                builder = builder.with_config(key, value);
            }
        }
        // One file at a time is removed: not every store of this kind knows how to remove many.
        builder = builder.with_disable_bulk_delete(true);
        // Who has chosen another one already has what TLS needs.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let client = builder.build().map_err(|why| unopened(&why.to_string()))?;
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .build()
            .map_err(io("start what talks to the object store"))?;
        Ok(Self {
            address: url.trim_end_matches('/').to_owned(),
            prefix,
            client: Arc::new(client),
            runtime: Some(runtime),
        })
    }

    fn path(&self, id: &Id, file: &str) -> Path {
        self.prefix.clone().join(id.to_string()).join(file)
    }

    /// Carries out what is asked of the store and waits for it.
    fn wait<T: Send + 'static>(
        &self,
        doing: String,
        asked: impl Future<Output = object_store::Result<T>> + Send + 'static,
    ) -> Result<T, BackupError> {
        let (answer, answered) = mpsc::channel();
        let runtime = self
            .runtime
            .as_ref()
            .expect("it lives as long as this does");
        runtime.spawn(async move {
            // Nobody listens any more only when the caller has panicked.
            let _ = answer.send(asked.await);
        });
        let answered = answered.recv().map_err(IoError::other);
        let answered = answered.and_then(|answer| answer.map_err(local));
        answered.map_err(io(doing))
    }
}

/// An error of the store as one of the file system.
fn local(error: object_store::Error) -> IoError {
    let kind = match error {
        object_store::Error::NotFound { .. } => ErrorKind::NotFound,
        object_store::Error::PermissionDenied { .. }
        | object_store::Error::Unauthenticated { .. } => ErrorKind::PermissionDenied,
        _ => ErrorKind::Other,
    };
    IoError::new(kind, error)
}

/// The `AWS_…` settings of a file of lines `NAME=VALUE`, or of the environment.
fn settings(file: Option<&Utf8Path>) -> Result<Vec<(String, String)>, BackupError> {
    let is_ours = |(name, _): &(String, String)| name.starts_with("AWS_");
    let Some(path) = file else {
        let set = std::env::vars_os();
        let text = set.filter_map(|(name, value)| {
            Some((name.into_string().ok()?, value.into_string().ok()?))
        });
        return Ok(text.filter(is_ours).collect());
    };
    let text = fs_err::read_to_string(path).map_err(io(format!("read {path}")))?;
    let lines = text.lines().filter_map(|line| line.split_once('='));
    let settings = lines.map(|(name, value)| {
        let name = name.trim().trim_start_matches("export ").trim_start();
        let value = value.trim().trim_matches(['"', '\'']);
        (name.to_owned(), value.to_owned())
    });
    Ok(settings.filter(is_ours).collect())
}

/// Without keys.
impl fmt::Debug for S3 {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("S3")
            .field("address", &self.address)
            .finish_non_exhaustive()
    }
}

impl Drop for S3 {
    fn drop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            // Dropping it would wait, which another runtime's thread must not.
            runtime.shutdown_background();
        }
    }
}

impl Bucket for S3 {
    fn address(&self) -> String {
        self.address.clone()
    }

    fn files(&self) -> Result<Vec<Stored>, BackupError> {
        let (client, prefix) = (Arc::clone(&self.client), self.prefix.clone());
        let listed = async move { client.list(Some(&prefix)).try_collect::<Vec<_>>().await };
        let listed = self.wait(format!("list {}", self.address), listed)?;
        let stored = listed.into_iter().filter_map(|object| {
            let mut parts = object.location.prefix_match(&self.prefix)?;
            let id = parts.next()?.as_ref().parse().ok()?;
            let file = parts.next()?.as_ref().to_owned();
            let modified = Timestamp::from_second(object.last_modified.timestamp()).ok()?;
            Some(Stored { id, file, modified })
        });
        Ok(stored.collect())
    }

    fn get(&self, id: &Id, file: &str, to: &mut dyn Write) -> Result<(), BackupError> {
        let (client, path) = (Arc::clone(&self.client), self.path(id, file));
        let doing = format!("read {}/{id}/{file}", self.address);
        let size = async move { client.head(&path).await.map(|object| object.size) };
        let size = self.wait(doing.clone(), size)?;
        let mut at = 0;
        while at < size {
            let (client, path) = (Arc::clone(&self.client), self.path(id, file));
            let range = at..size.min(at + PART as u64);
            at = range.end;
            let piece = async move { client.get_range(&path, range).await };
            let piece = self.wait(doing.clone(), piece)?;
            to.write_all(&piece).map_err(io(doing.clone()))?;
        }
        Ok(())
    }

    fn put(&self, id: &Id, file: &str, from: &Utf8Path) -> Result<(), BackupError> {
        let doing = format!("write {}/{id}/{file}", self.address);
        let (client, path) = (Arc::clone(&self.client), self.path(id, file));
        let mut file = fs_err::File::open(from).map_err(io(format!("read {from}")))?;
        let mut part = move || {
            let mut part = Vec::new();
            let limit = u64::try_from(PART).unwrap_or(u64::MAX);
            (&mut file)
                .take(limit)
                .read_to_end(&mut part)
                .map(|_| part)
                .map_err(|source| object_store::Error::Generic {
                    store: "this computer",
                    source: Box::new(source),
                })
        };
        let sent = async move {
            let mut next = part()?;
            if next.len() < PART {
                return client.put(&path, PutPayload::from(next)).await.map(|_| ());
            }
            let mut upload = client.put_multipart(&path).await?;
            while !next.is_empty() {
                if let Err(error) = upload.put_part(PutPayload::from(next)).await {
                    // What was sent is paid for until it is given up; the first error says more than this one.
                    let _ = upload.abort().await;
                    return Err(error);
                }
                next = part()?;
            }
            upload.complete().await.map(|_| ())
        };
        self.wait(doing, sent)
    }

    fn remove(&self, id: &Id, file: &str) -> Result<(), BackupError> {
        let doing = format!("remove {}/{id}/{file}", self.address);
        let (client, path) = (Arc::clone(&self.client), self.path(id, file));
        let removed = async move {
            match client.delete(&path).await {
                Err(object_store::Error::NotFound { .. }) => Ok(()),
                result => result,
            }
        };
        self.wait(doing, removed)
    }
}
