//! Refusals of SSH settings and secrets.

use insta::assert_snapshot;

use crate::fixture::refused;

#[test]
fn refuses_a_missing_identity_file() {
    assert_snapshot!(refused(&[("ssh: { user: ops }", "ssh: { user: ops, identity-file: [keys/one, keys/two] }")]), @r"
      × identity file keys/one does not exist
       ╭─[inventory.yaml:9:35]
     9 │ ssh: { user: ops, identity-file: [keys/one, keys/two] }
       ·                                   ^^^^^^^^
       ╰────
      help: write a path that exists and that you can read

      × identity file keys/two does not exist
       ╭─[inventory.yaml:9:45]
     9 │ ssh: { user: ops, identity-file: [keys/one, keys/two] }
       ·                                             ^^^^^^^^
       ╰────
      help: write a path that exists and that you can read

    2 errors in inventory.yaml
    ");
}

#[test]
fn refuses_empty_secret_sources() {
    assert_snapshot!(refused(&[("ssh: { user: ops }", "ssh: { sudo-password: { env: '' }, passphrase: { command: [] } }"), ("cni: none", "cni: none\nload-balancer: { stats-password: { file: '' } }")]), @r"
      × the secret's variable is empty
       ╭─[inventory.yaml:9:23]
     9 │ ssh: { sudo-password: { env: '' }, passphrase: { command: [] } }
       ·                       ^^^^^^^^^^^
       ╰────
      help: write `{ env: NAME }`

      × the secret's command is empty
       ╭─[inventory.yaml:9:48]
     9 │ ssh: { sudo-password: { env: '' }, passphrase: { command: [] } }
       ·                                                ^^^^^^^^^^^^^^^
       ╰────
      help: write `{ command: [pass, show, NAME] }`

      × the secret's file is empty
        ╭─[inventory.yaml:20:34]
     20 │ load-balancer: { stats-password: { file: '' } }
        ·                                  ^^^^^^^^^^^^
        ╰────
      help: write `{ file: PATH }`

    3 errors in inventory.yaml
    ");
}

#[test]
fn refuses_a_secret_source_with_a_wrong_key() {
    assert_snapshot!(refused(&[("ssh: { user: ops }", "ssh: { sudo-password: { environment: SUDO } }")]), @r"
      × unknown choice `environment`
       ╭─[inventory.yaml:9:25]
     9 │ ssh: { sudo-password: { environment: SUDO } }
       ·                         ^^^^^^^^^^^
       ╰────
      help: did you mean `env`? The choices: `env`, `file`, `command`

    1 error in inventory.yaml
    ");
}

#[test]
fn refuses_a_host_of_its_own_for_all_hosts() {
    assert_snapshot!(refused(&[("ssh: { user: ops }", "ssh: { host: 10.9.9.9 }")]), @r"
      × `host` is one host's own setting
       ╭─[inventory.yaml:9:8]
     9 │ ssh: { host: 10.9.9.9 }
       ·        ^^^^
       ╰────
      help: write it under a host: `lb1: { address: 10.1.1.11, ssh: { host: NAME } }`

    1 error in inventory.yaml
    ");
}

#[test]
fn refuses_one_ssh_host_for_a_range() {
    assert_snapshot!(refused(&[("worker1: 10.1.1.201", "worker[1-2]: { address: '10.1.1.[201-202]', ssh: { host: gateway } }")]), @r"
      × 2 hosts cannot share the SSH host `gateway`
        ╭─[inventory.yaml:18:60]
     18 │   worker[1-2]: { address: '10.1.1.[201-202]', ssh: { host: gateway } }
        ·                                                            ^^^^^^^
        ╰────
      help: write a range as the name has

    1 error in inventory.yaml
    ");
}

#[test]
fn refuses_a_secret_in_the_file_and_does_not_show_it() {
    assert_snapshot!(refused(&[("ssh: { user: ops }", "ssh: { user: ops, sudo-password: hunter2 }")]), @r"
      × a secret does not belong in the inventory
       ╭─[inventory.yaml:9:34]
     9 │ ssh: { user: ops, sudo-password: ******* }
       ·                                  ^^^^^^^
       ╰────
      help: write where it is to be had: `{ env: NAME }`, `{ file: PATH }`, `{ command: [pass, show, NAME] }` or `prompt`

    1 error in inventory.yaml
    ");
}
