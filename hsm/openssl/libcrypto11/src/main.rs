//! Prints where the sources of OpenSSL 1.1.1 lie that crate `openssl-src` carries, for `packaging/dev/openssl-plugins.sh`.
#![forbid(unsafe_code)]

fn main() {
    println!("{}", openssl_src::source_dir().display());
}
