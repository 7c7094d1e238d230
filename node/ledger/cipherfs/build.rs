//! Compiles the shim against the headers of the RocksDB that librocksdb-sys builds or links, with the flags it uses.

use std::env;
use std::path::PathBuf;

fn main() {
    let include = include_dir();
    println!("cargo:rerun-if-changed=shim");
    println!("cargo:rerun-if-env-changed=ROCKSDB_INCLUDE_DIR");
    println!("cargo:rerun-if-env-changed=ROCKSDB_CXX_STD");
    // The tests compare the shim with these headers.
    println!("cargo:rustc-env=BIXI_ROCKSDB_INCLUDE={}", include.display());

    let standard = env::var("ROCKSDB_CXX_STD").unwrap_or_else(|_| "c++20".to_owned());
    cc::Build::new()
        .cpp(true)
        .std(standard.trim_start_matches("-std="))
        .define("NDEBUG", Some("1"))
        .define("HAVE_ALIGNED_NEW", None)
        .define("HAVE_UINT128_EXTENSION", None)
        .define("OS_LINUX", None)
        .define("ROCKSDB_PLATFORM_POSIX", None)
        .flag("-isystem")
        .flag(&include)
        .flag("-include")
        .flag("cstdint")
        .flag("-Wall")
        .flag("-Wextra")
        .flag("-Woverloaded-virtual")
        .warnings_into_errors(env::var_os("BIXI_WARNINGS_AS_ERRORS").is_some())
        .file("shim/cipherfs.cc")
        .compile("bixi_cipherfs_shim");
}

/// `ROCKSDB_INCLUDE_DIR` when a prebuilt RocksDB of another place is linked, else the sources inside librocksdb-sys.
fn include_dir() -> PathBuf {
    if let Some(dir) = env::var_os("ROCKSDB_INCLUDE_DIR") {
        return dir.into();
    }
    let sources = env::var_os("DEP_ROCKSDB_CARGO_MANIFEST_DIR").expect("librocksdb-sys tells where its sources are");
    PathBuf::from(sources).join("rocksdb/include")
}
