//! `quorate exec`: an ad-hoc command on the selected hosts, as root, all at once.
//!
//! What it changes is nobody's but the operator's: nothing is journalled and nothing is locked. Output is shown host by host
//! in the order of the inventory, each line behind its host's name, and escaped: a host cannot paint the terminal.

use std::fmt::Write as _;
use std::time::Duration;

use futures::stream::{self, StreamExt as _};
use serde_json::{Value, json};

use super::Session;
use crate::engine::chain;
use crate::error::Error;
use crate::host::command::{Command, Output, Status};
use crate::host::error::HostError;
use crate::inventory::Node;
use crate::report::{Format, eprintln, print, println};

/// Version of the JSON object.
const VERSION: u32 = 1;

/// How long a command may take.
const DEADLINE: Duration = Duration::from_secs(60 * 60);

/// Hosts that are worked on at once.
const AT_ONCE: usize = 64;

/// What became of the command on one host.
pub type Answer = (String, Result<Output, HostError>);

/// Runs the words on every selected host: several are a program and its arguments, a single one is a line for the shell.
pub async fn exec(session: &Session, words: &[String]) -> Result<(), Error> {
    let nodes: Vec<&Node> = session
        .inventory
        .nodes
        .iter()
        .filter(|node| session.selector.matches(node))
        .collect();
    let command = command(words);
    // Host by host, so that one that hangs holds up nobody else.
    let command = &command;
    let mut answers: Vec<(usize, Answer)> = stream::iter(nodes.into_iter().enumerate())
        .map(|(index, node)| async move { (index, run_on(session, node, command).await) })
        .buffer_unordered(AT_ONCE)
        .collect()
        .await;
    answers.sort_by_key(|(index, _)| *index);
    let answers: Vec<Answer> = answers.into_iter().map(|(_, answer)| answer).collect();
    match session.settings.format {
        Format::Json => println(&as_json(words, &answers).to_string()),
        Format::Table => {
            print(&as_text(&answers));
            eprintln(&summary(&answers));
        }
    }
    match exit_code(&answers) {
        0 => Ok(()),
        code => Err(Error::Exec {
            failed: answers.iter().filter(|answer| !is_success(answer)).count(),
            code,
        }),
    }
}

async fn run_on(session: &Session, node: &Node, command: &Command) -> Answer {
    let answer = match session.connect_one(node).await {
        Ok(host) => host.transport.run(command).await,
        Err(error) => Err(error),
    };
    (node.name.clone(), answer)
}

fn command(words: &[String]) -> Command {
    let command = match words {
        [line] => Command::new("sh").arg("-c").arg(line),
        [program, arguments @ ..] => Command::new(program).args(arguments),
        [] => Command::new("true"),
    };
    command.deadline(DEADLINE)
}

/// `host | line` for standard output, `host ! line` for standard error and for what kept the command from running.
#[must_use]
pub fn as_text(answers: &[Answer]) -> String {
    let width = answers
        .iter()
        .map(|(host, _)| host.len())
        .max()
        .unwrap_or(0);
    let mut text = String::new();
    let mut lines = |host: &str, sign: char, said: &str| {
        for line in crate::text::escape(said).lines() {
            let _ = writeln!(text, "{host:width$} {sign} {line}");
        }
    };
    for (host, answer) in answers {
        match answer {
            Ok(output) => {
                lines(host, '|', &String::from_utf8_lossy(&output.stdout));
                lines(host, '!', &String::from_utf8_lossy(&output.stderr));
            }
            Err(error) => {
                lines(host, '!', &chain(error));
                lines(host, '!', error.output().unwrap_or_default());
                if let Some(help) = error.help() {
                    lines(host, '!', &format!("help: {help}"));
                }
            }
        }
    }
    text
}

/// One line: `4 hosts returned 0; 2: master1, worker1; no answer: lb1`.
#[must_use]
pub fn summary(answers: &[Answer]) -> String {
    let mut groups: Vec<(String, Vec<&str>)> = Vec::new();
    for (host, answer) in answers {
        let group = match answer {
            Ok(output) => match output.status {
                Status::Code(0) => continue,
                Status::Code(code) => code.to_string(),
                Status::Signal => "killed".to_owned(),
            },
            Err(_) => "no answer".to_owned(),
        };
        match groups.iter_mut().find(|(name, _)| *name == group) {
            Some((_, hosts)) => hosts.push(host),
            None => groups.push((group, vec![host])),
        }
    }
    let well = answers.iter().filter(|answer| is_success(answer)).count();
    let hosts = if well == 1 { "host" } else { "hosts" };
    groups.into_iter().fold(
        format!("{well} {hosts} returned 0"),
        |line, (group, hosts)| format!("{line}; {group}: {}", hosts.join(", ")),
    )
}

/// The object of `--output json`.
#[must_use]
pub fn as_json(words: &[String], answers: &[Answer]) -> Value {
    let hosts: Vec<Value> = answers
        .iter()
        .map(|(host, answer)| match answer {
            Ok(output) => json!({
                "name": host,
                "status": match output.status {
                    Status::Code(code) => Some(code),
                    Status::Signal => None,
                },
                "stdout": String::from_utf8_lossy(&output.stdout),
                "stderr": String::from_utf8_lossy(&output.stderr),
            }),
            Err(error) => json!({
                "name": host,
                "status": null,
                "error": chain(error),
                "help": error.help(),
            }),
        })
        .collect();
    let well = answers.iter().filter(|answer| is_success(answer)).count();
    json!({
        "version": VERSION,
        "command": words,
        "hosts": hosts,
        "succeeded": well,
        "failed": answers.len() - well,
    })
}

fn is_success((_, answer): &Answer) -> bool {
    answer.as_ref().is_ok_and(Output::is_success)
}

/// 0 if all returned 0; 4 if a host was never reached, else 6.
fn exit_code(answers: &[Answer]) -> u8 {
    let is_unreached = |(_, answer): &Answer| answer.as_ref().is_err_and(HostError::is_connection);
    if answers.iter().all(is_success) {
        0
    } else if answers.iter().any(is_unreached) {
        4
    } else {
        6
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn output(host: &str, status: Status, stdout: &str, stderr: &str) -> Answer {
        let output = Output {
            status,
            stdout: stdout.into(),
            stderr: stderr.into(),
        };
        (host.to_owned(), Ok(output))
    }

    fn unreachable(host: &str) -> Answer {
        let error = HostError::Unreachable {
            host: host.to_owned(),
            address: "10.1.1.9:22".to_owned(),
            reason: "no route to host".to_owned(),
        };
        (host.to_owned(), Err(error))
    }

    #[test]
    fn lines_stand_behind_their_hosts_and_are_escaped() {
        let answers = [
            output("lb1", Status::Code(0), "one\ntwo\u{1b}[31m\n", ""),
            output("master1", Status::Code(1), "", "no such file\n"),
            unreachable("worker1"),
        ];
        insta::assert_snapshot!("text", as_text(&answers));
        assert_eq!(
            summary(&answers),
            "1 host returned 0; 1: master1; no answer: worker1"
        );
    }

    #[test]
    fn the_exit_code_tells_unreached_hosts_from_failed_commands() {
        let well = || output("lb1", Status::Code(0), "", "");
        for (answers, expected) in [
            (vec![well()], 0),
            (vec![well(), output("lb2", Status::Code(3), "", "")], 6),
            (vec![well(), output("lb2", Status::Signal, "", "")], 6),
            (vec![well(), unreachable("lb2")], 4),
        ] {
            assert_eq!(exit_code(&answers), expected);
        }
    }

    #[test]
    fn a_single_word_is_a_line_for_the_shell() {
        let words = |words: &[&str]| {
            let words: Vec<String> = words.iter().map(|&word| word.to_owned()).collect();
            command(&words).to_string()
        };
        assert_eq!(words(&["uptime; df"]), "sh -c uptime; df");
        assert_eq!(words(&["df", "-h"]), "df -h");
    }

    #[test]
    fn the_json_object_counts_and_keeps_both_streams() {
        let answers = [
            output("lb1", Status::Code(0), "up\n", ""),
            unreachable("lb2"),
        ];
        insta::assert_json_snapshot!("object", as_json(&["uptime".to_owned()], &answers));
    }
}
