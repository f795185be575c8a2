//! Certificates: just enough DER that readers of certificates accept them. Nothing in them is signed.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use sha2::{Digest as _, Sha256};

/// `1.2.840.10045.2.1` with curve `1.2.840.10045.3.1.7`.
const EC_KEY: &[u8] = &[
    0x30, 0x13, 0x06, 0x07, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x02, 0x01, 0x06, 0x08, 0x2a, 0x86, 0x48,
    0xce, 0x3d, 0x03, 0x01, 0x07,
];
/// `1.2.840.10045.4.3.2`, ecdsa-with-SHA256.
const EC_SHA256: &[u8] = &[
    0x30, 0x0a, 0x06, 0x08, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x04, 0x03, 0x02,
];
const COMMON_NAME: &[u8] = &[0x06, 0x03, 0x55, 0x04, 0x03];
const ALT_NAMES: &[u8] = &[0x06, 0x03, 0x55, 0x1d, 0x11];

const SEQUENCE: u8 = 0x30;
const SET: u8 = 0x31;

/// What a certificate says.
#[derive(Debug, Clone)]
pub(super) struct Certificate<'a> {
    /// Subject's common name.
    pub(super) subject: &'a str,
    /// Issuer's common name.
    pub(super) issuer: &'a str,
    /// What its key is made of: equal seeds, equal keys.
    pub(super) key: &'a str,
    /// Names and addresses it is good for.
    pub(super) alt_names: &'a [String],
}

impl Certificate<'_> {
    /// As a PEM file.
    pub(super) fn pem(&self) -> String {
        let text = STANDARD.encode(self.der());
        let lines = text.as_bytes().chunks(64);
        let body: String = lines
            .map(|line| format!("{}\n", String::from_utf8_lossy(line)))
            .collect();
        format!("-----BEGIN CERTIFICATE-----\n{body}-----END CERTIFICATE-----\n")
    }

    fn der(&self) -> Vec<u8> {
        let serial = Sha256::digest(self.key);
        let serial = [&[1], serial.get(..7).unwrap_or_default()].concat();
        let body = [
            element(0xa0, &element(0x02, &[2])),
            element(0x02, &serial),
            EC_SHA256.to_vec(),
            name(self.issuer),
            validity(),
            name(self.subject),
            self.public_key(),
            self.extensions(),
        ];
        let signature = element(0x03, &[0; 9]);
        element(
            SEQUENCE,
            &[
                element(SEQUENCE, &body.concat()),
                EC_SHA256.to_vec(),
                signature,
            ]
            .concat(),
        )
    }

    fn public_key(&self) -> Vec<u8> {
        let digest = Sha256::digest(self.key);
        let bits = [&[0, 4], digest.as_slice(), digest.as_slice()].concat();
        element(SEQUENCE, &[EC_KEY.to_vec(), element(0x03, &bits)].concat())
    }

    fn extensions(&self) -> Vec<u8> {
        if self.alt_names.is_empty() {
            return Vec::new();
        }
        let names: Vec<u8> = self
            .alt_names
            .iter()
            .flat_map(|name| alt_name(name))
            .collect();
        let value = element(0x04, &element(SEQUENCE, &names));
        let extension = element(SEQUENCE, &[ALT_NAMES.to_vec(), value].concat());
        element(0xa3, &element(SEQUENCE, &extension))
    }
}

fn alt_name(name: &str) -> Vec<u8> {
    match name.parse::<std::net::Ipv4Addr>() {
        Ok(address) => element(0x87, &address.octets()),
        Err(_) => element(0x82, name.as_bytes()),
    }
}

fn name(common: &str) -> Vec<u8> {
    let pair = [COMMON_NAME.to_vec(), element(0x0c, common.as_bytes())].concat();
    element(SEQUENCE, &element(SET, &element(SEQUENCE, &pair)))
}

/// 2020 to 2049, longer than any test's clock.
fn validity() -> Vec<u8> {
    let times = [
        element(0x17, b"200101000000Z"),
        element(0x17, b"491231235959Z"),
    ];
    element(SEQUENCE, &times.concat())
}

fn element(tag: u8, content: &[u8]) -> Vec<u8> {
    let length = content.len();
    let bytes = length.to_be_bytes();
    let significant: Vec<u8> = bytes
        .iter()
        .copied()
        .skip_while(|byte| *byte == 0)
        .collect();
    let mut der = vec![tag];
    match u8::try_from(length) {
        Ok(short) if short < 128 => der.push(short),
        _ => {
            der.push(0x80 | u8::try_from(significant.len()).unwrap_or(8));
            der.extend(significant);
        }
    }
    der.extend_from_slice(content);
    der
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_reads_as_a_certificate_with_its_names() {
        let pem = Certificate {
            subject: "kube-apiserver",
            issuer: "kubernetes",
            key: "a",
            alt_names: &["master1".to_owned(), "10.1.1.100".to_owned()],
        }
        .pem();
        let (_, block) = x509_parser::pem::parse_x509_pem(pem.as_bytes()).expect("PEM");
        let certificate = block.parse_x509().expect("X.509");
        let names = certificate
            .subject_alternative_name()
            .expect("valid")
            .expect("there");
        assert_eq!(names.value.general_names.len(), 2);
        assert!(certificate.subject().to_string().contains("kube-apiserver"));
    }
}
