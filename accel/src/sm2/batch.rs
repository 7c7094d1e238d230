//! Verification of many signatures, each with its own exact verdict.

#[cfg(target_arch = "x86_64")]
use super::ifma;
use super::point::Affine;
use super::registry::RegisteredKey;
use super::verify::{self, Claim};
use super::{IdentifiedKey, PublicKey, Signature, field};
#[cfg(target_arch = "x86_64")]
use crate::cpu::Ifma512;
use crate::sm3;

/// Items whose hashes are computed together.
const CHUNK: usize = 256;

/// The signer of an item. `Z` is that of [`DEFAULT_ID`](super::DEFAULT_ID) unless the reference carries its own.
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
    verify_batch_with(&mut Kernel::selected(), items, out);
}

pub(super) fn verify_batch_with(kernel: &mut Kernel, items: &[VerifyItem<'_>], out: &mut [bool]) {
    assert_eq!(items.len(), out.len(), "verify_batch: one verdict per item");
    for (items, out) in items.chunks(CHUNK).zip(out.chunks_mut(CHUNK)) {
        verify_chunk(kernel, items, out);
    }
}

fn verify_chunk(kernel: &mut Kernel, items: &[VerifyItem<'_>], out: &mut [bool]) {
    out.fill(false);
    let keys = resolve(items);
    // An item without a key is never looked at again: any `Z` does.
    let pairs: Vec<([u8; 32], &[u8])> =
        keys.iter().zip(items).map(|(key, item)| (key.map_or([0; 32], |(_, z)| z), item.message)).collect();
    let digests = verify::message_digests(pairs.iter().map(|(z, message)| (z, *message)));
    let mut by_windows = Vec::new();
    let mut by_combs = Vec::new();
    for (index, (item, key)) in items.iter().zip(&keys).enumerate() {
        let Some((key, _)) = key else { continue };
        let Some(claim) = Claim::new(&digests[index], &Signature(*item.signature)) else { continue };
        match &item.key {
            KeyRef::Registered(registered) => by_combs.push((index, claim, registered)),
            _ => by_windows.push((index, claim, key.point)),
        }
    }
    kernel.by_combs(&by_combs, out);
    kernel.by_windows(&by_windows, out);
}

/// A key and its `Z`; `None` for raw bytes that are no key.
type Resolved = Option<(PublicKey, [u8; 32])>;

fn resolve(items: &[VerifyItem<'_>]) -> Vec<Resolved> {
    let mut missing = Vec::new();
    let mut inputs = Vec::new();
    let mut resolve = |(index, item): (usize, &VerifyItem<'_>)| {
        let (key, bytes) = match &item.key {
            KeyRef::Raw(bytes) => (PublicKey::from_bytes(bytes).ok()?, **bytes),
            KeyRef::Known(key) => (**key, key.to_bytes()),
            KeyRef::Identified(key) => return Some((*key.key(), *key.z())),
            KeyRef::Registered(key) => return Some((*key.key(), *key.z())),
        };
        missing.push(index);
        inputs.push(verify::default_identity_input(&bytes));
        Some((key, [0; 32]))
    };
    let mut keys: Vec<_> = items.iter().enumerate().map(&mut resolve).collect();
    let inputs: Vec<&[u8]> = inputs.iter().map(|input| &input[..]).collect();
    let mut identities = vec![[0; 32]; inputs.len()];
    sm3::digest_many(&inputs, &mut identities);
    for (index, identity) in missing.into_iter().zip(identities) {
        if let Some((_, z)) = &mut keys[index] {
            *z = identity;
        }
    }
    keys
}

/// Who computes the points.
pub(super) enum Kernel {
    /// One after the other, by what verifies one.
    Single,
    #[cfg(target_arch = "x86_64")]
    Ifma512(ifma::Verifier),
}

/// A claim, where its verdict goes, and the key: a point or a table.
type Waiting<K> = (usize, Claim, K);

impl Kernel {
    pub(super) fn selected() -> Self {
        #[cfg(target_arch = "x86_64")]
        if let Some(token) = Ifma512::selected() {
            return Self::Ifma512(ifma::Verifier::new(token));
        }
        Self::Single
    }

    fn by_windows(&mut self, waiting: &[Waiting<Affine>], out: &mut [bool]) {
        match self {
            Self::Single => single_by_windows(waiting, out),
            #[cfg(target_arch = "x86_64")]
            Self::Ifma512(verifier) => {
                in_lanes(waiting, out, |key| key, |lanes| verifier.by_windows(lanes), single_by_windows);
            }
        }
    }

    fn by_combs(&mut self, waiting: &[Waiting<&RegisteredKey>], out: &mut [bool]) {
        match self {
            Self::Single => single_by_combs(waiting, out),
            #[cfg(target_arch = "x86_64")]
            Self::Ifma512(verifier) => {
                let (flat, compact): (Vec<_>, Vec<_>) =
                    waiting.iter().copied().partition(|(_, _, key)| key.flat_comb().is_some());
                in_lanes(&compact, out, |key| key.comb(), |lanes| verifier.by_combs(lanes), single_by_combs);
                let flat_comb = |key| RegisteredKey::flat_comb(key).expect("kept apart");
                in_lanes(&flat, out, |key| flat_comb(key), |lanes| verifier.by_flat_combs(lanes), single_by_combs);
            }
        }
    }
}

/// Through `kernel`, which takes as long for two of a group as for eight; one left over, and what the kernel leaves undecided,
/// through `single`.
#[cfg(target_arch = "x86_64")]
fn in_lanes<'a, K, T: 'a>(
    waiting: &'a [Waiting<K>],
    out: &mut [bool],
    table: impl Fn(&'a K) -> &'a T,
    mut kernel: impl FnMut(&[(&'a Claim, &'a T)]) -> Vec<ifma::Verdicts>,
    single: impl Fn(&[Waiting<K>], &mut [bool]),
) {
    let alone = usize::from(waiting.len() % ifma::LANES == 1);
    let (waiting, alone) = waiting.split_at(waiting.len() - alone);
    single(alone, out);
    for waiting in waiting.chunks(ifma::TOGETHER) {
        let claims: Vec<_> = waiting.iter().map(|(_, claim, key)| (claim, table(key))).collect();
        for (group, verdicts) in waiting.chunks(ifma::LANES).zip(kernel(&claims)) {
            for (lane, item) in group.iter().enumerate() {
                out[item.0] = verdicts.holds >> lane & 1 == 1;
                if verdicts.undecided >> lane & 1 == 1 {
                    single(std::slice::from_ref(item), out);
                }
            }
        }
    }
}

fn single_by_windows(waiting: &[Waiting<Affine>], out: &mut [bool]) {
    for (index, claim, key) in waiting {
        out[*index] = claim.holds_under(key);
    }
}

fn single_by_combs(waiting: &[Waiting<&RegisteredKey>], out: &mut [bool]) {
    for (index, claim, key) in waiting {
        out[*index] = claim.holds_under_comb(key.comb());
    }
}

/// The name of the kernel that serves [`verify_batch`].
pub(crate) fn kernel_name() -> &'static str {
    match Kernel::selected() {
        Kernel::Single => field::kernel_name(),
        #[cfg(target_arch = "x86_64")]
        Kernel::Ifma512(_) => "ifma512",
    }
}
