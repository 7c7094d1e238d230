//! Statistical tests of a random bit generator: the fifteen tests of GM/T 0005-2021, how many samples must pass them, and the test at
//! power-on by the product classes of GM/T 0062-2018.
//!
//! ```text
//! generator ─▶ Sample (bits in words) ─▶ Battery: a P-value and a Q-value for each item ─▶ Tally over the samples
//!                                                                    6.2 pass rate, 6.3 uniformity ◀─┘ │
//!                                                    power_on: one repetition, and what a sound device may show ◀┘
//! ```
//!
//! Invariants:
//! - the first bit of a sample is the most significant bit of its first byte, as in the standard's examples;
//! - an *item* is one P-value: a test with one parameter and one of its statistics. Each is judged by itself;
//! - nothing here draws a conclusion about entropy. A deterministic generator of good statistics passes; what is found is a
//!   generator that is broken.

#![forbid(unsafe_code)]

mod battery;
mod complexity;
mod decision;
mod frequency;
mod patterns;
pub mod power_on;
mod rank;
mod runs;
mod sample;
mod shifted;
mod special;
mod spectrum;
#[cfg(test)]
mod tests;
mod universal;

pub use battery::{Battery, Item, Length, Test, Value};
pub use decision::{ALPHA, Tally, UNIFORMITY_ALPHA, passes_needed};
pub use sample::Sample;
