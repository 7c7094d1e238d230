//! Signature verification, GB/T 32918.2-2016 7.1, on public values in variable time.

use super::comb::{self, Comb};
use super::field::{self, Arithmetic, Calls, Element, with_field};
use super::limbs::{self, Limbs};
use super::point::{Affine, G, Jacobian};
use super::scalar::{self, Scalar};
use super::{PublicKey, RegisteredKey, Signature, wnaf};
use crate::memory::Kept;
use crate::sm3::{self, Hasher};
use std::sync::LazyLock;

/// Window width for keys: 8 odd multiples.
pub(super) const KEY_WIDTH: usize = 5;
pub(super) const KEY_ODD_MULTIPLES: usize = 1 << (KEY_WIDTH - 2);
/// The largest digit of the key.
const ODD_MAX: usize = 2 * KEY_ODD_MULTIPLES - 1;
/// Window width for the base point: 1024 odd multiples, 64 KiB.
const BASE_WIDTH: usize = 12;

const BASE_ODD_MULTIPLES: usize = 1 << (BASE_WIDTH - 2);

static BASE_ODD: LazyLock<Kept<[Affine; BASE_ODD_MULTIPLES]>> = LazyLock::new(|| {
    let multiples = Jacobian::batch_to_affine(&odd_multiples::<BASE_ODD_MULTIPLES>(&G));
    Kept::table(multiples.try_into().ok().expect("as many as there were"))
});

/// `a ‖ b ‖ x_G ‖ y_G`, the part of `Z` common to all identities.
const CURVE: [u8; 128] = {
    let words: [u128; 8] = [
        0xfffffffeffffffffffffffffffffffff,
        0xffffffff00000000fffffffffffffffc,
        0x28e9fa9e9d9f5e344d5a9e4bcf6509a7,
        0xf39789f515ab8f92ddbcbd414d940e93,
        0x32c4ae2c1f1981195f9904466a39c994,
        0x8fe30bbff2660be1715a4589334c74c7,
        0xbc3736a2f4f6779c59bdcee36b692153,
        0xd0a9877cc62a474002df32e52139f0a0,
    ];
    let mut bytes = [0; 128];
    let mut i = 0;
    while i < 128 {
        bytes[i] = (words[i / 16] >> (120 - 8 * (i % 16))) as u8;
        i += 1;
    }
    bytes
};

/// The hash of the default identity's part of `Z`, shared by all its computations.
static DEFAULT_PREFIX: LazyLock<Hasher> = LazyLock::new(|| identity_prefix(super::DEFAULT_ID));

fn identity_prefix(id: &[u8]) -> Hasher {
    let mut hasher = Hasher::new();
    hasher.update(&identity_length(id));
    hasher.update(id);
    hasher.update(&CURVE);
    hasher
}

/// `ENTL`.
fn identity_length(id: &[u8]) -> [u8; 2] {
    u16::try_from(id.len() * 8).expect("an SM2 identifier has fewer than 8192 bytes").to_be_bytes()
}

/// Bytes `Z` is the digest of for the default identifier.
pub(super) const DEFAULT_INPUT_BYTES: usize = 2 + super::DEFAULT_ID.len() + CURVE.len() + 64;

/// What `Z` is the digest of for the default identifier.
pub(super) fn default_identity_input(key: &[u8; 64]) -> [u8; DEFAULT_INPUT_BYTES] {
    const ID_END: usize = 2 + super::DEFAULT_ID.len();
    const CURVE_END: usize = ID_END + CURVE.len();
    let mut input = [0; DEFAULT_INPUT_BYTES];
    input[..2].copy_from_slice(&identity_length(super::DEFAULT_ID));
    input[2..ID_END].copy_from_slice(super::DEFAULT_ID);
    input[ID_END..CURVE_END].copy_from_slice(&CURVE);
    input[CURVE_END..].copy_from_slice(key);
    input
}

/// `Z = SM3(ENTL ‖ ID ‖ a ‖ b ‖ x_G ‖ y_G ‖ x_A ‖ y_A)`, GB/T 32918.2 5.5.
///
/// # Panics
/// When `id` has 8192 bytes or more: its bit length has no 16-bit form.
pub fn identity_digest(id: &[u8], key: &PublicKey) -> [u8; 32] {
    identity_digest_of_bytes(id, &key.to_bytes())
}

pub(super) fn identity_digest_of_bytes(id: &[u8], key: &[u8; 64]) -> [u8; 32] {
    let mut hasher = if id == super::DEFAULT_ID { DEFAULT_PREFIX.clone() } else { identity_prefix(id) };
    hasher.update(key);
    hasher.finalize()
}

/// `e = SM3(Z ‖ M)`: A1 and A2, B3 and B4.
pub fn message_digest(z: &[u8; 32], message: &[u8]) -> [u8; 32] {
    let mut hasher = Hasher::new();
    hasher.update(z);
    hasher.update(message);
    hasher.finalize()
}

/// [`message_digest`] of many pairs of `Z` and message.
pub(super) fn message_digests<'a>(pairs: impl Iterator<Item = (&'a [u8; 32], &'a [u8])>) -> Vec<[u8; 32]> {
    let parts: Vec<[&[u8]; 2]> = pairs.map(|(z, message)| [&z[..], message]).collect();
    let mut digests = vec![[0; 32]; parts.len()];
    sm3::digest_many_parts(&parts, &mut digests);
    digests
}

/// Whether `signature` is `id`'s signature of `message`. Panics as [`identity_digest`] does.
pub fn verify(key: &PublicKey, id: &[u8], message: &[u8], signature: &Signature) -> bool {
    verify_digest(key, &message_digest(&identity_digest(id, key), message), signature)
}

/// Whether `signature` signs the digest `e` made of `Z` and the message.
pub fn verify_digest(key: &PublicKey, e: &[u8; 32], signature: &Signature) -> bool {
    Claim::new(e, signature).is_some_and(|claim| claim.holds_under(&key.point))
}

/// Whether `signature` signs the first digest and not the second. They share the point: only the x coordinate it must have is another.
pub(super) fn tells_apart(key: &PublicKey, digests: [&[u8; 32]; 2], signature: &Signature) -> bool {
    let [Some(claim), Some(other)] = digests.map(|e| Claim::new(e, signature)) else { return false };
    with_field!(field => {
        let point = claim.point_by_windows(field, &key.point);
        claim.holds_at(&point) && !other.holds_at(&point)
    })
}

impl RegisteredKey {
    /// [`verify_digest`] with the key's table.
    pub fn verify_digest(&self, e: &[u8; 32], signature: &Signature) -> bool {
        Claim::new(e, signature).is_some_and(|claim| claim.holds_under_comb(self.comb()))
    }
}

/// What a well-formed signature claims: `[s]G + [t]P` has the x coordinate `r - e mod n`.
#[derive(Clone, Copy)]
pub(super) struct Claim {
    pub(super) s: Scalar,
    pub(super) t: Scalar,
    x: Scalar,
}

impl Claim {
    /// Steps B1, B2 and B5; `None` when one refuses.
    pub(super) fn new(e: &[u8; 32], signature: &Signature) -> Option<Self> {
        // B1, B2: r and s in [1, n-1].
        let (r, s) = signature.scalars()?;
        // B5: t = (r + s) mod n, not zero.
        let t = r.add(&s);
        (!t.is_zero()).then(|| Self { s, t, x: r.sub(&Scalar::reduce_be_bytes(e)) })
    }

    /// B6 and B7 for any key, by the selected backend.
    pub(super) fn holds_under(&self, key: &Affine) -> bool {
        with_field!(field => self.holds_by_windows(field, key))
    }

    /// B6 and B7 with the comb of the key, by the selected backend.
    pub(super) fn holds_under_comb(&self, key: &Comb) -> bool {
        with_field!(field => self.holds_by_combs(field, key))
    }

    pub(super) fn holds_by_windows<F: Arithmetic>(&self, field: F, key: &Affine) -> bool {
        self.holds_at(&self.point_by_windows(field, key))
    }

    pub(super) fn holds_by_combs<F: Arithmetic>(&self, field: F, key: &Comb) -> bool {
        self.holds_at(&comb::double_multiple(field, &self.s, &self.t, key))
    }

    /// B6 with odd multiples of the key, each kept with its own Z: making them affine would take longer.
    fn point_by_windows<F: Arithmetic>(&self, field: F, key: &Affine) -> Jacobian<F> {
        // Additions are few between many doublings.
        let calls = Calls(field);
        let odd = Jacobian::odd_multiples::<KEY_ODD_MULTIPLES>(calls, key);
        // -15P, -13P, … 15P, so that no branch depends on a sign.
        let signed: [_; 2 * KEY_ODD_MULTIPLES] = core::array::from_fn(|i| match i.checked_sub(KEY_ODD_MULTIPLES) {
            Some(i) => odd[i],
            None => odd[KEY_ODD_MULTIPLES - 1 - i].negate(),
        });
        let (additions, first) = additions(self.s.limbs(), self.t.limbs());
        let (mut sum, mut position) = (Jacobian::infinity(field), wnaf::DIGITS);
        for addition in &additions[first..] {
            let (Addition::Base(i, digit) | Addition::Key(i, digit)) = *addition;
            for _ in usize::from(i)..position {
                sum = sum.double();
            }
            position = i.into();
            let point = sum.on(calls);
            sum = match addition {
                Addition::Base(..) => point.add_affine(&base_multiple(digit)),
                Addition::Key(..) => point.add_cached(&signed[(digit as usize).wrapping_add(ODD_MAX) / 2]),
            }
            .on(field);
        }
        (0..position).fold(sum, |sum, _| sum.double())
    }

    /// B7: `(e + x1) mod n = r`, that is, `x1` is `x`, or `x + n` where that is below `p`. Infinity has no `x1`.
    pub(super) fn holds_at<F: Arithmetic>(&self, point: &Jacobian<F>) -> bool {
        let (x, wrapped) = self.candidates();
        point.has_x(&Element::from_limbs(x)) || wrapped.is_some_and(|x| point.has_x(&Element::from_limbs(&x)))
    }

    /// The values of `x1` for which the claim holds, the second of which seldom exists.
    pub(super) fn candidates(&self) -> (&Limbs, Option<Limbs>) {
        let (wrapped, carry) = limbs::add(self.x.limbs(), &scalar::N);
        let is_element = carry == 0 && limbs::sub(&wrapped, &field::P).1 == 1;
        (self.x.limbs(), is_element.then_some(wrapped))
    }
}

/// A digit other than zero and its position.
#[derive(Clone, Copy)]
enum Addition {
    Base(u16, i16),
    Key(u16, i16),
}

/// More than there can be: one digit in twelve for the base, one in five for the key.
const BASE_MAX: usize = wnaf::DIGITS / BASE_WIDTH + 1;
const ADDITIONS_MAX: usize = BASE_MAX + wnaf::DIGITS / KEY_WIDTH + 1;

/// All additions for `[s]G + [t]P`, highest position first, and where they begin. Found before the first doubling, so that the branches on
/// digits are not mispredicted where the field's arithmetic would have to wait.
fn additions(s: &Limbs, t: &Limbs) -> ([Addition; ADDITIONS_MAX], usize) {
    let (mut base, mut bases) = ([(0, 0); BASE_MAX], 0);
    for digit in wnaf::sparse(s, BASE_WIDTH) {
        base[bases] = digit;
        bases += 1;
    }
    // Lowest first, from the end of the room down.
    let (mut additions, mut first, mut next_base) = ([Addition::Key(0, 0); ADDITIONS_MAX], ADDITIONS_MAX, 0);
    let mut put = |addition| {
        first -= 1;
        additions[first] = addition;
    };
    for (position, digit) in wnaf::sparse(t, KEY_WIDTH) {
        while next_base < bases && base[next_base].0 < position {
            put(Addition::Base(base[next_base].0 as u16, base[next_base].1));
            next_base += 1;
        }
        put(Addition::Key(position as u16, digit));
    }
    base[next_base..bases].iter().for_each(|(position, digit)| put(Addition::Base(*position as u16, *digit)));
    (additions, first)
}

/// `digit · G` for an odd digit.
#[inline(always)]
fn base_multiple(digit: i16) -> Affine {
    BASE_ODD[usize::from(digit.unsigned_abs() / 2)].negate_if(u64::from(digit < 0).wrapping_neg())
}

/// `P, 3P, 5P, …`: finite, since the multipliers are small and the order is a large prime.
pub(super) fn odd_multiples<const COUNT: usize>(point: &Affine) -> [Jacobian; COUNT] {
    let mut multiples = [Jacobian::from(point); COUNT];
    let twice = multiples[0].double();
    for i in 1..COUNT {
        multiples[i] = multiples[i - 1].add(&twice);
    }
    multiples
}
