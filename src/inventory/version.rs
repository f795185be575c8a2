//! Kubernetes versions and the arithmetic that is allowed on them.

use std::fmt;
use std::str::FromStr;

use serde::{Serialize, Serializer};

/// A released Kubernetes version, `v1.36.2`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct KubeVersion {
    /// The `36` of `v1.36.2`; the major is always 1.
    pub minor: u16,
    /// The `2` of `v1.36.2`.
    pub patch: u16,
}

/// The kubeadm configuration API that a version speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum KubeadmApi {
    /// 1.20 and 1.21.
    V1Beta2,
    /// 1.22 to 1.30.
    V1Beta3,
    /// From 1.31.
    V1Beta4,
}

impl KubeadmApi {
    /// As it stands in `apiVersion` after the slash, and as the folder of its templates.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::V1Beta2 => "v1beta2",
            Self::V1Beta3 => "v1beta3",
            Self::V1Beta4 => "v1beta4",
        }
    }
}

/// Text that is not `vX.Y.Z`.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is not a version of the form v1.36.2")]
pub struct NotAVersion(pub String);

impl KubeVersion {
    /// The kubeadm API to write for this version; `None` below 1.20, which nothing here supports.
    #[must_use]
    pub fn kubeadm_api(self) -> Option<KubeadmApi> {
        match self.minor {
            0..=19 => None,
            20..=21 => Some(KubeadmApi::V1Beta2),
            22..=30 => Some(KubeadmApi::V1Beta3),
            31.. => Some(KubeadmApi::V1Beta4),
        }
    }

    /// `1.36`, as in the names of package repositories.
    #[must_use]
    pub fn minor_text(self) -> String {
        format!("1.{}", self.minor)
    }

    /// The release in the tag of an image, or at the beginning of a package's version.
    #[must_use]
    pub fn find(text: &str) -> Option<Self> {
        let tag = text.rsplit(':').next().unwrap_or(text);
        let plain = tag.split(['-', '+', '@']).next().unwrap_or(tag);
        format!("v{}", plain.trim_start_matches('v')).parse().ok()
    }

    /// `1.36.2`, as package versions begin.
    #[must_use]
    pub fn plain(self) -> String {
        format!("1.{}.{}", self.minor, self.patch)
    }
}

impl fmt::Display for KubeVersion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "v1.{}.{}", self.minor, self.patch)
    }
}

impl FromStr for KubeVersion {
    type Err = NotAVersion;

    fn from_str(text: &str) -> Result<Self, NotAVersion> {
        let wrong = || NotAVersion(text.to_owned());
        let mut parts = text.strip_prefix("v1.").ok_or_else(wrong)?.split('.');
        let mut number = || {
            parts
                .next()
                .filter(|part| is_plain_number(part))
                .and_then(|part| part.parse().ok())
                .ok_or_else(wrong)
        };
        let version = Self {
            minor: number()?,
            patch: number()?,
        };
        if parts.next().is_some() {
            Err(wrong())
        } else {
            Ok(version)
        }
    }
}

impl Serialize for KubeVersion {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

fn is_plain_number(part: &str) -> bool {
    part == "0"
        || (!part.starts_with('0')
            && !part.is_empty()
            && part.bytes().all(|byte| byte.is_ascii_digit()))
}
