//! The plugin, loaded by path as a node does, over engines and providers that are really there: OpenSSL's own default provider, Debian's
//! gost, and `tests/fixtures/engine.c` for what an accelerator may do wrong. With libcrypto 3 always, and with 1.1 where
//! `BIXI_OPENSSL11` names what `packaging/dev/openssl-plugins.sh` built.
#![forbid(unsafe_code)]
#![allow(missing_docs)]

mod bench;
mod conformance;
mod faults;
mod use_of;
