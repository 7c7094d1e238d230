//! The property plan: structured inputs, what must hold of every answer, and what each answer is by an independent
//! implementation. One plan serves the unit test, every rung of the ladder and the fuzzer:
//!
//! ```text
//! bytes ── arbitrary ──> a case ── public API on the selected kernels ──> answers ──> Seen (a digest)
//!                            └──── RustCrypto, or the definition ───────> the same answers, or a panic
//! ```
//!
//! Inputs favour what breaks kernels: lengths around 16, 64 and 96 blocks, every alignment, runs of ones at the limb
//! edges of both radices, values next to p, n and 2^256, equal and opposite points, counters about to wrap, batches
//! that mix all of it. A case is a function of its bytes alone, so that two rungs that read the same bytes must end
//! with the same [`Seen`].
#![allow(missing_docs)]
#![allow(dead_code, reason = "each test program takes what it needs")]

pub(crate) mod decoders;
pub(crate) mod inputs;
pub(crate) mod oracle;
pub(crate) mod schemes;
pub(crate) mod sm2;
pub(crate) mod sm3;
pub(crate) mod sm4;

use ::sm3::Digest;
use arbitrary::{Result, Unstructured};

/// Everything a case computed, digested by an implementation that is not under test.
#[derive(Default)]
pub(crate) struct Seen(::sm3::Sm3);

impl Seen {
    pub(crate) fn add(&mut self, answer: &[u8]) {
        self.0.update((answer.len() as u64).to_be_bytes());
        self.0.update(answer);
    }

    pub(crate) fn finish(self) -> [u8; 32] {
        self.0.finalize().into()
    }
}

/// One plan: reads a case, checks it, and adds its answers. An error means that the bytes ran out.
pub(crate) type Plan = fn(&mut Unstructured<'_>, &mut Seen) -> Result<()>;

/// All plans with the bytes a random case of each may need.
pub(crate) const PLANS: [(&str, usize, Plan); 25] = [
    ("sm3_stream", 256, sm3::stream),
    ("sm3_many", 1024, sm3::many),
    ("sm3_keyed", 512, sm3::keyed),
    ("sm3_lthash", 256, sm3::lthash),
    ("sm4_blocks", 128, sm4::blocks),
    ("sm4_ctr", 128, sm4::ctr),
    ("sm4_cbc", 128, sm4::cbc),
    ("sm4_gcm", 256, sm4::gcm),
    ("sm4_gcm_many", 1024, sm4::gcm_many),
    ("sm4_xts", 256, sm4::xts),
    ("sm2_verify", 512, sm2::verify),
    ("sm2_verify_batch", 2048, sm2::verify_batch),
    ("sm2_verify_many", 2048, sm2::verify_many),
    ("sm2_sign", 512, sm2::sign),
    ("sm2_sign_batch", 512, sm2::sign_batch),
    ("sm2_encryption", 512, schemes::encryption),
    ("sm2_decrypt_batch", 1024, schemes::decrypt_batch),
    ("sm2_exchange", 1024, schemes::exchange),
    ("sm2_respond_batch", 1024, schemes::respond_batch),
    ("sm2_signature_der", 128, decoders::signature_der),
    ("sm2_public_key", 128, decoders::public_key),
    ("sm2_private_key", 64, decoders::private_key),
    ("sm2_ciphertext", 256, decoders::ciphertext),
    ("sm2_public_key_der", 256, decoders::public_key_der),
    ("sm2_private_key_der", 256, decoders::private_key_der),
];
