//! GHASH with PMULL: eight blocks, each times its power of `H`, reduced together.
//!
//! As [`super`] has it, elements are mirrored; the powers are kept divided by `x`, so that a product stands in its place and the reduction
//! is two products with the constant of the field. REV64 alone leaves a block's halves exchanged: the lane order of elements here is upper half
//! first, and each power is kept in both orders, so that the four partial products of a block are PMULL and PMULL2 of two pairs
//! of registers, with nothing moved.
#![allow(unsafe_code)]

use crate::cpu::NeonAes;
use core::arch::aarch64::*;
use zeroize::ZeroizeOnDrop;

/// Blocks reduced together.
const BLOCKS: usize = 8;

/// The halves of an element, the upper one first.
type Element = [u64; 2];

/// An element, and its halves exchanged.
type Power = [Element; 2];

/// `H^8, …, H^1`, each divided by `x`, with the proof that they may be used here.
#[derive(ZeroizeOnDrop)]
pub(in crate::sm4) struct Powers {
    powers: [Power; BLOCKS],
    #[zeroize(skip)]
    _token: NeonAes,
}

impl Powers {
    pub(super) fn new(token: NeonAes, h: u128) -> Self {
        // SAFETY: `token` exists only where PMULL was detected.
        let powers = unsafe { powers(h) };
        Self { powers, _token: token }
    }

    /// The hash after `blocks`.
    pub(super) fn absorb(&self, y: u128, blocks: &[[u8; 16]]) -> u128 {
        // SAFETY: `_token` exists only where PMULL was detected.
        unsafe { absorb(&self.powers, y, blocks) }
    }
}

#[target_feature(enable = "neon,aes")]
fn powers(h: u128) -> [Power; BLOCKS] {
    let h = power(element(super::divided_by_x(h)));
    let mut powers = [h; BLOCKS];
    for i in (0..BLOCKS - 1).rev() {
        let mut product = Product::zero();
        product.add(vector(powers[i + 1][0]), &h);
        powers[i] = power(halves(product.reduce()));
    }
    powers
}

/// Each group of up to [`BLOCKS`] blocks: `Σ (blockᵢ [+ y for the first]) · H^(count - i)`.
#[target_feature(enable = "neon,aes")]
fn absorb(powers: &[Power; BLOCKS], y: u128, blocks: &[[u8; 16]]) -> u128 {
    let mut y = vector(element(y));
    for blocks in blocks.chunks(BLOCKS) {
        let mut product = Product::zero();
        let mut carried = y;
        for (block, power) in blocks.iter().zip(&powers[BLOCKS - blocks.len()..]) {
            product.add(veorq_u64(load(block), carried), power);
            carried = vdupq_n_u64(0);
        }
        y = product.reduce();
    }
    let [high, low] = halves(y);
    u128::from(high) << 64 | u128::from(low)
}

/// A sum of carry-less products, `high·2^128 + middle·2^64 + low`, each as an integer of two halves, lower first.
struct Product {
    high: uint64x2_t,
    middle: uint64x2_t,
    low: uint64x2_t,
}

impl Product {
    #[target_feature(enable = "neon")]
    #[inline]
    fn zero() -> Self {
        let zero = vdupq_n_u64(0);
        Self { high: zero, middle: zero, low: zero }
    }

    /// Adds `a · b`.
    #[target_feature(enable = "neon,aes")]
    #[inline]
    fn add(&mut self, a: uint64x2_t, power: &Power) {
        let [b, exchanged] = power.map(vector);
        self.high = veorq_u64(self.high, first_halves(a, b));
        self.low = veorq_u64(self.low, second_halves(a, b));
        let cross = veorq_u64(first_halves(a, exchanged), second_halves(a, exchanged));
        self.middle = veorq_u64(self.middle, cross);
    }

    /// The field element, its upper half first. Bit 255 of the product is the coefficient of `x^0`.
    ///
    /// `x^128 = 1 + x + x^2 + x^7`: each half of the lower 128 bits is added 128 bits higher, and there once more 1, 2 and 7 bits to the
    /// right, which is its product with `0xc2 ≪ 56`, 64 bits higher.
    #[target_feature(enable = "neon,aes")]
    #[inline]
    fn reduce(&self) -> uint64x2_t {
        let (zero, field) = (vdupq_n_u64(0), vector([0xc2 << 56; 2]));
        let high = veorq_u64(self.high, vextq_u64::<1>(self.middle, zero));
        let low = veorq_u64(self.low, vextq_u64::<1>(zero, self.middle));
        let folded = veorq_u64(exchange(low), first_halves(low, field));
        let folded = veorq_u64(exchange(folded), first_halves(folded, field));
        exchange(veorq_u64(high, folded))
    }
}

#[target_feature(enable = "neon")]
#[inline]
fn exchange(x: uint64x2_t) -> uint64x2_t {
    vextq_u64::<1>(x, x)
}

/// PMULL.
#[target_feature(enable = "neon,aes")]
#[inline]
fn first_halves(a: uint64x2_t, b: uint64x2_t) -> uint64x2_t {
    vreinterpretq_u64_p128(vmull_p64(vgetq_lane_u64::<0>(a), vgetq_lane_u64::<0>(b)))
}

/// PMULL2.
#[target_feature(enable = "neon,aes")]
#[inline]
fn second_halves(a: uint64x2_t, b: uint64x2_t) -> uint64x2_t {
    vreinterpretq_u64_p128(vmull_high_p64(vreinterpretq_p64_u64(a), vreinterpretq_p64_u64(b)))
}

/// A block as an element.
#[target_feature(enable = "neon")]
#[inline]
fn load(block: &[u8; 16]) -> uint64x2_t {
    // SAFETY: any sixteen bytes are a vector.
    let bytes = unsafe { core::mem::transmute::<[u8; 16], uint8x16_t>(*block) };
    vreinterpretq_u64_u8(vrev64q_u8(bytes))
}

fn power([high, low]: Element) -> Power {
    [[high, low], [low, high]]
}

fn element(x: u128) -> Element {
    [(x >> 64) as u64, x as u64]
}

fn vector(halves: Element) -> uint64x2_t {
    // SAFETY: any two words are a vector.
    unsafe { core::mem::transmute::<Element, uint64x2_t>(halves) }
}

fn halves(x: uint64x2_t) -> Element {
    // SAFETY: a vector is two words.
    unsafe { core::mem::transmute::<uint64x2_t, Element>(x) }
}
