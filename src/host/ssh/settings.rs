//! How to reach a host: the inventory's settings, then the user's OpenSSH configuration, then the usual defaults.

use camino::{Utf8Path, Utf8PathBuf};
use futures::FutureExt as _;
use futures::future::BoxFuture;

use super::ConnectOptions;
use super::config::Config;
use crate::host::error::HostError;
use crate::inventory::Node;
use crate::secret::SecretSource;

/// Jump hosts that may lie behind each other.
pub(super) const HOPS: usize = 8;

/// Key files that OpenSSH tries when nothing is configured.
const DEFAULT_KEYS: &[&str] = &["id_ed25519", "id_ecdsa", "id_rsa"];

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
pub(super) struct Wish {
    label: String,
    pub(super) host: String,
    pub(super) user: Option<String>,
    pub(super) port: Option<u16>,
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
        let mut route = apply(&config, wish, node, options);
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
pub(super) fn parse_hop(text: &str) -> Wish {
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

/// Everything but the jump hosts.
fn apply(config: &Config, wish: &Wish, node: &Node, options: &ConnectOptions) -> Route {
    let settings = &node.ssh;
    let home = options.home.as_deref();
    let address = config.one("hostname").unwrap_or(&wish.host).to_owned();
    let port = wish
        .port
        .or_else(|| config.one("port")?.parse().ok())
        .unwrap_or(22);
    let user = wish
        .user
        .clone()
        .or_else(|| config.one("user").map(str::to_owned))
        .unwrap_or_else(local_user);
    let (key_name, key_port) = match config.one("hostkeyalias") {
        Some(alias) => (alias.to_owned(), 22),
        None => (address.clone(), port),
    };
    let known_hosts = match &settings.known_hosts {
        Some(file) => vec![file.clone()],
        None => config.known_hosts(home),
    };
    let is_identity_explicit = !settings.identity_files.is_empty();
    let identity_files = if is_identity_explicit {
        settings.identity_files.clone()
    } else if config.has("identityfile") {
        config.paths("identityfile", home)
    } else {
        default_keys(home)
    };
    Route {
        label: wish.label.clone(),
        proxy_command: config
            .one("proxycommand")
            .map(|command| expand_proxy(command, &wish.host, &address, port, &user)),
        user,
        address,
        port,
        key_name,
        key_port,
        known_hosts,
        identity_files,
        certificate_files: config.paths("certificatefile", home),
        is_identity_explicit,
        is_agent_limited: config.one("identitiesonly") == Some("yes"),
        agent: config.agent(options),
        passphrase: settings.passphrase.clone(),
        via: None,
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

#[cfg(test)]
mod tests {
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
}
