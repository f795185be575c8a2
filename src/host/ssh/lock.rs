//! The cluster's lock: a channel that stays open.
//!
//! When the connection breaks while the run goes on (a job is followed over a new one), the lock is taken again. Until the
//! host has noticed the loss it may still be held by the old channel, which is recognised by its owner and waited for.

use std::sync::Arc;
use std::time::Duration;

use russh::client::Msg;
use russh::{ChannelMsg, ChannelReadHalf, ChannelWriteHalf};
use tokio::sync::oneshot;

use super::Ssh;
use super::channel::{self, Become, Boot};
use super::link::Link;
use super::requests::PROBE_DEADLINE;
use crate::host::error::HostError;
use crate::host::shell::lock::{Answer, PATIENCE_SECONDS, compile, parse};
use crate::host::shell::{Nonce, Request};
use crate::host::transport::LockGuard;
use crate::text;

/// Between two heartbeats; many may be lost.
const HEARTBEAT: Duration = Duration::from_secs(PATIENCE_SECONDS / 10);

/// Between two attempts to take a lost lock again.
const PAUSE: Duration = Duration::from_secs(2);

impl Ssh {
    /// Takes the lock and keeps it until the guard is dropped. Its channel is not one of the eight for requests.
    pub(super) async fn hold(&self, name: &str, owner: &str) -> Result<LockGuard, HostError> {
        let channel = self.link.take_lock(name, owner).await?;
        let (guard, mut dropped) = oneshot::channel::<()>();
        let (link, name, owner) = (Arc::clone(&self.link), name.to_owned(), owner.to_owned());
        tokio::spawn(async move {
            let mut held = Some(channel);
            while let Some(channel) = held.take() {
                let (mut read, write) = channel.split();
                tokio::select! {
                    biased;
                    _ = &mut dropped => release(&write).await,
                    () = beat(&mut read, &write) => {
                        held = tokio::select! {
                            _ = &mut dropped => None,
                            channel = link.retake_lock(&name, &owner) => channel,
                        };
                    }
                }
            }
        });
        Ok(LockGuard::new(guard))
    }
}

impl Link {
    async fn take_lock(&self, name: &str, owner: &str) -> Result<russh::Channel<Msg>, HostError> {
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
            Answer::Held => Ok(channel),
            Answer::Busy(owner) => {
                release(&channel.split().1).await;
                Err(HostError::Locked {
                    host: self.host(),
                    owner: text::escape(&owner),
                })
            }
            Answer::Incomplete if connection.is_alive() => {
                release(&channel.split().1).await;
                Err(self.no_root(&during, &stderr))
            }
            Answer::Incomplete => Err(self.lost(&during, connection.reason_of_loss())),
        }
    }

    /// Takes the lock after its connection was lost, unless somebody else was quicker.
    async fn retake_lock(&self, name: &str, own: &str) -> Option<russh::Channel<Msg>> {
        loop {
            tokio::time::sleep(PAUSE).await;
            match self.take_lock(name, own).await {
                Ok(channel) => return Some(channel),
                Err(HostError::Locked { owner, .. }) if owner != text::escape(own) => {
                    let host = self.host();
                    tracing::warn!(host, owner, "the lock went to another run");
                    return None;
                }
                Err(error) => tracing::debug!(%error, "the lock is not back yet"),
            }
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

/// Beats until the channel is gone.
async fn beat(read: &mut ChannelReadHalf, write: &ChannelWriteHalf<Msg>) {
    let mut beats = tokio::time::interval(HEARTBEAT);
    loop {
        tokio::select! {
            message = read.wait() => {
                if message.is_none() {
                    return;
                }
            }
            _ = beats.tick() => {
                if write.data_bytes(&b"+\n"[..]).await.is_err() {
                    return;
                }
            }
        }
    }
}

async fn release(write: &ChannelWriteHalf<Msg>) {
    let _ = write.eof().await;
    let _ = write.close().await;
}
