//! All steps of the ceremony, one after the other. Each one that touches a token is a process of its own, because the module reads
//! its settings once.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context as _, bail};
use bixi_runtime::chain::{self, ChainError, Expansion, NodeKeys, Placed, Preparation};
use bixi_types::NodeId;
use serde_json::{Value, json};

use crate::console;
use crate::failure::Failure;

/// Hexadecimal digits of a node's id that tables show.
pub(crate) const SHORT_ID_DIGITS: usize = 12;

/// What a ceremony made.
pub(crate) struct Made {
    directory: PathBuf,
    genesis: String,
    pub(crate) nodes: Vec<Placed>,
    ids: Vec<NodeId>,
}

impl Made {
    pub(crate) fn to_json(&self) -> Value {
        let nodes: Vec<Value> = self
            .rows()
            .map(|(node, id)| {
                json!({"node": node.home.name(), "id": id.to_hex(), "p2p": node.p2p, "rpc": node.rpc, "directory": node.home.path()})
            })
            .collect();
        json!({"directory": self.directory, "genesis": self.genesis, "nodes": nodes})
    }

    pub(crate) fn to_text(&self) -> String {
        let mut rows = vec![["node", "id", "p2p", "rpc", "directory"].map(str::to_owned)];
        rows.extend(self.rows().map(|(node, id)| {
            [
                node.home.name(),
                id.to_hex()[..SHORT_ID_DIGITS].to_owned(),
                node.p2p.clone().unwrap_or_else(|| "-".to_owned()),
                node.rpc.to_string(),
                node.home.path().display().to_string(),
            ]
        }));
        console::table(&rows)
    }

    fn rows(&self) -> impl Iterator<Item = (&Placed, &NodeId)> {
        self.nodes.iter().zip(&self.ids)
    }
}

/// Makes a chain, asking `go_on` before each step.
pub(crate) fn make(
    wish: &Preparation,
    ca_module: &Path,
    go_on: &mut dyn FnMut() -> Result<(), Failure>,
) -> Result<Made, Failure> {
    console::say(&format!("chain: preparing {}", wish.directory.display()));
    let nodes = chain::prepare(wish)?;
    let advice = format!("{} is no chain yet; remove what is in it before trying again", wish.directory.display());
    let genesis = || Ok(chain::write_genesis(wish)?.hash().to_string());
    take_steps(Steps { directory: &wish.directory, ca_module, nodes, advice }, genesis, go_on)
}

/// Makes the directories of nodes that join a chain.
pub(crate) fn expand(wish: &Expansion, ca_module: &Path) -> Result<Made, Failure> {
    console::say(&format!("chain: preparing new nodes in {}", wish.directory.display()));
    let nodes = chain::prepare_expansion(wish)?;
    let names: Vec<String> = nodes.iter().map(|node| node.home.name()).collect();
    let advice = format!("no node yet; remove {} before trying again", names.join(", "));
    let first = nodes[0].home.clone();
    let genesis = || Ok(first.read_genesis()?.hash().to_string());
    take_steps(Steps { directory: &wish.directory, ca_module, nodes, advice }, genesis, &mut || Ok(()))
}

/// What is the same for a new chain and for new nodes of one.
struct Steps<'a> {
    directory: &'a Path,
    /// PKCS#11 module of the CA's token, whatever the nodes have.
    ca_module: &'a Path,
    nodes: Vec<Placed>,
    /// What to do when a step fails.
    advice: String,
}

fn take_steps(
    steps: Steps<'_>,
    genesis: impl FnOnce() -> Result<String, ChainError>,
    go_on: &mut dyn FnMut() -> Result<(), Failure>,
) -> Result<Made, Failure> {
    let step =
        |name, directory: &Path, module| child_step(name, directory, module).with_context(|| steps.advice.clone());
    for node in &steps.nodes {
        go_on()?;
        console::say(&format!("chain: generating keys inside the token of {}", node.home.name()));
        step("keys", node.home.path(), None)?;
    }
    let genesis = genesis()?;
    console::say(&format!("chain: genesis {genesis}"));
    go_on()?;
    console::say("chain: certifying TLS keys with a CA in a token of its own");
    step("certify", steps.directory, Some(steps.ca_module))?;
    for node in &steps.nodes {
        go_on()?;
        console::say(&format!("chain: making vault and sign-once guard of {}", node.home.name()));
        step("seal", node.home.path(), None)?;
    }
    let ids = steps.nodes.iter().map(|node| NodeKeys::read(&node.home)?.node_id()).collect::<Result<_, _>>()?;
    Ok(Made { directory: steps.directory.to_owned(), genesis, nodes: steps.nodes, ids })
}

fn child_step(step: &str, directory: &Path, module: Option<&Path>) -> anyhow::Result<()> {
    let mut command = Command::new(std::env::current_exe()?);
    command.args(["chain", step, "--dir"]).arg(directory).stdin(Stdio::null()).stdout(Stdio::null());
    if let Some(module) = module {
        command.arg("--module").arg(module);
    }
    let status = command.status().with_context(|| format!("cannot start the step `chain {step}`"))?;
    if !status.success() {
        bail!("the step `chain {step}` ended with {status}; its message is above");
    }
    Ok(())
}
