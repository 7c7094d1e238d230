//! Verification of many signatures, each with its own exact verdict.

use super::point::Jacobian;
use super::registry::RegisteredKey;
use super::verify::{self, Claim, KEY_ODD_MULTIPLES};
use super::{DEFAULT_ID, IdentifiedKey, PublicKey, Signature, message_digest};

/// Items whose key tables share one inversion.
const CHUNK: usize = 32;

/// The signer of an item. `Z` is that of [`DEFAULT_ID`] unless the reference carries its own.
#[derive(Clone, Debug)]
pub enum KeyRef<'a> {
    /// `X ‖ Y`, validated here; a bad point makes the verdict `false`.
    Raw(&'a [u8; 64]),
    /// A key already validated.
    Known(&'a PublicKey),
    /// A key with `Z` computed earlier, for any identifier.
    Identified(&'a IdentifiedKey),
    /// A key with a table, the fastest.
    Registered(RegisteredKey),
}

/// One signature to verify.
#[derive(Clone, Debug)]
pub struct VerifyItem<'a> {
    /// The signer.
    pub key: KeyRef<'a>,
    /// The message `M`; `e = SM3(Z ‖ M)`.
    pub message: &'a [u8],
    /// `r ‖ s`.
    pub signature: &'a [u8; 64],
}

/// Verifies every item: `out[i]` becomes what [`verify`](super::verify()) says of `items[i]`. Any number of items.
///
/// # Panics
/// When the slices differ in length.
pub fn verify_batch(items: &[VerifyItem<'_>], out: &mut [bool]) {
    assert_eq!(items.len(), out.len(), "verify_batch: one verdict per item");
    for (items, out) in items.chunks(CHUNK).zip(out.chunks_mut(CHUNK)) {
        verify_chunk(items, out);
    }
}

fn verify_chunk(items: &[VerifyItem<'_>], out: &mut [bool]) {
    out.fill(false);
    let mut waiting = Vec::with_capacity(items.len());
    let mut multiples = Vec::with_capacity(items.len() * KEY_ODD_MULTIPLES);
    for (index, item) in items.iter().enumerate() {
        let Some((key, z)) = item.key.resolve() else { continue };
        let e = message_digest(&z, item.message);
        let Some(claim) = Claim::new(&e, &Signature(*item.signature)) else { continue };
        if let KeyRef::Registered(registered) = &item.key {
            out[index] = claim.holds_at(&claim.point_by_comb(registered.comb()));
        } else {
            multiples.extend_from_slice(&verify::odd_multiples::<KEY_ODD_MULTIPLES>(&key.point));
            waiting.push((index, claim));
        }
    }
    let multiples = Jacobian::batch_to_affine(&multiples);
    for ((index, claim), odd) in waiting.iter().zip(multiples.chunks_exact(KEY_ODD_MULTIPLES)) {
        out[*index] = claim.holds_at(&claim.point_by_windows(odd));
    }
}

impl KeyRef<'_> {
    /// The key and its `Z`; `None` for raw bytes that are no key.
    fn resolve(&self) -> Option<(PublicKey, [u8; 32])> {
        match self {
            Self::Raw(bytes) => {
                let key = PublicKey::from_bytes(bytes).ok()?;
                Some((key, verify::identity_digest_of_bytes(DEFAULT_ID, bytes)))
            }
            Self::Known(key) => Some((**key, verify::identity_digest(DEFAULT_ID, key))),
            Self::Identified(key) => Some((*key.key(), *key.z())),
            Self::Registered(key) => Some((*key.key(), *key.z())),
        }
    }
}
