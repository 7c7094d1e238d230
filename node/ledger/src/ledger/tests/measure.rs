//! Numbers, printed with `--ignored --nocapture`; nothing is asserted about time.

use std::time::Instant;

use super::*;
use crate::Params;
use bixi_types::state::StateKey;

fn resident_mb() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").expect("procfs");
    let line = status.lines().find(|line| line.starts_with("VmRSS:")).expect("VmRSS");
    line.split_whitespace().nth(1).and_then(|kib| kib.parse::<u64>().ok()).expect("a number") / 1024
}

#[test]
#[ignore = "prints a measurement"]
#[expect(clippy::print_stderr, reason = "it prints a measurement")]
fn cost_of_a_block_and_resident_memory() {
    let dir = tempfile::tempdir().unwrap();
    let start_mb = resident_mb();
    let sizes = Params { block_cache_mb: 64, write_buffer_mb: 32, state_cache_mb: 32, ..params(dir.path()) };
    let ledger = Ledger::open(sizes).unwrap();
    initialise(&ledger, "chain0", &writes(&["a=0"]));
    eprintln!("opened: {} MiB more resident", resident_mb() - start_mb);
    let (mut prepare_us, mut commit_us) = (0, 0);
    let (blocks, rows_each) = (100u32, 1_000u32);
    for number in 1..=blocks {
        let rows: WriteSet = (0..rows_each)
            .map(|i| {
                let row = (number * 7_919 + i * 104_729) % 200_000;
                let key = [&[0; 48][..], &row.to_be_bytes()].concat();
                (
                    StateKey { table: StateTable::Storage, key },
                    Some([number.to_be_bytes(), i.to_be_bytes()].concat().repeat(4)),
                )
            })
            .collect();
        let start = Instant::now();
        let prepared = ledger.prepare(u64::from(number), &rows).unwrap();
        prepare_us += start.elapsed().as_micros();
        let block = block_on(ledger.head_hash().unwrap(), prepared, Vec::new());
        let start = Instant::now();
        ledger.commit(block).unwrap();
        commit_us += start.elapsed().as_micros();
    }
    let blocks = u128::from(blocks);
    eprintln!("{rows_each} rows: prepare {} us, commit {} us a block", prepare_us / blocks, commit_us / blocks);
    eprintln!("after {} rows: {} MiB more resident", blocks * u128::from(rows_each), resident_mb() - start_mb);
}
