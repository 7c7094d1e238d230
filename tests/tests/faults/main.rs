//! The fault matrix: what institutions' networks, disks, clocks, devices and enemies do to four validators, done to real processes under
//! load, and what became of it.
//!
//! Every scenario breaks something, says what must hold while it is broken, mends it, and then demands the same of all: the chain
//! goes on, the unwell node returns to the head by itself or says in its log what to do, no acknowledged transaction is lost, no height
//! has a second header.
//!
//! With the right to make network namespaces every node has one of its own, on a [wire](bixi_tests::wire) whose faults are seeded;
//! without it only the scenarios that need no such wire run, on loopback, and the report says so. `.ci/campaign-faults` runs all of
//! them: `BIXI_FAULTS` names some, `BIXI_FAULTS_SEED` sets the seed, `BIXI_FAULTS_JSON=1` prints rows as JSON.

#![allow(clippy::print_stdout, reason = "the report is what a campaign is for")]

mod field;
mod ground;
mod report;
mod scenarios;

use bixi_tests::setting;

use field::Field;
use ground::Ground;
use report::{Report, Row};
use scenarios::{ALL, Scenario};

/// What the gate runs: a scenario of each kind, quick ones.
const SHORT: [&str; 7] =
    ["partition-3-1", "stop-leader", "kill-all", "clock-ahead", "worker-killed", "worker-stopped", "supervisor-killed"];

#[test]
fn the_short_matrix_passes() {
    run("the_short_matrix_passes", &[], |scenario| SHORT.contains(&scenario.name));
}

#[test]
#[ignore = "takes half an hour: .ci/campaign-faults"]
fn the_whole_matrix_passes() {
    let chosen = std::env::var("BIXI_FAULTS").unwrap_or_default();
    let chosen: Vec<&str> = chosen.split_whitespace().collect();
    for name in &chosen {
        assert!(ALL.iter().any(|scenario| scenario.name == *name), "no scenario {name:?}; --list prints them");
    }
    let is_chosen = |scenario: &Scenario| chosen.is_empty() || chosen.contains(&scenario.name);
    run("the_whole_matrix_passes", &["--ignored"], is_chosen);
}

#[test]
#[ignore = "prints what there is: .ci/campaign-faults --list"]
fn list() {
    for Scenario { name, what, .. } in &ALL {
        println!("{name:18} {what}");
    }
}

/// Runs the chosen scenarios one after the other, in a network of their own where that is allowed.
fn run(test: &str, more: &[&str], is_chosen: impl Fn(&Scenario) -> bool) {
    let ground = match Ground::enter(test, more) {
        ground::Entered::Here(ground) => ground,
        ground::Entered::Done => return,
    };
    let seed = setting("BIXI_FAULTS_SEED", 1);
    println!("seed {seed}; {ground}");
    let mut report = Report::new(setting("BIXI_FAULTS_JSON", 0) == 1);
    for scenario in ALL.iter().filter(|scenario| is_chosen(scenario)) {
        report.add(match ground.lacks(scenario.needs) {
            Some(reason) => Row::not_run(scenario.name, reason),
            None => attempt(scenario, &ground, seed),
        });
    }
    report.finish();
}

/// One scenario. Its panic is its failure.
fn attempt(scenario: &Scenario, ground: &Ground, seed: u64) -> Row {
    let outcome = std::thread::scope(|scope| {
        let running = scope.spawn(|| {
            let mut field = Field::new(scenario, ground, seed);
            (scenario.run)(&mut field);
            field.finish()
        });
        running.join()
    });
    ground.heal();
    outcome.unwrap_or_else(|panic| {
        let why = panic.downcast_ref::<String>().cloned();
        let why = why.or_else(|| panic.downcast_ref::<&str>().map(|text| (*text).to_owned()));
        Row::failed(scenario.name, why.unwrap_or_default())
    })
}
