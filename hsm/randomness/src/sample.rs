//! Bits of a generator, packed into words: the first bit is the most significant one of the first word.

/// One sample of a generator's output.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sample {
    words: Vec<u64>,
    bits: usize,
}

impl Sample {
    /// Every bit of `bytes`, which must not be empty.
    #[must_use]
    pub fn new(bytes: &[u8]) -> Self {
        assert!(!bytes.is_empty(), "a sample has bits");
        let words = bytes.chunks(8).map(|chunk| {
            let mut word = [0; 8];
            word[..chunk.len()].copy_from_slice(chunk);
            u64::from_be_bytes(word)
        });
        Self { words: words.collect(), bits: bytes.len() * 8 }
    }

    /// The first `bits` of `words`; what follows is cleared.
    pub(crate) fn from_words(mut words: Vec<u64>, bits: usize) -> Self {
        words.truncate(bits.div_ceil(64));
        let spare = words.len() * 64 - bits;
        if let Some(last) = words.last_mut() {
            *last = *last >> spare << spare;
        }
        Self { words, bits }
    }

    /// How many bits.
    #[must_use]
    pub fn bits(&self) -> usize {
        self.bits
    }

    pub(crate) fn words(&self) -> &[u64] {
        &self.words
    }

    pub(crate) fn bit(&self, index: usize) -> bool {
        self.words[index / 64] >> (63 - index % 64) & 1 == 1
    }

    /// Up to 57 bits from `index` on, as a number, the first bit the most significant.
    pub(crate) fn pattern(&self, index: usize, width: usize) -> usize {
        debug_assert!(width <= 57 && index + width <= self.bits);
        let (word, offset) = (index / 64, index % 64);
        let mut window = self.words[word] << offset;
        if offset + width > 64 {
            window |= self.words[word + 1] >> (64 - offset);
        }
        (window >> (64 - width)) as usize
    }

    /// Ones among all bits.
    pub(crate) fn ones(&self) -> usize {
        self.words.iter().map(|word| word.count_ones() as usize).sum()
    }

    /// Ones from `from` up to, not including, `to`.
    pub(crate) fn ones_within(&self, from: usize, to: usize) -> usize {
        let (first, last) = (from / 64, to / 64);
        let head = u64::MAX >> (from % 64);
        let tail = if to.is_multiple_of(64) { 0 } else { u64::MAX << (64 - to % 64) };
        if first == last {
            return (self.words[first] & head & tail).count_ones() as usize;
        }
        let inner: u32 = self.words[first + 1..last].iter().map(|word| word.count_ones()).sum();
        let tail_ones = if tail == 0 { 0 } else { (self.words[last] & tail).count_ones() };
        ((self.words[first] & head).count_ones() + inner + tail_ones) as usize
    }

    /// The sum over ±1 instead of 1 and 0.
    pub(crate) fn balance(&self) -> f64 {
        2.0 * self.ones() as f64 - self.bits as f64
    }

    /// x(i) ⊕ x(i + distance), `distance` bits shorter.
    pub(crate) fn against_shifted(&self, distance: usize) -> Self {
        debug_assert!((1..64).contains(&distance) && distance < self.bits);
        let next = self.words[1..].iter().copied().chain([0]);
        let words = self.words.iter().zip(next);
        let words = words.map(|(word, next)| word ^ (word << distance | next >> (64 - distance))).collect();
        Self::from_words(words, self.bits - distance)
    }

    /// Calls `visit` with the bit and length of each run from `from` up to `to`; runs are cut at both ends.
    pub(crate) fn for_each_run(&self, from: usize, to: usize, mut visit: impl FnMut(bool, usize)) {
        let mut index = from;
        while index < to {
            let bit = self.bit(index);
            let begin = index;
            index = self.end_of_run(index, to, bit);
            visit(bit, index - begin);
        }
    }

    /// The first index from `index` on whose bit is another one, or `to`.
    fn end_of_run(&self, mut index: usize, to: usize, bit: bool) -> usize {
        while index < to {
            let word = self.words[index / 64];
            let ahead = if bit { !word } else { word } << (index % 64);
            if ahead != 0 {
                return (index + ahead.leading_zeros() as usize).min(to);
            }
            index = (index / 64 + 1) * 64;
        }
        to
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ragged() -> (Sample, Vec<bool>) {
        let bytes: Vec<u8> = (0..37u32).map(|index| (index * 151 % 251) as u8 ^ (index * 3) as u8).collect();
        let bits = bytes.iter().flat_map(|byte| (0..8).map(move |place| byte >> (7 - place) & 1 == 1)).collect();
        (Sample::new(&bytes), bits)
    }

    #[test]
    fn bits_patterns_and_counts_are_those_of_the_bytes() {
        let (sample, bits) = ragged();
        assert_eq!(sample.bits(), bits.len());
        for from in 0..bits.len() {
            assert_eq!(sample.bit(from), bits[from]);
            for to in from..bits.len() {
                let ones = bits[from..to].iter().filter(|bit| **bit).count();
                assert_eq!(sample.ones_within(from, to), ones, "{from}..{to}");
            }
            for width in [1, 7, 8, 13, 57].into_iter().filter(|width| from + width <= bits.len()) {
                let number = bits[from..from + width].iter().fold(0, |number, bit| number * 2 + usize::from(*bit));
                assert_eq!(sample.pattern(from, width), number, "{width} bits from {from}");
            }
        }
    }

    #[test]
    fn shifting_compares_each_bit_with_a_later_one() {
        let (sample, bits) = ragged();
        for distance in [1, 2, 8, 16, 32, 63] {
            let shifted = sample.against_shifted(distance);
            assert_eq!(shifted.bits(), bits.len() - distance);
            assert!((0..shifted.bits()).all(|index| shifted.bit(index) == (bits[index] != bits[index + distance])));
            assert_eq!(shifted.ones(), (0..shifted.bits()).filter(|index| shifted.bit(*index)).count());
        }
    }

    #[test]
    fn runs_cover_what_was_asked_for() {
        let (sample, bits) = ragged();
        for (from, to) in [(0, bits.len()), (3, 70), (64, 128), (100, 101)] {
            let mut seen = Vec::new();
            sample.for_each_run(from, to, |bit, len| {
                assert!(seen.last() != Some(&bit), "two runs of one bit touch");
                seen.extend(std::iter::repeat_n(bit, len));
            });
            assert_eq!(seen, bits[from..to]);
        }
    }
}
