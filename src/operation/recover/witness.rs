//! Whether those that are to be given up are gone: asked of the survivors, not of the operator's link alone.

use std::net::Ipv4Addr;

use futures::future::join_all;

use super::{note, read_error};
use crate::error::Error;
use crate::host::Host;
use crate::host::command::{Command, Script};

/// Survivors that must find a member silent before it is removed.
const WITNESSES: usize = 2;

/// Three probes of etcd's ports, three seconds apart. Prints how many found somebody there.
const PROBE: &str = r#"
address=$1
answered=0
for try in 1 2 3; do
    [ $try = 1 ] || sleep 3
    for port in 2379 2380; do
        curl -s -k -o /dev/null --max-time 2 --connect-timeout 2 "https://$address:$port/health"
        # 7, 28: nobody there. Anything else, a refused handshake too, is an answer.
        case $? in 7 | 28) ;; *) answered=$((answered + 1)) ;; esac
    done
done
echo "$answered"
"#;

/// How many of these hosts find nobody at the address, each several times; refuses if any finds somebody, and says what to do
/// then.
pub(super) async fn silent(
    survivors: &[&Host],
    name: &str,
    address: Ipv4Addr,
    if_it_answers: &str,
) -> Result<usize, Error> {
    let from: Vec<&str> = survivors.iter().map(|it| it.node.name.as_str()).collect();
    note(&format!(
        "probing {name} ({address}) from {}",
        from.join(" and ")
    ));
    let probes = survivors.iter().map(async |host| {
        let script = Script::new("etcd-member-probe", PROBE).arg(address.to_string());
        let said = host.succeed(&Command::script(script)).await;
        (*host, said.map(|said| said.text().trim().to_owned()))
    });
    for (host, said) in join_all(probes).await {
        let answered = said.map_err(|source| read_error(host, source))?;
        if answered != "0" {
            return Err(Error::refused(format!(
                "{name} answered {} of 6 probes from {}: a member that is there is not given up; {if_it_answers}",
                crate::text::escape(&answered),
                host.node.name
            )));
        }
    }
    Ok(survivors.len())
}

/// Refuses if too few found it silent to take its place in a cluster that lives without it.
pub(super) fn suffice(silent: usize, name: &str) -> Result<(), Error> {
    if silent >= WITNESSES {
        return Ok(());
    }
    Err(Error::refused(format!(
        "only {silent} survivor found {name} silent, and {WITNESSES} must: from one place alone a cut network looks the same"
    )))
}
