//! Certificates and when they expire. Pure, but for the script that reads them.
//!
//! The certificates are read themselves rather than asked of `kubeadm certs check-expiration`: that needs a kubeadm from
//! 1.20 on, prints JSON from 1.30 on only, falls back to defaults while the API is down, and leaves out kubelet's.

use std::collections::BTreeSet;

use jiff::Timestamp;
use x509_parser::extensions::GeneralName;
use x509_parser::pem::{Pem, parse_x509_pem};

use crate::host::command::Script;

/// Certificates only: kubelet's file and the kubeconfigs hold private keys too, which never leave the host.
const BODY: &str = r#"
for file in /etc/kubernetes/pki/*.crt /etc/kubernetes/pki/etcd/*.crt /etc/etcd/pki/*.crt \
    /etc/kubernetes/quorate/etcd/*.crt /var/lib/kubelet/pki/kubelet-client-current.pem \
    /var/lib/kubelet/pki/kubelet.crt /etc/haproxy/kubernetes-ca.crt; do
    [ -r "$file" ] || continue
    echo "== $file"
    sed -n '/-BEGIN CERTIFICATE-/,/-END CERTIFICATE-/p' "$file"
done
for name in admin super-admin controller-manager scheduler kubelet; do
    file=/etc/kubernetes/$name.conf
    [ -r "$file" ] || continue
    data=$(sed -n 's/^ *client-certificate-data: *//p' "$file" | head -n 1)
    [ -n "$data" ] || continue
    echo "== $file"
    printf '%s' "$data" | base64 -d
done
exit 0
"#;

/// Prints every certificate of a host, each after a line `== <file>`.
#[must_use]
pub fn script() -> Script {
    Script::new("certificates", BODY)
}

/// A certificate in a file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Certificate {
    /// The file, a kubeconfig for those that are embedded in one.
    pub file: String,
    /// Its subject, `CN = kube-apiserver`.
    pub subject: String,
    /// Whether it is a CA's.
    pub is_ca: bool,
    /// Not valid before.
    pub not_before: Timestamp,
    /// Not valid after.
    pub not_after: Timestamp,
}

impl Certificate {
    /// Whole days until it expires; negative: since.
    #[must_use]
    pub fn days_left(&self, now: Timestamp) -> i64 {
        (self.not_after.as_second() - now.as_second()).div_euclid(24 * 60 * 60)
    }

    /// Whether something renews it by itself: kubelet's client certificate, by kubelet.
    #[must_use]
    pub fn renews_itself(&self) -> bool {
        self.file.ends_with("/kubelet-client-current.pem")
    }
}

/// Reads what the script printed: the first certificate of each file, which is the leaf. What is no certificate is left out.
#[must_use]
pub fn parse(text: &str) -> Vec<Certificate> {
    text.split("== ")
        .filter_map(|part| {
            let (file, pem) = part.split_once('\n')?;
            certificate(file.trim(), pem)
        })
        .collect()
}

fn certificate(file: &str, pem: &str) -> Option<Certificate> {
    let block = Pem::iter_from_buffer(pem.as_bytes()).next()?.ok()?;
    let certificate = block.parse_x509().ok()?;
    let validity = certificate.validity();
    Some(Certificate {
        file: file.to_owned(),
        subject: certificate.subject().to_string(),
        is_ca: certificate.is_ca(),
        not_before: Timestamp::from_second(validity.not_before.timestamp()).ok()?,
        not_after: Timestamp::from_second(validity.not_after.timestamp()).ok()?,
    })
}

/// Names and addresses in a certificate; none if it is not one.
#[must_use]
pub fn names(pem: &str) -> BTreeSet<String> {
    let Ok((_, block)) = parse_x509_pem(pem.as_bytes()) else {
        return BTreeSet::new();
    };
    let Ok(certificate) = block.parse_x509() else {
        return BTreeSet::new();
    };
    let Ok(Some(names)) = certificate.subject_alternative_name() else {
        return BTreeSet::new();
    };
    names.value.general_names.iter().filter_map(name).collect()
}

fn name(name: &GeneralName<'_>) -> Option<String> {
    match name {
        GeneralName::DNSName(name) => Some((*name).to_owned()),
        GeneralName::IPAddress(bytes) => match bytes.len() {
            4 => <[u8; 4]>::try_from(*bytes)
                .ok()
                .map(|bytes| std::net::Ipv4Addr::from(bytes).to_string()),
            _ => <[u8; 16]>::try_from(*bytes)
                .ok()
                .map(|bytes| std::net::Ipv6Addr::from(bytes).to_string()),
        },
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, clippy::indexing_slicing, reason = "tests")]
    use super::*;
    use crate::cluster::ca::samples::{ONE, OTHER};
    use crate::testing::torture::{torture, torture_text};

    #[test]
    fn certificates_are_told_apart_by_their_files() {
        let text = format!(
            "== /etc/kubernetes/pki/ca.crt\n{ONE}== /etc/kubernetes/admin.conf\n{OTHER}\n== /etc/kubernetes/pki/odd.crt\nno certificate\n"
        );
        let certificates = parse(&text);
        let files: Vec<&str> = certificates.iter().map(|it| it.file.as_str()).collect();
        assert_eq!(
            files,
            ["/etc/kubernetes/pki/ca.crt", "/etc/kubernetes/admin.conf"]
        );
        assert!(certificates[0].is_ca);
        assert!(certificates[0].subject.starts_with("CN="));
        assert!(certificates[0].not_before < certificates[0].not_after);
    }

    #[test]
    fn days_are_whole_and_go_below_zero() {
        let certificate = Certificate {
            not_after: "2026-12-01T00:00:00Z".parse().unwrap(),
            ..parse(&format!("== a\n{ONE}")).remove(0)
        };
        for (now, days) in [
            ("2026-11-21T00:00:00Z", 10),
            ("2026-11-30T12:00:00Z", 0),
            ("2026-12-01T00:00:01Z", -1),
        ] {
            assert_eq!(certificate.days_left(now.parse().unwrap()), days, "{now}");
        }
    }

    #[test]
    fn the_script_prints_certificates_and_no_keys() {
        assert!(!BODY.contains("cat "), "sed picks the certificates out");
        assert!(!BODY.contains("client-key"));
    }

    #[test]
    fn no_certificate_makes_the_parser_panic() {
        let one = format!("== a\n{ONE}");
        torture_text("certificates", &[&one], |text| {
            let _ = parse(text);
        });
        // Past the armour: what is wrong is in the DER.
        let der = pem_body(ONE);
        torture("certificates, inside", &[&der], |bytes| {
            let body = base64::Engine::encode(&base64::engine::general_purpose::STANDARD, bytes);
            let _ = parse(&format!(
                "== a\n-----BEGIN CERTIFICATE-----\n{body}\n-----END CERTIFICATE-----\n"
            ));
        });
    }

    fn pem_body(pem: &str) -> Vec<u8> {
        let lines: String = pem.lines().filter(|line| !line.starts_with('-')).collect();
        base64::Engine::decode(&base64::engine::general_purpose::STANDARD, lines).unwrap()
    }
}
