//! How C++ is compiled against the RocksDB that is linked; included by the build scripts of whatever holds some.

use std::env;
use std::path::PathBuf;

/// A compiler with the flags that librocksdb-sys gives its own sources.
pub(crate) fn compiler() -> cc::Build {
    println!("cargo:rerun-if-env-changed=ROCKSDB_INCLUDE_DIR");
    println!("cargo:rerun-if-env-changed=ROCKSDB_CXX_STD");
    let standard = env::var("ROCKSDB_CXX_STD").unwrap_or_else(|_| "c++20".to_owned());
    let mut build = cc::Build::new();
    build
        .cpp(true)
        .std(standard.trim_start_matches("-std="))
        .define("NDEBUG", Some("1"))
        .define("HAVE_ALIGNED_NEW", None)
        .define("HAVE_UINT128_EXTENSION", None)
        .define("OS_LINUX", None)
        .define("ROCKSDB_PLATFORM_POSIX", None)
        .flag("-isystem")
        .flag(include_dir())
        .flag("-include")
        .flag("cstdint")
        .flag("-Wall")
        .flag("-Wextra")
        .flag("-Woverloaded-virtual")
        .warnings_into_errors(env::var_os("BIXI_WARNINGS_AS_ERRORS").is_some());
    build
}

/// `ROCKSDB_INCLUDE_DIR` when a prebuilt RocksDB of another place is linked, else the sources inside librocksdb-sys.
pub(crate) fn include_dir() -> PathBuf {
    if let Some(dir) = env::var_os("ROCKSDB_INCLUDE_DIR") {
        return dir.into();
    }
    let sources = env::var_os("DEP_ROCKSDB_CARGO_MANIFEST_DIR").expect("librocksdb-sys tells where its sources are");
    PathBuf::from(sources).join("rocksdb/include")
}
