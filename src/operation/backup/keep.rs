//! `quorate backup list`, `show`, `verify`, `prune`: what is there, whether it is whole, what goes.

use camino::Utf8Path;
use jiff::Timestamp;
use serde_json::{Value, json};

use super::{gather, verdict};
use crate::backup::held::Held;
use crate::backup::manifest::{Manifest, Sealed};
use crate::backup::retention::Keep;
use crate::backup::seal::Keys;
use crate::backup::store::Store;
use crate::backup::{BackupError, Id};
use crate::error::Error;
use crate::report::table::table;
use crate::report::{Format, println};

/// Bytes for people: `2.8 MiB`.
#[must_use]
#[expect(clippy::cast_precision_loss, reason = "a size for people")]
pub fn bytes(count: u64) -> String {
    const UNITS: [&str; 4] = ["KiB", "MiB", "GiB", "TiB"];
    let mut value = count as f64;
    let mut unit = "B";
    for next in UNITS {
        if value < 1024.0 {
            break;
        }
        value /= 1024.0;
        unit = next;
    }
    if unit == "B" {
        format!("{count} B")
    } else {
        format!("{value:.1} {unit}")
    }
}

/// How long ago that was, for people: `3 h`.
#[must_use]
pub fn age(then: Timestamp, now: Timestamp) -> String {
    let seconds = now.duration_since(then).as_secs().max(0);
    match seconds {
        0..120 => format!("{seconds} s"),
        120..7200 => format!("{} min", seconds / 60),
        7200..172_800 => format!("{} h", seconds / 3600),
        _ => format!("{} days", seconds / 86_400),
    }
}

/// A backup as `--output json` shows it: its manifest and where it is.
#[must_use]
pub fn as_json(manifest: &Manifest, place: &Utf8Path) -> Value {
    let mut json = serde_json::to_value(manifest).expect("a manifest is always JSON");
    if let Value::Object(map) = &mut json {
        map.insert("place".to_owned(), json!(place));
        map.insert("stored-size".to_owned(), json!(manifest.stored_size()));
    }
    json
}

/// Lists what is in a store, damaged ones too.
pub fn list(store: &Store, format: Format) -> Result<(), Error> {
    let now = Timestamp::now();
    let mut rows = Vec::new();
    let mut objects = Vec::new();
    for backup in store.list()? {
        match backup {
            Ok(manifest) => {
                objects.push(as_json(&manifest, &store.place(&manifest.id)));
                rows.push(row(&manifest, now));
            }
            Err(error) => {
                objects.push(json!({ "damaged": error.to_string() }));
                rows.push(vec![error.to_string()]);
            }
        }
    }
    let header = [
        "ID",
        "Cluster",
        "Age",
        "Revision",
        "Size",
        "Sealed",
        "Proved on",
    ];
    match format {
        Format::Json => println(&json!({ "version": 1, "backups": objects }).to_string()),
        Format::Table => {
            println(&table(&header, rows).unwrap_or_else(|| format!("{store} holds no backup")));
        }
    }
    Ok(())
}

fn row(manifest: &Manifest, now: Timestamp) -> Vec<String> {
    vec![
        manifest.id.to_string(),
        manifest.cluster.clone(),
        age(manifest.taken, now),
        manifest.etcd.revision.to_string(),
        bytes(manifest.stored_size()),
        match manifest.sealed {
            Sealed::Age => "age".to_owned(),
            Sealed::Plaintext => "no".to_owned(),
        },
        manifest.verified.on.clone(),
    ]
}

/// Shows one.
pub fn show(store: &Store, cluster: &str, wanted: &str, format: Format) -> Result<(), Error> {
    let manifest = store.find(wanted, cluster)?;
    let place = store.place(&manifest.id);
    if format == Format::Json {
        println(&as_json(&manifest, &place).to_string());
        return Ok(());
    }
    let etcd = &manifest.etcd;
    let missing = if manifest.missing_hosts.is_empty() {
        "none".to_owned()
    } else {
        manifest.missing_hosts.join(", ")
    };
    let members: Vec<String> = etcd
        .members
        .iter()
        .map(|(name, url)| format!("{name} {url}"))
        .collect();
    let facts = [
        ("Backup", format!("{} of {}", manifest.id, manifest.cluster)),
        ("Place", place.to_string()),
        (
            "Taken",
            format!(
                "{:.0} ({} ago)",
                manifest.taken,
                age(manifest.taken, Timestamp::now())
            ),
        ),
        ("Kubernetes", manifest.kubernetes.clone()),
        (
            "etcd",
            format!(
                "{}, cluster {}, from {}",
                etcd.version, etcd.cluster_id, etcd.member
            ),
        ),
        (
            "Quorum",
            if etcd.had_quorum {
                "yes"
            } else {
                "no: taken from a survivor"
            }
            .to_owned(),
        ),
        ("Members", members.join(", ")),
        (
            "Revision",
            format!("{}, {} keys", etcd.revision, etcd.contents.keys),
        ),
        (
            "Verified",
            format!(
                "{:.0} on {}: {}",
                manifest.verified.at, manifest.verified.on, manifest.verified.how
            ),
        ),
        ("Without", missing),
    ];
    for (name, text) in facts {
        println(&crate::report::table::wrapped(
            &format!("{name:<12}"),
            &crate::text::escape(&text),
        ));
    }
    let rows = manifest.objects.iter().map(|object| {
        vec![
            object.name.clone(),
            bytes(object.size),
            bytes(object.stored_size),
            object.sha256.clone(),
        ]
    });
    println("");
    println(&table(&["File", "Size", "Stored", "SHA-256"], rows.collect()).unwrap_or_default());
    Ok(())
}

/// Reads every byte of one backup, or of all of the store, and says whether it is as it was written; with keys, also
/// whether what is inside is. An error if any is not.
pub fn verify(
    store: &Store,
    cluster: &str,
    wanted: Option<&str>,
    keys: &Keys,
    format: Format,
) -> Result<(), Error> {
    let backups = match wanted {
        Some(wanted) => vec![store.find(wanted, cluster)],
        None => store.list()?,
    };
    let mut first = None;
    let mut verdicts = Vec::new();
    for backup in backups {
        let checked = backup.and_then(|manifest| check(store, &manifest, keys).map(|()| manifest));
        let (name, error) = match checked {
            Ok(manifest) => (manifest.id.to_string(), None),
            Err(error) => (name_of(&error), Some(error)),
        };
        if format == Format::Table {
            println(&match &error {
                None => format!("{name}: whole"),
                Some(error) => crate::text::escape(&error.to_string()),
            });
        }
        verdicts.push(verdict(&name, error.as_ref()));
        first = first.or(error);
    }
    if format == Format::Json {
        println(&json!({ "version": 1, "backups": verdicts }).to_string());
    }
    first.map_or(Ok(()), |error| Err(error.into()))
}

/// Refuses a backup that is not whole; with keys or in plain text also one whose content lacks what it must hold.
pub fn check(store: &Store, manifest: &Manifest, keys: &Keys) -> Result<(), BackupError> {
    check_held(&store.hold(manifest)?, manifest, keys)
}

/// As [`check`], of one whose files are in hand.
pub fn check_held(held: &Held, manifest: &Manifest, keys: &Keys) -> Result<(), BackupError> {
    let can_open = manifest.sealed == Sealed::Plaintext || !keys.is_empty();
    held.check(manifest, can_open.then_some(keys))?;
    manifest.object(crate::backup::manifest::SNAPSHOT)?;
    if !can_open {
        return Ok(());
    }
    let is_member = |host: &str| manifest.etcd.members.iter().any(|(name, _)| name == host);
    let tars = manifest.objects.iter();
    let tars = tars.filter_map(|object| object.name.strip_suffix(".tar"));
    let (members, others): (Vec<&str>, Vec<&str>) = tars.partition(|host| is_member(host));
    let check = |host: &str| {
        let tar = held.content(manifest, keys, &format!("{host}.tar"))?;
        let kind = gather::kind(&manifest.id.to_string(), host, &tar)?;
        // Where etcd is stacked its members are the masters.
        let is_master = kind.is_master || (is_member(host) && !kind.is_member);
        if is_master {
            gather::check_pki(&manifest.id.to_string(), host, &tar)?;
        }
        Ok::<_, BackupError>(gather::Kind { is_master, ..kind })
    };
    let mut kinds = Vec::new();
    for host in members {
        kinds.push(check(host)?);
    }
    // Where etcd is a cluster of its own masters are among the others.
    if kinds.iter().any(|kind| kind.is_member) {
        for host in others {
            kinds.push(check(host)?);
        }
    }
    if !kinds.iter().any(|kind| kind.is_master) {
        return Err(BackupError::Damaged {
            id: manifest.id.to_string(),
            what: "it holds the files of no master, so the CA keys are missing".to_owned(),
        });
    }
    Ok(())
}

fn name_of(error: &BackupError) -> String {
    match error {
        BackupError::Damaged { id, .. } => id.clone(),
        BackupError::Unfit { id, .. } => id.to_string(),
        BackupError::Missing { wanted, .. } => wanted.clone(),
        BackupError::Place { .. }
        | BackupError::Key { .. }
        | BackupError::Busy { .. }
        | BackupError::Io { .. } => String::new(),
    }
}

/// Removes what the rules do not keep of a cluster's backups. Only whole ones count: the newest of them stays whatever the
/// rules say, and damaged ones are left for somebody to look at.
pub fn prune(
    store: &Store,
    cluster: &str,
    keep: Keep,
    dry: bool,
    format: Format,
) -> Result<(), Error> {
    if keep.is_empty() {
        return Err(Error::Usage {
            message:
                "prune needs a rule: --keep-last, --keep-daily, --keep-weekly or --keep-monthly"
                    .to_owned(),
        });
    }
    let writing = store.write()?;
    let whole: Vec<Manifest> = store
        .of_cluster(cluster)?
        .into_iter()
        .filter(|manifest| store.check(manifest).is_ok())
        .collect();
    let surplus = keep.surplus(&whole);
    for id in &surplus {
        if !dry {
            writing.remove(id)?;
        }
    }
    tell_pruned(&whole, &surplus, dry, format);
    Ok(())
}

fn tell_pruned(whole: &[Manifest], surplus: &[Id], dry: bool, format: Format) {
    let freed: u64 = whole
        .iter()
        .filter(|manifest| surplus.contains(&manifest.id))
        .map(Manifest::stored_size)
        .sum();
    let kept = whole.len() - surplus.len();
    if format == Format::Json {
        let json = json!({ "version": 1, "removed": surplus, "kept": kept, "freed": freed, "dry-run": dry });
        println(&json.to_string());
        return;
    }
    let verb = if dry { "would go" } else { "removed" };
    for id in surplus {
        println(&format!("{id}: {verb}"));
    }
    println(&format!(
        "{} {verb} ({}), {kept} kept",
        surplus.len(),
        bytes(freed)
    ));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_and_ages_for_people() {
        assert_eq!(bytes(1023), "1023 B");
        assert_eq!(bytes(2_908_192), "2.8 MiB");
        let then = Timestamp::UNIX_EPOCH;
        let after = |seconds| Timestamp::from_second(seconds).expect("a time");
        for (seconds, text) in [
            (59, "59 s"),
            (7199, "119 min"),
            (7200, "2 h"),
            (172_800, "2 days"),
        ] {
            assert_eq!(age(then, after(seconds)), text);
        }
    }
}
