//! Where the nodes stand: namespaces on a wire, or this machine's loopback.

use std::fmt;
use std::path::Path;
use std::process::Command;

use bixi_tests::chain::Chain;
use bixi_tests::node::service;
use bixi_tests::setting;
use bixi_tests::settings::set;
use bixi_tests::wire::{Wire, private_network};

/// Places on the wire: the largest scenario.
const PLACES: usize = 7;
const P2P_PORT: u16 = 30_300;

/// What a scenario needs of the machine.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Needs {
    /// Processes.
    Nothing,
    /// Faults between nodes, or mounts.
    Privileges,
}

/// The ground of a run.
pub(crate) enum Ground {
    Namespaces { wire: Wire, _scratch: tempfile::TempDir },
    Loopback { reason: String },
}

/// What became of entering it.
pub(crate) enum Entered {
    Here(Ground),
    /// The scenarios ran in a process that has the network for itself.
    Done,
}

impl Ground {
    /// Enters a network of its own by running `test` again in it, or stays here.
    pub(crate) fn enter(test: &str, more: &[&str]) -> Entered {
        let arguments = [&["--exact", test, "--nocapture"], more].concat();
        match private_network(&arguments) {
            Ok(true) => {
                let scratch = tempfile::tempdir().expect("a temporary directory");
                Entered::Here(match Wire::new(PLACES, scratch.path(), setting("BIXI_FAULTS_SEED", 1)) {
                    Ok(wire) => Self::Namespaces { wire, _scratch: scratch },
                    Err(reason) => Self::Loopback { reason },
                })
            }
            Ok(false) => Entered::Done,
            Err(reason) => Entered::Here(Self::Loopback { reason }),
        }
    }

    /// Why a scenario cannot run here.
    pub(crate) fn lacks(&self, needs: Needs) -> Option<String> {
        match (self, needs) {
            (Self::Loopback { reason }, Needs::Privileges) => Some(format!("needs network namespaces: {reason}")),
            _ => None,
        }
    }

    /// The wire.
    ///
    /// # Panics
    /// When the scenario did not say that it needs it.
    pub(crate) fn wire(&self) -> &Wire {
        match self {
            Self::Namespaces { wire, .. } => wire,
            Self::Loopback { .. } => panic!("the scenario needs privileges and did not say so"),
        }
    }

    /// Mends what a scenario left broken.
    pub(crate) fn heal(&self) {
        if let Self::Namespaces { wire, .. } = self {
            wire.heal();
        }
    }

    /// Makes a chain whose nodes stand here.
    pub(crate) fn make_chain(&self, directory: &Path, nodes: usize) -> Chain {
        let Self::Namespaces { .. } = self else { return Chain::make(directory, &nodes.to_string()) };
        let addresses: Vec<String> = (0..nodes).map(|node| format!("{}:{P2P_PORT}", Wire::address(node))).collect();
        let chain = Chain::make(directory, &addresses.join(","));
        for (node, config) in chain.configs.iter().enumerate() {
            set(config, "rpc", "listen", &format!("\"{}:0\"", Wire::control_address(node)));
            // Strangers come by the other link.
            set(config, "p2p", "listen", &format!("\"0.0.0.0:{P2P_PORT}\""));
        }
        chain
    }

    /// Where strangers find the p2p port of a node, if elsewhere than the other nodes.
    pub(crate) fn stranger_address(&self, node: usize) -> Option<String> {
        match self {
            Self::Namespaces { .. } => Some(format!("{}:{P2P_PORT}", Wire::control_address(node))),
            Self::Loopback { .. } => None,
        }
    }

    /// The command that runs a node at its place.
    pub(crate) fn command(&self, node: usize) -> Command {
        match self {
            Self::Namespaces { .. } => {
                let service = service();
                let mut command = Wire::command(node, service.get_program().as_ref());
                command.args(service.get_args());
                command
            }
            Self::Loopback { .. } => service(),
        }
    }
}

impl fmt::Display for Ground {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Namespaces { .. } => {
                f.write_str("every node in a network namespace of its own, on a user-space wire")
            }
            Self::Loopback { reason } => write!(f, "nodes on loopback, no faults of the network ({reason})"),
        }
    }
}
