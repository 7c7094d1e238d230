//! Compiles the shim against the headers of the RocksDB that librocksdb-sys builds or links, with the flags it uses.

mod rocksdb_headers;

fn main() {
    println!("cargo:rerun-if-changed=shim");
    // The tests compare the shim with these headers.
    println!("cargo:rustc-env=BIXI_ROCKSDB_INCLUDE={}", rocksdb_headers::include_dir().display());
    rocksdb_headers::compiler().file("shim/cipherfs.cc").compile("bixi_cipherfs_shim");
}
