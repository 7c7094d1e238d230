use bixi_execution::system::{KEY_TX_GAS_LIMIT, config_value};
use bixi_types::{CryptoSuite, EvmHash};

use crate::support::*;

const SET: &str = "setValueByKey(string,string)";
const GET: &str = "getValueByKey(string)";

fn set(chain: &mut Chain, key: &str, value: &str) -> bixi_types::receipt::Receipt {
    chain.send_system(0x1000, SET, &[Value::Text(key), Value::Text(value)])
}

/// (value, block) as getValueByKey answers.
fn get(chain: &Chain, key: &str) -> (String, [u8; 32]) {
    let result = chain.call(system(0x1000), chain.system_data(GET, &[Value::Text(key)]));
    assert_eq!(result.status, 0);
    let length = word(&result.output, 2)[31] as usize;
    (String::from_utf8(result.output[96..96 + length].to_vec()).unwrap(), word(&result.output, 1))
}

#[test]
fn a_value_holds_from_the_next_block() {
    let mut chain = Chain::demo();
    assert_eq!(get(&chain, "tx_gas_limit"), ("3000000000".to_owned(), uint(0)));
    let receipt = set(&mut chain, "TX_GAS_LIMIT", "5000000");
    assert_eq!((receipt.status, word(&receipt.output, 0)), (0, uint(0)));
    assert_eq!(get(&chain, "tx_gas_limit"), ("5000000".to_owned(), uint(2)));
    let at = |height| config_value(&chain.state, KEY_TX_GAS_LIMIT, height).unwrap().unwrap();
    assert_eq!((at(1).value.as_str(), at(1).enabled_from), ("3000000000", 0));
    assert_eq!((at(2).value.as_str(), at(2).enabled_from), ("5000000", 2));
    assert!(config_value(&chain.state, "nothing", 9).unwrap().is_none());
}

#[test]
fn two_values_in_one_block_leave_the_last() {
    let mut chain = Chain::demo();
    let tx = |chain: &Chain, value| {
        verified(
            alice(),
            call_tx(system(0x1000), chain.system_data(SET, &[Value::Text("tx_count_limit"), Value::Text(value)])),
        )
    };
    let block = vec![tx(&chain, "7"), tx(&chain, "8")];
    chain.execute(block);
    assert_eq!(get(&chain, "tx_count_limit"), ("8".to_owned(), uint(2)));
    assert_eq!(config_value(&chain.state, "tx_count_limit", 1).unwrap().unwrap().value, "1000");
}

#[test]
fn refuses_what_it_does_not_know_and_says_why() {
    let mut chain = Chain::demo();
    for (key, value) in [("tx_gas_limit", "99999"), ("no_such_key", "1"), ("tx_count_limit", "many")] {
        let receipt = set(&mut chain, key, value);
        assert_eq!(receipt.status, 15);
        assert!(receipt.message.contains(key), "{}", receipt.message);
        assert_eq!(receipt.output, encode(EvmHash::Keccak256, "Error(string)", &[Value::Text(&receipt.message)]));
    }
    assert_eq!(get(&chain, "no_such_key"), (String::new(), int(-1)));
    let undefined = chain.send_system(0x1000, "noSuchFunction()", &[]);
    assert_eq!((undefined.status, undefined.message.as_str()), (15, "SystemConfig call undefined function!"));
    assert_eq!(chain.send(system(0x1000), vec![1, 2]).status, 15);
}

#[test]
fn selectors_follow_the_hash_that_contracts_see() {
    for hash in [EvmHash::Sm3, EvmHash::Keccak256] {
        let mut chain = Chain::new(CryptoSuite::Sm, hash);
        assert_eq!(set(&mut chain, "tx_count_limit", "5").status, 0);
        let other = if hash == EvmHash::Sm3 { EvmHash::Keccak256 } else { EvmHash::Sm3 };
        let data = encode(other, SET, &[Value::Text("tx_count_limit"), Value::Text("6")]);
        assert_eq!(chain.send(system(0x1000), data).status, 15);
    }
}

#[test]
fn where_genesis_names_an_administrator_only_it_may_write() {
    let mut genesis = genesis(CryptoSuite::Sm, EvmHash::Keccak256);
    genesis.admin = Some(bob());
    let mut chain = Chain::with(&genesis);
    let receipt = set(&mut chain, "tx_count_limit", "5");
    assert_eq!(receipt.status, 18);
    assert_eq!(get(&chain, "tx_count_limit").0, "1000");
    let data = chain.system_data(SET, &[Value::Text("tx_count_limit"), Value::Text("5")]);
    assert_eq!(chain.run(bob(), call_tx(system(0x1000), data)).0.status, 0);
    let observer = node(9).to_hex();
    assert_eq!(chain.send_system(0x1003, "addObserver(string)", &[Value::Text(&observer)]).status, 18);
}
