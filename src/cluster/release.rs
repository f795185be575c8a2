//! Which release of Kubernetes a master or worker runs, and what an upgrade has left on it, in one script.

use std::collections::BTreeMap;

use super::pod::Pod;
use super::report::{Answer, ask};
use crate::host::command::Script;
use crate::host::probe::{Probe, Readings};
use crate::inventory::version::KubeVersion;
use crate::inventory::{Inventory, Node, PackageSource};

/// The packages of a release.
pub const PACKAGES: [&str; 3] = ["kubeadm", "kubelet", "kubectl"];

/// The components of a control plane whose images carry the release.
pub const COMPONENTS: [&str; 3] = [
    "kube-apiserver",
    "kube-controller-manager",
    "kube-scheduler",
];

/// `$1`: Node name, `$2`: address.
const BODY: &str = concat!(
    r#"
name=$1 address=$2
kubernetes=/etc/kubernetes pki=/etc/kubernetes/pki quorate=/etc/kubernetes/quorate
for mark in upgrading upgraded; do
    [ ! -e $quorate/$mark ] || echo "$mark $(head -n 1 $quorate/$mark)"
done
for component in etcd kube-apiserver kube-controller-manager kube-scheduler; do
    manifest=$kubernetes/manifests/$component.yaml
    [ ! -e $manifest ] || echo "manifest $component $(sed -n 's/^ *image: *//p' $manifest | head -n 1)"
done
for left in $kubernetes/tmp/*; do
    [ ! -e "$left" ] || echo "leftover $left"
done
if [ -d /var/lib/etcd/member ]; then
    echo "etcd-space $(df -Pk $kubernetes | awk 'NR == 2 { print $4 }') $(du -sk /var/lib/etcd | cut -f 1)"
fi
for file in /etc/default/kubelet /etc/sysconfig/kubelet; do
    [ ! -e $file ] || echo "kubelet-flags $(sed -n 's/^KUBELET_EXTRA_ARGS=//p' $file | tail -n 1)"
done
command -v curl >/dev/null 2>&1 || exit 0
"#,
    ask!(),
    r#"set --
if [ -e $kubernetes/manifests/kube-apiserver.yaml ]; then
    set -- $(key version) --cacert $pki/ca.crt "https://$address:6443/version"
    next=--next
fi
credential=/var/lib/kubelet/pki/kubelet-client-current.pem
if [ -e $credential ] && [ -e $kubernetes/kubelet.conf ]; then
    server=$(sed -n '/^ *server: */{s///p;q;}' $kubernetes/kubelet.conf)
    set -- "$@" $next $(key pods) --cacert $pki/ca.crt --cert $credential --key $credential "$server/api/v1/pods?fieldSelector=spec.nodeName%3D$name"
fi
ask "$@"
exit 0
"#
);

/// The probe of a host's release.
#[must_use]
pub fn script(node: &Node) -> Script {
    Script::new("kubernetes-release", BODY)
        .arg(&node.name)
        .arg(node.address.to_string())
}

/// Everything of a host's release that is read.
#[must_use]
pub fn probes(inventory: &Inventory, node: &Node) -> Vec<Probe> {
    let packages = PACKAGES
        .iter()
        .map(|name| Probe::Package((*name).to_owned()));
    let packages: Vec<Probe> = match inventory.packages {
        PackageSource::Preinstalled => Vec::new(),
        PackageSource::Upstream | PackageSource::Mirror { .. } => packages.collect(),
    };
    std::iter::once(Probe::Script(script(node)))
        .chain(packages)
        .collect()
}

/// The package of a release that hosts of an external etcd have, with which its certificates are made.
const TOOL: &str = "kubeadm";

/// What is read of the release on a host that is no Node.
#[must_use]
pub fn tool_probes(inventory: &Inventory) -> Vec<Probe> {
    match inventory.packages {
        PackageSource::Preinstalled => Vec::new(),
        PackageSource::Upstream | PackageSource::Mirror { .. } => {
            vec![Probe::Package(TOOL.to_owned())]
        }
    }
}

/// What on a host that is no Node is not of that release, in words.
#[must_use]
pub fn tool_difference(
    inventory: &Inventory,
    readings: &Readings,
    target: KubeVersion,
) -> Option<String> {
    if inventory.packages == PackageSource::Preinstalled {
        return None;
    }
    let package = readings.package(TOOL).ok();
    let version = package.and_then(|package| KubeVersion::find(package.version.as_deref()?));
    let seen = || version.map_or("not known".to_owned(), |version| version.to_string());
    (version != Some(target)).then(|| format!("package {TOOL} is {}", seen()))
}

/// What was read.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Release {
    /// The release that a `kubeadm upgrade` of quorate, which has not ended well, was to bring.
    pub upgrading: Option<KubeVersion>,
    /// The release that the last `kubeadm upgrade` of quorate brought; forgotten once all is done.
    pub upgraded: Option<KubeVersion>,
    /// The image in each static pod's manifest.
    pub manifests: BTreeMap<String, String>,
    /// The release that the own apiserver says.
    pub apiserver: Option<KubeVersion>,
    /// The pods on this node; `None`: they could not be read.
    pub pods: Option<Vec<Pod>>,
    /// What kubeadm's upgrades have left in `/etc/kubernetes/tmp`.
    pub leftovers: Vec<String>,
    /// Free kilobytes where kubeadm copies etcd's data to, and kilobytes of those data.
    pub etcd_space: Option<(u64, u64)>,
    /// kubelet's flags that somebody set by hand.
    pub kubelet_flags: String,
}

impl Release {
    /// Reads the script's output; what is unknown or garbled counts as not said.
    #[must_use]
    pub fn parse(text: &str) -> Self {
        let mut release = Self::default();
        for line in text.lines() {
            let (key, value) = line.split_once(' ').unwrap_or((line, ""));
            match key {
                "upgrading" => {
                    release.upgrading = Some(KubeVersion::find(value).unwrap_or(UNKNOWN));
                }
                "upgraded" => release.upgraded = KubeVersion::find(value),
                "manifest" => {
                    let (component, image) = value.split_once(' ').unwrap_or((value, ""));
                    release
                        .manifests
                        .insert(component.to_owned(), image.to_owned());
                }
                "leftover" => release.leftovers.push(crate::text::escape(value)),
                "etcd-space" => release.etcd_space = pair(value),
                "kubelet-flags" => value.clone_into(&mut release.kubelet_flags),
                "version" => release.apiserver = Answer::of(value).body().and_then(git_version),
                "pods" => release.pods = Answer::of(value).body().and_then(Pod::parse_list),
                _ => {}
            }
        }
        release
    }

    /// The release of a component by its manifest.
    #[must_use]
    pub fn manifest(&self, component: &str) -> Option<KubeVersion> {
        KubeVersion::find(self.manifests.get(component)?)
    }

    /// The mirror pod of a component.
    #[must_use]
    pub fn mirror(&self, component: &str) -> Option<&Pod> {
        let is_it = |pod: &&Pod| {
            pod.kind == super::pod::Kind::Static
                && pod
                    .labels
                    .get("component")
                    .is_some_and(|name| name == component)
        };
        self.pods.iter().flatten().find(is_it)
    }

    /// Those pods of the node that a drain has to make go.
    pub fn leaving(&self) -> impl Iterator<Item = &Pod> {
        self.pods.iter().flatten().filter(|pod| pod.must_leave())
    }
}

/// Stands for a mark whose text was lost: no release is equal to it.
const UNKNOWN: KubeVersion = KubeVersion { minor: 0, patch: 0 };

fn pair(text: &str) -> Option<(u64, u64)> {
    let (first, second) = text.split_once(' ')?;
    Some((first.parse().ok()?, second.parse().ok()?))
}

fn git_version(body: &str) -> Option<KubeVersion> {
    let version: serde_json::Value = serde_json::from_str(body).ok()?;
    KubeVersion::find(version.get("gitVersion")?.as_str()?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn releases_are_read_from_tags_packages_and_answers() {
        let release = Release::parse(
            "upgrading v1.20.3\nmanifest kube-apiserver 10.77.0.1:5000/kube-apiserver:v1.20.2\nmanifest etcd k8s.gcr.io/etcd:3.4.13-0\n\
             leftover /etc/kubernetes/tmp/kubeadm-backup-etcd-1\netcd-space 1000 20\nversion 200 {\"gitVersion\":\"v1.20.2\"}\npods 200 {\"items\":[]}\n",
        );
        let v2 = KubeVersion {
            minor: 20,
            patch: 2,
        };
        assert_eq!(
            release.upgrading,
            Some(KubeVersion {
                minor: 20,
                patch: 3
            })
        );
        assert_eq!(
            (release.manifest("kube-apiserver"), release.apiserver),
            (Some(v2), Some(v2))
        );
        assert_eq!(release.etcd_space, Some((1000, 20)));
        assert_eq!(
            (release.leftovers.len(), release.pods),
            (1, Some(Vec::new()))
        );
        for (text, expected) in [
            ("1.20.2-1.1", Some(v2)),
            ("v1.20.2", Some(v2)),
            ("3.4.13-0", None),
            ("", None),
        ] {
            assert_eq!(KubeVersion::find(text), expected, "{text}");
        }
    }

    #[test]
    fn a_mark_without_text_is_still_a_mark() {
        assert_eq!(Release::parse("upgrading \n").upgrading, Some(UNKNOWN));
    }

    #[test]
    fn the_script_is_posix_shell() {
        let checked = std::process::Command::new("sh")
            .args(["-n", "-c", BODY])
            .status();
        assert!(checked.expect("there is a shell").success());
    }

    proptest! {
        #[test]
        fn garbage_never_panics(text in "(?s).{0,300}") {
            let _ = Release::parse(&text);
        }
    }
}
