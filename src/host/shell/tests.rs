//! The scripts under real shells, and their answers under abuse.

#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a test may panic"
)]

use std::io::Write as _;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::process::{Output, Stdio};

use camino::{Utf8Path, Utf8PathBuf};
use proptest::prelude::*;

use super::frame::Frames;
use super::probe::Questions;
use super::*;
use crate::host::command::{Command, Script, Status};
use crate::host::file::RemoteFile;
use crate::host::probe::{FileContent, FileReading, Probe, Readings};
use crate::testing::torture::torture;

/// The shells that hosts have as `/bin/sh`.
const SHELLS: &[&[&str]] = &[&["dash"], &["busybox", "sh"], &["bash", "--posix"]];

/// Runs a script as a host does: all of it from standard input, by `eval`.
fn execute(shell: &[&str], text: &str) -> Output {
    let mut child = std::process::Command::new(shell[0])
        .args(&shell[1..])
        .args(["-c", r#"s=$(cat) && eval "$s""#])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap_or_else(|error| panic!("`{}` is needed for this test: {error}", shell[0]));
    let mut stdin = child.stdin.take().unwrap();
    let text = text.to_owned();
    let writer = std::thread::spawn(move || stdin.write_all(text.as_bytes()));
    let output = child.wait_with_output().unwrap();
    let _ = writer.join().unwrap();
    output
}

/// What follows the nonce's line.
fn answer(output: &Output, nonce: &Nonce) -> Vec<u8> {
    let mark = format!("{}\n", nonce.as_str());
    let at = frame::find(&output.stdout, mark.as_bytes())
        .unwrap_or_else(|| panic!("no answer: {}", String::from_utf8_lossy(&output.stderr)));
    output.stdout[at + mark.len()..].to_vec()
}

fn directory() -> (tempfile::TempDir, Utf8PathBuf) {
    let temporary = tempfile::tempdir().unwrap();
    let path = Utf8PathBuf::from_path_buf(temporary.path().to_owned()).unwrap();
    (temporary, path)
}

fn owner() -> String {
    let meta = std::fs::metadata("/proc/self").unwrap();
    format!("{}:{}", meta.uid(), meta.gid())
}

fn file(path: &Utf8Path, content: &[u8]) -> RemoteFile {
    RemoteFile {
        path: path.to_owned(),
        content: content.to_vec(),
        mode: 0o640,
        owner: owner(),
        check: None,
        undo: None,
    }
}

fn write(shell: &[&str], files: &[RemoteFile]) -> Result<(), file::Refusal> {
    let request = file::compile(Nonce::random(), files);
    let output = execute(shell, &request.text);
    file::parse(&request.nonce, &answer(&output, &request.nonce)).unwrap()
}

fn probe(shell: &[&str], probes: &[Probe]) -> Readings {
    let questions = Questions::of(probes);
    let request = questions.compile(Nonce::random());
    let output = execute(shell, &request.text);
    let answer = answer(&output, &request.nonce);
    reading::parse(&questions, &request.nonce, &answer)
        .unwrap()
        .0
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    #[test]
    fn any_words_arrive_as_they_are(words in prop::collection::vec("[^\0]*", 0..4)) {
        let command = Command::new("printf").arg("%s\u{1}").args(words.clone());
        let request = program::compile(Nonce::random(), &command);
        for shell in SHELLS {
            let output = execute(shell, &request.text);
            let text = String::from_utf8(answer(&output, &request.nonce)).unwrap();
            let mut expected: Vec<String> = words.clone();
            expected.push(String::new());
            let expected = match words.as_slice() {
                [] => "\u{1}".to_owned(),
                _ => expected.join("\u{1}"),
            };
            prop_assert_eq!(&text, &expected);
        }
    }

    #[test]
    fn any_content_and_name_survive_writing_and_probing(
        content in prop::collection::vec(any::<u8>(), 0..2000),
        name in "[^/\0\r\n]{1,40}",
    ) {
        prop_assume!(name != "." && name != "..");
        let (_guard, directory) = directory();
        let path = directory.join(name);
        for shell in SHELLS {
            write(shell, &[file(&path, &content)]).unwrap();
            let readings = probe(shell, &[Probe::File(path.clone())]);
            let state = readings.file(&path).unwrap().present().unwrap().clone();
            prop_assert_eq!(&state.content, &FileContent::Bytes(content.as_slice().into()));
            prop_assert_eq!(state.mode, 0o640);
        }
    }
}

/// The good answers are this computer's own: systemd or not, dpkg or not.
#[test]
fn no_answer_makes_a_reader_panic() {
    let nonce = Nonce("0123456789abcdef0123456789abcdef".to_owned());
    let probes = [
        Probe::Machine,
        Probe::File("/etc/hosts".into()),
        Probe::Digest("/etc/passwd".into()),
        Probe::File("/absent".into()),
        Probe::Package("dash".to_owned()),
        Probe::Unit("cron.service".to_owned()),
        Probe::Sysctl("net.ipv4.ip_forward".to_owned()),
        Probe::Script(Script::new("test", "echo said; exit 3")),
    ];
    let questions = Questions::of(&probes);
    let output = execute(SHELLS[0], &questions.compile(nonce.clone()).text);
    let probed = answer(&output, &nonce);
    assert!(reading::parse(&questions, &nonce, &probed).is_ok());
    let frames = |text: &str| text.replace("NONCE", nonce.as_str()).into_bytes();
    let others = [
        frames("\nNONCE written\n\nNONCE end\n"),
        frames("\nNONCE refused 1 check 3\nsome output\n\nNONCE end\n"),
        frames("\nNONCE job started\n\nNONCE ended 0\noutput\n\nNONCE end\n"),
        frames("\nNONCE disarmed\n\nNONCE end\n"),
        frames("\nNONCE locked\nops@desk\n\nNONCE end\n"),
    ];
    let good: Vec<&[u8]> = others.iter().chain([&probed]).map(Vec::as_slice).collect();
    torture("answers of hosts", &good, |bytes| {
        let _ = reading::parse(&questions, &nonce, bytes);
        let _ = file::parse(&nonce, bytes);
        let _ = job::parse(&nonce, bytes);
        let _ = lock::parse(&nonce, bytes);
        let _ = undo::parse(&nonce, bytes);
    });
}

#[test]
fn a_script_that_was_cut_off_does_nothing() {
    let (_guard, directory) = directory();
    let path = directory.join("made");
    let request = program::compile(Nonce::random(), &Command::new("touch").arg(path.as_str()));
    for shell in SHELLS {
        for length in (0..request.text.len() - 2).step_by(7) {
            execute(shell, &request.text[..length]);
            assert!(!path.exists(), "{shell:?} ran the first {length} bytes");
        }
        execute(shell, &request.text);
        assert!(path.exists());
        fs_err::remove_file(&path).unwrap();
    }
}

#[test]
fn a_script_gets_its_arguments_and_its_input() {
    let script = Script::new("test", "printf '%s,' \"$#\" \"$@\"; cat; exit 5")
        .arg("a  b")
        .arg("-n");
    let command = Command::script(script).stdin(b"\0in\n".to_vec());
    for shell in SHELLS {
        let request = program::compile(Nonce::random(), &command);
        let output = execute(shell, &request.text);
        assert_eq!(answer(&output, &request.nonce), b"2,a  b,-n,\0in\n");
        assert_eq!(output.status.code(), Some(5), "{shell:?}");
    }
}

#[test]
fn nothing_is_left_behind_when_a_check_refuses() {
    for shell in SHELLS {
        let (_guard, directory) = directory();
        let path = directory.join("it's.conf");
        write(shell, &[file(&path, b"old")]).unwrap();
        let mut new = file(&path, b"new");
        new.check = Some(
            [
                "sh",
                "-c",
                "echo \"no: $1\"; ! cmp -s \"$1\" \"$1\"",
                "sh",
                "{}",
            ]
            .map(str::to_owned)
            .to_vec(),
        );
        let other = file(&directory.join("other"), b"");
        let refusal = write(shell, &[new, other]).unwrap_err();
        let file::Refusal::Check {
            file: 0,
            status: 1,
            output,
        } = refusal
        else {
            panic!("{refusal:?}");
        };
        assert!(String::from_utf8(output).unwrap().ends_with("-it's.conf"));
        assert_eq!(fs_err::read(&path).unwrap(), b"old");
        assert_eq!(directory.read_dir_utf8().unwrap().count(), 1);
    }
}

#[test]
fn a_step_that_fails_is_named() {
    for shell in SHELLS {
        let (_guard, directory) = directory();
        let refusal = write(shell, &[file(&directory, b"")]).unwrap_err();
        let step = "replace a directory".to_owned();
        assert_eq!(refusal, file::Refusal::Step { file: 0, step });
        let mut foreign = file(&directory.join("a"), b"");
        foreign.owner = "no-such-user".to_owned();
        let refusal = write(shell, &[foreign]).unwrap_err();
        let step = "set the owner".to_owned();
        assert_eq!(refusal, file::Refusal::Step { file: 0, step });
        assert_eq!(directory.read_dir_utf8().unwrap().count(), 0);
    }
}

#[test]
fn leftovers_of_a_killed_write_are_removed() {
    let (_guard, directory) = directory();
    let leftover = directory.join(format!(".quorate-{}-a", "0".repeat(32)));
    let foreign = directory.join(format!(".quorate-{}-b", "0".repeat(32)));
    for path in [&leftover, &foreign] {
        fs_err::write(path, "").unwrap();
    }
    write(&["dash"], &[file(&directory.join("a"), b"")]).unwrap();
    assert!(!leftover.exists());
    assert!(foreign.exists());
}

#[test]
fn a_reader_never_sees_half_a_file() {
    let (_guard, directory) = directory();
    let path = directory.join("file");
    let contents = [vec![b'a'; 300_000], vec![b'b'; 300_000]];
    write(&["dash"], &[file(&path, &contents[0])]).unwrap();
    let is_done = std::sync::atomic::AtomicBool::new(false);
    std::thread::scope(|scope| {
        let reader = scope.spawn(|| {
            let mut reads = 0;
            while !is_done.load(std::sync::atomic::Ordering::Relaxed) {
                assert!(contents.contains(&fs_err::read(&path).unwrap()));
                let mode = fs_err::metadata(&path).unwrap().permissions().mode();
                assert_eq!(mode & 0o7777, 0o640);
                reads += 1;
            }
            reads
        });
        for round in 0..10 {
            write(&["dash"], &[file(&path, &contents[round % 2])]).unwrap();
        }
        is_done.store(true, std::sync::atomic::Ordering::Relaxed);
        assert!(reader.join().unwrap() > 0);
    });
}

#[test]
fn probes_everything_under_every_shell() {
    let (_guard, directory) = directory();
    let (text, empty) = (directory.join("text"), directory.join("empty"));
    fs_err::write(&text, "==> /etc/hosts <==\nno newline").unwrap();
    fs_err::write(&empty, "").unwrap();
    std::os::unix::fs::symlink(&text, directory.join("link")).unwrap();
    let script = Script::new("odd", "echo \"$1\"; echo hidden >&2; (exit 3) # comment").arg("'");
    let probes = [
        Probe::Machine,
        Probe::File(text.clone()),
        Probe::File(empty.clone()),
        Probe::File(directory.join("link")),
        Probe::File(directory.join("absent")),
        Probe::File(directory.clone()),
        Probe::Digest(empty.clone()),
        Probe::Digest(directory.join("absent2")),
        Probe::Sysctl("kernel.ostype".to_owned()),
        Probe::Sysctl("net.ipv4.ip_local_port_range".to_owned()),
        Probe::Sysctl("none".to_owned()),
        Probe::Package("none".to_owned()),
        Probe::Unit("none.service".to_owned()),
        Probe::Script(script.clone()),
    ];
    for shell in SHELLS {
        let readings = probe(shell, &probes);
        let content = |path: &Utf8Path| match readings.file(path).unwrap() {
            FileReading::Present(state) => Some(state.content.clone()),
            FileReading::Absent => None,
        };
        assert_eq!(
            content(&text),
            Some(FileContent::Bytes(
                b"==> /etc/hosts <==\nno newline".as_slice().into()
            ))
        );
        assert_eq!(
            content(&empty),
            Some(FileContent::Bytes(std::sync::Arc::default()))
        );
        assert_eq!(content(&directory.join("link")), Some(FileContent::Other));
        assert_eq!(content(&directory), Some(FileContent::Directory));
        assert_eq!(content(&directory.join("absent")), None);
        assert_eq!(content(&directory.join("absent2")), None);
        assert_eq!(readings.sysctl("kernel.ostype").unwrap(), Some("Linux"));
        assert!(
            readings
                .sysctl("net.ipv4.ip_local_port_range")
                .unwrap()
                .unwrap()
                .contains(' ')
        );
        assert_eq!(readings.sysctl("none").unwrap(), None);
        assert_eq!(readings.package("none").unwrap().version, None);
        assert!(!readings.unit("none.service").unwrap().exists);
        let reading = readings.script(&script).unwrap();
        assert_eq!(
            (reading.status, reading.stdout.as_str()),
            (Status::Code(3), "'\n")
        );
        let machine = readings.machine().unwrap();
        assert_eq!(
            machine.hostname,
            fs_err::read_to_string("/proc/sys/kernel/hostname")
                .unwrap()
                .trim()
        );
        assert_eq!(machine.architecture, std::env::consts::ARCH);
        assert_eq!(machine.boot_id.len(), 36);
        assert!(
            machine.cpus > 0 && machine.memory > 0 && machine.disk_free > 0,
            "{machine:?}"
        );
        assert!(
            machine
                .interfaces
                .iter()
                .any(|interface| interface.name == "lo")
        );
        assert!(machine.clock_us > 1_700_000_000_000_000);
    }
}

#[test]
fn a_digest_is_that_of_the_content() {
    let (_guard, directory) = directory();
    fs_err::write(directory.join("a"), "hello\n").unwrap();
    let readings = probe(&["dash"], &[Probe::Digest(directory.join("a"))]);
    let state = readings
        .file(&directory.join("a"))
        .unwrap()
        .present()
        .unwrap()
        .clone();
    let digest = "5891b5b522d5df086d0ff0b110fbd9d21bb4fc7163af34d08286a2e846f6be03";
    assert_eq!(state.content, FileContent::Sha256(digest.to_owned()));
}

#[test]
fn a_large_file_is_named_for_its_digest() {
    let (_guard, directory) = directory();
    let path = directory.join("large");
    fs_err::write(&path, vec![b'x'; 1024 * 1024 + 1]).unwrap();
    let probes = [Probe::File(path.clone())];
    let questions = Questions::of(&probes);
    let request = questions.compile(Nonce::random());
    let output = execute(&["dash"], &request.text);
    let answer = answer(&output, &request.nonce);
    let (_, large) = reading::parse(&questions, &request.nonce, &answer).unwrap();
    assert_eq!(large, [path]);
}

#[test]
fn a_truncated_answer_is_refused_wherever_it_ends() {
    let probes = [
        Probe::Machine,
        Probe::File("/etc/hosts".into()),
        Probe::Script(Script::new("a", "echo b")),
    ];
    let questions = Questions::of(&probes);
    let request = questions.compile(Nonce::random());
    let output = execute(&["dash"], &request.text);
    let answer = answer(&output, &request.nonce);
    assert!(reading::parse(&questions, &request.nonce, &answer).is_ok());
    for length in 0..answer.len() {
        assert!(
            reading::parse(&questions, &request.nonce, &answer[..length]).is_err(),
            "at {length}"
        );
    }
}

#[test]
fn reads_units_of_old_and_new_systemd() {
    let probes = [
        Probe::Unit("a.service".to_owned()),
        Probe::Unit("b.service".to_owned()),
    ];
    let questions = Questions::of(&probes);
    let nonce = Nonce("n".to_owned());
    let new = "\nn units\n\
        LoadState=loaded\nActiveState=active\nSubState=running\nUnitFileState=enabled\n\
        StateChangeTimestamp=Sat 2026-11-21 10:00:00.250000 UTC\nStateChangeTimestampMonotonic=500000\n\n\
        LoadState=not-found\nActiveState=inactive\nSubState=dead\nUnitFileState=\nStateChangeTimestamp=n/a\n\nn end\n";
    let (readings, _) = reading::parse(&questions, &nonce, new.as_bytes()).unwrap();
    let unit = readings.unit("a.service").unwrap();
    assert!(unit.exists && unit.active && unit.enabled);
    assert_eq!(
        (unit.state.as_str(), unit.changed_us),
        ("active/running", 1_795_255_200_250_000)
    );
    assert!(!readings.unit("b.service").unwrap().exists);
    let old = "\nn units\n\nn units-by-uptime 100.50 2000000000000\n\
        LoadState=loaded\nActiveState=failed\nSubState=failed\nUnitFileState=disabled\nStateChangeTimestampMonotonic=500000\n\n\
        LoadState=loaded\nActiveState=inactive\nSubState=dead\nUnitFileState=static\nStateChangeTimestampMonotonic=0\n\nn end\n";
    let (readings, _) = reading::parse(&questions, &nonce, old.as_bytes()).unwrap();
    let unit = readings.unit("a.service").unwrap();
    assert!(unit.exists && !unit.active && !unit.enabled);
    assert_eq!(unit.changed_us, 2_000_000_000 - 100_500_000 + 500_000);
    assert_eq!(readings.unit("b.service").unwrap().changed_us, 0);
}

#[test]
fn reads_packages_of_dpkg_and_rpm() {
    let probes =
        ["kubeadm", "kubelet", "libc6", "none"].map(|name| Probe::Package(name.to_owned()));
    let questions = Questions::of(&probes);
    let nonce = Nonce("n".to_owned());
    let dpkg = "\nn dpkg\nkubeadm 1.36.2-1.1 hold ok installed\nkubelet 1.36.2-1.1 deinstall ok config-files\n\
        libc6 2.36 install ok installed\nlibc6 2.36 install ok installed\n\nn status 1\n\nn end\n";
    let (readings, _) = reading::parse(&questions, &nonce, dpkg.as_bytes()).unwrap();
    let kubeadm = readings.package("kubeadm").unwrap();
    assert_eq!(
        (kubeadm.version.as_deref(), kubeadm.held),
        (Some("1.36.2-1.1"), true)
    );
    assert_eq!(readings.package("kubelet").unwrap().version, None);
    assert_eq!(readings.package("none").unwrap().version, None);
    let rpm = "\nn rpm\nkubeadm 1.36.2-150500.1.1\npackage kubelet is not installed\nlibc6 1:2-3\n\
        \nn holds\n# a comment\nkubeadm-0:1.36.2-150500.1.1.*\n!libc6-1:2-3.*\n\nn end\n";
    let (readings, _) = reading::parse(&questions, &nonce, rpm.as_bytes()).unwrap();
    let kubeadm = readings.package("kubeadm").unwrap();
    assert_eq!(
        (kubeadm.version.as_deref(), kubeadm.held),
        (Some("1.36.2-150500.1.1"), true)
    );
    assert_eq!(readings.package("kubelet").unwrap().version, None);
    let libc = readings.package("libc6").unwrap();
    assert_eq!((libc.version.as_deref(), libc.held), (Some("1:2-3"), false));
    let failed = "\nn dpkg\n\nn status 2\n\nn end\n";
    assert!(reading::parse(&questions, &nonce, failed.as_bytes()).is_err());
}

#[test]
fn a_forged_frame_in_a_file_is_only_content() {
    let (_guard, directory) = directory();
    let path = directory.join("forged");
    let nonce = Nonce("0123".to_owned());
    fs_err::write(&path, "\nother end\n").unwrap();
    let probes = [Probe::File(path.clone())];
    let questions = Questions::of(&probes);
    let request = questions.compile(nonce.clone());
    let output = execute(&["dash"], &request.text);
    let answer = answer(&output, &nonce);
    let (readings, _) = reading::parse(&questions, &nonce, &answer).unwrap();
    assert_eq!(readings.file(&path).unwrap().text(), Some("\nother end\n"));
    assert!(
        Frames::of(b"\nn end\n\nn end\n", &Nonce("n".to_owned()))
            .unwrap()
            .finish()
            .is_err()
    );
}

#[test]
fn a_lock_is_asked_for_on_one_line_that_holds_no_plain_owner() {
    let request = lock::compile(Nonce::random(), "seoul", "anna's\nlaptop $(id)");
    assert_eq!(request.text.matches('\n').count(), 1);
    assert!(request.text.ends_with('\n'));
    assert!(!request.text.contains("anna"));
}
