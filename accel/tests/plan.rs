//! The property plan at every rung of the ladder, each in a process of its own, against independent implementations and
//! against each other. `BIXI_ACCEL_CASES` and `BIXI_ACCEL_SEED` ask for more cases, or for others.
#![allow(clippy::print_stdout, missing_docs)]

use arbitrary::Unstructured;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};

#[path = "plan/cases.rs"]
mod cases;
#[path = "plan/rungs.rs"]
mod rungs;

fn number(variable: &str, default: u64) -> u64 {
    std::env::var(variable).map_or(default, |text| text.parse().expect("a number"))
}

/// Cases of each plan; SM2's oracle needs most of the time.
fn cases_of(plan: &str) -> u64 {
    number("BIXI_ACCEL_CASES", if plan.starts_with("sm2") { 24 } else { 40 })
}

/// Runs every case of every plan and prints what was seen, one line for each case.
fn run_plans() {
    let seed = number("BIXI_ACCEL_SEED", 1);
    for (name, bytes, plan) in cases::PLANS {
        for case in 0..cases_of(name) {
            let bytes = cases::inputs::noise(seed << 32 ^ case.wrapping_mul(0x9e37_79b9), bytes);
            let mut seen = cases::Seen::default();
            let run = AssertUnwindSafe(|| plan(&mut Unstructured::new(&bytes), &mut seen));
            if let Err(panic) = catch_unwind(run) {
                println!("FAILED: {name}, case {case} of seed {seed}");
                resume_unwind(panic);
            }
            println!("seen {name} {case} {}", hex::encode(&seen.finish()[..8]));
        }
    }
}

#[test]
fn every_plan_holds_at_every_rung_and_all_rungs_see_the_same() {
    let Some(seen) = rungs::climb("every_plan_holds_at_every_rung_and_all_rungs_see_the_same", run_plans) else {
        return;
    };
    let lines =
        |text: &str| text.lines().filter(|line| line.starts_with("seen ")).map(str::to_owned).collect::<Vec<_>>();
    let portable = lines(&seen[0].1);
    assert_eq!(portable.len() as u64, cases::PLANS.iter().map(|(name, ..)| cases_of(name)).sum::<u64>());
    for (rung, text) in &seen {
        let lines = lines(text);
        for (ours, portable) in lines.iter().zip(&portable) {
            assert_eq!(ours, portable, "{rung} against portable");
        }
        assert_eq!(lines.len(), portable.len());
    }
}

/// A plan that could not fail would prove nothing: of cases drawn at random most are read to their end, and answers differ.
#[test]
fn random_cases_reach_the_end_of_every_plan() {
    for (name, bytes, plan) in cases::PLANS {
        let mut seen = std::collections::HashSet::new();
        let count = 16;
        for case in 0..count {
            let bytes = cases::inputs::noise(case ^ 0xabcd, bytes);
            let mut now = cases::Seen::default();
            plan(&mut Unstructured::new(&bytes), &mut now).unwrap_or_else(|error| panic!("{name}: {error}"));
            seen.insert(now.finish());
        }
        assert!(seen.len() > 1, "{name}: {} different answers of {count}", seen.len());
    }
}
