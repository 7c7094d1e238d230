//! SM2, SM3 and SM4 against every library that can be had here: see `peers.sh`. `BIXI_CPU` names the highest instruction set to use, and
//! holds the peers to it where they have a switch.
#![deny(unsafe_code)]
#![allow(missing_docs)]

mod job;
#[allow(unsafe_code, reason = "the C boundary of the peers")]
mod peers;
#[allow(unsafe_code, reason = "affinity, a thread's clock, the kernel's cycle counter")]
mod processor;
mod rows;
mod stage;

use bixi_accel::memory::{Source, keep_tables_in};
use bixi_accel::{Random, RandomError, cpu, workload};
use bixi_benches::Bench;
use bixi_platform::huge_pages;
use bixi_platform::random::OsRandom;

/// The node's allocator: where it puts the memory of a large batch is a tenth of a verification.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// The kernel's generator.
#[derive(Clone)]
struct System;

impl Random for System {
    fn fill(&mut self, out: &mut [u8]) -> Result<(), RandomError> {
        OsRandom.fill(out).map_err(|error| RandomError::new(error.to_string()))
    }
}

fn main() {
    cpu::configure_from_env().expect("a known value of BIXI_CPU");
    stage::enter(cpu::limit());
    keep_tables_in(Source::new(huge_pages::lend, huge_pages::give_back));
    let selected = cpu::selected();
    let kernels: Vec<_> = selected.iter().map(|selected| (selected.operation, selected.kernel)).collect();
    let mut bench = Bench::from_args(&kernels).measured_with(processor::ThreadMeter::new());
    bench.note("allocator", "mimalloc for Rust contenders, the C library's for others");
    let setting = std::fs::read_to_string("/sys/kernel/mm/transparent_hugepage/enabled");
    bench.note("huge_pages", setting.map_or_else(|_| "none".to_owned(), |setting| setting.trim().to_owned()));
    bench.note("core", processor::pin().map_or_else(|error| format!("not pinned: {error}"), |core| core.to_string()));
    let peers = peers::Peers::load(cpu::limit());
    let present: Vec<_> = peers.present.iter().map(|peer| peer.name()).collect();
    bench.note("peers", present.join(", "));
    let absent: Vec<_> = peers.absent.iter().map(|(name, reason)| format!("{name} ({reason})")).collect();
    bench.note("peers_absent", absent.join(", "));
    let inputs = workload::Inputs::new(System).expect("keys and signatures");
    rows::run(&mut bench, &peers, &inputs);
    bench.finish();
}
