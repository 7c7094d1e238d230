//! Discrete Fourier test (GM/T 0005-2021 5.15): how many frequencies stand out.

use std::sync::Arc;

use libm::sqrt;
use realfft::num_complex::Complex64;
use realfft::{RealFftPlanner, RealToComplex};

use crate::Sample;
use crate::special::of_normal;

/// ln(1 / 0.05) to the digits of the standard.
const THRESHOLD: f64 = 2.995_732_274;

/// A transform for samples of one length, with its memory.
pub(crate) struct Spectrum {
    transform: Arc<dyn RealToComplex<f64>>,
    signal: Vec<f64>,
    lines: Vec<Complex64>,
    scratch: Vec<Complex64>,
}

impl Spectrum {
    pub(crate) fn new(bits: usize) -> Self {
        let transform = RealFftPlanner::new().plan_fft_forward(bits);
        let (signal, lines, scratch) =
            (transform.make_input_vec(), transform.make_output_vec(), transform.make_scratch_vec());
        Self { transform, signal, lines, scratch }
    }

    /// 5.15 over the lines 0 to n/2 − 1. The share of lines below the threshold has mean 0.95 and, as measured for such sequences, the variance of n / 3.8 of them.
    pub(crate) fn test(&mut self, sample: &Sample) -> (f64, f64) {
        let bits = sample.bits();
        for (values, word) in self.signal.chunks_mut(64).zip(sample.words()) {
            for (place, value) in values.iter_mut().enumerate() {
                *value = if word >> (63 - place) & 1 == 1 { 1.0 } else { -1.0 };
            }
        }
        let transformed = self.transform.process_with_scratch(&mut self.signal, &mut self.lines, &mut self.scratch);
        transformed.expect("every buffer was made for this transform");
        let limit = THRESHOLD * bits as f64;
        let below = self.lines[..bits / 2].iter().filter(|line| line.norm_sqr() < limit).count();
        let expected = 0.95 * bits as f64 / 2.0;
        of_normal((below as f64 - expected) / sqrt(0.95 * 0.05 * bits as f64 / 3.8))
    }
}
