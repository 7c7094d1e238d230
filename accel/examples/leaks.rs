//! A statistical test for secrets in time, after dudect (Reparaz, Balasch, Verbauwhede 2017): each operation runs on a
//! fixed secret and on random ones in random order; Welch's t-test compares the two sets of times, as measured, cropped at
//! a hundred percentiles, and centred and squared. |t| of 4.5 or more is a leak. Two leaky functions must be found, or
//! the machine is too noisy for silence to mean anything.
//!
//! `BIXI_CPU=avx2 cargo run -p bixi-accel --example leaks -- [samples] [part of a name]`, a million samples unless said.
//! Run it on a quiet core (`taskset -c 1`).
#![allow(clippy::print_stdout, missing_docs)]

#[cfg(target_arch = "x86_64")]
#[path = "../tests/trace/subjects.rs"]
mod subjects;

#[cfg(target_arch = "x86_64")]
fn main() {
    use bixi_accel::cpu;
    cpu::configure_from_env().expect("a rung");
    let mut arguments = std::env::args().skip(1);
    let samples = arguments.next().map_or(1_000_000, |text| text.parse().expect("a number of samples"));
    let only = arguments.next().unwrap_or_default();
    println!("{samples} samples each, {:?}", cpu::limit());
    let chosen = subjects::all().into_iter().filter(|subject| subject.leaks || subject.name.contains(&only));
    let bad = chosen.filter(|subject| !verdict::is_as_it_must_be(subject, samples)).count();
    std::process::exit(i32::from(bad > 0));
}

#[cfg(not(target_arch = "x86_64"))]
fn main() {
    println!("needs x86-64's time stamp counter");
}

#[cfg(target_arch = "x86_64")]
mod statistics {
    use super::subjects::Run;
    use std::arch::x86_64::{__rdtscp, _mm_lfence, _rdtsc};
    use std::hint::black_box;

    /// Percentiles to crop at; the lower ones are the noiseless ones.
    const CROPS: usize = 100;
    /// Times that set the percentiles; they take no other part.
    const WARM_UP: usize = 10_000;

    /// Mean and variance of one class (Welford).
    #[derive(Clone, Copy, Default)]
    struct Moments {
        count: f64,
        mean: f64,
        squares: f64,
    }

    impl Moments {
        fn add(&mut self, x: f64) {
            self.count += 1.0;
            let delta = x - self.mean;
            self.mean += delta / self.count;
            self.squares += delta * (x - self.mean);
        }
    }

    #[derive(Clone, Copy, Default)]
    struct Welch([Moments; 2]);

    impl Welch {
        fn add(&mut self, class: usize, x: f64) {
            self.0[class].add(x);
        }

        /// Zero while a class has too few times to say anything.
        fn t(&self) -> f64 {
            let [a, b] = self.0;
            if a.count < 1000.0 || b.count < 1000.0 {
                return 0.0;
            }
            let error = a.squares / (a.count - 1.0) / a.count + b.squares / (b.count - 1.0) / b.count;
            if error == 0.0 { 0.0 } else { (a.mean - b.mean) / error.sqrt() }
        }
    }

    /// Cycles of the counter.
    fn time(run: Run) -> u64 {
        // SAFETY: every x86-64 processor has the instructions; they read no memory and write `aux` alone.
        unsafe {
            let mut aux = 0;
            _mm_lfence();
            let start = _rdtsc();
            _mm_lfence();
            run();
            let end = __rdtscp(&mut aux);
            _mm_lfence();
            end - start
        }
    }

    /// Inputs in memory at a time, each used once. A place in memory has a speed of its own: the class that has it is drawn
    /// again for every pool, so that places say nothing about classes, and no two times share an input.
    const POOL: usize = 256;

    /// The largest |t| of all tests. `make(0)` gives the operation with the fixed secret, `make(1)` with another.
    pub(super) fn largest_t(samples: usize, mut make: impl FnMut(usize) -> Run) -> f64 {
        let mut state = 0x9e37_79b9_7f4a_7c15u64;
        let mut random = move || {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            (state >> 20) as usize
        };
        let mut pool = Vec::new();
        let mut sample = || {
            if pool.is_empty() {
                pool.extend((0..POOL).map(|_| random() & 1).map(|class| (class, make(class))));
            }
            let (class, run) = pool.pop().expect("filled above");
            (class, time(black_box(run)) as f64)
        };
        let mut first: Vec<f64> = (0..WARM_UP).map(|_| sample().1).collect();
        first.sort_by(f64::total_cmp);
        let crop =
            |i: usize| first[((1.0 - 0.5f64.powf(10.0 * (i + 1) as f64 / CROPS as f64)) * WARM_UP as f64) as usize];
        let crops: Vec<f64> = (0..CROPS).map(crop).collect();
        let (mut whole, mut squares, mut cropped) = (Welch::default(), Welch::default(), [Welch::default(); CROPS]);
        for index in 0..samples {
            let (class, x) = sample();
            whole.add(class, x);
            for (welch, _) in cropped.iter_mut().zip(&crops).filter(|(_, crop)| x < **crop) {
                welch.add(class, x);
            }
            if index > WARM_UP {
                squares.add(class, (x - whole.0[class].mean).powi(2));
            }
        }
        cropped.iter().chain([&whole, &squares]).map(|welch| welch.t().abs()).fold(0.0, f64::max)
    }
}

#[cfg(target_arch = "x86_64")]
mod verdict {
    use super::statistics::largest_t;
    use super::subjects::Subject;
    use bixi_accel::Seeded;

    /// dudect's bound.
    const LIMIT: f64 = 4.5;
    /// How often a subject above it is looked at again.
    const REPEATS: usize = 2;

    /// Measures, and prints the verdict.
    pub(super) fn is_as_it_must_be(subject: &Subject, samples: usize) -> bool {
        let Subject { name, leaks, .. } = *subject;
        let (mut rng, mut seed) = (Seeded::new(7), 0);
        let mut make = |class: usize| {
            let random: Vec<u8> = subject.fixed.iter().map(|_| rng.bytes::<1>()[0]).collect();
            seed += 1;
            (subject.prepare)(if class == 0 { &subject.fixed } else { &random }, seed)
        };
        // A leak shows again, and stronger the more samples; a disturbance of the machine does not.
        let mut t = largest_t(samples, &mut make);
        for _ in 0..REPEATS {
            if leaks || t < LIMIT {
                break;
            }
            println!("{name:46} |t| = {t:8.2}  once more");
            t = largest_t(samples, &mut make);
        }
        let is_found = t >= LIMIT;
        let verdict = match (is_found, leaks) {
            (false, false) => "constant",
            (true, true) => "found, as it must be",
            (true, false) => "LEAKS",
            (false, true) => "NOT FOUND: too noisy",
        };
        println!("{name:46} |t| = {t:8.2}  {verdict}");
        is_found == leaks
    }
}
