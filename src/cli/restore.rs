//! `quorate restore`.

use camino::Utf8PathBuf;

use super::Common;
use super::backup::Bucket;
use crate::backup::seal::Keys;
use crate::error::Error;
use crate::operation::backup::place;
use crate::operation::restore::{Request, abort, restore};

/// Arguments.
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(flatten)]
    common: Common,
    /// The backup's id, or `latest`
    #[arg(required_unless_present = "abort")]
    id: Option<String>,
    /// Directory of the backups, or s3://BUCKET/PREFIX; by default `backups` in the cluster's state directory
    #[arg(long, value_name = "PLACE", env = "QUORATE_BACKUPS")]
    from: Option<String>,
    #[command(flatten)]
    bucket: Bucket,
    /// File of age identities that open the backup
    #[arg(long, value_name = "FILE", env = "QUORATE_AGE_IDENTITY")]
    identity: Vec<Utf8PathBuf>,
    /// Restore on the first master that answers only; the others join it again
    #[arg(long)]
    single: bool,
    /// The cluster's name, for whoever cannot be asked
    #[arg(long, value_name = "CLUSTER")]
    confirm: Option<String>,
    /// Put the old data back where a restore has not ended
    #[arg(long, conflicts_with_all = ["id", "single"])]
    abort: bool,
}

impl Args {
    pub(super) async fn run(self) -> Result<(), Error> {
        let session = self.common.open()?;
        let Some(id) = self.id.filter(|_| !self.abort) else {
            return abort(&session).await;
        };
        let request = Request {
            store: place(
                &session.inventory.name,
                self.from.as_deref(),
                self.bucket.credentials(),
            )?,
            keys: Keys::read(&self.identity)?,
            id,
            single: self.single,
            confirm: self.confirm,
        };
        restore(&session, &request).await
    }
}
