//! What a transaction may take from the machine, beside its gas.

use bixi_execution::{CallRequest, CallResult, ExecutionError, Executor};
use bixi_types::H256;
use bixi_types::state::{StateError, StateTable, StateView};
use bixi_types::transaction::Transaction;
use bixi_types::{Address, CryptoSuite, EvmHash};
use proptest::prelude::*;

use crate::support::*;

const MIB: usize = 1024 * 1024;

/// A contract of the given byte code, at most 32 bytes of it.
fn install(chain: &mut Chain, code: &str) -> Address {
    let code = hex::decode(code).expect("hexadecimal");
    let mut init = vec![0x5f + code.len() as u8];
    init.extend(&code);
    let offset = 32 - code.len() as u8;
    init.extend([0x5f, 0x52, 0x60, code.len() as u8, 0x60, offset, 0xf3]); // PUSH0 MSTORE; RETURN(offset, length)
    let (receipt, _) = chain.run(alice(), Transaction { input: init, ..Transaction::default() });
    assert_eq!(receipt.status, 0);
    receipt.contract_address.parse().unwrap()
}

#[test]
fn memory_of_all_frames_together_is_bounded() {
    let mut chain = Chain::demo();
    // Touches 2 MiB, calls itself, returns 1 + the depth that the call reached.
    let recursive = install(&mut chain, "621fffe0515060205f5f5f5f305af1505f516001015f5260205ff3");
    let receipt = chain.send(recursive, vec![]);
    assert_eq!((receipt.status, word(&receipt.output, 0)), (0, uint(64)), "64 × 2 MiB");
}

#[test]
fn events_are_bounded() {
    let mut chain = Chain::demo();
    let emits = install(&mut chain, "5f355fa000"); // LOG0(0, calldata[0])
    let emitted = chain.send(emits, uint(MIB as u128).to_vec());
    assert_eq!((emitted.status, emitted.log_entries[0].data.len()), (0, MIB));
    let too_many = chain.send(emits, uint(MIB as u128 + 1).to_vec());
    assert_eq!((too_many.status, too_many.log_entries.len()), (12, 0));
    let endless = install(&mut chain, "5b6180005fa05f56"); // for (;;) LOG0(0, 32 KiB)
    assert_eq!(chain.send(endless, vec![]).status, 12);
}

#[test]
fn return_data_is_bounded() {
    let mut chain = Chain::demo();
    for (code, status) in [("5f355ff3", 0), ("5f355ffd", 16)] {
        let returns = install(&mut chain, code); // RETURN or REVERT(0, calldata[0])
        let whole = chain.send(returns, uint(MIB as u128).to_vec());
        assert_eq!((whole.status, whole.output.len()), (status, MIB));
        let too_long = chain.send(returns, uint(MIB as u128 + 1).to_vec());
        assert_eq!((too_long.status, too_long.message.as_str()), (12, "Return data is too large."));
    }
}

#[test]
fn too_long_return_data_undoes_the_transaction() {
    let mut chain = Chain::demo();
    let writes_and_returns = install(&mut chain, "60015f555f355ff3"); // SSTORE(0, 1) RETURN(0, calldata[0])
    let (_, writes) = chain.run(alice(), call_tx(writes_and_returns, uint(MIB as u128 + 1).to_vec()));
    assert!(writes.is_empty());
}

#[test]
fn a_block_of_unknown_rules_is_not_executed() {
    let chain = Chain::demo();
    let mut block = chain.next_block(Vec::new());
    block.protocol_version = 2;
    let error = chain.executor.execute(&block, &chain.state).unwrap_err();
    assert!(matches!(error, ExecutionError::UnsupportedProtocol { asked: 2, known: 1 }), "{error}");
}

/// Knows no block hash, as a view would that has not seen the block before.
struct Forgetful<'a>(&'a Rows);

impl StateView for Forgetful<'_> {
    fn get(&self, table: StateTable, key: &[u8]) -> Result<Option<Vec<u8>>, StateError> {
        self.0.get(table, key)
    }

    fn block_hash(&self, _: u64) -> Result<Option<H256>, StateError> {
        Ok(None)
    }
}

#[test]
fn a_missing_block_hash_stops_the_block_instead_of_forking_the_chain() {
    let mut chain = Chain::demo();
    let probe = chain.deploy("Probe", &[]);
    let data = encode(EvmHash::Keccak256, "blockHash(uint256)", &[Value::Uint(1)]);
    let block = chain.next_block(vec![verified(alice(), call_tx(probe, data))]);
    assert_eq!(chain.executor.execute(&block, &chain.state).unwrap().receipts[0].output, header_hash(1).0);
    let error = chain.executor.execute(&block, &Forgetful(&chain.state)).unwrap_err();
    assert!(matches!(error, ExecutionError::UnknownBlockHash(1)), "{error}");
}

#[test]
fn one_executor_serves_all_threads() {
    fn is_shared<T: Send + Sync>() {}
    is_shared::<Executor>();
}

fn run_code(chain: &Chain, code: Vec<u8>) -> CallResult {
    let request = CallRequest {
        from: alice(),
        to: None,
        data: code,
        value: [0; 32],
        gas_limit: Some(300_000),
        block_number: 9,
        timestamp_ms: TIMESTAMP_MS,
    };
    chain.executor.call(&chain.state, &request).expect("memory does not fail")
}

/// Byte code that does something: pushes of small numbers and of addresses between opcodes of every kind.
fn program() -> impl Strategy<Value = Vec<u8>> {
    let address = prop_oneof![0..=11u16, Just(0x1000), Just(0x1003), Just(0x100a), Just(0x100c)];
    let piece = prop_oneof![
        4 => (0..=255u8).prop_map(|number| vec![0x60, number]),
        1 => address.prop_map(|number| [&[0x61][..], &number.to_be_bytes()].concat()),
        1 => prop::sample::select(vec![0x30u8, 0x5a, 0x5f, 0x80, 0x81, 0x90]).prop_map(|code| vec![code]),
        6 => any::<u8>().prop_map(|code| vec![code]),
        2 => prop::sample::select(vec![0xf0u8, 0xf1, 0xf2, 0xf4, 0xf5, 0xfa]).prop_map(|code| vec![code]),
    ];
    prop::collection::vec(piece, 0..120).prop_map(|pieces| pieces.concat())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn any_code_ends_within_its_gas_and_the_same_way_twice(code in program()) {
        let (sm, other) = (Chain::new(CryptoSuite::Sm, EvmHash::Sm3), Chain::new(CryptoSuite::Sm, EvmHash::Sm3));
        let result = run_code(&sm, code.clone());
        prop_assert!(result.gas_used <= 300_000);
        prop_assert_eq!(result, run_code(&other, code));
    }
}
