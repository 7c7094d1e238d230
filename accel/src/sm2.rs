//! SM2 over the curve of GB/T 32918.5-2017: digital signatures (GB/T 32918.2-2016) here, key agreement (GB/T 32918.3-2016) in
//! [`exchange`], public-key encryption (GB/T 32918.4-2016) in [`encryption`].
//!
//! * Signing and key generation are constant time in the key and the nonce: masked table scans, no secret-dependent branch but the
//!   standard's retries and the formulas' exceptions (whose probability is about 2^-250).
//! * Nonces are hedged: derived by HMAC-SM3 from key, digest *and* fresh randomness, so that neither a weak generator
//!   nor a repeated message reveals the key.
//! * Verification works on public values in variable time; [`verify_batch`] gives each item its own exact verdict.
//! * A [`Registry`] keeps multiplication tables of frequent signers.
//!
//! Encoding: a signature is `r ‖ s`, a key is `X ‖ Y`, big endian, 32 bytes each; DER forms are methods of what they encode.

mod batch;
mod codec;
mod comb;
pub mod encryption;
pub mod exchange;
mod field;
#[cfg(target_arch = "x86_64")]
mod ifma;
mod keys;
mod limbs;
mod nonce;
mod point;
mod registry;
mod scalar;
mod sign;
mod sign_batch;
mod signature;
#[cfg(test)]
mod tests;
mod variable_base;
mod verify;
mod wnaf;

use crate::{ct, sm3};

pub(crate) use batch::kernel_name as batch_kernel_name;
pub use batch::{KeyRef, VerifyItem, verify_batch};
pub use codec::CodecError;
pub(crate) use field::kernel_name as field_kernel_name;
pub(crate) use keys::check_pair;
pub use keys::{IdentifiedKey, KeyError, PrivateKey, PublicKey, PublicKeyError};
pub use registry::{RegisteredKey, Registry, RegistryError};
pub(crate) use sign::sign_with_known_nonce;
pub use sign::{SignError, sign, sign_digest};
pub(crate) use sign_batch::{kernel_name as sign_batch_kernel_name, sign_batch_with_known_nonces};
pub use sign_batch::{sign_batch, sign_digest_batch};
pub use signature::{Signature, SignatureError};
pub use verify::{identity_digest, message_digest, verify, verify_digest};

/// The default distinguishing identifier (GM/T 0009-2012 10, GB/T 35276).
pub const DEFAULT_ID: &[u8] = b"1234567812345678";

/// The identifier of whoever signs a TLS 1.3 handshake (RFC 8998 3.2.1); their certificates keep [`DEFAULT_ID`].
pub const TLS_ID: &[u8] = b"TLSv1.3+GM+Cipher+Suite";

/// [`ct::on_wiped_stack`] for what derives so many bytes of key: long ones are computed in lanes, whose frames are deep.
#[inline(always)]
fn on_wiped_stack_for<T>(derived_bytes: usize, secret: impl FnOnce() -> T) -> T {
    match derived_bytes <= sm3::KDF_SHORT_BYTES {
        true => ct::on_wiped_stack::<{ 16 << 10 }, _>(secret),
        false => ct::on_wiped_stack::<{ 64 << 10 }, _>(secret),
    }
}
