//! Which faults are tried: each at each call, or several at random.

use rand::rngs::StdRng;
use rand::seq::IndexedRandom as _;
use rand::{Rng as _, SeedableRng as _};

use crate::host::simulated::faults::{Fault, What, When};
use crate::host::simulated::record::{Call, Kind};

/// What may end a run anywhere.
const CUTS: [What; 3] = [What::LoseConnection, What::Reboot, What::OperatorDies];

/// Commands that write files in their places.
const PUTS_FILES: [&str; 4] = ["file-part-write", "restore-unpack", "recover-keep", "cp"];

/// Probes that are lost in one case. A run survives the loss of a probe, so several can be met in one.
const PROBES_AT_ONCE: usize = 8;

/// Every case of one fault: at every call, before and after its effect, the connection is lost, the power is cut, the
/// operator dies; and the same after every step of a job. `stride`: the rarer ones at every so-manieth place only (1: all).
#[must_use]
pub fn every(calls: &[Call], stride: usize) -> Vec<Vec<Fault>> {
    let (probes, effects): (Vec<&Call>, Vec<&Call>) =
        calls.iter().partition(|call| call.kind == Kind::Probe);
    let of_effects = effects.iter().flat_map(|call| faults(call, stride));
    of_probes(&probes, stride)
        .into_iter()
        .chain(of_effects.map(|fault| vec![fault]))
        .collect()
}

/// A probe has no effect that could be before or after the fault.
fn of_probes(probes: &[&Call], stride: usize) -> Vec<Vec<Fault>> {
    let at = |what: What| move |call: &&Call| Fault::at(call.number, When::Before, what);
    let apart = probes.len().div_ceil(PROBES_AT_ONCE);
    let lost = at(What::LoseConnection);
    let several =
        (0..apart).map(|first| probes.iter().skip(first).step_by(apart).map(lost).collect());
    let ended = [What::Reboot, What::OperatorDies].into_iter().enumerate();
    let single = ended.flat_map(|(offset, what)| {
        let tried = probes.iter().skip(offset).step_by(8 * (stride - 1) + 1);
        tried.map(at(what)).map(|fault| vec![fault])
    });
    several.chain(single).collect()
}

/// What may go wrong at a call that changes something.
fn faults(call: &Call, stride: usize) -> Vec<Fault> {
    let is_tried = |offset: usize| (call.number + offset).is_multiple_of(stride);
    let mut faults = Vec::new();
    for (index, what) in CUTS.into_iter().enumerate() {
        for (offset, when) in [When::Before, When::After].into_iter().enumerate() {
            if what == What::LoseConnection || is_tried(2 * index + offset) {
                faults.push(Fault::at(call.number, when, what));
            }
        }
        let is_kubeadms = call.what.starts_with("kubeadm");
        let puts_files = call.kind == Kind::Write || PUTS_FILES.contains(&name(call));
        if index == 0 && puts_files {
            faults.push(Fault::at(call.number, When::During, What::Reboot));
        }
        for step in 1..call.steps {
            let takes_turn = (call.number + step + index).is_multiple_of(CUTS.len());
            if stride == 1 || takes_turn && (is_kubeadms || is_tried(step)) {
                faults.push(Fault::at(call.number, When::AfterSteps(step), what));
            }
        }
    }
    faults
}

/// Several faults of any kind anywhere, also behind the end of a run that nothing happens to. The same seed and calls give
/// the same faults.
#[must_use]
pub fn random(seed: u64, calls: &[Call]) -> Vec<Fault> {
    let mut random = StdRng::seed_from_u64(seed);
    let count = random.random_range(2..=5);
    (0..count).map(|_| any(&mut random, calls)).collect()
}

fn any(random: &mut StdRng, calls: &[Call]) -> Fault {
    let number = random.random_range(0..calls.len() + calls.len() / 2 + 1);
    let steps = calls.get(number).map_or(0, |call| call.steps);
    let when = match random.random_range(0..3) {
        0 => When::Before,
        1 if steps > 1 => When::AfterSteps(random.random_range(1..steps)),
        _ => When::After,
    };
    let what = What::NAMES.choose(random);
    Fault::at(
        number,
        when,
        what.map_or(What::LoseConnection, |(what, _)| *what),
    )
}

/// The script or program that a call runs.
fn name(call: &Call) -> &str {
    call.what.split(' ').next().unwrap_or_default()
}
