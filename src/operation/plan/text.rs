//! The plan for people: in the order of its plays, one entry for all hosts that the very same would happen to.
//!
//! The signs say it without colour: `~` changes, `?` cannot be known yet. Our own lines have at most 80 columns; those of a
//! diff are the files' own.

use std::collections::BTreeSet;
use std::fmt::Write as _;

use owo_colors::OwoColorize as _;

use crate::action::Change;
use crate::operation::forecast::{Pending, Verdict};
use crate::operation::preflight::network::Opening;
use crate::report::lines::count;
use crate::report::table::wrapped;
use crate::text::escape;

/// How far what belongs to an entry is indented.
const INDENT: &str = "      ";

/// What would happen in one step, and to whom.
struct Entry<'a> {
    hosts: Vec<&'a str>,
    task: &'a Pending,
}

/// Everything that is pending, with ANSI colours.
pub(super) fn of(pending: &[Pending], tasks: usize) -> String {
    if pending.is_empty() {
        return format!("Nothing to change: all {tasks} tasks hold\n");
    }
    let mut text = String::new();
    let mut play = 0;
    for entry in entries(pending) {
        if entry.task.task.play != play {
            play = entry.task.task.play;
            let _ = writeln!(text, "\n{}", entry.task.play.bold());
        }
        write_entry(&mut text, &entry);
    }
    let _ = writeln!(text, "\n{}", summary(pending, tasks));
    text
}

/// The ports that firewalls must leave open, one line per listening address.
pub(super) fn ports(openings: &[Opening]) -> String {
    let mut text = format!("\n{}\n", "Ports between the hosts".bold());
    for Opening {
        to,
        address,
        ports,
        from,
    } in openings
    {
        let ports: Vec<String> = ports.iter().map(u16::to_string).collect();
        let ports = ports.join(", ");
        let line = format!("{to} {address}: {ports} from {}", from.join(", "));
        let _ = writeln!(
            text,
            "{}",
            wrapped("    ", &line).get(2..).unwrap_or_default()
        );
    }
    text
}

/// Hosts of a step are together where the verdict is the same to the letter; entries and hosts keep their order.
fn entries(pending: &[Pending]) -> Vec<Entry<'_>> {
    let mut entries: Vec<Entry<'_>> = Vec::new();
    for task in pending {
        let same = |entry: &&mut Entry<'_>| {
            let first = entry.task;
            (first.task.play, first.task.step) == (task.task.play, task.task.step)
                && first.verdict == task.verdict
        };
        match entries.iter_mut().find(same) {
            Some(entry) => entry.hosts.push(&task.task.host),
            None => entries.push(Entry {
                hosts: vec![&task.task.host],
                task,
            }),
        }
    }
    entries
}

fn write_entry(text: &mut String, entry: &Entry<'_>) {
    let hosts = entry.hosts.join(", ");
    match &entry.task.verdict {
        Verdict::Unknown { until } => {
            let line = format!("{hosts}: {}: known when {until}", entry.task.step);
            let line = wrapped("    ", &escape(&line));
            let _ = writeln!(
                text,
                "  {}{}",
                "?".cyan(),
                line.get(3..).unwrap_or_default()
            );
        }
        Verdict::Change(change) => {
            let line = wrapped("    ", &escape(&format!("{hosts}: {}", change.summary)));
            let _ = writeln!(
                text,
                "  {}{}",
                "~".yellow(),
                line.get(3..).unwrap_or_default()
            );
            write_change(text, change);
        }
    }
}

fn write_change(text: &mut String, change: &Change) {
    for found in &change.found {
        let _ = writeln!(
            text,
            "{}",
            wrapped(&format!("{INDENT}found: "), &escape(found))
        );
    }
    if let Some(why) = &change.no_way_back {
        let line = wrapped(&format!("{INDENT}NO WAY BACK: "), &escape(why));
        let _ = writeln!(text, "{}", line.red());
    }
    for line in change.diff.iter().flat_map(|diff| diff.lines()) {
        let _ = writeln!(text, "{INDENT}{}", coloured(&escape(line)));
    }
}

fn coloured(line: &str) -> String {
    match line.as_bytes().first() {
        _ if line.starts_with("--- ") || line.starts_with("+++ ") => line.bold().to_string(),
        Some(b'+') => line.green().to_string(),
        Some(b'-') => line.red().to_string(),
        Some(b'@') => line.cyan().to_string(),
        _ => line.to_owned(),
    }
}

fn summary(pending: &[Pending], tasks: usize) -> String {
    let hosts: BTreeSet<&str> = pending.iter().map(|task| task.task.host.as_str()).collect();
    format!(
        "{} of {tasks} tasks would change {}",
        pending.len(),
        count(hosts.len(), "host")
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::event::TaskId;

    fn pending(play: usize, step: usize, host: &str, verdict: Verdict) -> Pending {
        Pending {
            task: TaskId {
                play,
                step,
                host: host.to_owned(),
            },
            play: format!("Play {play}"),
            step: format!("Do step {step}"),
            verdict,
        }
    }

    fn change(diff: &str) -> Verdict {
        Verdict::Change(Change::new("change /etc/hosts").with_diff(diff))
    }

    fn plain(pending: &[Pending]) -> String {
        anstream::adapter::strip_str(&of(pending, 40)).to_string()
    }

    #[test]
    fn hosts_with_the_same_change_share_an_entry_and_its_diff() {
        let one =
            "--- /etc/hosts\n+++ /etc/hosts\n@@ -1 +1,2 @@\n 127.0.0.1 localhost\n+10.1.1.11 lb1\n";
        let other = "--- /dev/null\n+++ /etc/hosts\n@@ -0,0 +1 @@\n+10.1.1.11 lb1\u{1b}[2J\n";
        let later = || Verdict::Unknown {
            until: "the cluster has been founded".to_owned(),
        };
        let all = [
            pending(1, 1, "lb1", change(one)),
            pending(1, 1, "master1", change(other)),
            pending(1, 1, "master2", change(one)),
            pending(1, 2, "master1", change(one)),
            pending(3, 1, "master1", later()),
            pending(3, 1, "master2", later()),
        ];
        insta::assert_snapshot!(plain(&all));
    }

    #[test]
    fn our_own_lines_have_at_most_80_columns() {
        let hosts: Vec<String> = (1..=40).map(|number| format!("worker{number}")).collect();
        let found = Change::new("install containerd").found("half ".repeat(40));
        let all: Vec<Pending> = hosts
            .iter()
            .map(|host| pending(1, 1, host, Verdict::Change(found.clone())))
            .collect();
        let text = plain(&all);
        assert!(text.lines().all(|line| line.len() <= 80), "{text}");
        assert_eq!(text.matches("install containerd").count(), 1);
    }

    #[test]
    fn added_and_removed_lines_are_coloured_and_signed() {
        assert_eq!(coloured("+new"), "\u{1b}[32m+new\u{1b}[39m");
        assert_eq!(coloured("-old"), "\u{1b}[31m-old\u{1b}[39m");
        assert_eq!(coloured(" same"), " same");
        assert!(coloured("--- /etc/hosts").contains("[1m"));
    }

    #[test]
    fn nothing_to_change_is_one_sentence() {
        assert_eq!(of(&[], 12), "Nothing to change: all 12 tasks hold\n");
    }
}
