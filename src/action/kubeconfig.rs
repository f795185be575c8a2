//! `kubeconfig`: the administrator's kubeconfig on the operator's computer, with the virtual IP as its server.
//!
//! Its first line says from which file of which master it came, by digest, so that it is fetched again when that one was
//! renewed and only then, without its content (a private key) being read to find out.

use camino::{Utf8Path, Utf8PathBuf};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{Action, ActionError, Change, Check, Context, Effect, Scope};
use crate::cluster::plane::{Member, Plane};
use crate::cluster::report;
use crate::host::command::{Command, Script};
use crate::host::error::HostError;
use crate::host::probe::Probe;
use crate::inventory::Inventory;
use crate::state;

/// The administrator's kubeconfig on a master.
pub const ADMIN_CONF: &str = "/etc/kubernetes/admin.conf";

/// Begins the line that tells where the file came from.
const ORIGIN: &str = "# quorate: ";

/// Prints the file's digest and the file, of one and the same moment.
const FETCH: &str = r#"
copy=$(cat /etc/kubernetes/admin.conf && echo .) || exit 1
copy=${copy%.}
digest=$(printf %s "$copy" | sha256sum)
echo "${digest%% *}"
printf %s "$copy"
"#;

/// Fetches the kubeconfig.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Kubeconfig {}

/// Where a cluster's kubeconfig lies on the operator's computer.
#[must_use]
pub fn local_path(cluster: &str) -> Utf8PathBuf {
    state::cluster_dir(cluster).join("kubeconfig")
}

/// Keeps a master's `admin.conf`, whose SHA-256 is `digest`, on the operator's computer, with the virtual IP as its server.
/// Where it lies then.
///
/// # Errors
/// It cannot be written.
pub fn keep_kubeconfig(
    inventory: &Inventory,
    master: &str,
    digest: &str,
    config: &str,
) -> std::io::Result<Utf8PathBuf> {
    let origin = Origin {
        master: master.to_owned(),
        digest: digest.to_owned(),
        server: server(inventory),
    };
    let text = format!("{}{}", origin.line(), with_server(config, &origin.server));
    let path = local_path(&inventory.name);
    state::write_private(&path, text.as_bytes())?;
    Ok(path)
}

/// Where a kubeconfig came from.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Origin {
    master: String,
    digest: String,
    server: String,
}

impl Origin {
    fn parse(text: &str) -> Option<Self> {
        let mut words = text.lines().next()?.strip_prefix(ORIGIN)?.split(' ');
        let mut word = || words.next().map(str::to_owned);
        Some(Self {
            master: word()?,
            digest: word()?,
            server: word()?,
        })
    }

    fn line(&self) -> String {
        format!("{ORIGIN}{} {} {}\n", self.master, self.digest, self.server)
    }
}

impl Action for Kubeconfig {
    fn probes(&self, cx: &Context<'_>) -> Vec<Probe> {
        let mut probes = report::probes(cx.node);
        probes.push(Probe::Digest(ADMIN_CONF.into()));
        probes
    }

    fn scope(&self, _cx: &Context<'_>) -> Scope {
        Scope::Cluster
    }

    fn check(&self, cx: &Context<'_>) -> Result<Check, ActionError> {
        let path = local_path(&cx.inventory.name);
        let held = fs_err::read_to_string(&path)
            .ok()
            .and_then(|text| Origin::parse(&text));
        Ok(judge(cx, held.as_ref(), &path))
    }

    async fn apply(&self, effect: &Effect<'_>, _change: &Change) -> Result<(), ActionError> {
        let command = Command::script(Script::new("kubeconfig-fetch", FETCH));
        let output = effect.host.succeed(&command).await?.text();
        let (digest, config) = output.split_once('\n').unwrap_or_default();
        let (inventory, master) = (effect.cx.inventory, &effect.cx.node.name);
        let kept = keep_kubeconfig(inventory, master, digest, config);
        let path = kept.map_err(|error| HostError::Garbled {
            host: "this computer".to_owned(),
            during: format!("writing {}", local_path(&inventory.name)),
            reason: error.to_string(),
        })?;
        (effect.note)(format!("kubeconfig: {path}"));
        Ok(())
    }
}

/// Needed on one master only: the one that the file came from, if it is new there; else the first that serves.
fn judge(cx: &Context<'_>, held: Option<&Origin>, path: &Utf8Path) -> Check {
    let plane = Plane::read(cx.inventory, cx.fleet);
    let first = plane.living().chain(&plane.masters).next();
    let held = held.filter(|origin| origin.server == server(cx.inventory));
    let source = held.and_then(|origin| {
        plane
            .living()
            .find(|master| master.node.name == origin.master)
    });
    let is_current = match (held, source) {
        (Some(origin), Some(source)) => {
            digest(cx, source).is_none_or(|digest| digest == origin.digest)
        }
        (Some(_), None) => true,
        (None, _) => false,
    };
    let fetches = source
        .or(first)
        .is_none_or(|master| master.node.name == cx.node.name);
    if is_current || !fetches {
        return Check::Satisfied;
    }
    Check::needed(format!("fetch the kubeconfig into {path}"))
}

fn digest(cx: &Context<'_>, master: &Member<'_>) -> Option<String> {
    cx.fleet
        .of(&master.node.name)
        .file(Utf8Path::new(ADMIN_CONF))
        .ok()?
        .present()?
        .sha256()
}

fn server(inventory: &Inventory) -> String {
    format!("https://{}", inventory.control_plane_endpoint())
}

/// The same file with that server, whichever the master itself uses.
fn with_server(config: &str, server: &str) -> String {
    let line = |line: &str| match line.split_once("server: ") {
        Some((indent, _)) if indent.trim().is_empty() => format!("{indent}server: {server}\n"),
        _ => format!("{line}\n"),
    };
    config.lines().map(line).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cluster::sample;
    use crate::host::probe::FileContent;
    use crate::host::probe::{FileState, Readings};
    use crate::testing::World;

    fn world(host: &str) -> World {
        let mut world = World::new(host);
        for (number, name) in [(1, "master1"), (2, "master2"), (3, "master3")] {
            let script = report::script(world.inventory.node(name).expect("a master"));
            let text = sample::joined(number, &[1, 2, 3]).to_string();
            let admin = FileState {
                content: FileContent::Sha256(format!("digest{number}")),
                ..FileState::regular("")
            };
            world.fleet.update(
                name,
                Readings::default()
                    .with_script(script, 0, &text)
                    .with_file(ADMIN_CONF, admin),
            );
        }
        world
    }

    fn origin(master: &str, digest: &str) -> Origin {
        Origin {
            master: master.to_owned(),
            digest: digest.to_owned(),
            server: "https://10.1.1.100:6443".to_owned(),
        }
    }

    #[test]
    fn it_is_fetched_once_and_again_when_it_was_renewed() {
        let moved = Origin {
            server: "https://10.1.1.99:6443".to_owned(),
            ..origin("master1", "digest1")
        };
        let cases = [
            ("master1", None, true),
            ("master2", None, false),
            ("master1", Some(origin("master2", "digest2")), false),
            ("master2", Some(origin("master2", "digest2")), false),
            ("master1", Some(origin("master2", "old")), false),
            ("master2", Some(origin("master2", "old")), true),
            ("master1", Some(origin("gone", "x")), false),
            ("master1", Some(moved), true),
        ];
        for (host, held, expected) in cases {
            let verdict = judge(&world(host).cx(), held.as_ref(), "kubeconfig".into());
            assert_eq!(
                matches!(verdict, Check::Needed(_)),
                expected,
                "{host} {held:?}: {verdict:?}"
            );
        }
    }

    #[test]
    fn the_server_is_the_virtual_ip_and_the_rest_stays() {
        let config = "clusters:\n- cluster:\n    certificate-authority-data: QQ==\n    server: https://10.1.1.101:6443\nkind: Config\n";
        let changed = with_server(config, "https://10.1.1.100:6443");
        assert_eq!(changed, config.replace("101", "100"));
    }

    #[test]
    fn the_origin_reads_back() {
        let origin = origin("master1", "digest1");
        assert_eq!(
            Origin::parse(&format!("{}kind: Config\n", origin.line())),
            Some(origin)
        );
        assert_eq!(Origin::parse("apiVersion: v1\n"), None);
    }
}
