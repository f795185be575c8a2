//! The cluster's lock: a channel that stays open.

use std::time::Duration;

use russh::ChannelMsg;
use russh::client::Msg;
use tokio::sync::oneshot;

use super::channel::{self, Become, Boot};
use super::{PROBE_DEADLINE, Ssh};
use crate::host::error::HostError;
use crate::host::shell::lock::{Answer, PATIENCE_SECONDS, compile, parse};
use crate::host::shell::{Nonce, Request};
use crate::host::transport::LockGuard;
use crate::text;

/// Between two heartbeats; many may be lost.
const HEARTBEAT: Duration = Duration::from_secs(PATIENCE_SECONDS / 10);

impl Ssh {
    /// Takes the lock and keeps it until the guard is dropped. Its channel is not one of the eight for requests.
    pub(super) async fn hold(&self, name: &str, owner: &str) -> Result<LockGuard, HostError> {
        let during = format!("lock {name}");
        let request = compile(Nonce::random(), name, owner);
        let connection = self.connection().await?;
        let asked = async {
            let mut channel = channel::open(&connection, Boot::Line, &self.root).await?;
            let answer = ask(&mut channel, &self.root, &request).await;
            Ok((channel, answer))
        };
        let (channel, (answer, stderr)) = tokio::time::timeout(PROBE_DEADLINE, asked)
            .await
            .map_err(|_| HostError::Deadline {
                host: self.host(),
                what: during.clone(),
                deadline: PROBE_DEADLINE,
                last: String::new(),
            })?
            .map_err(|reason: String| self.lost(&during, reason))?;
        match answer {
            Answer::Held => Ok(LockGuard::new(keep(channel))),
            Answer::Busy(owner) => Err(HostError::Locked {
                host: self.host(),
                owner: text::escape(&owner),
            }),
            Answer::Incomplete if connection.is_alive() => Err(self.no_root(&during, &stderr)),
            Answer::Incomplete => Err(self.lost(&during, connection.reason_of_loss())),
        }
    }
}

async fn ask(
    channel: &mut russh::Channel<Msg>,
    root: &Become,
    request: &Request,
) -> (Answer, Vec<u8>) {
    let (mut stdout, mut stderr) = (Vec::new(), Vec::new());
    if let Become::SudoWithPassword(password) = root {
        let line = format!("{}\n", password.expose());
        let _ = channel.data_bytes(line.into_bytes()).await;
    } else {
        let _ = channel.data_bytes(request.text.clone().into_bytes()).await;
    }
    let mut is_waiting = matches!(root, Become::SudoWithPassword(_));
    loop {
        match channel.wait().await {
            Some(ChannelMsg::Data { data }) => stdout.extend_from_slice(&data),
            Some(ChannelMsg::ExtendedData { data, .. }) => {
                stderr.extend_from_slice(&data);
                if channel::is_refused(&stderr) {
                    return (Answer::Incomplete, stderr);
                }
            }
            Some(_) => {}
            None => return (Answer::Incomplete, stderr),
        }
        if is_waiting && channel::is_ready(&stdout) {
            is_waiting = false;
            let text = format!("{}{}", channel::MARK, request.text);
            let _ = channel.data_bytes(text.into_bytes()).await;
        }
        let answer = parse(&request.nonce, &stdout);
        if answer != Answer::Incomplete {
            return (answer, stderr);
        }
    }
}

/// Beats until the returned value is dropped, then lets go.
fn keep(channel: russh::Channel<Msg>) -> oneshot::Sender<()> {
    let (guard, mut dropped) = oneshot::channel();
    tokio::spawn(async move {
        let mut beats = tokio::time::interval(HEARTBEAT);
        loop {
            tokio::select! {
                _ = &mut dropped => break,
                _ = beats.tick() => {
                    if channel.data_bytes(&b"+\n"[..]).await.is_err() {
                        break;
                    }
                }
            }
        }
        let _ = channel.eof().await;
        let _ = channel.close().await;
    });
    guard
}
