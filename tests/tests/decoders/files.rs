//! Files that operators and officers write.

use std::path::Path;

use bixi_config::{CeremonyPlan, NodeConfig, parse_genesis, render_genesis};

use crate::plan::Decoder;

/// The file as `bixi chain new` writes it says the same.
fn node_file(bytes: &[u8]) -> bool {
    let file = Path::new("bixi.toml");
    let Some(read) = std::str::from_utf8(bytes).ok().and_then(|text| NodeConfig::parse(file, text).ok()) else {
        return false;
    };
    assert_eq!(NodeConfig::parse(file, &read.render()).expect("our own writing"), read);
    true
}

fn genesis(bytes: &[u8]) -> bool {
    let file = Path::new("genesis.toml");
    let Some(read) = std::str::from_utf8(bytes).ok().and_then(|text| parse_genesis(file, text).ok()) else {
        return false;
    };
    assert_eq!(parse_genesis(file, &render_genesis(&read)).expect("our own writing"), read);
    true
}

fn ceremony_plan(bytes: &[u8]) -> bool {
    let file = Path::new("plan.toml");
    let Some(read) = std::str::from_utf8(bytes).ok().and_then(|text| CeremonyPlan::parse(file, text).ok()) else {
        return false;
    };
    assert_eq!(CeremonyPlan::parse(file, &read.render()).expect("our own writing"), read);
    true
}

const PLAN: &str = "title = \"Keys of node0\"
threshold = 2
steps = [\"keys\", \"seal\", \"escrow\"]
[[officer]]
name = \"Li Wei\"
[[officer]]
name = \"Wang Fang\"
";
const NODE_FILE: &str = include_str!("../../../config/bixi.toml");
const GENESIS: &str = "chain_id = \"chain0\"
group_id = \"group0\"
suite = \"sm\"
evm_hash = \"sm3\"
evm_spec = \"cancun\"
evm_timestamp_unit = \"ms\"
protocol_version = 1
timestamp_ms = 1800000000000
tx_gas_limit = 3000000000
block_tx_count_max = 2000
block_limit = 1000
pipeline_depth = 1
[[validator]]
id = \"24dd85ccd39ac71d69c2ab22c96bc30f08e98e347d414ce1301b40c585737e5ecd20e8ad1d877af06e12c8af3057f211baf851fdb83744ba8157c935d426f147\"
weight = 1
";

/// All of them.
pub(crate) fn decoders() -> Vec<Decoder> {
    vec![
        Decoder::open_ended("node-file", node_file, vec![NODE_FILE.into()]),
        Decoder::open_ended("ceremony-plan", ceremony_plan, vec![PLAN.into()]),
        Decoder::open_ended("genesis-file", genesis, vec![GENESIS.into()]),
    ]
}
