//! Time of each test on samples of 10^6 bits: `cargo run --release -p bixi-hsm-randomness --example throughput`.
#![allow(clippy::print_stdout, missing_docs)]

use std::time::Instant;

use bixi_hsm_randomness::{Battery, Length, Sample};
use bixi_platform::random::OsRandom;

const SAMPLES: usize = 40;

fn main() {
    let samples: Vec<Sample> = (0..SAMPLES).map(|_| sample()).collect();
    let mut total_ms = 0.0;
    let whole = Battery::full(Length::BitsMillion);
    let mut tests: Vec<_> = whole.items().iter().map(|item| item.test).collect();
    tests.dedup();
    for test in tests {
        let mut battery = Battery::only(Length::BitsMillion, test);
        let began = Instant::now();
        for sample in &samples {
            std::hint::black_box(battery.run(sample));
        }
        let each_ms = began.elapsed().as_secs_f64() * 1e3 / SAMPLES as f64;
        total_ms += each_ms;
        println!("{:<24} {each_ms:>8.3} ms {:>9.1} MB/s", test.name(), 0.125 / each_ms * 1e3);
    }
    println!("{:<24} {total_ms:>8.3} ms {:>9.1} MB/s", "all", 0.125 / total_ms * 1e3);
    println!("{:<24} {:>8.0} ms", "20 samples", total_ms * 20.0);
}

fn sample() -> Sample {
    let mut bytes = vec![0; Length::BitsMillion.bits() / 8];
    OsRandom.fill(&mut bytes).expect("the system has randomness");
    Sample::new(&bytes)
}
