//! Batches of transactions that the order would drop: the chain carries no more of them in a block than the rule allows (ADR 007).

use bixi_types::NodeId;
use bixi_types::batch::Batch;
use bixi_types::limits::{BATCH_BYTES_MAX, VALUE_DEAD_BYTES_MAX};

use super::four::Group;
use super::host::{Host, wait_until};
use super::*;
use crate::batches::tests::user_add_until;
use crate::exchange::Exchange;
use crate::links::Channel;

/// Far more than the recipe of a block takes beside the transactions that were dropped.
const RECIPE_BYTES_MAX: usize = 64 * 1024;

/// As much as a batch may hold of transactions that expired with block 1.
fn expired(from: usize) -> Batch {
    let transaction = |number: usize| user_add_until(&format!("{}", from + number), 1).bytes.to_vec();
    let count = BATCH_BYTES_MAX / Batch::framed_bytes(transaction(0).len()) - 4;
    Batch { transactions: (0..count).map(transaction).collect() }
}

/// Of each block what the ledger keeps of its batches beside its transactions, and the bytes of these.
fn blocks(ledger: &Ledger) -> Vec<(usize, usize)> {
    let kept = |height| ledger.outline(height).unwrap().and_then(|outline| outline.batches).expect("committed").len();
    let stand = |height| ledger.block(height).unwrap().expect("committed").transactions.iter().map(Vec::len).sum();
    (1..=ledger.height()).map(|height| (kept(height), stand(height))).collect()
}

#[test]
fn batches_that_the_order_would_drop_share_no_block_and_hold_nobody_up() {
    // Blocks that would have room for all of them.
    let mut group = Group::of_hosts(Host::group_of_blocks(4, 0, 20_000));
    (0..4).for_each(|place| group.start(place));
    let mut transactions = group.commit(0, names(10, 4));
    transactions.extend(group.commit(0, names(20, 4)));
    group.agree(&transactions);
    let spent = [100_000, 200_000, 300_000].map(expired);
    let spent_bytes: usize = spent.iter().flat_map(|batch| &batch.transactions).map(Vec::len).sum();
    assert!(spent_bytes > 2 * VALUE_DEAD_BYTES_MAX + 3 * RECIPE_BYTES_MAX, "three do not fit two blocks");
    for node in group.up() {
        for (sender, batch) in (20..).zip(&spent) {
            let frame = Exchange::Batch(batch.encode()).encode();
            node.door.received(NodeId([sender; 64]), Channel::Bulk, &frame).expect("valid by its bytes");
        }
    }
    let kept = |ledger: &Ledger| blocks(ledger).iter().map(|(recipe, _)| recipe).sum::<usize>();
    wait_until("all of them are decided, and dropped", || kept(&group.node(0).ledger) >= spent_bytes);
    transactions.extend(group.commit(1, names(40, 4)));
    group.agree(&transactions);
    for (recipe, stand) in blocks(&group.node(0).ledger) {
        assert!(recipe <= stand + VALUE_DEAD_BYTES_MAX + RECIPE_BYTES_MAX, "{recipe} bytes beside {stand}");
    }
    group.stop_all();
}
