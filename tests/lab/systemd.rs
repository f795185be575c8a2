//! Jobs, undo and the lock over SSH, on a host that runs systemd and has nothing to lose.

#![expect(clippy::unwrap_used, reason = "a test may panic")]

use std::time::{Duration, Instant};

use camino::Utf8Path;
use quorate::host::command::{Command, Script};
use quorate::host::error::HostError;
use quorate::host::file::{RemoteFile, Undo};
use quorate::host::job::Job;
use quorate::host::probe::Probe;
use quorate::host::ssh::{ConnectOptions, Ssh};
use quorate::host::transport::{LockGuard, Transport as _};
use quorate::inventory::{Inventory, Node};

/// A host of a lab.
#[derive(Clone)]
pub struct Target(Node);

impl Target {
    /// The first worker of an inventory.
    pub fn of(inventory: &Utf8Path) -> Self {
        let loaded = Inventory::load(inventory).unwrap_or_else(|error| panic!("{error:?}"));
        let last = loaded.inventory.nodes.last().unwrap();
        Self(last.clone())
    }

    async fn connect(&self) -> Ssh {
        let options = ConnectOptions {
            agent: None,
            ..ConnectOptions::default()
        };
        Ssh::connect(&self.0, &options).await.unwrap()
    }
}

macro_rules! cases {
    ($($case:ident)*) => {
        /// Runs every case, one after the other.
        pub async fn all(target: &Target) {
            $(
                println!("systemd: {}", stringify!($case).replace('_', " "));
                $case(target).await;
            )*
        }
    };
}

cases! {
    a_job_returns_its_status_and_output_and_loses_its_files
    a_running_job_is_followed_and_never_started_twice
    a_job_survives_the_loss_of_its_connection
    a_killed_job_has_no_status_and_its_files_are_removed
    a_job_of_a_new_token_is_started_although_the_old_unit_is_being_cleared_away
    a_job_over_its_deadline_is_left_running
    an_undo_restores_all_files_unless_disarmed
    the_lock_is_held_until_dropped
    the_lock_ends_with_its_holder
    a_lock_that_was_lost_with_its_connection_is_taken_again
    units_tell_when_they_last_changed
}

fn token() -> String {
    uuid::Uuid::now_v7().to_string()
}

fn job(name: &'static str, token: &str, body: &'static str) -> Job {
    Job {
        name,
        token: token.to_owned(),
        script: Script::new(name, body),
        files: Vec::new(),
        deadline: Duration::from_secs(30),
    }
}

async fn sh(ssh: &Ssh, text: &str) -> String {
    let output = ssh
        .run(&Command::new("sh").args(["-c", text]))
        .await
        .unwrap();
    output.text()
}

async fn a_job_returns_its_status_and_output_and_loses_its_files(target: &Target) {
    let ssh = target.connect().await;
    let token = token();
    let mut job = job(
        "test-job",
        &token,
        "cat $QUORATE_JOB/secret; stat -c %a $QUORATE_JOB $QUORATE_JOB/secret; echo err >&2; exit 7",
    );
    job.files = vec![("secret".to_owned(), b"it's\n".to_vec())];
    let output = ssh.job(&job).await.unwrap();
    assert_eq!(output.status, Some(7));
    assert_eq!(output.output, "it's\n700\n600\nerr\n");
    assert!(!output.followed);
    assert_eq!(
        sh(
            &ssh,
            "ls /run/quorate/jobs/test-job/private 2>&1 | grep -c 'No such'"
        )
        .await,
        "1\n"
    );
    let again = ssh.job(&job).await.unwrap();
    assert_eq!((again.status, again.followed), (Some(7), true));
}

async fn a_running_job_is_followed_and_never_started_twice(target: &Target) {
    let (ssh, other) = (target.connect().await, target.connect().await);
    let body = "echo started >>/run/quorate-test-count; sleep 2; wc -l </run/quorate-test-count; rm /run/quorate-test-count";
    let (one, two) = (
        job("test-once", &token(), body),
        job("test-once", &token(), body),
    );
    let (one, two) = tokio::join!(ssh.job(&one), other.job(&two));
    let (one, two) = (one.unwrap(), two.unwrap());
    assert_eq!((one.status, two.status), (Some(0), Some(0)));
    assert_eq!((one.output.trim(), two.output.trim()), ("1", "1"));
    assert_ne!(one.followed, two.followed);
}

async fn a_job_survives_the_loss_of_its_connection(target: &Target) {
    let ssh = std::sync::Arc::new(target.connect().await);
    let token = token();
    let following = {
        let ssh = std::sync::Arc::clone(&ssh);
        let token = token.clone();
        tokio::spawn(async move {
            let job = job(
                "test-lost",
                &token,
                "echo one; touch /run/quorate-test-up; sleep 3; echo two",
            );
            ssh.job(&job).await
        })
    };
    let other = target.connect().await;
    sh(
        &other,
        "until [ -e /run/quorate-test-up ]; do sleep 0.05; done; rm /run/quorate-test-up",
    )
    .await;
    // Both connections of user ops end here, this call's own among them.
    let killed = other
        .run(&Command::new("pkill").args(["-KILL", "-u", "ops", "sshd"]))
        .await;
    assert!(matches!(killed, Err(HostError::Lost { .. })), "{killed:?}");
    let output = following.await.unwrap().unwrap();
    assert_eq!(
        (output.status, output.output.as_str()),
        (Some(0), "one\ntwo\n")
    );
    assert!(!output.followed, "this call started it");
    assert_eq!(sh(&other, "echo back").await, "back\n");
}

async fn a_killed_job_has_no_status_and_its_files_are_removed(target: &Target) {
    let ssh = target.connect().await;
    let mut job = job("test-killed", &token(), "kill -9 $$; sleep 20");
    job.files = vec![("secret".to_owned(), b"x".to_vec())];
    let began = Instant::now();
    let output = ssh.job(&job).await.unwrap();
    assert_eq!(output.status, None);
    assert!(began.elapsed() < Duration::from_secs(10));
    assert_eq!(
        sh(
            &ssh,
            "ls -A /run/quorate/jobs/test-killed/ | grep -c private || true"
        )
        .await,
        "0\n"
    );
    let again = ssh.job(&job).await.unwrap();
    assert_eq!(
        (again.status, again.followed),
        (None, true),
        "not started twice under one token"
    );
}

async fn a_job_of_a_new_token_is_started_although_the_old_unit_is_being_cleared_away(
    target: &Target,
) {
    let ssh = target.connect().await;
    for round in 0..3 {
        let job = job("test-again", &token(), "echo run; sleep 20 & exit 0");
        let output = ssh.job(&job).await.unwrap();
        assert_eq!(
            (output.status, output.followed),
            (Some(0), false),
            "round {round}"
        );
    }
}

async fn a_job_over_its_deadline_is_left_running(target: &Target) {
    let ssh = target.connect().await;
    let token = token();
    let mut job = job("test-slow", &token, "echo waiting; sleep 5; echo done");
    job.deadline = Duration::from_secs(2);
    let error = ssh.job(&job).await.unwrap_err();
    assert!(
        matches!(&error, HostError::Deadline { last, .. } if last == "waiting"),
        "{error:?}"
    );
    let jobs = ssh.probe(&[Probe::Machine]).await.unwrap();
    assert!(
        jobs.machine()
            .unwrap()
            .jobs
            .contains(&"quorate-test-slow.service".to_owned())
    );
    job.deadline = Duration::from_secs(30);
    assert_eq!(ssh.job(&job).await.unwrap().status, Some(0));
}

fn guarded(content: &str, path: &str, seconds: u32) -> RemoteFile {
    RemoteFile {
        path: path.into(),
        content: content.as_bytes().to_vec(),
        mode: 0o644,
        owner: "root:root".to_owned(),
        check: None,
        undo: Some(Undo {
            name: "test".to_owned(),
            seconds,
            then: vec!["touch".to_owned(), "/run/quorate-test-undone".to_owned()],
        }),
    }
}

async fn an_undo_restores_all_files_unless_disarmed(target: &Target) {
    let ssh = target.connect().await;
    sh(&ssh, "rm -f /run/quorate-test-undone; mkdir -p /run/qt; echo old1 >/run/qt/1; echo old2 >/run/qt/2; chmod 600 /run/qt/2; rm -f /run/qt/3").await;
    let files = [
        guarded("new1", "/run/qt/1", 60),
        guarded("new2", "/run/qt/2", 60),
        guarded("new3", "/run/qt/3", 60),
    ];
    ssh.write(&files).await.unwrap();
    assert!(ssh.disarm("test").await.unwrap());
    assert!(ssh.disarm("test").await.unwrap(), "nothing is armed");
    assert_eq!(
        sh(
            &ssh,
            "cat /run/qt/1; systemctl list-units --all --no-legend 'quorate-undo-*'"
        )
        .await,
        "new1"
    );
    let files = [
        guarded("newer1", "/run/qt/1", 60),
        guarded("newer2", "/run/qt/2", 1),
    ];
    ssh.write(&files).await.unwrap();
    sh(
        &ssh,
        "until [ -e /run/quorate-test-undone ]; do sleep 0.1; done",
    )
    .await;
    assert!(!ssh.disarm("test").await.unwrap());
    assert_eq!(
        sh(&ssh, "cat /run/qt/1 /run/qt/2; stat -c %a /run/qt/1").await,
        "new1new2644\n"
    );
    ssh.write(&[guarded("x", "/run/qt/1", 60)]).await.unwrap();
    assert!(
        ssh.disarm("test").await.unwrap(),
        "an undo that has fired does not hinder the next"
    );
}

async fn the_lock_is_held_until_dropped(target: &Target) {
    let (ssh, other) = (target.connect().await, target.connect().await);
    let guard = ssh.lock("test", "anna@laptop since 10:00").await.unwrap();
    let error = other.lock("test", "ben").await.unwrap_err();
    assert!(
        matches!(&error, HostError::Locked { owner, .. } if owner == "anna@laptop since 10:00"),
        "{error:?}"
    );
    drop(guard);
    let second = take_in_time(&other, "test", "ben").await;
    drop(other);
    drop(second);
}

/// Takes the lock as soon as it is free.
async fn take_in_time(ssh: &Ssh, name: &str, owner: &str) -> LockGuard {
    let deadline = Instant::now() + Duration::from_secs(10);
    loop {
        match ssh.lock(name, owner).await {
            Ok(guard) => return guard,
            Err(error) => assert!(Instant::now() < deadline, "{error}"),
        }
    }
}

async fn the_lock_ends_with_its_holder(target: &Target) {
    let mine = target.clone();
    let holder = std::thread::spawn(move || {
        let runtime = tokio::runtime::Runtime::new().unwrap();
        let held = runtime.block_on(async {
            let ssh = mine.connect().await;
            let guard = ssh.lock("test-dead", "anna").await.unwrap();
            (ssh, guard)
        });
        std::mem::forget(held);
        runtime.shutdown_background();
    });
    tokio::task::spawn_blocking(|| holder.join().unwrap())
        .await
        .unwrap();
    take_in_time(&target.connect().await, "test-dead", "ben").await;
}

async fn a_lock_that_was_lost_with_its_connection_is_taken_again(target: &Target) {
    let (ssh, other) = (target.connect().await, target.connect().await);
    let guard = ssh.lock("test-cut", "anna").await.unwrap();
    sh(
        &other,
        "flock -n /run/lock/quorate-test-cut.lock true && echo free",
    )
    .await;
    let _ = other
        .run(&Command::new("pkill").args(["-KILL", "-u", "ops", "sshd"]))
        .await;
    let is_held = "t=/run/lock/quorate-test-cut.lock; until [ -s $t ] && ! flock -n $t true; do sleep 0.1; done; echo held";
    let command = Command::new("sh")
        .args(["-c", is_held])
        .deadline(Duration::from_secs(20));
    assert_eq!(other.run(&command).await.unwrap().text(), "held\n");
    let error = other.lock("test-cut", "ben").await.unwrap_err();
    assert!(
        matches!(&error, HostError::Locked { owner, .. } if owner == "anna"),
        "{error:?}"
    );
    drop(guard);
    take_in_time(&other, "test-cut", "ben").await;
}

async fn units_tell_when_they_last_changed(target: &Target) {
    let ssh = target.connect().await;
    let probes = [
        Probe::Machine,
        Probe::Unit("ssh.service".to_owned()),
        Probe::Unit("no-such.service".to_owned()),
        Probe::Unit("quorate-test-unit.service".to_owned()),
        Probe::File("/run/quorate-test-mark".into()),
    ];
    sh(&ssh, "systemctl stop quorate-test-unit 2>/dev/null; touch /run/quorate-test-mark; systemd-run --quiet --collect --unit quorate-test-unit sleep 30").await;
    let readings = ssh.probe(&probes).await.unwrap();
    let ssh_unit = readings.unit("ssh.service").unwrap();
    assert!(
        ssh_unit.exists && ssh_unit.active && ssh_unit.enabled,
        "{ssh_unit:?}"
    );
    assert!(!readings.unit("no-such.service").unwrap().exists);
    let unit = readings.unit("quorate-test-unit.service").unwrap();
    let mark = readings
        .file("/run/quorate-test-mark".into())
        .unwrap()
        .present()
        .unwrap();
    assert!(
        unit.active && unit.changed_us > mark.modified_us,
        "{unit:?} {mark:?}"
    );
    assert!(unit.changed_us - mark.modified_us < 10_000_000);
    let machine = readings.machine().unwrap();
    assert_eq!(
        (machine.os_id.as_str(), machine.init.as_str()),
        ("debian", "systemd")
    );
    assert!(
        machine.clock_offset_us().abs() <= i64::try_from(machine.clock_error_us).unwrap() + 1000,
        "{machine:?}"
    );
    sh(&ssh, "systemctl stop quorate-test-unit").await;
}
