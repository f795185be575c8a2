//! How a person stops a run: once to finish what is under way, twice to cut the connections.

use tokio_util::sync::CancellationToken;

/// Two requests, in this order.
#[derive(Debug, Clone, Default)]
pub struct Stop {
    /// Start nothing new.
    pub soon: CancellationToken,
    /// Cut the connections.
    pub now: CancellationToken,
}

impl Stop {
    /// Listens for Ctrl-C (and SIGTERM) for as long as the program runs.
    #[must_use]
    pub fn on_signals() -> Self {
        let stop = Self::default();
        let told = stop.clone();
        tokio::spawn(async move {
            for token in [told.soon, told.now] {
                if signal().await.is_err() {
                    return;
                }
                token.cancel();
            }
        });
        stop
    }

    /// Whether nothing new may be started.
    #[must_use]
    pub fn is_asked(&self) -> bool {
        self.soon.is_cancelled()
    }
}

async fn signal() -> std::io::Result<()> {
    let mut terminate = tokio::signal::unix::signal(tokio::signal::unix::SignalKind::terminate())?;
    tokio::select! {
        result = tokio::signal::ctrl_c() => result,
        _ = terminate.recv() => Ok(()),
    }
}
