//! Nonces: RFC 6979 3.2 over HMAC-SM3 with fresh randomness as additional input (3.6), so they are unpredictable even
//! when one of key secrecy's two guards, the generator or the uniqueness of the message, fails.

use super::scalar::Scalar;
use crate::sm3::Hmac;
use zeroize::{Zeroize, ZeroizeOnDrop};

/// The generator of candidates for one signature.
#[derive(Zeroize, ZeroizeOnDrop)]
pub(super) struct Nonces {
    key: [u8; 32],
    value: [u8; 32],
}

impl Nonces {
    /// Steps a to g: `entropy` is what RFC 6979 3.6 appends.
    pub(super) fn new(d: &Scalar, e: &[u8; 32], entropy: &[u8; 32]) -> Self {
        let mut nonces = Self { key: [0; 32], value: [1; 32] };
        let mut secret = d.to_be_bytes();
        let digest = Scalar::reduce_be_bytes(e).to_be_bytes();
        for separator in [0u8, 1] {
            nonces.rekey(&[&[separator], &secret, &digest, entropy]);
        }
        secret.zeroize();
        nonces
    }

    /// Step h: the next candidate in `[1, n-1]`. Rejection reveals nothing of the one returned.
    pub(super) fn next(&mut self) -> Scalar {
        loop {
            self.value = self.mac(&[]);
            let candidate = Scalar::from_be_bytes(&self.value).filter(|k| !k.is_zero());
            self.rekey(&[&[0]]);
            if let Some(k) = candidate {
                return k;
            }
        }
    }

    fn rekey(&mut self, input: &[&[u8]]) {
        self.key = self.mac(input);
        self.value = self.mac(&[]);
    }

    fn mac(&self, input: &[&[u8]]) -> [u8; 32] {
        let mut mac = Hmac::new(&self.key);
        mac.update(&self.value);
        input.iter().for_each(|part| mac.update(part));
        mac.finalize()
    }
}
