//! One plan of `tests/plan` under libFuzzer: `BIXI_FUZZ_PLAN` names it, `BIXI_CPU` the rung whose kernels it runs.
#![no_main]

#[path = "../tests/plan/cases.rs"]
mod cases;

use arbitrary::Unstructured;
use std::sync::LazyLock;

static PLAN: LazyLock<cases::Plan> = LazyLock::new(|| {
    bixi_accel::cpu::configure_from_env().expect("a rung");
    let names = cases::PLANS.map(|(name, ..)| name);
    let wanted = std::env::var("BIXI_FUZZ_PLAN").unwrap_or_else(|_| panic!("BIXI_FUZZ_PLAN is one of {names:?}"));
    let found = cases::PLANS.into_iter().find(|(name, ..)| *name == wanted);
    found.unwrap_or_else(|| panic!("{wanted} is none of {names:?}")).2
});

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    // Bytes that end before the case does are no case.
    let _ = PLAN(&mut Unstructured::new(data), &mut cases::Seen::default());
});
