//! `registries`: how containerd reaches registries. It reads these files whenever it pulls, so nothing is restarted.

use camino::{Utf8Path, Utf8PathBuf};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::json;

use super::remote_file::{self, Wanted};
use super::{Action, ActionError, Change, Check, Context, Effect};
use crate::host::command::{Command, Script};
use crate::host::probe::Probe;
use crate::template::Variables;

const TEMPLATE: &str = "containerd/hosts.toml";

/// Names the `hosts.toml` below the directory `$1` that carry our mark.
const LISTED: &str = r#"grep -ls '^# Written by quorate' "$1"/*/hosts.toml || :"#;

/// Removes our files for the registries `$2`… below the directory `$1`, and their directories if nothing else is there.
const REMOVE: &str = r#"
directory=$1
shift
for registry in "$@"; do
    rm -f -- "$directory/$registry/hosts.toml" "$directory/$registry/ca.crt" || exit
    rmdir --ignore-fail-on-non-empty -- "$directory/$registry" || exit
done
"#;

/// `<directory>/<registry>/hosts.toml`, and its CA, for each registry of the inventory; files with our mark for others
/// are removed.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Registries {
    /// containerd's `config_path`.
    #[schemars(with = "String")]
    pub directory: Utf8PathBuf,
}

impl Registries {
    fn wanted(&self, cx: &Context<'_>) -> Result<Vec<Wanted>, ActionError> {
        let mut files = Vec::new();
        for (registry, settings) in &cx.inventory.images.registries {
            let place = self.directory.join(registry);
            let ca = settings.ca.as_deref();
            files.extend(ca.map(|ca| Wanted::public(place.join("ca.crt"), with_newline(ca))));
            let content =
                cx.templates
                    .render_with(TEMPLATE, cx, json!({ "registry": registry }))?;
            files.push(Wanted::public(place.join("hosts.toml"), content));
        }
        Ok(files)
    }

    fn listed(&self) -> Script {
        Script::new("registry-files", LISTED).arg(self.directory.as_str())
    }

    /// Registries that have a file of ours and are not in the inventory any more.
    fn superfluous(&self, cx: &Context<'_>) -> Result<Vec<String>, ActionError> {
        let listed = cx
            .facts()
            .script(&self.listed())?
            .success()
            .unwrap_or_default();
        let registries = listed
            .lines()
            .filter_map(|line| Utf8Path::new(line).strip_prefix(&self.directory).ok())
            .filter_map(Utf8Path::parent)
            .map(Utf8Path::as_str)
            .filter(|registry| !cx.inventory.images.registries.contains_key(*registry));
        Ok(registries.map(str::to_owned).collect())
    }
}

fn with_newline(text: &str) -> String {
    format!("{}\n", text.trim_end())
}

impl Action for Registries {
    fn probes(&self, cx: &Context<'_>) -> Vec<Probe> {
        // A template that does not render is reported by `check`.
        let files = self.wanted(cx).unwrap_or_default();
        let mut probes = Variables::probes(cx);
        probes.push(Probe::Script(self.listed()));
        probes.extend(files.iter().map(Wanted::probe));
        probes
    }

    fn check(&self, cx: &Context<'_>) -> Result<Check, ActionError> {
        let files = remote_file::changes(&self.wanted(cx)?, cx)?;
        let superfluous = self.superfluous(cx)?;
        let removals = superfluous.iter().map(|registry| {
            let registry = crate::text::escape(registry);
            Change::new(format!("remove {}/{registry}", self.directory))
        });
        let change = files.into_iter().chain(removals).reduce(remote_file::join);
        Ok(change.map_or(Check::Satisfied, Check::Needed))
    }

    async fn apply(&self, effect: &Effect<'_>, _change: &Change) -> Result<(), ActionError> {
        let files = self.wanted(&effect.cx)?;
        let files: Vec<_> = files.into_iter().map(Wanted::into_remote).collect();
        effect.host.transport.write(&files).await?;
        let superfluous = self.superfluous(&effect.cx)?;
        if superfluous.is_empty() {
            return Ok(());
        }
        let script = Script::new("registry-files-remove", REMOVE).arg(self.directory.as_str());
        let command = Command::script(script).args(superfluous);
        effect.host.succeed(&command).await?;
        Ok(())
    }

    fn files(&self, cx: &Context<'_>) -> Result<Vec<(Utf8PathBuf, Vec<u8>)>, ActionError> {
        let files = self.wanted(cx)?.into_iter();
        Ok(files.map(|file| (file.path, file.content)).collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::host::probe::Readings;
    use crate::inventory::Registry;
    use crate::testing::World;

    const DIRECTORY: &str = "/etc/containerd/certs.d";

    fn action() -> Registries {
        Registries {
            directory: DIRECTORY.into(),
        }
    }

    fn listing(paths: &str) -> Readings {
        Readings::default().with_script(action().listed(), 0, paths)
    }

    #[test]
    fn what_left_the_inventory_is_removed() {
        let world = World::new("master1").reading(listing(
            "/etc/containerd/certs.d/old.example.com:5000/hosts.toml\n",
        ));
        let expected = Check::needed("remove /etc/containerd/certs.d/old.example.com:5000");
        assert_eq!(action().check(&world.cx()).ok(), Some(expected));
    }

    #[test]
    fn a_registry_with_a_ca_has_two_files() {
        let mut world = World::new("master1").reading(listing(""));
        let registry = Registry {
            ca: Some("PEM".to_owned()),
            ..Registry::default()
        };
        let named = ("registry.example.com".to_owned(), registry);
        world.inventory.images.registries.extend([named]);
        let place = "/etc/containerd/certs.d/registry.example.com";
        for file in ["ca.crt", "hosts.toml"] {
            let probe = Probe::File(format!("{place}/{file}").into());
            assert!(action().probes(&world.cx()).contains(&probe), "{file}");
        }
        let world = world.reading(
            Readings::default()
                .without_file(format!("{place}/ca.crt"))
                .without_file(format!("{place}/hosts.toml")),
        );
        let Ok(Check::Needed(change)) = action().check(&world.cx()) else {
            panic!("both are missing");
        };
        assert_eq!(
            change.summary,
            format!("create {place}/ca.crt, create {place}/hosts.toml")
        );
        assert_eq!(change.touches.len(), 2);
    }
}
