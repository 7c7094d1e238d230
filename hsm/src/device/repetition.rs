//! The continuous test of a device's random bytes: a generator that gives what it gave before has failed.
//!
//! Two neighbouring blocks of 32 bytes within an answer must differ, and an answer must not begin with the sixteen bytes that the one
//! before began with. A sound generator repeats itself with a chance of 2^-128 an answer; one that is stuck, or that a library answers
//! for from a buffer it filled once, does so at the next call. Of the answer before only a hash is kept.

use std::sync::{Arc, Mutex, PoisonError};

use bixi_accel::sm3;

use super::{Cause, Decorator, DeviceError, KeyDevice};

/// What is compared within an answer.
const BLOCK_BYTES: usize = 32;
/// What is compared between answers; shorter ones are not, because equal ones are to be expected.
const BEGINNING_BYTES: usize = 16;

/// A device whose random answers are watched for repetition.
pub struct Unrepeated {
    device: Arc<dyn KeyDevice>,
    /// SM3 of the beginning of the answer before.
    before: Mutex<Option<[u8; 32]>>,
}

impl Unrepeated {
    /// Watches `device`.
    pub fn new(device: Arc<dyn KeyDevice>) -> Self {
        Self { device, before: Mutex::new(None) }
    }
}

impl Decorator for Unrepeated {
    type Inner = dyn KeyDevice;

    fn inner(&self) -> &Self::Inner {
        &*self.device
    }

    fn around<T>(
        &self,
        _: &'static str,
        call: impl FnOnce(&Self::Inner) -> Result<T, DeviceError>,
    ) -> Result<T, DeviceError> {
        call(&*self.device)
    }

    fn drawn(&self, random: &[u8]) -> Result<(), DeviceError> {
        let blocks = || random.chunks_exact(BLOCK_BYTES);
        if blocks().zip(blocks().skip(1)).any(|(block, next)| block == next) {
            return Err(repeated("one answer holds the same 32 bytes twice in a row"));
        }
        let Some(beginning) = random.get(..BEGINNING_BYTES) else { return Ok(()) };
        let beginning = sm3::digest(beginning);
        let before = self.before.lock().unwrap_or_else(PoisonError::into_inner).replace(beginning);
        if before == Some(beginning) {
            return Err(repeated("two answers in a row begin with the same 16 bytes"));
        }
        Ok(())
    }
}

fn repeated(message: &str) -> DeviceError {
    DeviceError::new("random", Cause::BadAnswer, message)
        .with_advice("stop using the device: its random bit generator has failed; keys it made lately may be known")
}

#[cfg(test)]
mod tests {
    use std::collections::VecDeque;

    use super::super::{Attestation, DeviceInfo, KeyInfo, KeySpec, PRF_BYTES};
    use super::*;
    use crate::soft::SoftDevice;
    use crate::uri::KeyRef;

    /// A device that gives the answers it was told.
    struct Scripted(SoftDevice, Mutex<VecDeque<Vec<u8>>>);

    impl KeyDevice for Scripted {
        fn info(&self) -> DeviceInfo {
            self.0.info()
        }
        fn list(&self) -> Result<Vec<KeyInfo>, DeviceError> {
            self.0.list()
        }
        fn generate(&self, spec: &KeySpec) -> Result<KeyRef, DeviceError> {
            self.0.generate(spec)
        }
        fn public_key(&self, key: &KeyRef) -> Result<[u8; 64], DeviceError> {
            self.0.public_key(key)
        }
        fn sign_digest(&self, key: &KeyRef, digest: &[u8; 32]) -> Result<[u8; 64], DeviceError> {
            self.0.sign_digest(key, digest)
        }
        fn prf(&self, key: &KeyRef, input: &[u8], out: &mut [u8; PRF_BYTES]) -> Result<(), DeviceError> {
            self.0.prf(key, input, out)
        }
        fn random(&self, out: &mut [u8]) -> Result<(), DeviceError> {
            out.copy_from_slice(&self.1.lock().unwrap().pop_front().expect("an answer for each call"));
            Ok(())
        }
        fn attest(&self, key: &KeyRef) -> Result<Attestation, DeviceError> {
            self.0.attest(key)
        }
        fn health(&self) -> Result<(), DeviceError> {
            self.0.health()
        }
    }

    /// How each answer ends; one that is refused must leave nothing behind.
    fn ends(answers: &[Vec<u8>]) -> Vec<Result<(), Cause>> {
        let script = Mutex::new(answers.iter().cloned().collect());
        let device = Unrepeated::new(Arc::new(Scripted(SoftDevice::new("test"), script)));
        let draw = |answer: &Vec<u8>| {
            let mut out = vec![0xEE; answer.len()];
            let end = device.random(&mut out).map_err(|error| error.cause);
            assert!(end.is_ok() || out.iter().all(|byte| *byte == 0), "refused bytes are not given out");
            end
        };
        answers.iter().map(draw).collect()
    }

    fn bytes(from: u8, len: usize) -> Vec<u8> {
        (0..len).map(|place| from.wrapping_add(place as u8).wrapping_mul(37)).collect()
    }

    #[test]
    fn a_block_twice_in_a_row_is_refused() {
        let twice = [bytes(1, 64), bytes(9, 32), bytes(9, 32), bytes(3, 40)].concat();
        assert_eq!(ends(&[bytes(5, 96), twice, bytes(7, 96)]), [Ok(()), Err(Cause::BadAnswer), Ok(())]);
    }

    #[test]
    fn an_answer_that_begins_like_the_one_before_is_refused_whatever_its_length() {
        let stuck = [bytes(1, 16), bytes(1, 48), bytes(1, 100)];
        assert_eq!(ends(&stuck), [Ok(()), Err(Cause::BadAnswer), Err(Cause::BadAnswer)]);
    }

    #[test]
    fn short_answers_and_later_repetitions_pass() {
        let answers = [vec![7], vec![7], vec![], bytes(1, 15), bytes(1, 15), bytes(1, 32), bytes(2, 32), bytes(1, 32)];
        assert!(ends(&answers).iter().all(Result::is_ok));
    }

    #[test]
    fn a_sound_device_conforms_behind_it() {
        crate::conformance::run(&Unrepeated::new(Arc::new(SoftDevice::new("test"))), "watched").assert_passed();
    }
}
