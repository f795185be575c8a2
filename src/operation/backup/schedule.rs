//! `quorate backup schedule`: what runs backups unattended on this computer.

use std::os::unix::fs::PermissionsExt as _;
use std::process::Command;
use std::time::Duration;

use camino::{Utf8Path, Utf8PathBuf};
use clap::ValueEnum;

use super::metrics;
use crate::backup::io;
use crate::error::Error;
use crate::host::shell::quote;
use crate::report::{eprintln, println};

/// What runs it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Scheduler {
    /// A systemd timer: of the system for root, else of the user.
    Systemd,
    /// A line in the user's crontab.
    Crontab,
}

/// What is wanted.
pub struct Schedule {
    /// Cluster name.
    pub cluster: String,
    /// The words of the command that is run.
    pub command: Vec<String>,
    /// What it finds its state and `~` by: neither systemd nor cron has all of what a shell has.
    pub environment: Vec<(&'static str, String)>,
    /// How often.
    pub every: Duration,
    /// When an alert fires.
    pub alert_after: Duration,
    /// What runs it.
    pub scheduler: Scheduler,
}

impl Schedule {
    fn unit(&self) -> String {
        format!("quorate-backup-{}", self.cluster)
    }

    /// The service, which takes one backup.
    #[must_use]
    pub fn service(&self) -> String {
        let environment = self.environment.iter().map(|(name, value)| {
            let setting = systemd_word(&format!("{name}={value}"), Expands::Percent);
            format!("Environment={setting}")
        });
        let words = self.command.iter();
        let words = words.map(|word| systemd_word(word, Expands::PercentAndDollar));
        let command = words.collect::<Vec<_>>().join(" ");
        let service = environment.chain([format!("ExecStart={command}")]);
        format!(
            "# Written by `quorate backup schedule`.\n\
             [Unit]\n\
             Description=Backup of the cluster {}\n\
             Wants=network-online.target\n\
             After=network-online.target\n\
             \n\
             [Service]\n\
             Type=oneshot\n\
             UMask=0077\n\
             Nice=10\n\
             {}\n",
            self.cluster,
            service.collect::<Vec<_>>().join("\n")
        )
    }

    /// The timer. A backup that was missed because the computer was off is made up for.
    #[must_use]
    pub fn timer(&self) -> String {
        let seconds = self.every.as_secs();
        format!(
            "# Written by `quorate backup schedule`.\n\
             [Unit]\n\
             Description=Backups of the cluster {} every {seconds} s\n\
             \n\
             [Timer]\n\
             OnBootSec=5min\n\
             OnUnitActiveSec={seconds}s\n\
             RandomizedDelaySec={}s\n\
             \n\
             [Install]\n\
             WantedBy=timers.target\n",
            self.cluster,
            (seconds / 20).min(300)
        )
    }

    /// The line of a crontab; an error if cron cannot say it.
    pub fn crontab(&self) -> Result<String, Error> {
        let when = cron_times(self.every).ok_or_else(|| Error::Usage {
            message: format!(
                "cron cannot run something every {} s: take minutes that divide an hour, hours that divide a day, or a day; \
                 or a systemd timer",
                self.every.as_secs()
            ),
        })?;
        // cron reads a bare % as a newline.
        let settings = self.environment.iter();
        let words: Vec<String> = settings
            .map(|(name, value)| format!("{name}={}", quote(value)))
            .chain(self.command.iter().map(|word| quote(word)))
            .map(|word| word.replace('%', "\\%"))
            .collect();
        Ok(format!("{when} {} # {}", words.join(" "), self.unit()))
    }

    /// Prints what would be installed, and the alert rule.
    pub fn print(&self) -> Result<(), Error> {
        match self.scheduler {
            Scheduler::Systemd => {
                println(&format!("# {}.service\n{}", self.unit(), self.service()));
                println(&format!("# {}.timer\n{}", self.unit(), self.timer()));
            }
            Scheduler::Crontab => println(&format!("{}\n", self.crontab()?)),
        }
        println(&format!(
            "# Alert rule for Prometheus\n{}",
            metrics::alert(&self.cluster, self.alert_after)
        ));
        Ok(())
    }

    /// Installs it on this computer.
    pub fn install(&self) -> Result<(), Error> {
        match self.scheduler {
            Scheduler::Systemd => self.install_timer(),
            Scheduler::Crontab => self.install_line(),
        }
    }

    fn install_timer(&self) -> Result<(), Error> {
        let (directory, user) = unit_directory();
        write_units(self, &directory)?;
        let timer = format!("{}.timer", self.unit());
        let scope: &[&str] = if user { &["--user"] } else { &[] };
        must("systemctl", &[scope, &["daemon-reload"]].concat())?;
        must("systemctl", &[scope, &["enable", "--now", &timer]].concat())?;
        eprintln(&format!("{directory}/{timer} is installed and runs"));
        Ok(())
    }

    fn install_line(&self) -> Result<(), Error> {
        let line = self.crontab()?;
        let listed = Command::new("crontab")
            .arg("-l")
            .output()
            .map_err(local("run crontab"))?;
        let text = with_line(
            &String::from_utf8_lossy(&listed.stdout),
            &line,
            &self.unit(),
        );
        let mut child = Command::new("crontab")
            .arg("-")
            .stdin(std::process::Stdio::piped())
            .spawn()
            .map_err(local("run crontab"))?;
        if let Some(mut stdin) = child.stdin.take() {
            std::io::Write::write_all(&mut stdin, text.as_bytes())
                .map_err(local("write the crontab"))?;
        }
        let status = child.wait().map_err(local("run crontab"))?;
        if !status.success() {
            return Err(local("write the crontab")(std::io::Error::other(
                status.to_string(),
            )));
        }
        eprintln("the line is in the crontab");
        Ok(())
    }
}

/// Writes service and timer into a directory.
pub fn write_units(schedule: &Schedule, directory: &Utf8Path) -> Result<(), Error> {
    fs_err::create_dir_all(directory).map_err(io(format!("create {directory}")))?;
    for (extension, text) in [("service", schedule.service()), ("timer", schedule.timer())] {
        let path = directory.join(format!("{}.{extension}", schedule.unit()));
        fs_err::write(&path, text).map_err(io(format!("write {path}")))?;
        fs_err::set_permissions(&path, std::fs::Permissions::from_mode(0o644))
            .map_err(io(format!("write {path}")))?;
    }
    Ok(())
}

/// A crontab with this line in the place of an earlier one of the same cluster.
fn with_line(crontab: &str, line: &str, unit: &str) -> String {
    let mark = format!("# {unit}");
    let mut lines: Vec<&str> = crontab
        .lines()
        .filter(|line| !line.ends_with(&mark))
        .collect();
    lines.push(line);
    lines.join("\n") + "\n"
}

/// Where units go, and whether they are the user's own.
fn unit_directory() -> (Utf8PathBuf, bool) {
    use std::os::unix::fs::MetadataExt as _;
    let is_root = std::fs::metadata("/proc/self").is_ok_and(|process| process.uid() == 0);
    if is_root {
        return ("/etc/systemd/system".into(), false);
    }
    let home = std::env::var("HOME").unwrap_or_default();
    let base = std::env::var("XDG_CONFIG_HOME").unwrap_or_else(|_| format!("{home}/.config"));
    (Utf8PathBuf::from(base).join("systemd/user"), true)
}

/// What systemd expands in a setting's value.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Expands {
    /// `Environment=`.
    Percent,
    /// `ExecStart=`.
    PercentAndDollar,
}

/// A word as systemd reads it.
fn systemd_word(word: &str, expands: Expands) -> String {
    let mut escaped = word
        .replace('\\', "\\\\")
        .replace('"', "\\\"")
        .replace('%', "%%");
    if expands == Expands::PercentAndDollar {
        escaped = escaped.replace('$', "$$");
    }
    format!("\"{escaped}\"")
}

/// The five fields of cron for a period that cron can say.
fn cron_times(every: Duration) -> Option<String> {
    let seconds = every.as_secs();
    let minutes = seconds / 60;
    if seconds == 0 || !seconds.is_multiple_of(60) {
        return None;
    }
    match minutes {
        60 => Some("17 * * * *".to_owned()),
        1440 => Some("17 3 * * *".to_owned()),
        1..60 if 60_u64.is_multiple_of(minutes) => Some(format!("*/{minutes} * * * *")),
        61..1440 if minutes.is_multiple_of(60) && 1440_u64.is_multiple_of(minutes) => {
            Some(format!("17 */{} * * *", minutes / 60))
        }
        _ => None,
    }
}

fn must(program: &str, words: &[&str]) -> Result<(), Error> {
    let doing = format!("run {program} {}", words.join(" "));
    let status = Command::new(program)
        .args(words)
        .status()
        .map_err(local(&doing))?;
    if status.success() {
        return Ok(());
    }
    Err(local(&doing)(std::io::Error::other(status.to_string())))
}

fn local(doing: &str) -> impl FnOnce(std::io::Error) -> Error {
    let doing = doing.to_owned();
    move |source| Error::Local { doing, source }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn schedule(every: u64) -> Schedule {
        Schedule {
            cluster: "seoul-1".to_owned(),
            command: [
                "/usr/bin/quorate",
                "backup",
                "--inventory",
                "/srv/my clusters/100%.yaml",
                "--quiet",
            ]
            .map(str::to_owned)
            .into(),
            environment: vec![("HOME", "/srv/100% $HOME".to_owned())],
            every: Duration::from_secs(every),
            alert_after: Duration::from_secs(13 * 3600),
            scheduler: Scheduler::Systemd,
        }
    }

    #[test]
    fn the_units_quote_for_systemd() {
        let schedule = schedule(6 * 3600);
        let service = schedule.service();
        let command = r#"ExecStart="/usr/bin/quorate" "backup" "--inventory" "/srv/my clusters/100%%.yaml" "--quiet""#;
        assert!(service.lines().any(|line| line == command), "{service}");
        assert!(service.contains("Type=oneshot\n"), "{service}");
        assert!(
            service.contains("Environment=\"HOME=/srv/100%% $HOME\"\n"),
            "{service}"
        );
        let timer = schedule.timer();
        assert!(timer.contains("OnUnitActiveSec=21600s\n"), "{timer}");
        assert!(timer.contains("WantedBy=timers.target\n"), "{timer}");
    }

    #[test]
    fn the_line_quotes_for_cron_and_says_only_what_cron_can() {
        assert_eq!(
            schedule(6 * 3600).crontab().expect("cron can"),
            r"17 */6 * * * HOME='/srv/100\% $HOME' '/usr/bin/quorate' 'backup' '--inventory' '/srv/my clusters/100\%.yaml' '--quiet' # quorate-backup-seoul-1"
        );
        for (seconds, expected) in [
            (900, "*/15 * * * *"),
            (3600, "17 * * * *"),
            (86_400, "17 3 * * *"),
        ] {
            assert_eq!(
                cron_times(Duration::from_secs(seconds)).as_deref(),
                Some(expected)
            );
        }
        for seconds in [0, 30, 7 * 60, 5 * 3600, 36 * 3600] {
            assert_eq!(
                cron_times(Duration::from_secs(seconds)),
                None,
                "{seconds} s"
            );
        }
    }

    #[test]
    fn installing_twice_leaves_one_line_and_the_rest_alone() {
        let other = "0 1 * * * backup-home\n";
        let once = with_line(
            other,
            "17 */6 * * * a # quorate-backup-x",
            "quorate-backup-x",
        );
        let twice = with_line(&once, "17 3 * * * b # quorate-backup-x", "quorate-backup-x");
        assert_eq!(
            twice,
            "0 1 * * * backup-home\n17 3 * * * b # quorate-backup-x\n"
        );
    }
}
