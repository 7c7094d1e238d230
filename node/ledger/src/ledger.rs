//! Genesis, prepare, commit.
//!
//! Order inside a commit, on which views and the cache rely: engine, cache, head, then the layer retires. A failed write
//! poisons the ledger: nothing more is written, reads keep answering from the last committed state.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use bixi_types::genesis::Genesis;
use bixi_types::header::BlockHeader;
use bixi_types::state::{StateTable, StateView, WriteSet};
use bixi_types::{CryptoSuite, H256};
use parking_lot::{Condvar, Mutex, RwLock};

use crate::cache::{Lookup, Row, StateCache};
use crate::commitment::{Change, StateCommitment, Update};
use crate::engine::{Batch, Engine};
use crate::error::{LedgerError, damaged};
use crate::history::Ordered;
use crate::keys::{self, Column};
use crate::layers::{Found, Layer, Layers, Step};
use crate::records::{self, Body, CommitBlock, Counts, Head, History, Past};
use crate::view::View;

/// The head and what the next block builds on.
pub(crate) struct HeadState {
    pub(crate) head: Head,
    pub(crate) accumulator: Arc<[u8]>,
    pub(crate) genesis: Arc<Genesis>,
    /// `None` when every block is here.
    pub(crate) history: Option<History>,
    /// What is here from before the snapshot.
    pub(crate) past: Arc<Past>,
}

/// What the ledger and its views share.
pub(crate) struct Core {
    pub(crate) engine: Box<dyn Engine>,
    pub(crate) suite: CryptoSuite,
    pub(crate) commitment: Box<dyn StateCommitment>,
    pub(crate) cache: StateCache,
    pub(crate) layers: RwLock<Layers>,
    pub(crate) head: RwLock<Option<Arc<HeadState>>>,
    pub(crate) ordered: RwLock<Ordered>,
}

/// The ledger of one chain. Shared by `Arc`; all methods may be called from many threads.
pub struct Ledger {
    pub(crate) core: Arc<Core>,
    /// Held by whoever adds or discards layers.
    prepare_turn: Mutex<()>,
    /// Held by whoever writes to the engine.
    pub(crate) commit_turn: Mutex<()>,
    /// Told of every commit, under the turn.
    pub(crate) committed: Condvar,
    poisoned: AtomicBool,
}

/// A block whose writes are laid over the head.
#[derive(Debug, Clone)]
pub struct PreparedState {
    /// Its height.
    pub number: u64,
    /// What its header must say.
    pub state_root: H256,
    /// Merkle root of its writes.
    pub changes_root: H256,
    layer: Arc<Layer>,
}

impl PreparedState {
    /// Tells the views above this block its header hash, for BLOCKHASH before the block is committed. The first call counts.
    pub fn set_header_hash(&self, hash: H256) {
        // A second header over the same prepared state can only be the same header.
        let _ = self.layer.header_hash.set(hash);
    }

    /// What the block writes.
    pub fn writes(&self) -> WriteSet {
        let row = |(key, step): (&Vec<u8>, &Step)| {
            let key = keys::parse_state(key).expect("built from a state key");
            (key, step.new.as_ref().map(|value| value.to_vec()))
        };
        self.layer.steps.iter().map(row).collect()
    }
}

impl Core {
    pub(crate) fn head(&self) -> Option<Arc<HeadState>> {
        self.head.read().clone()
    }

    pub(crate) fn committed_number(&self) -> u64 {
        self.head().map_or(0, |state| state.head.number)
    }

    fn committed_row(&self, key: &[u8]) -> Result<Row, LedgerError> {
        match self.cache.lookup(key) {
            Lookup::Hit(row) => Ok(row),
            Lookup::Miss(ticket) => {
                let row = records::share(self.engine.get(Column::State, key)?);
                self.cache.fill(key, row.clone(), ticket);
                Ok(row)
            }
        }
    }

    fn layered_row(&self, height: u64, key: &[u8]) -> Option<Row> {
        match self.layers.read().find(height, key) {
            Found::At(row) | Found::Below(row) => Some(row.clone()),
            Found::Nowhere => None,
        }
    }

    /// One row as of `height`. A view of that height must be live.
    pub(crate) fn row_at(&self, height: u64, table: StateTable, row_key: &[u8]) -> Result<Row, LedgerError> {
        let key = keys::state(table, row_key);
        if let Some(row) = self.layered_row(height, &key) {
            return Ok(row);
        }
        let committed = self.committed_row(&key)?;
        // A later block may have been committed between the two reads; its layer still knows the row before it.
        Ok(self.layered_row(height, &key).unwrap_or(committed))
    }

    /// Header hash of a committed or prepared height.
    pub(crate) fn hash_at(&self, number: u64) -> Result<Option<H256>, LedgerError> {
        if let Some(hash) = self.layers.read().get(number).and_then(|layer| layer.header_hash.get()) {
            return Ok(Some(*hash));
        }
        let Some(bytes) = self.engine.get(Column::Chain, &keys::hash(number))? else {
            return match self.layers.read().get(number) {
                Some(_) => Err(LedgerError::Unfit { number, reason: "its header hash was not announced".into() }),
                None => Ok(None),
            };
        };
        H256::from_slice(&bytes).map(Some).ok_or_else(|| damaged(format_args!("hash of block {number}")))
    }

    fn accumulator_at(&self, height: u64) -> Arc<[u8]> {
        if let Some(layer) = self.layers.read().get(height) {
            return Arc::clone(&layer.accumulator);
        }
        let state = self.head().expect("only an initialised ledger prepares");
        assert_eq!(state.head.number, height, "the newest state is a layer or the head");
        Arc::clone(&state.accumulator)
    }
}

impl Ledger {
    pub(crate) fn from_core(core: Core) -> Self {
        Self {
            core: Arc::new(core),
            prepare_turn: Mutex::new(()),
            commit_turn: Mutex::new(()),
            committed: Condvar::new(),
            poisoned: AtomicBool::new(false),
        }
    }

    /// The state root a genesis header must carry for these rows.
    pub fn genesis_state_root(&self, writes: &WriteSet) -> H256 {
        genesis_state_root(self.core.commitment.as_ref(), writes)
    }

    /// Writes block 0. Repeating it with the same genesis does nothing; with another one it is refused.
    ///
    /// # Errors
    /// [`LedgerError::OtherChain`], [`LedgerError::Unfit`] when `header` does not carry [`Self::genesis_state_root`] or the
    /// suite differs, or the engine's error.
    pub fn initialise(&self, genesis: &Genesis, writes: &WriteSet, header: &BlockHeader) -> Result<(), LedgerError> {
        let _turn = self.commit_turn.lock();
        self.check_alive()?;
        if let Some(state) = self.core.head() {
            let (found, expected) = (state.genesis.hash(), genesis.hash());
            return if found == expected { Ok(()) } else { Err(LedgerError::OtherChain { found, expected }) };
        }
        let update = self.core.commitment.apply(&self.core.commitment.empty(), &creations(writes));
        check_genesis(genesis, header, self.core.suite, &update)?;
        let hash = header.hash(self.core.suite);
        let head = Head { number: 0, hash, changes_root: update.changes_root, counts: Counts::default() };
        let mut batch = Batch::default();
        batch.put(Column::Meta, keys::META_SCHEMA, keys::SCHEMA_VERSION.to_le_bytes());
        batch.put(Column::Meta, keys::META_GENESIS, records::encode(genesis));
        put_head(&mut batch, &head, &update.accumulator);
        put_header(&mut batch, header, &hash);
        batch.put(Column::Chain, keys::body(0), records::encode(&Body::default()));
        for (key, value) in writes.iter().filter_map(|(key, value)| Some((key, value.as_ref()?))) {
            batch.put(Column::State, keys::state(key.table, &key.key), value.as_slice());
        }
        self.write(batch)?;
        for (key, value) in writes {
            self.core.cache.commit(&keys::state(key.table, &key.key), records::share(value.clone()));
        }
        let (accumulator, genesis) = (update.accumulator.into(), Arc::new(genesis.clone()));
        self.set_head(HeadState { head, accumulator, genesis, history: None, past: Arc::default() });
        Ok(())
    }

    /// The state after the newest prepared block, or after the head.
    pub fn view(&self) -> Arc<dyn StateView> {
        Arc::new(View::newest(&self.core))
    }

    /// The state after the head: what clients may see.
    pub fn committed_view(&self) -> Arc<dyn StateView> {
        Arc::new(View::committed(&self.core))
    }

    /// Computes the commitment of the next block's writes and lays them over the state. Touches no disk but for reading the
    /// rows before. Blocks are prepared one after the other, each once; [`Self::discard_prepared`] takes them back.
    ///
    /// # Errors
    /// [`LedgerError::OutOfOrder`], [`LedgerError::Uninitialised`], or a failed read.
    pub fn prepare(&self, number: u64, writes: &WriteSet) -> Result<PreparedState, LedgerError> {
        let _turn = self.prepare_turn.lock();
        if self.core.head().is_none() {
            return Err(LedgerError::Uninitialised);
        }
        let base = View::newest(&self.core);
        let expected = base.height() + 1;
        if number != expected {
            return Err(LedgerError::OutOfOrder { expected, found: number });
        }
        let steps = self.steps(&base, writes)?;
        let update = self.core.commitment.apply(&self.core.accumulator_at(base.height()), &changes(writes, &steps));
        let layer = Arc::new(Layer {
            number,
            steps: writes.keys().map(|key| keys::state(key.table, &key.key)).zip(steps).collect(),
            accumulator: update.accumulator.into(),
            changes_root: update.changes_root,
            state_root: update.state_root,
            header_hash: std::sync::OnceLock::new(),
        });
        self.core.layers.write().push(Arc::clone(&layer));
        Ok(PreparedState { number, state_root: update.state_root, changes_root: update.changes_root, layer })
    }

    /// Takes back every prepared block from `number` upwards that is not committed, and what replay protection noted of it. Views above
    /// must be gone.
    pub fn discard_prepared(&self, number: u64) {
        let _turn = self.prepare_turn.lock();
        let _commit = self.commit_turn.lock();
        let from = number.max(self.core.committed_number() + 1);
        self.core.layers.write().discard_from(from);
        self.core.ordered.write().forget_from(from);
    }

    /// Makes a certified block durable in one synced batch. When it returns, the block survives the loss of power.
    ///
    /// # Errors
    /// [`LedgerError::OutOfOrder`] or [`LedgerError::Unfit`] leave everything as it was; any other error means that the node
    /// must stop: the block is wholly on disk or not at all, and the ledger writes nothing more until it is reopened.
    pub fn commit(&self, block: CommitBlock) -> Result<(), LedgerError> {
        let _turn = self.commit_turn.lock();
        self.check_alive()?;
        let state = self.core.head().ok_or(LedgerError::Uninitialised)?;
        let hash = block.header.hash(self.core.suite);
        self.check_fits(&block, &state.head)?;
        let layer = Arc::clone(&block.prepared.layer);
        let head = next_head(&state.head, &block, hash);
        let batch = self.batch(&block, &head, &state.genesis)?;
        self.write(batch)?;
        for (key, step) in &layer.steps {
            self.core.cache.commit(key, step.new.clone());
        }
        let number = head.number;
        let (accumulator, genesis) = (Arc::clone(&layer.accumulator), Arc::clone(&state.genesis));
        self.set_head(HeadState { head, accumulator, genesis, history: state.history, past: Arc::clone(&state.past) });
        self.core.layers.write().retire(number);
        self.core.ordered.write().forget_through(number);
        self.committed.notify_all();
        Ok(())
    }

    fn steps(&self, base: &View, writes: &WriteSet) -> Result<Vec<Step>, LedgerError> {
        writes
            .iter()
            .map(|(key, new)| {
                let old = self.core.row_at(base.height(), key.table, &key.key)?;
                Ok(Step { old, new: records::share(new.clone()) })
            })
            .collect()
    }

    fn check_alive(&self) -> Result<(), LedgerError> {
        if self.poisoned.load(Ordering::Acquire) { Err(LedgerError::Poisoned) } else { Ok(()) }
    }

    fn write(&self, batch: Batch) -> Result<(), LedgerError> {
        self.core.engine.write(batch).map_err(|error| {
            self.poisoned.store(true, Ordering::Release);
            tracing::error!(%error, "the ledger could not be written");
            LedgerError::from(error)
        })
    }

    fn set_head(&self, state: HeadState) {
        *self.core.head.write() = Some(Arc::new(state));
    }

    fn check_fits(&self, block: &CommitBlock, head: &Head) -> Result<(), LedgerError> {
        let (number, expected) = (block.prepared.layer.number, head.number + 1);
        if number != expected {
            return Err(LedgerError::OutOfOrder { expected, found: number });
        }
        let unfit = |reason: &str| Err(LedgerError::Unfit { number, reason: reason.to_owned() });
        let header = &block.header;
        if u64::try_from(header.number) != Ok(number) {
            return unfit("the header is of another height");
        }
        if header.parent_info.len() != 1 || header.parent_info[0].hash != head.hash {
            return unfit("its parent is not the head");
        }
        if header.state_root != block.prepared.layer.state_root {
            return unfit("the header's state root is not that of the prepared writes");
        }
        if block.transactions.len() != block.receipts.len() || u32::try_from(block.transactions.len()).is_err() {
            return unfit("there is not one receipt for each transaction");
        }
        let current =
            self.core.layers.read().get(number).is_some_and(|layer| Arc::ptr_eq(layer, &block.prepared.layer));
        if current { Ok(()) } else { unfit("its prepared writes were discarded") }
    }

    fn batch(&self, block: &CommitBlock, head: &Head, genesis: &Genesis) -> Result<Batch, LedgerError> {
        let number = head.number;
        let mut batch = Batch::default();
        put_head(&mut batch, head, &block.prepared.layer.accumulator);
        put_header(&mut batch, &block.header, &head.hash);
        let decision = Decision { value: &block.value, certificate: &block.certificate, batches: &block.batches };
        put_body(&mut batch, number, block.transactions.len(), &decision);
        for (index, (transaction, receipt)) in (0u32..).zip(block.transactions.iter().zip(&block.receipts)) {
            batch.put(Column::Chain, keys::transaction(number, index), &*transaction.bytes);
            batch.put(Column::Chain, keys::receipt(number, index), receipt.encode());
            batch.put(Column::Index, keys::transaction_place(&transaction.hash), keys::place(number, index));
            crate::history::put_nonce(&mut batch, number, &transaction.tx, &transaction.sender);
        }
        self.forget_nonces(&mut batch, number, genesis)?;
        for (key, step) in &block.prepared.layer.steps {
            match &step.new {
                Some(value) => batch.put(Column::State, key.as_slice(), &**value),
                None => batch.delete(Column::State, key.as_slice()),
            }
        }
        Ok(batch)
    }
}

pub(crate) fn genesis_state_root(commitment: &dyn StateCommitment, writes: &WriteSet) -> H256 {
    commitment.apply(&commitment.empty(), &creations(writes)).state_root
}

fn creations(writes: &WriteSet) -> Vec<Change<'_>> {
    writes.iter().map(|(key, new)| Change { table: key.table, key: &key.key, old: None, new: new.as_deref() }).collect()
}

fn changes<'a>(writes: &'a WriteSet, steps: &'a [Step]) -> Vec<Change<'a>> {
    writes
        .keys()
        .zip(steps)
        .map(|(key, step)| Change {
            table: key.table,
            key: &key.key,
            old: step.old.as_deref(),
            new: step.new.as_deref(),
        })
        .collect()
}

fn check_genesis(
    genesis: &Genesis,
    header: &BlockHeader,
    suite: CryptoSuite,
    update: &Update,
) -> Result<(), LedgerError> {
    let unfit = |reason: &str| Err(LedgerError::Unfit { number: 0, reason: reason.to_owned() });
    if genesis.suite != suite {
        return unfit("the genesis names another crypto suite than the node");
    }
    if header.number != 0 || !header.parent_info.is_empty() {
        return unfit("a genesis header has height 0 and no parent");
    }
    if header.state_root != update.state_root {
        return unfit("the header's state root is not that of the genesis rows");
    }
    Ok(())
}

fn next_head(parent: &Head, block: &CommitBlock, hash: H256) -> Head {
    let failed = block.receipts.iter().filter(|receipt| receipt.status != 0).count() as u64;
    let counts = Counts {
        transactions: parent.counts.transactions + block.transactions.len() as u64,
        failed: parent.counts.failed + failed,
    };
    Head { number: parent.number + 1, hash, changes_root: block.prepared.layer.changes_root, counts }
}

pub(crate) fn put_head(batch: &mut Batch, head: &Head, accumulator: &[u8]) {
    batch.put(Column::Meta, keys::META_HEAD, records::encode(head));
    batch.put(Column::Meta, keys::META_ACCUMULATOR, accumulator);
}

pub(crate) fn put_header(batch: &mut Batch, header: &BlockHeader, hash: &H256) {
    let number = header.number.unsigned_abs();
    batch.put(Column::Chain, keys::header(number), header.encode());
    batch.put(Column::Chain, keys::hash(number), hash.as_ref());
    batch.put(Column::Index, keys::block_number(hash), keys::number(number));
}

/// How a block was ordered, as the ledger keeps it beside the header without reading it.
pub(crate) struct Decision<'a> {
    pub value: &'a [u8],
    pub certificate: &'a [u8],
    pub batches: &'a [u8],
}

pub(crate) fn put_body(batch: &mut Batch, number: u64, transaction_count: usize, decision: &Decision<'_>) {
    let body = Body {
        transaction_count: transaction_count as u32,
        value: decision.value.to_vec(),
        certificate: decision.certificate.to_vec(),
    };
    batch.put(Column::Chain, keys::body(number), records::encode(&body));
    batch.put(Column::Chain, keys::batches(number), decision.batches);
}

#[cfg(test)]
mod tests;
