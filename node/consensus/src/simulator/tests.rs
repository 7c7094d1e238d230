//! The campaigns.

#![cfg(test)]

use std::collections::BTreeMap;

use super::{CrashAt, Mutation, Outcome, Plan, World};

/// Seeds of the ordinary test.
const SEEDS: u64 = 1_000;
/// Heights every live node must add after the storm.
const TARGET: u64 = 3;

fn number(name: &str) -> Option<u64> {
    std::env::var(name).ok().map(|text| text.parse().unwrap_or_else(|_| panic!("{name} must be a number: {text:?}")))
}

/// Totals of a campaign.
#[derive(Default)]
struct Totals {
    seeds: u64,
    heights: u64,
    events: u64,
    virtual_ms: u64,
    recovery_ms_max: u64,
    faults: BTreeMap<&'static str, u64>,
    seen: BTreeMap<&'static str, u64>,
}

impl Totals {
    fn add(&mut self, outcome: &Outcome) {
        self.seeds += 1;
        self.heights += outcome.heights;
        self.events += outcome.events;
        self.virtual_ms += outcome.virtual_ms;
        self.recovery_ms_max = self.recovery_ms_max.max(outcome.recovery_ms);
        for (fault, count) in &outcome.faults {
            *self.faults.entry(fault).or_default() += count;
        }
        for (what, count) in &outcome.seen {
            *self.seen.entry(what).or_default() += count;
        }
    }
}

impl std::fmt::Display for Totals {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        writeln!(f, "{:<29} {:>10}", "seeds", self.seeds)?;
        writeln!(f, "{:<29} {:>10}", "node heights", self.heights)?;
        writeln!(f, "{:<29} {:>10}", "events", self.events)?;
        writeln!(f, "{:<29} {:>10}", "virtual seconds", self.virtual_ms / 1000)?;
        writeln!(f, "{:<29} {:>10}", "slowest recovery, ms", self.recovery_ms_max)?;
        for (fault, count) in &self.faults {
            writeln!(f, "fault: {fault:<22} {count:>10}")?;
        }
        for (what, count) in &self.seen {
            writeln!(f, "seen: {what:<23} {count:>10}")?;
        }
        write!(f, "{:<29} {:>10}", "violations", 0)
    }
}

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

fn campaign(first: u64, count: u64, validators: impl Fn(u64) -> usize) -> Totals {
    let mut totals = Totals::default();
    for seed in first..first + count {
        totals.add(&survive(Plan::draw(seed, validators(seed), TARGET)));
    }
    totals
}

#[test]
#[expect(clippy::print_stdout, reason = "the campaign reports its totals")]
fn no_seed_breaks_safety_or_liveness() {
    let count = number("BIXI_SIM_SEEDS").unwrap_or(SEEDS);
    let first = number("BIXI_SIM_FIRST").unwrap_or(1);
    // Four validators mostly; one and seven in between.
    let totals = campaign(first, count, |seed| match seed % 10 {
        0 => 1,
        5 => 7,
        _ => 4,
    });
    println!("{totals}");
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
    let run = |seed| World::new(Plan::draw(seed, 4, TARGET), true).run();
    for seed in [3, 77, 1_234] {
        let (first, second) = (run(seed), run(seed));
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

/// The first seed in which a mutation is noticed; the same plan without the mutation is survived.
fn noticed(mutation: Mutation, seeds: u64, shape: impl Fn(&mut Plan)) -> Option<(u64, String)> {
    (1..=seeds).find_map(|seed| {
        let mut plan = Plan::draw(seed, 4, TARGET);
        shape(&mut plan);
        let broken = Plan { mutation: Some(mutation), ..plan.clone() };
        let violation = World::new(broken, false).run().violations.into_iter().next()?;
        survive(plan);
        Some((seed, violation))
    })
}

#[test]
fn notices_a_skipped_flush() {
    let (_, violation) = noticed(Mutation::SkipFlush, 5, |_| {}).expect("noticed");
    assert!(violation.contains("log does not hold"), "{violation}");
}

#[test]
fn notices_a_signature_before_its_reasons_are_durable() {
    let storm = |plan: &mut Plan| (plan.storm_ms, plan.crashes, plan.restore) = (8_000, 8, false);
    let (_, violation) = noticed(Mutation::SignBeforeFlush, 200, storm).expect("noticed");
    assert!(violation.contains("conflict"), "{violation}");
}

#[test]
fn notices_a_vote_before_batches() {
    let (_, violation) = noticed(Mutation::PrevoteWithoutBatches, 20, |_| {}).expect("noticed");
    assert!(violation.contains("batches"), "{violation}");
}

#[test]
fn notices_a_lower_timestamp() {
    let (_, violation) = noticed(Mutation::AcceptLowerTimestamp, 50, |plan| plan.skew_ms = 400).expect("noticed");
    assert!(violation.contains("time stands still"), "{violation}");
}

#[test]
fn notices_a_skipped_guard() {
    let storm = |plan: &mut Plan| {
        plan.storm_ms = 6_000;
        plan.restore = true;
        (plan.diverge, plan.babbler) = (None, None);
        plan.drop_permille = 500;
    };
    let (_, violation) = noticed(Mutation::SkipGuard, 400, storm).expect("noticed");
    assert!(violation.contains("double signature"), "{violation}");
}
