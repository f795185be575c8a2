//! What goes wrong, where and when; written `HOST:what@place`.

use std::fmt;
use std::str::FromStr;

use super::record::{Call, Kind};

/// What happens.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum What {
    /// The connection to that host is lost. A job that was started goes on.
    LoseConnection,
    /// The host's power is cut; its jobs die, its `/run` is empty, and after a boot its services come back if they are enabled.
    Reboot,
    /// The operator's process dies: nothing more is called, all its locks are free.
    OperatorDies,
    /// The host's disk is slow from now on: every step of a job takes ten times as long.
    SlowDisk,
    /// The host's disk is full from now on: no file is written, no job gets further.
    FullDisk,
    /// The host's apiserver dies; its kubelet starts it again.
    ApiserverDies,
    /// The host's clock jumps ahead of the others', until a person sets it right.
    ClockJumps,
    /// Somebody makes a budget that lets no pod go, until they take it back.
    BudgetBlocks,
    /// Somebody cordons the host's Node, until they take it back.
    Cordon,
    /// A second operator starts the same operation.
    SecondOperator,
}

impl What {
    /// All of them, with their names.
    pub const NAMES: [(Self, &'static str); 10] = [
        (Self::LoseConnection, "lost"),
        (Self::Reboot, "power-cut"),
        (Self::OperatorDies, "operator-dies"),
        (Self::SlowDisk, "slow-disk"),
        (Self::FullDisk, "full-disk"),
        (Self::ApiserverDies, "apiserver-dies"),
        (Self::ClockJumps, "clock-jumps"),
        (Self::BudgetBlocks, "budget-blocks"),
        (Self::Cordon, "cordon"),
        (Self::SecondOperator, "second-operator"),
    ];

    /// Whether the call that it strikes has no answer.
    pub(super) fn cuts(self) -> bool {
        matches!(
            self,
            Self::LoseConnection | Self::Reboot | Self::OperatorDies
        )
    }
}

impl fmt::Display for What {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = Self::NAMES.into_iter().find(|(what, _)| what == self);
        f.write_str(name.map_or("", |(_, name)| name))
    }
}

/// When it happens.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum When {
    /// Before the call has any effect.
    Before,
    /// In the midst of its effect: of the files that it puts in place only some are there. Jobs are not touched.
    During,
    /// After its effect, before its answer.
    After,
    /// When a job has made so many of its steps; other calls are not touched.
    AfterSteps(usize),
}

/// At which call.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Place {
    /// The call of this number, from 0, counted over the world; what strikes, strikes the host that was called.
    Call(usize),
    /// The first call that changes something on this host and is made by this task (`5.1`: first step of the fifth play) or
    /// has this name (`kubeadm-join`, a path, `systemctl`).
    Step {
        /// The host.
        host: String,
        /// Task or name.
        step: String,
    },
}

/// A fault: `master2:power-cut@kubeadm-join+7`.
///
/// `@place` is before the call has any effect, `@place~` in the midst of it, `@place+` after its effect and before its answer, `@place+7` after seven
/// steps of the job that it starts. A place is a task, a call's name, or `#N` for the N-th remote call (then the host is `*`).
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Fault {
    /// Where.
    pub place: Place,
    /// When.
    pub when: When,
    /// What.
    pub what: What,
}

impl Fault {
    /// A fault at the call of a number.
    #[must_use]
    pub fn at(call: usize, when: When, what: What) -> Self {
        let place = Place::Call(call);
        Self { place, when, what }
    }

    /// Whether its place is a step of a host, not the number of a call.
    #[must_use]
    pub fn is_named(&self) -> bool {
        matches!(self.place, Place::Step { .. })
    }

    /// Whether this is the call that it waits for.
    #[must_use]
    pub fn meets(&self, call: &Call) -> bool {
        match &self.place {
            Place::Call(number) => call.number == *number,
            Place::Step { host, step } => {
                let is_named = || call.what.split(' ').any(|word| word == step);
                call.host == *host
                    && call.kind != Kind::Probe
                    && (call.task.as_ref() == Some(step) || is_named())
            }
        }
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let what = self.what;
        match &self.place {
            Place::Call(number) => write!(f, "*:{what}@#{number}")?,
            Place::Step { host, step } => write!(f, "{host}:{what}@{step}")?,
        }
        match self.when {
            When::Before => Ok(()),
            When::During => f.write_str("~"),
            When::After => f.write_str("+"),
            When::AfterSteps(steps) => write!(f, "+{steps}"),
        }
    }
}

impl FromStr for Fault {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let form =
            || format!("`{text}` is not of the form HOST:what@step, as `master2:power-cut@5.1+`");
        let (host, rest) = text.split_once(':').ok_or_else(form)?;
        let (what, place) = rest.split_once('@').ok_or_else(form)?;
        let (step, when) = when(place);
        if host.is_empty() || step.is_empty() {
            return Err(form());
        }
        let place = match (host, step.strip_prefix('#')) {
            ("*", Some(number)) => Place::Call(number.parse().map_err(|_| form())?),
            ("*", None) => {
                return Err(format!(
                    "`{text}`: `*` goes with the number of a call, `#17`"
                ));
            }
            (_, Some(_)) => {
                return Err(format!("`{text}`: a call's number goes with the host `*`"));
            }
            (host, None) => Place::Step {
                host: host.to_owned(),
                step: step.to_owned(),
            },
        };
        let what = known(what)?;
        Ok(Self { place, when, what })
    }
}

fn known(name: &str) -> Result<What, String> {
    let found = What::NAMES.into_iter().find(|(_, known)| *known == name);
    let names = || What::NAMES.map(|(_, name)| name).join(", ");
    found
        .map(|(what, _)| what)
        .ok_or_else(|| format!("`{name}` is no fault; there are {}", names()))
}

/// A place without what says when.
fn when(place: &str) -> (&str, When) {
    if let Some(step) = place.strip_suffix('~') {
        return (step, When::During);
    }
    let Some((step, steps)) = place.rsplit_once('+') else {
        return (place, When::Before);
    };
    match (steps, steps.parse()) {
        ("", _) => (step, When::After),
        (_, Ok(steps)) => (step, When::AfterSteps(steps)),
        _ => (place, When::Before),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fault_reads_back_as_it_is_written() {
        for text in [
            "master2:power-cut@kubeadm-join+7",
            "lb1:lost@3.5",
            "lb1:power-cut@3.5~",
            "lb1:full-disk@/etc/haproxy/haproxy.cfg+",
            "*:operator-dies@#17+",
        ] {
            let fault: Fault = text.parse().expect("a fault");
            assert_eq!(fault.to_string(), text);
        }
    }

    #[test]
    fn what_is_no_fault_is_refused_with_what_would_be_one() {
        for (text, says) in [
            ("master2", "HOST:what@step"),
            ("master2:lost", "HOST:what@step"),
            ("master2:lost@", "HOST:what@step"),
            ("master2:explodes@5.1", "power-cut"),
            ("*:lost@5.1", "#17"),
            ("master2:lost@#5", "`*`"),
        ] {
            let error = text.parse::<Fault>().expect_err(text);
            assert!(error.contains(says), "{error}");
        }
    }
}
