//! Every size that more than one room must agree on, in one place: the sender and the receiver of anything share the constant.

/// One encoded transaction.
pub const TRANSACTION_BYTES_MAX: usize = 256 * 1024;
/// A batch is closed at this size (one larger transaction may stand in a batch of its own).
pub const BATCH_BYTES_TARGET: usize = 128 * 1024;
/// One encoded batch, counted with its framing.
pub const BATCH_BYTES_MAX: usize = TRANSACTION_BYTES_MAX + BATCH_BYTES_TARGET + 1024;
/// Transactions in one batch.
pub const BATCH_TRANSACTIONS_MAX: usize = 2_048;
/// A batch is closed at this age.
pub const BATCH_INTERVAL_MS: u64 = 10;
/// Batches in one value.
pub const VALUE_BATCHES_MAX: usize = 256;
/// Batches of one value: a proposer names no more of them, and nobody holds more for the undecided values of one proposer.
pub const VALUE_BYTES_MAX: usize = 32 * 1024 * 1024;
/// Undecided batches held because proposers name them, all proposers together.
pub const NAMED_BATCHES_BYTES_MAX: usize = 4 * VALUE_BYTES_MAX;
/// Undecided batches held for one peer. A node has at most half of it undecided itself, so an honest one is never refused.
pub const PEER_BATCHES_BYTES_MAX: usize = 32 * 1024 * 1024;
/// The same, counted: many small ones cost as much as a few large ones.
pub const PEER_BATCHES_MAX: usize = 4 * VALUE_BATCHES_MAX;
/// A batch that was not decided at this age is taken apart by its builder, and its transactions are batched again.
pub const BATCH_RETRY_MS: u64 = 10_000;
/// A batch of a peer that was not decided at this age is forgotten; longer than its builder waits.
pub const BATCH_HELD_MS: u64 = 60_000;
/// Batches sent in answer to one request; the asker asks again for the rest.
pub const ANSWER_BYTES_MAX: usize = 8 * 1024 * 1024;
/// Heights proven in one answer; the asker asks again for the rest.
pub const HEIGHTS_MAX: usize = 256;
/// Bytes of such an answer; one height alone never reaches it.
pub const HEIGHTS_BYTES_MAX: usize = 1024 * 1024;
/// One message between nodes.
pub const MESSAGE_BYTES_MAX: usize = 4 * 1024 * 1024;
/// One frame of a session besides those that carry a message: the hello, its proof, a refusal.
pub const SESSION_FRAME_BYTES_MAX: usize = 1024;
/// Validators in one set.
pub const VALIDATORS_MAX: usize = 256;
/// One encoded block (a value's batches with their receipts never reach it).
pub const BLOCK_BYTES_MAX: usize = 256 * 1024 * 1024;
/// Transactions in one block, whatever genesis asks for.
pub const BLOCK_TRANSACTIONS_MAX: usize = 65_536;
/// One encoded header.
pub const HEADER_BYTES_MAX: usize = 256 * 1024;
/// Rows of the state in one piece of a snapshot: closed at this size.
pub const SNAPSHOT_CHUNK_BYTES_TARGET: usize = 512 * 1024;
/// One encoded piece of a snapshot, the row that closed it included.
pub const SNAPSHOT_CHUNK_BYTES_MAX: usize = 2 * 1024 * 1024;
/// Pieces of one snapshot, so that their hashes fit one message: states of up to 32 GiB.
pub const SNAPSHOT_CHUNKS_MAX: usize = 65_536;
/// Bytes of a block in one part, while a snapshot is fetched.
pub const SNAPSHOT_BLOCK_PART_BYTES_MAX: usize = 1024 * 1024;
/// One block as it travels: the batches of its value once, and once more what its order dropped of them.
pub const SNAPSHOT_BLOCK_BYTES_MAX: usize = VALUE_BATCHES_MAX * BATCH_BYTES_MAX + 1024 * 1024;
/// One encoded receipt.
pub const RECEIPT_BYTES_MAX: usize = 16 * 1024 * 1024;
/// Events in one receipt.
pub const RECEIPT_LOGS_MAX: usize = 65_536;
