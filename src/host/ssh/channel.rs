//! One channel: a constant command, a script on its standard input, its answer.

use std::sync::Arc;
use std::time::SystemTime;

use russh::client::Msg;
use russh::{ChannelMsg, ChannelWriteHalf};
use tokio::sync::Notify;

use super::session::Connection;
use crate::host::command::Status;
use crate::host::shell::Request;
use crate::secret::Secret;

/// The most that an answer may hold.
const LIMIT: usize = 64 * 1024 * 1024;

/// What ends the lines before the script where a password was sent.
pub(super) const MARK: &str = "quorate-script\n";

/// What sudo prints when it wants a password.
pub(super) const PROMPT: &str = "quorate-sudo:";

/// Within how many bytes of its standard error a host's sudo has asked.
const PROMPTED_WITHIN: usize = 64 * 1024;

/// Longer than what marks progress: the nonce, or the shell's word that it is ready.
const LONGEST_MARK: usize = 256;

/// How a request gets to be root.
#[derive(Debug, Clone)]
pub(super) enum Become {
    /// The login is root's.
    AlreadyRoot,
    /// `sudo -n`.
    Sudo,
    /// sudo with this password, whether it asks or not.
    SudoWithPassword(Secret),
}

/// How the shell on the host takes its script from standard input.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Boot {
    /// All of it, then runs it: nothing in it can read the rest of the script by mistake.
    Whole,
    /// One line, then runs it with the rest as standard input.
    Line,
}

impl Boot {
    /// The constant that is executed.
    ///
    /// With a password: sudo reads one line if it asks for it. If it does not ask, that line is still there; the shell
    /// therefore says that it is ready, is sent a mark, and drops all lines before it. `-k` keeps a cached credential from
    /// making the same request behave differently.
    fn command(self, root: &Become) -> &'static str {
        match (self, root) {
            (Self::Whole, Become::AlreadyRoot) => r#"/bin/sh -c 's=$(cat) && eval "$s"'"#,
            (Self::Whole, Become::Sudo) => r#"sudo -n /bin/sh -c 's=$(cat) && eval "$s"'"#,
            (Self::Whole, Become::SudoWithPassword(_)) => {
                r#"sudo -k -S -p quorate-sudo: /bin/sh -c 'echo quorate-ready; while IFS= read -r l && [ "$l" != quorate-script ]; do :; done; s=$(cat) && eval "$s"'"#
            }
            (Self::Line, Become::AlreadyRoot) => r#"/bin/sh -c 'IFS= read -r s && eval "$s"'"#,
            (Self::Line, Become::Sudo) => r#"sudo -n /bin/sh -c 'IFS= read -r s && eval "$s"'"#,
            (Self::Line, Become::SudoWithPassword(_)) => {
                r#"sudo -k -S -p quorate-sudo: /bin/sh -c 'echo quorate-ready; while IFS= read -r l && [ "$l" != quorate-script ]; do :; done; IFS= read -r s && eval "$s"'"#
            }
        }
    }
}

/// What came of a request, also if it was cut off.
#[derive(Debug, Default)]
pub(super) struct Exchange {
    pub(super) stdout: Vec<u8>,
    pub(super) stderr: Vec<u8>,
    pub(super) status: Option<Status>,
    /// Whether anything was sent that may have taken effect.
    pub(super) was_sent: bool,
    /// Why the end was not seen.
    pub(super) lost: Option<String>,
    pub(super) is_too_large: bool,
    /// sudo does not take the password.
    pub(super) is_refused: bool,
    pub(super) sent_at: Option<SystemTime>,
    pub(super) first_line_at: Option<SystemTime>,
}

impl Exchange {
    /// The last of both outputs.
    pub(super) fn tail(&self) -> Vec<u8> {
        [self.stdout.as_slice(), self.stderr.as_slice()].concat()
    }

    fn size(&self) -> usize {
        self.stdout.len() + self.stderr.len()
    }
}

/// Closes its channel when it is dropped, whatever the reason: the end, a deadline, a caller that lost interest.
struct Closing(Arc<ChannelWriteHalf<Msg>>);

impl Drop for Closing {
    fn drop(&mut self) {
        let write = Arc::clone(&self.0);
        if let Ok(runtime) = tokio::runtime::Handle::try_current() {
            runtime.spawn(async move { write.close().await });
        }
    }
}

/// Opens a channel and executes the constant command.
pub(super) async fn open(
    connection: &Connection,
    boot: Boot,
    root: &Become,
) -> Result<russh::Channel<Msg>, String> {
    let channel = connection.open_session().await?;
    channel
        .exec(true, boot.command(root))
        .await
        .map_err(|error| error.to_string())?;
    Ok(channel)
}

/// Carries a script to its end. An error means that nothing was sent.
pub(super) async fn carry(
    connection: &Connection,
    root: &Become,
    request: &Request,
    exchange: &mut Exchange,
) -> Result<(), String> {
    let channel = open(connection, Boot::Whole, root).await?;
    let (mut read, write) = channel.split();
    let write = Arc::new(write);
    let closing = Closing(Arc::clone(&write));
    exchange.was_sent = true;
    exchange.sent_at = Some(SystemTime::now());
    let ready = Notify::new();
    let mut sending = std::pin::pin!(send(&write, root, &request.text, &ready));
    let mut is_sent = false;
    let mut is_ended = false;
    loop {
        let message = tokio::select! {
            message = read.wait() => message,
            () = &mut sending, if !is_sent => {
                is_sent = true;
                continue;
            }
        };
        match message {
            Some(ChannelMsg::Data { data }) => {
                let before = exchange.stdout.len();
                exchange.stdout.extend_from_slice(&data);
                note_progress(exchange, before, request, &ready);
            }
            Some(ChannelMsg::ExtendedData { data, .. }) => {
                exchange.stderr.extend_from_slice(&data);
                if exchange.first_line_at.is_none() && is_refused(&exchange.stderr) {
                    exchange.is_refused = true;
                    break;
                }
            }
            Some(ChannelMsg::ExitStatus { exit_status }) => {
                exchange.status = Some(Status::Code(exit_status.cast_signed()));
            }
            Some(ChannelMsg::ExitSignal { .. }) => exchange.status = Some(Status::Signal),
            Some(ChannelMsg::Eof | ChannelMsg::Close) => is_ended = true,
            Some(ChannelMsg::Failure) => {
                exchange.lost = Some("the server refuses to execute commands".to_owned());
                break;
            }
            Some(_) => {}
            None => break,
        }
        if exchange.size() > LIMIT {
            exchange.is_too_large = true;
            break;
        }
    }
    let is_complete = is_ended && exchange.status.is_some();
    if !is_complete && !exchange.is_too_large && !exchange.is_refused {
        exchange
            .lost
            .get_or_insert_with(|| connection.reason_of_loss());
    }
    drop(closing);
    connection.channel_closed();
    Ok(())
}

/// sudo asks a second time: the password was wrong. It is not given further chances, which would count against the account.
pub(super) fn is_refused(stderr: &[u8]) -> bool {
    let beginning = stderr.get(..PROMPTED_WITHIN).unwrap_or(stderr);
    let text = String::from_utf8_lossy(beginning);
    text.matches(PROMPT).count() > 1
}

/// Whether the root shell waits for its script.
pub(super) fn is_ready(stdout: &[u8]) -> bool {
    crate::host::shell::frame::find(stdout, b"quorate-ready\n").is_some()
}

/// Looks at what came after the first `before` bytes only: a host that floods us must not make us read it all again and again.
fn note_progress(exchange: &mut Exchange, before: usize, request: &Request, ready: &Notify) {
    if exchange.first_line_at.is_some() {
        return;
    }
    let fresh = exchange
        .stdout
        .get(before.saturating_sub(LONGEST_MARK)..)
        .unwrap_or_default();
    if is_ready(fresh) {
        ready.notify_one();
    }
    let nonce = request.nonce.as_str().as_bytes();
    if crate::host::shell::frame::find(fresh, nonce).is_some() {
        exchange.first_line_at = Some(SystemTime::now());
    }
}

/// Sends the script; before it, where sudo may ask, the password, and once the root shell is there, the mark.
async fn send(write: &ChannelWriteHalf<Msg>, root: &Become, script: &str, ready: &Notify) {
    if let Become::SudoWithPassword(password) = root {
        let line = format!("{}\n", password.expose());
        let _ = write.data_bytes(line.into_bytes()).await;
        ready.notified().await;
        let _ = write.data_bytes(MARK.as_bytes()).await;
    }
    let _ = write.data_bytes(script.as_bytes().to_vec()).await;
    let _ = write.eof().await;
}
