//! Whether a backup fits what it is to be restored on, and what would be lost. Pure.

use jiff::Timestamp;

use super::rebuild::is_blank;
use super::stage::{States, under_way};
use crate::backup::BackupError;
use crate::backup::manifest::Manifest;
use crate::cluster::etcd::minor;
use crate::cluster::plane::{Etcd, Plane};
use crate::error::Error;
use crate::inventory::{EtcdTopology, Inventory};
use crate::operation::backup::keep;

fn unfit(manifest: &Manifest, what: String) -> Error {
    BackupError::Unfit {
        id: manifest.id.clone(),
        what,
    }
    .into()
}

/// Refuses a backup of another cluster, by name.
pub(super) fn of_cluster(manifest: &Manifest, cluster: &str) -> Result<(), Error> {
    if manifest.cluster == cluster {
        return Ok(());
    }
    Err(unfit(
        manifest,
        format!(
            "it is of the cluster {}, and this one is {cluster}",
            manifest.cluster
        ),
    ))
}

/// Refuses a backup of another cluster of the same name: the CA tells.
pub(super) fn of_ca(manifest: &Manifest, plane: &Plane<'_>) -> Result<(), Error> {
    for master in &plane.masters {
        if let Some(ca) = &master.ca
            && ca.hash != manifest.ca
        {
            return Err(unfit(
                manifest,
                format!(
                    "{} holds the CA {}…, the backup is of another",
                    master.node.name,
                    ca.short()
                ),
            ));
        }
    }
    Ok(())
}

/// Refuses another minor of etcd, blank hosts of which there are no files, and a restore of something else that is under way.
pub(super) fn of_states(
    manifest: &Manifest,
    inventory: &Inventory,
    states: &States,
) -> Result<(), Error> {
    for (host, state) in states {
        if let Some(settings) = &state.settings
            && under_way(states) == Some(&settings.token)
            && settings.id != manifest.id.to_string()
        {
            return Err(unfit(
                manifest,
                format!(
                    "a restore of {} is under way on {host}: go on with `quorate restore {}`, or back with `quorate restore --abort`",
                    settings.id, settings.id
                ),
            ));
        }
        if is_blank(inventory, host, state) {
            if manifest.object(&format!("{host}.tar")).is_ok() {
                continue;
            }
            return Err(unfit(
                manifest,
                format!(
                    "{host} is blank, and the backup has no files of it: {}",
                    without_files(inventory)
                ),
            ));
        }
        let Some(image) = &state.image else { continue };
        let (own, wanted) = (minor(image), minor(&manifest.etcd.version));
        if own.is_none() || own != wanted {
            return Err(unfit(
                manifest,
                format!(
                    "it is of etcd {}, and {host} runs {}: only the same minor can restore it",
                    manifest.etcd.version,
                    crate::text::escape(image)
                ),
            ));
        }
    }
    Ok(())
}

/// What to do about a blank host that the backup has no files of.
fn without_files(inventory: &Inventory) -> &'static str {
    match inventory.etcd {
        EtcdTopology::Stacked => "restore with --single on another master",
        EtcdTopology::External(_) => {
            "take it out of the inventory for now, and let `quorate provision` add it when the others are restored"
        }
    }
}

/// What would be lost, in lines for people.
pub(super) fn loss(
    manifest: &Manifest,
    plane: &Plane<'_>,
    states: &States,
    now: Timestamp,
) -> Vec<String> {
    let mut lines = vec![format!(
        "Backup {} of {} was taken {} ago, at revision {}.",
        manifest.id,
        manifest.cluster,
        keep::age(manifest.taken, now),
        manifest.etcd.revision
    )];
    let current = match plane.etcd() {
        Etcd::Living(_) | Etcd::NoQuorum(_) => plane
            .views()
            .into_iter()
            .map(|(_, view)| view.revision)
            .max(),
        Etcd::Silent => None,
    };
    lines.push(match current {
        Some(current) if current >= manifest.etcd.revision => format!(
            "etcd is at revision {current} now: {} changes since then will be lost, on every member.",
            current - manifest.etcd.revision
        ),
        Some(current) => format!(
            "etcd is at revision {current}, below the backup's: it is younger, or was restored before. All of it will be replaced."
        ),
        None => "No etcd answers: everything since then is lost.".to_owned(),
    });
    if minor(&manifest.etcd.version).as_deref() == Some("3.4") {
        lines.push(
            "etcd's own tool bumps the revision only from 3.4.27 on; before that, clients that watch may hold newer \
             revisions than the restored ones until they start again. The control plane and kubelets are restarted; \
             restart other controllers yourself."
                .to_owned(),
        );
    }
    let under_way = states.values().filter(|state| state.is_under_way()).count();
    if under_way > 0 {
        lines.push(format!(
            "A restore of it is under way on {under_way} hosts: it goes on."
        ));
    }
    lines.push("The old data stays beside the new; `quorate restore --abort` goes back while the restore is not finished.".to_owned());
    lines
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::backup::manifest::sample::manifest;
    use crate::cluster::restore::{Part, Progress, Runner, Settings, Way};
    use crate::cluster::sample::{joined, plane};
    use crate::testing;

    fn backup() -> Manifest {
        manifest("2026-11-21T13:30:00Z")
    }

    fn states(image: &str, settings: Option<&str>) -> States {
        let settings = settings.map(|id| Settings {
            id: id.to_owned(),
            token: "t".to_owned(),
            part: Part::Member,
            runner: Runner::Kubelet,
            has_control_plane: true,
            data: "/var/lib/etcd".into(),
            way: Way::Snapshot,
            name: "master1".to_owned(),
            address: "10.1.1.101".to_owned(),
            peer_url: String::new(),
            initial_cluster: String::new(),
            sha256: String::new(),
            left_behind: std::collections::BTreeSet::new(),
        });
        let state = Progress {
            settings,
            image: (!image.is_empty()).then(|| image.to_owned()),
            ..Progress::default()
        };
        [("master1".to_owned(), state)].into()
    }

    fn refused(result: Result<(), Error>) -> String {
        let error = result.expect_err("it is refused");
        assert_eq!(error.code(), 5, "{error}");
        error.to_string()
    }

    #[test]
    fn another_cluster_is_refused_by_name_and_by_ca() {
        assert!(of_cluster(&backup(), "seoul-1").is_ok());
        assert!(refused(of_cluster(&backup(), "seoul-2")).contains("of the cluster seoul-1"));
        let inventory = testing::inventory();
        let plane = plane(&inventory, vec![Some(joined(1, &[1])), None, None]);
        assert!(refused(of_ca(&backup(), &plane)).contains("master1 holds the CA"));
        let own = Manifest {
            ca: plane.ca().expect("it has one").hash.clone(),
            ..backup()
        };
        assert!(of_ca(&own, &plane).is_ok());
    }

    #[test]
    fn another_minor_of_etcd_is_refused() {
        let inventory = testing::inventory();
        let fits = |image: &str| of_states(&backup(), &inventory, &states(image, None));
        assert!(fits("registry.k8s.io/etcd:3.4.13-0").is_ok());
        assert!(refused(fits("registry.k8s.io/etcd:3.5.0-0")).contains("only the same minor"));
        assert!(refused(fits("registry.k8s.io/etcd@sha256:abcd")).contains("only the same minor"));
        assert!(refused(fits("")).contains("master1 is blank"));
    }

    #[test]
    fn a_restore_of_something_else_must_end_first() {
        let own = backup();
        let fits = |id: &str| {
            let states = states("etcd:3.4.13-0", Some(id));
            of_states(&own, &testing::inventory(), &states)
        };
        assert!(fits(&own.id.to_string()).is_ok());
        let text = refused(fits("other"));
        assert!(
            text.contains("quorate restore other") && text.contains("--abort"),
            "{text}"
        );
    }
}
