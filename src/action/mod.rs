//! What can be made true on a host.
//!
//! Reading is split from judging: [`Action::probes`] names what must be read, the engine reads the probes of *all* tasks of a
//! host in one round trip, and [`Action::check`] is a pure function over the answers. `quorate plan` prints what `check`
//! found; the engine acts on it. So a dry run is the same code as the run, and a run that changes nothing costs one round
//! trip per host whatever the number of tasks.

pub(crate) mod job;
pub(crate) mod remote_file;

pub(crate) use etcd_packages::{
    is_release as is_etcd_release, lacking as etcd_lacking, others as etcd_others,
};
pub use kubeconfig::{ADMIN_CONF, keep_kubeconfig};
pub(crate) use kubernetes_repository::url as repository_url;
pub use node_drain::{BarePods, Blocked};

use std::collections::{BTreeMap, BTreeSet};
use std::future::Future;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use camino::{Utf8Path, Utf8PathBuf};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::cluster::ca::Ca;
use crate::cluster::plane::Plane;
use crate::engine::event::{RunId, TaskId};
use crate::host::error::HostError;
use crate::host::probe::{NotProbed, Probe, Readings};
use crate::host::{Host, Hosts};
use crate::inventory::{Inventory, Node};
use crate::secret::SecretError;
use crate::template::{TemplateError, Templates};

/// Something that must hold on a host.
pub trait Action: Sync {
    /// What must be read from the host to judge this action.
    fn probes(&self, cx: &Context<'_>) -> Vec<Probe>;

    /// Judges: facts in, verdict out. No network, no clock.
    fn check(&self, cx: &Context<'_>) -> Result<Check, ActionError>;

    /// Makes the change that `check` found, seen a moment ago. Safe to repeat after a lost connection.
    fn apply(
        &self,
        effect: &Effect<'_>,
        change: &Change,
    ) -> impl Future<Output = Result<(), ActionError>> + Send;

    /// How long after `apply` the probes may take to show the result; the engine reads them again until `check` is
    /// satisfied or this has passed.
    fn settles_within(&self) -> Duration {
        Duration::ZERO
    }

    /// Whether the verdict depends on other hosts: then their readings are refreshed too before it is judged.
    fn scope(&self, _cx: &Context<'_>) -> Scope {
        Scope::Host
    }

    /// Whether it has anything to do with an inventory: where it has not, its steps are left out of the plan.
    fn concerns(&self, _inventory: &Inventory) -> bool {
        true
    }

    /// Absolute paths and content of the files that this action puts on the host, for `quorate render`; most have none.
    fn files(&self, _cx: &Context<'_>) -> Result<Vec<(Utf8PathBuf, Vec<u8>)>, ActionError> {
        Ok(Vec::new())
    }
}

/// How far a verdict looks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scope {
    /// At its own host only.
    Host,
    /// At the readings of every host of the play.
    Cluster,
    /// At the readings of every host of the run.
    Fleet,
}

/// What judging sees.
#[derive(Clone, Copy)]
pub struct Context<'a> {
    /// The cluster as it should be.
    pub inventory: &'a Inventory,
    /// The host that is judged.
    pub node: &'a Node,
    /// The templates, overlay included.
    pub templates: &'a Templates,
    /// What was read, of all hosts.
    pub fleet: &'a Fleet,
}

impl<'a> Context<'a> {
    /// What was read from the judged host.
    #[must_use]
    pub fn facts(&self) -> &'a Readings {
        self.fleet.of(&self.node.name)
    }
}

/// What was read of all hosts, and in a forecast what earlier tasks would have changed.
#[derive(Debug, Clone, Default)]
pub struct Fleet {
    /// Each shared until it changes: an update must not copy what was read of all other hosts.
    readings: BTreeMap<String, Arc<Readings>>,
    forecast: BTreeMap<String, BTreeSet<Utf8PathBuf>>,
    nothing: Readings,
    /// The CA of the cluster, once somebody has asked: all masters are weighed for it, and every worker asks.
    ca: OnceLock<Option<Ca>>,
}

impl Fleet {
    /// A host's readings; empty if nothing was read of it (it did not answer, or this is an offline rendering).
    #[must_use]
    pub fn of(&self, host: &str) -> &Readings {
        self.readings.get(host).map_or(&self.nothing, Arc::as_ref)
    }

    /// Whether anything was read of a host.
    #[must_use]
    pub fn has(&self, host: &str) -> bool {
        self.readings.contains_key(host)
    }

    /// The CA of the cluster, as far as it is known: see [`Plane::ca`].
    #[must_use]
    pub fn cluster_ca(&self, inventory: &Inventory) -> Option<&Ca> {
        let find = || Plane::read(inventory, self).ca().cloned();
        self.ca.get_or_init(find).as_ref()
    }

    /// Takes newer readings of a host.
    pub fn update(&mut self, host: &str, newer: Readings) {
        self.ca = OnceLock::new();
        let readings = self.readings.entry(host.to_owned()).or_default();
        Arc::make_mut(readings).update(newer);
    }

    /// Notes that, in a forecast, a file would have changed by now.
    pub fn foresee(&mut self, host: &str, paths: &[Utf8PathBuf]) {
        self.forecast
            .entry(host.to_owned())
            .or_default()
            .extend(paths.iter().cloned());
    }

    /// Whether, in a forecast, that file would have changed by now.
    #[must_use]
    pub fn is_foreseen(&self, host: &str, path: &Utf8Path) -> bool {
        self.forecast
            .get(host)
            .is_some_and(|paths| paths.contains(path))
    }
}

/// What applying may touch.
#[derive(Clone, Copy)]
pub struct Effect<'a> {
    /// What judging saw.
    pub cx: Context<'a>,
    /// The host to change.
    pub host: &'a Host,
    /// All connected hosts: for join material from a living control plane.
    pub hosts: &'a Hosts,
    /// The run.
    pub run: &'a RunId,
    /// The task.
    pub task: &'a TaskId,
    /// Tells the person watching (and the journal) one line; never a secret.
    pub note: &'a (dyn Fn(String) + Sync),
}

/// A verdict.
#[derive(Debug, Clone, PartialEq, Eq)]
#[must_use]
pub enum Check {
    /// It holds already.
    Satisfied,
    /// It does not; this would make it hold.
    Needed(Change),
    /// It cannot be judged before an earlier step has run; only in a forecast.
    Unknown {
        /// What has to happen first.
        until: String,
    },
}

impl Check {
    /// A change without a diff.
    pub fn needed(summary: impl Into<String>) -> Self {
        Self::Needed(Change::new(summary))
    }
}

/// What would be changed: what `plan` prints and the journal keeps. Holds no secrets.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Change {
    /// One line, imperative: `install kubeadm 1.36.2-1.1`.
    pub summary: String,
    /// Unified diff of the file behind it, secrets masked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub diff: Option<String>,
    /// What was found half done or strange, one line each.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub found: Vec<String>,
    /// Files that it writes, so that a forecast knows which services would be reloaded.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub touches: Vec<Utf8PathBuf>,
    /// Why there is no way back from it, if there is none: what it would take.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub no_way_back: Option<String>,
}

impl Change {
    /// A change without a diff.
    #[must_use]
    pub fn new(summary: impl Into<String>) -> Self {
        Self {
            summary: summary.into(),
            diff: None,
            found: Vec::new(),
            touches: Vec::new(),
            no_way_back: None,
        }
    }

    /// Adds a diff.
    #[must_use]
    pub fn with_diff(mut self, diff: impl Into<String>) -> Self {
        self.diff = Some(diff.into());
        self
    }

    /// Adds something found.
    #[must_use]
    pub fn found(mut self, line: impl Into<String>) -> Self {
        self.found.push(line.into());
        self
    }

    /// Says that there is no way back from it, and why.
    #[must_use]
    pub fn without_way_back(mut self, why: impl Into<String>) -> Self {
        self.no_way_back = Some(why.into());
        self
    }

    /// Adds a file that it writes.
    #[must_use]
    pub fn touching(mut self, path: impl Into<Utf8PathBuf>) -> Self {
        self.touches.push(path.into());
        self
    }
}

/// An action could not be judged or applied.
#[derive(Debug, thiserror::Error)]
pub enum ActionError {
    /// The host.
    #[error(transparent)]
    Host(#[from] HostError),
    /// A bug: judged without having been probed.
    #[error(transparent)]
    NotProbed(#[from] NotProbed),
    /// A template.
    #[error(transparent)]
    Template(#[from] TemplateError),
    /// A secret of the inventory.
    #[error(transparent)]
    Secret(#[from] SecretError),
    /// A job on the host ended badly.
    #[error("{what} failed on {host} with {}", status.map_or_else(|| "no exit status: its unit vanished (a reboot?)".to_owned(), |code| format!("status {code}")))]
    Job {
        /// `kubeadm join`.
        what: String,
        /// Host name.
        host: String,
        /// Exit status.
        status: Option<i32>,
        /// Last lines, escaped.
        output: String,
    },
    /// Going on would be unsafe; nothing was changed by this task.
    #[error("{why}")]
    Unsafe {
        /// What is wrong.
        why: String,
        /// What to do.
        help: String,
    },
    /// A condition did not come true in time.
    #[error("{what} did not come true within {} s: {last}", waited.as_secs())]
    Waited {
        /// The condition.
        what: String,
        /// How long it was awaited.
        waited: Duration,
        /// The last observation.
        last: String,
    },
}

impl ActionError {
    /// What the host said, escaped.
    #[must_use]
    pub fn output(&self) -> Option<&str> {
        match self {
            Self::Host(error) => error.output(),
            Self::Job { output, .. } => Some(output),
            Self::NotProbed(_)
            | Self::Template(_)
            | Self::Secret(_)
            | Self::Unsafe { .. }
            | Self::Waited { .. } => None,
        }
    }

    /// The exact next step, where one is known.
    #[must_use]
    pub fn help(&self) -> Option<String> {
        match self {
            Self::Host(error) => error.help(),
            Self::Unsafe { help, .. } => Some(help.clone()),
            Self::NotProbed(_)
            | Self::Template(_)
            | Self::Secret(_)
            | Self::Job { .. }
            | Self::Waited { .. } => None,
        }
    }
}

/// Lists the actions: one line each makes the YAML name (kebab-case), the JSON schema and the dispatch.
macro_rules! actions {
    ($($(#[$meta:meta])* $name:ident($module:ident)),* $(,)?) => {
        $(mod $module;)*

        /// An action as a playbook names it: `do: { template: { src: …, dest: … } }`.
        #[derive(Debug, Clone, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
        #[serde(rename_all = "kebab-case", deny_unknown_fields)]
        pub enum AnyAction {
            $($(#[$meta])* $name($module::$name),)*
        }

        impl Action for AnyAction {
            fn probes(&self, cx: &Context<'_>) -> Vec<Probe> {
                match self { $(Self::$name(action) => action.probes(cx),)* }
            }
            fn check(&self, cx: &Context<'_>) -> Result<Check, ActionError> {
                match self { $(Self::$name(action) => action.check(cx),)* }
            }
            async fn apply(&self, effect: &Effect<'_>, change: &Change) -> Result<(), ActionError> {
                match self { $(Self::$name(action) => action.apply(effect, change).await,)* }
            }
            fn settles_within(&self) -> Duration {
                match self { $(Self::$name(action) => action.settles_within(),)* }
            }
            fn scope(&self, cx: &Context<'_>) -> Scope {
                match self { $(Self::$name(action) => action.scope(cx),)* }
            }
            fn concerns(&self, inventory: &Inventory) -> bool {
                match self { $(Self::$name(action) => action.concerns(inventory),)* }
            }
            fn files(&self, cx: &Context<'_>) -> Result<Vec<(Utf8PathBuf, Vec<u8>)>, ActionError> {
                match self { $(Self::$name(action) => action.files(cx),)* }
            }
        }
    };
}

actions! {
    /// Renders a template into a file.
    Template(template),
    /// Founds the cluster on one master, if no host holds its CA yet.
    ControlPlaneInit(control_plane_init),
    /// Makes a master part of the control plane and its etcd.
    ControlPlaneJoin(control_plane_join),
    /// Brings the control plane of a master in line with the shared configuration.
    ControlPlaneConfig(control_plane_config),
    /// Brings a master one stage further in a restore that was begun on it.
    RestoreStage(restore_stage),
    /// Installs etcd at the exact version.
    EtcdPackages(etcd_packages),
    /// Holds the CA of an external etcd.
    EtcdCa(etcd_ca),
    /// Makes the certificates of a member of an external etcd.
    EtcdCertificates(etcd_certificates),
    /// Starts an external etcd for the first time, all members together.
    EtcdFound(etcd_found),
    /// Keeps a member of an external etcd in the cluster, running and current.
    EtcdMember(etcd_member),
    /// Brings a member of an external etcd to the inventory's version.
    EtcdUpgrade(etcd_upgrade),
    /// Removes members of an external etcd that the inventory has no more.
    EtcdFormer(etcd_former),
    /// Gives a master the certificate with which it asks an external etcd.
    EtcdClient(etcd_client),
    /// Makes a worker part of the cluster.
    WorkerJoin(worker_join),
    /// Brings kubelet of a worker in line with the inventory.
    KubeletConfig(kubelet_config),
    /// Puts the cluster's CA on a load balancer.
    ClusterCa(cluster_ca),
    /// Sees the virtual IP answer, and keeps the changes that waited for it.
    VipAnswers(vip_answers),
    /// Gives pods their network.
    PodNetwork(pod_network),
    /// Sets labels and taints.
    NodeMetadata(node_metadata),
    /// Waits until the host's Node is ready.
    NodeReady(node_ready),
    /// Removes join material.
    NoJoinMaterial(no_join_material),
    /// Fetches the kubeconfig.
    Kubeconfig(kubeconfig),
    /// Puts the names of the control plane into `/etc/hosts`.
    HostsEntries(hosts_entries),
    /// Installs packages.
    Packages(packages),
    /// Installs containerd and what kubelet needs.
    NodePackages(node_packages),
    /// Loads kernel modules.
    KernelModules(kernel_modules),
    /// Sets sysctls.
    Sysctls(sysctls),
    /// Switches swap off.
    SwapOff(swap_off),
    /// Makes a system user.
    SystemUser(system_user),
    /// Makes a password that stays on its host.
    GeneratedSecret(generated_secret),
    /// Tells containerd how to reach registries.
    Registries(registries),
    /// Adds the Kubernetes package repository.
    KubernetesRepository(kubernetes_repository),
    /// Installs kubeadm, kubelet and kubectl at the exact version.
    KubernetesPackages(kubernetes_packages),
    /// Runs a service that has read its files.
    Service(service),
    /// Installs packages of the release on a host that is part of a cluster.
    ReleasePackages(release_packages),
    /// Has the release's images on the host.
    ReleaseImages(release_images),
    /// Lets another master lead etcd.
    EtcdLeaderElsewhere(etcd_leader_elsewhere),
    /// Takes a master out of the load balancers.
    LoadBalancersLeave(load_balancers_leave),
    /// Puts a master back into the load balancers.
    LoadBalancersReturn(load_balancers_return),
    /// Upgrades a master's control plane, or a worker's configuration, by kubeadm.
    KubeadmUpgrade(kubeadm_upgrade),
    /// Moves the pods away from a Node.
    NodeDrain(node_drain),
    /// Runs the kubelet that is installed.
    KubeletCurrent(kubelet_current),
    /// Lets pods come to a Node again.
    NodeUncordon(node_uncordon),
    /// Waits until the control plane is whole.
    ControlPlaneWhole(control_plane_whole),
    /// Removes what upgrades leave behind.
    UpgradeLeftovers(upgrade_leftovers),
}
