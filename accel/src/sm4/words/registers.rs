//! A width of registers, and what is done to registers of words.

/// Defines the types of registers of `$group` words, and what is done to them, from the instructions named.
macro_rules! registers {
    (
        $vector:ty, $group:literal, $features:tt,
        zero $zero:ident, every word $every_word:ident, xor $xor:ident, and $and:ident, add $add:ident, shuffle $shuffle:ident,
        shift right $shift_right:ident, every lane $every_lane:path
    ) => {
        pub(super) type Vector = $vector;

        /// Blocks of one group of registers.
        pub(super) const GROUP: usize = $group;
        /// Bytes of one group.
        pub(super) const GROUP_BYTES: usize = GROUP * super::BLOCK_BYTES;
        /// Groups computed side by side. Their state is all the registers there are, so some of it waits in the stack; that costs less
        /// than what three groups leave idle.
        pub(super) const WIDE: usize = 4;
        /// Bytes of one kernel call.
        pub(super) const WIDE_BYTES: usize = WIDE * GROUP_BYTES;

        /// The four registers of a group.
        pub(super) type State = [Vector; 4];

        pub(super) use core::arch::x86_64::{
            $and as and, $every_word as every_word, $shuffle as shuffle, $xor as xor, $zero as zero,
        };

        /// The words that count, of a group's blocks from number `next` on.
        #[target_feature(enable = $features)]
        #[inline]
        pub(super) fn counting(next: u32) -> Vector {
            /// Place `4·lane + word` of a register comes from block `lanes·word + lane` after the transposition.
            const OFFSETS: [u32; GROUP] = {
                let mut offsets = [0; GROUP];
                let mut place = 0;
                while place < GROUP {
                    offsets[place] = (place % 4 * (GROUP / 4) + place / 4) as u32;
                    place += 1;
                }
                offsets
            };
            // SAFETY: as many words are a vector.
            let offsets = unsafe { core::mem::transmute::<[u32; GROUP], Vector>(OFFSETS) };
            let swap = every_lane([3, 2, 1, 0, 7, 6, 5, 4, 11, 10, 9, 8, 15, 14, 13, 12]);
            shuffle($add(every_word(next as i32), offsets), swap)
        }

        /// The last comes last: it is the one a round waits for.
        #[target_feature(enable = $features)]
        #[inline]
        pub(super) fn sum_of_four(a: Vector, b: Vector, c: Vector, last: Vector) -> Vector {
            xor(xor(xor(a, b), c), last)
        }

        #[target_feature(enable = $features)]
        #[inline]
        pub(super) fn sum(mut a: State, b: State) -> State {
            for (a, b) in a.iter_mut().zip(b) {
                *a = xor(*a, b);
            }
            a
        }

        /// The upper half of every byte, with bits of its neighbour above it.
        #[target_feature(enable = $features)]
        #[inline]
        pub(super) fn upper_halves(x: Vector) -> Vector {
            $shift_right::<4>(x)
        }

        /// One group of `bytes`.
        #[target_feature(enable = $features)]
        #[inline]
        pub(super) fn load(bytes: &[u8], group: usize) -> State {
            let (groups, _) = bytes.as_chunks::<GROUP_BYTES>();
            // SAFETY: as many bytes are four vectors.
            unsafe { core::mem::transmute::<[u8; GROUP_BYTES], State>(groups[group]) }
        }

        /// Inverse of [`load`].
        #[target_feature(enable = $features)]
        #[inline]
        pub(super) fn store(bytes: &mut [u8], group: usize, state: State) {
            let (groups, _) = bytes.as_chunks_mut::<GROUP_BYTES>();
            // SAFETY: four vectors are as many bytes.
            groups[group] = unsafe { core::mem::transmute::<State, [u8; GROUP_BYTES]>(state) };
        }

        /// Every lane holds `bytes`.
        #[target_feature(enable = $features)]
        #[inline]
        pub(super) fn every_lane(bytes: [u8; 16]) -> Vector {
            // SAFETY: any sixteen bytes are a vector.
            $every_lane(unsafe { core::mem::transmute::<[u8; 16], __m128i>(bytes) })
        }
    };
}

pub(in crate::sm4) use registers;
