//! `quorate restore --abort`: the old data back in its place.

use std::time::Duration;

use futures::future::join_all;

use super::stage::{concerned, read_error, states, takes_part, under_way};
use super::{Session, connect};
use crate::cluster::restore::abort_script;
use crate::engine::lock;
use crate::error::Error;
use crate::host::Host;
use crate::host::job::Job;
use crate::report::eprintln;

/// How long a step may take.
const DEADLINE: Duration = Duration::from_secs(15 * 60);

/// Puts the old data back on every host on which a restore was begun and has not ended.
///
/// The steps are barriers: no member starts on old data while another runs on new. Each may be repeated.
pub async fn abort(session: &Session) -> Result<(), Error> {
    let (hosts, _) = connect(session, false).await?;
    let lock_name = format!("{}-restore", session.inventory.name);
    let _guards = lock::take(&hosts, &lock_name, &lock::owner()).await?;
    let _cluster = lock::take(&hosts, &session.inventory.name, &lock::owner()).await?;
    let states = states(&hosts).await?;
    let token = under_way(&states);
    let is_begun = |host: &&Host| {
        let state = states.get(&host.node.name);
        state.is_some_and(|state| token.is_some_and(|token| takes_part(state, token)))
    };
    let begun: Vec<&Host> = concerned(&hosts).filter(is_begun).collect();
    if begun.is_empty() {
        return Err(Error::refused(
            "no restore is under way on any host".to_owned(),
        ));
    }
    for (step, what) in [
        ("abort-stop", "stopping what the restore started"),
        ("abort-data", "putting the old data back"),
        ("abort-start", "starting etcd and the control plane on it"),
    ] {
        eprintln(what);
        let steps = begun.iter().map(|host| go(host, step));
        for result in join_all(steps).await {
            result?;
        }
    }
    eprintln(
        "The restore is taken back; what it had made stays as quorate-discarded-… in etcd's data directory",
    );
    Ok(())
}

async fn go(host: &Host, step: &'static str) -> Result<(), Error> {
    let job = Job {
        name: "restore-stage",
        token: format!("{step}-{:08x}", rand::random::<u32>()),
        script: abort_script(step),
        files: Vec::new(),
        deadline: DEADLINE,
    };
    let ended = host.transport.job(&job).await;
    let ended = ended.map_err(|source| read_error(host, source))?;
    if ended.is_success() {
        return Ok(());
    }
    Err(read_error(
        host,
        crate::host::error::HostError::Command {
            host: host.node.name.clone(),
            command: step.to_owned(),
            status: format!("{:?}", ended.status),
            output: crate::text::last_lines(ended.output.as_bytes()),
        },
    ))
}
