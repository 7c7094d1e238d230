//! Deliberate faults in our own code, each noticed, and the same plan survived without it.

use super::*;

/// The first seed in which a mutation is noticed; the same plan without the mutation is survived.
fn noticed(mutation: Mutation, seeds: u64, draw: impl Fn(u64) -> Plan) -> Option<String> {
    (1..=seeds).find_map(|seed| {
        let plan = draw(seed);
        let broken = Plan { mutation: Some(mutation), ..plan.clone() };
        let violation = World::new(broken, false).run().violations.into_iter().next()?;
        survive(plan);
        Some(violation)
    })
}

fn storm(seed: u64) -> Plan {
    Plan::draw(seed, 4, TARGET)
}

#[test]
fn notices_a_skipped_flush() {
    let violation = noticed(Mutation::SkipFlush, 5, storm).expect("noticed");
    assert!(violation.contains("log does not hold"), "{violation}");
}

#[test]
fn notices_a_signature_before_its_reasons_are_durable() {
    let crashing = |seed| Plan { storm_ms: 8_000, crashes: 8, disk: None, ..storm(seed) };
    let violation = noticed(Mutation::SignBeforeFlush, 400, crashing).expect("noticed");
    assert!(violation.contains("conflict"), "{violation}");
}

#[test]
fn notices_a_vote_before_batches() {
    let violation = noticed(Mutation::PrevoteWithoutBatches, 20, storm).expect("noticed");
    assert!(violation.contains("batches"), "{violation}");
}

#[test]
fn notices_batches_that_are_not_flushed() {
    let violation = noticed(Mutation::SkipBatchFlush, 20, storm).expect("noticed");
    assert!(violation.contains("batches") || violation.contains("availability"), "{violation}");
}

#[test]
fn notices_a_lower_timestamp() {
    let skewed = |seed| Plan { skew_ms: 400, ..storm(seed) };
    let violation = noticed(Mutation::AcceptLowerTimestamp, 50, skewed).expect("noticed");
    assert!(violation.contains("time stands still"), "{violation}");
}

#[test]
fn notices_a_skipped_guard() {
    let old_disk = |seed| {
        let (disk, diverge, liars) = (Some((0, DiskFault::OldData)), None, Vec::new());
        Plan { storm_ms: 6_000, disk, diverge, liars, drop_permille: 500, ..storm(seed) }
    };
    let violation = noticed(Mutation::SkipGuard, 400, old_disk).expect("noticed");
    assert!(violation.contains("double signature"), "{violation}");
}

#[test]
fn notices_unverified_messages() {
    let violation = noticed(Mutation::AcceptUnverified, 20, |seed| Kind::Lies.draw(seed, TARGET)).expect("noticed");
    assert!(violation.contains("without a proof") || violation.contains("distrusts"), "{violation}");
}

#[test]
fn notices_ignored_traces_of_ourselves() {
    let old_disk = |seed| {
        let disk = Some((0, DiskFault::OldEverything));
        Plan { storm_ms: 6_000, delay_ms: 60, disk, ..Plan::calm(seed, 4, TARGET) }
    };
    let violation = noticed(Mutation::IgnoreOwnTraces, 200, old_disk).expect("noticed");
    assert!(violation.contains("double signature"), "{violation}");
}
