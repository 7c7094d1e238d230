//! Accelerators that speak OpenSSL, for Bixi: a plugin that opens one ENGINE or one provider and lends its SM2, SM3 and SM4.
//!
//! One source, built once per ABI of libcrypto: 1.1, for which KAE, HCT and their likes are made, and 3. The node links no OpenSSL; it loads
//! this library when its configuration says so, through [`bixi_hsm_openssl_abi`].
//!
//! ```text
//!  host ─▶ table (pointers) ─▶ accelerator ─▶ engine | provider  (finding: what is offered, and by whom)
//!                                    └──────▶ evp                (using: one context for each call)
//! ```
//!
//! Invariants:
//! * Nothing is computed by libcrypto itself: an engine is named in every `Init`, an algorithm of a provider is fetched from it and its
//!   owner compared; where the accelerator does not offer it, there is no operation.
//! * No default of the process is touched: engines are not registered, providers live in a library context of our own, `openssl.cnf`
//!   is not read.
//! * Keys are in contexts that one call makes and frees; freeing wipes what libcrypto and providers hold of them. What an engine
//!   copied into its device or its own memory is beyond us.
#![deny(clippy::panic, clippy::unwrap_used, clippy::expect_used)]

mod accelerator;
mod engine;
mod errors;
mod evp;
#[cfg(libcrypto3)]
mod provider;
mod sm2;
mod table;

/// Why something was not done, for people.
type Failure = String;
