//! From what a device can do with a secret key to a PRF of 32 bytes. Frozen: data at rest hangs on every byte.
//!
//! | kind | PRF(key, input) |
//! |---|---|
//! | HMAC-SM3 | HMAC(key, domain ‖ input) |
//! | SM4 MAC | SM3(domain ‖ MAC(1 ‖ h) ‖ MAC(2 ‖ h) ‖ h), h = SM3(domain ‖ input), 1 and 2 as 16-byte blocks |
//! | SM4 ECB | SM3(domain ‖ E(h) ‖ h), h as above, two blocks |
//!
//! The device sees inputs of one fixed length under a MAC, which is where CBC-MAC is sound. The outer hash makes every
//! byte of the answer depend on every byte of the input.

use bixi_accel::sm3;
use bixi_platform::secret::Secret;
use cryptoki::object::ObjectHandle;
use cryptoki::session::Session;
use zeroize::Zeroizing;

use crate::pool::Failure;
use crate::profile::{Prf, PrfKind};
use crate::raw::Functions;

const DOMAIN: &[u8] = b"BIXI-PKCS11-PRF-V1";

/// PRF(key, input).
pub(crate) fn evaluate(
    session: &Session,
    functions: Functions,
    key: ObjectHandle,
    prf: &Prf,
    input: &[u8],
) -> Result<Secret, Failure> {
    let labelled = [DOMAIN, input].concat();
    if prf.kind == PrfKind::HmacSm3 {
        let tag = functions.sign(session, prf.mechanism, key, &labelled)?;
        return Ok(Secret::from_slice(exactly(&tag, 32)?));
    }
    let inner = sm3::digest(&labelled);
    let answers = match prf.kind {
        PrfKind::Sm4Ecb => functions.encrypt(session, prf.mechanism, key, &inner)?,
        _ => {
            let mut answers = Zeroizing::new(Vec::with_capacity(32));
            for counter in [1, 2] {
                let mut block = [0; 16];
                block[15] = counter;
                let tag = functions.sign(session, prf.mechanism, key, &[&block[..], &inner].concat())?;
                answers.extend_from_slice(exactly(&tag, 16)?);
            }
            answers
        }
    };
    let mut hasher = sm3::Hasher::new();
    [DOMAIN, exactly(&answers, 32)?, &inner].iter().for_each(|part| hasher.update(part));
    let mut out = Zeroizing::new(hasher.finalize());
    Ok(Secret::from_wiped(&mut *out))
}

fn exactly(answer: &[u8], length: usize) -> Result<&[u8], Failure> {
    if answer.len() == length {
        return Ok(answer);
    }
    let message = format!("the device answered {} bytes, not {length}: check `prf` in the profile", answer.len());
    Err(bixi_hsm::DeviceError::new("prf", bixi_hsm::Cause::BadAnswer, message).into())
}
