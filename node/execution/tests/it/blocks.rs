use bixi_types::state::StateTable;
use bixi_types::transaction::Verified;
use bixi_types::{Address, CryptoSuite, EvmHash, H256};

use crate::support::*;

fn transfer(to: Address, amount: u128) -> Vec<u8> {
    encode(EvmHash::Keccak256, "transfer(address,uint256)", &[Value::Address(to), Value::Uint(amount)])
}

fn mint(to: Address, amount: u128) -> Vec<u8> {
    encode(EvmHash::Keccak256, "mint(address,uint256)", &[Value::Address(to), Value::Uint(amount)])
}

fn balance(chain: &Chain, ledger: Address, account: Address) -> [u8; 32] {
    word(&chain.view(ledger, "balanceOf(address)", &[Value::Address(account)]), 0)
}

#[test]
fn a_token_moves_and_says_so() {
    let mut chain = Chain::demo();
    let ledger = chain.deploy("Ledger", &[]);
    let minted = chain.send(ledger, mint(alice(), 100));
    assert_eq!(minted.status, 0);
    let receipt = chain.send(ledger, transfer(bob(), 30));
    assert_eq!((receipt.status, word(&receipt.output, 0)), (0, uint(1)));
    assert_eq!(balance(&chain, ledger, alice()), uint(70));
    assert_eq!(balance(&chain, ledger, bob()), uint(30));

    let [log] = receipt.log_entries.as_slice() else { panic!("one event") };
    assert_eq!(log.address, ledger.to_hex());
    let event = EvmHash::Keccak256.hash(&[b"Transfer(address,address,uint256)"]);
    assert_eq!(log.topics, [event, H256(word_of(&alice())), H256(word_of(&bob()))]);
    assert_eq!(log.data, uint(30));
    assert!(receipt.contract_address.is_empty());
}

#[test]
fn an_overdraft_reverts_with_the_contracts_error() {
    let mut chain = Chain::demo();
    let ledger = chain.deploy("Ledger", &[]);
    let receipt = chain.send(ledger, transfer(bob(), 1));
    assert_eq!(receipt.status, 16);
    let error = "InsufficientBalance(address,uint256,uint256)";
    let arguments = [Value::Address(alice()), Value::Uint(0), Value::Uint(1)];
    assert_eq!(receipt.output, encode(EvmHash::Keccak256, error, &arguments));
}

#[test]
fn transactions_of_a_block_see_those_before_them() {
    let mut chain = Chain::demo();
    let ledger = chain.deploy("Ledger", &[]);
    let block = vec![
        verified(alice(), call_tx(ledger, transfer(bob(), 10))),
        verified(alice(), call_tx(ledger, mint(alice(), 10))),
        verified(alice(), call_tx(ledger, transfer(bob(), 10))),
        verified(bob(), call_tx(ledger, transfer(alice(), 4))),
    ];
    let executed = chain.execute(block);
    let statuses: Vec<i32> = executed.receipts.iter().map(|receipt| receipt.status).collect();
    assert_eq!(statuses, [16, 0, 0, 0]);
    assert_eq!((balance(&chain, ledger, alice()), balance(&chain, ledger, bob())), (uint(4), uint(6)));
    let gas: u128 = executed.receipts.iter().map(|receipt| receipt.gas_used.parse::<u128>().unwrap()).sum();
    assert_eq!(executed.gas_used, gas);
}

#[test]
fn a_contract_deployed_in_a_block_answers_in_it() {
    let mut chain = Chain::demo();
    let address = CryptoSuite::Sm.hash(&[b"1_0_0"]);
    let ledger = Address::from_slice(&address.0[..20]).unwrap();
    let executed = chain.execute(vec![
        verified(alice(), deploy_tx("Ledger", &[])),
        verified(alice(), call_tx(ledger, mint(alice(), 9))),
    ]);
    assert_eq!(executed.receipts[1].status, 0);
    assert_eq!(balance(&chain, ledger, alice()), uint(9));
}

fn busy_block(chain: &Chain, ledger: Address, caller: Address) -> Vec<Verified> {
    let mut block = Vec::new();
    for number in 0..60u8 {
        let account = account(number);
        block.push(verified(account, call_tx(ledger, mint(account, 100))));
        block.push(verified(account, call_tx(ledger, transfer(Address([number / 2; 20]), u128::from(number)))));
        let user = format!("user{}", number % 7);
        let arguments = [Value::Text(&user), Value::Uint(3)];
        block.push(verified(
            account,
            call_tx(system(0x100c), chain.system_data("userSave(string,uint256)", &arguments)),
        ));
        let data = encode(EvmHash::Keccak256, "addThenRevert(string,uint256)", &arguments);
        block.push(verified(account, call_tx(caller, data)));
        block.push(verified(account, deploy_tx("Child", &uint(u128::from(number)))));
    }
    block
}

#[test]
fn the_same_block_gives_the_same_bytes() {
    let mut chain = Chain::demo();
    let ledger = chain.deploy("Ledger", &[]);
    let caller = chain.deploy("SystemCaller", &[]);
    let block = chain.next_block(busy_block(&chain, ledger, caller));
    let first = chain.executor.execute(&block, &chain.state).unwrap();
    for _ in 0..3 {
        // A new executor and new hash-map seeds each time.
        let genesis = genesis(CryptoSuite::Sm, EvmHash::Keccak256);
        let executor = bixi_execution::Executor::new((&genesis).into());
        let again = executor.execute(&block, &chain.state).unwrap();
        assert_eq!(first.receipts, again.receipts);
        assert_eq!(first.writes, again.writes);
        assert_eq!(first.gas_used, again.gas_used);
    }
    assert_eq!(first.receipts.len(), 300);
    assert!(first.receipts.iter().filter(|receipt| receipt.status == 0).count() >= 230);
}

#[test]
fn a_block_equals_its_transactions_in_blocks_of_one_height() {
    // The write sets of parts, laid over each other, are the write set of the whole.
    let mut chain = Chain::demo();
    let ledger = chain.deploy("Ledger", &[]);
    let transactions: Vec<Verified> = (0..20u8)
        .map(|number| verified(account(number), call_tx(ledger, mint(Address([number % 3; 20]), 5))))
        .collect();
    let whole = chain.executor.execute(&chain.next_block(transactions.clone()), &chain.state).unwrap();
    let mut parts = chain.state.clone();
    for tx in transactions {
        let block = chain.next_block(vec![tx]);
        let executed = chain.executor.execute(&block, &parts).unwrap();
        parts.apply(&executed.writes);
    }
    let mut applied = chain.state.clone();
    applied.apply(&whole.writes);
    assert_eq!(applied.rows, parts.rows);
}

#[test]
fn an_empty_block_is_legal() {
    let mut chain = Chain::demo();
    let executed = chain.execute(Vec::new());
    assert!(executed.receipts.is_empty() && executed.writes.is_empty());
    assert_eq!(executed.gas_used, 0);
}

#[test]
fn a_call_changes_nothing_and_a_cleared_slot_is_deleted() {
    let mut chain = Chain::demo();
    let ledger = chain.deploy("Ledger", &[]);
    chain.send(ledger, mint(alice(), 5));
    let slots = |chain: &Chain| chain.state.rows.keys().filter(|key| key.table == StateTable::Storage).count();
    let before = chain.state.rows.clone();
    assert_eq!(chain.call(ledger, transfer(bob(), 5)).status, 0);
    assert_eq!(chain.state.rows, before);
    assert_eq!(slots(&chain), 2, "supply and one balance");
    chain.send(ledger, transfer(bob(), 5));
    assert_eq!(slots(&chain), 2, "Alice's slot is gone, Bob's has come");
}

#[test]
fn a_view_that_fails_stops_the_block() {
    struct Broken;
    impl bixi_types::state::StateView for Broken {
        fn get(&self, table: StateTable, _: &[u8]) -> Result<Option<Vec<u8>>, bixi_types::state::StateError> {
            match table {
                StateTable::Config => Ok(None),
                _ => Err(bixi_types::state::StateError("disk".to_owned())),
            }
        }
        fn block_hash(&self, _: u64) -> Result<Option<H256>, bixi_types::state::StateError> {
            Ok(None)
        }
    }
    let chain = Chain::demo();
    for to in [bob(), system(0x100c)] {
        let data = chain.system_data("userBalance(string)", &[Value::Text("ann")]);
        let block = chain.next_block(vec![verified(alice(), call_tx(to, data))]);
        let error = chain.executor.execute(&block, &Broken).unwrap_err();
        assert!(error.to_string().contains("disk"), "{error}");
    }
}
