//! Execution seen from outside: blocks in, receipts and rows out, with contracts compiled from `tests/fixtures/contracts`.

mod addresses;
mod blocks;
mod bounds;
mod consensus_contract;
mod crypto_contract;
mod dag_transfer;
mod environment;
mod failures;
mod order;
mod reverts;
mod support;
mod system_config;
