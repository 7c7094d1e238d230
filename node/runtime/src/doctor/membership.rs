//! Whether the chain knows the node's consensus key. A node whose key it does not know starts and waits, and nothing of it says why.
//!
//! The chain's nodes stand in the ledger: validators, and observers, which follow by design and are told by nothing else. A node without
//! a ledger has the validators of genesis to go by.

use std::sync::Arc;

use bixi_execution::system::{Node, NodeKind};
use bixi_platform::io::Storage;
use bixi_platform::threads::Spawner;
use bixi_types::NodeId;
use bixi_types::genesis::Genesis;

use super::custody::Held;
use super::{Check, Verdict, is_running};
use crate::launch::{Failure, NodeLists, node_lists};
use crate::placement;
use crate::settings::Settings;

const NAME: &str = "membership";

/// By the ledger, where there is one.
pub(super) fn check(settings: &Settings, held: &Held, node: NodeId) -> Check {
    match read(settings, held) {
        Ok(Some(nodes)) => judge(&nodes, node, has_network(settings)),
        Ok(None) => by_genesis(&settings.genesis, "the node has no ledger yet", node, has_network(settings)),
        // Files of a node that runs may be replaced while they are opened.
        Err(error) if is_running(settings) => {
            let why = format!("the ledger could not be read beside the node that writes it ({error}); ask again");
            by_genesis(&settings.genesis, &why, node, true)
        }
        Err(error) => Check::new(NAME, Verdict::Bad, format!("the ledger cannot be read: {error}")),
    }
}

/// Without the device: by genesis, which does not know who joined.
pub(super) fn check_offline(settings: &Settings, node: NodeId) -> Check {
    by_genesis(&settings.genesis, "the ledger was not read (--offline)", node, has_network(settings))
}

fn has_network(settings: &Settings) -> bool {
    settings.config.p2p.listen.is_some()
}

fn read(settings: &Settings, held: &Held) -> Result<Option<NodeLists>, Failure> {
    let storage: Arc<dyn Storage> = settings.storage(&Spawner::new(placement::plan(settings)?))?;
    if !storage.exists(&settings.data("ledger"))? {
        return Ok(None);
    }
    let ring = held.ring(settings, &storage)?;
    node_lists(settings, storage, ring)
}

fn judge(nodes: &NodeLists, node: NodeId, has_network: bool) -> Check {
    let NodeLists { height, next, later } = nodes;
    let kind_in = |nodes: &[Node]| nodes.iter().find(|one| one.id == node).map(|one| one.kind);
    let (verdict, text) = match (kind_in(next), kind_in(later)) {
        (Some(NodeKind::Sealer), Some(NodeKind::Sealer)) => (Verdict::Good, "validator".to_owned()),
        (_, Some(NodeKind::Sealer)) => {
            (Verdict::Good, "validator from one of the next heights on; it follows until then".to_owned())
        }
        (_, Some(NodeKind::Observer)) => {
            let text = "observer: the node follows, and signs no block; to have it validate, have whoever governs the chain send \
                        addSealer(string,uint256) to 0x1003";
            (Verdict::Good, text.to_owned())
        }
        (Some(_), None) => (
            Verdict::Warn,
            "the chain has removed the node: its peers part from it in one of the next heights".to_owned(),
        ),
        (None, None) => (Verdict::Bad, unknown(node, later, has_network)),
    };
    Check::new(NAME, verdict, format!("{text} (by the ledger at height {height})"))
}

/// What is left to do for a node that the chain does not know.
fn unknown(node: NodeId, nodes: &[Node], has_network: bool) -> String {
    let mut text = format!(
        "the chain does not know this node's consensus key {}: nothing it signs counts, and it waits without end",
        node.to_hex()
    );
    let validators: Vec<NodeId> = nodes.iter().filter(|one| one.kind == NodeKind::Sealer).map(|one| one.id).collect();
    match validators[..] {
        [only] if !has_network => text.push_str(&ended(only)),
        _ => text.push_str(JOIN),
    }
    text
}

/// For a chain whose other nodes can be asked.
const JOIN: &str = "; name the key that it knows in hsm.consensus_key, or have whoever governs the chain send addObserver(string), then \
                    addSealer(string,uint256), with this id to 0x1003; where that was sent already, start the node: it learns of it from \
                    its peers";

/// For a chain that no other node keeps.
fn ended(only: NodeId) -> String {
    format!(
        "; its only validator is {}, and no other node keeps the chain: name that key in hsm.consensus_key; if it is lost, no block can \
         follow and the chain has ended: begin another with `bixi chain new`",
        only.to_hex()
    )
}

fn by_genesis(genesis: &Genesis, why: &str, node: NodeId, has_network: bool) -> Check {
    let validators: Vec<NodeId> = genesis.validators.iter().map(|one| one.id).collect();
    if validators.contains(&node) {
        return Check::new(NAME, Verdict::Good, format!("validator by genesis; {why}"));
    }
    match validators[..] {
        [only] if !has_network => {
            let text = format!("genesis does not know this node's consensus key {}{}", node.to_hex(), ended(only));
            Check::new(NAME, Verdict::Bad, text)
        }
        // Who joined later stands in no genesis.
        _ => {
            let text = format!(
                "not in genesis, and {why}: the node waits until the chain has taken its consensus key {}{JOIN}",
                node.to_hex()
            );
            Check::new(NAME, Verdict::Warn, text)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(number: u8) -> NodeId {
        NodeId([number; 64])
    }

    fn nodes(of: &[(u8, NodeKind)]) -> Vec<Node> {
        of.iter().map(|&(number, kind)| Node { id: id(number), kind, weight: 1, enabled_from: 0 }).collect()
    }

    #[test]
    fn a_key_that_the_chain_does_not_know_is_bad_and_an_observer_is_not() {
        use NodeKind::{Observer, Sealer};
        let four = [(1, Sealer), (2, Sealer), (3, Sealer), (4, Observer)];
        let chain = |next: &[_], later: &[_]| NodeLists { height: 7, next: nodes(next), later: nodes(later) };
        let verdict = |nodes: &NodeLists, node| judge(nodes, id(node), true).verdict;
        let calm = chain(&four, &four);
        assert_eq!([1, 4, 9].map(|node| verdict(&calm, node)), [Verdict::Good, Verdict::Good, Verdict::Bad]);
        let leaving = chain(&four, &four[1..]);
        assert_eq!(verdict(&leaving, 1), Verdict::Warn);
        let joining = chain(&four[1..], &four);
        assert_eq!(verdict(&joining, 1), Verdict::Good);
        let told = judge(&calm, id(9), true).detail;
        assert!(told.contains("addObserver(string)") && told.contains(&id(9).to_hex()), "{told}");
        let told = judge(&chain(&four[..1], &four[..1]), id(9), false).detail;
        assert!(told.contains("the chain has ended") && told.contains(&id(1).to_hex()), "{told}");
    }

    #[test]
    fn genesis_alone_condemns_a_key_only_where_nobody_can_have_let_it_in() {
        let genesis = Genesis::fixture(&[id(1)]);
        let verdict = |node, has_network| by_genesis(&genesis, "no ledger yet", id(node), has_network).verdict;
        assert_eq!([verdict(1, false), verdict(1, true)], [Verdict::Good; 2]);
        assert_eq!([verdict(9, false), verdict(9, true)], [Verdict::Bad, Verdict::Warn]);
    }
}
