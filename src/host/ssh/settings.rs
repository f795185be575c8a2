//! How to reach a host: the inventory's settings, then the user's OpenSSH configuration, then the usual defaults.
//!
//! OpenSSH's configuration is read by OpenSSH: `ssh -G`. That is a process per host, so it is only asked where a
//! configuration file says anything that could matter here.

use std::collections::HashMap;

use camino::{Utf8Path, Utf8PathBuf};
use futures::FutureExt as _;
use futures::future::BoxFuture;

use super::ConnectOptions;
use crate::host::error::HostError;
use crate::inventory::Node;
use crate::secret::SecretSource;
use crate::text;

/// Jump hosts that may lie behind each other.
const HOPS: usize = 8;

/// Key files that OpenSSH tries when nothing is configured.
const DEFAULT_KEYS: &[&str] = &["id_ed25519", "id_ecdsa", "id_rsa"];

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

/// Everything that is needed to connect to one machine.
#[derive(Debug, Clone, Default)]
pub(super) struct Route {
    /// How messages name it: the node, or the jump host as it was written.
    pub(super) label: String,
    pub(super) user: String,
    /// Address or name.
    pub(super) address: String,
    pub(super) port: u16,
    /// Name and port under which known_hosts has it.
    pub(super) key_name: String,
    pub(super) key_port: u16,
    pub(super) known_hosts: Vec<Utf8PathBuf>,
    pub(super) identity_files: Vec<Utf8PathBuf>,
    pub(super) certificate_files: Vec<Utf8PathBuf>,
    /// Whether the inventory names the identity files.
    pub(super) is_identity_explicit: bool,
    /// `IdentitiesOnly`: the agent may only use what the identity files name.
    pub(super) is_agent_limited: bool,
    pub(super) agent: Option<Utf8PathBuf>,
    pub(super) passphrase: Option<SecretSource>,
    pub(super) via: Option<Box<Route>>,
    pub(super) proxy_command: Option<String>,
}

impl Route {
    /// `10.1.1.11:22 via bastion:22`.
    pub(super) fn description(&self) -> String {
        let own = format!("{}:{}", self.address, self.port);
        match &self.via {
            None => own,
            Some(via) => format!("{own} via {}", via.description()),
        }
    }

    /// What tells connections to jump hosts apart.
    pub(super) fn chain(&self) -> String {
        let own = format!("{}@{}:{}", self.user, self.address, self.port);
        match &self.via {
            None => own,
            Some(via) => format!("{own} {}", via.chain()),
        }
    }
}

/// What is asked for a machine before the configuration is consulted.
#[derive(Debug, Clone, Default)]
struct Wish {
    label: String,
    host: String,
    user: Option<String>,
    port: Option<u16>,
}

/// Finds the route to a node.
pub(super) async fn resolve(node: &Node, options: &ConnectOptions) -> Result<Route, HostError> {
    let settings = &node.ssh;
    let wish = Wish {
        label: node.name.clone(),
        host: settings
            .host
            .clone()
            .unwrap_or_else(|| node.address.to_string()),
        user: settings.user.clone(),
        port: settings.port,
    };
    let hops: Option<Vec<Wish>> = (!settings.jump.is_empty())
        .then(|| settings.jump.iter().map(|hop| parse_hop(hop)).collect());
    route(&wish, hops, node, options, 0).await
}

/// Finds the route to one machine; `hops` are those of the inventory, else the configuration's count.
fn route<'a>(
    wish: &'a Wish,
    hops: Option<Vec<Wish>>,
    node: &'a Node,
    options: &'a ConnectOptions,
    depth: usize,
) -> BoxFuture<'a, Result<Route, HostError>> {
    async move {
        let fail = |reason: String| HostError::Unreachable {
            host: node.name.clone(),
            address: wish.host.clone(),
            reason,
        };
        if depth > HOPS {
            return Err(fail(format!("more than {HOPS} jump hosts")));
        }
        let config = Config::read(wish, node, options).await.map_err(&fail)?;
        let mut route = config.apply(wish, node, options);
        let is_configured = hops.is_none();
        let mut hops = hops.unwrap_or_else(|| config.jump_hosts());
        if !hops.is_empty() {
            route.proxy_command = None;
        }
        if let Some(last) = hops.pop() {
            let before = (!hops.is_empty() || !is_configured).then_some(hops);
            let via = self::route(
                &last,
                before.filter(|hops| !hops.is_empty()),
                node,
                options,
                depth + 1,
            );
            route.via = Some(Box::new(via.await?));
        }
        Ok(route)
    }
    .boxed()
}

/// `[user@]host[:port]`, `[user@][v6]:port`, or the same as `ssh://` URI.
fn parse_hop(text: &str) -> Wish {
    let text = text.strip_prefix("ssh://").unwrap_or(text);
    let (user, rest) = match text.rsplit_once('@') {
        Some((user, rest)) => (Some(user.to_owned()), rest),
        None => (None, text),
    };
    let (host, port) = match rest.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
        Some((host, port)) => (host, port.strip_prefix(':')),
        None => match rest.split_once(':') {
            Some((host, port)) if !port.contains(':') => (host, Some(port)),
            _ => (rest, None),
        },
    };
    Wish {
        label: text.to_owned(),
        host: host.to_owned(),
        user,
        port: port.and_then(|port| port.parse().ok()),
    }
}

/// What `ssh -G` says, by lower-case keyword; empty where it was not asked.
#[derive(Debug, Default)]
struct Config(HashMap<String, Vec<String>>);

impl Config {
    async fn read(wish: &Wish, node: &Node, options: &ConnectOptions) -> Result<Self, String> {
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

    fn one(&self, keyword: &str) -> Option<&str> {
        let value = self.0.get(keyword)?.first()?;
        (value != "none").then_some(value.as_str())
    }

    /// Every path of a keyword that may be given several times.
    fn paths(&self, keyword: &str, home: Option<&Utf8Path>) -> Vec<Utf8PathBuf> {
        let values = self.0.get(keyword).into_iter().flatten();
        values
            .filter(|value| *value != "none")
            .map(|value| expand(value.trim_matches('"'), home))
            .collect()
    }

    /// Every path of a keyword that takes several at once.
    fn path_list(&self, keyword: &str, home: Option<&Utf8Path>) -> Option<Vec<Utf8PathBuf>> {
        let value = self.0.get(keyword)?.first()?;
        let paths = value.split_whitespace().filter(|path| *path != "none");
        Some(paths.map(|path| expand(path, home)).collect())
    }

    fn jump_hosts(&self) -> Vec<Wish> {
        self.one("proxyjump")
            .map(|hops| hops.split(',').map(parse_hop).collect())
            .unwrap_or_default()
    }

    fn apply(&self, wish: &Wish, node: &Node, options: &ConnectOptions) -> Route {
        let settings = &node.ssh;
        let home = options.home.as_deref();
        let address = self.one("hostname").unwrap_or(&wish.host).to_owned();
        let port = wish
            .port
            .or_else(|| self.one("port")?.parse().ok())
            .unwrap_or(22);
        let user = wish
            .user
            .clone()
            .or_else(|| self.one("user").map(str::to_owned))
            .unwrap_or_else(local_user);
        let (key_name, key_port) = match self.one("hostkeyalias") {
            Some(alias) => (alias.to_owned(), 22),
            None => (address.clone(), port),
        };
        let known_hosts = match &settings.known_hosts {
            Some(file) => vec![file.clone()],
            None => self.known_hosts(home),
        };
        let is_identity_explicit = !settings.identity_files.is_empty();
        let identity_files = if is_identity_explicit {
            settings.identity_files.clone()
        } else if self.0.contains_key("identityfile") {
            self.paths("identityfile", home)
        } else {
            default_keys(home)
        };
        Route {
            label: wish.label.clone(),
            proxy_command: self
                .one("proxycommand")
                .map(|command| expand_proxy(command, &wish.host, &address, port, &user)),
            user,
            address,
            port,
            key_name,
            key_port,
            known_hosts,
            identity_files,
            certificate_files: self.paths("certificatefile", home),
            is_identity_explicit,
            is_agent_limited: self.one("identitiesonly") == Some("yes"),
            agent: self.agent(options),
            passphrase: settings.passphrase.clone(),
            via: None,
        }
    }

    fn known_hosts(&self, home: Option<&Utf8Path>) -> Vec<Utf8PathBuf> {
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

    fn agent(&self, options: &ConnectOptions) -> Option<Utf8PathBuf> {
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

fn default_keys(home: Option<&Utf8Path>) -> Vec<Utf8PathBuf> {
    let Some(home) = home else {
        return Vec::new();
    };
    DEFAULT_KEYS
        .iter()
        .map(|name| home.join(".ssh").join(name))
        .collect()
}

fn expand(path: &str, home: Option<&Utf8Path>) -> Utf8PathBuf {
    match (path.strip_prefix("~/"), home) {
        (Some(rest), Some(home)) => home.join(rest),
        _ => Utf8PathBuf::from(path),
    }
}

/// The tokens that OpenSSH replaces in a ProxyCommand.
fn expand_proxy(command: &str, typed: &str, host: &str, port: u16, user: &str) -> String {
    let mut expanded = String::new();
    let mut characters = command.chars();
    while let Some(character) = characters.next() {
        if character != '%' {
            expanded.push(character);
            continue;
        }
        match characters.next() {
            Some('h') => expanded.push_str(host),
            Some('n') => expanded.push_str(typed),
            Some('p') => expanded.push_str(&port.to_string()),
            Some('r') => expanded.push_str(user),
            Some(other) => expanded.push(other),
            None => {}
        }
    }
    expanded
}

/// The name of whoever runs this.
fn local_user() -> String {
    ["USER", "LOGNAME"]
        .iter()
        .find_map(|name| std::env::var(name).ok().filter(|user| !user.is_empty()))
        .or_else(user_of_process)
        .unwrap_or_else(|| "root".to_owned())
}

fn user_of_process() -> Option<String> {
    use std::os::unix::fs::MetadataExt as _;
    let id = fs_err::metadata("/proc/self").ok()?.uid().to_string();
    let passwd = fs_err::read_to_string("/etc/passwd").ok()?;
    passwd.lines().find_map(|line| {
        let mut fields = line.split(':');
        let name = fields.next()?;
        (fields.nth(1)? == id).then(|| name.to_owned())
    })
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

    fn hop(text: &str) -> (Option<String>, String, Option<u16>) {
        let wish = parse_hop(text);
        (wish.user, wish.host, wish.port)
    }

    #[test]
    fn hops_are_read_in_all_their_spellings() {
        let user = Some("ops".to_owned());
        assert_eq!(hop("gate"), (None, "gate".to_owned(), None));
        assert_eq!(
            hop("ops@gate:2222"),
            (user.clone(), "gate".to_owned(), Some(2222))
        );
        assert_eq!(
            hop("ssh://ops@gate:22"),
            (user.clone(), "gate".to_owned(), Some(22))
        );
        assert_eq!(
            hop("ops@[fd00::1]:22"),
            (user, "fd00::1".to_owned(), Some(22))
        );
        assert_eq!(hop("fd00::1"), (None, "fd00::1".to_owned(), None));
    }

    #[test]
    fn a_route_is_described_from_the_target_outwards() {
        let mut route = Route {
            address: "10.1.1.11".to_owned(),
            port: 22,
            ..Route::default()
        };
        assert_eq!(route.description(), "10.1.1.11:22");
        let via = Route {
            address: "gate".to_owned(),
            port: 2222,
            ..Route::default()
        };
        route.via = Some(Box::new(via));
        assert_eq!(route.description(), "10.1.1.11:22 via gate:2222");
    }

    #[test]
    fn proxy_commands_get_their_tokens() {
        let expanded = expand_proxy("nc %h %p # %n %r %%", "alias", "host", 22, "ops");
        assert_eq!(expanded, "nc host 22 # alias ops %");
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
