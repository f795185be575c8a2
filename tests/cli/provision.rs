//! `plan` and `provision` on a real host, with a harmless playbook: asking, exit codes, Ctrl-C.

use std::io::{BufRead as _, BufReader, Read as _};
use std::process::Stdio;

use crate::machine::Machine;

/// Accepts a file at once.
const AT_ONCE: &str = "true";
/// Says that it began, and waits until it is told to go on.
const WHEN_TOLD: &str = "touch \"$1/begun\"; until [ -e \"$1/go\" ]; do sleep 0.05; done";
const NEVER: &str = "echo no good >&2; false";

#[test]
fn a_plan_shows_diffs_and_its_exit_code_only_when_asked() {
    let machine = Machine::boot();
    machine.playbook(&[("one", AT_ONCE), ("two", AT_ONCE)]);
    let plan = machine.run(&["plan"]).ended_with(0).stdout;
    insta::assert_snapshot!(plan, @r"

    Some files
      ~ worker1: create DIR/one
          --- /dev/null
          +++ DIR/one
          @@ -0,0 +1 @@
          +content
      ~ worker1: create DIR/two
          --- /dev/null
          +++ DIR/two
          @@ -0,0 +1 @@
          +content

    2 of 2 tasks would change 1 host
    ");
    machine.run(&["plan", "--exit-code"]).ended_with(8);
    let json = machine.run(&["plan", "-o", "json"]).ended_with(0).json();
    assert_eq!(json["pending"].as_array().unwrap().len(), 2);
    assert!(!machine.has("one"), "a plan changes nothing");

    let refusal = machine.run(&["provision"]).refused_with(5);
    let expected = "there is nobody to ask: look with `quorate plan`, then run with --yes";
    assert!(refusal.contains(expected), "{refusal}");
    assert!(!machine.has("one"), "nobody said yes");

    let json = machine
        .run(&["provision", "--yes", "-o", "json"])
        .ended_with(0);
    let json = json.json();
    assert_eq!((&json["changed"], &json["hosts"]), (&2.into(), &1.into()));
    let again = machine.run(&["provision", "--yes"]).ended_with(0).stdout;
    assert!(
        again.starts_with("Nothing to change: all 2 tasks hold"),
        "{again}"
    );
    machine.run(&["plan", "--exit-code"]).ended_with(0);
}

#[test]
fn one_interrupt_finishes_what_is_under_way_and_says_how_to_continue() {
    let machine = Machine::boot();
    machine.playbook(&[("one", WHEN_TOLD), ("two", AT_ONCE)]);
    let mut child = machine
        .command(&["provision", "--yes"])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut stderr = BufReader::new(child.stderr.take().unwrap());
    let mut said = String::new();
    let mut await_line = |text: &str| {
        while !said.contains(text) {
            assert!(stderr.read_line(&mut said).unwrap() > 0, "{said}");
        }
    };
    await_line("/one …");
    crate::sshd::succeed("kill", &["-INT", &child.id().to_string()]);
    await_line("stopping after what is under way");
    assert!(!machine.has("one"), "it waits still");
    machine.quorate.write("go", "");
    stderr.read_to_string(&mut said).unwrap();

    assert_eq!(child.wait().unwrap().code(), Some(130), "{said}");
    assert!(machine.has("one"), "what was under way is finished");
    assert!(!machine.has("two"), "nothing new is started");
    let hint = "help: to continue, run the same again: `quorate provision --yes --on worker1 --overlay overlay`";
    assert!(said.contains(hint), "{said}");
    let runs = machine.run(&["runs", "list"]).ended_with(0).stdout;
    assert!(runs.contains("interrupted"), "{runs}");
    machine.run(&["provision", "--yes"]).ended_with(0);
    assert!(machine.has("two"));
}

#[test]
fn a_task_that_fails_ends_with_what_the_host_said() {
    let machine = Machine::boot();
    machine.playbook(&[("one", NEVER), ("two", AT_ONCE)]);
    let outcome = machine.run(&["provision", "--yes"]).ended_with(6);
    assert!(outcome.stderr.contains("  | no good\n"), "{outcome:?}");
    assert!(
        outcome
            .stderr
            .contains("error: 1 of the run's tasks failed")
    );
    assert!(!machine.has("one") && !machine.has("two"));
}
