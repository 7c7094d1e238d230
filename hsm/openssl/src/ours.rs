//! The same operations by accel: what an accelerator is compared with, and what serves when it does not.

use bixi_accel::sm4::{Key, cbc, ctr};
use bixi_accel::{sm2, sm3};

use crate::Operation;

pub(crate) fn sm3_many(messages: &[&[u8]], out: &mut [[u8; 32]]) {
    match (messages, &mut *out) {
        // One message has a kernel of its own.
        ([message], [digest]) => *digest = sm3::digest(message),
        _ => sm3::digest_many(messages, out),
    }
}

/// # Panics
/// For an operation that is no cipher's, for lengths that differ, and for a length that is not whole blocks but for CTR.
pub(crate) fn sm4(operation: Operation, key: &[u8; 16], first: &[u8; 16], input: &[u8], output: &mut [u8]) {
    let key = Key::new(key);
    output.copy_from_slice(input);
    if operation == Operation::Sm4Ctr {
        return ctr::apply(&key, first, output);
    }
    let (blocks, rest) = output.as_chunks_mut();
    assert!(rest.is_empty(), "{} takes whole blocks", operation.name());
    match operation {
        Operation::Sm4EcbEncrypt => key.encrypt_blocks(blocks),
        Operation::Sm4EcbDecrypt => key.decrypt_blocks(blocks),
        Operation::Sm4CbcDecrypt => cbc::decrypt(&key, &mut { *first }, blocks),
        Operation::Sm4Ctr | Operation::Sm3 | Operation::Sm2Verify => panic!("{} is done elsewhere", operation.name()),
    }
}

/// Whether a signature in DER is valid; a malformed one is not.
pub(crate) fn sm2_verify(key: &[u8; 64], digest: &[u8; 32], signature: &[u8]) -> bool {
    let key = sm2::PublicKey::from_bytes(key);
    let signature = sm2::Signature::from_der(signature);
    matches!((key, signature), (Ok(key), Ok(signature)) if sm2::verify_digest(&key, digest, &signature))
}
