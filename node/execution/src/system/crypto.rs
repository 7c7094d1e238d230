//! Crypto (0x100a): hashes and SM2 verification for contracts, whatever hash the chain itself uses.

use bixi_accel::sm2;
use bixi_types::suite::{keccak256, sm3};
use bixi_types::{Address, CryptoSuite};

use super::{Fault, Method, Session};
use crate::abi::{Arguments, Encoder};

/// Gas of a hash, as the opcode KECCAK256 has it, and of the two SM3 runs that a verification makes.
const HASH_GAS: u64 = 30;
const HASH_WORD_GAS: u64 = 6;
/// Gas of an SM2 verification: ecrecover's 3,000 scaled by the time a portable implementation takes.
const SM2_VERIFY_GAS: u64 = 12_000;

pub(super) const METHODS: &[(&str, Method)] = &[
    ("sm3(bytes)", |session, mut arguments| {
        let data = hashed(session, &mut arguments)?;
        Ok(Encoder::new().hash(sm3(&[data])).finish())
    }),
    ("keccak256Hash(bytes)", |session, mut arguments| {
        let data = hashed(session, &mut arguments)?;
        Ok(Encoder::new().hash(keccak256(&[data])).finish())
    }),
    ("sm2Verify(bytes32,bytes,bytes32,bytes32)", sm2_verify),
    ("curve25519VRFVerify(bytes,bytes,bytes)", |_, _| Err(Fault::refused("curve25519VRFVerify is not supported"))),
];

fn hashed<'a>(session: &mut Session<'_>, arguments: &mut Arguments<'a>) -> Result<&'a [u8], Fault> {
    let data = arguments.bytes()?;
    session.charge_words(HASH_GAS, HASH_WORD_GAS, data.len())?;
    Ok(data)
}

/// `(bytes32 message, bytes publicKey, bytes32 r, bytes32 s) → (bool, address)`: the 32 bytes are the SM2 message, the ID is the
/// default one, and the address is the SM3 address of the key. Anything malformed answers `(false, 0)`.
fn sm2_verify(session: &mut Session<'_>, mut arguments: Arguments<'_>) -> Result<Vec<u8>, Fault> {
    session.charge(SM2_VERIFY_GAS)?;
    let message = arguments.word()?;
    let key = arguments.bytes()?;
    let mut signature = [0; 64];
    signature[..32].copy_from_slice(arguments.word()?);
    signature[32..].copy_from_slice(arguments.word()?);
    let signer = public_key(key).filter(|key| is_signed_by(key, message, &signature));
    let address = signer.map_or(Address::ZERO, |key| CryptoSuite::Sm.address(key));
    Ok(Encoder::new().boolean(signer.is_some()).address(address).finish())
}

/// X ‖ Y, with or without the SEC 1 prefix of an uncompressed point.
fn public_key(key: &[u8]) -> Option<&[u8; 64]> {
    match key {
        [0x04, rest @ ..] if key.len() == 65 => rest.try_into().ok(),
        _ => key.try_into().ok(),
    }
}

fn is_signed_by(key: &[u8; 64], message: &[u8; 32], signature: &[u8; 64]) -> bool {
    sm2::PublicKey::from_bytes(key)
        .is_ok_and(|key| sm2::verify(&key, sm2::DEFAULT_ID, message, &sm2::Signature(*signature)))
}
