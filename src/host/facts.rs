//! The machine itself, as one probe reads it.

use std::net::Ipv4Addr;

use serde::{Deserialize, Serialize};

/// What a host is, in one reading: operating system, resources, clock, addresses, listeners.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Machine {
    /// `ID` of os-release, `debian`.
    pub os_id: String,
    /// `ID_LIKE` of os-release, split.
    pub os_like: Vec<String>,
    /// `VERSION_ID`.
    pub os_version: String,
    /// `PRETTY_NAME`.
    pub os_name: String,
    /// `uname -r`.
    pub kernel: String,
    /// `uname -m`.
    pub architecture: String,
    /// `/etc/machine-id`.
    pub machine_id: String,
    /// `/sys/class/dmi/id/product_uuid`, if readable.
    pub product_uuid: Option<String>,
    /// `uname -n`.
    pub hostname: String,
    /// Online processors.
    pub cpus: u32,
    /// `MemTotal`, bytes.
    pub memory: u64,
    /// Active swap, bytes.
    pub swap: u64,
    /// Free bytes on the file system of `/var/lib`.
    pub disk_free: u64,
    /// Whether `/sys/fs/cgroup` is cgroup v2.
    pub cgroup_v2: bool,
    /// The host's clock when it was read, microseconds since the epoch.
    pub clock_us: u64,
    /// Half the time that the reading took here, microseconds: how wrong the offset may be.
    pub clock_error_us: u64,
    /// The operator's clock at the middle of the reading, microseconds since the epoch.
    pub operator_clock_us: u64,
    /// Kernel's boot id: changes with every boot.
    pub boot_id: String,
    /// Network interfaces.
    pub interfaces: Vec<Interface>,
    /// Listening TCP ports with the process that listens (empty if unknown).
    pub listeners: Vec<Listener>,
    /// Kernel modules that are loaded or built in, with underscores.
    pub modules: Vec<String>,
    /// Running `quorate-*` units: jobs of an earlier run.
    pub jobs: Vec<String>,
    /// PID 1's name: `systemd`.
    pub init: String,
}

/// A network interface.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Interface {
    /// `eth0`.
    pub name: String,
    /// Hardware address, lower case.
    pub mac: String,
    /// IPv4 addresses with prefix length.
    pub addresses: Vec<(Ipv4Addr, u8)>,
}

/// A listening TCP socket.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Listener {
    /// Port.
    pub port: u16,
    /// Process name, empty if unknown.
    pub process: String,
}

impl Machine {
    /// Offset of the host's clock against the operator's, microseconds; positive: the host is ahead.
    #[must_use]
    pub fn clock_offset_us(&self) -> i64 {
        i64::try_from(self.clock_us).unwrap_or(i64::MAX)
            - i64::try_from(self.operator_clock_us).unwrap_or(i64::MAX)
    }

    /// Whether some interface holds the address.
    #[must_use]
    pub fn holds(&self, address: Ipv4Addr) -> bool {
        self.interface_of(address).is_some()
    }

    /// The interface that holds the address.
    #[must_use]
    pub fn interface_of(&self, address: Ipv4Addr) -> Option<&Interface> {
        self.interfaces
            .iter()
            .find(|interface| interface.addresses.iter().any(|(held, _)| *held == address))
    }
}
