//! The 8×8 bit matrices of the vector kernels, computed from the two that join SM4's S-box to the field of AES.
//!
//! With `φ` the isomorphism that sends the root of `x^8+x^7+x^6+x^5+x^4+x^2+1` to `β` in the field of AES:
//! `S(x) = T(φ⁻¹(inv(φ(T(x) ⊕ c)))) ⊕ c`.
//!
//! A matrix is as GF2P8AFFINEQB reads it: byte `7 - i` of the number is the row of output bit `i`.

/// `A = φ ∘ T`, and `φ(c)`.
pub(super) const ENTER: i64 = 0x4c28_7db9_1a22_505d;
pub(super) const ENTER_CONSTANT: i32 = 0x3e;
/// The affine map that AES puts behind the inversion (FIPS 197 5.1.1).
const AES: i64 = 0xf1e3_c78f_1f3e_7cf8_u64 as i64;
const AES_CONSTANT: u8 = 0x63;
/// `T ∘ φ⁻¹`, and `c`.
const OUTPUT: i64 = 0xf3ab_34a9_74a6_b589_u64 as i64;
const OUTPUT_CONSTANT: u8 = 0xd3;

/// From behind `A` back to SM4's bytes.
pub(super) const LEAVE: i64 = inverse(ENTER);

/// A matrix and a constant for GF2P8AFFINEINVQB.
#[derive(Clone, Copy)]
pub(super) struct Affine {
    pub(super) matrix: i64,
    pub(super) constant: i32,
}

/// What `L` leaves in a byte's place: `x ⊕ (x ≪ 2)`.
pub(super) const KEPT: Affine = after_inversion(from_columns(&{
    let mut columns = [0; 8];
    let mut i = 0;
    while i < 8 {
        columns[i] = (1 << i) ^ (1u8 << i << 2);
        i += 1;
    }
    columns
}));

/// What `L` moves by one and by two bytes: `x ⋘ 2`.
pub(super) const MOVED: Affine = after_inversion(from_columns(&{
    let mut columns = [0; 8];
    let mut i = 0;
    while i < 8 {
        columns[i] = (1u8 << i).rotate_left(2);
        i += 1;
    }
    columns
}));

/// What `L` moves by three bytes: both together.
#[cfg(any(target_arch = "x86_64", test))]
pub(super) const BOTH: Affine = Affine { matrix: KEPT.matrix ^ MOVED.matrix, constant: KEPT.constant ^ MOVED.constant };

/// An affine map as two tables, for the lower and the upper half of a byte: the images add up.
pub(super) struct Nibbles {
    pub(super) low: [u8; 16],
    pub(super) high: [u8; 16],
}

/// `matrix`, with `constant`.
pub(super) const fn nibbles(matrix: i64, constant: u8) -> Nibbles {
    let (mut low, mut high) = ([0; 16], [0; 16]);
    let mut i = 0;
    while i < 16 {
        low[i] = apply(matrix, i as u8) ^ constant;
        high[i] = apply(matrix, (i as u8) << 4);
        i += 1;
    }
    Nibbles { low, high }
}

/// What `part` does after an inversion, for what AES's S-box gives.
pub(super) const fn after_aes(part: Affine) -> Nibbles {
    let matrix = product(part.matrix, inverse(AES));
    nibbles(matrix, part.constant as u8 ^ apply(matrix, AES_CONSTANT))
}

/// `A ∘ step ∘` the way out of the field of AES.
const fn after_inversion(step: i64) -> Affine {
    let matrix = product(ENTER, product(step, OUTPUT));
    Affine { matrix, constant: apply(ENTER, apply(step, OUTPUT_CONSTANT)) as i32 }
}

/// `A`, with its constant, of every byte of a round key; in constant time.
pub(super) fn enter(word: u32) -> u32 {
    const COLUMNS: [u8; 8] = columns(ENTER);
    (0..8).fold(u32::from_ne_bytes([ENTER_CONSTANT as u8; 4]), |image, bit| {
        let set = (word >> bit & 0x0101_0101) * 0xff;
        image ^ (set & u32::from_ne_bytes([COLUMNS[bit]; 4]))
    })
}

/// The images of the bits, bit 0 first.
const fn columns(matrix: i64) -> [u8; 8] {
    let mut columns = [0; 8];
    let mut bit = 0;
    while bit < 8 {
        columns[bit] = apply(matrix, 1 << bit);
        bit += 1;
    }
    columns
}

const fn apply(matrix: i64, byte: u8) -> u8 {
    let mut out = 0;
    let mut bit = 0;
    while bit < 8 {
        let row = (matrix >> (8 * (7 - bit))) as u8;
        out |= (((row & byte).count_ones() & 1) as u8) << bit;
        bit += 1;
    }
    out
}

/// The matrix that sends bit `i` to `columns[i]`.
const fn from_columns(columns: &[u8; 8]) -> i64 {
    let mut matrix = 0;
    let mut bit = 0;
    while bit < 64 {
        let (row, column) = (bit / 8, bit % 8);
        let entry = (columns[column] >> row) as i64 & 1;
        matrix |= entry << (8 * (7 - row) + column);
        bit += 1;
    }
    matrix
}

/// First `b`, then `a`.
const fn product(a: i64, b: i64) -> i64 {
    let mut columns = [0; 8];
    let mut i = 0;
    while i < 8 {
        columns[i] = apply(a, apply(b, 1 << i));
        i += 1;
    }
    from_columns(&columns)
}

const fn inverse(matrix: i64) -> i64 {
    let mut columns = [0; 8];
    let mut byte = 0;
    while byte < 256 {
        let image = apply(matrix, byte as u8);
        if image.is_power_of_two() {
            columns[image.trailing_zeros() as usize] = byte as u8;
        }
        byte += 1;
    }
    from_columns(&columns)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_way_back_is_the_inverse() {
        for byte in 0..=255 {
            assert_eq!(apply(LEAVE, apply(ENTER, byte)), byte);
        }
    }

    #[test]
    fn round_keys_enter_byte_by_byte() {
        for byte in 0..=255 {
            let word = u32::from_ne_bytes([byte, !byte, 0, byte.rotate_left(3)]);
            assert_eq!(enter(word).to_ne_bytes(), word.to_ne_bytes().map(|x| apply(ENTER, x) ^ ENTER_CONSTANT as u8));
        }
    }

    #[test]
    fn nibble_tables_are_their_maps() {
        let map = |tables: &Nibbles, x: u8| tables.low[usize::from(x & 15)] ^ tables.high[usize::from(x >> 4)];
        let entered = nibbles(ENTER, ENTER_CONSTANT as u8);
        for part in [KEPT, MOVED] {
            let tables = after_aes(part);
            for x in 0..=255 {
                assert_eq!(map(&entered, x), apply(ENTER, x) ^ ENTER_CONSTANT as u8);
                let aes = apply(AES, x) ^ AES_CONSTANT;
                assert_eq!(map(&tables, aes), apply(part.matrix, x) ^ part.constant as u8);
            }
        }
    }

    #[test]
    fn the_byte_parts_make_up_the_linear_map() {
        let out = |part: &Affine, step: fn(u8) -> u8, x: u8| {
            // The matrix after inversion, with the inversion left out, is A ∘ step ∘ OUTPUT.
            assert_eq!(apply(part.matrix, x), apply(ENTER, step(apply(OUTPUT, x))));
            assert_eq!(part.constant as u8, apply(ENTER, step(OUTPUT_CONSTANT)));
        };
        for x in 0..=255 {
            out(&KEPT, |x| x ^ (x << 2), x);
            out(&MOVED, |x| x.rotate_left(2), x);
            out(&BOTH, |x| x ^ (x >> 6), x);
        }
        for b in [1u32, 0x8000_0000, 0x0123_4567, 0xdead_beef, u32::MAX] {
            let expected = b ^ b.rotate_left(2) ^ b.rotate_left(10) ^ b.rotate_left(18) ^ b.rotate_left(24);
            let map = |step: fn(u8) -> u8| u32::from_be_bytes(b.to_be_bytes().map(step));
            let moved = map(|x| x.rotate_left(2));
            let sum = map(|x| x ^ (x << 2))
                ^ moved.rotate_left(8)
                ^ moved.rotate_left(16)
                ^ map(|x| x ^ (x >> 6)).rotate_left(24);
            assert_eq!(sum, expected);
        }
    }
}
