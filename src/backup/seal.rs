//! Sealing: content is compressed with zstd, then encrypted to age recipients, and hashed before and after.
//!
//! Only the recipients' public keys are needed to make a backup, so the computer that makes it unattended cannot read it.

use std::fs::File;
use std::io::{BufReader, Read, Write};

use camino::Utf8Path;
use sha2::{Digest as _, Sha256};

use super::manifest::{Object, Sealed};
use super::{BackupError, io};
use crate::text::hex;

/// zstd's own default: a good deal smaller at the speed of a disk.
const LEVEL: i32 = 3;

/// To whom backups are sealed.
#[derive(Clone)]
pub enum Seal {
    /// To these age recipients.
    Age(Vec<age::x25519::Recipient>),
    /// To nobody: anyone who reads the files has the cluster's CA keys.
    Plaintext,
}

impl Seal {
    /// Parses age recipients (`age1…`); none of them, without `plaintext`, is refused.
    pub fn of(recipients: &[String], plaintext: bool) -> Result<Self, BackupError> {
        let key = |what: String, help: &str| BackupError::Key {
            what,
            help: help.to_owned(),
        };
        match (recipients, plaintext) {
            ([], true) => Ok(Self::Plaintext),
            ([], false) => Err(key(
                "a backup holds the cluster's CA keys, and no recipient says for whom it is encrypted".to_owned(),
                "give an age public key with --recipient age1… (`age-keygen` makes one), or leave it open on purpose with --plaintext",
            )),
            (_, true) => Err(key(
                "--recipient and --plaintext contradict each other".to_owned(),
                "leave one of them out",
            )),
            (_, false) => recipients
                .iter()
                .map(|text| {
                    text.trim().parse().map_err(|why| {
                        key(
                            format!("`{}` is no age recipient: {why}", crate::text::escape(text)),
                            "a recipient begins with age1; an identity (AGE-SECRET-KEY-…) must not be given here",
                        )
                    })
                })
                .collect::<Result<_, _>>()
                .map(Self::Age),
        }
    }

    /// How the manifest says it.
    #[must_use]
    pub fn kind(&self) -> Sealed {
        match self {
            Self::Age(_) => Sealed::Age,
            Self::Plaintext => Sealed::Plaintext,
        }
    }

    /// Begins an object: `name` as the manifest has it, its file beside others in `directory`.
    pub fn begin(&self, directory: &Utf8Path, name: &str) -> Result<Sealer, BackupError> {
        let (file, extension) = match self {
            Self::Age(_) => (format!("{name}.zst.age"), "age"),
            Self::Plaintext => (format!("{name}.zst"), "zstd"),
        };
        let path = directory.join(&file);
        let opened = private_file(&path).map_err(io(format!("create {path}")))?;
        let stored = Hashing::new(opened);
        let inner = match self {
            Self::Plaintext => Layer::Plain(stored),
            Self::Age(recipients) => {
                let recipients = recipients.iter().map(|it| it as &dyn age::Recipient);
                let encryptor = age::Encryptor::with_recipients(recipients)
                    .map_err(|error| std::io::Error::other(error.to_string()))
                    .map_err(io(format!("seal {path} ({extension})")))?;
                let writer = encryptor
                    .wrap_output(stored)
                    .map_err(io(format!("write {path}")))?;
                Layer::Age(Box::new(writer))
            }
        };
        let encoder = zstd::Encoder::new(inner, LEVEL).map_err(io(format!("write {path}")))?;
        Ok(Sealer {
            name: name.to_owned(),
            file,
            content: Hashing::new(encoder),
        })
    }

    /// Seals content that is at hand.
    pub fn whole(
        &self,
        directory: &Utf8Path,
        name: &str,
        content: &[u8],
    ) -> Result<Object, BackupError> {
        let mut sealer = self.begin(directory, name)?;
        sealer
            .write(content)
            .map_err(io(format!("write {directory}/{name}")))?;
        sealer.finish()
    }
}

pub(super) fn private_file(path: &Utf8Path) -> std::io::Result<File> {
    use std::os::unix::fs::OpenOptionsExt as _;
    std::fs::OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(path)
}

/// An object on its way into its file.
pub struct Sealer {
    name: String,
    file: String,
    content: Hashing<zstd::Encoder<'static, Layer>>,
}

impl Sealer {
    /// Takes a piece of the content.
    pub fn write(&mut self, piece: &[u8]) -> std::io::Result<()> {
        self.content.write_all(piece)
    }

    /// Ends it; the file is on disk when this returns.
    pub fn finish(self) -> Result<Object, BackupError> {
        let failed = format!("write {}", self.file);
        let (encoder, size, sha256) = self.content.end();
        let layer = encoder.finish().map_err(io(failed.clone()))?;
        let stored = match layer {
            Layer::Plain(stored) => stored,
            Layer::Age(writer) => writer.finish().map_err(io(failed.clone()))?,
        };
        let (file, stored_size, stored_sha256) = stored.end();
        file.sync_all().map_err(io(failed))?;
        Ok(Object {
            name: self.name,
            file: self.file,
            size,
            sha256,
            stored_size,
            stored_sha256,
        })
    }
}

enum Layer {
    Plain(Hashing<File>),
    Age(Box<age::stream::StreamWriter<Hashing<File>>>),
}

impl Write for Layer {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        match self {
            Self::Plain(inner) => inner.write(bytes),
            Self::Age(inner) => inner.write(bytes),
        }
    }

    fn flush(&mut self) -> std::io::Result<()> {
        match self {
            Self::Plain(inner) => inner.flush(),
            Self::Age(inner) => inner.flush(),
        }
    }
}

/// Counts and hashes what passes.
struct Hashing<W> {
    inner: W,
    size: u64,
    hash: Sha256,
}

impl<W> Hashing<W> {
    fn new(inner: W) -> Self {
        Self {
            inner,
            size: 0,
            hash: Sha256::new(),
        }
    }

    fn end(self) -> (W, u64, String) {
        (self.inner, self.size, hex(&self.hash.finalize()))
    }

    fn note(&mut self, bytes: &[u8]) {
        self.size += bytes.len() as u64;
        self.hash.update(bytes);
    }
}

impl<W: Write> Write for Hashing<W> {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        let written = self.inner.write(bytes)?;
        self.note(bytes.get(..written).unwrap_or_default());
        Ok(written)
    }

    fn flush(&mut self) -> std::io::Result<()> {
        self.inner.flush()
    }
}

impl<R: Read> Read for Hashing<R> {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        let count = self.inner.read(buffer)?;
        self.note(buffer.get(..count).unwrap_or_default());
        Ok(count)
    }
}

/// What opens sealed backups.
#[derive(Default)]
pub struct Keys(Vec<Box<dyn age::Identity + Send + Sync>>);

impl Keys {
    /// Reads files of age identities, as `age-keygen` writes them.
    pub fn read(files: &[camino::Utf8PathBuf]) -> Result<Self, BackupError> {
        let mut keys: Vec<Box<dyn age::Identity + Send + Sync>> = Vec::new();
        for path in files {
            let text = fs_err::read_to_string(path).map_err(io(format!("read {path}")))?;
            let lines = text.lines().map(str::trim);
            let identities = lines.filter(|line| !line.is_empty() && !line.starts_with('#'));
            for line in identities {
                let identity: age::x25519::Identity =
                    line.parse().map_err(|_| BackupError::Key {
                        what: format!("{path} holds a line that is no age identity"),
                        help: "give the file that `age-keygen -o FILE` wrote".to_owned(),
                    })?;
                keys.push(Box::new(identity));
            }
        }
        Ok(Self(keys))
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Opens an object's file. What is read is the content; its size and hash must be compared by who reads it to the end,
    /// as [`content`](Self::content) does.
    pub fn open(
        &self,
        id: &str,
        sealed: Sealed,
        path: &Utf8Path,
    ) -> Result<Box<dyn Read + Send>, BackupError> {
        let file = File::open(path).map_err(io(format!("open {path}")))?;
        let stored = BufReader::new(file);
        let damaged = |what: String| BackupError::Damaged {
            id: id.to_owned(),
            what: format!("{}: {what}", path.file_name().unwrap_or_default()),
        };
        let decoder: Box<dyn Read + Send> = match sealed {
            Sealed::Plaintext => Box::new(stored),
            Sealed::Age => {
                let decryptor =
                    age::Decryptor::new(stored).map_err(|error| damaged(error.to_string()))?;
                let identities = self.0.iter().map(|it| &**it as &dyn age::Identity);
                let reader = decryptor.decrypt(identities).map_err(|error| match error {
                    age::DecryptError::NoMatchingKeys => BackupError::Key {
                        what: format!(
                            "backup {id} is encrypted, and none of the identities given opens it"
                        ),
                        help: "give the identity of one of its recipients with --identity FILE"
                            .to_owned(),
                    },
                    error => damaged(error.to_string()),
                })?;
                Box::new(reader)
            }
        };
        let decoder = zstd::Decoder::new(decoder).map_err(|error| damaged(error.to_string()))?;
        Ok(Box::new(decoder))
    }

    /// Reads an object to its end, giving each piece to `take`, and refuses it unless size and hash are as recorded.
    pub fn content(
        &self,
        id: &str,
        sealed: Sealed,
        directory: &Utf8Path,
        object: &Object,
        mut take: impl FnMut(&[u8]),
    ) -> Result<(), BackupError> {
        let damaged = |what: String| BackupError::Damaged {
            id: id.to_owned(),
            what: format!("{}: {what}", object.file),
        };
        let mut reader = Hashing::new(self.open(id, sealed, &directory.join(&object.file))?);
        let mut buffer = vec![0; 1 << 18];
        loop {
            let count = reader
                .read(&mut buffer)
                .map_err(|error| damaged(error.to_string()))?;
            if count == 0 {
                break;
            }
            take(buffer.get(..count).unwrap_or_default());
        }
        let (_, size, sha256) = reader.end();
        if size != object.size || sha256 != object.sha256 {
            return Err(damaged(format!(
                "its content is {size} bytes with SHA-256 {sha256}, recorded are {} with {}",
                object.size, object.sha256
            )));
        }
        Ok(())
    }
}

/// Refuses a stored file that is not as it was written. Needs no key.
pub fn check_stored(id: &str, directory: &Utf8Path, object: &Object) -> Result<(), BackupError> {
    let path = directory.join(&object.file);
    let file = File::open(&path).map_err(|error| damaged(id, object, &error.to_string()))?;
    let mut reader = Hashing::new(BufReader::new(file));
    std::io::copy(&mut reader, &mut std::io::sink()).map_err(io(format!("read {path}")))?;
    as_recorded(id, object, reader.end())
}

/// As [`check_stored`], of what `give` writes.
pub(super) fn check_echo(
    id: &str,
    object: &Object,
    give: impl FnOnce(&mut dyn Write) -> Result<(), BackupError>,
) -> Result<(), BackupError> {
    let mut writer = Hashing::new(std::io::sink());
    give(&mut writer).map_err(|error| match error {
        BackupError::Io { source, .. } if source.kind() == std::io::ErrorKind::NotFound => {
            damaged(id, object, "it is not there")
        }
        error => error,
    })?;
    as_recorded(id, object, writer.end())
}

fn as_recorded<W>(
    id: &str,
    object: &Object,
    (_, size, sha256): (W, u64, String),
) -> Result<(), BackupError> {
    if size != object.stored_size {
        let what = format!("it has {size} bytes, recorded are {}", object.stored_size);
        return Err(damaged(id, object, &what));
    }
    if sha256 != object.stored_sha256 {
        let what = format!(
            "its SHA-256 is {sha256}, recorded is {}",
            object.stored_sha256
        );
        return Err(damaged(id, object, &what));
    }
    Ok(())
}

fn damaged(id: &str, object: &Object, what: &str) -> BackupError {
    BackupError::Damaged {
        id: id.to_owned(),
        what: format!("{}: {what}", object.file),
    }
}
