//! Faults of the wire.

use std::time::Duration;

use bixi_tests::wallet::Seeded;
use bixi_tests::wire::Condition;

use crate::field::Field;

/// The node that is unwell when only one is.
const UNWELL: usize = 3;
const MBIT_BYTES_PER_SECOND: u64 = 125_000;

/// All directions are bad, the chain goes on nevertheless, and better afterwards.
fn all_bad(field: &mut Field<'_>, condition: Condition) {
    field.wire().set_where(condition, |_, _| true);
    field.grow(&field.all(), 5);
    field.wire().heal();
    field.mend(&field.all());
    field.recover(&field.all());
}

pub(super) fn delay(field: &mut Field<'_>) {
    let ms = Duration::from_millis;
    all_bad(field, Condition { delay: ms(100), jitter: ms(50), ..Condition::GOOD });
}

pub(super) fn loss_5(field: &mut Field<'_>) {
    all_bad(field, Condition { loss_permille: 50, ..Condition::GOOD });
}

pub(super) fn loss_20(field: &mut Field<'_>) {
    all_bad(field, Condition { loss_permille: 200, ..Condition::GOOD });
}

pub(super) fn reorder(field: &mut Field<'_>) {
    all_bad(field, Condition { reorder_permille: 100, duplicate_permille: 100, ..Condition::GOOD });
}

pub(super) fn narrow_all(field: &mut Field<'_>) {
    all_bad(field, Condition { bytes_per_second: MBIT_BYTES_PER_SECOND, ..Condition::GOOD });
}

/// What a node says whose peers fall silent.
const CUT_OFF: [&str; 2] = ["WARN", "check the network between the nodes"];

/// One node's directions are set, the others go on, it says these words; mended, it returns.
fn one_bad(field: &mut Field<'_>, condition: Condition, words: &[&str], is_bad: fn(usize, usize) -> bool) {
    field.wire().set_where(condition, is_bad);
    let others = field.others(UNWELL);
    field.grow(&others, 10);
    if !words.is_empty() {
        field.says(UNWELL, words);
    }
    field.wire().heal();
    field.mend(&others);
    field.recover(&others);
    field.return_of(UNWELL);
    field.grow(&field.all(), 2);
}

pub(super) fn narrow_one(field: &mut Field<'_>) {
    let narrow = Condition { bytes_per_second: MBIT_BYTES_PER_SECOND, ..Condition::GOOD };
    one_bad(field, narrow, &[], |from, to| from == UNWELL || to == UNWELL);
}

pub(super) fn partition_3_1(field: &mut Field<'_>) {
    let alone = field.height(UNWELL);
    one_bad(field, Condition::CUT, &CUT_OFF, |from, to| from == UNWELL || to == UNWELL);
    assert!(field.height(UNWELL) > alone, "it stands where it was cut off");
}

/// It proposes in its turn, and nobody hears it.
pub(super) fn one_way(field: &mut Field<'_>) {
    one_bad(field, Condition::CUT, &CUT_OFF, |from, _| from == UNWELL);
}

pub(super) fn partition_2_2(field: &mut Field<'_>) {
    field.wire().part(|node| node < 2);
    field.rest(&field.all());
    field.wire().heal();
    field.mend(&field.all());
    field.recover(&field.all());
    field.return_of(UNWELL);
    field.grow(&field.all(), 2);
}

/// Four of seven decide nothing, five do; the parted return by themselves.
pub(super) fn seven(field: &mut Field<'_>) {
    field.wire().part(|node| node < 4);
    field.rest(&field.all());
    field.wire().heal();
    field.wire().part(|node| node < 5);
    let five: Vec<usize> = (0..5).collect();
    field.grow(&five, 10);
    field.wire().heal();
    field.mend(&five);
    field.recover(&five);
    field.return_of(6);
    field.grow(&field.all(), 2);
}

pub(super) fn flapping(field: &mut Field<'_>) {
    let mut random = Seeded(field.seed);
    let others = field.others(UNWELL);
    for _ in 0..10 {
        for condition in [Condition::CUT, Condition::GOOD] {
            field.wire().set_where(condition, |from, to| from == UNWELL || to == UNWELL);
            std::thread::sleep(Duration::from_millis(200 + random.below(1_000)));
        }
        field.grow(&others, 1);
    }
    field.mend(&others);
    field.recover(&others);
    field.return_of(UNWELL);
    field.grow(&field.all(), 2);
}
