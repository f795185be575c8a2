//! Jobs, followed to their end over as many connections as it takes.

use std::time::{Duration, Instant};

use backon::BackoffBuilder as _;

use super::Ssh;
use super::link::Answered;
use crate::host::error::HostError;
use crate::host::job::{Job, JobOutput};
use crate::host::shell::job::{Answer, End, Mode};
use crate::host::shell::{self, Nonce};
use crate::text;

/// How much longer than a job's own deadline its follower is waited for.
const GRACE: Duration = Duration::from_secs(10);

impl Ssh {
    /// Starts or follows until the end or the deadline, over as many connections as it takes.
    pub(super) async fn follow(&self, job: &Job) -> Result<JobOutput, HostError> {
        let began = Instant::now();
        let mut mode = Mode::Start;
        let mut was_followed = false;
        let mut was_reached = false;
        let mut delays = reconnect_delays();
        loop {
            let left = job.deadline.saturating_sub(began.elapsed());
            let request = shell::job::compile(Nonce::random(), job, mode, left);
            let during = format!("job {}", job.name);
            let error = match self.link.exchange(&during, &request, left + GRACE).await {
                Ok(exchange) => {
                    was_reached = true;
                    delays = reconnect_delays();
                    let started = shell::job::was_started(&request.nonce, &exchange.stdout);
                    match self.link.accept(&during, &request, exchange) {
                        Ok(answered) => {
                            let mut output = self.ended(job, &request.nonce, &answered)?;
                            output.followed &= mode == Mode::Start || was_followed;
                            return Ok(output);
                        }
                        Err(error) => {
                            if let (Some(followed), Mode::Start) = (started, mode) {
                                mode = Mode::Follow;
                                was_followed = followed;
                            }
                            error
                        }
                    }
                }
                Err(error) => error,
            };
            let delay = delays.next().unwrap_or(Duration::from_secs(5));
            if !(was_reached && may_pass(&error)) || began.elapsed() + delay >= job.deadline {
                return Err(error);
            }
            tracing::debug!(host = self.link.route.label, job = job.name, %error, "following again");
            tokio::time::sleep(delay).await;
        }
    }

    fn ended(&self, job: &Job, nonce: &Nonce, answered: &Answered) -> Result<JobOutput, HostError> {
        let during = format!("job {}", job.name);
        let Answer {
            end,
            followed,
            output,
        } = shell::job::parse(nonce, &answered.stdout)
            .map_err(|reason| self.link.garbled(&during, reason))?;
        let status = match end {
            End::Exited(status) => Some(status),
            End::Vanished => None,
            End::Running => {
                return Err(HostError::Deadline {
                    host: self.link.host(),
                    what: during,
                    deadline: job.deadline,
                    last: text::last_lines(&output),
                });
            }
            End::NotStarted => {
                return Err(HostError::Command {
                    host: self.link.host(),
                    command: format!("systemd-run --unit=quorate-{}", job.name),
                    status: "an error".to_owned(),
                    output: text::last_lines(&output),
                });
            }
        };
        Ok(JobOutput {
            status,
            output: String::from_utf8_lossy(&output).into_owned(),
            followed,
        })
    }
}

/// Whether an error may pass by itself while a host reboots or a network heals; a host that boots refuses logins at first.
fn may_pass(error: &HostError) -> bool {
    matches!(
        error,
        HostError::Lost { .. } | HostError::Unreachable { .. } | HostError::LoginRefused { .. }
    )
}

fn reconnect_delays() -> impl Iterator<Item = Duration> {
    backon::ExponentialBuilder::default()
        .with_min_delay(Duration::from_millis(250))
        .with_max_delay(Duration::from_secs(5))
        .without_max_times()
        .with_jitter()
        .build()
}
