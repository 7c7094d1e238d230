//! What execution takes and gives: a decided, flattened block in; receipts and a write set out.

use crate::H256;
use crate::receipt::Receipt;
use crate::state::WriteSet;
use crate::transaction::Verified;

/// A decided block after its batches were flattened: exactly what will be executed, in this order.
#[derive(Debug, Clone)]
pub struct OrderedBlock {
    /// Height.
    pub number: u64,
    /// Milliseconds since the Unix epoch, from the decided value.
    pub timestamp_ms: u64,
    /// Id of the decided value.
    pub value_id: H256,
    /// Rules to execute under.
    pub protocol_version: u32,
    /// Transactions; the index is the context id.
    pub transactions: Vec<Verified>,
}

/// The result of executing an [`OrderedBlock`]; a pure function of the block and the state before it.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ExecutedBlock {
    /// One receipt per transaction, in order.
    pub receipts: Vec<Receipt>,
    /// What the block writes.
    pub writes: WriteSet,
    /// Gas used by all transactions.
    pub gas_used: u128,
}
