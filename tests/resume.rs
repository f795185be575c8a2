//! Any moment may be the last.

mod common;

use common::{Bench, End, with_clock};

#[test]
fn a_clean_run_does_everything_and_a_second_one_nothing() {
    let bench = Bench::new("provision");
    let simulation = bench.simulation();
    with_clock(async {
        let (end, said) = bench.run(&simulation).await;
        assert!(matches!(end, End::Done { .. }), "{end:?}\n{}", common::tail(&said));
        println!("{} calls", simulation.world().calls.len());
        let before = simulation.world().calls.len();
        let (end, said) = bench.run(&simulation).await;
        println!("{} calls {end:?}", simulation.world().calls.len() - before);
        for r in said.records() { if let quorate::engine::event::Event::TaskStarted{task, step, change} = r.event { println!("{task} {step} {}", change.summary); } }
        println!("{:?}", simulation.world().violations);
    });
}
