//! The long campaign, and one run again: `.ci/campaign-consensus`.

use super::*;

/// Heights every live node must add after the storm in the long campaign.
const LONG_TARGET: u64 = 12;
/// Turns of the twin scenarios that the long campaign walks through.
const TURNS: u32 = 3;

fn number(name: &str, default: u64) -> u64 {
    let text = std::env::var(name);
    text.map_or(default, |text| text.parse().unwrap_or_else(|_| panic!("{name} must be a number: {text:?}")))
}

/// The plan of a run: by turns one of the kinds; every other run of twins is the next of the enumerated scenarios.
fn plan(kind: Kind, seed: u64) -> Plan {
    if kind == Kind::Twins && seed.is_multiple_of(2) {
        // A stride without a common divisor with the count comes by every scenario once.
        let index = seed / 2 * 7_919 % Twins::count(TURNS);
        return Plan::twins(seed, 4, LONG_TARGET, Twins::nth(index, TURNS));
    }
    kind.draw(seed, LONG_TARGET)
}

/// Heights from which on every lie must have been told.
const LIES_HEIGHTS: u64 = 40_000;

/// `BIXI_SIM_HEIGHTS` heights of the chain, from `BIXI_SIM_FIRST` on; `BIXI_SIM_JSON=1` prints one line of JSON.
#[test]
#[ignore = "minutes to hours"]
#[expect(clippy::print_stdout, reason = "the campaign reports its totals")]
fn campaign_of_all_plans() {
    let heights = number("BIXI_SIM_HEIGHTS", 100_000);
    let mut totals = Totals::default();
    for seed in number("BIXI_SIM_FIRST", 1).. {
        for kind in Kind::ALL {
            totals.add(kind, &survive(plan(kind, seed)));
        }
        if totals.chain_heights >= heights {
            break;
        }
    }
    if number("BIXI_SIM_JSON", 0) == 1 {
        println!("{}", totals.json());
    } else {
        println!("{totals}");
    }
    // The rarest lies need hundreds of runs to find something to twist.
    if heights >= LIES_HEIGHTS {
        assert_eq!(totals.untold(), Vec::<&str>::new(), "lies nobody told");
    }
}

/// The run `BIXI_SIM_PLAN` (a kind's name) of seed `BIXI_SIM_FIRST`, with its whole trace.
#[test]
#[ignore = "for a seed that a campaign names"]
#[expect(clippy::print_stdout, reason = "the trace is what is asked for")]
fn one_run_again() {
    let name = std::env::var("BIXI_SIM_PLAN").expect("BIXI_SIM_PLAN names a plan");
    let kind = Kind::ALL.into_iter().find(|kind| kind.name() == name).expect("a plan of the README");
    let outcome = World::new(plan(kind, number("BIXI_SIM_FIRST", 1)), true).run();
    println!("{}", outcome.trace.join("\n"));
    assert_eq!(outcome.violations, Vec::<String>::new());
}
