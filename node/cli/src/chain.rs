//! `bixi chain`: the ceremony, whole or step by step.

mod make;

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::PathBuf;

use bixi_config::HsmBackend;
use bixi_runtime::chain::{self, DeviceChoice, Expansion, Members, NodeDirectory, Places, Preparation, Revoked};
use bixi_types::{CryptoSuite, EvmHash};
use clap::{Args, Subcommand, ValueEnum};

use crate::failure::{Failure, Status};
use crate::{console, token};

/// Socket of each node's broker, in the node's directory.
pub(crate) const BROKER: &str = "broker.sock";

pub(crate) use make::{SHORT_ID_DIGITS, make};

/// The ceremony that makes a chain, whole or step by step.
///
/// `new` takes every step; the others are its parts, for officers who take them one by one. Nothing that exists is ever
/// replaced. PINs are random, and are only in `secrets/` (0400).
///
/// Exit status: 0 made; 1 a step failed; 2 not in this release; 77 the key device refused the PIN; 78 a file cannot be used.
#[derive(Debug, Subcommand)]
pub(crate) enum ChainCommand {
    /// Make a chain, or directories for nodes that join one: tokens, keys, genesis, certificates, vaults, guards.
    New(NewArgs),
    /// Initialise a node's token and generate consensus key, TLS key and key encryption key inside it, not extractable.
    /// Prints their public parts as JSON. An attempt that ended before is gone on with.
    Keys(KeysArgs),
    /// Make the chain's CA in a token of its own (DIR/ca), if there is none, and certify every node's TLS key that is not yet.
    Certify(CertifyArgs),
    /// Make a node's vault of data keys and its sign-once guard, for the genesis it holds.
    Seal(NodeArgs),
    /// Take certificates back: have the chain's CA sign a revocation list (DIR/ca/ca.crl) with these and all that stand on it. A node
    /// goes by it once p2p.crl names its copy and the node has started, or reloaded at SIGHUP: then it ends such sessions.
    Revoke(RevokeArgs),
}

#[derive(Debug, Args)]
pub(crate) struct NewArgs {
    /// Where the chain goes; must be absent or empty.
    #[arg(long, value_name = "DIR", required_unless_present = "expand", conflicts_with = "expand")]
    dir: Option<PathBuf>,
    /// Make directories for nodes that join the chain in DIR instead: same CA, same genesis. They follow as observers until a
    /// transaction admits them. What is there stays as it is.
    #[arg(long, value_name = "DIR", conflicts_with_all = ["suite", "chain_id", "group_id", "evm_hash"])]
    expand: Option<PathBuf>,
    /// A number of nodes on this machine, at most 31, or where each is found by the others: host:port,host:port,...
    /// One alone, given as a number, has no network.
    #[arg(long, value_name = "NODES", default_value = "1")]
    nodes: Members,
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
    /// p2p port of the first node, when --nodes is a number; the others count up. 0 gives the chain a loopback address of its own,
    /// where it meets no other chain.
    #[arg(long, default_value_t = 30300)]
    p2p_port: u16,
    /// JSON-RPC port of the first node of each machine, on loopback; the others count up. 0 lets the system choose.
    #[arg(long, default_value_t = 20200)]
    rpc_port: u16,
    /// Kind of the nodes' key devices. The CA's key is in a PKCS#11 token whatever they are.
    #[arg(long, value_enum, default_value_t = Backend::Pkcs11)]
    backend: Backend,
    /// PKCS#11 module, SDF library or TPM (/dev/tpmrm0) [default for pkcs11: libbixi_token.so beside this executable, else /usr/lib/bixi].
    #[arg(long, value_name = "PATH", required_if_eq_any([("backend", "sdf"), ("backend", "tpm")]))]
    module: Option<PathBuf>,
    /// With --backend sdf: a file (0400) with the password that the device has already. Other devices are given a fresh PIN.
    #[arg(long, value_name = "PATH")]
    pin_file: Option<PathBuf>,
    /// Have each node's device held by a process of its own (hsm.broker = "broker.sock"): start `bixi hsm serve` beside it.
    #[arg(long)]
    broker: bool,
    /// Print what was made as one JSON object on standard output.
    ///
    /// {"directory", "genesis", "nodes": [{"node", "id", "p2p", "rpc", "directory"}]}
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Args)]
pub(crate) struct NodeArgs {
    /// The node's directory, such as DIR/node0.
    #[arg(long, value_name = "DIR")]
    dir: PathBuf,
}

#[derive(Debug, Args)]
pub(crate) struct KeysArgs {
    #[command(flatten)]
    node: NodeArgs,
    /// Take the key encryption key with this fingerprint, which an attempt before made and did not note.
    #[arg(long, value_name = "FINGERPRINT")]
    adopt: Vec<String>,
}

#[derive(Debug, Args)]
pub(crate) struct CertifyArgs {
    #[command(flatten)]
    ca: AuthorityArgs,
    /// Certify keys again whose certificate was taken back: nobody but their nodes has them.
    #[arg(long)]
    key_is_safe: bool,
    /// Certify the key of a request instead, as `bixi hsm rotate tls` writes one.
    #[arg(long, value_name = "FILE", requires_all = ["node", "out"])]
    request: Option<PathBuf>,
    /// With --request, the name of the node it is for.
    #[arg(long, value_name = "NAME", requires = "request")]
    node: Option<String>,
    /// With --request, where the certificate goes; a new file.
    #[arg(long, value_name = "FILE", requires = "request")]
    out: Option<PathBuf>,
}

#[derive(Debug, Args)]
pub(crate) struct AuthorityArgs {
    /// The chain's directory.
    #[arg(long, value_name = "DIR")]
    dir: PathBuf,
    /// PKCS#11 module of the CA's token [default: as for `new`].
    #[arg(long, value_name = "PATH")]
    module: Option<PathBuf>,
}

#[derive(Debug, Args)]
pub(crate) struct RevokeArgs {
    #[command(flatten)]
    ca: AuthorityArgs,
    /// Certificates that the chain's CA issued, PEM. Copies of all are in DIR/ca/issued.
    #[arg(value_name = "CERTIFICATE", required = true)]
    certificates: Vec<PathBuf>,
    /// Print what was written as one JSON object on standard output.
    ///
    /// {"list", "number", "certificates"}
    #[arg(long)]
    json: bool,
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
pub(crate) enum Backend {
    /// A PKCS#11 module; the shipped one keeps keys in a sealed store.
    Pkcs11,
    /// A GM/T 0018 library, made ready with its vendor's tool; one node at a time.
    Sdf,
    /// A TPM 2.0 with SM2.
    Tpm,
}

impl Backend {
    fn hsm(self) -> HsmBackend {
        match self {
            Self::Pkcs11 => HsmBackend::Pkcs11,
            Self::Sdf => HsmBackend::Sdf,
            Self::Tpm => HsmBackend::Tpm,
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
        ChainCommand::Keys(args) => keys(&NodeDirectory::new(&args.node.dir), &args.adopt),
        ChainCommand::Certify(args) => certify(args),
        ChainCommand::Seal(args) => seal(&NodeDirectory::new(&args.dir)),
        ChainCommand::Revoke(args) => revoke(args),
    }
}

fn new(args: &NewArgs) -> Result<(), Failure> {
    let places = Places {
        members: args.nodes.clone(),
        p2p_port: args.p2p_port,
        rpc_listen: SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), args.rpc_port),
    };
    let made = match (&args.expand, &args.dir) {
        (Some(directory), _) => {
            writable()?;
            let device = device(args)?;
            make::expand(&Expansion { directory: directory.clone(), places, device }, &ca_module(args)?)?
        }
        (None, Some(directory)) => {
            let evm_hash = match args.evm_hash {
                ContractHash::Sm3 => EvmHash::Sm3,
                ContractHash::Keccak256 => EvmHash::Keccak256,
            };
            let wish = Preparation {
                directory: directory.clone(),
                places,
                suite: args.suite.crypto(),
                chain_id: args.chain_id.clone(),
                group_id: args.group_id.clone(),
                evm_hash,
                // Its module is looked for below, after what needs no looking.
                device: described_device(args, PathBuf::new()),
            };
            available(&wish)?;
            make::make(&Preparation { device: device(args)?, ..wish }, &ca_module(args)?, &mut || Ok(()))?
        }
        (None, None) => return Err(Failure::new(Status::Usage, "name the chain's directory with --dir")),
    };
    console::result(&if args.json { made.to_json().to_string() } else { made.to_text() })?;
    let config = match made.nodes.as_slice() {
        [only] => only.home.config(),
        _ => PathBuf::from("DIRECTORY/bixi.toml"),
    };
    if args.broker {
        console::say("chain: start the broker of each node first: bixi hsm serve --config DIRECTORY/bixi.toml");
    }
    console::say(&format!(
        "chain: run {} with: bixi run --config {}",
        if made.nodes.len() == 1 { "it" } else { "each" },
        config.display()
    ));
    Ok(())
}

/// What the node files are to say of the device, `module` included.
fn described_device(args: &NewArgs, module: PathBuf) -> DeviceChoice {
    let broker = if args.broker { BROKER.into() } else { PathBuf::new() };
    DeviceChoice { backend: args.backend.hsm(), module, broker, pin: args.pin_file.clone() }
}

fn device(args: &NewArgs) -> Result<DeviceChoice, Failure> {
    Ok(described_device(args, token::module(args.module.as_deref())?))
}

/// The module of the CA's token.
fn ca_module(args: &NewArgs) -> Result<PathBuf, Failure> {
    token::module(args.module.as_deref().filter(|_| args.backend == Backend::Pkcs11))
}

/// Refuses what this release cannot make, and a umask under which nobody could, before anything is touched.
pub(crate) fn available(wish: &Preparation) -> Result<(), Failure> {
    chain::check(wish).map_err(|error| Failure::new(Status::Usage, error))?;
    writable()
}

fn writable() -> Result<(), Failure> {
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

fn keys(node: &NodeDirectory, adopt: &[String]) -> Result<(), Failure> {
    token::bind(&node.token_home().token_config())?;
    bixi_runtime::process::harden()?;
    let made = chain::make_keys(node, adopt)?;
    Ok(console::result(&made.to_json().to_string())?)
}

fn certify(args: &CertifyArgs) -> Result<(), Failure> {
    let (chain, module) = (&args.ca.dir, authority(&args.ca)?);
    match (&args.request, &args.node, &args.out) {
        (Some(request), Some(node), Some(out)) => {
            Ok(chain::certify_request(chain, &module, request, node, out, args.key_is_safe)?)
        }
        _ => Ok(chain::certify(chain, &module, args.key_is_safe)?),
    }
}

/// Makes this process one that may use the CA's token; the module to use it by.
fn authority(args: &AuthorityArgs) -> Result<PathBuf, Failure> {
    token::bind(&chain::ca_home(&args.dir).token_config())?;
    bixi_runtime::process::harden()?;
    token::module(args.module.as_deref())
}

fn revoke(args: &RevokeArgs) -> Result<(), Failure> {
    let Revoked { list, number, certificates } =
        chain::revoke(&args.ca.dir, &authority(&args.ca)?, &args.certificates)?;
    let text = if args.json {
        serde_json::json!({"list": list, "number": number, "certificates": certificates}).to_string()
    } else {
        format!("{}: list {number}, {certificates} certificates", list.display())
    };
    console::result(&text)?;
    console::say(
        "chain: copy it to every node, name it in p2p.crl, and have the nodes reload: systemctl reload bixi (SIGHUP)",
    );
    Ok(())
}

fn seal(node: &NodeDirectory) -> Result<(), Failure> {
    token::bind(&node.token_home().token_config())?;
    bixi_runtime::process::harden()?;
    Ok(chain::seal(node)?)
}
