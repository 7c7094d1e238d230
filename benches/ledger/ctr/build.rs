//! Compiles the shim as cipherfs compiles its own.

#[path = "../../../node/ledger/cipherfs/rocksdb_headers.rs"]
mod rocksdb_headers;

fn main() {
    println!("cargo:rerun-if-changed=shim");
    rocksdb_headers::compiler().file("shim/ctr.cc").compile("bixi_benches_ctr_shim");
}
