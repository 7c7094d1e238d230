//! Short campaigns for every day, the long one, and the mutations that show that either would notice.

#![cfg(test)]

use super::plan::DiskFault;
use super::totals::Totals;
use super::twins::{TwinGuard, Twins};
use super::{CrashAt, Kind, Mutation, Outcome, Plan, World};

mod long;
mod mutations;

/// Seeds of the storm in the ordinary test, and of each other plan.
const STORMS: u64 = 250;
const SEEDS: u64 = 40;
/// Heights every live node must add after the storm.
const TARGET: u64 = 3;

/// Runs a plan; on a violation runs it again with a trace and fails.
fn survive(plan: Plan) -> Outcome {
    let outcome = World::new(plan.clone(), false).run();
    if !outcome.violations.is_empty() {
        let traced = World::new(plan.clone(), true).run();
        let from = traced.trace.len().saturating_sub(300);
        panic!("{}\n{plan:#?}\n{}", traced.trace[from..].join("\n"), traced.violations.join("\n"));
    }
    outcome
}

fn campaign(kind: Kind, seeds: u64) -> Totals {
    let mut totals = Totals::default();
    for seed in 1..=seeds {
        totals.add(kind, &survive(kind.draw(seed, TARGET)));
    }
    totals
}

#[test]
fn no_seed_breaks_safety_or_liveness() {
    campaign(Kind::Storm, STORMS);
}

/// One crash at every effect of the first node, one after another, until a run ends before its crash.
fn crash_everywhere(validators: usize, kept: usize, all: bool) {
    for effect in 1.. {
        let plan = Plan { crash_at: Some(CrashAt { effect, kept, all }), ..Plan::calm(7, validators, 3) };
        let outcome = survive(plan);
        if outcome.faults.is_empty() {
            assert!(effect > 30, "only {effect} effects");
            return;
        }
    }
}

#[test]
fn a_lone_validator_survives_a_crash_at_every_effect() {
    crash_everywhere(1, 0, false);
    crash_everywhere(1, 1, false);
    crash_everywhere(1, 9, false);
}

#[test]
fn four_validators_survive_a_crash_of_one_at_every_effect() {
    crash_everywhere(4, 0, false);
    crash_everywhere(4, 9, false);
}

#[test]
fn four_validators_survive_a_blackout_at_every_effect() {
    crash_everywhere(4, 0, true);
    crash_everywhere(4, 1, true);
}

#[test]
fn heavy_loss_leads_to_high_rounds_and_still_to_decisions() {
    let mut rounds = 0;
    for seed in 1..=30 {
        let storm = Plan { storm_ms: 60_000, drop_permille: 450, delay_ms: 120, ..Plan::calm(seed, 4, 2) };
        rounds += survive(storm).seen.get("later rounds").copied().unwrap_or(0);
    }
    assert!(rounds > 100, "{rounds} later rounds");
}

#[test]
fn the_same_seed_gives_the_same_run() {
    for (kind, seed) in Kind::ALL.into_iter().zip(3..) {
        let run = || World::new(kind.draw(seed, TARGET), true).run();
        let (first, second) = (run(), run());
        assert!(first.trace.len() > 50);
        assert_eq!(first.trace, second.trace);
    }
}

#[test]
fn a_diverging_node_halts_and_the_others_go_on() {
    for node in 0..4 {
        let plan = Plan { diverge: Some((node, 2)), ..Plan::calm(node as u64, 4, 6) };
        let outcome = survive(plan);
        assert_eq!(outcome.halted, [node]);
        assert!(outcome.heights >= 3 * 6, "{} heights", outcome.heights);
    }
}

/// A part of the scenarios with two turns: every leader, every guard, and cuts spread over all there are.
#[test]
fn twins_never_split_the_chain() {
    let mut totals = Totals::default();
    for index in (0..Twins::count(2)).step_by(11) {
        totals.add(Kind::Twins, &survive(Plan::twins(index, 4, TARGET, Twins::nth(index, 2))));
    }
    let seen = |what| totals.seen.get(what).copied().unwrap_or(0);
    assert!(seen("contradictions of faulty validators") > 0, "the twins never contradicted each other");
    assert!(seen("equivocation proven") > 0, "nobody kept a proof of it");
    assert!(seen("followed: conflict") > 0, "no shared guard ever refused a twin");
}

#[test]
fn more_twins_among_more_validators_never_split_the_chain() {
    campaign(Kind::Twins, SEEDS / 2);
}

/// A guard that the twins share leaves no trace of two of them but a follower.
#[test]
fn twins_behind_one_guard_say_one_thing_in_one_place() {
    for index in (1..Twins::count(2)).step_by(62) {
        let twins = Twins { guard: TwinGuard::Shared, ..Twins::nth(index, 2) };
        let outcome = survive(Plan::twins(index, 4, TARGET, twins));
        assert_eq!(outcome.seen.get("equivocation proven"), None);
        assert_eq!(outcome.seen.get("contradictions of faulty validators"), None);
    }
}

#[test]
fn no_lie_of_a_third_is_believed() {
    let totals = campaign(Kind::Lies, SEEDS * 2);
    assert_eq!(totals.untold(), Vec::<&str>::new(), "lies nobody told");
}

/// Torn and reordered writes, lost tails, old copies of the log, of the guard and of both.
#[test]
fn whatever_the_disk_forgets_nothing_is_contradicted() {
    let totals = campaign(Kind::Disks, SEEDS * 2);
    let faults = DiskFault::ALL.map(DiskFault::name);
    for fault in faults.into_iter().chain(["unsynced writes out of order", "claims of the guard lost"]) {
        assert!(totals.faults.contains_key(fault), "never: {fault}");
    }
    for way in ["followed: mark ahead", "followed: behind"] {
        assert!(totals.seen.contains_key(way), "never {way}: {:?}", totals.seen);
    }
}

#[test]
fn clocks_of_a_third_may_be_days_off_jump_and_drift() {
    let totals = campaign(Kind::Clocks, SEEDS);
    assert!(totals.faults.contains_key("clock set"));
}

#[test]
fn four_to_thirty_one_validators_of_unequal_weight_go_on() {
    campaign(Kind::Sizes, SEEDS / 4);
}

#[test]
fn one_node_with_other_parameters_stalls_nobody() {
    campaign(Kind::Parameters, SEEDS);
}

#[test]
fn faults_of_every_kind_at_once_are_survived() {
    campaign(Kind::Mixed, SEEDS);
}
