use bixi_accel::{Seeded, sm2};
use bixi_types::suite::{keccak256, sm3};
use bixi_types::{CryptoSuite, EvmHash};

use crate::support::*;

const VERIFY: &str = "sm2Verify(bytes32,bytes,bytes32,bytes32)";

#[test]
fn hashes_are_the_same_on_every_chain() {
    for (suite, hash) in [(CryptoSuite::Sm, EvmHash::Sm3), (CryptoSuite::Std, EvmHash::Keccak256)] {
        let chain = Chain::new(suite, hash);
        for data in [&b""[..], b"abc", &[7; 1_000]] {
            let digest =
                |signature| chain.call(system(0x100a), chain.system_data(signature, &[Value::Bytes(data)])).output;
            assert_eq!(digest("sm3(bytes)"), sm3(&[data]).0);
            assert_eq!(digest("keccak256Hash(bytes)"), keccak256(&[data]).0);
        }
    }
}

#[test]
fn sm2_signatures_are_verified_and_named() {
    let chain = Chain::demo();
    let mut random = Seeded::new(7);
    let key = sm2::PrivateKey::generate(&mut random).expect("a key");
    let public = key.public_key().to_bytes();
    let message = sm3(&[b"a transaction"]).0;
    let signature = sm2::sign(&key, sm2::DEFAULT_ID, &message, &mut random).expect("a signature").0;
    let (r, s): ([u8; 32], [u8; 32]) = (signature[..32].try_into().unwrap(), signature[32..].try_into().unwrap());

    let verify = |message: [u8; 32], key: &[u8], r: [u8; 32], s: [u8; 32]| {
        let arguments = [Value::Word(message), Value::Bytes(key), Value::Word(r), Value::Word(s)];
        let result = chain.call(system(0x100a), chain.system_data(VERIFY, &arguments));
        assert_eq!(result.status, 0);
        (word(&result.output, 0) == uint(1), address_in(&result.output, 1))
    };
    let signer = CryptoSuite::Sm.address(&public);
    let nobody = bixi_types::Address::ZERO;
    assert_eq!(verify(message, &public, r, s), (true, signer));
    assert_eq!(verify(message, &[&[4], &public[..]].concat(), r, s), (true, signer), "with the SEC 1 prefix");
    assert_eq!(verify([0; 32], &public, r, s), (false, nobody));
    assert_eq!(verify(message, &public, s, r), (false, nobody));
    assert_eq!(verify(message, &public, [0; 32], s), (false, nobody));
    assert_eq!(verify(message, &public, r, [0xff; 32]), (false, nobody));
    assert_eq!(verify(message, &[1; 64], r, s), (false, nobody), "a point off the curve");
    assert_eq!(verify(message, &public[..63], r, s), (false, nobody));
    assert_eq!(verify(message, b"", r, s), (false, nobody));
}

#[test]
fn vrf_is_refused_by_name() {
    let mut chain = Chain::demo();
    let arguments = [Value::Bytes(b""), Value::Bytes(b""), Value::Bytes(b"")];
    let receipt = chain.send_system(0x100a, "curve25519VRFVerify(bytes,bytes,bytes)", &arguments);
    assert_eq!((receipt.status, receipt.message.as_str()), (15, "curve25519VRFVerify is not supported"));
}
