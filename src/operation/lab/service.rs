//! What a lab shares on its bridge: Debian-style package repository and image registry, read from the cache.

use std::net::{SocketAddr, TcpStream};
use std::process::Command;
use std::time::Duration;

use camino::Utf8PathBuf;
use fs_err as fs;

use super::artifacts::{Artifact, get};
use super::cgroup::Cgroup;
use super::error::LabError;
use super::gate;
use super::record::{Process, Record, Service};
use super::tool::wait_for;

/// Where the package repository listens.
pub(super) const PACKAGES_PORT: u16 = 8080;
/// Where the registry listens.
pub(super) const REGISTRY_PORT: u16 = 5000;
/// The member of the lab's cgroups that services live in; no host is called so.
const CGROUP: &str = "services";
const UP_WITHIN: Duration = Duration::from_secs(30);

/// What `up` serves.
#[derive(Debug, Clone)]
pub(super) struct Stock {
    packages: Utf8PathBuf,
    images: Utf8PathBuf,
}

impl Stock {
    /// Builds or finds packages and images.
    pub(super) fn prepare() -> Result<Self, LabError> {
        Ok(Self {
            images: get(Artifact::Images)?,
            packages: get(Artifact::Packages)?,
        })
    }

    /// The key that signs the packages.
    pub(super) fn key(&self) -> Utf8PathBuf {
        self.packages.join("kubernetes.asc")
    }
}

/// Starts both services and waits until they listen.
pub(super) fn start(record: &Record, stock: &Stock) -> Result<Vec<Service>, LabError> {
    let services = vec![
        serve(
            record,
            "packages",
            PACKAGES_PORT,
            &mut packages(record, stock),
        )?,
        serve(
            record,
            "registry",
            REGISTRY_PORT,
            &mut registry(record, stock)?,
        )?,
    ];
    Ok(services)
}

fn packages(record: &Record, stock: &Stock) -> Command {
    let mut gate = gate::command();
    gate.args([
        "setsid",
        "python3",
        "-m",
        "http.server",
        "--bind",
        &record.subnet.gateway().to_string(),
        "--directory",
    ])
    .arg(stock.packages.join("repository"))
    .arg(PACKAGES_PORT.to_string());
    gate
}

fn registry(record: &Record, stock: &Stock) -> Result<Command, LabError> {
    let path = Record::directory(&record.name).join("registry.yaml");
    let address = format!("{}:{REGISTRY_PORT}", record.subnet.gateway());
    fs::write(&path, registry_config(&address, &stock.images))
        .map_err(LabError::file("write", &path))?;
    let mut gate = gate::command();
    gate.arg("setsid")
        .arg(stock.images.join("bin/docker-registry"))
        .args(["serve", path.as_str()]);
    Ok(gate)
}

/// Read-only, because all labs of the computer share one storage.
fn registry_config(address: &str, images: &camino::Utf8Path) -> String {
    format!(
        "version: 0.1\nlog: {{ level: warn }}\nhttp: {{ addr: '{address}' }}\nstorage:\n  filesystem: {{ rootdirectory: {images}/registry }}\n  maintenance:\n    readonly: {{ enabled: true }}\n"
    )
}

fn serve(record: &Record, name: &str, port: u16, gate: &mut Command) -> Result<Service, LabError> {
    let path = Record::directory(&record.name).join(format!("{name}.log"));
    let log = fs::File::create(&path)
        .map_err(LabError::file("create", &path))?
        .into_file();
    let err = log.try_clone().map_err(LabError::file("open", &path))?;
    gate.stdout(log).stderr(err);
    let process = Process::of(&gate::open(&Cgroup::of(&record.name, CGROUP), gate, name)?);
    let address = SocketAddr::from((record.subnet.gateway(), port));
    wait_for(
        &format!("the {name} service did not answer on {address}"),
        UP_WITHIN,
        || {
            if !process.is_alive() {
                return Err(format!("it ended, see {path}"));
            }
            TcpStream::connect(address)
                .map(drop)
                .map_err(|error| error.to_string())
        },
    )?;
    Ok(Service {
        name: name.to_owned(),
        process,
    })
}
