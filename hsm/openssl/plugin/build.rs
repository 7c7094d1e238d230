//! Tells the plugin which libcrypto it is built for: `openssl-sys` has looked.
#![forbid(unsafe_code)]

use std::env;

fn main() {
    println!("cargo:rustc-check-cfg=cfg(libcrypto3)");
    println!("cargo:rerun-if-changed=build.rs");
    let number = env::var("DEP_OPENSSL_VERSION_NUMBER").unwrap_or_default();
    let number =
        u64::from_str_radix(&number, 16).unwrap_or_else(|_| panic!("no OpenSSL, but something else ({number})"));
    let (major, minor) = (number >> 28, number >> 20 & 0xFF);
    let soname = match major {
        0 => panic!("OpenSSL before 1.1.1"),
        1 => format!("libcrypto.so.1.{minor}"),
        _ => format!("libcrypto.so.{major}"),
    };
    if major >= 3 {
        println!("cargo:rustc-cfg=libcrypto3");
    }
    println!("cargo:rustc-env=LIBCRYPTO={soname}");
}
