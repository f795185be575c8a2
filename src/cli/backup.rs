//! `quorate backup`.

use std::time::Duration;

use camino::Utf8PathBuf;
use clap::Subcommand;

use super::Common;
use crate::backup::retention::Keep;
use crate::backup::seal::{Keys, Seal};
use crate::error::Error;
use crate::operation::Session;
use crate::operation::backup::schedule::{Schedule, Scheduler};
use crate::operation::backup::{self, Request, default_directory, keep, place};

/// Arguments.
#[derive(Debug, clap::Args)]
#[command(args_conflicts_with_subcommands = true)]
pub struct Args {
    #[command(subcommand)]
    what: Option<What>,
    #[command(flatten)]
    take: Take,
}

/// What every command about backups takes.
#[derive(Debug, Clone, clap::Args)]
struct Place {
    #[command(flatten)]
    common: Common,
    /// Directory of the backups, or s3://BUCKET/PREFIX; by default `backups` in the cluster's state directory
    #[arg(long, value_name = "PLACE", env = "QUORATE_BACKUPS")]
    to: Option<String>,
    #[command(flatten)]
    bucket: Bucket,
}

/// What opens a bucket.
#[derive(Debug, Clone, clap::Args)]
pub(super) struct Bucket {
    /// File of lines AWS_ACCESS_KEY_ID=…, AWS_SECRET_ACCESS_KEY=…, AWS_REGION=…, AWS_ENDPOINT=… for s3://; by default they
    /// are taken from the environment
    #[arg(long, value_name = "FILE", env = "QUORATE_S3_CREDENTIALS")]
    s3_credentials: Option<Utf8PathBuf>,
}

impl Bucket {
    /// The file.
    pub(super) fn credentials(&self) -> Option<&camino::Utf8Path> {
        self.s3_credentials.as_deref()
    }
}

#[derive(Debug, clap::Args)]
struct Take {
    #[command(flatten)]
    place: Place,
    /// Encrypt to this age recipient (age1…); repeat or separate by commas
    #[arg(
        long,
        value_name = "AGE1",
        env = "QUORATE_AGE_RECIPIENTS",
        value_delimiter = ','
    )]
    recipient: Vec<String>,
    /// Do not encrypt, though it holds the cluster's CA keys
    #[arg(long)]
    plaintext: bool,
    /// How long it may take
    #[arg(long, value_name = "TIME", default_value = "30m", value_parser = duration)]
    timeout: Duration,
    /// Write metrics for node_exporter's textfile collector
    #[arg(long, value_name = "FILE")]
    metrics_file: Option<Utf8PathBuf>,
    /// Say nothing unless it fails
    #[arg(short, long)]
    quiet: bool,
}

#[derive(Debug, Subcommand)]
enum What {
    /// List backups
    List(Place),
    /// Show what a backup holds
    Show {
        #[command(flatten)]
        place: Place,
        /// Its id, or `latest`
        #[arg(default_value = "latest")]
        id: String,
    },
    /// Read every byte of a backup and say whether it is as it was written
    Verify {
        #[command(flatten)]
        place: Place,
        /// Its id, or `latest`
        #[arg(default_value = "latest", conflicts_with = "all")]
        id: String,
        /// All backups of the directory
        #[arg(long)]
        all: bool,
        /// File of age identities: look inside too
        #[arg(long, value_name = "FILE", env = "QUORATE_AGE_IDENTITY")]
        identity: Vec<Utf8PathBuf>,
    },
    /// Remove old backups; the newest whole one always stays
    Prune {
        #[command(flatten)]
        place: Place,
        /// Keep the newest N
        #[arg(long, value_name = "N", default_value_t = 0)]
        keep_last: usize,
        /// Keep the newest of each of N days
        #[arg(long, value_name = "N", default_value_t = 0)]
        keep_daily: usize,
        /// Keep the newest of each of N weeks
        #[arg(long, value_name = "N", default_value_t = 0)]
        keep_weekly: usize,
        /// Keep the newest of each of N months
        #[arg(long, value_name = "N", default_value_t = 0)]
        keep_monthly: usize,
        /// Only say what would go
        #[arg(long)]
        dry_run: bool,
    },
    /// Print what runs backups unattended on this computer, and an alert rule; with --install, install it
    Schedule {
        #[command(flatten)]
        take: Take,
        /// How often
        #[arg(long, value_name = "TIME", value_parser = duration)]
        every: Duration,
        /// When the alert fires; by default after twice that time
        #[arg(long, value_name = "TIME", value_parser = duration)]
        alert_after: Option<Duration>,
        /// What runs it
        #[arg(long, value_enum, default_value = "systemd")]
        with: Scheduler,
        /// Install it
        #[arg(long)]
        install: bool,
    },
}

impl Args {
    pub(super) async fn run(self) -> Result<(), Error> {
        match self.what {
            None => take(self.take).await,
            Some(What::List(place)) => {
                let (session, store) = place.open()?;
                keep::list(&store, session.settings.format)
            }
            Some(What::Show { place, id }) => {
                let (session, store) = place.open()?;
                keep::show(
                    &store,
                    &session.inventory.name,
                    &id,
                    session.settings.format,
                )
            }
            Some(What::Verify {
                place,
                id,
                all,
                identity,
            }) => {
                let (session, store) = place.open()?;
                let wanted = (!all).then_some(id.as_str());
                let keys = Keys::read(&identity)?;
                let format = session.settings.format;
                keep::verify(&store, &session.inventory.name, wanted, &keys, format)
            }
            Some(What::Prune {
                place,
                keep_last,
                keep_daily,
                keep_weekly,
                keep_monthly,
                dry_run,
            }) => {
                let (session, store) = place.open()?;
                let keep = Keep {
                    last: keep_last,
                    daily: keep_daily,
                    weekly: keep_weekly,
                    monthly: keep_monthly,
                };
                let format = session.settings.format;
                keep::prune(&store, &session.inventory.name, keep, dry_run, format)
            }
            Some(What::Schedule {
                take,
                every,
                alert_after,
                with,
                install,
            }) => {
                let schedule = take.schedule(every, alert_after.unwrap_or(every * 2), with)?;
                schedule.print()?;
                if install { schedule.install() } else { Ok(()) }
            }
        }
    }
}

impl Place {
    fn open(self) -> Result<(Session, crate::backup::store::Store), Error> {
        let session = self.common.open()?;
        let store = place(
            &session.inventory.name,
            self.to.as_deref(),
            self.bucket.credentials(),
        )?;
        Ok((session, store))
    }
}

impl Take {
    /// The command that takes such a backup unattended, with paths that hold wherever it is run.
    fn schedule(
        self,
        every: Duration,
        alert_after: Duration,
        scheduler: Scheduler,
    ) -> Result<Schedule, Error> {
        Seal::of(&self.recipient, self.plaintext)?;
        let absolute = |path: &camino::Utf8Path| {
            let text = |source| Error::Local {
                doing: format!("find {path}"),
                source,
            };
            camino::absolute_utf8(path)
                .map_err(text)
                .map(Utf8PathBuf::into_string)
        };
        let program = std::env::current_exe().map_err(|source| Error::Local {
            doing: "find this program".to_owned(),
            source,
        })?;
        let inventory = absolute(&self.place.common.inventory)?;
        let session = self.place.common.open()?;
        let mut command = vec![
            program.to_string_lossy().into_owned(),
            "backup".to_owned(),
            "--quiet".to_owned(),
        ];
        let mut option = |name: &str, value: String| command.extend([name.to_owned(), value]);
        option("--inventory", inventory);
        option("--timeout", format!("{}s", self.timeout.as_secs()));
        for recipient in &self.recipient {
            option("--recipient", recipient.clone());
        }
        // Always said: what is the default where this is typed is another where no home is known.
        let to = match &self.place.to {
            Some(url) if url.starts_with("s3://") => url.clone(),
            Some(directory) => absolute(camino::Utf8Path::new(directory))?,
            None => absolute(&default_directory(&session.inventory.name))?,
        };
        option("--to", to);
        if let Some(path) = self.place.bucket.credentials() {
            option("--s3-credentials", absolute(path)?);
        }
        if let Some(path) = &self.metrics_file {
            option("--metrics-file", absolute(path)?);
        }
        if self.plaintext {
            command.push("--plaintext".to_owned());
        }
        let environment = ["HOME", "XDG_STATE_HOME"].into_iter();
        let environment = environment.filter_map(|name| Some((name, std::env::var(name).ok()?)));
        Ok(Schedule {
            cluster: session.inventory.name,
            command,
            environment: environment.collect(),
            every,
            alert_after,
            scheduler,
        })
    }
}

async fn take(args: Take) -> Result<(), Error> {
    let seal = Seal::of(&args.recipient, args.plaintext)?;
    let (session, store) = args.place.open()?;
    let request = Request {
        store,
        seal,
        timeout: args.timeout,
        metrics: args.metrics_file,
        quiet: args.quiet,
    };
    backup::backup(&session, &request).await
}

/// `90s`, `30m`, `6h`, `1d`.
fn duration(text: &str) -> Result<Duration, String> {
    let parsed: jiff::SignedDuration = match text.strip_suffix('d') {
        Some(days) => days
            .parse()
            .map(|days: i64| jiff::SignedDuration::from_hours(days * 24))
            .map_err(|_| "write a time as 90s, 30m, 6h or 1d".to_owned())?,
        None => text
            .parse()
            .map_err(|_| "write a time as 90s, 30m, 6h or 1d".to_owned())?,
    };
    Duration::try_from(parsed)
        .ok()
        .filter(|time| !time.is_zero())
        .ok_or_else(|| "it must be longer than nothing".to_owned())
}
