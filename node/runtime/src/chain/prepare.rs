//! The steps that need no token: directories, PIN files, node files, the genesis. What is wrong with a wish is told before
//! anything is made.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

use bixi_config::{HsmBackend, NodeConfig, P2p};
use bixi_platform::credentials::PinSource;
use bixi_types::consensus::Validator;
use bixi_types::genesis::{EvmSpec, Genesis, TimestampUnit};
use bixi_types::{CryptoSuite, EvmHash};

use crate::chain::layout::{NodeDirectory, ca_home, make_directory, node_directories, node_directory, read, write_new};
use crate::chain::plan::{Places, Seat, seats};
use crate::chain::{ChainError, NodeKeys, io_at};

const TX_GAS_LIMIT: u64 = 3_000_000_000;
const BLOCK_TRANSACTIONS_MAX: u32 = 2_000;
const BLOCK_LIMIT: u32 = 1_000;
const PIPELINE_DEPTH: u32 = 1;

/// The ordering engine tells every vote at the level of ours for every start.
const LOG_FILTER: &str = "info,arc_malachitebft_core_consensus=warn";

/// What the node files say of the key device.
#[derive(Debug, Clone)]
pub struct DeviceChoice {
    /// Its kind.
    pub backend: HsmBackend,
    /// The PKCS#11 module, SDF library or TPM.
    pub module: PathBuf,
    /// Socket of each node's broker, below its directory; empty when the nodes hold their devices themselves.
    pub broker: PathBuf,
    /// The file with a PIN that the device has already; none for one that the ceremony gives a fresh one.
    pub pin: Option<PathBuf>,
}

/// What a new chain is to be.
#[derive(Debug, Clone)]
pub struct Preparation {
    /// Where it goes; must be absent or empty.
    pub directory: PathBuf,
    /// Its validators.
    pub places: Places,
    /// Algorithms. This release makes [`CryptoSuite::Sm`].
    pub suite: CryptoSuite,
    /// FISCO BCOS chain id.
    pub chain_id: String,
    /// FISCO BCOS group id.
    pub group_id: String,
    /// The hash contracts see.
    pub evm_hash: EvmHash,
    /// Where its nodes have their keys.
    pub device: DeviceChoice,
}

/// Which nodes are to join an existing chain.
#[derive(Debug, Clone)]
pub struct Expansion {
    /// The chain's directory, with its CA.
    pub directory: PathBuf,
    /// The new nodes.
    pub places: Places,
    /// Where they have their keys.
    pub device: DeviceChoice,
}

/// A node whose directory is made.
#[derive(Debug, Clone)]
pub struct Placed {
    /// Its directory.
    pub home: NodeDirectory,
    /// Where other nodes find it; none for a chain of one.
    pub p2p: Option<String>,
    /// Its JSON-RPC.
    pub rpc: SocketAddr,
}

/// Makes the directories, PIN files and node files.
///
/// # Errors
/// [`ChainError::Exists`] when there is anything in the directory; it is then left as it is.
pub fn prepare(wish: &Preparation) -> Result<Vec<Placed>, ChainError> {
    let seats = judge(wish)?;
    if !wish.directory.exists() {
        make_directory(&wish.directory)?;
    } else if std::fs::read_dir(&wish.directory).map_err(io_at(&wish.directory))?.next().is_some() {
        return Err(ChainError::Exists(wish.directory.clone()));
    }
    let ca = ca_home(&wish.directory);
    make_directory(ca.path())?;
    ca.create(None)?;
    let peers: Vec<String> = addresses(&seats).collect();
    let homes = (0..).map(|index| node_directory(&wish.directory, index));
    homes.zip(&seats).map(|(home, seat)| place(home, seat, &peers, &wish.device)).collect()
}

/// Refuses a wish that this release cannot fulfil, or that no node would take, before anything is made.
pub fn check(wish: &Preparation) -> Result<(), ChainError> {
    judge(wish).map(drop)
}

fn judge(wish: &Preparation) -> Result<Vec<Seat>, ChainError> {
    if wish.suite != CryptoSuite::Sm {
        return Err(ChainError::Unsupported("the suite \"std\" is not in this release; use --suite sm".into()));
    }
    for (name, id) in [("--chain-id", &wish.chain_id), ("--group-id", &wish.group_id)] {
        if !bixi_config::is_chain_name(id) {
            let text = format!("{name} {id:?}: an id has 1 to 64 letters, digits, '_' or '-'");
            return Err(ChainError::Unsupported(text));
        }
    }
    let seats = seats(&wish.places, &[])?;
    judge_device(&wish.device, &seats)?;
    Ok(seats)
}

/// An SDF device has its password and its pairs before, by index: two nodes would find the same pair.
fn judge_device(device: &DeviceChoice, seats: &[Seat]) -> Result<(), ChainError> {
    let text = match (device.backend, &device.pin) {
        (HsmBackend::Sdf, None) => {
            "an SDF device has its password already: name the file that holds it with --pin-file"
        }
        (HsmBackend::Sdf, _) if seats.len() > 1 => {
            "with --backend sdf one node is made at a time, the others with --expand: each has a device of its own"
        }
        (HsmBackend::Pkcs11 | HsmBackend::Tpm, Some(_)) => {
            "--pin-file goes with --backend sdf: others are given a fresh PIN"
        }
        _ => return Ok(()),
    };
    Err(ChainError::Unsupported(text.to_owned()))
}

/// Makes directories, PIN files and node files of nodes that join: same CA, same genesis, which does not name them. The nodes that
/// are there stay as they are; the new ones call them.
///
/// # Errors
/// When the chain cannot take them; nothing is made then.
pub fn prepare_expansion(wish: &Expansion) -> Result<Vec<Placed>, ChainError> {
    let there = node_directories(&wish.directory);
    let (genesis, mut peers) = known(&wish.directory, &there)?;
    let seats = seats(&wish.places, &peers)?;
    judge_device(&wish.device, &seats)?;
    let homes: Vec<NodeDirectory> =
        (there.len()..).take(seats.len()).map(|index| node_directory(&wish.directory, index)).collect();
    if let Some(taken) = homes.iter().find(|home| home.path().exists()) {
        return Err(ChainError::Exists(taken.path().to_owned()));
    }
    peers.extend(addresses(&seats));
    let make = |(home, seat): (NodeDirectory, &Seat)| {
        let placed = place(home, seat, &peers, &wish.device)?;
        write_new(&placed.home.genesis(), 0o644, genesis.as_bytes())?;
        Ok(placed)
    };
    homes.into_iter().zip(&seats).map(make).collect()
}

/// Genesis and p2p addresses of a chain that others can join.
fn known(chain: &Path, there: &[NodeDirectory]) -> Result<(String, Vec<String>), ChainError> {
    let first = there.first().cloned().unwrap_or_else(|| node_directory(chain, 0));
    let genesis = read(&first.genesis(), "bixi chain new")?;
    let authority = ca_home(chain).authority_certificate();
    if !authority.is_file() {
        return Err(ChainError::Unsupported(format!(
            "{} is missing: the CA that made this chain certifies new nodes; bring its directory back",
            authority.display()
        )));
    }
    let p2p = first.node_config()?.p2p;
    if p2p.listen.is_none() || p2p.peers.is_empty() {
        return Err(ChainError::Unsupported(format!(
            "{} was made for a chain of one: set p2p.listen and, as its address in p2p.peers, where others find it",
            first.config().display()
        )));
    }
    Ok((genesis, p2p.peers))
}

fn addresses(seats: &[Seat]) -> impl Iterator<Item = String> {
    seats.iter().filter_map(|seat| seat.p2p.as_ref().map(|(address, _)| address.clone()))
}

fn place(home: NodeDirectory, seat: &Seat, peers: &[String], device: &DeviceChoice) -> Result<Placed, ChainError> {
    let pin = device.pin.clone().map(|path| PinSource::File(path).read()).transpose()?;
    make_directory(home.path())?;
    home.token_home().create(pin.as_ref())?;
    let mut config = NodeConfig { name: home.name(), ..NodeConfig::default() };
    config.rpc.listen = seat.rpc;
    config.p2p = P2p { listen: seat.p2p.as_ref().map(|(_, listen)| *listen), peers: peers.to_vec(), ..P2p::default() };
    config.hsm.backend = device.backend;
    config.hsm.module = device.module.clone();
    config.hsm.broker = device.broker.clone();
    if device.backend != HsmBackend::Pkcs11 {
        config.hsm.token_config = PathBuf::new();
    }
    config.log.filter = LOG_FILTER.to_owned();
    write_new(&home.config(), 0o644, config.render().as_bytes())?;
    Ok(Placed { p2p: seat.p2p.as_ref().map(|(address, _)| address.clone()), rpc: seat.rpc, home })
}

/// Writes the genesis of the nodes whose keys are made, the same bytes into every node's directory.
pub fn write_genesis(wish: &Preparation) -> Result<Genesis, ChainError> {
    let nodes = node_directories(&wish.directory);
    let mut validators = Vec::new();
    for node in &nodes {
        validators.push(Validator { id: NodeKeys::read(node)?.node_id()?, weight: 1 });
    }
    let since_epoch = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let genesis = Genesis {
        chain_id: wish.chain_id.clone(),
        group_id: wish.group_id.clone(),
        suite: wish.suite,
        evm_hash: wish.evm_hash,
        evm_spec: EvmSpec::Cancun,
        evm_timestamp_unit: TimestampUnit::Ms,
        protocol_version: 1,
        timestamp_ms: since_epoch.as_millis() as u64,
        validators,
        tx_gas_limit: TX_GAS_LIMIT,
        block_tx_count_max: BLOCK_TRANSACTIONS_MAX,
        block_limit: BLOCK_LIMIT,
        pipeline_depth: PIPELINE_DEPTH,
        admin: None,
    };
    let text = bixi_config::render_genesis(&genesis);
    for node in &nodes {
        write_new(&node.genesis(), 0o644, text.as_bytes())?;
    }
    Ok(genesis)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::chain::Members;

    fn device() -> DeviceChoice {
        let (module, broker) = ("/nowhere/token.so".into(), PathBuf::new());
        DeviceChoice { backend: HsmBackend::Pkcs11, module, broker, pin: None }
    }

    fn wish(directory: &Path, nodes: &str) -> Preparation {
        Preparation {
            directory: directory.to_owned(),
            places: Places {
                members: nodes.parse::<Members>().unwrap(),
                p2p_port: 30300,
                rpc_listen: SocketAddr::from(([127, 0, 0, 1], 20200)),
            },
            suite: CryptoSuite::Sm,
            chain_id: "chain0".into(),
            group_id: "group0".into(),
            evm_hash: EvmHash::Sm3,
            device: device(),
        }
    }

    #[test]
    fn a_chain_of_one_has_no_network_and_four_know_each_other() {
        let place = tempfile::tempdir().unwrap();
        let one = prepare(&wish(&place.path().join("one"), "1")).unwrap();
        assert_eq!(one[0].home.node_config().unwrap().p2p, P2p::default());
        let four = prepare(&wish(&place.path().join("four"), "10.0.0.1:7,10.0.0.2:7,10.0.0.3:7,10.0.0.4:7")).unwrap();
        let peers = ["10.0.0.1:7", "10.0.0.2:7", "10.0.0.3:7", "10.0.0.4:7"];
        for (index, placed) in four.iter().enumerate() {
            let config = placed.home.node_config().unwrap();
            assert_eq!((config.name, config.rpc.listen), (format!("node{index}"), placed.rpc));
            assert_eq!(
                (config.p2p.listen, config.p2p.peers),
                (Some("0.0.0.0:7".parse().unwrap()), peers.map(String::from).to_vec())
            );
            assert_eq!(placed.p2p.as_deref(), Some(peers[index]));
        }
    }

    #[test]
    fn what_cannot_be_made_leaves_nothing() {
        let place = tempfile::tempdir().unwrap();
        for nodes in ["0", "32", "a:5,a:5"] {
            assert!(prepare(&wish(&place.path().join("chain"), nodes)).is_err(), "{nodes}");
        }
        assert_eq!(std::fs::read_dir(place.path()).unwrap().count(), 0);
        std::fs::write(place.path().join("something"), "else").unwrap();
        assert!(matches!(prepare(&wish(place.path(), "4")), Err(ChainError::Exists(_))));
        assert_eq!(std::fs::read_dir(place.path()).unwrap().count(), 1);
    }

    #[test]
    fn nobody_joins_a_chain_without_genesis_authority_or_network() {
        let place = tempfile::tempdir().unwrap();
        let chain = place.path().join("chain");
        let one = prepare(&wish(&chain, "1")).unwrap();
        let expansion =
            Expansion { directory: chain.clone(), places: wish(&chain, "10.0.0.9:7").places, device: device() };
        let refusal = || prepare_expansion(&expansion).unwrap_err().to_string();
        assert!(refusal().contains("genesis.toml is missing"), "{}", refusal());
        std::fs::write(one[0].home.genesis(), "the chain").unwrap();
        assert!(refusal().contains("ca.crt is missing"), "{}", refusal());
        std::fs::write(ca_home(&chain).authority_certificate(), "the authority").unwrap();
        assert!(refusal().contains("chain of one: set p2p.listen"), "{}", refusal());
        assert_eq!(node_directories(&chain).len(), 1);
    }

    #[test]
    fn a_new_node_gets_the_same_genesis_and_knows_everybody() {
        let place = tempfile::tempdir().unwrap();
        let chain = place.path().join("chain");
        let there = prepare(&wish(&chain, "10.0.0.1:7,10.0.0.2:7")).unwrap();
        std::fs::write(there[0].home.genesis(), "the chain").unwrap();
        std::fs::write(ca_home(&chain).authority_certificate(), "the authority").unwrap();
        let before = std::fs::read(there[0].home.config()).unwrap();
        let mut expansion =
            Expansion { directory: chain.clone(), places: wish(&chain, "10.0.0.1:7").places, device: device() };
        assert!(
            prepare_expansion(&expansion).unwrap_err().to_string().contains("two nodes are to be found at 10.0.0.1:7")
        );
        assert_eq!(node_directories(&chain).len(), 2);
        expansion.places = wish(&chain, "10.0.0.1:8,10.0.0.3:7").places;
        let joined = prepare_expansion(&expansion).unwrap();
        let names: Vec<String> = joined.iter().map(|placed| placed.home.name()).collect();
        assert_eq!(names, ["node2", "node3"]);
        let config = joined[0].home.node_config().unwrap();
        assert_eq!(config.p2p.peers, ["10.0.0.1:7", "10.0.0.2:7", "10.0.0.1:8", "10.0.0.3:7"]);
        assert_eq!(config.rpc.listen.port(), 20201);
        assert_eq!(std::fs::read_to_string(joined[1].home.genesis()).unwrap(), "the chain");
        assert_eq!(std::fs::read(there[0].home.config()).unwrap(), before);
    }

    #[test]
    fn node_files_name_the_device_and_its_broker() {
        let place = tempfile::tempdir().unwrap();
        let with = |name: &str, nodes: &str, device| Preparation { device, ..wish(&place.path().join(name), nodes) };
        let made = prepare(&with(
            "tpm",
            "2",
            DeviceChoice { backend: HsmBackend::Tpm, broker: "broker.sock".into(), ..device() },
        ));
        for placed in made.unwrap() {
            let hsm = placed.home.node_config().unwrap().hsm;
            assert_eq!((hsm.backend, hsm.broker, hsm.token_config), (HsmBackend::Tpm, "broker.sock".into(), "".into()));
        }
        let pin = place.path().join("password");
        write_new(&pin, 0o400, b"12345678").unwrap();
        let sdf = |pin| DeviceChoice { backend: HsmBackend::Sdf, pin, ..device() };
        for (nodes, device, words) in [
            ("1", sdf(None), "--pin-file"),
            ("2", sdf(Some(pin.clone())), "one node is made at a time"),
            ("1", DeviceChoice { pin: Some(pin.clone()), ..device() }, "goes with --backend sdf"),
        ] {
            let refused = prepare(&with("sdf", nodes, device)).unwrap_err().to_string();
            assert!(refused.contains(words), "{refused}");
        }
        let made = prepare(&with("sdf", "1", sdf(Some(pin)))).unwrap();
        assert_eq!(std::fs::read(made[0].home.token_home().user_pin()).unwrap(), b"12345678");
    }
}
