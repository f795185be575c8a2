//! A bare SSH client for `make bench`: connects, authenticates with a key, runs one script per host, all hosts at once, and
//! counts what comes back. It is what an SSH library alone costs: no host keys are checked, nothing is judged.

use std::path::Path;
use std::sync::Arc;

use russh::client::{self, AuthResult, Handler};
use russh::keys::{PrivateKeyWithHashAlg, load_secret_key};
use russh::{ChannelMsg, Disconnect};

type Failure = Box<dyn std::error::Error + Send + Sync>;

struct Trusting;

impl Handler for Trusting {
    type Error = russh::Error;

    async fn check_server_key(
        &mut self,
        _key: &russh::keys::PublicKeyOrCertificate,
    ) -> Result<bool, russh::Error> {
        Ok(true)
    }
}

/// `bare_client DIR`: `DIR/hosts` lists the hosts, `DIR/<host>.sh` are the scripts.
#[tokio::main(flavor = "multi_thread", worker_threads = 2)]
async fn main() -> Result<(), Failure> {
    let directory = std::env::args().nth(1).ok_or("usage: bare_client DIR")?;
    let hosts = std::fs::read_to_string(Path::new(&directory).join("hosts"))?;
    let runs: Vec<_> = hosts
        .lines()
        .map(|line| tokio::spawn(run(directory.clone(), line.to_owned())))
        .collect();
    let mut bytes = 0;
    for run in runs {
        bytes += run.await??;
    }
    println!("{bytes} bytes");
    Ok(())
}

async fn run(directory: String, line: String) -> Result<usize, Failure> {
    let words: Vec<&str> = line.split_whitespace().collect();
    let [name, _role, address, user, identity, rest @ ..] = words.as_slice() else {
        return Err(format!("not a host: {line}").into());
    };
    // After the file of known hosts, which it has no use for.
    let port = rest.get(1).map_or(Ok(22), |port| port.parse())?;
    let script = std::fs::read(Path::new(&directory).join(format!("{name}.sh")))?;
    let config = Arc::new(client::Config {
        nodelay: true,
        ..client::Config::default()
    });
    let mut session = client::connect(config, (*address, port), Trusting).await?;
    let key = PrivateKeyWithHashAlg::new(Arc::new(load_secret_key(identity, None)?), None);
    let login = session.authenticate_publickey(*user, key).await?;
    if !matches!(login, AuthResult::Success) {
        return Err(format!("{name} refuses the login").into());
    }
    let mut channel = session.channel_open_session().await?;
    let command = if *user == "root" { "sh" } else { "sudo -n sh" };
    channel.exec(true, command).await?;
    channel.data(script.as_slice()).await?;
    channel.eof().await?;
    let mut bytes = 0;
    while let Some(message) = channel.wait().await {
        match message {
            ChannelMsg::Data { data } => bytes += data.len(),
            ChannelMsg::ExitStatus { exit_status } if exit_status != 0 => {
                return Err(format!("{name} returned {exit_status}").into());
            }
            _ => {}
        }
    }
    session
        .disconnect(Disconnect::ByApplication, "", "")
        .await?;
    Ok(bytes)
}
