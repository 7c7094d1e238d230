//! SM2, SM3 and SM4 against `libsm`, the RustCrypto crates and OpenSSL. `BIXI_CPU=portable` measures the portable kernels.
#![forbid(unsafe_code)]
#![allow(missing_docs)]

mod sm2;
mod sm3;
mod sm4;

use bixi_accel::cpu;
use bixi_benches::Bench;

fn main() {
    cpu::configure_from_env().expect("a known value of BIXI_CPU");
    let selected = cpu::selected();
    let mut kernels: Vec<_> = selected.iter().map(|selected| (selected.operation, selected.kernel)).collect();
    kernels.push(("peer.openssl", openssl::version::version()));
    let mut bench = Bench::from_args(&kernels);
    sm3::run(&mut bench);
    sm4::run(&mut bench);
    sm2::run(&mut bench);
    bench.finish();
}

/// The kernel that serves `operation` in this process.
fn kernel(operation: &str) -> &'static str {
    let selected = cpu::selected().into_iter().find(|selected| selected.operation == operation);
    selected.unwrap_or_else(|| panic!("accel names no kernel for {operation}")).kernel
}

/// Bytes that are neither secret nor all alike.
fn pattern(bytes: usize) -> Vec<u8> {
    (0..bytes).map(|index| (index * 31 + 7) as u8).collect()
}
