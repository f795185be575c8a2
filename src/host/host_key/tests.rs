//! known_hosts as OpenSSH means it; `ssh-keygen` says what is right where it can.

#![expect(clippy::unwrap_used, reason = "a test may panic")]

use proptest::prelude::*;

use super::*;
use crate::testing::torture::torture_text;

const ONE: &str =
    "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIOC2v9fW+uc4+TS7GeUyE7cc7FAHfSMfdg/x7VKuuEN9";
const TWO: &str =
    "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAILJLFDhHjPbElIosvCZ08k89UKa9ULuy+9rJJ98VYyxF";
const ECDSA: &str = "ecdsa-sha2-nistp256 AAAAE2VjZHNhLXNoYTItbmlzdHAyNTYAAAAIbmlzdHAyNTYAAABBBCUV0UZs2fgzseND11qVIt1p1ESIf5TE/12rBzoPR+s26QiUKZ9U9e06NEaJ0CKmN6HejgxhwLoVjX7V2cxlMQ0=";

fn key(text: &str) -> PublicKey {
    PublicKey::from_openssh(text).unwrap()
}

fn known(text: &str, host: &str, port: u16) -> KnownKeys {
    let mut known = KnownKeys::default();
    let file = KnownFile::parse("known_hosts".into(), text.as_bytes());
    known.read(&file, host, port);
    known
}

fn load(paths: &[Utf8PathBuf], host: &str, port: u16) -> Result<KnownKeys, FileError> {
    KnownKeys::load(&KnownFiles::default(), paths, host, port)
}

fn verdict(text: &str, host: &str, port: u16) -> Verdict {
    known(text, host, port).judge(&key(ONE))
}

fn refused(why: &str) -> Verdict {
    Verdict::Refused(why.to_owned())
}

#[test]
fn a_key_on_file_is_known() {
    assert_eq!(
        verdict(&format!("a,b {ONE} comment\n"), "b", 22),
        Verdict::Known
    );
    assert_eq!(
        verdict(&format!("b.example {ONE}\n"), "B.Example", 22),
        Verdict::Known
    );
    assert_eq!(verdict(&format!("# b {ONE}\n"), "b", 22), Verdict::Unknown);
    assert_eq!(verdict("", "b", 22), Verdict::Unknown);
}

#[test]
fn another_key_on_file_means_changed() {
    let changed = refused("changed, line 2 of known_hosts");
    assert_eq!(verdict(&format!("x {ONE}\na {TWO}\n"), "a", 22), changed);
    assert_eq!(verdict(&format!("\na {ECDSA}\n"), "a", 22), changed);
    assert_eq!(
        verdict(&format!("a {TWO}\na {ONE}\n"), "a", 22),
        Verdict::Known
    );
}

#[test]
fn only_algorithms_on_file_are_negotiated() {
    let algorithms = known(&format!("a {ECDSA}\n"), "a", 22)
        .algorithms()
        .unwrap();
    assert_eq!(algorithms, [key(ECDSA).algorithm()]);
    assert_eq!(known("", "a", 22).algorithms(), None);
    let rsa = signatures_of(&Algorithm::Rsa { hash: None });
    assert!(!rsa.contains(&Algorithm::Rsa { hash: None }));
}

#[test]
fn a_port_other_than_22_has_a_name_of_its_own() {
    assert_eq!(
        verdict(&format!("[a]:2222 {ONE}\n"), "a", 2222),
        Verdict::Known
    );
    assert_eq!(
        verdict(&format!("[a]:2222 {ONE}\n"), "a", 22),
        Verdict::Unknown
    );
    assert_eq!(
        verdict(&format!("[a]:2222 {ONE}\n"), "a", 2223),
        Verdict::Unknown
    );
    assert_eq!(
        verdict(&format!("a {ONE}\n"), "a", 2222),
        Verdict::Known,
        "trusted without the port"
    );
    assert_eq!(
        verdict(&format!("a {TWO}\n"), "a", 2222),
        Verdict::Unknown,
        "another server on that machine"
    );
    let revoked = refused("revoked by line 1 of known_hosts");
    assert_eq!(verdict(&format!("@revoked a {ONE}\n"), "a", 2222), revoked);
}

#[test]
fn patterns_match_and_exclude() {
    let text = format!("10.1.?.*,!10.1.1.9 {ONE}\n");
    assert_eq!(verdict(&text, "10.1.1.200", 22), Verdict::Known);
    assert_eq!(verdict(&text, "10.1.1.9", 22), Verdict::Unknown);
    assert_eq!(verdict(&text, "10.1.10.1", 22), Verdict::Unknown);
    assert_eq!(verdict(&format!("!a {ONE}\n"), "b", 22), Verdict::Unknown);
    assert_eq!(
        verdict(&format!("[*.lab]:2222 {ONE}\n"), "x.lab", 2222),
        Verdict::Known
    );
}

#[test]
fn a_revoked_key_is_refused_whatever_else_is_on_file() {
    let text = format!("a {ONE}\n@revoked * {ONE}\n");
    assert_eq!(
        verdict(&text, "a", 22),
        refused("revoked by line 2 of known_hosts")
    );
    assert_eq!(
        verdict(&format!("@revoked * {TWO}\n"), "a", 22),
        Verdict::Unknown
    );
}

#[test]
fn an_authority_is_no_host_key() {
    let text = format!("@cert-authority *.lab {ONE}\n");
    assert_eq!(verdict(&text, "a.lab", 22), Verdict::Unknown);
    assert!(known(&text, "a.lab", 22).has_authority());
    assert!(!known(&text, "a.other", 22).has_authority());
    assert_eq!(known(&text, "a.lab", 22).algorithms(), None);
}

#[test]
fn malformed_lines_are_passed_over() {
    let text =
        format!("a\na b c\na ssh-ed25519 AAAA\n@unknown a {TWO}\n|1|x|y {TWO}\n \n\ta {ONE}\n");
    assert_eq!(verdict(&text, "a", 22), Verdict::Known);
}

#[test]
fn names_that_openssh_has_hashed_are_found() {
    let directory = tempfile::tempdir().unwrap();
    let file = Utf8PathBuf::from_path_buf(directory.path().join("known_hosts")).unwrap();
    fs_err::write(&file, format!("10.1.1.11 {ONE}\n[10.1.1.12]:2222 {ONE}\n")).unwrap();
    let hashing = std::process::Command::new("ssh-keygen")
        .args(["-H", "-f", file.as_str()])
        .output()
        .expect("ssh-keygen is needed for this test");
    assert!(hashing.status.success());
    let text = fs_err::read_to_string(&file).unwrap();
    assert!(text.starts_with("|1|"), "{text}");
    for (host, port) in [("10.1.1.11", 22), ("10.1.1.12", 2222)] {
        let known = load(std::slice::from_ref(&file), host, port).unwrap();
        assert_eq!(known.judge(&key(ONE)), Verdict::Known);
    }
    assert_eq!(verdict(&text, "10.1.1.13", 22), Verdict::Unknown);
}

#[test]
fn several_files_count_together_and_missing_ones_hold_nothing() {
    let directory = tempfile::tempdir().unwrap();
    let path = |name| Utf8PathBuf::from_path_buf(directory.path().join(name)).unwrap();
    fs_err::write(path("one"), format!("a {ONE}\n")).unwrap();
    fs_err::write(path("two"), format!("@revoked a {ONE}\n")).unwrap();
    let files = [path("absent"), path("one"), path("two")];
    let known = load(&files, "a", 22).unwrap();
    assert_eq!(
        known.judge(&key(ONE)),
        refused(&format!("revoked by line 1 of {}", path("two")))
    );
    assert!(
        load(&[path("")], "a", 22).is_err(),
        "a directory cannot be read"
    );
}

#[test]
fn a_file_that_has_changed_is_read_again() {
    let directory = tempfile::tempdir().unwrap();
    let path = Utf8PathBuf::from_path_buf(directory.path().join("known_hosts")).unwrap();
    let files = KnownFiles::default();
    let verdict = || {
        let known = KnownKeys::load(&files, std::slice::from_ref(&path), "a", 22);
        known.unwrap().judge(&key(ONE))
    };
    assert_eq!(verdict(), Verdict::Unknown);
    assert_eq!(
        remember(&path, "a", 22, &key(ONE)).ok(),
        Some(Verdict::Known)
    );
    assert_eq!(verdict(), Verdict::Known);
    let revoked = format!("a {ONE}\n@revoked * {ONE}\n");
    fs_err::write(&path, revoked).unwrap();
    assert_eq!(verdict(), refused(&format!("revoked by line 2 of {path}")));
}

#[test]
fn keys_are_remembered_once_and_all_of_them() {
    let directory = tempfile::tempdir().unwrap();
    let file = Utf8PathBuf::from_path_buf(directory.path().join("new/known_hosts")).unwrap();
    std::thread::scope(|scope| {
        for host in 0..16 {
            let file = &file;
            scope.spawn(move || {
                let name = format!("host{}", host % 8);
                assert_eq!(
                    remember(file, &name, 2222, &key(ONE)).unwrap(),
                    Verdict::Known
                );
            });
        }
    });
    let text = fs_err::read_to_string(&file).unwrap();
    assert_eq!(text.lines().count(), 8, "{text}");
    assert_eq!(verdict(&text, "host7", 2222), Verdict::Known);
    let mode = std::os::unix::fs::MetadataExt::mode(&fs_err::metadata(&file).unwrap());
    assert_eq!(mode & 0o777, 0o600);
    let verdict = remember(&file, "host7", 2222, &key(TWO)).unwrap();
    assert!(matches!(verdict, Verdict::Refused(_)), "{verdict:?}");
}

#[test]
fn a_key_is_remembered_on_a_line_of_its_own() {
    let directory = tempfile::tempdir().unwrap();
    let file = Utf8PathBuf::from_path_buf(directory.path().join("known_hosts")).unwrap();
    fs_err::write(&file, format!("a {ONE}")).unwrap();
    remember(&file, "b", 22, &key(TWO)).unwrap();
    let text = fs_err::read_to_string(&file).unwrap();
    assert_eq!(text, format!("a {ONE}\nb {TWO}\n"));
}

proptest! {
    #[test]
    fn a_pattern_matches_what_its_regular_expression_would(
        pattern in "[ab*?]{0,6}",
        name in "[ab]{0,6}",
    ) {
        prop_assert_eq!(matches_pattern(&pattern, &name), matches_slowly(&pattern, &name));
    }
}

#[test]
fn no_known_hosts_make_the_parser_panic() {
    let lines = [
        format!("a,b {ONE}\n"),
        format!("[a]:22 {TWO}\n@revoked * {ONE}\n"),
        format!("@cert-authority *.example {ONE}\n# comment\n|1|c2FsdA==|aGFzaA== {TWO}\n"),
    ];
    let good: Vec<&str> = lines.iter().map(String::as_str).collect();
    torture_text("known_hosts", &good, |text| {
        let _ = verdict(text, "a", 22);
    });
}

fn matches_slowly(pattern: &str, name: &str) -> bool {
    let mut rest = pattern.chars();
    match rest.next() {
        None => name.is_empty(),
        Some('*') => {
            (0..=name.len()).any(|from| matches_slowly(rest.as_str(), name.get(from..).unwrap()))
        }
        Some(character) => {
            let mut others = name.chars();
            let first = others.next();
            first.is_some_and(|first| character == '?' || character == first)
                && matches_slowly(rest.as_str(), others.as_str())
        }
    }
}
