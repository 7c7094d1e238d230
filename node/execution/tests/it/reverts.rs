//! Rows of system contracts live and die with the EVM frame that wrote them.

use bixi_types::EvmHash;
use bixi_types::state::StateTable;

use crate::support::*;

fn data(signature: &str, arguments: &[Value<'_>]) -> Vec<u8> {
    encode(EvmHash::Keccak256, signature, arguments)
}

fn has_user(chain: &Chain, user: &str) -> bool {
    chain.state.rows.keys().any(|key| key.table == StateTable::DagTransfer && key.key == user.as_bytes())
}

#[test]
fn a_contract_can_write_through_a_system_contract() {
    let mut chain = Chain::demo();
    let caller = chain.deploy("SystemCaller", &[]);
    let receipt = chain.send(caller, data("add(string,uint256)", &[Value::Text("ann"), Value::Uint(5)]));
    assert_eq!((receipt.status, word(&receipt.output, 0)), (0, uint(0)));
    assert!(has_user(&chain, "ann"));
    let balance = chain.view(caller, "staticBalance(string)", &[Value::Text("ann")]);
    assert_eq!((word(&balance, 0), word(&balance, 1)), (uint(0), uint(5)));
}

#[test]
fn a_revert_of_the_caller_takes_the_rows_along() {
    let mut chain = Chain::demo();
    let caller = chain.deploy("SystemCaller", &[]);
    let arguments = [Value::Text("ann"), Value::Uint(5)];
    let (receipt, writes) = chain.run(alice(), call_tx(caller, data("addThenRevert(string,uint256)", &arguments)));
    assert_eq!((receipt.status, receipt.message.as_str()), (16, "undo"));
    assert!(writes.is_empty());
    let arguments = [Value::Text("tx_gas_limit"), Value::Text("200000")];
    let (receipt, writes) = chain.run(alice(), call_tx(caller, data("configThenRevert(string,string)", &arguments)));
    assert_eq!(receipt.status, 16);
    assert!(writes.is_empty());
}

#[test]
fn only_the_reverted_frame_loses_its_rows() {
    let mut chain = Chain::demo();
    let caller = chain.deploy("SystemCaller", &[]);
    let arguments = [Value::Text("kept"), Value::Text("dropped")];
    let receipt = chain.send(caller, data("addAround(string,string)", &arguments));
    assert_eq!((receipt.status, word(&receipt.output, 0)), (0, uint(0)), "the inner frame reverted");
    assert!(has_user(&chain, "kept") && has_user(&chain, "sink") && !has_user(&chain, "dropped"));
    let kept = chain.view(caller, "staticBalance(string)", &[Value::Text("kept")]);
    assert_eq!(word(&kept, 1), uint(0), "the write after the inner frame counts");
}

#[test]
fn the_same_row_goes_back_to_the_value_before_the_frame() {
    let mut chain = Chain::demo();
    let caller = chain.deploy("SystemCaller", &[]);
    // The same user in both: the inner add fails (exists), reverts, and must not disturb the outer one.
    let receipt = chain.send(caller, data("addAround(string,string)", &[Value::Text("one"), Value::Text("one")]));
    assert_eq!(receipt.status, 0);
    assert!(has_user(&chain, "one") && has_user(&chain, "sink"));
}

#[test]
fn running_out_of_gas_after_the_write_undoes_it() {
    let mut chain = Chain::demo();
    let caller = chain.deploy("SystemCaller", &[]);
    let arguments = [Value::Text("ann"), Value::Uint(5)];
    let whole = chain.call(caller, data("add(string,uint256)", &arguments)).gas_used;
    for gas in [1_000, whole / 2, whole - 1_000, whole - 1] {
        let mut tx = call_tx(caller, data("add(string,uint256)", &arguments));
        (tx.version, tx.gas_limit) = (1, gas as i64);
        let (receipt, writes) = chain.run(alice(), tx);
        assert_ne!(receipt.status, 0, "{gas} of {whole}");
        assert!(writes.is_empty());
    }
}

#[test]
fn a_static_call_cannot_write() {
    let mut chain = Chain::demo();
    let caller = chain.deploy("SystemCaller", &[]);
    let output = chain.view(caller, "staticAdd(string)", &[Value::Text("ann")]);
    assert_eq!(word(&output, 0), uint(0), "refused");
    let (receipt, writes) = chain.run(alice(), call_tx(caller, data("staticAdd(string)", &[Value::Text("ann")])));
    assert_eq!((receipt.status, word(&receipt.output, 0)), (0, uint(0)));
    assert!(writes.is_empty());
}

#[test]
fn a_delegated_call_cannot_borrow_its_callers_rights() {
    let mut genesis = genesis(bixi_types::CryptoSuite::Sm, EvmHash::Keccak256);
    genesis.admin = Some(alice());
    let mut chain = Chain::with(&genesis);
    let caller = chain.deploy("SystemCaller", &[]);
    let arguments = [Value::Text("tx_gas_limit"), Value::Text("200000")];
    let (receipt, writes) = chain.run(alice(), call_tx(caller, data("delegateConfig(string,string)", &arguments)));
    assert_eq!((receipt.status, word(&receipt.output, 0)), (0, uint(0)), "refused");
    assert!(writes.is_empty());
}

#[test]
fn a_failed_transaction_leaves_nothing_to_the_next() {
    let mut chain = Chain::demo();
    let caller = chain.deploy("SystemCaller", &[]);
    let failing = call_tx(caller, data("addThenRevert(string,uint256)", &[Value::Text("ann"), Value::Uint(5)]));
    let reading = call_tx(caller, data("staticBalance(string)", &[Value::Text("ann")]));
    let adding = call_tx(caller, data("add(string,uint256)", &[Value::Text("ann"), Value::Uint(6)]));
    let block = [failing, reading.clone(), adding, reading].map(|tx| verified(alice(), tx)).to_vec();
    let executed = chain.execute(block);
    assert_eq!(word(&executed.receipts[1].output, 0), int(-51402), "not there after the failed one");
    assert_eq!(word(&executed.receipts[3].output, 1), uint(6), "there after the good one");
}

#[test]
fn a_refusal_between_contracts_is_a_revert_like_any_other() {
    let mut chain = Chain::demo();
    let caller = chain.deploy("SystemCaller", &[]);
    let arguments = [Value::Text("no_such_key"), Value::Text("1")];
    let (receipt, _) = chain.run(alice(), call_tx(caller, data("configThenRevert(string,string)", &arguments)));
    assert_eq!((receipt.status, receipt.message.as_str()), (16, "unsupported key no_such_key"));
    let direct = chain.send_system(0x1000, "setValueByKey(string,string)", &arguments);
    assert_eq!((direct.status, direct.message.as_str()), (15, "unsupported key no_such_key"));
}

#[test]
fn contracts_reach_system_contracts_by_the_selectors_of_the_chain() {
    for hash in [EvmHash::Sm3, EvmHash::Keccak256] {
        let mut chain = Chain::new(bixi_types::CryptoSuite::Sm, hash);
        let caller = chain.deploy("SystemCaller", &[]);
        let add = chain.system_data("userAdd(string,uint256)", &[Value::Text("ann"), Value::Uint(5)]);
        let arguments = [Value::Address(system(0x100c)), Value::Bytes(&add)];
        let receipt = chain.send(caller, data("forward(address,bytes)", &arguments));
        assert_eq!((receipt.status, word(&receipt.output, 0)), (0, uint(1)));
        assert!(has_user(&chain, "ann"));
    }
}
