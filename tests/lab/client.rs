//! A client as a user would have: every 50 ms a new TLS connection to the virtual IP, `GET /readyz`, all of it timed.

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned};

/// Time between two requests.
pub const PERIOD: Duration = Duration::from_millis(50);

/// What a request may take before it counts as failed.
const PATIENCE: Duration = Duration::from_secs(10);

struct Sample {
    began: Duration,
    ended: Duration,
    error: Option<String>,
}

/// A running client.
pub struct Client {
    stop: Arc<AtomicBool>,
    samples: Arc<Mutex<Vec<Sample>>>,
    pacer: JoinHandle<()>,
}

/// What a client saw.
pub struct Figures {
    pub requests: usize,
    pub failed: usize,
    /// Longest time without a successful answer, less the period.
    pub outage: Duration,
    /// 99th percentile of the successful answers' time.
    pub p99: Duration,
    pub first_error: Option<String>,
}

impl Client {
    /// Starts asking; the certificates in `ca` (PEM) are the only ones trusted.
    pub fn start(address: SocketAddr, ca: &[u8]) -> Self {
        let mut roots = RootCertStore::empty();
        for certificate in CertificateDer::pem_slice_iter(ca) {
            roots
                .add(certificate.expect("a certificate"))
                .expect("a CA certificate");
        }
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let config = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .expect("TLS versions")
            .with_root_certificates(roots)
            .with_no_client_auth();
        let (config, stop, samples) = (
            Arc::new(config),
            Arc::new(AtomicBool::new(false)),
            Arc::default(),
        );
        let pacer = std::thread::spawn({
            let (stop, samples) = (Arc::clone(&stop), Arc::clone(&samples));
            move || pace(address, &config, &stop, &samples)
        });
        Self {
            stop,
            samples,
            pacer,
        }
    }

    /// Stops asking, waits for the last answers and gives the figures.
    pub fn stop(self) -> Figures {
        self.stop.store(true, Ordering::Relaxed);
        self.pacer.join().expect("the client does not panic");
        let mut samples = std::mem::take(&mut *self.samples.lock().expect("not poisoned"));
        samples.sort_by_key(|sample| sample.ended);
        Figures::of(&samples)
    }
}

fn pace(
    address: SocketAddr,
    config: &Arc<ClientConfig>,
    stop: &Arc<AtomicBool>,
    samples: &Arc<Mutex<Vec<Sample>>>,
) {
    let start = Instant::now();
    let mut requests = Vec::new();
    for number in 0_u32.. {
        if stop.load(Ordering::Relaxed) {
            break;
        }
        let (config, samples) = (Arc::clone(config), Arc::clone(samples));
        requests.push(std::thread::spawn(move || {
            let began = start.elapsed();
            let error = ask(address, config).err();
            let sample = Sample {
                began,
                ended: start.elapsed(),
                error,
            };
            samples.lock().expect("not poisoned").push(sample);
        }));
        std::thread::sleep((PERIOD * (number + 1)).saturating_sub(start.elapsed()));
    }
    for request in requests {
        request.join().expect("a request does not panic");
    }
}

fn ask(address: SocketAddr, config: Arc<ClientConfig>) -> Result<(), String> {
    let text = |error: &dyn std::fmt::Display| error.to_string();
    let mut socket =
        TcpStream::connect_timeout(&address, PATIENCE).map_err(|error| text(&error))?;
    socket
        .set_read_timeout(Some(PATIENCE))
        .map_err(|error| text(&error))?;
    socket
        .set_write_timeout(Some(PATIENCE))
        .map_err(|error| text(&error))?;
    let name = ServerName::from(address.ip());
    let mut session = ClientConnection::new(config, name).map_err(|error| text(&error))?;
    session
        .complete_io(&mut socket)
        .map_err(|error| text(&error))?;
    let mut stream = StreamOwned::new(session, socket);
    stream
        .write_all(b"GET /readyz HTTP/1.1\r\nHost: kubernetes\r\nConnection: close\r\n\r\n")
        .map_err(|error| text(&error))?;
    let mut answer = Vec::new();
    let ended = stream.read_to_end(&mut answer);
    if answer.starts_with(b"HTTP/1.1 200") {
        return Ok(());
    }
    if answer.is_empty() {
        ended.map_err(|error| text(&error))?;
    }
    let answer = String::from_utf8_lossy(&answer);
    // The status, and what of the apiserver is not ready.
    let says = |line: &&str| line.starts_with("HTTP/") || line.starts_with("[-]");
    Err(answer.lines().filter(says).collect::<Vec<_>>().join(" "))
}

impl Figures {
    fn of(samples: &[Sample]) -> Self {
        let answered: Vec<&Sample> = samples
            .iter()
            .filter(|sample| sample.error.is_none())
            .collect();
        let gap = |pair: &[&Sample]| pair[1].ended.checked_sub(pair[0].ended).unwrap();
        let mut times: Vec<Duration> = answered
            .iter()
            .map(|sample| sample.ended.checked_sub(sample.began).unwrap())
            .collect();
        times.sort();
        Self {
            requests: samples.len(),
            failed: samples.len() - answered.len(),
            outage: answered
                .windows(2)
                .map(gap)
                .max()
                .unwrap_or(Duration::MAX)
                .saturating_sub(PERIOD),
            p99: times
                .get(times.len() * 99 / 100)
                .copied()
                .unwrap_or(Duration::MAX),
            first_error: samples.iter().find_map(|sample| sample.error.clone()),
        }
    }
}

impl std::fmt::Display for Figures {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let ms = |duration: Duration| duration.as_millis();
        write!(
            f,
            "outage {} ms, {} of {} requests failed, p99 {} ms",
            ms(self.outage),
            self.failed,
            self.requests,
            ms(self.p99)
        )?;
        self.first_error
            .iter()
            .try_for_each(|error| write!(f, ", first error: {error}"))
    }
}
