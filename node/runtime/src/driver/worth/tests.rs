use bixi_ledger::CommitBlock;
use bixi_types::CryptoSuite;
use bixi_types::batch::Batch;
use bixi_types::header::{BlockHeader, ParentInfo};
use bixi_types::limits::BATCH_BYTES_MAX;
use bixi_types::receipt::Receipt;
use bixi_types::state::WriteSet;
use bixi_types::transaction::Verified;

use super::*;
use crate::batches::Origin;
use crate::batches::tests::{names, user_add, user_add_until};

/// Pipeline depth of [`chain`].
const DEPTH: u64 = 2;

fn genesis() -> Genesis {
    Genesis { pipeline_depth: DEPTH as u32, block_tx_count_max: 20_000, ..Genesis::fixture(&[]) }
}

/// A ledger whose block 1 has some transactions, and `height` blocks.
fn chain(transactions: Vec<Verified>, height: u64) -> Arc<Ledger> {
    let (genesis, rows) = (genesis(), WriteSet::new());
    let ledger = Ledger::in_memory(CryptoSuite::Sm);
    let header = BlockHeader { state_root: ledger.genesis_state_root(&rows), ..BlockHeader::default() };
    ledger.initialise(&genesis, &rows, &header).expect("an empty ledger");
    let mut transactions = Some(transactions);
    for number in 1..=height {
        let (_, hash) = ledger.head().expect("initialised");
        let prepared = ledger.prepare(number, &rows).expect("the next block");
        let transactions = transactions.take().unwrap_or_default();
        let header = BlockHeader {
            number: number as i64,
            parent_info: vec![ParentInfo { number: number as i64 - 1, hash }],
            state_root: prepared.state_root,
            ..BlockHeader::default()
        };
        let receipts = vec![Receipt::default(); transactions.len()];
        let (value, certificate, batches) = Default::default();
        let block = CommitBlock { header, transactions, receipts, prepared, value, certificate, batches };
        ledger.commit(block).expect("fits");
    }
    Arc::new(ledger)
}

struct Field {
    batches: Arc<BatchStore>,
    worth: Worth,
}

impl Field {
    fn on(ledger: &Arc<Ledger>) -> Self {
        let batches = Arc::new(BatchStore::default());
        Self { worth: Worth::new(&genesis(), ledger, &batches), batches }
    }

    /// A batch of these.
    fn batch(&self, transactions: impl IntoIterator<Item = Verified>) -> H256 {
        let (batch, _) = VerifiedBatch::seal(CryptoSuite::Sm, transactions.into_iter().collect());
        let digest = batch.digest;
        self.batches.add(batch, Origin::Own);
        digest
    }

    fn allows(&self, height: u64, digests: &[H256]) -> bool {
        self.worth.allows(height, digests).expect("memory does not fail")
    }

    fn choose(&self, height: u64, digests: &[H256]) -> Vec<H256> {
        self.worth.choose(height, digests.to_vec()).expect("memory does not fail")
    }
}

/// Nearly as many as a batch may hold by its bytes.
fn many(transaction: impl Fn(usize) -> Verified) -> Vec<Verified> {
    let bytes = Batch::framed_bytes(transaction(0).bytes.len());
    (0..BATCH_BYTES_MAX / bytes - 4).map(transaction).collect()
}

#[test]
fn a_value_brings_no_more_that_is_dropped_than_what_stands_and_one_batch() {
    let spent: Vec<Verified> = names(10_000, 500).collect();
    let field = Field::on(&chain(spent.clone(), 1 + DEPTH));
    let height = 1 + DEPTH + 1;
    let expired = |number: usize| user_add_until(&format!("{number}"), height as i64 - 1);
    let dead: Vec<H256> = (1..=3).map(|place| field.batch(many(|number| expired(100_000 * place + number)))).collect();
    let repeated = field.batch(spent);
    let fresh: Vec<H256> =
        (4..=6).map(|place| field.batch(many(|number| user_add(&format!("{}", 100_000 * place + number))))).collect();

    assert!(field.allows(height, &[]) && field.allows(height, &fresh));
    assert!(field.allows(height, &[dead[0]]) && field.allows(height, &[repeated]), "one batch always passes");
    assert!(!field.allows(height, &dead[..2]) && !field.allows(height, &[repeated, dead[0]]));
    assert!(field.allows(height, &[dead[0], dead[1], fresh[0]]), "one stands, and one more may be dropped");
    assert!(!field.allows(height, &[dead[0], dead[1], dead[2], fresh[0]]));
    assert!(!field.allows(height, &[fresh[0]; 4]), "the same again does not stand");
    // What has not expired before that height stands.
    assert!(field.allows(height - 1, &dead[..2]));
}

#[test]
fn a_proposer_leaves_out_what_makes_a_value_too_light_and_nothing_else() {
    let field = Field::on(&chain(Vec::new(), 1 + DEPTH));
    let height = 1 + DEPTH + 1;
    let dead: Vec<H256> = (1..=4)
        .map(|place| field.batch(many(|number| user_add_until(&format!("{}", 100_000 * place + number), 1))))
        .collect();
    let fresh: Vec<H256> =
        (5..=6).map(|place| field.batch(many(|number| user_add(&format!("{}", 100_000 * place + number))))).collect();
    assert_eq!(field.choose(height, &fresh), fresh);
    assert_eq!(field.choose(height, &dead[..1]), &dead[..1], "so that its clients are told");
    let chosen = field.choose(height, &[dead[0], dead[1], fresh[0], dead[2], dead[3], fresh[1]]);
    assert_eq!(chosen, [dead[0], fresh[0], dead[2], fresh[1]]);
    assert!(field.allows(height, &chosen));
}

#[test]
fn nodes_that_have_committed_more_judge_as_those_that_have_not() {
    let spent = [100_000, 200_000].map(|from| many(|number| user_add(&format!("{}", from + number))));
    // Block 1 has them. For the value of the first height nobody needs to have it, for that of the second everybody has.
    for (height, is_allowed) in [(1 + DEPTH, true), (1 + DEPTH + 1, false)] {
        for head in height - DEPTH - 1..height {
            let field = Field::on(&chain(if head == 0 { Vec::new() } else { spent.concat() }, head));
            let batches = spent.clone().map(|transactions| field.batch(transactions));
            assert_eq!(field.allows(height, &batches), is_allowed, "height {height}, head {head}");
        }
    }
}

#[test]
fn a_value_brings_no_more_transactions_than_a_block_takes_or_one_batch() {
    let ledger = chain(Vec::new(), 1);
    let batches = Arc::new(BatchStore::default());
    let genesis = Genesis { block_tx_count_max: 2_000, ..genesis() };
    let field = Field { worth: Worth::new(&genesis, &ledger, &batches), batches };
    let most = [1_000, 1_000, BATCH_TRANSACTIONS_MAX - 2_000];
    let mut value: Vec<H256> =
        (1..).zip(most).map(|(place, count)| field.batch(names(10_000 * place, count))).collect();
    assert!(field.allows(2, &value));
    value.push(field.batch(names(1, 1)));
    assert!(!field.allows(2, &value));
}
