//! Probes and files.

use std::time::Duration;

use camino::Utf8PathBuf;

use super::Ssh;
use crate::host::error::HostError;
use crate::host::file::RemoteFile;
use crate::host::probe::{Probe, Readings};
use crate::host::shell::probe::Questions;
use crate::host::shell::{self, Nonce};
use crate::text;

/// How long reading may take.
pub(super) const PROBE_DEADLINE: Duration = Duration::from_secs(60);

/// How long writing files and their checks may take.
const WRITE_DEADLINE: Duration = Duration::from_secs(180);

impl Ssh {
    /// Reads probes; an answer that makes no sense because files changed meanwhile is asked for once more. Files too large
    /// for their content are named in the second value.
    pub(super) async fn read(
        &self,
        probes: &[Probe],
    ) -> Result<(Readings, Vec<Utf8PathBuf>), HostError> {
        let questions = Questions::of(probes);
        let during = "probe";
        let mut tries = 0;
        loop {
            tries += 1;
            let request = questions.compile(Nonce::random());
            let answered = self.link.answer(during, &request, PROBE_DEADLINE).await?;
            match shell::reading::parse(&questions, &request.nonce, &answered.stdout) {
                Ok((mut readings, large)) => {
                    if let Some(machine) = &mut readings.machine {
                        let (middle, error) = answered.clock();
                        machine.operator_clock_us = middle;
                        machine.clock_error_us = error;
                    }
                    return Ok((readings, large));
                }
                Err(reason) if tries == 1 => {
                    tracing::debug!(host = self.link.route.label, reason, "reading again");
                }
                Err(reason) => return Err(self.link.garbled(during, reason)),
            }
        }
    }

    /// Writes files, all in one script.
    pub(super) async fn write_files(&self, files: &[RemoteFile]) -> Result<(), HostError> {
        let request = shell::file::compile(Nonce::random(), files);
        let during = match files {
            [file] => format!("write {}", file.path),
            _ => format!("write {} files", files.len()),
        };
        let answered = self.link.answer(&during, &request, WRITE_DEADLINE).await?;
        let verdict = shell::file::parse(&request.nonce, &answered.stdout)
            .map_err(|reason| self.link.garbled(&during, reason))?;
        verdict.map_err(|refusal| self.refusal(files, refusal, &answered.stderr))
    }

    fn refusal(
        &self,
        files: &[RemoteFile],
        refusal: shell::file::Refusal,
        stderr: &[u8],
    ) -> HostError {
        let path = |index: usize| {
            files
                .get(index)
                .map(|file| file.path.clone())
                .unwrap_or_default()
        };
        match refusal {
            shell::file::Refusal::Check {
                file,
                status,
                output,
            } => HostError::FileRefused {
                host: self.link.host(),
                path: path(file),
                check: files
                    .get(file)
                    .and_then(|file| file.check.as_ref())
                    .map(|check| check.join(" "))
                    .unwrap_or_default(),
                status: status.to_string(),
                output: text::last_lines(&output),
            },
            shell::file::Refusal::Step { file, step } => HostError::Command {
                host: self.link.host(),
                command: format!("write {}", path(file)),
                status: format!("an error: failed to {step}"),
                output: text::last_lines(stderr),
            },
        }
    }
}
