//! `hosts-entries`: who carries the control plane, by name, in `/etc/hosts`.
//!
//! *Why*: kubeadm's etcd join looks up node names, and a name server that does not answer costs it tens of seconds per
//! look-up. A host also knows its own name, which kubeadm's preflight and sudo look up. Workers are not among the names: nothing
//! looks them up, and one more would change every host of a thousand. The entries stand in a marked block; the rest of the file
//! belongs to others and is not touched.

use camino::Utf8PathBuf;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::remote_file::{self, Wanted};
use super::{Action, ActionError, Change, Check, Context, Effect};
use crate::host::probe::Probe;
use crate::inventory::{Inventory, Node, Role};

const PATH: &str = "/etc/hosts";
const BEGIN: &str = "# quorate: begin";
const END: &str = "# quorate: end";

/// A marked block in `/etc/hosts` with the names and addresses of the load balancers, the masters, etcd's members and the host
/// itself, and of the VIP if it has a name.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct HostsEntries {}

impl Action for HostsEntries {
    fn probes(&self, _cx: &Context<'_>) -> Vec<Probe> {
        vec![Probe::File(PATH.into())]
    }

    fn check(&self, cx: &Context<'_>) -> Result<Check, ActionError> {
        let change = wanted(cx)?.change(cx)?;
        Ok(change.map_or(Check::Satisfied, Check::Needed))
    }

    async fn apply(&self, effect: &Effect<'_>, _change: &Change) -> Result<(), ActionError> {
        let file = wanted(&effect.cx)?.into_remote();
        Ok(effect.host.transport.write(&[file]).await?)
    }

    /// Offline the rest of the file is unknown: this is the block alone.
    fn files(&self, cx: &Context<'_>) -> Result<Vec<(Utf8PathBuf, Vec<u8>)>, ActionError> {
        let block = block(&entries(cx.inventory, cx.node));
        Ok(vec![(PATH.into(), block.into_bytes())])
    }
}

/// The file with our block in it.
fn wanted(cx: &Context<'_>) -> Result<Wanted, ActionError> {
    let entries = entries(cx.inventory, cx.node);
    Ok(match remote_file::foreign_text(PATH, cx)? {
        None => Wanted::public(PATH, block(&entries)),
        Some((state, text)) => Wanted::edited(PATH, state, put_into(text, &entries)),
    })
}

fn entries(inventory: &Inventory, own: &Node) -> Vec<String> {
    let is_named = |node: &&Node| {
        node.role != Role::Worker || inventory.runs_etcd(node) || node.name == own.name
    };
    let hosts = inventory
        .nodes
        .iter()
        .filter(is_named)
        .map(|node| format!("{} {}", node.address, node.name));
    let vip = inventory
        .vip
        .dns
        .iter()
        .map(|name| format!("{} {name}", inventory.vip.address));
    hosts.chain(vip).collect()
}

/// The entries between their markers, as they stand in the file.
fn block(entries: &[String]) -> String {
    let lines = std::iter::once(BEGIN)
        .chain(entries.iter().map(String::as_str))
        .chain(std::iter::once(END));
    lines.flat_map(|line| [line, "\n"]).collect()
}

/// The text with exactly one block, where the first one stood, or else at the end.
fn put_into(text: &str, entries: &[String]) -> String {
    let lines: Vec<&str> = text.lines().collect();
    let is_ours = ours(&lines, entries);
    let first = is_ours.iter().position(|ours| *ours).unwrap_or(lines.len());
    let others = |skip: usize, take: usize| {
        let part = lines.iter().zip(&is_ours).skip(skip).take(take);
        let others = part.filter(|(_, ours)| !**ours);
        others.flat_map(|(line, _)| [*line, "\n"])
    };
    let block = block(entries);
    others(0, first)
        .chain([block.as_str()])
        .chain(others(first, lines.len()))
        .collect()
}

/// Which lines are ours: whole blocks, markers that lost their partner, and next to those the lines that we write.
fn ours(lines: &[&str], entries: &[String]) -> Vec<bool> {
    let mut is_ours = vec![false; lines.len()];
    let mut open: Option<usize> = None;
    let mut torn = false;
    for (at, line) in lines.iter().enumerate() {
        match (line.trim(), open) {
            (BEGIN, earlier) => {
                torn |= earlier.is_some();
                open = Some(at);
                mark(&mut is_ours, at, at);
            }
            (END, Some(begin)) => {
                mark(&mut is_ours, begin, at);
                open = None;
            }
            (END, None) => {
                torn = true;
                mark(&mut is_ours, at, at);
            }
            _ => {}
        }
    }
    if torn || open.is_some() {
        for (line, mine) in lines.iter().zip(&mut is_ours) {
            *mine |= entries.iter().any(|entry| entry == line.trim());
        }
    }
    is_ours
}

fn mark(is_ours: &mut [bool], first: usize, last: usize) {
    for mine in is_ours.iter_mut().take(last + 1).skip(first) {
        *mine = true;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::host::probe::{FileState, Readings};
    use crate::testing::World;

    const BLOCK: &str = "# quorate: begin\n10.0.0.1 a\n10.0.0.2 b\n# quorate: end\n";

    fn block_in(text: &str) -> String {
        put_into(text, &["10.0.0.1 a".to_owned(), "10.0.0.2 b".to_owned()])
    }

    #[test]
    fn the_rest_of_the_file_stays_as_it_is() {
        let cases = [
            ("empty", "", BLOCK.to_owned()),
            (
                "appended",
                "127.0.0.1 localhost\n",
                format!("127.0.0.1 localhost\n{BLOCK}"),
            ),
            (
                "no final newline",
                "127.0.0.1 localhost",
                format!("127.0.0.1 localhost\n{BLOCK}"),
            ),
            (
                "in place",
                "x\n# quorate: begin\n10.0.0.9 old\n# quorate: end\ny\n",
                format!("x\n{BLOCK}y\n"),
            ),
            (
                "begin alone",
                "x\n# quorate: begin\n10.0.0.1 a\n192.0.2.1 other\n",
                format!("x\n{BLOCK}192.0.2.1 other\n"),
            ),
            (
                "end alone",
                "x\n10.0.0.2 b\n# quorate: end\ny\n",
                format!("x\n{BLOCK}y\n"),
            ),
            (
                "twice",
                &format!("{BLOCK}x\n{BLOCK}"),
                format!("{BLOCK}x\n"),
            ),
            (
                "begin in begin",
                &format!("# quorate: begin\nx\n{BLOCK}"),
                format!("{BLOCK}x\n"),
            ),
        ];
        for (case, text, expected) in cases {
            assert_eq!(block_in(text), expected, "{case}");
            assert_eq!(block_in(&expected), expected, "{case}, again");
        }
    }

    fn names_on(host: &str) -> Vec<String> {
        let mut inventory = crate::testing::inventory();
        inventory.vip.dns = Some("api.example.com".to_owned());
        let own = inventory.node(host).expect("a host");
        let entries = entries(&inventory, own).into_iter();
        entries
            .map(|it| it.split(' ').skip(1).collect())
            .collect()
    }

    #[test]
    fn the_control_plane_the_host_itself_and_the_name_of_the_vip_are_entered() {
        let carry = ["lb1", "lb2", "master1", "master2", "master3"];
        assert_eq!(names_on("lb1"), [&carry[..], &["api.example.com"]].concat());
        let on_worker = [&carry[..], &["worker1", "api.example.com"]].concat();
        assert_eq!(names_on("worker1"), on_worker);
    }

    #[test]
    fn a_file_with_the_block_holds_whatever_its_mode() {
        let world = World::new("lb1");
        let cx = world.cx();
        let text = put_into("127.0.0.1 localhost\n", &entries(cx.inventory, cx.node));
        let mut state = FileState::regular(text);
        state.mode = 0o664;
        let world = World::new("lb1").reading(Readings::default().with_file(PATH, state));
        let verdict = HostsEntries::default()
            .check(&world.cx())
            .expect("it was probed");
        assert_eq!(verdict, Check::Satisfied);
    }

    #[test]
    fn a_missing_block_is_shown_as_a_diff() {
        let state = FileState::regular("127.0.0.1 localhost\n");
        let world = World::new("lb1").reading(Readings::default().with_file(PATH, state));
        let Ok(Check::Needed(change)) = HostsEntries::default().check(&world.cx()) else {
            panic!("the block is missing");
        };
        assert!(
            change
                .diff
                .expect("text has a diff")
                .contains("+10.1.1.101 master1\n")
        );
    }
}
