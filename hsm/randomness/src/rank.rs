//! Matrix rank test (GM/T 0005-2021 5.10).

use crate::Sample;
use crate::runs::categories;

/// Rows and columns of a matrix.
const SIDE: usize = 32;
/// Shares of full rank, one less, and the rest.
const SHARES: [f64; 3] = [0.2888, 0.5776, 0.1336];

/// 5.10 over matrices of 32 by 32 bits.
pub(crate) fn matrix_rank(sample: &Sample) -> (f64, f64) {
    let mut counts = [0; SHARES.len()];
    let matrices = sample.words().chunks_exact(SIDE / 2).take(sample.bits() / (SIDE * SIDE));
    let total = matrices.len();
    for words in matrices {
        let mut rows = [0u32; SIDE];
        for (pair, word) in rows.chunks_mut(2).zip(words) {
            pair[0] = (word >> 32) as u32;
            pair[1] = *word as u32;
        }
        counts[(SIDE - rank(rows)).min(SHARES.len() - 1)] += 1;
    }
    categories(&counts, &SHARES, total)
}

/// By elimination: each row that is left takes its first column from all below it.
fn rank(mut rows: [u32; SIDE]) -> usize {
    let mut rank = 0;
    for row in 0..SIDE {
        let pivot = rows[row];
        if pivot == 0 {
            continue;
        }
        rank += 1;
        let column = pivot.leading_zeros();
        for below in &mut rows[row + 1..] {
            let has_column = *below >> (31 - column) & 1;
            *below ^= pivot & has_column.wrapping_neg();
        }
    }
    rank
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranks_of_known_matrices() {
        let identity: [u32; SIDE] = std::array::from_fn(|row| 1 << row);
        assert_eq!(rank(identity), SIDE);
        assert_eq!(rank([0; SIDE]), 0);
        assert_eq!(rank([0xDEAD_BEEF; SIDE]), 1);
        let mut dependent = identity;
        dependent[31] = dependent[0] ^ dependent[7] ^ dependent[30];
        assert_eq!(rank(dependent), SIDE - 1);
        let triangle: [u32; SIDE] = std::array::from_fn(|row| u32::MAX >> row);
        assert_eq!(rank(triangle), SIDE);
    }
}
