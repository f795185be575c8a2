//! The answer to a probe script, read strictly: every part, in order, of the size that was announced.

use std::sync::Arc;

use camino::Utf8PathBuf;

use super::frame::{Frame, Frames};
use super::probe::{CONTENT_LIMIT, Questions, Wanted, sysctl_path};
use super::{Nonce, machine};
use crate::host::command::Status;
use crate::host::probe::{
    FileContent, FileReading, FileState, PackageReading, Readings, ScriptReading, UnitReading,
};

/// Reads an answer. Files over the content limit come without one and are named in the second value: their digest has to
/// be asked for.
pub(crate) fn parse(
    questions: &Questions<'_>,
    nonce: &Nonce,
    answer: &[u8],
) -> Result<(Readings, Vec<Utf8PathBuf>), String> {
    let mut frames = Frames::of(answer, nonce)?;
    let mut readings = Readings::default();
    let mut large = Vec::new();
    if questions.machine {
        readings.machine = Some(machine::parse(&mut frames)?);
    }
    if !questions.files.is_empty() {
        large = files(questions, &mut frames, &mut readings)?;
    }
    if !questions.packages.is_empty() {
        packages(&questions.packages, &mut frames, &mut readings)?;
    }
    if !questions.units.is_empty() {
        units(&questions.units, &mut frames, &mut readings)?;
    }
    if !questions.sysctls.is_empty() {
        sysctls(&questions.sysctls, &mut frames, &mut readings)?;
    }
    for script in &questions.scripts {
        let output = frames.expect("script")?;
        let status = status(&frames.expect("status")?)?;
        readings.scripts.insert(
            (*script).clone(),
            ScriptReading {
                status: Status::Code(status),
                stdout: output.text().into_owned(),
            },
        );
    }
    frames.finish()?;
    Ok((readings, large))
}

fn status(frame: &Frame<'_>) -> Result<i32, String> {
    frame
        .words()
        .next()
        .and_then(|word| word.parse().ok())
        .ok_or_else(|| "a status is missing".to_owned())
}

fn files(
    questions: &Questions<'_>,
    frames: &mut Frames<'_>,
    readings: &mut Readings,
) -> Result<Vec<Utf8PathBuf>, String> {
    let stat = frames.expect("stat")?;
    let presence = stat.words().next().unwrap_or_default().bytes();
    if presence.len() != questions.files.len() {
        return Err("the number of files is wrong".to_owned());
    }
    let content_frame = frames.expect("content")?;
    let mut contents = content_frame.body;
    let digest_frame = frames.expect("digest")?;
    let digest_text = digest_frame.text();
    let mut digests = digest_text.lines();
    let stat_text = stat.text();
    let mut lines = stat_text.lines();
    let mut large = Vec::new();
    let mut is_first = true;
    for ((path, wanted), presence) in questions.files.iter().zip(presence) {
        if presence == b'-' {
            readings
                .files
                .insert((*path).to_owned(), FileReading::Absent);
            continue;
        }
        let mut state = lines
            .next()
            .and_then(file_state)
            .ok_or_else(|| format!("{path} changed while it was read"))?;
        if matches!(state.content, FileContent::Bytes(_)) {
            state.content = match wanted {
                Wanted::Digest => digests
                    .next()
                    .and_then(sha256)
                    .map(FileContent::Sha256)
                    .ok_or_else(|| format!("{path} changed while it was read"))?,
                Wanted::Content => {
                    let bytes = content(&mut contents, path, state.size, is_first)?;
                    is_first = false;
                    FileContent::Bytes(bytes.into())
                }
            };
            if *wanted == Wanted::Content && state.size > CONTENT_LIMIT {
                large.push(Utf8PathBuf::from(*path));
            }
        }
        readings
            .files
            .insert((*path).to_owned(), FileReading::Present(state));
    }
    if lines.next().is_some() || digests.next().is_some() || !contents.is_empty() {
        return Err("files changed while they were read".to_owned());
    }
    Ok(large)
}

/// A line of `stat -c '%f %s %U %G %y'`; the content of a regular file is empty as yet.
fn file_state(line: &str) -> Option<FileState> {
    let mut words = line.splitn(5, ' ');
    let mode = u32::from_str_radix(words.next()?, 16).ok()?;
    Some(FileState {
        mode: mode & 0o7777,
        size: words.next()?.parse().ok()?,
        owner: words.next()?.to_owned(),
        group: words.next()?.to_owned(),
        modified_us: microseconds(words.next()?)?,
        content: match mode & 0o170_000 {
            0o100_000 => FileContent::Bytes(Arc::default()),
            0o040_000 => FileContent::Directory,
            _ => FileContent::Other,
        },
    })
}

/// `2026-11-21 10:19:36.123456789 +0000`, or with `UTC` at the end.
fn microseconds(text: &str) -> Option<u64> {
    let text = text.trim_end_matches("+0000").trim_end_matches("UTC");
    let time: jiff::civil::DateTime = text.trim().replace(' ', "T").parse().ok()?;
    let zoned = time.to_zoned(jiff::tz::TimeZone::UTC).ok()?;
    u64::try_from(zoned.timestamp().as_microsecond()).ok()
}

/// Takes one file off what `head -v` printed: a line with its name, exactly its size, and a newline before the next name.
fn content<'a>(
    rest: &mut &'a [u8],
    path: &str,
    size: u64,
    is_first: bool,
) -> Result<&'a [u8], String> {
    let separator = if is_first { "" } else { "\n" };
    let header = format!("{separator}==> {path} <==\n");
    let size = usize::try_from(size.min(CONTENT_LIMIT + 1)).unwrap_or(usize::MAX);
    let (bytes, after) = rest
        .strip_prefix(header.as_bytes())
        .and_then(|rest| rest.split_at_checked(size))
        .ok_or_else(|| format!("{path} changed while it was read"))?;
    *rest = after;
    Ok(bytes)
}

/// A line of sha256sum; a name with odd characters begins with a backslash.
fn sha256(line: &str) -> Option<String> {
    let digest = line.trim_start_matches('\\').get(..64)?;
    digest
        .bytes()
        .all(|byte| byte.is_ascii_hexdigit())
        .then(|| digest.to_owned())
}

fn packages(
    names: &[&str],
    frames: &mut Frames<'_>,
    readings: &mut Readings,
) -> Result<(), String> {
    for name in names {
        readings
            .packages
            .insert((*name).to_owned(), PackageReading::default());
    }
    if let Some(frame) = frames.accept("dpkg") {
        if !matches!(status(&frames.expect("status")?)?, 0 | 1) {
            return Err("dpkg-query failed".to_owned());
        }
        for line in frame.text().lines() {
            dpkg_line(line, readings);
        }
    } else if let Some(frame) = frames.accept("rpm") {
        for line in frame.text().lines() {
            rpm_line(line, readings);
        }
        let holds = frames.expect("holds")?;
        let text = holds.text();
        for (name, package) in &mut readings.packages {
            package.held = text.lines().any(|line| holds_package(line, name));
        }
    } else {
        frames.expect("unpackaged")?;
    }
    Ok(())
}

/// `kubeadm 1.36.2-1.1 hold ok installed`; a package of several architectures has several lines.
fn dpkg_line(line: &str, readings: &mut Readings) {
    let words: Vec<&str> = line.split(' ').collect();
    let (Some(name), Some(tail)) = (words.first(), words.len().checked_sub(3)) else {
        return;
    };
    let Some(package) = readings.packages.get_mut(*name) else {
        return;
    };
    let Some([want, error, state]) = words.get(tail..) else {
        return;
    };
    package.held |= *want == "hold";
    if *error == "ok" && *state == "installed" {
        package.version = words.get(1).map(|version| (*version).to_owned());
    }
}

/// `kubeadm 1.36.2-150500.1.1`, or a sentence about a package that is not there.
fn rpm_line(line: &str, readings: &mut Readings) {
    let mut words = line.split(' ');
    if let (Some(name), Some(version), None) = (words.next(), words.next(), words.next())
        && let Some(package) = readings.packages.get_mut(name)
    {
        package.version = Some(version.to_owned());
    }
}

/// A line of dnf's versionlock: `kubelet-0:1.36.2-150500.1.1.*`; `!` excludes.
fn holds_package(line: &str, name: &str) -> bool {
    line.trim()
        .strip_prefix(name)
        .and_then(|rest| rest.strip_prefix('-'))
        .is_some_and(|rest| rest.starts_with(|first: char| first.is_ascii_digit()))
}

fn units(names: &[&str], frames: &mut Frames<'_>, readings: &mut Readings) -> Result<(), String> {
    if frames.accept("unmanaged").is_some() {
        for name in names {
            let reading = UnitReading {
                state: "no systemd".to_owned(),
                ..UnitReading::default()
            };
            readings.units.insert((*name).to_owned(), reading);
        }
        return Ok(());
    }
    let mut frame = frames.expect("units")?;
    let mut boot_us = None;
    if let Some(again) = frames.accept("units-by-uptime") {
        boot_us = Some(boot_time(&again).ok_or("the uptime is missing")?);
        frame = again;
    }
    let text = frame.text();
    let blocks: Vec<&str> = text
        .split("\n\n")
        .map(str::trim)
        .filter(|block| !block.is_empty())
        .collect();
    if blocks.len() != names.len() {
        return Err("systemctl did not speak of every unit".to_owned());
    }
    for (name, block) in names.iter().zip(blocks) {
        readings
            .units
            .insert((*name).to_owned(), unit(block, boot_us));
    }
    Ok(())
}

/// The moment at which the monotonic clock began, microseconds since the epoch.
fn boot_time(frame: &Frame<'_>) -> Option<u64> {
    let mut words = frame.words();
    let (seconds, hundredths) = words.next()?.split_once('.')?;
    let uptime =
        seconds.parse::<u64>().ok()? * 1_000_000 + hundredths.parse::<u64>().ok()? * 10_000;
    (words.next()?.parse::<u64>().ok()? / 1000).checked_sub(uptime)
}

fn unit(block: &str, boot_us: Option<u64>) -> UnitReading {
    let property = |name: &str| {
        block
            .lines()
            .find_map(|line| line.strip_prefix(name)?.strip_prefix('='))
            .unwrap_or_default()
    };
    let active = property("ActiveState");
    UnitReading {
        exists: !matches!(property("LoadState"), "not-found" | ""),
        active: matches!(active, "active" | "reloading"),
        enabled: matches!(
            property("UnitFileState"),
            "enabled" | "static" | "alias" | "generated"
        ),
        state: format!("{active}/{}", property("SubState")),
        changed_us: match boot_us {
            Some(boot_us) => match property("StateChangeTimestampMonotonic").parse::<u64>() {
                Ok(0) | Err(_) => 0,
                Ok(since_boot) => boot_us + since_boot,
            },
            None => property("StateChangeTimestamp")
                .split_once(' ')
                .and_then(|(_weekday, time)| microseconds(time))
                .unwrap_or(0),
        },
    }
}

/// What `head -v` printed: a line with the name, then the value. A sysctl that cannot be read has a name only.
fn sysctls(names: &[&str], frames: &mut Frames<'_>, readings: &mut Readings) -> Result<(), String> {
    let frame = frames.expect("sysctls")?;
    let text = frame.text();
    let lines: Vec<&str> = text.lines().collect();
    for name in names {
        let header = format!("==> {} <==", sysctl_path(name));
        let at = lines.iter().position(|line| *line == header);
        let value = at
            .and_then(|at| lines.get(at + 1))
            .filter(|value| !value.is_empty() && !value.starts_with("==> "))
            .map(|value| value.split_whitespace().collect::<Vec<_>>().join(" "));
        readings.sysctls.insert((*name).to_owned(), value);
    }
    if let (Some(machine), Some(Some(boot))) = (
        readings.machine.as_mut(),
        readings.sysctls.get(machine::BOOT_ID),
    ) {
        boot.clone_into(&mut machine.boot_id);
    }
    Ok(())
}
