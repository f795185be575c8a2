//! Which hosts a lab has and where they live: pure arithmetic over one /24.

use std::fmt;
use std::net::Ipv4Addr;
use std::str::FromStr;

use ipnetwork::Ipv4Network;
use serde::{Deserialize, Serialize};

use super::error::LabError;

/// A lab's name: part of interface, cgroup and directory names, so short and plain.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct LabName(String);

impl LabName {
    /// The name as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl Default for LabName {
    fn default() -> Self {
        Self("lab".into())
    }
}

impl FromStr for LabName {
    type Err = LabError;

    fn from_str(name: &str) -> Result<Self, LabError> {
        let plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
        let good = name.len() <= 20
            && name.starts_with(|c: char| c.is_ascii_lowercase())
            && !name.ends_with('-')
            && name.chars().all(plain);
        if good {
            Ok(Self(name.to_owned()))
        } else {
            Err(LabError::Name {
                name: name.to_owned(),
            })
        }
    }
}

impl TryFrom<String> for LabName {
    type Error = LabError;

    fn try_from(name: String) -> Result<Self, LabError> {
        name.parse()
    }
}

impl From<LabName> for String {
    fn from(name: LabName) -> Self {
        name.0
    }
}

impl fmt::Display for LabName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// One of the 256 networks 10.77.N.0/24, each enough for one lab.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Subnet(pub u8);

impl Subnet {
    /// The lowest one that overlaps none of the networks in use.
    #[must_use]
    pub fn first_free(taken: &[Ipv4Network]) -> Option<Self> {
        (0..=u8::MAX)
            .map(Self)
            .find(|subnet| !taken.iter().any(|other| overlap(subnet.network(), *other)))
    }

    /// The network itself.
    #[must_use]
    pub fn network(self) -> Ipv4Network {
        Ipv4Network::new(self.address(0), 24).expect("24 is a prefix length")
    }

    /// An address in it.
    #[must_use]
    pub fn address(self, last: u8) -> Ipv4Addr {
        Ipv4Addr::new(10, 77, self.0, last)
    }

    /// The bridge's own address, where the package repository and the registry listen.
    #[must_use]
    pub fn gateway(self) -> Ipv4Addr {
        self.address(1)
    }

    /// The cluster's virtual address.
    #[must_use]
    pub fn vip(self) -> Ipv4Addr {
        self.address(100)
    }

    /// The bridge's name.
    #[must_use]
    pub fn bridge(self) -> String {
        format!("qr-{}", self.0)
    }
}

fn overlap(one: Ipv4Network, other: Ipv4Network) -> bool {
    one.contains(other.network()) || other.contains(one.network())
}

/// What a lab host is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum HostRole {
    /// A load balancer, `lb1`.
    Lb,
    /// A master, `master1`.
    Master,
    /// A worker, `worker1`.
    Worker,
}

impl HostRole {
    /// The stem of its hosts' names.
    #[must_use]
    pub fn stem(self) -> &'static str {
        match self {
            Self::Lb => "lb",
            Self::Master => "master",
            Self::Worker => "worker",
        }
    }

    /// Host number 1 has the address after this one.
    fn base(self) -> u8 {
        match self {
            Self::Lb => 10,
            Self::Master => 100,
            Self::Worker => 200,
        }
    }

    /// How many the address plan has room for.
    fn most(self) -> u8 {
        match self {
            Self::Lb | Self::Master => 9,
            Self::Worker => 50,
        }
    }

    fn plural(self) -> &'static str {
        match self {
            Self::Lb => "load balancers",
            Self::Master => "masters",
            Self::Worker => "workers",
        }
    }
}

/// How many hosts of each kind a lab has.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Topology {
    /// Load balancers.
    pub lbs: u8,
    /// Masters.
    pub masters: u8,
    /// Workers.
    pub workers: u8,
}

impl Default for Topology {
    fn default() -> Self {
        Self {
            lbs: 2,
            masters: 3,
            workers: 1,
        }
    }
}

impl Topology {
    /// Refuses counts that the address plan has no room for.
    pub fn check(self) -> Result<(), LabError> {
        for (role, count) in self.counts() {
            let fewest = u8::from(role == HostRole::Master);
            if !(fewest..=role.most()).contains(&count) {
                return Err(LabError::Topology {
                    role: role.plural(),
                    most: role.most(),
                    asked: count,
                });
            }
        }
        Ok(())
    }

    /// All hosts, load balancers first, with their addresses.
    #[must_use]
    pub fn hosts(self, subnet: Subnet) -> Vec<Host> {
        self.counts()
            .into_iter()
            .flat_map(|(role, count)| (1..=count).map(move |number| (role, number)))
            .enumerate()
            .map(|(index, (role, number))| Host {
                name: format!("{}{number}", role.stem()),
                role,
                address: subnet.address(role.base() + number),
                interface: format!("qr{}v{index}", subnet.0),
            })
            .collect()
    }

    fn counts(self) -> [(HostRole, u8); 3] {
        [
            (HostRole::Lb, self.lbs),
            (HostRole::Master, self.masters),
            (HostRole::Worker, self.workers),
        ]
    }
}

/// One lab host.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Host {
    /// Its name, also inside.
    pub name: String,
    /// What it is for.
    pub role: HostRole,
    /// Its address.
    pub address: Ipv4Addr,
    /// The computer's end of its cable; the host's own end is `eth0`.
    pub interface: String,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn takes_the_lowest_subnet_that_nobody_uses() {
        let taken = ["10.77.0.0/24", "10.77.1.7/32", "192.168.0.0/16"]
            .map(|net| net.parse().expect("a network"));
        assert_eq!(Subnet::first_free(&taken), Some(Subnet(2)));
    }

    #[test]
    fn sees_that_a_wide_route_takes_every_subnet() {
        assert_eq!(
            Subnet::first_free(&["10.64.0.0/10".parse().expect("a network")]),
            None
        );
    }

    #[test]
    fn gives_each_role_its_own_range_of_addresses() {
        let hosts = Topology::default().hosts(Subnet(3));
        let seen: Vec<_> = hosts
            .iter()
            .map(|h| format!("{} {} {}", h.name, h.address, h.interface))
            .collect();
        assert_eq!(
            seen,
            [
                "lb1 10.77.3.11 qr3v0",
                "lb2 10.77.3.12 qr3v1",
                "master1 10.77.3.101 qr3v2",
                "master2 10.77.3.102 qr3v3",
                "master3 10.77.3.103 qr3v4",
                "worker1 10.77.3.201 qr3v5",
            ]
        );
    }

    #[test]
    fn refuses_counts_that_the_address_plan_has_no_room_for() {
        assert!(
            Topology {
                lbs: 0,
                masters: 1,
                workers: 0
            }
            .check()
            .is_ok()
        );
        assert!(
            Topology {
                masters: 0,
                ..Topology::default()
            }
            .check()
            .is_err()
        );
        assert!(
            Topology {
                workers: 51,
                ..Topology::default()
            }
            .check()
            .is_err()
        );
    }

    #[test]
    fn interface_names_fit_into_fifteen_bytes() {
        let widest = Topology {
            lbs: 9,
            masters: 9,
            workers: 50,
        }
        .hosts(Subnet(255));
        assert!(widest.iter().all(|host| host.interface.len() <= 15));
    }

    #[test]
    fn refuses_names_that_would_not_fit_into_paths_and_interfaces() {
        for bad in [
            "",
            "Lab",
            "1st",
            "a/b",
            "a.b",
            "lab-",
            "a-name-of-more-than-twenty",
        ] {
            assert!(bad.parse::<LabName>().is_err(), "{bad}");
        }
        assert!("e2e-7".parse::<LabName>().is_ok());
    }
}
