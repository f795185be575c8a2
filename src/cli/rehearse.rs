//! `quorate rehearse`.

use clap::ValueEnum;

use super::{Common, block_on};
use crate::error::Error;
use crate::host::simulated::faults::Fault;
use crate::operation::rehearse::{Faults, OPERATIONS, Operation, read, rehearse};
use crate::report::println;

/// Arguments.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "A fault is HOST:what@place. What: lost (the connection), power-cut, operator-dies, slow-disk, \
                        full-disk, apiserver-dies, clock-jumps, budget-blocks, cordon (by somebody else), second-operator. Place: a task as the rehearsal without faults numbers \
                        them (5.1), a job (kubeadm-join), a file, or #N for the N-th remote call (with the host `*`); a `~` \
                        behind it: in the midst of putting files in place; a `+`: after the effect and before the answer; `+7`: after seven steps of the job."
)]
pub struct Args {
    /// The operation; `--list` names them
    #[arg(required_unless_present = "list")]
    operation: Option<String>,
    /// Name the operations that can be rehearsed, one per line
    #[arg(long)]
    list: bool,
    #[command(flatten)]
    common: Common,
    /// Begin as the real hosts are now: they are read, and not changed
    #[arg(long)]
    from_live: bool,
    /// Let this go wrong, as `master2:power-cut@kubeadm-join+7`; repeat for more
    #[arg(long, value_name = "HOST:what@place", conflicts_with = "faults")]
    fault: Vec<Fault>,
    /// Several faults at random, or each at each remote call in its turn
    #[arg(long, value_enum)]
    faults: Option<Which>,
    /// What random faults follow from; the same seed gives the same faults
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// How many seeds from there on, each a case of its own
    #[arg(long, default_value_t = 1, value_name = "COUNT")]
    seeds: usize,
}

/// Faults that are not written out.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Which {
    Random,
    Every,
}

impl Args {
    pub(super) fn run(self) -> Result<(), Error> {
        let Some(operation) = self.operation.filter(|_| !self.list) else {
            let name = |operation: &Operation| println(operation.name);
            OPERATIONS.iter().for_each(name);
            return Ok(());
        };
        let session = self.common.open()?;
        let faults = match self.faults {
            None => Faults::These(self.fault),
            Some(Which::Every) => Faults::Every,
            Some(Which::Random) => Faults::Random {
                seed: self.seed,
                count: self.seeds,
            },
        };
        let live = if self.from_live {
            Some(block_on(read(&session))?)
        } else {
            None
        };
        rehearse(&session, &operation, &faults, live.as_ref())
    }
}
