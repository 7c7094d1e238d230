use bixi_types::genesis::{EvmSpec, TimestampUnit};
use bixi_types::suite::{keccak256, sm3};
use bixi_types::{CryptoSuite, EvmHash};

use crate::support::*;

#[test]
fn contracts_see_the_environment_of_fisco_bcos() {
    let mut chain = Chain::demo();
    let probe = chain.deploy("Probe", &[]);
    let output = chain.send(probe, encode(EvmHash::Keccak256, "environment()", &[])).output;
    assert_eq!(word(&output, 0), uint(2), "number");
    assert_eq!(word(&output, 1), uint(u128::from(TIMESTAMP_MS)), "timestamp in milliseconds");
    assert_eq!(word(&output, 2), uint(3_000_000_000), "gaslimit is a transaction's");
    for index in 3..7 {
        assert_eq!(word(&output, index), [0; 32], "chain id, coinbase, prevrandao, basefee");
    }
}

#[test]
fn timestamp_is_in_seconds_where_genesis_says_so() {
    let mut genesis = genesis(CryptoSuite::Std, EvmHash::Keccak256);
    genesis.evm_timestamp_unit = TimestampUnit::S;
    let mut chain = Chain::with(&genesis);
    let probe = chain.deploy("Probe", &[]);
    assert_eq!(word(&chain.view(probe, "environment()", &[]), 1), uint(u128::from(TIMESTAMP_MS / 1_000)));
}

#[test]
fn opcode_0x20_is_the_hash_of_the_chain() {
    for (hash, abc) in [
        (EvmHash::Sm3, "66c7f0f462eeedd9d1f2d46bdc10e4e24167c4875cf2f7a2297da02b8f4ba8e0"),
        (EvmHash::Keccak256, "4e03657aea45a94fc7d47ba826c8d667c0d1e6e33a64a036ec44f58fa12d6c45"),
    ] {
        let mut chain = Chain::new(CryptoSuite::Sm, hash);
        let probe = chain.deploy("Probe", &[]);
        let digest = |data: &[u8]| chain.view(probe, "hashOf(bytes)", &[Value::Bytes(data)]);
        assert_eq!(hex::encode(digest(b"abc")), abc);
        assert_eq!(digest(b""), hash.hash(&[b""]).0);
        let long = vec![0x5a; 1_000];
        assert_eq!(digest(&long), hash.hash(&[&long]).0);
    }
    assert_ne!(sm3(&[b""]), keccak256(&[b""]));
}

#[test]
fn both_hashes_cost_the_same_gas() {
    let gas = |hash| {
        let mut chain = Chain::new(CryptoSuite::Sm, hash);
        let probe = chain.deploy("Probe", &[]);
        chain.send(probe, encode(EvmHash::Keccak256, "hashOf(bytes)", &[Value::Bytes(&[1; 500])])).gas_used
    };
    assert_eq!(gas(EvmHash::Sm3), gas(EvmHash::Keccak256));
}

#[test]
fn blockhash_reaches_back_256_blocks_and_no_further() {
    let mut chain = Chain::demo();
    let probe = chain.deploy("Probe", &[]);
    chain.state.height = 299;
    let block_hash = |chain: &mut Chain, number: u128| {
        chain.state.height = 299;
        let data = encode(EvmHash::Keccak256, "blockHash(uint256)", &[Value::Uint(number)]);
        word(&chain.send(probe, data).output, 0)
    };
    assert_eq!(block_hash(&mut chain, 299), header_hash(299).0, "the block before this one");
    assert_eq!(block_hash(&mut chain, 44), header_hash(44).0, "256 back");
    assert_eq!(block_hash(&mut chain, 43), [0; 32], "257 back");
    assert_eq!(block_hash(&mut chain, 300), [0; 32], "this block");
    assert_eq!(block_hash(&mut chain, 301), [0; 32], "the future");
    assert_eq!(block_hash(&mut chain, u128::MAX), [0; 32]);
}

#[test]
fn ecrecover_stays_secp256k1_and_keccak_on_an_sm_chain() {
    // From go-ethereum's own precompile vectors ("ValidKey").
    let digest = "18c547e4f7b0f325ad1e56f57e26c745b09a3e503d86e00e5255ff7f715d3d1c";
    let r = "73b1693892219d736caba55bdb67216e485557ea6b6af75f37096c9aa6a5a75f";
    let s = "eeb940b1d03b21e36b0e47e79769f095fe2ab855bd91e3a38756b7d75a9c4549";
    let word_of_hex = |text: &str| Value::Word(hex::decode(text).unwrap().try_into().unwrap());
    let mut chain = Chain::new(CryptoSuite::Sm, EvmHash::Sm3);
    let probe = chain.deploy("Probe", &[]);
    let arguments = [word_of_hex(digest), Value::Uint(28), word_of_hex(r), word_of_hex(s)];
    let output = chain.view(probe, "recover(bytes32,uint8,bytes32,bytes32)", &arguments);
    assert_eq!(address_in(&output, 0).to_hex(), "a94f5374fce5edbc8e2a8697c15331677e6ebf0b");
}

#[test]
fn ethereum_precompiles_answer_at_1_to_10() {
    let chain = Chain::demo();
    let sha256 = chain.call(system(2), b"abc".to_vec());
    assert_eq!(hex::encode(sha256.output), "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
    let identity = chain.call(system(4), b"same".to_vec());
    assert_eq!((identity.status, identity.output.as_slice()), (0, &b"same"[..]));
    let kzg = chain.call(system(10), vec![0; 10]);
    assert_eq!(kzg.status, 15, "the point evaluation precompile is there and refuses short input");
    assert_eq!(chain.call(system(11), vec![]).status, 19, "nothing at 0x0b under Cancun");
}

#[test]
fn sender_is_the_signer() {
    let mut chain = Chain::demo();
    let probe = chain.deploy("Probe", &[]);
    let (receipt, _) = chain.run(bob(), call_tx(probe, encode(EvmHash::Keccak256, "sender()", &[])));
    assert_eq!((address_in(&receipt.output, 0), address_in(&receipt.output, 1)), (bob(), bob()));
}

#[test]
fn prague_is_executed_where_genesis_asks_for_it() {
    let mut genesis = genesis(CryptoSuite::Sm, EvmHash::Sm3);
    genesis.evm_spec = EvmSpec::Prague;
    let mut chain = Chain::with(&genesis);
    let probe = chain.deploy("Probe", &[]);
    assert_eq!(word(&chain.view(probe, "environment()", &[]), 0), uint(1));
    assert_eq!(chain.call(system(11), vec![]).status, 15, "BLS12-381 addition is there and refuses empty input");
}
