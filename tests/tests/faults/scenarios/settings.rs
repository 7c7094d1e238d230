//! One node's files say something else than the others'.

use std::fs;

use bixi_tests::settings::set;

use crate::field::Field;

const UNWELL: usize = 3;

/// It is refused at its start, by a line that names the chain; the others go on, and the right file brings it back.
pub(super) fn other_genesis(field: &mut Field<'_>) {
    let genesis = field.home(UNWELL).join("genesis.toml");
    let right = fs::read(&genesis).expect("a genesis");
    field.kill(UNWELL);
    set(&genesis, "", "tx_gas_limit", "2999999999");
    let ended = field.try_start(UNWELL).err().expect("another genesis is refused");
    field.said(&ended, &["belongs to chain"]);
    let others = field.others(UNWELL);
    field.grow(&others, 10);
    fs::write(&genesis, right).expect("a genesis");
    field.come_back(UNWELL, &others);
    field.grow(&field.all(), 2);
}

/// What is not of the chain may differ: the node takes part as far as its settings let it, and nobody waits for it.
pub(super) fn other_limits(field: &mut Field<'_>) {
    let config = field.chain.configs[UNWELL].clone();
    let right = fs::read(&config).expect("a bixi.toml");
    field.kill(UNWELL);
    for (section, key, value) in [
        ("consensus", "propose_timeout_ms", "60000"),
        ("consensus", "vote_timeout_ms", "50"),
        ("consensus", "clock_drift_ms_max", "100"),
        ("consensus", "block_interval_ms", "2000"),
        ("txpool", "transactions_max", "1"),
    ] {
        set(&config, section, key, value);
    }
    field.start(UNWELL);
    let others = field.others(UNWELL);
    field.grow(&others, 10);
    fs::write(&config, right).expect("a bixi.toml");
    field.kill(UNWELL);
    field.come_back(UNWELL, &others);
    field.grow(&field.all(), 2);
}
