use bixi_types::state::StateTable;
use bixi_types::transaction::Transaction;
use bixi_types::{Address, CryptoSuite, EvmHash, H256};

use crate::support::*;

/// First 20 bytes of H("<block>_<context>_<sequence>").
fn native(suite: CryptoSuite, text: &str) -> Address {
    Address::from_slice(&suite.hash(&[text.as_bytes()]).0[..20]).unwrap()
}

#[test]
fn deployment_address_is_the_hash_of_block_and_index() {
    for suite in [CryptoSuite::Sm, CryptoSuite::Std] {
        let mut chain = Chain::new(suite, EvmHash::Keccak256);
        let deployment = || verified(alice(), deploy_tx("Ledger", &[]));
        let executed = chain.execute(vec![deployment(), deployment()]);
        assert_eq!(executed.receipts[0].contract_address, native(suite, "1_0_0").to_hex());
        assert_eq!(executed.receipts[1].contract_address, native(suite, "1_1_0").to_hex());
        let executed = chain.execute(vec![deployment()]);
        assert_eq!(executed.receipts[0].contract_address, native(suite, "2_0_0").to_hex());
    }
}

#[test]
fn create_takes_the_number_of_its_frame() {
    let mut chain = Chain::demo();
    let factory = chain.deploy("Factory", &[]);
    let data = encode(EvmHash::Keccak256, "createTwo(uint256,uint256)", &[Value::Uint(1), Value::Uint(2)]);
    let receipt = chain.send(factory, data);
    assert_eq!(receipt.status, 0);
    // The factory's own frame is 0; the two children are 1 and 2.
    assert_eq!(address_in(&receipt.output, 0), native(CryptoSuite::Sm, "2_0_1"));
    assert_eq!(address_in(&receipt.output, 1), native(CryptoSuite::Sm, "2_0_2"));
    let value = chain.view(native(CryptoSuite::Sm, "2_0_2"), "value()", &[]);
    assert_eq!(word(&value, 0), uint(2));
}

#[test]
fn a_failed_frame_keeps_its_number() {
    let mut chain = Chain::demo();
    let factory = chain.deploy("Factory", &[]);
    let caller = chain.deploy("SystemCaller", &[]);
    // forward() → factory.create(13), whose child's constructor reverts: frames 0, 1, 2. The next transaction starts at 0 again.
    let unlucky = encode(EvmHash::Keccak256, "create(uint256)", &[Value::Uint(13)]);
    let data = encode(EvmHash::Keccak256, "forward(address,bytes)", &[Value::Address(factory), Value::Bytes(&unlucky)]);
    let receipt = chain.send(caller, data);
    assert_eq!(receipt.status, 0);
    assert_eq!(word(&receipt.output, 0), uint(0), "the inner call failed");
    let receipt = chain.send(factory, encode(EvmHash::Keccak256, "create(uint256)", &[Value::Uint(1)]));
    assert_eq!(address_in(&receipt.output, 0), native(CryptoSuite::Sm, "4_0_1"));
}

#[test]
fn create2_address_is_the_one_solidity_computes_under_either_hash() {
    for hash in [EvmHash::Sm3, EvmHash::Keccak256] {
        let mut chain = Chain::new(CryptoSuite::Sm, hash);
        let factory = chain.deploy("Factory", &[]);
        let arguments = || [Value::Word([7; 32]), Value::Uint(42)];
        let predicted = address_in(&chain.view(factory, "predict(bytes32,uint256)", &arguments()), 0);
        let receipt = chain.send(factory, encode(EvmHash::Keccak256, "create2(bytes32,uint256)", &arguments()));
        assert_eq!(address_in(&receipt.output, 0), predicted);

        let init = [bytecode(&fixture("Child")), uint(42).to_vec()].concat();
        let outside = hash.hash(&[&[0xff], &factory.0, &[7; 32], &hash.hash(&[&init]).0]);
        assert_eq!(predicted.0, outside.0[12..]);

        let again = chain.send(factory, encode(EvmHash::Keccak256, "create2(bytes32,uint256)", &arguments()));
        assert_eq!(again.status, 16, "a taken address makes `new` revert");
    }
}

#[test]
fn code_is_stored_and_hashed_with_the_chains_evm_hash() {
    for hash in [EvmHash::Sm3, EvmHash::Keccak256] {
        let mut chain = Chain::new(CryptoSuite::Sm, hash);
        let factory = chain.deploy("Factory", &[]);
        let code = bixi_execution::state::code(&chain.state, &factory).unwrap();
        assert_eq!(hex::encode(&code), fixture("Factory")["deployedBytecode"].as_str().unwrap());
        let expected = hash.hash(&[&code]);
        assert!(chain.state.rows.keys().any(|key| key.table == StateTable::Code && key.key == expected.0));

        let arguments = [Value::Address(factory)];
        assert_eq!(H256(word(&chain.view(factory, "codeHash(address)", &arguments), 0)), expected);
        let nobody = chain.view(factory, "codeHash(address)", &[Value::Address(bob())]);
        assert_eq!(word(&nobody, 0), [0; 32], "an account that does not exist has hash zero");

        let fresh = chain.send(factory, encode(EvmHash::Keccak256, "freshCodeHash(uint256)", &[Value::Uint(5)]));
        assert_eq!(word(&fresh.output, 0), word(&fresh.output, 1), "the same hash inside the creating transaction");
    }
}

#[test]
fn abi_is_kept_with_the_contract() {
    let mut chain = Chain::demo();
    let ledger = chain.deploy("Ledger", &[]);
    assert_eq!(bixi_execution::state::abi(&chain.state, &ledger).unwrap(), fixture("Ledger")["abi"].to_string());
    assert_eq!(bixi_execution::state::abi(&chain.state, &bob()).unwrap(), "");
    assert!(
        bixi_execution::state::account(&chain.state, &alice()).unwrap().is_none(),
        "deploying leaves no sender row"
    );
}

#[test]
fn a_contract_without_code_has_the_hash_of_nothing() {
    for hash in [EvmHash::Sm3, EvmHash::Keccak256] {
        let mut chain = Chain::new(CryptoSuite::Sm, hash);
        let factory = chain.deploy("Factory", &[]);
        let stop = Transaction { input: vec![0x00], ..Transaction::default() };
        let (receipt, _) = chain.run(alice(), stop);
        let empty: Address = receipt.contract_address.parse().unwrap();
        assert!(bixi_execution::state::code(&chain.state, &empty).unwrap().is_empty());
        let output = chain.view(factory, "codeHash(address)", &[Value::Address(empty)]);
        assert_eq!(word(&output, 0), hash.hash(&[]).0);
        assert_eq!(chain.call(empty, vec![]).status, 19);
    }
}
