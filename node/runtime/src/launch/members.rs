//! Who may be a peer: validators and observers of the chain, unless the operator's lists say otherwise.
//!
//! A disk that cannot be read is no reason to part from anybody: who belonged to the chain when the ledger was last read belongs to
//! it until the ledger says otherwise. And a disk that hangs holds up nobody: [`Admission::admit`], which the network's workers call
//! between votes, goes by what was read last and waits for no reader. Who joins is let in when the ledger is read again, see
//! [`super::recheck`].

use std::collections::BTreeSet;
use std::sync::Arc;

use bixi_config::P2p as Section;
use bixi_execution::ExecutionError;
use bixi_ledger::Ledger;
use bixi_network::{Admission, Network};
use bixi_types::NodeId;
use parking_lot::{Mutex, RwLock};

use super::Failure;
use super::chain_state::NodeLists;
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

impl Lists {
    fn judge(&self, node: &NodeId) -> Result<(), String> {
        if self.deny.contains(node) {
            return Err("the node stands in p2p.deny".into());
        }
        if !self.allow.is_empty() && !self.allow.contains(node) {
            return Err("the node does not stand in p2p.allow".into());
        }
        Ok(())
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

    /// The chain's nodes by the ledger's last word. Never waits for the disk.
    pub(super) fn known(&self) -> Arc<BTreeSet<NodeId>> {
        self.chain.known()
    }

    /// Reads the ledger: who is admitted from now on. While it cannot be read its last word stands. Waits for the disk.
    pub(super) fn read_again(&self) -> Arc<BTreeSet<NodeId>> {
        self.chain.read_again()
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
        self.lists.read().judge(node)?;
        if self.known().contains(node) {
            return Ok(());
        }
        Err("the node is neither validator nor observer of this chain; add it by a transaction first".into())
    }
}

/// Whoever is validator or observer at the next height, or will be: whoever joins must catch up before its first height, and
/// whoever leaves takes part until its last one.
fn nodes(ledger: &Ledger) -> Result<BTreeSet<NodeId>, ExecutionError> {
    let NodeLists { next, later, .. } = NodeLists::of(ledger)?;
    Ok(next.iter().chain(&later).map(|node| node.id).collect())
}

type Read = Box<dyn Fn() -> Result<BTreeSet<NodeId>, String> + Send + Sync>;

/// The chain's nodes with the ledger's last word about them.
struct ChainNodes {
    /// Held for as long as a copy of the pointer takes, never while the ledger is read.
    known: RwLock<Arc<BTreeSet<NodeId>>>,
    reader: Mutex<Reader>,
}

/// One at a time: a slow one must not put an older answer over a newer one.
struct Reader {
    read: Read,
    /// Why the last word is not of now, as the log was told.
    fault: Option<String>,
}

impl ChainNodes {
    fn new(read: impl Fn() -> Result<BTreeSet<NodeId>, String> + Send + Sync + 'static) -> Result<Self, String> {
        let nodes = read().map_err(|error| format!("the chain's nodes cannot be read: {error}"))?;
        let reader = Reader { read: Box::new(read), fault: None };
        Ok(Self { known: RwLock::new(Arc::new(nodes)), reader: Mutex::new(reader) })
    }

    fn known(&self) -> Arc<BTreeSet<NodeId>> {
        Arc::clone(&self.known.read())
    }

    fn read_again(&self) -> Arc<BTreeSet<NodeId>> {
        let mut reader = self.reader.lock();
        let last = self.known();
        if let Some(nodes) = reader.read(last.len()).filter(|nodes| *nodes != *last) {
            *self.known.write() = Arc::new(nodes);
        }
        self.known()
    }
}

impl Reader {
    /// The log is told of another fault than the last only: somebody asks every second.
    fn read(&mut self, last_known: usize) -> Option<BTreeSet<NodeId>> {
        match (self.read)() {
            Ok(nodes) => {
                if self.fault.take().is_some() {
                    tracing::info!("the chain's nodes can be read again");
                }
                Some(nodes)
            }
            Err(fault) if self.fault.as_ref() == Some(&fault) => None,
            Err(fault) => {
                tracing::error!(
                    fault,
                    nodes = last_known,
                    "the ledger does not tell the chain's nodes; those last known may be peers until it does. Check the disk"
                );
                self.fault = Some(fault);
                None
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicBool, Ordering};
    use std::time::Duration;

    use crossbeam_channel::bounded;

    use super::*;

    fn ids(numbers: &[u8]) -> BTreeSet<NodeId> {
        numbers.iter().map(|&number| NodeId([number; 64])).collect()
    }

    fn members_by(
        read: impl Fn() -> Result<BTreeSet<NodeId>, String> + Send + Sync + 'static,
    ) -> Result<Members, String> {
        let credentials = Credentials { authorities: vec![], revocation_lists: vec![], chain: vec![] };
        Ok(Members {
            chain: ChainNodes::new(read)?,
            lists: RwLock::new(Lists { allow: vec![], deny: vec![] }),
            credentials: RwLock::new(credentials),
        })
    }

    fn members(answer: &Arc<Mutex<Result<BTreeSet<NodeId>, String>>>) -> Result<Members, String> {
        let asked = Arc::clone(answer);
        members_by(move || asked.lock().clone())
    }

    #[test]
    fn a_ledger_that_cannot_be_read_changes_nobodys_membership() {
        let answer = Arc::new(Mutex::new(Ok(ids(&[1, 2]))));
        let members = members(&answer).expect("it can be read");
        let admitted = || [1, 2, 3].map(|number| members.admit(&NodeId([number; 64])).is_ok());
        assert_eq!(admitted(), [true, true, false]);
        for fault in ["a bad sector", "a bad sector", "a full disk"] {
            *answer.lock() = Err(fault.to_owned());
            assert_eq!(*members.read_again(), ids(&[1, 2]));
            assert_eq!(admitted(), [true, true, false], "{fault}");
            assert_eq!(members.chain.reader.lock().fault.as_deref(), Some(fault));
        }
        *answer.lock() = Ok(ids(&[2, 3]));
        assert_eq!(admitted(), [true, true, false], "nobody has read it");
        assert_eq!(*members.read_again(), ids(&[2, 3]));
        assert_eq!(admitted(), [false, true, true], "what it says then counts again");
        assert_eq!(members.chain.reader.lock().fault, None);
    }

    /// The first read answers; each later one says that it has begun and hangs until `release` is dropped.
    #[test]
    fn a_disk_that_hangs_holds_up_neither_admission_nor_new_lists() {
        let (begun, has_begun) = bounded::<()>(1);
        let (release, held) = bounded::<()>(0);
        let is_first = AtomicBool::new(true);
        let members = members_by(move || {
            if !is_first.swap(false, Ordering::SeqCst) {
                let _ = begun.send(());
                let _ = held.recv();
            }
            Ok(ids(&[1, 2]))
        });
        let members = Arc::new(members.expect("the first read answers"));
        let reading = std::thread::spawn({
            let members = Arc::clone(&members);
            move || members.read_again()
        });
        has_begun.recv().expect("the disk is being read");
        let (tell, told) = bounded(1);
        std::thread::spawn(move || {
            members.lists.write().deny = vec![NodeId([1; 64])];
            let _ = tell.send([1, 2, 3].map(|number| members.admit(&NodeId([number; 64])).is_ok()));
        });
        let admitted = told.recv_timeout(Duration::from_secs(60));
        drop(release);
        assert_eq!(admitted, Ok([false, true, false]));
        assert_eq!(*reading.join().expect("it was released"), ids(&[1, 2]));
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
