//! Rules for single values: names, addresses, networks, numbers, places on the net.

use std::net::{IpAddr, Ipv4Addr};

use ipnetwork::Ipv4Network;

use crate::input::{Given, Place, Problem};
use crate::inventory::version::{KubeVersion, KubeadmApi};

/// Newest minor that this code was written against.
pub const NEWEST_KNOWN_MINOR: u16 = 37;

/// A DNS-1123 label: what host names, Node names and the cluster's name must be.
pub fn dns_label(what: &str, text: &str, place: Place) -> Result<String, Problem> {
    if is_dns_label(text) {
        return Ok(text.to_owned());
    }
    let problem = Problem::at(place, format!("{what} `{text}` is not a DNS-1123 label"));
    let rule = "1 to 63 of a-z, 0-9 and `-`, with a letter or digit at both ends";
    Err(match corrected_label(text) {
        Some(label) => problem.help(format!("write `{label}`: {rule}")),
        None => problem.help(format!("write {rule}")),
    })
}

/// A DNS name: labels joined by dots.
pub fn dns_name(what: &str, given: &Given<String>) -> Result<String, Problem> {
    let text = &given.value;
    if is_dns_name(text) {
        return Ok(text.clone());
    }
    Err(Problem::at(
        given.place,
        format!("{what} `{text}` is not a DNS name"),
    )
    .help("write lower-case labels of a-z, 0-9 and `-` joined by dots, for example `k8s-api.company.local`"))
}

/// A name or address that a certificate can carry.
pub fn cert_san(given: &Given<String>) -> Result<String, Problem> {
    let text = &given.value;
    let name = text.strip_prefix("*.").unwrap_or(text);
    if text.parse::<IpAddr>().is_ok() || is_dns_name(name) {
        return Ok(text.clone());
    }
    Err(Problem::at(
        given.place,
        format!("`{text}` is neither a DNS name nor an IP address"),
    )
    .help("write names as `k8s-api.company.local`, without scheme and port"))
}

/// An IPv4 address that a host can have.
pub fn host_address(text: &str, place: Place) -> Result<Ipv4Addr, Problem> {
    let address = ipv4(text, place)?;
    let is_special = address.is_unspecified()
        || address.is_loopback()
        || address.is_multicast()
        || address.is_broadcast();
    if is_special {
        return Err(
            Problem::at(place, format!("{address} is no address of a host"))
                .help("write the address by which the other hosts reach it"),
        );
    }
    Ok(address)
}

fn ipv4(text: &str, place: Place) -> Result<Ipv4Addr, Problem> {
    if let Ok(address) = text.parse() {
        return Ok(address);
    }
    let problem = Problem::at(place, format!("`{text}` is not an IPv4 address"));
    Err(if text.parse::<IpAddr>().is_ok() {
        problem.help("IPv6 is not supported: write the host's IPv4 address")
    } else if text.contains('/') {
        problem.help("write the address without its prefix length")
    } else {
        problem.help("write four numbers from 0 to 255, for example `10.1.1.101`")
    })
}

/// An IPv4 network without host bits.
pub fn network(given: &Given<String>) -> Result<Ipv4Network, Problem> {
    let text = &given.value;
    let parsed: Option<Ipv4Network> = text.parse().ok().filter(|_| text.contains('/'));
    let Some(network) = parsed else {
        let problem = Problem::at(given.place, format!("`{text}` is not a CIDR"));
        return Err(match text.parse::<Ipv4Addr>() {
            Ok(_) => problem.help(format!("add the prefix length: `{text}/16`")),
            Err(_) => problem
                .help("write an IPv4 network with its prefix length, for example `10.244.0.0/16`"),
        });
    };
    if network.ip() != network.network() {
        let right = format!("{}/{}", network.network(), network.prefix());
        return Err(
            Problem::at(given.place, format!("`{text}` has host bits set"))
                .help(format!("write `{right}`")),
        );
    }
    Ok(network)
}

/// A version that some supported kubeadm speaks.
pub fn version(given: &Given<String>) -> Result<(KubeVersion, KubeadmApi), Problem> {
    let text = &given.value;
    let version: KubeVersion = text.parse().map_err(|_| {
        Problem::at(given.place, format!("`{text}` is not a Kubernetes version"))
            .help(corrected_version(text))
    })?;
    let api = version.kubeadm_api().ok_or_else(|| {
        Problem::at(
            given.place,
            format!("no supported kubeadm configuration API serves {version}"),
        )
        .help("write `v1.20.0` or newer")
    })?;
    Ok((version, api))
}

/// A port from 1 to 65535.
pub fn port(given: &Given<i64>) -> Result<u16, Problem> {
    within(given, "port", 1, u16::MAX)
}

/// A whole number between two bounds.
pub fn within(given: &Given<i64>, what: &str, least: u16, most: u16) -> Result<u16, Problem> {
    u16::try_from(given.value)
        .ok()
        .filter(|number| (least..=most).contains(number))
        .ok_or_else(|| {
            Problem::at(
                given.place,
                format!("{what} {} is outside {least} to {most}", given.value),
            )
            .help(format!("write a number from {least} to {most}"))
        })
}

/// A network interface's name as Linux allows it.
pub fn interface(given: &Given<String>) -> Result<String, Problem> {
    let text = &given.value;
    let is_good = (1..=15).contains(&text.len())
        && text
            .bytes()
            .all(|b| b.is_ascii_graphic() && b != b'/' && b != b':')
        && text != "."
        && text != "..";
    if is_good {
        return Ok(text.clone());
    }
    Err(
        Problem::at(given.place, format!("`{text}` is not an interface name"))
            .help("write 1 to 15 characters without blanks, `/` and `:`, for example `eth0`"),
    )
}

/// An `http://` or `https://` URL.
pub fn url(given: &Given<String>) -> Result<String, Problem> {
    let text = &given.value;
    if is_url(text) {
        return Ok(text.clone());
    }
    let rest = text
        .split_once("://")
        .map_or(text.as_str(), |(_, rest)| rest);
    Err(
        Problem::at(given.place, format!("`{text}` is not an http or https URL"))
            .help(format!("write `https://{}`", rest.trim())),
    )
}

/// Whether a text is an `http://` or `https://` URL.
#[must_use]
pub fn is_url(text: &str) -> bool {
    let rest = text
        .strip_prefix("https://")
        .or_else(|| text.strip_prefix("http://"));
    rest.is_some_and(|rest| {
        rest.starts_with(|c: char| c.is_ascii_alphanumeric() || c == '[')
            && !rest.contains(|c: char| c.is_whitespace() || c.is_control() || c == '"')
    })
}

/// A registry as image names begin: `host[:port]`.
pub fn registry_host(given: &Given<String>) -> Result<String, Problem> {
    let text = &given.value;
    let (host, port) = text.split_once(':').unwrap_or((text, "443"));
    if is_dns_name(&host.to_lowercase()) && port.parse::<u16>().is_ok_and(|port| port > 0) {
        return Ok(text.clone());
    }
    Err(
        Problem::at(given.place, format!("`{text}` is not a registry's host"))
            .help("write `host` or `host:port`, without scheme and path"),
    )
}

/// An image repository: `host[:port][/path]`.
pub fn repository(given: &Given<String>) -> Result<String, Problem> {
    let text = &given.value;
    let (host, path) = text.split_once('/').unwrap_or((text, ""));
    let is_path = path
        .bytes()
        .all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b"._-/".contains(&b));
    if registry_host(&given.with(host.to_owned())).is_ok() && is_path && !text.ends_with('/') {
        return Ok(text.clone());
    }
    Err(
        Problem::at(given.place, format!("`{text}` is not an image repository")).help(
            "write `host[:port]/path` without scheme, for example `registry.company.local/k8s`",
        ),
    )
}

/// A jump host: `[user@]host[:port]`.
pub fn jump_host(given: &Given<String>) -> Result<String, Problem> {
    let text = &given.value;
    let (user, rest) = text
        .split_once('@')
        .map_or((None, text.as_str()), |(user, rest)| (Some(user), rest));
    let (host, port) = rest
        .split_once(':')
        .map_or((rest, None), |(host, port)| (host, Some(port)));
    let is_good = user.is_none_or(is_login)
        && is_word(host)
        && port.is_none_or(|port| port.parse::<u16>().is_ok_and(|port| port > 0));
    if is_good {
        return Ok(text.clone());
    }
    Err(
        Problem::at(given.place, format!("`{text}` is not a jump host"))
            .help("write `[user@]host[:port]`"),
    )
}

/// A login or host name for OpenSSH: no blanks, and nothing that looks like an option.
pub fn login(what: &str, given: &Given<String>) -> Result<String, Problem> {
    let text = &given.value;
    if is_login(text) {
        return Ok(text.clone());
    }
    Err(
        Problem::at(given.place, format!("{what} `{text}` is not one word"))
            .help("write it without blanks and quotes"),
    )
}

fn is_login(text: &str) -> bool {
    !text.is_empty()
        && !text.starts_with('-')
        && !text.contains(|c: char| c.is_whitespace() || c.is_control() || "\"'`$".contains(c))
}

/// One word: not empty, no blanks, nothing that looks like an option.
pub fn word(what: &str, given: &Given<String>) -> Result<String, Problem> {
    let text = &given.value;
    if is_word(text) {
        return Ok(text.clone());
    }
    Err(
        Problem::at(given.place, format!("{what} `{text}` is not one word"))
            .help("write letters, digits, `.`, `_`, `-` and `/`, without blanks"),
    )
}

fn is_word(text: &str) -> bool {
    !text.is_empty()
        && !text.starts_with('-')
        && text
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || b"._-/+~".contains(&b))
}

/// Whether a text is a DNS-1123 label.
#[must_use]
pub fn is_dns_label(text: &str) -> bool {
    (1..=63).contains(&text.len())
        && text
            .bytes()
            .all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-')
        && !text.starts_with('-')
        && !text.ends_with('-')
}

/// Whether a text is a DNS-1123 subdomain.
#[must_use]
pub fn is_dns_name(text: &str) -> bool {
    text.len() <= 253 && text.split('.').all(is_dns_label)
}

fn corrected_label(text: &str) -> Option<String> {
    let corrected = text.trim().to_lowercase().replace(['_', '.', ' '], "-");
    is_dns_label(&corrected).then_some(corrected)
}

fn corrected_version(text: &str) -> String {
    let plain = text.trim().trim_start_matches(['v', 'V']);
    let with_patch = [format!("v{plain}"), format!("v{plain}.0")];
    match with_patch
        .iter()
        .find(|text| text.parse::<KubeVersion>().is_ok())
    {
        Some(right) => format!("write `{right}`"),
        None => "write it as `v1.36.2`".to_owned(),
    }
}
