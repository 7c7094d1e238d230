//! No branch and no address depends on a secret, on the processor itself: every operation on secrets is run instruction by
//! instruction with several secrets, and all runs must be the same instructions in the same order, touching the same memory.
//! Unlike valgrind (`secret_flow.rs`) this sees every kernel that the processor has, and what the compiler made of it; unlike the
//! statistical test (`examples/leaks.rs`) it has no noise. What it cannot see is an instruction whose own time depends on its operands.
//!
//! What is public by design (a nonce drawn again, an exception of one scalar in 2^250, verdicts) is the same in all runs.
//!
//! `BIXI_TRACE_SECRETS=3 BIXI_CPU=avx2 cargo test -p bixi-accel --test trace -- [part of a name]`: all operations, and that many secrets held
//! against a fixed one. Unless it is said, one, and what takes long is left out: a stop at every instruction costs some 20 µs on a
//! virtual machine.
#![allow(clippy::print_stdout, missing_docs)]

#[cfg(all(target_arch = "x86_64", target_os = "linux"))]
#[path = "trace/subjects.rs"]
mod subjects;
#[cfg(all(target_arch = "x86_64", target_os = "linux"))]
#[path = "trace/tracer.rs"]
mod tracer;

#[cfg(not(all(target_arch = "x86_64", target_os = "linux")))]
fn main() {
    println!("SKIPPED: needs Linux on x86-64");
}

#[cfg(all(target_arch = "x86_64", target_os = "linux"))]
fn main() -> std::process::ExitCode {
    traces::main()
}

#[cfg(all(target_arch = "x86_64", target_os = "linux"))]
mod traces {
    use super::subjects::{self, Subject};
    use super::tracer::{self, Step, TraceError};
    use bixi_accel::{Seeded, cpu};
    use std::process::{Command, ExitCode};

    /// Set for the process that is traced: number of the subject, and the secret in hexadecimal.
    const TRACED: &str = "BIXI_TRACED";
    /// Seed of what an operation draws, the same in every run.
    const SEED: u64 = 1 << 44;
    /// Number of secrets beside the fixed one; all operations, if it is set.
    const SECRETS: &str = "BIXI_TRACE_SECRETS";

    pub(crate) fn main() -> ExitCode {
        cpu::configure_from_env().expect("a rung");
        if let Ok(what) = std::env::var(TRACED) {
            run_traced(&what);
            return ExitCode::SUCCESS;
        }
        let only = std::env::args().skip(1).find(|argument| !argument.starts_with('-')).unwrap_or_default();
        let secrets = std::env::var(SECRETS).ok().map(|text| text.parse::<u64>().expect("a number of secrets"));
        println!("{:?}, {} secrets beside a fixed one", cpu::limit(), secrets.unwrap_or(1));
        tracer::stay_on_one_core();
        let mut bad = 0;
        // Both begin alike: the traced process finds its subject among all.
        let chosen = if secrets.is_some() { subjects::all() } else { subjects::daily() };
        let is_wanted = |subject: &Subject| subject.leaks || subject.name.contains(&only);
        for (index, subject) in chosen.iter().enumerate().filter(|(_, subject)| is_wanted(subject)) {
            match first_difference(index, subject, secrets.unwrap_or(1)) {
                Err(error @ TraceError::Forbidden(_)) => {
                    println!("SKIPPED: {error}");
                    return ExitCode::SUCCESS;
                }
                Err(error) => panic!("{}: {error}", subject.name),
                Ok(found) => bad += usize::from(!tell(subject, found)),
            }
        }
        if bad == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
    }

    /// The traced process: once to warm up what is made at first use, then between the marks.
    fn run_traced(what: &str) {
        let (index, secret) = what.split_once(' ').expect("a number and a secret");
        let subject = &subjects::all()[index.parse::<usize>().expect("a number")];
        (subject.prepare)(&subject.fixed, SEED)();
        let run = (subject.prepare)(&hex::decode(secret).expect("hexadecimal"), SEED);
        tracer::mark();
        run();
        tracer::mark();
    }

    /// What a comparison found.
    struct Found {
        steps: usize,
        /// The last instruction that all runs have in common, and in words what differs after or in it.
        difference: Option<(u64, &'static str)>,
    }

    fn first_difference(index: usize, subject: &Subject, secrets: u64) -> Result<Found, TraceError> {
        let trace = |secret: &[u8]| {
            let mut command = Command::new(std::env::current_exe().map_err(TraceError::System)?);
            // Three digits always: an environment of another length moves the stack.
            command.env(TRACED, format!("{index:03} {}", hex::encode(secret)));
            tracer::trace(command)
        };
        let first = trace(&subject.fixed)?;
        let mut found = Found { steps: first.len(), difference: None };
        for seed in 0..secrets {
            let mut secret = vec![0; subject.fixed.len()];
            secret.fill_with({
                let mut rng = Seeded::new(seed);
                move || rng.bytes::<1>()[0]
            });
            found.difference = found.difference.or(difference(&first, &trace(&secret)?));
        }
        Ok(found)
    }

    fn difference(one: &[Step], other: &[Step]) -> Option<(u64, &'static str)> {
        let same = one.iter().zip(other).take_while(|(one, other)| one == other).count();
        match (one.get(same), other.get(same)) {
            (None, None) => None,
            (Some(a), Some(b)) if a.at == b.at => Some((a.at, "touches other memory")),
            _ => Some((one[same.saturating_sub(1)].at, "is followed by another instruction")),
        }
    }

    /// Prints the verdict; whether it is the one expected.
    fn tell(subject: &Subject, found: Found) -> bool {
        let verdict = match (&found.difference, subject.leaks) {
            (None, false) => "same",
            (Some(_), true) => "found, as it must be",
            (Some(_), false) => "DEPENDS ON THE SECRET",
            (None, true) => "NOT FOUND: nothing is proven",
        };
        println!("{:46} {:9} instructions  {verdict}", subject.name, found.steps);
        if let Some((at, what)) = found.difference.filter(|_| !subject.leaks) {
            println!("  the instruction at {at:#x} {what}: {}", place(at));
        }
        found.difference.is_some() == subject.leaks
    }

    /// Function and line, as far as `addr2line` knows them. Without randomisation a program that may lie anywhere lies here.
    fn place(at: u64) -> String {
        const BASE: u64 = 0x5555_5555_4000;
        let output = Command::new("addr2line")
            .args(["-f", "-C", "-i", "-p", "-e"])
            .arg(std::env::current_exe().expect("own path"))
            .arg(format!("{:#x}", at.wrapping_sub(BASE)))
            .output();
        output.map_or_else(
            |error| format!("addr2line: {error}"),
            |output| String::from_utf8_lossy(&output.stdout).into_owned(),
        )
    }
}
