//! The user's OpenSSH configuration, read by OpenSSH itself: `ssh -G`.
//!
//! That is a process per host, so it is only asked where a configuration file says anything that could matter here.

use std::collections::HashMap;

use camino::{Utf8Path, Utf8PathBuf};

use super::ConnectOptions;
use super::settings::{HOPS, Wish, parse_hop};
use crate::inventory::Node;
use crate::text;

/// Keywords of ssh_config that change how we connect.
const KEYWORDS: &[&str] = &[
    "certificatefile",
    "globalknownhostsfile",
    "hostkeyalias",
    "hostname",
    "identitiesonly",
    "identityagent",
    "identityfile",
    "port",
    "proxycommand",
    "proxyjump",
    "user",
    "userknownhostsfile",
];

/// What `ssh -G` says, by lower-case keyword; empty where it was not asked.
#[derive(Debug, Default)]
pub(super) struct Config(HashMap<String, Vec<String>>);

impl Config {
    pub(super) async fn read(
        wish: &Wish,
        node: &Node,
        options: &ConnectOptions,
    ) -> Result<Self, String> {
        if !node.ssh.use_config {
            return Ok(Self::default());
        }
        let shared = &options.shared;
        let matters = shared
            .config_matters
            .get_or_init(|| async { does_config_matter(options) })
            .await;
        if !matters {
            return Ok(Self::default());
        }
        let _permit = shared.config_processes.acquire().await;
        let mut command = tokio::process::Command::new("ssh");
        command.arg("-G");
        if let Some(config) = &options.config {
            command.args(["-F", config.as_str()]);
        }
        if let Some(user) = &wish.user {
            command.args(["-l", user]);
        }
        if let Some(port) = wish.port {
            command.args(["-p", &port.to_string()]);
        }
        let output = match command
            .args(["--", &wish.host])
            .kill_on_drop(true)
            .output()
            .await
        {
            Ok(output) => output,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                return Ok(Self::default());
            }
            Err(error) => return Err(format!("failed to run `ssh -G`: {error}")),
        };
        if !output.status.success() {
            let said = text::last_lines(&output.stderr);
            return Err(format!("`ssh -G` failed: {said}"));
        }
        Ok(Self::parse(&String::from_utf8_lossy(&output.stdout)))
    }

    fn parse(output: &str) -> Self {
        let mut values: HashMap<String, Vec<String>> = HashMap::new();
        for line in output.lines() {
            if let Some((keyword, value)) = line.split_once(' ') {
                values
                    .entry(keyword.to_lowercase())
                    .or_default()
                    .push(value.to_owned());
            }
        }
        Self(values)
    }

    pub(super) fn has(&self, keyword: &str) -> bool {
        self.0.contains_key(keyword)
    }

    /// The value of a keyword that is given once; `none` is no value.
    pub(super) fn one(&self, keyword: &str) -> Option<&str> {
        let value = self.0.get(keyword)?.first()?;
        (value != "none").then_some(value.as_str())
    }

    /// Every path of a keyword that may be given several times.
    pub(super) fn paths(&self, keyword: &str, home: Option<&Utf8Path>) -> Vec<Utf8PathBuf> {
        let values = self.0.get(keyword).into_iter().flatten();
        values
            .filter(|value| *value != "none")
            .map(|value| expand(value.trim_matches('"'), home))
            .collect()
    }

    /// Every path of a keyword that takes several at once.
    pub(super) fn path_list(
        &self,
        keyword: &str,
        home: Option<&Utf8Path>,
    ) -> Option<Vec<Utf8PathBuf>> {
        let value = self.0.get(keyword)?.first()?;
        let paths = value.split_whitespace().filter(|path| *path != "none");
        Some(paths.map(|path| expand(path, home)).collect())
    }

    /// The hosts of `ProxyJump`, outermost first.
    pub(super) fn jump_hosts(&self) -> Vec<Wish> {
        self.one("proxyjump")
            .map(|hops| hops.split(',').map(parse_hop).collect())
            .unwrap_or_default()
    }

    pub(super) fn known_hosts(&self, home: Option<&Utf8Path>) -> Vec<Utf8PathBuf> {
        let user = self
            .path_list("userknownhostsfile", home)
            .unwrap_or_else(|| {
                home.map(|home| home.join(".ssh/known_hosts"))
                    .into_iter()
                    .chain(home.map(|home| home.join(".ssh/known_hosts2")))
                    .collect()
            });
        let global = self
            .path_list("globalknownhostsfile", home)
            .unwrap_or_else(|| {
                ["/etc/ssh/ssh_known_hosts", "/etc/ssh/ssh_known_hosts2"]
                    .map(Utf8PathBuf::from)
                    .to_vec()
            });
        user.into_iter().chain(global).collect()
    }

    pub(super) fn agent(&self, options: &ConnectOptions) -> Option<Utf8PathBuf> {
        match self
            .0
            .get("identityagent")
            .and_then(|values| values.first())
        {
            None => options.agent.clone(),
            Some(socket) if socket == "SSH_AUTH_SOCK" => options.agent.clone(),
            Some(socket) if socket == "none" => None,
            Some(socket) => match socket.strip_prefix('$') {
                Some(name) => std::env::var(name).ok().map(Utf8PathBuf::from),
                None => Some(expand(socket, options.home.as_deref())),
            },
        }
    }
}

fn expand(path: &str, home: Option<&Utf8Path>) -> Utf8PathBuf {
    match (path.strip_prefix("~/"), home) {
        (Some(rest), Some(home)) => home.join(rest),
        _ => Utf8PathBuf::from(path),
    }
}

/// Whether a configuration file holds a keyword that concerns us, or something that only OpenSSH can judge.
fn does_config_matter(options: &ConnectOptions) -> bool {
    if options.config.is_some() {
        return true;
    }
    let user = options.home.as_ref().map(|home| home.join(".ssh/config"));
    let system = Utf8PathBuf::from("/etc/ssh/ssh_config");
    user.into_iter()
        .chain([system])
        .any(|file| does_file_matter(&file, 0))
}

fn does_file_matter(file: &Utf8Path, depth: usize) -> bool {
    let text = match fs_err::read_to_string(file) {
        Ok(text) => text,
        Err(error) => return error.kind() != std::io::ErrorKind::NotFound,
    };
    text.lines().any(|line| {
        let line = line.trim();
        let (keyword, value) = line
            .split_once([' ', '\t', '='])
            .map_or((line, ""), |(keyword, value)| (keyword, value));
        let keyword = keyword.to_lowercase();
        match keyword.as_str() {
            "include" => does_include_matter(value, depth),
            _ => KEYWORDS.contains(&keyword.as_str()),
        }
    })
}

/// Follows the includes that distributions ship, a file or `/etc/ssh/ssh_config.d/*.conf`; any other is left to OpenSSH.
fn does_include_matter(value: &str, depth: usize) -> bool {
    let value = value.trim().trim_start_matches('=').trim();
    let odd = [' ', '\t', '*', '?', '[', '~', '"', '$', '%'];
    if depth >= HOPS || !value.starts_with('/') {
        return true;
    }
    let Some((directory, suffix)) = value.split_once("/*") else {
        return value.contains(odd) || does_file_matter(value.into(), depth + 1);
    };
    if directory.contains(odd) || suffix.contains(odd) || suffix.contains('/') {
        return true;
    }
    let Ok(entries) = Utf8Path::new(directory).read_dir_utf8() else {
        return false;
    };
    entries
        .flatten()
        .filter(|entry| entry.file_name().ends_with(suffix))
        .any(|entry| does_file_matter(entry.path(), depth + 1))
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test may panic")]

    use super::*;
    use crate::testing::torture::torture_text;

    #[test]
    fn nothing_that_ssh_says_makes_the_parser_panic() {
        let good = "host a\nuser ops\nhostname 10.1.1.1\nport 22\nproxyjump ops@gate:2222,[::1]:22\nidentityfile ~/.ssh/id\nuserknownhostsfile ~/.ssh/a /b\nidentityagent none\n";
        torture_text("what `ssh -G` says", &[good], |text| {
            let config = Config::parse(text);
            let _ = config.jump_hosts();
            let _ = config.known_hosts(Some("/home/ops".into()));
            let _ = config.paths("identityfile", None);
        });
    }

    #[test]
    fn only_configuration_that_concerns_us_matters() {
        let directory = tempfile::tempdir().unwrap();
        let path = |name: &str| Utf8PathBuf::from_path_buf(directory.path().join(name)).unwrap();
        let matters = |text: &str| {
            fs_err::write(path("config"), text).unwrap();
            does_file_matter(&path("config"), 0)
        };
        fs_err::create_dir(path("d")).unwrap();
        fs_err::write(path("d/10-a.conf"), "Host *\n  SendEnv LANG\n").unwrap();
        let include = format!("Include {}/*.conf\n", path("d"));
        assert!(!matters(
            "# Host a\nHost *\n  SendEnv LANG LC_*\n  HashKnownHosts yes\n"
        ));
        assert!(!matters(&include));
        assert!(!matters(&format!("Include {}\n", path("d/10-a.conf"))));
        assert!(matters("Host a\n\tport 2222\n"));
        assert!(matters("ProxyJump=gate\n"));
        assert!(matters("Include ~/.ssh/other\n"));
        fs_err::write(path("d/20-b.conf"), "IdentityFile ~/key\n").unwrap();
        assert!(matters(&include));
        assert!(!does_file_matter(&path("absent"), 0));
    }
}
