//! `bixi chain`: the ceremony, whole or step by step.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context as _, bail};
use bixi_runtime::chain::{self, NodeDirectory, Preparation};
use bixi_types::{CryptoSuite, EvmHash};
use clap::{Args, Subcommand, ValueEnum};

use crate::failure::{Failure, Status};
use crate::{console, token};

/// The ceremony that makes a chain, whole or step by step.
///
/// `new` takes every step; the others are its parts, for officers who take them one by one. Nothing that exists is ever
/// replaced. PINs are random, and are only in `secrets/` (0400).
///
/// Exit status: 0 made; 1 a step failed; 2 not in this release; 77 the key device refused the PIN; 78 a file cannot be used.
#[derive(Debug, Subcommand)]
pub(crate) enum ChainCommand {
    /// Make a chain: directories, tokens, keys, genesis, certificates, vaults, guards.
    New(NewArgs),
    /// Initialise a node's token and generate consensus key, TLS key and key encryption key inside it, not extractable.
    /// Prints their public parts as JSON.
    Keys(NodeArgs),
    /// Make the chain's CA in a token of its own (DIR/ca) and certify every node's TLS key.
    Certify(CertifyArgs),
    /// Make a node's vault of data keys and its sign-once guard, for the genesis it holds.
    Seal(NodeArgs),
}

#[derive(Debug, Args)]
pub(crate) struct NewArgs {
    /// Where the chain goes; must be absent or empty.
    #[arg(long, value_name = "DIR")]
    dir: PathBuf,
    /// Validators. This release makes one.
    #[arg(long, default_value_t = 1)]
    nodes: u32,
    /// Algorithms of the chain. This release makes sm.
    #[arg(long, value_enum, default_value_t = Suite::Sm)]
    suite: Suite,
    /// Chain id, signed into every transaction.
    #[arg(long, default_value = "chain0")]
    chain_id: String,
    /// Group id, signed into every transaction.
    #[arg(long, default_value = "group0")]
    group_id: String,
    /// The hash contracts see: sm3 for contracts of solc-gm, keccak256 for contracts of the stock solc.
    #[arg(long, value_enum, default_value_t = ContractHash::Sm3)]
    evm_hash: ContractHash,
    /// JSON-RPC port of the first node, on loopback.
    #[arg(long, default_value_t = 20200)]
    rpc_port: u16,
    /// PKCS#11 module [default: libbixi_token.so beside this executable, else /usr/lib/bixi].
    #[arg(long, value_name = "PATH")]
    module: Option<PathBuf>,
}

#[derive(Debug, Args)]
pub(crate) struct NodeArgs {
    /// The node's directory, such as DIR/node0.
    #[arg(long, value_name = "DIR")]
    dir: PathBuf,
}

#[derive(Debug, Args)]
pub(crate) struct CertifyArgs {
    /// The chain's directory.
    #[arg(long, value_name = "DIR")]
    dir: PathBuf,
    /// PKCS#11 module of the CA's token [default: as for `new`].
    #[arg(long, value_name = "PATH")]
    module: Option<PathBuf>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Suite {
    /// SM2, SM3, SM4.
    Sm,
    /// secp256k1, keccak256, AES (not in this release).
    Std,
}

impl Suite {
    pub(crate) fn crypto(self) -> CryptoSuite {
        match self {
            Self::Sm => CryptoSuite::Sm,
            Self::Std => CryptoSuite::Std,
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum ContractHash {
    Sm3,
    Keccak256,
}

pub(crate) fn run(command: &ChainCommand) -> Result<(), Failure> {
    match command {
        ChainCommand::New(args) => new(args),
        ChainCommand::Keys(args) => keys(&NodeDirectory::new(&args.dir)),
        ChainCommand::Certify(args) => certify(args),
        ChainCommand::Seal(args) => seal(&NodeDirectory::new(&args.dir)),
    }
}

fn new(args: &NewArgs) -> Result<(), Failure> {
    let evm_hash = match args.evm_hash {
        ContractHash::Sm3 => EvmHash::Sm3,
        ContractHash::Keccak256 => EvmHash::Keccak256,
    };
    let wish = Preparation {
        directory: args.dir.clone(),
        nodes: args.nodes,
        suite: args.suite.crypto(),
        chain_id: args.chain_id.clone(),
        group_id: args.group_id.clone(),
        evm_hash,
        rpc_listen: SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), args.rpc_port),
        // Looked for below, after what needs no looking.
        module: PathBuf::new(),
    };
    available(&wish)?;
    let wish = Preparation { module: token::module(args.module.as_deref())?, ..wish };
    make(&wish, &mut || Ok(()))?;
    console::say(&format!("chain: run it with: bixi run --config {}", args.dir.join("node0/bixi.toml").display()));
    Ok(())
}

/// Refuses what this release cannot make, and a umask under which nobody could, before anything is touched.
pub(crate) fn available(wish: &Preparation) -> Result<(), Failure> {
    chain::check(wish).map_err(|error| Failure::new(Status::Usage, error))?;
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    match status.lines().find_map(|line| line.strip_prefix("Umask:")).map(str::trim) {
        Some(umask) if u32::from_str_radix(umask, 8).is_ok_and(|mask| mask & 0o700 != 0) => {
            let text =
                format!("the umask {umask} takes the owner's own rights to what is made; set it to 0077 or 0022");
            Err(Failure::new(Status::Fault, text))
        }
        _ => Ok(()),
    }
}

/// Takes every step, asking `go_on` before each. Each one that touches a token is a process of its own, because the module
/// reads its settings once.
pub(crate) fn make(wish: &Preparation, go_on: &mut dyn FnMut() -> Result<(), Failure>) -> Result<(), Failure> {
    console::say(&format!("chain: preparing {}", wish.directory.display()));
    chain::prepare(wish)?;
    let step = |name, directory: &Path, module| {
        child_step(name, directory, module).with_context(|| {
            let all = wish.directory.display();
            format!("{all} is no chain yet; remove what is in it before trying again")
        })
    };
    let nodes = chain::node_directories(&wish.directory);
    for node in &nodes {
        go_on()?;
        console::say(&format!("chain: generating keys inside the token of {}", name(node)));
        step("keys", node.path(), None)?;
    }
    let genesis = chain::write_genesis(wish)?;
    console::say(&format!("chain: genesis {}", genesis.hash()));
    go_on()?;
    console::say("chain: certifying TLS keys with a CA in a token of its own");
    step("certify", &wish.directory, Some(&wish.module))?;
    for node in &nodes {
        go_on()?;
        console::say(&format!("chain: making vault and sign-once guard of {}", name(node)));
        step("seal", node.path(), None)?;
    }
    Ok(())
}

fn name(node: &NodeDirectory) -> String {
    node.path().file_name().unwrap_or_default().to_string_lossy().into_owned()
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

fn keys(node: &NodeDirectory) -> Result<(), Failure> {
    token::bind(&node.token_home().token_config())?;
    bixi_runtime::process::harden()?;
    let made = chain::make_keys(node)?;
    Ok(console::result(&made.to_json().to_string())?)
}

fn certify(args: &CertifyArgs) -> Result<(), Failure> {
    token::bind(&chain::ca_home(&args.dir).token_config())?;
    bixi_runtime::process::harden()?;
    Ok(chain::certify(&args.dir, &token::module(args.module.as_deref())?)?)
}

fn seal(node: &NodeDirectory) -> Result<(), Failure> {
    token::bind(&node.token_home().token_config())?;
    bixi_runtime::process::harden()?;
    Ok(chain::seal(node)?)
}
