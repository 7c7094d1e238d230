//! Consensus (0x1003): who validates. A change made in block n holds from height n + pipeline_depth + 1.
//!
//! Rules and return codes are FISCO BCOS's `ConsensusPrecompiled`: a node joins as observer first, the last sealer stays.
//! The row keeps every list that some height in the pipeline may still need.

use bixi_types::NodeId;
use bixi_types::consensus::{Validator, ValidatorSet};
use bixi_types::genesis::Genesis;
use bixi_types::limits::VALIDATORS_MAX;
use bixi_types::state::{StateKey, StateTable, StateView};
use borsh::{BorshDeserialize, BorshSerialize};
use revm::primitives::U256;

use super::{Fault, Method, Session};
use crate::ExecutionError;
use crate::abi::{Arguments, Encoder};
use crate::state::corrupt;

const SUCCESS: i64 = 0;
const INVALID_NODE_ID: i64 = -51100;
const LAST_SEALER: i64 = -51101;
const INVALID_WEIGHT: i64 = -51102;
const NODE_NOT_EXIST: i64 = -51103;
const ADD_SEALER_SHOULD_IN_OBSERVER: i64 = -51104;

/// The row's key.
const KEY: &[u8] = b"validators";
/// Weights stay below 2³², so that no sum over a validator set can overflow.
const WEIGHT_MAX: u64 = u32::MAX as u64;
/// Nodes of a chain, observers included.
const NODES_MAX: usize = 4 * VALIDATORS_MAX;

pub(super) const METHODS: &[(&str, Method)] = &[
    ("addSealer(string,uint256)", |session, mut arguments| {
        let (node, weight) = (arguments.string()?, arguments.uint()?);
        change(session, node, |nodes, id| add_sealer(nodes, id, weight))
    }),
    ("addObserver(string)", |session, mut arguments: Arguments<'_>| {
        let node = arguments.string()?;
        change(session, node, add_observer)
    }),
    ("remove(string)", |session, mut arguments: Arguments<'_>| {
        let node = arguments.string()?;
        change(session, node, remove)
    }),
    ("setWeight(string,uint256)", |session, mut arguments| {
        let (node, weight) = (arguments.string()?, arguments.uint()?);
        change(session, node, |nodes, id| set_weight(nodes, id, weight))
    }),
];

/// What a node does in the chain.
#[derive(Debug, Clone, Copy, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub enum NodeKind {
    /// Votes.
    Sealer,
    /// Follows.
    Observer,
}

/// A node of the chain.
#[derive(Debug, Clone, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct Node {
    /// Its consensus public key.
    pub id: NodeId,
    /// Sealer or observer.
    pub kind: NodeKind,
    /// Voting weight; 0 for observers.
    pub weight: u64,
    /// First height at which this entry holds.
    pub enabled_from: u64,
}

/// A list and the height from which it holds.
#[derive(Debug, Clone, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
struct NodeList {
    enabled_from: u64,
    nodes: Vec<Node>,
}

/// The nodes at `height`, in the order they joined.
pub fn node_list(view: &dyn StateView, height: u64) -> Result<Vec<Node>, ExecutionError> {
    let row = view.get(StateTable::Consensus, KEY)?.ok_or_else(|| corrupt("Consensus", KEY))?;
    let lists = decode(&row)?;
    let index = lists.iter().rposition(|list| list.enabled_from <= height).unwrap_or(0);
    lists.into_iter().nth(index).map(|list| list.nodes).ok_or_else(|| corrupt("Consensus", KEY))
}

/// The validators of `height`. A view at any height from `height − pipeline_depth − 1` on knows them; one far above may have
/// forgotten: past sets are in the headers.
pub fn validators(view: &dyn StateView, height: u64) -> Result<ValidatorSet, ExecutionError> {
    let nodes = node_list(view, height)?;
    let sealers = nodes.into_iter().filter(|node| node.kind == NodeKind::Sealer);
    Ok(ValidatorSet::new(sealers.map(|node| Validator { id: node.id, weight: node.weight }).collect()))
}

/// The row of a new chain.
pub(crate) fn genesis_row(genesis: &Genesis) -> (StateKey, Vec<u8>) {
    let sealer = |validator: &Validator| Node {
        id: validator.id,
        kind: NodeKind::Sealer,
        weight: validator.weight,
        enabled_from: 0,
    };
    let list = NodeList { enabled_from: 0, nodes: genesis.validators.iter().map(sealer).collect() };
    (StateKey { table: StateTable::Consensus, key: KEY.to_vec() }, encode(&vec![list]))
}

/// Applies `edit` to the newest list; a code other than success changes nothing.
fn change(
    session: &mut Session<'_>,
    node: &str,
    edit: impl FnOnce(&mut Vec<Node>, NodeId) -> Result<i64, Fault>,
) -> Result<Vec<u8>, Fault> {
    session.require_admin()?;
    let code = match parse_node_id(node) {
        None => INVALID_NODE_ID,
        Some(id) => change_list(session, id, edit)?,
    };
    Ok(Encoder::new().int(code).finish())
}

fn change_list(
    session: &mut Session<'_>,
    id: NodeId,
    edit: impl FnOnce(&mut Vec<Node>, NodeId) -> Result<i64, Fault>,
) -> Result<i64, Fault> {
    let row = session.row(StateTable::Consensus, KEY)?.ok_or_else(|| corrupt("Consensus", KEY))?;
    let mut lists = decode(&row)?;
    let depth = u64::from(session.params.pipeline_depth);
    let enabled_from = session.height + depth + 1;
    let mut nodes = lists.last().map(|list| list.nodes.clone()).ok_or_else(|| corrupt("Consensus", KEY))?;
    let code = edit(&mut nodes, id)?;
    if code != SUCCESS {
        return Ok(code);
    }
    if let Some(node) = nodes.iter_mut().find(|node| node.id == id) {
        node.enabled_from = enabled_from;
    }
    lists.retain(|list| list.enabled_from != enabled_from);
    lists.push(NodeList { enabled_from, nodes });
    forget_before(&mut lists, session.height.saturating_sub(depth + 1));
    session.set_row(StateTable::Consensus, KEY, encode(&lists))?;
    Ok(SUCCESS)
}

/// Drops every list that no height from `height` on needs.
fn forget_before(lists: &mut Vec<NodeList>, height: u64) {
    let needed = lists.iter().rposition(|list| list.enabled_from <= height).unwrap_or(0);
    lists.drain(..needed);
}

fn add_sealer(nodes: &mut [Node], id: NodeId, weight: U256) -> Result<i64, Fault> {
    let Some(weight) = valid_weight(weight) else { return Ok(INVALID_WEIGHT) };
    let is_full = sealers(nodes) >= VALIDATORS_MAX;
    let Some(node) = nodes.iter_mut().find(|node| node.id == id) else { return Ok(ADD_SEALER_SHOULD_IN_OBSERVER) };
    if is_full && node.kind != NodeKind::Sealer {
        return Err(Fault::refused(format!("a chain has at most {VALIDATORS_MAX} sealers")));
    }
    (node.kind, node.weight) = (NodeKind::Sealer, weight);
    Ok(SUCCESS)
}

fn add_observer(nodes: &mut Vec<Node>, id: NodeId) -> Result<i64, Fault> {
    if is_last_sealer(nodes, id) {
        return Ok(LAST_SEALER);
    }
    if let Some(node) = nodes.iter_mut().find(|node| node.id == id) {
        (node.kind, node.weight) = (NodeKind::Observer, 0);
        return Ok(SUCCESS);
    }
    if nodes.len() >= NODES_MAX {
        return Err(Fault::refused(format!("a chain has at most {NODES_MAX} nodes")));
    }
    nodes.push(Node { id, kind: NodeKind::Observer, weight: 0, enabled_from: 0 });
    Ok(SUCCESS)
}

fn remove(nodes: &mut Vec<Node>, id: NodeId) -> Result<i64, Fault> {
    if is_last_sealer(nodes, id) {
        return Ok(LAST_SEALER);
    }
    let Some(index) = nodes.iter().position(|node| node.id == id) else { return Ok(NODE_NOT_EXIST) };
    nodes.remove(index);
    Ok(SUCCESS)
}

fn set_weight(nodes: &mut [Node], id: NodeId, weight: U256) -> Result<i64, Fault> {
    let Some(weight) = valid_weight(weight) else { return Ok(INVALID_WEIGHT) };
    let Some(node) = nodes.iter_mut().find(|node| node.id == id) else { return Ok(NODE_NOT_EXIST) };
    if node.kind == NodeKind::Observer {
        return Err(Fault::refused("Cannot set weight to observer."));
    }
    node.weight = weight;
    Ok(SUCCESS)
}

fn sealers(nodes: &[Node]) -> usize {
    nodes.iter().filter(|node| node.kind == NodeKind::Sealer).count()
}

fn is_last_sealer(nodes: &[Node], id: NodeId) -> bool {
    sealers(nodes) == 1 && nodes.iter().any(|node| node.id == id && node.kind == NodeKind::Sealer)
}

fn valid_weight(weight: U256) -> Option<u64> {
    u64::try_from(weight).ok().filter(|weight| (1..=WEIGHT_MAX).contains(weight))
}

/// 128 hexadecimal digits of either case, without prefix.
fn parse_node_id(text: &str) -> Option<NodeId> {
    (text.len() == 2 * NodeId::LEN).then(|| text.parse().ok()).flatten()
}

fn decode(row: &[u8]) -> Result<Vec<NodeList>, ExecutionError> {
    borsh::from_slice(row).map_err(|_| corrupt("Consensus", KEY))
}

fn encode(lists: &Vec<NodeList>) -> Vec<u8> {
    borsh::to_vec(lists).expect("borsh into memory cannot fail")
}
