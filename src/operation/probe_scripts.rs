//! The very scripts that `provision` reads its hosts with, written to files: `make bench` gives them to other SSH clients, so
//! that what is compared is the client and not the script.

use camino::Utf8Path;

use super::Session;
use crate::error::Error;
use crate::host::ssh::probe_script;

/// Writes `<out>/<host>.sh`, and `<out>/hosts` with a line `name role address user identity-file known-hosts` per host (`-`
/// for what is not set); `<out>/cluster` holds the cluster's name.
pub fn write(session: &Session, out: &Utf8Path) -> Result<(), Error> {
    let plan = session.plan("provision")?;
    let mut hosts = String::new();
    let failed = |path: &Utf8Path| {
        let doing = format!("write {path}");
        move |source| Error::Local { doing, source }
    };
    fs_err::create_dir_all(out).map_err(failed(out))?;
    for node in plan.hosts(&session.inventory) {
        let path = out.join(format!("{}.sh", node.name));
        let script = probe_script(&session.probes_of(&plan, node));
        fs_err::write(&path, script).map_err(failed(&path))?;
        let set = |value: Option<&str>| value.unwrap_or("-").to_owned();
        let words = [
            node.name.clone(),
            serde_json::to_string(&node.role).expect("a role is always JSON"),
            node.ssh
                .host
                .clone()
                .unwrap_or_else(|| node.address.to_string()),
            set(node.ssh.user.as_deref()),
            set(node.ssh.identity_files.first().map(|path| path.as_str())),
            set(node.ssh.known_hosts.as_deref().map(Utf8Path::as_str)),
        ];
        hosts.push_str(&words.join(" ").replace('"', ""));
        hosts.push('\n');
    }
    for (name, text) in [
        ("hosts", hosts),
        ("cluster", session.inventory.name.clone()),
    ] {
        let path = out.join(name);
        fs_err::write(&path, text).map_err(failed(&path))?;
    }
    Ok(())
}
