//! Any moment may be the last.

mod common;

use common::{Bench, End, with_clock};

#[test]
fn a_clean_run_does_everything_and_a_second_one_nothing() {
    let bench = Bench::new("provision");
    let simulation = bench.simulation();
    let cpu = || {
        let t = std::fs::read_to_string("/proc/thread-self/schedstat").unwrap();
        t.split(' ').next().unwrap().parse::<u64>().unwrap() / 1000
    };
    with_clock(async {
        let t = cpu();
        let (end, said) = bench.run(&simulation).await;
        println!("{} calls {} us", simulation.world().calls.len(), cpu() - t);
        assert!(
            matches!(end, End::Done { .. }),
            "{end:?}\n{}",
            common::tail(&said)
        );
        for call in simulation
            .world()
            .calls
            .iter()
            .filter(|c| c.kind != quorate::host::simulated::record::Kind::Probe)
        {
            println!(
                "{} {} {:?} {}",
                call.number, call.host, call.kind, call.what
            );
        }
        for _ in 0..(std::env::var("N").map_or(3, |n| n.parse().unwrap())) {
            let t = cpu();
            let before = simulation.world().calls.len();
            let (end, said) = bench.run(&simulation).await;
            for r in said.records() {
                if let quorate::engine::event::Event::TaskStarted { task, step, change } = r.event {
                    println!("{task} {step} {} {:?}", change.summary, change.diff);
                }
            }
            println!(
                "{} calls {} us {end:?}",
                simulation.world().calls.len() - before,
                cpu() - t
            );
        }
        let t = cpu();
        for _ in 0..10 {
            let _ = simulation.world().snapshot();
        }
        println!("snapshot {} us", (cpu() - t) / 10);
        println!("{}", common::essence(&simulation.world()).len());
    });
}
