//! Message expansion and compression of SM3 on vectors, one message per lane, in groups of vectors side by side.
//!
//! [`sm3_expansion`] and [`sm3_compression`] write what does not depend on the instruction set, [`sm3_two_groups`] the whole kernel of
//! those that have two groups and no rotation; a kernel brings the few operations they name. Macros, because a function compiled for one set of instructions cannot be inlined into one compiled for
//! fewer, which is what a trait's method would have to be.
#![allow(unsafe_code)]

use super::wipe;
use core::mem::MaybeUninit;

/// Words of the expanded message (GB/T 32905 5.3.2).
pub(super) const WORDS: usize = 68;

/// Expanded messages of `G` vectors of lanes: row `j` is `W_j`.
pub(super) type Expanded<V, const G: usize> = [[V; G]; WORDS];

/// Room for the expanded messages of `MAX` vectors, or of fewer. Only what is used is initialised, and wiped when dropped: few
/// messages shall not pay for the room of many.
#[repr(align(64))]
pub(super) struct Room<V: Copy, const MAX: usize> {
    rows: [[MaybeUninit<V>; MAX]; WORDS],
    /// Vectors at the beginning of `rows` that are initialised.
    ready: usize,
    zero: V,
}

impl<V: Copy, const MAX: usize> Room<V, MAX> {
    #[inline(always)]
    pub(super) fn new(zero: V) -> Self {
        Self { rows: [[MaybeUninit::uninit(); MAX]; WORDS], ready: 0, zero }
    }

    pub(super) fn expanded<const G: usize>(&mut self) -> &mut Expanded<V, G> {
        let used = &mut self.rows.as_flattened_mut()[..G * WORDS];
        if self.ready < used.len() {
            used[self.ready..].fill(MaybeUninit::new(self.zero));
            self.ready = used.len();
        }
        // SAFETY: exactly as many vectors, all of them initialised.
        unsafe { &mut *used.as_mut_ptr().cast() }
    }
}

impl<V: Copy, const MAX: usize> Drop for Room<V, MAX> {
    fn drop(&mut self) {
        wipe(&mut self.rows.as_flattened_mut()[..self.ready], MaybeUninit::new(self.zero));
    }
}

/// Defines `expand` for groups of vectors of type `$vector` with `$features`, from `rotate`, `xor3` and `p1`.
macro_rules! sm3_expansion {
    ($features:tt, $vector:ty) => {
        /// GB/T 32905 5.3.2 a).
        #[target_feature(enable = $features)]
        fn expand<const G: usize>(w: &mut Expanded<$vector, G>) {
            // W_j needs W_{j-3} soonest: the last three rows stay in registers.
            let mut last = [w[13], w[14], w[15]];
            for i in 0..13 {
                let j = 4 * i;
                let w0 = next_row(&w[j], &w[j + 7], &last[0], &w[j + 3], &w[j + 10]);
                let w1 = next_row(&w[j + 1], &w[j + 8], &last[1], &w[j + 4], &w[j + 11]);
                let w2 = next_row(&w[j + 2], &w[j + 9], &last[2], &w[j + 5], &w[j + 12]);
                let w3 = next_row(&w[j + 3], &w[j + 10], &w0, &w[j + 6], &w[j + 13]);
                (w[j + 16], w[j + 17], w[j + 18], w[j + 19]) = (w0, w1, w2, w3);
                last = [w1, w2, w3];
            }
        }

        /// `P1(W_{j-16} ⊕ W_{j-9} ⊕ (W_{j-3} <<< 15)) ⊕ (W_{j-13} <<< 7) ⊕ W_{j-6}`.
        #[target_feature(enable = $features)]
        #[inline]
        fn next_row<const G: usize>(
            w16: &[$vector; G],
            w9: &[$vector; G],
            w3: &[$vector; G],
            w13: &[$vector; G],
            w6: &[$vector; G],
        ) -> [$vector; G] {
            let mut row = *w16;
            for (group, word) in row.iter_mut().enumerate() {
                let x = xor3(*word, w9[group], rotate::<15, 17>(w3[group]));
                *word = xor3(p1(x), rotate::<7, 25>(w13[group]), w6[group]);
            }
            row
        }
    };
}

/// Defines `compress`, from `rotate`, `add`, `xor`, `xor3`, `splat`, `majority`, `choose` and `p0`.
macro_rules! sm3_compression {
    ($features:tt, $vector:ty) => {
        /// One step of CF, GB/T 32905 5.3.3; the roles of the eight registers are renamed by the caller.
        macro_rules! step {
            ($ff:ident $gg:ident $state:ident
             [$a:literal $b:literal $c:literal $d:literal $e:literal $f:literal $g:literal $h:literal]
             $t:expr, $w:expr, $w4:expr) => {
                let t = splat($t);
                for ((r, w), w4) in $state.iter_mut().zip($w).zip($w4) {
                    let a12 = rotate::<12, 20>(r[$a]);
                    let ss1 = rotate::<7, 25>(add(a12, add(r[$e], t)));
                    let ss2 = xor(ss1, a12);
                    let d_w = add(r[$d], xor(w, w4));
                    let h_w = add(r[$h], w);
                    let tt1 = add(add(d_w, $ff(r[$a], r[$b], r[$c])), ss2);
                    let tt2 = add(add(h_w, $gg(r[$e], r[$f], r[$g])), ss1);
                    r[$b] = rotate::<9, 23>(r[$b]);
                    r[$d] = tt1;
                    r[$f] = rotate::<19, 13>(r[$f]);
                    r[$h] = p0(tt2);
                }
            };
        }

        /// CF, GB/T 32905 5.3.3.
        #[target_feature(enable = $features)]
        fn compress<const G: usize>(state: &mut [[$vector; 8]; G], w: &Expanded<$vector, G>) {
            let (w, _) = w.as_chunks::<4>();
            let (t, _) = portable::T.as_chunks::<4>();
            let mut r = *state;
            macro_rules! quads {
                ($quads:expr, $ff:ident $gg:ident) => {
                    for ((now, next), t) in w.iter().zip(&w[1..]).zip(t).skip($quads.start).take($quads.len()) {
                        step!($ff $gg r[0 1 2 3 4 5 6 7] t[0], now[0], next[0]);
                        step!($ff $gg r[3 0 1 2 7 4 5 6] t[1], now[1], next[1]);
                        step!($ff $gg r[2 3 0 1 6 7 4 5] t[2], now[2], next[2]);
                        step!($ff $gg r[1 2 3 0 5 6 7 4] t[3], now[3], next[3]);
                    }
                };
            }
            quads!((0..4), xor3 xor3);
            quads!((4..16), majority choose);
            for (state, r) in state.iter_mut().zip(r) {
                for (word, r) in state.iter_mut().zip(r) {
                    *word = xor(*word, r);
                }
            }
        }
    };
}

/// Defines the kernel `Lanes`, two groups of `GROUP` lanes behind `$token`, with its `expand` and `compress`. From `load` (words
/// `GROUP · part` and on of a block), `transpose`, `vector`, `words`, `rotate`, `rotate_by_byte`, `add`, `xor`, `splat`, `majority`
/// and `choose`.
macro_rules! sm3_two_groups {
    ($features:tt, $vector:ty, $token:ty) => {
        sm3_expansion!($features, $vector);
        sm3_compression!($features, $vector);

        /// Groups of the kernel.
        const GROUPS: usize = 2;
        /// Lanes of the kernel.
        pub(super) const LANES: usize = GROUPS * GROUP;

        /// The kernel with room for its expanded messages.
        pub(super) struct Lanes {
            _token: $token,
            room: Room<$vector, GROUPS>,
        }

        // SAFETY: a vector of integers may have any bits, all zero among them.
        const ZERO: $vector = unsafe { core::mem::zeroed() };

        impl Lanes {
            #[inline(always)]
            pub(super) fn new(token: $token) -> Self {
                Self { _token: token, room: Room::new(ZERO) }
            }
        }

        impl Kernel<LANES> for Lanes {
            fn blocks(&mut self, states: &mut States<LANES>, data: &[&[Block]; LANES], count: usize, live: usize) {
                assert!(data.iter().all(|blocks| blocks.len() >= count), "every lane has {count} blocks");
                // SAFETY: `_token` exists only where its instructions were detected.
                unsafe {
                    if live <= GROUP {
                        blocks::<1>(self.room.expanded(), states, data, count);
                    } else {
                        blocks::<GROUPS>(self.room.expanded(), states, data, count);
                    }
                }
            }
        }

        #[target_feature(enable = $features)]
        fn blocks<const G: usize>(
            w: &mut Expanded<$vector, G>,
            states: &mut States<LANES>,
            data: &[&[Block]; LANES],
            count: usize,
        ) {
            let mut state = [[ZERO; 8]; G];
            for (group, state) in state.iter_mut().enumerate() {
                for (word, row) in state.iter_mut().zip(&states.0) {
                    *word = vector(row.as_chunks::<GROUP>().0[group]);
                }
            }
            for block in 0..count {
                for (group, data) in data.as_chunks::<GROUP>().0.iter().take(G).enumerate() {
                    for part in 0..16 / GROUP {
                        let mut x = [ZERO; GROUP];
                        for (x, blocks) in x.iter_mut().zip(data) {
                            *x = load(&blocks[block], part);
                        }
                        for (row, word) in w[GROUP * part..].iter_mut().zip(transpose(x)) {
                            row[group] = word;
                        }
                    }
                }
                expand(w);
                compress(&mut state, w);
            }
            for (group, state) in state.iter().enumerate() {
                for (word, row) in state.iter().zip(&mut states.0) {
                    row.as_chunks_mut().0[group] = words(*word);
                }
            }
        }

        #[target_feature(enable = $features)]
        #[inline]
        fn xor3(x: $vector, y: $vector, z: $vector) -> $vector {
            xor(xor(x, y), z)
        }

        /// `P0` turns by 9 and by 17: what the second turn has more is a byte.
        #[target_feature(enable = $features)]
        #[inline]
        fn p0(x: $vector) -> $vector {
            xor(x, rotate::<9, 23>(xor(x, rotate_by_byte(x))))
        }

        /// `P1` turns by 15 and by 23.
        #[target_feature(enable = $features)]
        #[inline]
        fn p1(x: $vector) -> $vector {
            xor(x, rotate::<15, 17>(xor(x, rotate_by_byte(x))))
        }
    };
}

pub(super) use {sm3_compression, sm3_expansion, sm3_two_groups};
