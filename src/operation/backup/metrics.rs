//! What node_exporter's textfile collector is told, and the alert on it.

use std::fmt::Write as _;
use std::time::Duration;

use camino::Utf8Path;
use jiff::Timestamp;

use crate::backup::manifest::Manifest;
use crate::backup::{BackupError, io};

/// How the last run went.
pub struct Run {
    /// When it ended.
    pub at: Timestamp,
    /// How long it took.
    pub duration: Duration,
    /// Whether there is a new backup.
    pub is_success: bool,
}

/// The exposition text. `newest`: the last verified backup, if there is one; its age is `time()` less its timestamp.
#[must_use]
pub fn text(cluster: &str, newest: Option<&Manifest>, run: &Run) -> String {
    let mut text = String::new();
    let mut gauge = |name: &str, help: &str, value: String| {
        let _ = writeln!(
            text,
            "# HELP quorate_backup_{name} {help}\n# TYPE quorate_backup_{name} gauge\n\
             quorate_backup_{name}{{cluster=\"{}\"}} {value}",
            label(cluster)
        );
    };
    if let Some(manifest) = newest {
        gauge(
            "last_verified_timestamp_seconds",
            "When the newest verified backup was taken.",
            manifest.taken.as_second().to_string(),
        );
        gauge(
            "last_verified_size_bytes",
            "Its size as stored.",
            manifest.stored_size().to_string(),
        );
        gauge(
            "last_verified_revision",
            "The revision of etcd that it holds.",
            manifest.etcd.revision.to_string(),
        );
    }
    gauge(
        "last_run_timestamp_seconds",
        "When the last run ended.",
        run.at.as_second().to_string(),
    );
    gauge(
        "last_run_duration_seconds",
        "How long it took.",
        format!("{:.3}", run.duration.as_secs_f64()),
    );
    gauge(
        "last_run_success",
        "1 if it made a verified backup, else 0.",
        u8::from(run.is_success).to_string(),
    );
    text
}

/// A label's value, escaped.
fn label(value: &str) -> String {
    value
        .replace('\\', "\\\\")
        .replace('"', "\\\"")
        .replace('\n', "\\n")
}

/// Writes it as the collector wants it: whole at any moment, readable by it.
pub fn write(path: &Utf8Path, text: &str) -> Result<(), BackupError> {
    use std::os::unix::fs::PermissionsExt as _;
    let temporary = path.with_file_name(format!(
        ".{}.{}",
        path.file_name().unwrap_or("metrics"),
        std::process::id()
    ));
    let written = std::fs::write(&temporary, text)
        .and_then(|()| std::fs::set_permissions(&temporary, std::fs::Permissions::from_mode(0o644)))
        .and_then(|()| std::fs::rename(&temporary, path));
    written.map_err(io(format!("write {path}")))
}

/// The rule that fires when there was no verified backup for so long, or never one.
#[must_use]
pub fn alert(cluster: &str, after: Duration) -> String {
    let seconds = after.as_secs();
    let hours = seconds.div_ceil(3600);
    format!(
        r#"groups:
  - name: quorate-backup-{cluster}
    rules:
      - alert: QuorateBackupMissing
        expr: >-
          time() - quorate_backup_last_verified_timestamp_seconds{{cluster="{cluster}"}} > {seconds}
          or absent(quorate_backup_last_verified_timestamp_seconds{{cluster="{cluster}"}})
        for: 5m
        labels: {{ severity: critical, cluster: {cluster} }}
        annotations:
          summary: No verified backup of {cluster} for {hours} hours
          description: >-
            `quorate backup list` shows what there is; run `quorate backup` by hand and read why it fails.
"#
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::backup::manifest::sample::manifest;

    fn run(is_success: bool) -> Run {
        Run {
            at: Timestamp::from_second(1_795_268_931).expect("a time"),
            duration: Duration::from_millis(4200),
            is_success,
        }
    }

    #[test]
    fn the_text_is_an_exposition() {
        let manifest = manifest("2026-11-21T13:30:00Z");
        let text = text("seoul-1", Some(&manifest), &run(true));
        let begin = "# HELP quorate_backup_last_verified_timestamp_seconds When the newest verified backup was taken.\n\
                     # TYPE quorate_backup_last_verified_timestamp_seconds gauge\n\
                     quorate_backup_last_verified_timestamp_seconds{cluster=\"seoul-1\"} 1795267800\n";
        assert!(text.starts_with(begin), "{text}");
        for (name, value) in [
            ("last_verified_size_bytes", "400000"),
            ("last_verified_revision", "2417"),
            ("last_run_timestamp_seconds", "1795268931"),
            ("last_run_duration_seconds", "4.200"),
            ("last_run_success", "1"),
        ] {
            let line = format!("quorate_backup_{name}{{cluster=\"seoul-1\"}} {value}\n");
            assert!(text.contains(&line), "{line} in\n{text}");
        }
    }

    #[test]
    fn a_failure_keeps_what_is_known_of_the_last_backup_and_says_so_if_there_is_none() {
        let manifest = manifest("2026-11-21T13:30:00Z");
        let failed = text("seoul-1", Some(&manifest), &run(false));
        assert!(
            failed.contains("last_run_success{cluster=\"seoul-1\"} 0\n"),
            "{failed}"
        );
        assert!(
            failed.contains("last_verified_timestamp_seconds{cluster=\"seoul-1\"} 1795267800\n"),
            "{failed}"
        );
        assert!(!text("seoul-1", None, &run(false)).contains("verified_timestamp"));
    }

    #[test]
    fn the_alert_fires_after_the_time_and_when_there_is_nothing() {
        let rule = alert("seoul-1", Duration::from_secs(13 * 3600));
        assert!(
            rule.contains("> 46800\n") && rule.contains("absent("),
            "{rule}"
        );
        let parsed: serde_json::Value = serde_saphyr::from_str(&rule).expect("YAML");
        assert_eq!(
            parsed.pointer("/groups/0/rules/0/alert"),
            Some(&"QuorateBackupMissing".into())
        );
    }
}
