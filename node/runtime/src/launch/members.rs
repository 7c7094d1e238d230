//! Who may be a peer: validators and observers of the chain, unless the operator's lists say otherwise.
//!
//! A disk that cannot be read is no reason to part from anybody: who belonged to the chain when the ledger was last read belongs to
//! it until the ledger says otherwise.

use std::collections::BTreeSet;
use std::sync::Arc;

use bixi_config::P2p as Section;
use bixi_execution::{ExecutionError, system};
use bixi_ledger::Ledger;
use bixi_network::{Admission, Network};
use bixi_types::NodeId;
use parking_lot::{Mutex, RwLock};

use super::Failure;
use super::credentials::Credentials;

/// Nodes let in and kept out, by consensus key.
struct Lists {
    allow: Vec<NodeId>,
    deny: Vec<NodeId>,
}

impl From<&Section> for Lists {
    fn from(p2p: &Section) -> Self {
        Self { allow: p2p.allow.clone(), deny: p2p.deny.clone() }
    }
}

/// Chain, lists and certificates, as far as they decide about peers.
pub(super) struct Members {
    chain: ChainNodes,
    lists: RwLock<Lists>,
    credentials: RwLock<Credentials>,
}

impl Members {
    /// # Errors
    /// When the ledger does not tell the chain's nodes.
    pub(super) fn new(ledger: Arc<Ledger>, p2p: &Section, credentials: Credentials) -> Result<Self, Failure> {
        let chain = ChainNodes::new(move || nodes(&ledger).map_err(|error| error.to_string()))?;
        Ok(Self { chain, lists: RwLock::new(Lists::from(p2p)), credentials: RwLock::new(credentials) })
    }

    /// The chain's nodes, by the ledger, or by its last word while it cannot be read.
    pub(super) fn now(&self) -> Arc<BTreeSet<NodeId>> {
        self.chain.now()
    }

    /// Goes by newer lists and certificates from now on; which files are other than before, in words.
    pub(super) fn replace(&self, p2p: &Section, credentials: Credentials) -> Vec<String> {
        *self.lists.write() = Lists::from(p2p);
        let mut current = self.credentials.write();
        let told = credentials.differences(&current);
        *current = credentials;
        told
    }

    /// The last second of each certificate that the node shows, believes or has met, with a name for it.
    pub(super) fn certificate_ends(&self, network: &Network) -> Vec<(String, u64)> {
        let mut ends: Vec<(String, u64)> = self.credentials.read().ends().collect();
        for peer in network.peers() {
            let end = peer.sessions.iter().map(|session| session.certificate_not_after_s).min();
            ends.extend(peer.node.zip(end).map(|(node, end)| (node.to_hex(), end)));
        }
        ends
    }
}

impl Admission for Members {
    fn admit(&self, node: &NodeId) -> Result<(), String> {
        let lists = self.lists.read();
        if lists.deny.contains(node) {
            return Err("the node stands in p2p.deny".into());
        }
        if !lists.allow.is_empty() && !lists.allow.contains(node) {
            return Err("the node does not stand in p2p.allow".into());
        }
        if self.now().contains(node) {
            return Ok(());
        }
        Err("the node is neither validator nor observer of this chain; add it by a transaction first".into())
    }
}

/// Whoever is validator or observer at the next height, or will be: whoever joins must catch up before its first height, and
/// whoever leaves takes part until its last one.
fn nodes(ledger: &Ledger) -> Result<BTreeSet<NodeId>, ExecutionError> {
    let view = ledger.committed_view();
    let mut nodes = BTreeSet::new();
    for height in [ledger.height() + 1, u64::MAX] {
        nodes.extend(system::node_list(view.as_ref(), height)?.iter().map(|node| node.id));
    }
    Ok(nodes)
}

type Read = Box<dyn Fn() -> Result<BTreeSet<NodeId>, String> + Send + Sync>;

/// The chain's nodes with the ledger's last word about them.
struct ChainNodes {
    read: Read,
    /// Held while reading: a slow reader must not put an older answer over a newer one.
    last: Mutex<LastWord>,
}

struct LastWord {
    nodes: Arc<BTreeSet<NodeId>>,
    /// Why it is the last one, as the log was told.
    fault: Option<String>,
}

impl ChainNodes {
    fn new(read: impl Fn() -> Result<BTreeSet<NodeId>, String> + Send + Sync + 'static) -> Result<Self, String> {
        let nodes = read().map_err(|error| format!("the chain's nodes cannot be read: {error}"))?;
        let last = LastWord { nodes: Arc::new(nodes), fault: None };
        Ok(Self { read: Box::new(read), last: Mutex::new(last) })
    }

    fn now(&self) -> Arc<BTreeSet<NodeId>> {
        let mut last = self.last.lock();
        match (self.read)() {
            Ok(nodes) => last.note(nodes),
            Err(fault) => last.stand(fault),
        }
        Arc::clone(&last.nodes)
    }
}

impl LastWord {
    fn note(&mut self, nodes: BTreeSet<NodeId>) {
        if self.fault.take().is_some() {
            tracing::info!("the chain's nodes can be read again");
        }
        if *self.nodes != nodes {
            self.nodes = Arc::new(nodes);
        }
    }

    /// Asked about every second and by every caller: the log is told of another fault than the last only.
    fn stand(&mut self, fault: String) {
        if self.fault.as_ref() != Some(&fault) {
            tracing::error!(
                fault,
                nodes = self.nodes.len(),
                "the ledger does not tell the chain's nodes; those last known may be peers until it does. Check the disk"
            );
            self.fault = Some(fault);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ids(numbers: &[u8]) -> BTreeSet<NodeId> {
        numbers.iter().map(|&number| NodeId([number; 64])).collect()
    }

    fn members(answer: &Arc<Mutex<Result<BTreeSet<NodeId>, String>>>) -> Result<Members, String> {
        let asked = Arc::clone(answer);
        let credentials = Credentials { authorities: vec![], revocation_lists: vec![], chain: vec![] };
        Ok(Members {
            chain: ChainNodes::new(move || asked.lock().clone())?,
            lists: RwLock::new(Lists { allow: vec![], deny: vec![] }),
            credentials: RwLock::new(credentials),
        })
    }

    #[test]
    fn a_ledger_that_cannot_be_read_changes_nobodys_membership() {
        let answer = Arc::new(Mutex::new(Ok(ids(&[1, 2]))));
        let members = members(&answer).expect("it can be read");
        let admitted = || [1, 2, 3].map(|number| members.admit(&NodeId([number; 64])).is_ok());
        assert_eq!(admitted(), [true, true, false]);
        for fault in ["a bad sector", "a bad sector", "a full disk"] {
            *answer.lock() = Err(fault.to_owned());
            assert_eq!(admitted(), [true, true, false], "{fault}");
            assert_eq!(*members.now(), ids(&[1, 2]));
            assert_eq!(members.chain.last.lock().fault.as_deref(), Some(fault));
        }
        *answer.lock() = Ok(ids(&[2, 3]));
        assert_eq!(admitted(), [false, true, true], "what it says then counts again");
        assert_eq!(members.chain.last.lock().fault, None);
    }

    #[test]
    fn nothing_starts_on_a_ledger_that_never_told() {
        let refused = members(&Arc::new(Mutex::new(Err("a bad sector".to_owned())))).map(|_| ());
        assert_eq!(refused, Err("the chain's nodes cannot be read: a bad sector".to_owned()));
    }

    #[test]
    fn the_operators_lists_go_before_the_chain() {
        let members = members(&Arc::new(Mutex::new(Ok(ids(&[1, 2, 3]))))).expect("it can be read");
        let admitted = || [1, 2, 3, 4].map(|number| members.admit(&NodeId([number; 64])).is_ok());
        members.lists.write().deny = vec![NodeId([1; 64])];
        assert_eq!(admitted(), [false, true, true, false]);
        members.lists.write().allow = vec![NodeId([1; 64]), NodeId([2; 64]), NodeId([4; 64])];
        assert_eq!(admitted(), [false, true, false, false]);
    }
}
