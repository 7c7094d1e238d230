//! LtHash's expansion ([`super::super::lthash`]): sixteen indices of one seed per register, three seeds side by side.
//!
//! Message expansion is linear over XOR, and the 64 messages of a seed differ in one word, the index. So `W_j` is the seed's
//! part, expanded for many seeds at once and broadcast, XOR the index's part, a constant: one instruction instead of seven,
//! and no transposition. The index enters as `W_8`, which step 4 is the first to use (in `W'_4`): steps 0 to 3 are done once per
//! seed, again for many seeds at once.
//!
//! Sums are kept in the order the lanes have, and brought into the format's order once at the end.

use super::super::lthash::{INDICES, LANES as SUM_LANES};
use super::super::rounds::WORDS;
use super::super::{IV, portable};
use super::*;

/// Registers that hold all indices of a seed.
const QUARTERS: usize = INDICES / GROUP;
/// Seeds expanded at once.
const SEEDS: usize = GROUPS * GROUP;
/// The word of a message that holds the index; the seed comes before it.
const INDEX_WORD: usize = 8;
/// Quads of steps no index reaches.
const SHARED_QUADS: usize = 1;
/// Seeds side by side.
const G: usize = GROUPS;

/// `W_j` or `W'_j` for all four `j` of a quad and for `N` lanes.
type Quad<const N: usize> = [[u32; N]; 4];

/// What index `16q + l` adds to the words of a message: lane `l` of quarter `q`.
#[repr(align(64))]
struct IndexPart {
    words: [[Quad<GROUP>; QUADS]; QUARTERS],
    mixed: [[Quad<GROUP>; QUADS]; QUARTERS],
}

static INDEX_PART: IndexPart = {
    let mut part = IndexPart { words: [[[[0; 16]; 4]; QUADS]; QUARTERS], mixed: [[[[0; 16]; 4]; QUADS]; QUARTERS] };
    let mut index = 0;
    while index < INDICES {
        let mut block = [0; 16];
        block[INDEX_WORD] = (index as u32).swap_bytes();
        let words = portable::expand(&block);
        let (quarter, lane) = (index / GROUP, index % GROUP);
        let mut j = 0;
        while j < 4 * QUADS {
            part.words[quarter][j / 4][j % 4][lane] = words[j];
            part.mixed[quarter][j / 4][j % 4][lane] = words[j] ^ words[j + 4];
            j += 1;
        }
        index += 1;
    }
    part
};

/// What a seed adds to the words of its messages, and the registers after the shared steps.
#[repr(align(64))]
struct SeedPart {
    words: [Quad<SEEDS>; QUADS],
    mixed: [Quad<SEEDS>; QUADS],
    states: [[u32; SEEDS]; 8],
}

/// [`super::super::lthash::update`] with AVX-512.
pub(in crate::sm3) fn update(_token: Int512, sum: &mut [u16; SUM_LANES], removed: &[[u8; 32]], added: &[[u8; 32]]) {
    let mut room = Room::<__m512i, GROUPS>::new(ZERO);
    let mut part =
        SeedPart { words: [[[0; SEEDS]; 4]; QUADS], mixed: [[[0; SEEDS]; 4]; QUADS], states: [[0; SEEDS]; 8] };
    // SAFETY: the token exists only where the features were detected.
    unsafe {
        let mut sums = [[_mm512_setzero_si512(); 8]; QUARTERS];
        for seeds in removed.chunks(SEEDS) {
            expand_seeds(room.expanded(), seeds, &mut part);
            fold::<true>(&mut sums, &part, seeds.len());
        }
        for seeds in added.chunks(SEEDS) {
            expand_seeds(room.expanded(), seeds, &mut part);
            fold::<false>(&mut sums, &part, seeds.len());
        }
        add_to(sum, sums);
    }
}

#[target_feature(enable = "avx512f,avx512bw")]
fn expand_seeds(w: &mut Expanded<__m512i, G>, seeds: &[[u8; 32]], part: &mut SeedPart) {
    *w = [[_mm512_setzero_si512(); G]; WORDS];
    for (g, seeds) in seeds.chunks(GROUP).enumerate() {
        let mut x = [_mm512_setzero_si512(); GROUP];
        for (x, seed) in x.iter_mut().zip(seeds) {
            // SAFETY: a seed has 32 bytes; the load needs no alignment.
            let seed = unsafe { _mm256_loadu_si256(seed.as_ptr().cast()) };
            *x = transpose::swap_bytes(_mm512_zextsi256_si512(seed));
        }
        put_words(w, g, transpose::square(x));
    }
    // The index, word 8, is left out; then the padding of a message of 36 bytes.
    w[INDEX_WORD + 1] = [_mm512_set1_epi32(i32::MIN); G];
    w[15] = [_mm512_set1_epi32(36 * 8); G];
    expand(w);
    let mut state = [[_mm512_setzero_si512(); G]; 8];
    for (state, word) in state.iter_mut().zip(IV) {
        *state = [_mm512_set1_epi32(word as i32); G];
    }
    steps(&mut state, w, 0, SHARED_QUADS);
    for j in 0..4 * QUADS {
        let (quad, k) = (j / 4, j % 4);
        let (words, mixed) = (part.words[quad][k].as_chunks_mut().0, part.mixed[quad][k].as_chunks_mut().0);
        for ((words, mixed), (now, next)) in words.iter_mut().zip(mixed).zip(w[j].iter().zip(&w[j + 4])) {
            store_words(words, *now);
            store_words(mixed, _mm512_xor_si512(*now, *next));
        }
    }
    for (row, state) in part.states.iter_mut().zip(&state) {
        for (words, state) in row.as_chunks_mut().0.iter_mut().zip(state) {
            store_words(words, *state);
        }
    }
}

/// Takes the expansions of `count` seeds out of `sums`, or adds them.
#[target_feature(enable = "avx512f,avx512bw")]
fn fold<const REMOVE: bool>(sums: &mut [[__m512i; 8]; QUARTERS], part: &SeedPart, count: usize) {
    for (quarter, sum) in sums.iter_mut().enumerate() {
        for trio in 0..count.div_ceil(G) {
            let state = digests_of(part, quarter, trio);
            for g in 0..G.min(count - trio * G) {
                for (sum, word) in sum.iter_mut().zip(&state) {
                    let lanes = transpose::swap_bytes(word[g]);
                    *sum = if REMOVE { _mm512_sub_epi16(*sum, lanes) } else { _mm512_add_epi16(*sum, lanes) };
                }
            }
        }
    }
}

/// The digest words of one quarter of the indices, for the seeds `G * trio..`.
#[target_feature(enable = "avx512f,avx512bw")]
#[inline]
fn digests_of(part: &SeedPart, quarter: usize, trio: usize) -> [[__m512i; G]; 8] {
    let trio = trio % (SEEDS / G);
    let mut r = [[_mm512_setzero_si512(); G]; 8];
    for (r, words) in r.iter_mut().zip(&part.states) {
        let words: &[[u32; G]] = words.as_chunks().0;
        for (r, word) in r.iter_mut().zip(words[trio]) {
            *r = _mm512_set1_epi32(word as i32);
        }
    }
    let (index_words, index_mixed) = (&INDEX_PART.words[quarter], &INDEX_PART.mixed[quarter]);
    let (t, _) = portable::T.as_chunks::<4>();
    macro_rules! quads {
        ($quads:expr, $ff:ident $gg:ident) => {
            for quad in $quads {
                let t = &t[quad];
                macro_rules! word {
                    ($k:literal, $i:ident) => {{
                        let seed_part: &[[u32; G]] = part.words[quad][$k].as_chunks().0;
                        let seed_part = _mm512_set1_epi32(seed_part[trio][$i] as i32);
                        _mm512_xor_si512(seed_part, load_words(&index_words[quad][$k]))
                    }};
                }
                macro_rules! mixed {
                    ($k:literal, $i:ident) => {{
                        let seed_part: &[[u32; G]] = part.mixed[quad][$k].as_chunks().0;
                        let seed_part = _mm512_set1_epi32(seed_part[trio][$i] as i32);
                        _mm512_xor_si512(seed_part, load_words(&index_mixed[quad][$k]))
                    }};
                }
                four_steps!($ff $gg r t word mixed);
            }
        };
    }
    quads!(SHARED_QUADS..PARITY_QUADS, XOR3 XOR3);
    quads!(PARITY_QUADS..QUADS, MAJORITY CHOOSE);
    for (r, iv) in r.iter_mut().zip(IV) {
        for r in r {
            *r = _mm512_xor_si512(*r, _mm512_set1_epi32(iv as i32));
        }
    }
    r
}

/// Adds lanes in the kernel's order to lanes in the format's.
#[target_feature(enable = "avx512f,avx512bw")]
fn add_to(sum: &mut [u16; SUM_LANES], sums: [[__m512i; 8]; QUARTERS]) {
    let (of_index, _) = sum.as_chunks_mut::<16>();
    for (sum, quarter) in of_index.chunks_exact_mut(GROUP).zip(sums) {
        for (sum, lanes) in sum.iter_mut().zip(transpose::to_lanes(quarter)) {
            // SAFETY: sixteen lanes of 16 bits are 32 bytes; neither access needs alignment.
            unsafe {
                let before = _mm256_loadu_si256(sum.as_ptr().cast());
                _mm256_storeu_si256(sum.as_mut_ptr().cast(), _mm256_add_epi16(before, lanes));
            }
        }
    }
}
