//! SSH settings: the inventory's, with a host's own over them.

use camino::Utf8PathBuf;

use super::super::SshSettings;
use super::super::rules::files::Base;
use super::super::rules::{Findings, values};
use super::super::spec::SshSpec;
use super::{list, optional};
use crate::input::{Field, Given, Problem, Shorthand};

/// The settings that hold for all hosts.
pub(super) fn general(base: &Base, field: &Field<SshSpec>, findings: &mut Findings) -> SshSettings {
    if let Some(host) = field.value().and_then(|ssh| ssh.host.given()) {
        findings.refuse(
            Problem::at(host.key, "`host` is one host's own setting")
                .help("write it under a host: `lb1: { address: 10.1.1.11, ssh: { host: NAME } }`"),
        );
    }
    let defaults = SshSettings {
        use_config: true,
        ..SshSettings::default()
    };
    of_host(base, &defaults, field, findings)
}

/// The general settings with those of one host over them; `host` is left to the caller.
pub(super) fn of_host(
    base: &Base,
    general: &SshSettings,
    field: &Field<SshSpec>,
    findings: &mut Findings,
) -> SshSettings {
    let mut settings = general.clone();
    let Some(spec) = field.value() else {
        return settings;
    };
    if let Some(user) = optional(&spec.user, findings, |user| values::login("user", user)) {
        settings.user = Some(user);
    }
    if let Some(port) = optional(&spec.port, findings, values::port) {
        settings.port = Some(port);
    }
    if let Some(files) = spec.identity_file.given() {
        settings.identity_files = identity_files(base, files, findings);
    }
    if let Some(source) = optional(&spec.passphrase, findings, |source| base.secret(source)) {
        settings.passphrase = Some(source);
    }
    if let Some(path) = optional(&spec.known_hosts, findings, |path| {
        base.path("known_hosts", path)
    }) {
        settings.known_hosts = Some(path);
    }
    if let Some(jumps) = spec.jump.given() {
        settings.jump = list(&one_or_many(jumps), findings, values::jump_host);
    }
    if let Some(source) = optional(&spec.sudo_password, findings, |source| base.secret(source)) {
        settings.sudo_password = Some(source);
    }
    if let Some(config) = spec.config.value() {
        settings.use_config = *config;
    }
    settings
}

fn identity_files(
    base: &Base,
    files: &Given<Shorthand<Vec<Field<String>>>>,
    findings: &mut Findings,
) -> Vec<Utf8PathBuf> {
    one_or_many(files)
        .iter()
        .filter_map(Field::given)
        .filter_map(|file| findings.keep(base.existing_file("identity file", file)))
        .collect()
}

fn one_or_many(given: &Given<Shorthand<Vec<Field<String>>>>) -> Vec<Field<String>> {
    match &given.value {
        Shorthand::Text(text) => vec![Field::Given(given.with(text.clone()))],
        Shorthand::Whole(list) => list.clone(),
    }
}
