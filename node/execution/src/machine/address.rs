//! Where new contracts live.
//!
//! A deploying transaction and CREATE: the first 20 bytes of H(ascii `<block>_<context>_<sequence>`), H the chain's hash, as FISCO
//! BCOS's native transactions have it: independent of sender and nonce. `context` is the transaction's index in the block;
//! `sequence` counts the frames of the transaction in the order they open: the transaction's own is 0, every CALL, CREATE and
//! their kin takes the next number and keeps it when it fails.
//!
//! CREATE2: H(0xff ‖ creator ‖ salt ‖ H(init code))\[12..\] (EIP-1014), H the hash *contracts* see: a factory computes that address
//! with opcode 0x20, so in a chain of suite `sm` whose `evm_hash` is keccak256 it must be keccak256.

use bixi_types::{Address, CryptoSuite, EvmHash, H256};

pub(super) fn create(suite: CryptoSuite, block: u64, context: u64, sequence: u64) -> Address {
    let hash = suite.hash(&[format!("{block}_{context}_{sequence}").as_bytes()]);
    let mut address = [0; 20];
    address.copy_from_slice(&hash.0[..20]);
    Address(address)
}

pub(super) fn create2(hash: EvmHash, creator: &Address, salt: &H256, init_code: &[u8]) -> Address {
    let init_hash = hash.hash(&[init_code]);
    let digest = hash.hash(&[&[0xff], &creator.0, &salt.0, &init_hash.0]);
    let mut address = [0; 20];
    address.copy_from_slice(&digest.0[12..]);
    Address(address)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn create2_gives_the_addresses_of_eip_1014() {
        let zero = create2(EvmHash::Keccak256, &Address::ZERO, &H256::ZERO, &[0]);
        assert_eq!(zero.to_hex(), "4d1a2e2bb4f88f0250f26ffff098b0b30b26bf38");
        let creator = "0xdeadbeef00000000000000000000000000000000".parse().unwrap();
        let beef = create2(EvmHash::Keccak256, &creator, &H256::ZERO, &[0]);
        assert_eq!(beef.to_hex(), "b928f69bb1d91cd65274e3c79d8986362984fda3");
    }

    #[test]
    fn create_hashes_the_decimal_text() {
        let hash = CryptoSuite::Std.hash(&[b"10_2_0"]);
        assert_eq!(create(CryptoSuite::Std, 10, 2, 0).0, hash.0[..20]);
        assert_ne!(create(CryptoSuite::Sm, 10, 2, 0), create(CryptoSuite::Std, 10, 2, 0));
    }
}
