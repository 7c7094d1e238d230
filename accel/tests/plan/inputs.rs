//! Inputs at the edges where kernels break.

use arbitrary::{Result, Unstructured};
use bixi_accel::{Random, RandomError};

/// Sizes at which kernels change their pace: a block of SM4, one and two of SM3, 16, 64 and 96 blocks of SM4, a piece of GCM.
const STEPS: [usize; 8] = [1, 16, 64, 128, 256, 1024, 1536, 15_360];

/// A length of at most `max`: next to a multiple of one of the [`STEPS`], mostly.
pub(crate) fn length(u: &mut Unstructured<'_>, max: usize) -> Result<usize> {
    let step = *u.choose(&STEPS)?;
    let multiple = step * u.int_in_range(0..=4)?;
    let beside = u.int_in_range(-17isize..=17)?;
    Ok(multiple.saturating_add_signed(if u.ratio(1, 3)? { 0 } else { beside }).min(max))
}

/// A count of items that fills some lanes, all lanes, or a few more.
pub(crate) fn count(u: &mut Unstructured<'_>, lanes: usize, max: usize) -> Result<usize> {
    let multiple = lanes * u.int_in_range(0..=3)?;
    Ok(multiple.saturating_add_signed(u.int_in_range(-2isize..=2)?).min(max))
}

/// `count` bytes of one pattern.
pub(crate) fn bytes(u: &mut Unstructured<'_>, count: usize) -> Result<Vec<u8>> {
    Ok(match u.int_in_range(0..=5)? {
        0 => vec![0; count],
        1 => vec![0xff; count],
        2 => (0..count).map(|i| i as u8).collect(),
        3 => {
            let mut bytes = vec![0; count];
            if count > 0 {
                bytes[u.choose_index(count)?] = 1 << u.int_in_range(0..=7)?;
            }
            bytes
        }
        _ => noise(u.arbitrary()?, count),
    })
}

/// Bytes without a pattern that a kernel could share: xorshift.
pub(crate) fn noise(seed: u64, count: usize) -> Vec<u8> {
    let mut state = seed ^ 0x9e37_79b9_7f4a_7c15;
    let mut next = || {
        state = if state == 0 { 1 } else { state };
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state >> 24) as u8
    };
    (0..count).map(|_| next()).collect()
}

/// Data at any alignment, between two fences that nobody may write on.
pub(crate) struct Placed {
    all: Vec<u8>,
    start: usize,
    length: usize,
}

const FENCE: usize = 96;
const FENCE_BYTE: u8 = 0xa5;

impl Placed {
    pub(crate) fn new(u: &mut Unstructured<'_>, data: &[u8]) -> Result<Self> {
        let start = FENCE + u.int_in_range(0..=63)?;
        let mut all = vec![FENCE_BYTE; start + data.len() + FENCE];
        all[start..start + data.len()].copy_from_slice(data);
        Ok(Self { all, start, length: data.len() })
    }

    pub(crate) fn get(&self) -> &[u8] {
        &self.all[self.start..self.start + self.length]
    }

    pub(crate) fn get_mut(&mut self) -> &mut [u8] {
        &mut self.all[self.start..self.start + self.length]
    }

    /// Nothing outside the data changed.
    pub(crate) fn assert_fenced(&self) {
        let (before, after) = (&self.all[..self.start], &self.all[self.start + self.length..]);
        assert!(before.iter().chain(after).all(|&byte| byte == FENCE_BYTE), "written outside of the data");
    }
}

/// A generator for signing: constant, or counting; a function of the case. A copy is a process that forked.
#[derive(Clone)]
pub(crate) enum Generator {
    Constant(u8),
    Counting(u64),
}

impl Generator {
    pub(crate) fn new(u: &mut Unstructured<'_>) -> Result<Self> {
        Ok(if u.ratio(1, 3)? { Self::Constant(u.arbitrary()?) } else { Self::Counting(u.arbitrary()?) })
    }
}

impl Random for Generator {
    fn fill(&mut self, out: &mut [u8]) -> Result<(), RandomError> {
        match self {
            Self::Constant(byte) => out.fill(*byte),
            Self::Counting(seed) => {
                *seed = seed.wrapping_add(1);
                out.copy_from_slice(&noise(*seed, out.len()));
            }
        }
        Ok(())
    }
}

/// Big-endian: the field's prime, the group's order, and the coefficient b (GB/T 32918.5).
pub(crate) const P: [u8; 32] = word(0xfffffffeffffffffffffffffffffffff, 0xffffffff00000000ffffffffffffffff);
pub(crate) const N: [u8; 32] = word(0xfffffffeffffffffffffffffffffffff, 0x7203df6b21c6052b53bbf40939d54123);

const fn word(high: u128, low: u128) -> [u8; 32] {
    let mut bytes = [0; 32];
    let mut i = 0;
    while i < 16 {
        bytes[i] = (high >> (120 - 8 * i)) as u8;
        bytes[16 + i] = (low >> (120 - 8 * i)) as u8;
        i += 1;
    }
    bytes
}

/// `a ± small`, modulo 2^256.
pub(crate) fn shift(a: &[u8; 32], small: i64) -> [u8; 32] {
    let mut out = *a;
    let mut carry = i128::from(small);
    for byte in out.iter_mut().rev() {
        let sum = i128::from(*byte) + carry;
        *byte = sum as u8;
        carry = sum >> 8;
    }
    out
}

/// Any 256 bits, edges favoured: next to 0, n, p, 2^256 and powers of two, limbs of 64 or 52 bits all ones or all zeros.
pub(crate) fn integer(u: &mut Unstructured<'_>) -> Result<[u8; 32]> {
    let beside = |u: &mut Unstructured<'_>| u.int_in_range(-40i64..=40);
    Ok(match u.int_in_range(0..=7)? {
        0 => shift(&[0; 32], beside(u)?),
        1 => shift(&N, beside(u)?),
        2 => shift(&P, beside(u)?),
        3 => {
            let mut power = [0; 32];
            let bit = u.int_in_range(0..=255usize)?;
            power[31 - bit / 8] = 1 << (bit % 8);
            shift(&power, beside(u)?)
        }
        4 => limbs(u, 64)?,
        5 => limbs(u, 52)?,
        6 => word(u128::from(u.arbitrary::<u64>()?), u.arbitrary()?),
        _ => u.arbitrary()?,
    })
}

/// Limbs of `width` bits, each all zeros, all ones, one, or the top bit alone.
fn limbs(u: &mut Unstructured<'_>, width: usize) -> Result<[u8; 32]> {
    let mut out = [0; 32];
    let mut kind = 0;
    for bit in 0..256 {
        if bit % width == 0 {
            kind = u.int_in_range(0..=3)?;
        }
        let set = match kind {
            0 => false,
            1 => true,
            2 => bit % width == 0,
            _ => bit % width == width - 1,
        };
        out[31 - bit / 8] |= u8::from(set) << (bit % 8);
    }
    Ok(out)
}
