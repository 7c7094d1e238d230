//! Batches of transactions that the order would drop: honest proposers let no two of them into a block (ADR 007).

use bixi_types::NodeId;
use bixi_types::batch::Batch;
use bixi_types::limits::BATCH_BYTES_MAX;

use super::four::Group;
use super::host::{Host, wait_until};
use super::*;
use crate::batches::tests::user_add_until;
use crate::exchange::Exchange;
use crate::links::Channel;

/// Far more than the recipe of a block takes beside the transactions that were dropped.
const RECIPE_BYTES_MAX: usize = 64 * 1024;

/// As much as a batch may hold of transactions with nonces that `users` have used.
fn spent(users: &[Verified], place: usize) -> Batch {
    let most = BATCH_BYTES_MAX / Batch::framed_bytes(users[0].bytes.len()) - 4;
    let transaction = |number: usize| {
        // The same nonce again and again, until different blocks.
        let (user, until) = (&users[number % users.len()], 100 + (place * most + number) / users.len());
        user_add_until(&user.tx.nonce, until as i64).bytes.to_vec()
    };
    Batch { transactions: (0..most).map(transaction).collect() }
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
    let spent = [0, 1, 2].map(|place| spent(&transactions, place));
    let spent_bytes: usize = spent.iter().flat_map(|batch| &batch.transactions).map(Vec::len).sum();
    assert!(spent_bytes > 2 * BATCH_BYTES_MAX + 3 * RECIPE_BYTES_MAX, "three do not fit two blocks");
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
        assert!(recipe <= stand + BATCH_BYTES_MAX + RECIPE_BYTES_MAX, "{recipe} bytes beside {stand}");
    }
    group.stop_all();
}
