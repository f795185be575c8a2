//! What is printed about the program itself.

use crate::Quorate;

const COMMANDS: [&str; 21] = [
    "",
    "validate",
    "schema",
    "render",
    "plan",
    "provision",
    "upgrade",
    "status",
    "exec",
    "runs",
    "runs list",
    "runs show",
    "lab",
    "lab up",
    "lab down",
    "lab list",
    "lab ssh",
    "lab cut",
    "lab boot",
    "completions",
    "man",
];

#[test]
fn every_command_explains_itself_within_100_columns() {
    let quorate = Quorate::new();
    for command in COMMANDS {
        let mut words: Vec<&str> = command.split_whitespace().collect();
        words.push("--help");
        let help = quorate.run(&words).ended_with(0).stdout;
        let longest = help.lines().map(|line| line.chars().count()).max();
        assert!(longest <= Some(100), "{command}: {help}");
        let name = format!("help {command}").trim().replace(' ', "-");
        insta::assert_snapshot!(name, trimmed(&help));
    }
}

/// clap leaves blanks on empty lines.
fn trimmed(text: &str) -> String {
    let lines: Vec<&str> = text.lines().map(str::trim_end).collect();
    lines.join("\n")
}

#[test]
fn an_unknown_command_is_refused() {
    let stderr = Quorate::new().run(&["provison"]).refused_with(2);
    insta::assert_snapshot!(stderr, @r"
    error: unrecognized subcommand 'provison'

      tip: a similar subcommand exists: 'provision'

    Usage: quorate [OPTIONS] <COMMAND>

    For more information, try '--help'.
    ");
}

#[test]
fn every_shell_gets_its_completions() {
    let quorate = Quorate::new();
    for (shell, sign) in [
        ("bash", "complete -F _quorate"),
        ("zsh", "#compdef quorate"),
        ("fish", "complete -c quorate"),
    ] {
        let script = quorate.run(&["completions", shell]).ended_with(0).stdout;
        assert!(script.contains(sign), "{shell}: {script}");
    }
}

#[test]
fn the_manual_page_names_every_exit_code() {
    let page = Quorate::new().run(&["man"]).ended_with(0).stdout;
    assert!(page.contains(".TH quorate 1"), "{page}");
    assert!(page.contains("130 interrupted"), "{page}");
}

#[test]
fn both_schemas_are_json() {
    let quorate = Quorate::new();
    let inventory = quorate.run(&["schema"]).ended_with(0).json();
    assert!(inventory["properties"]["masters"].is_object());
    let playbook = quorate.run(&["schema", "playbook"]).ended_with(0).json();
    assert!(playbook["properties"]["plays"].is_object());
}

#[test]
fn a_reader_that_goes_away_is_no_error() {
    let quorate = Quorate::new();
    let program = env!("CARGO_BIN_EXE_quorate");
    for line in [
        format!("{program} schema | true"),
        format!("{program} completions zsh | head -n 1 >/dev/null"),
        format!("{program} man | head -n 1 >/dev/null"),
        format!("{program} --help | true"),
        format!("{program} validate 2>&1 >/dev/null | true"),
    ] {
        // `true` may be gone before a byte is written or after: neither may be seen on standard error.
        let mut shell = std::process::Command::new("sh");
        crate::isolate(&mut shell, &quorate.directory);
        let outcome = quorate.outcome(shell.args(["-c", &line]).output().unwrap());
        assert_eq!(outcome.stderr, "", "{line}");
    }
}
