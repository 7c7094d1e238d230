//! The node file (`bixi.toml`), the genesis file (`genesis.toml`) and ceremonies' plans: typed, with every error reported at once.
//!
//! Each error names file, line and key, says what was expected and, for an unknown key, which known one is nearest.
//! Rendering and parsing are inverse: `bixi chain new` writes what [`NodeConfig::render`] returns, and the shipped
//! `config/bixi.toml` is exactly the rendering of the defaults.

#![forbid(unsafe_code)]

mod ceremony;
mod diagnostic;
mod document;
mod genesis;
mod node;

pub use ceremony::{CeremonyPlan, CeremonyStep};
pub use diagnostic::{ConfigErrors, Diagnostic};
pub use genesis::{is_chain_name, parse_genesis, render_genesis};
pub use node::{
    Accelerator, Consensus, Hsm, HsmBackend, IoBackend, Log, LogFormat, NodeConfig, P2p, Pin, PlacementMode,
    RandomTest, Rpc, Storage, Sync, Txpool, is_peer_address,
};
