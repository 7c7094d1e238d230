use bixi_execution::state::AccountRecord;
use bixi_types::state::{StateKey, StateTable};
use bixi_types::transaction::Transaction;
use bixi_types::{Address, EvmHash};

use crate::support::*;

fn deploy_raw(code: Vec<u8>) -> Transaction {
    Transaction { input: code, ..Transaction::default() }
}

/// Init code that returns `length` bytes of zeros as the contract's code.
fn returns_zeros(length: u32) -> Vec<u8> {
    let mut code = vec![0x63];
    code.extend(length.to_be_bytes());
    code.extend([0x5f, 0xf3]); // PUSH4 length PUSH0 RETURN
    code
}

#[test]
fn revert_keeps_its_reason_and_writes_nothing() {
    let mut chain = Chain::demo();
    let probe = chain.deploy("Probe", &[]);
    let data = encode(EvmHash::Keccak256, "fail(string)", &[Value::Text("no luck")]);
    let (receipt, writes) = chain.run(alice(), call_tx(probe, data));
    assert_eq!((receipt.status, receipt.message.as_str()), (16, "no luck"));
    assert_eq!(receipt.output, encode(EvmHash::Keccak256, "Error(string)", &[Value::Text("no luck")]));
    assert!(receipt.log_entries.is_empty());
    assert!(writes.is_empty());
    assert_eq!(receipt.block_number, 2);
}

#[test]
fn a_panic_of_solidity_is_a_revert() {
    let mut chain = Chain::demo();
    let probe = chain.deploy("Probe", &[]);
    let receipt =
        chain.send(probe, encode(EvmHash::Keccak256, "divide(uint256,uint256)", &[Value::Uint(1), Value::Uint(0)]));
    assert_eq!(receipt.status, 16);
    assert_eq!(receipt.output, encode(EvmHash::Keccak256, "Panic(uint256)", &[Value::Uint(0x12)]));
}

#[test]
fn running_out_of_gas_takes_all_of_it_and_writes_nothing() {
    let mut chain = Chain::demo();
    let probe = chain.deploy("Probe", &[]);
    let mut tx = call_tx(probe, encode(EvmHash::Keccak256, "burn()", &[]));
    (tx.version, tx.gas_limit) = (1, 500_000);
    let (receipt, writes) = chain.run(alice(), tx);
    assert_eq!((receipt.status, receipt.gas_used.as_str()), (12, "500000"));
    assert!(writes.is_empty());
}

#[test]
fn a_transaction_cannot_take_more_gas_than_the_chain_gives() {
    let mut chain = Chain::demo();
    chain.send_system(0x1000, "setValueByKey(string,string)", &[Value::Text("tx_gas_limit"), Value::Text("100000")]);
    let mut endless = deploy_raw(vec![0x5b, 0x5f, 0x56]); // JUMPDEST PUSH0 JUMP
    (endless.version, endless.gas_limit) = (1, 1 << 39);
    let (receipt, _) = chain.run(alice(), endless);
    assert_eq!((receipt.status, receipt.gas_used.as_str()), (12, "100000"));
}

#[test]
fn halts_have_the_statuses_of_fisco_bcos() {
    let mut chain = Chain::demo();
    for (code, status) in [
        (vec![0xfe], 10),                                           // INVALID
        (vec![0x0c], 10),                                           // an opcode that does not exist
        (vec![0x5f, 0x56], 11),                                     // jump to 0, which is no JUMPDEST
        (vec![0x01], 14),                                           // ADD on an empty stack
        (vec![0x5b, 0x5f, 0x5f, 0x56], 13),                         // pushes for ever
        (vec![0x60, 0xef, 0x5f, 0x53, 0x60, 0x01, 0x5f, 0xf3], 10), // code that starts with 0xEF
    ] {
        let (receipt, writes) = chain.run(alice(), deploy_raw(code.clone()));
        assert_eq!(receipt.status, status, "{}: {}", hex::encode(&code), receipt.message);
        assert!(receipt.contract_address.is_empty());
        assert!(writes.is_empty());
    }
}

#[test]
fn code_may_have_0x40000_bytes_and_not_one_more() {
    let mut chain = Chain::demo();
    let (largest, _) = chain.run(alice(), deploy_raw(returns_zeros(0x40000)));
    assert_eq!(largest.status, 0);
    let address = largest.contract_address.parse().unwrap();
    assert_eq!(bixi_execution::state::code(&chain.state, &address).unwrap().len(), 0x40000);
    let (too_large, writes) = chain.run(alice(), deploy_raw(returns_zeros(0x40001)));
    assert_eq!((too_large.status, too_large.message.as_str()), (12, "Code is too large."));
    assert!(writes.is_empty());
}

#[test]
fn a_call_to_nothing_is_a_call_address_error() {
    let mut chain = Chain::demo();
    let (receipt, writes) = chain.run(alice(), call_tx(bob(), vec![1, 2, 3, 4]));
    assert_eq!((receipt.status, receipt.gas_used.as_str()), (19, "0"));
    assert!(writes.is_empty());
    assert_eq!(chain.call(bob(), vec![]).status, 19);
    assert_eq!(chain.call(system(0x1001), vec![]).status, 19, "a system contract this release does not have");
}

#[test]
fn recursion_ends_at_the_depth_limit_without_harm() {
    let mut chain = Chain::demo();
    let probe = chain.deploy("Probe", &[]);
    let recurse = |depth| encode(EvmHash::Keccak256, "recurse(uint256)", &[Value::Uint(depth)]);
    let deep = chain.send(probe, recurse(250));
    assert_eq!((deep.status, word(&deep.output, 0)), (0, uint(250)));
    let too_deep = chain.send(probe, recurse(5_000));
    assert_eq!(too_deep.status, 16);
}

#[test]
fn value_needs_a_balance_that_nobody_has() {
    let mut chain = Chain::demo();
    let probe = chain.deploy("Probe", &[]);
    let mut tx = call_tx(probe, vec![]);
    (tx.version, tx.gas_price) = (1, "0x0".to_owned());
    tx.value = "0x1".to_owned();
    assert_eq!(chain.run(alice(), tx.clone()).0.status, 7);
    tx.value = "0x0".to_owned();
    assert_eq!(chain.run(alice(), tx).0.status, 16, "no fallback function");
}

#[test]
fn addresses_are_read_with_and_without_prefix() {
    let mut chain = Chain::demo();
    let data = chain.system_data("userBalance(string)", &[Value::Text("nobody")]);
    for to in ["0x000000000000000000000000000000000000100c", "000000000000000000000000000000000000100c"] {
        let tx = Transaction { to: to.to_owned(), input: data.clone(), ..Transaction::default() };
        assert_eq!(chain.run(alice(), tx).0.status, 0, "{to}");
    }
}

#[test]
fn a_contract_destroyed_as_it_is_made_leaves_nothing() {
    let mut chain = Chain::demo();
    let (receipt, writes) = chain.run(alice(), deploy_raw(vec![0x60, 0x01, 0x5f, 0x55, 0x33, 0xff])); // SSTORE(0,1) SELFDESTRUCT(caller)
    assert_eq!(receipt.status, 0);
    assert!(writes.is_empty(), "{writes:?}");
}

#[test]
fn value_moves_to_contracts_and_comes_back_from_system_contracts() {
    let mut chain = Chain::demo();
    // PUSH1 1 PUSH0 RETURN: one byte of code, STOP, which takes any value.
    let (receipt, _) = chain.run(alice(), deploy_raw(vec![0x60, 0x01, 0x5f, 0xf3]));
    let payable: Address = receipt.contract_address.parse().unwrap();
    let rich = AccountRecord { balance: uint(100), ..AccountRecord::default() };
    let key = StateKey { table: StateTable::Account, key: alice().0.to_vec() };
    chain.state.rows.insert(key, borsh::to_vec(&rich).unwrap());
    let balance = |chain: &Chain, address: Address| account_record(chain, address).map(|record| record.balance);

    let pay = |to: Address, data: Vec<u8>| {
        let (value, gas_price) = ("0x1e".to_owned(), "0x0".to_owned());
        Transaction { version: 1, value, gas_price, ..call_tx(to, data) }
    };
    assert_eq!(chain.run(alice(), pay(payable, vec![])).0.status, 0);
    assert_eq!((balance(&chain, alice()), balance(&chain, payable)), (Some(uint(70)), Some(uint(30))));

    let data = chain.system_data("userSave(string,uint256)", &[Value::Text("ann"), Value::Uint(1)]);
    let (receipt, writes) = chain.run(alice(), pay(system(0x100c), data));
    assert_eq!((receipt.status, receipt.message.as_str()), (15, "a system contract takes no value"));
    assert!(writes.is_empty());
    assert_eq!(balance(&chain, alice()), Some(uint(70)));
}

fn account_record(chain: &Chain, address: Address) -> Option<AccountRecord> {
    bixi_execution::state::account(&chain.state, &address).unwrap()
}
