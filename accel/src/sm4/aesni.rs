//! SM4 with AES-NI, for processors without GFNI: on 256-bit registers (AVX2), 32 blocks side by side, or on 128-bit ones, sixteen.
//!
//! AESENCLAST with a zero key is AES's S-box and ShiftRows. The state stays behind `A`, so that it goes into the S-box as it is; what
//! comes out passes through two affine maps, each a pair of shuffles that look up halves of bytes in a register: AES's map undone,
//! the map back, the byte part of `L` and `A` again. ShiftRows is undone by the shuffles that rotate. A round of one register is
//! eight shuffles and thirteen simple operations, and one AESENCLAST for 128 bits, where 256-bit registers are taken apart and put
//! together by two moves between halves. Tables are registers: no address, branch or timing depends on data.
#![allow(unsafe_code)]

use super::BLOCK_BYTES;
use super::schedule::Engine;
use crate::cpu::{AesNi, Avx2};
use on_256_bits::Wide;

/// Blocks that the 128-bit registers of one group hold.
const FEW_BLOCKS: usize = 4;

/// Few blocks on registers of 128 bits, whose rounds wait for no moves between halves, and more on those of 256 bits.
impl Engine for (Avx2, AesNi) {
    type Keys = [u32; 32];
    const NAME: &'static str = Wide::NAME;

    fn keys(entered: &[u32; 32]) -> [u32; 32] {
        *entered
    }

    fn crypt(self, keys: &[u32; 32], blocks: &mut [[u8; BLOCK_BYTES]]) {
        if blocks.len() <= FEW_BLOCKS { self.1.crypt(keys, blocks) } else { Wide(self).crypt(keys, blocks) }
    }

    fn crypt_masked(self, keys: &[u32; 32], blocks: &mut [[u8; BLOCK_BYTES]], masks: &[[u8; BLOCK_BYTES]]) {
        if blocks.len() <= FEW_BLOCKS {
            self.1.crypt_masked(keys, blocks, masks);
        } else {
            Wide(self).crypt_masked(keys, blocks, masks);
        }
    }

    fn add_stream(
        self,
        keys: &[u32; 32],
        counter: &[u8; BLOCK_BYTES],
        first: Option<&mut [u8; BLOCK_BYTES]>,
        data: &mut [u8],
    ) {
        if usize::from(first.is_some()) * BLOCK_BYTES + data.len() <= FEW_BLOCKS * BLOCK_BYTES {
            self.1.add_stream(keys, counter, first, data);
        } else {
            Wide(self).add_stream(keys, counter, first, data);
        }
    }
}

/// Makes `$token` an engine on the registers of `$width`; the calling module brings `substitute`.
macro_rules! sm4_by_aes {
    ($name:literal, $token:ty, $features:tt, $width:ident) => {
        use super::turn;
        use crate::sm4::matrix::{BOTH, ENTER, KEPT, LEAVE, MOVED, Nibbles, after_aes, nibbles};
        use core::arch::x86_64::*;
        use core::hint::black_box;

        crate::sm4::words::sm4_on_words!($name, $token, $features, $width);

        /// `A`, without its constant, which the round keys carry.
        #[target_feature(enable = $features)]
        #[inline]
        fn enter(x: Vector) -> Vector {
            map(halves(x, every_lane([0x0f; 16])), &Tables::new(const { nibbles(ENTER, 0) }))
        }

        #[target_feature(enable = $features)]
        #[inline]
        fn leave(x: Vector) -> Vector {
            map(halves(x, every_lane([0x0f; 16])), &Tables::new(const { nibbles(LEAVE, 0) }))
        }

        /// What a round needs beside its input.
        struct Constants {
            low_half: Vector,
            kept: Tables,
            moved: Tables,
            both: Tables,
            /// Orders of bytes that undo ShiftRows and turn every word by 0 to 3 bytes: to the left in the standard's order, to the right
            /// in memory's.
            turn: [Vector; 4],
        }

        #[target_feature(enable = $features)]
        #[inline]
        fn constants() -> Constants {
            Constants {
                low_half: every_lane([0x0f; 16]),
                kept: Tables::new(const { after_aes(KEPT) }),
                moved: Tables::new(const { after_aes(MOVED) }),
                both: Tables::new(const { after_aes(BOTH) }),
                turn: [
                    every_lane(const { turn(0) }),
                    every_lane(const { turn(1) }),
                    every_lane(const { turn(2) }),
                    every_lane(const { turn(3) }),
                ],
            }
        }

        /// `L(τ(input))` (F of GB/T 32907 6.1) behind `A`, in two parts to be added. `ALONE`, where waiting costs more than two shuffles, no
        /// part waits for the sum of two others.
        #[target_feature(enable = $features)]
        #[inline]
        fn transform<const ALONE: bool>(constants: &Constants, input: Vector) -> [Vector; 2] {
            // Opaque: each constant is read from memory where it is needed, and registers are left to the state.
            let constants = black_box(constants);
            let substituted = halves(substitute(input), constants.low_half);
            let kept = map(substituted, &constants.kept);
            let moved = map(substituted, &constants.moved);
            let both = if ALONE { map(substituted, &constants.both) } else { xor(kept, moved) };
            let [turn_0, turn_1, turn_2, turn_3] = constants.turn;
            [xor(shuffle(kept, turn_0), shuffle(moved, turn_1)), xor(shuffle(moved, turn_2), shuffle(both, turn_3))]
        }

        /// The lower and the upper half of every byte.
        #[target_feature(enable = $features)]
        #[inline]
        fn halves(x: Vector, low_half: Vector) -> [Vector; 2] {
            [and(x, low_half), and(upper_halves(x), low_half)]
        }

        /// An affine map on bytes, for shuffles.
        struct Tables {
            low: Vector,
            high: Vector,
        }

        impl Tables {
            #[target_feature(enable = $features)]
            #[inline]
            fn new(map: Nibbles) -> Self {
                Self { low: every_lane(map.low), high: every_lane(map.high) }
            }
        }

        #[target_feature(enable = $features)]
        #[inline]
        fn map([low, high]: [Vector; 2], tables: &Tables) -> Vector {
            xor(shuffle(tables.low, low), shuffle(tables.high, high))
        }
    };
}

mod on_256_bits {
    use crate::cpu::{AesNi, Avx2};

    /// The engine on these registers alone.
    #[derive(Clone, Copy)]
    pub(super) struct Wide(pub(super) (Avx2, AesNi));

    sm4_by_aes!("aesni", Wide, "avx2,aes", avx2);

    /// AES's S-box on every byte, then ShiftRows in each lane.
    #[target_feature(enable = "avx2,aes")]
    #[inline]
    fn substitute(x: Vector) -> Vector {
        let zero = _mm_setzero_si128();
        let low = _mm_aesenclast_si128(_mm256_castsi256_si128(x), zero);
        let high = _mm_aesenclast_si128(_mm256_extracti128_si256::<1>(x), zero);
        _mm256_inserti128_si256::<1>(_mm256_castsi128_si256(low), high)
    }
}

mod on_128_bits {
    sm4_by_aes!("aesni128", crate::cpu::AesNi, "ssse3,sse4.1,aes", sse);

    /// AES's S-box on every byte, then ShiftRows.
    #[target_feature(enable = "aes")]
    #[inline]
    fn substitute(x: Vector) -> Vector {
        _mm_aesenclast_si128(x, zero())
    }
}

const fn turn(bytes: u8) -> [u8; 16] {
    let mut order = [0; 16];
    let mut i = 0;
    while i < 16 {
        // ShiftRows took byte `row` of column `c` to column `c - row`.
        let (column, row) = (i as u8 / 4, (i as u8 + bytes) % 4);
        order[i] = (column + 4 - row) % 4 * 4 + row;
        i += 1;
    }
    order
}
