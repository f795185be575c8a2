//! The cluster's certificate authority, as its certificate shows it. Pure.

use x509_parser::pem::parse_x509_pem;

use crate::inventory::EtcdTopology;

/// The files that all masters share, below `/etc/kubernetes/pki`: the CAs and the key pair of service accounts. What no control
/// plane can be brought back without.
pub const SHARED_PKI: [&str; 8] = [
    "ca.crt",
    "ca.key",
    "sa.pub",
    "sa.key",
    "front-proxy-ca.crt",
    "front-proxy-ca.key",
    "etcd/ca.crt",
    "etcd/ca.key",
];

/// Those of [`SHARED_PKI`] that a topology of etcd has: etcd's own CA is among them only where kubeadm makes the members.
#[must_use]
pub fn shared_pki(topology: &EtcdTopology) -> &'static [&'static str] {
    match topology {
        EtcdTopology::Stacked => &SHARED_PKI,
        EtcdTopology::External(_) => SHARED_PKI.split_at(SHARED_PKI.len() - 2).0,
    }
}

/// A CA: who it is and its certificate.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ca {
    /// `sha256:<hex>` of its public key, as kubeadm's `caCertHashes` wants it; two certificates of one key are one CA.
    pub hash: String,
    /// The certificate, PEM.
    pub pem: String,
}

impl Ca {
    /// Reads a certificate; `None` if it is not one.
    #[must_use]
    pub fn parse(pem: &str) -> Option<Self> {
        let (_, block) = parse_x509_pem(pem.as_bytes()).ok()?;
        let certificate = block.parse_x509().ok()?;
        let hash = crate::text::sha256(certificate.public_key().raw);
        Some(Self {
            hash: format!("sha256:{hash}"),
            pem: pem.to_owned(),
        })
    }

    /// Whether it is the same authority.
    #[must_use]
    pub fn is(&self, other: &Self) -> bool {
        self.hash == other.hash
    }

    /// The beginning of its hash, for messages.
    #[must_use]
    pub fn short(&self) -> &str {
        self.hash.get(..19).unwrap_or(&self.hash)
    }
}

/// CA certificates for tests.
#[cfg(test)]
pub(crate) mod samples {
    /// A CA.
    pub const ONE: &str = include_str!("testdata/one.crt");
    /// Another one.
    pub const OTHER: &str = include_str!("testdata/other.crt");
    /// What `openssl` says is the hash of [`ONE`].
    pub const ONE_HASH: &str = include_str!("testdata/one.hash");
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests")]
    use super::*;

    #[test]
    fn the_hash_is_the_one_that_kubeadm_documents() {
        assert_eq!(
            Ca::parse(samples::ONE).unwrap().hash,
            format!("sha256:{}", samples::ONE_HASH.trim())
        );
    }

    #[test]
    fn another_ca_is_another() {
        let (one, other) = (Ca::parse(samples::ONE), Ca::parse(samples::OTHER));
        assert!(!one.unwrap().is(&other.unwrap()));
    }

    #[test]
    fn half_a_certificate_is_none() {
        assert_eq!(Ca::parse(&samples::ONE[..200]), None);
        assert_eq!(Ca::parse(""), None);
    }
}
