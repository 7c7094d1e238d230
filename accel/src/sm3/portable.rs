//! The compression function in portable Rust, unrolled four steps at a time so that no register is moved.

use super::BLOCK_BYTES;

/// `T_j <<< (j mod 32)` of GB/T 32905 4.2 and 5.3.3.
pub(super) const T: [u32; 64] = {
    let mut table = [0; 64];
    let mut j = 0;
    while j < 64 {
        let t: u32 = if j < 16 { 0x79cc4519 } else { 0x7a879d8a };
        table[j] = t.rotate_left(j as u32 % 32);
        j += 1;
    }
    table
};

/// Message expansion, GB/T 32905 5.3.2 a), when compiled.
#[cfg(target_arch = "x86_64")]
pub(super) const fn expand(block: &[u32; 16]) -> [u32; 68] {
    let mut w = [0; 68];
    let mut j = 0;
    while j < 68 {
        w[j] = if j < 16 {
            block[j]
        } else {
            let x = w[j - 16] ^ w[j - 9] ^ w[j - 3].rotate_left(15);
            x ^ x.rotate_left(15) ^ x.rotate_left(23) ^ w[j - 13].rotate_left(7) ^ w[j - 6]
        };
        j += 1;
    }
    w
}

#[inline(always)]
pub(super) fn p0(x: u32) -> u32 {
    x ^ x.rotate_left(9) ^ x.rotate_left(17)
}

#[inline(always)]
fn p1(x: u32) -> u32 {
    x ^ x.rotate_left(15) ^ x.rotate_left(23)
}

/// One step of CF, GB/T 32905 5.3.3; the roles of the eight registers are renamed by the caller.
macro_rules! step {
    ($j:expr, $ff:expr, $gg:expr, $a:ident $b:ident $c:ident $d:ident $e:ident $f:ident $g:ident $h:ident, $w:expr, $w4:expr) => {
        let a12 = $a.rotate_left(12);
        let ss1 = a12.wrapping_add($e).wrapping_add(T[$j]).rotate_left(7);
        let ss2 = ss1 ^ a12;
        let tt1 = $ff($a, $b, $c).wrapping_add($d).wrapping_add(ss2).wrapping_add($w ^ $w4);
        let tt2 = $gg($e, $f, $g).wrapping_add($h).wrapping_add($w).wrapping_add(ss1);
        $b = $b.rotate_left(9);
        $d = tt1;
        $f = $f.rotate_left(19);
        $h = p0(tt2);
    };
}

/// Four steps; after them the registers hold their own names again.
macro_rules! four_steps {
    ($j:expr, $ff:expr, $gg:expr, $r:ident, $w:ident) => {
        let [mut a, mut b, mut c, mut d, mut e, mut f, mut g, mut h] = $r;
        step!($j, $ff, $gg, a b c d e f g h, $w[$j % 16], $w[($j + 4) % 16]);
        step!($j + 1, $ff, $gg, d a b c h e f g, $w[($j + 1) % 16], $w[($j + 5) % 16]);
        step!($j + 2, $ff, $gg, c d a b g h e f, $w[($j + 2) % 16], $w[($j + 6) % 16]);
        step!($j + 3, $ff, $gg, b c d a f g h e, $w[($j + 3) % 16], $w[($j + 7) % 16]);
        $r = [a, b, c, d, e, f, g, h];
    };
}

/// Message expansion of words `j..j+4` in place, GB/T 32905 5.3.2 a), in a ring of sixteen words.
macro_rules! expand_four {
    ($j:expr, $w:ident) => {
        expand!($j, $w);
        expand!($j + 1, $w);
        expand!($j + 2, $w);
        expand!($j + 3, $w);
    };
}
macro_rules! expand {
    ($j:expr, $w:ident) => {
        $w[$j % 16] = p1($w[$j % 16] ^ $w[($j + 7) % 16] ^ $w[($j + 13) % 16].rotate_left(15))
            ^ $w[($j + 3) % 16].rotate_left(7)
            ^ $w[($j + 10) % 16];
    };
}

#[inline(always)]
fn parity(x: u32, y: u32, z: u32) -> u32 {
    x ^ y ^ z
}

#[inline(always)]
fn majority(x: u32, y: u32, z: u32) -> u32 {
    (x & y) | ((x | y) & z)
}

#[inline(always)]
fn choose(x: u32, y: u32, z: u32) -> u32 {
    ((y ^ z) & x) ^ z
}

/// Folds whole blocks into the state.
pub(super) fn compress(state: &mut [u32; 8], blocks: &[[u8; BLOCK_BYTES]]) {
    compress_inline(state, blocks);
}

/// [`compress`], to be compiled for the instruction set of its caller.
#[inline(always)]
pub(super) fn compress_inline(state: &mut [u32; 8], blocks: &[[u8; BLOCK_BYTES]]) {
    for block in blocks {
        let mut w: [u32; 16] = core::array::from_fn(|i| {
            u32::from_be_bytes([block[4 * i], block[4 * i + 1], block[4 * i + 2], block[4 * i + 3]])
        });
        let mut r = *state;
        four_steps!(0, parity, parity, r, w);
        four_steps!(4, parity, parity, r, w);
        four_steps!(8, parity, parity, r, w);
        expand_four!(0, w);
        four_steps!(12, parity, parity, r, w);
        expand_four!(4, w);
        four_steps!(16, majority, choose, r, w);
        expand_four!(8, w);
        four_steps!(20, majority, choose, r, w);
        expand_four!(12, w);
        four_steps!(24, majority, choose, r, w);
        expand_four!(0, w);
        four_steps!(28, majority, choose, r, w);
        expand_four!(4, w);
        four_steps!(32, majority, choose, r, w);
        expand_four!(8, w);
        four_steps!(36, majority, choose, r, w);
        expand_four!(12, w);
        four_steps!(40, majority, choose, r, w);
        expand_four!(0, w);
        four_steps!(44, majority, choose, r, w);
        expand_four!(4, w);
        four_steps!(48, majority, choose, r, w);
        expand_four!(8, w);
        four_steps!(52, majority, choose, r, w);
        expand_four!(12, w);
        four_steps!(56, majority, choose, r, w);
        expand_four!(0, w);
        four_steps!(60, majority, choose, r, w);
        for (s, v) in state.iter_mut().zip(r) {
            *s ^= v;
        }
    }
}
