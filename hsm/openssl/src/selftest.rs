//! Is it right? Every offered operation against accel, which has passed its own known answers, before it is used for anything.
//!
//! Lengths lie around every boundary of the algorithms and reach to what is measured later; a lie that starts at some length above is
//! not found here. Data are public patterns.

use bixi_accel::workload::pattern;
use bixi_accel::{Random, RandomError, sm2, sm3};
use bixi_hsm::{Cause, DeviceError};

use crate::accelerator::Accelerator;
use crate::measure::BYTES;
use crate::{Operation, ours};

const KEY: [u8; 16] = *b"\x01\x23\x45\x67\x89\xab\xcd\xef\xfe\xdc\xba\x98\x76\x54\x32\x10";
/// The last 32 bits of the counter wrap after two blocks, and carry.
const FIRST: [u8; 16] = *b"\0\x01\x02\x03\x04\x05\x06\x07\x08\x09\x0a\x0b\xff\xff\xff\xfe";
/// Around the ends of a block and of padding, in bytes.
const LENGTHS: [usize; 14] = [0, 1, 3, 15, 16, 17, 55, 56, 63, 64, 65, 127, 240, 1000];
/// Messages of one call.
const MANY: usize = 33;

/// Compares every answer of `operation` with ours.
///
/// # Errors
/// [`Cause::BadAnswer`] for an answer that differs; what the accelerator said when it gave none.
pub fn run(accelerator: &Accelerator, operation: Operation) -> Result<(), DeviceError> {
    match operation {
        Operation::Sm3 => sm3(accelerator),
        Operation::Sm2Verify => sm2(accelerator),
        cipher => sm4(accelerator, cipher),
    }
}

fn wrong(operation: Operation, input: &str) -> DeviceError {
    let message = format!("{}: a wrong answer for {input}", operation.name());
    DeviceError::new("self-test", Cause::BadAnswer, message)
        .with_advice("do not use this accelerator; report it to its maker, with its version and the processor's")
}

fn lengths() -> impl Iterator<Item = usize> {
    // One byte off the measured ones, as well: multiples of every block are easy to get right.
    LENGTHS.into_iter().chain(BYTES.into_iter().flat_map(|bytes| [bytes, bytes + 1]))
}

fn sm3(accelerator: &Accelerator) -> Result<(), DeviceError> {
    for bytes in lengths() {
        let (message, mut answer) = (pattern(bytes), [[0; 32]]);
        accelerator.sm3_many(&[&message], &mut answer)?;
        if answer[0] != sm3::digest(&message) {
            return Err(wrong(Operation::Sm3, &format!("{bytes} bytes")));
        }
    }
    let message = pattern(MANY * MANY);
    let messages: Vec<&[u8]> = (0..MANY).map(|index| &message[index..MANY * index]).skip(1).collect();
    let (mut answers, mut expected) = (vec![[0; 32]; messages.len()], vec![[0; 32]; messages.len()]);
    accelerator.sm3_many(&messages, &mut answers)?;
    ours::sm3_many(&messages, &mut expected);
    if answers == expected { Ok(()) } else { Err(wrong(Operation::Sm3, "many messages")) }
}

fn sm4(accelerator: &Accelerator, operation: Operation) -> Result<(), DeviceError> {
    let whole = operation != Operation::Sm4Ctr;
    for bytes in lengths().filter(|bytes| !whole || bytes.is_multiple_of(16)) {
        let input = pattern(bytes);
        let (mut answer, mut expected) = (vec![0; bytes], vec![0; bytes]);
        accelerator.sm4(operation, &KEY, &FIRST, &input, &mut answer)?;
        ours::sm4(operation, &KEY, &FIRST, &input, &mut expected);
        if answer != expected {
            return Err(wrong(operation, &format!("{bytes} bytes")));
        }
    }
    Ok(())
}

/// A signature to check, of a key that everybody may know.
pub(crate) struct Signed {
    pub(crate) public: [u8; 64],
    pub(crate) digest: [u8; 32],
    pub(crate) signature: sm2::Signature,
}

impl Signed {
    /// The `number`th.
    pub(crate) fn make(number: u8) -> Self {
        let key = sm2::PrivateKey::from_bytes(&sm3::digest(&[number])).expect("a digest below the order of the curve");
        let digest = sm3::digest(&[number, number]);
        let signature = sm2::sign_digest(&key, &digest, &mut Public(number)).expect("a source that does not fail");
        Self { public: key.public_key().to_bytes(), digest, signature }
    }
}

/// Nonces of keys that guard nothing.
struct Public(u8);

impl Random for Public {
    fn fill(&mut self, out: &mut [u8]) -> Result<(), RandomError> {
        for part in out.chunks_mut(32) {
            self.0 = self.0.wrapping_add(1);
            part.copy_from_slice(&sm3::digest(&[self.0, b'n'])[..part.len()]);
        }
        Ok(())
    }
}

fn sm2(accelerator: &Accelerator) -> Result<(), DeviceError> {
    for number in 0..4 {
        let Signed { public, digest, signature } = Signed::make(number);
        if !accelerator.sm2_verify(&public, &digest, &signature.to_der())? {
            return Err(wrong(Operation::Sm2Verify, "a valid signature"));
        }
        let changed = |at: usize| {
            let mut bytes = signature.0;
            bytes[at] ^= 1;
            sm2::Signature(bytes).to_der()
        };
        let mut other = digest;
        other[31] ^= 1;
        let forgeries =
            [(digest, changed(31)), (digest, changed(63)), (digest, changed(16)), (other, signature.to_der())];
        for (digest, signature) in forgeries {
            if accelerator.sm2_verify(&public, &digest, &signature)? {
                return Err(wrong(Operation::Sm2Verify, "a forged signature"));
            }
        }
        malformed(accelerator, &public, &digest, &signature)?;
    }
    Ok(())
}

/// Out of range, cut short, off the curve: refused by verdict or by error, never taken.
fn malformed(
    accelerator: &Accelerator,
    public: &[u8; 64],
    digest: &[u8; 32],
    signature: &sm2::Signature,
) -> Result<(), DeviceError> {
    let with = |part: std::ops::Range<usize>, value: u8| {
        let mut bytes = signature.0;
        bytes[part].fill(value);
        sm2::Signature(bytes).to_der()
    };
    let der = signature.to_der();
    let mut off_the_curve = *public;
    off_the_curve[63] ^= 1;
    let cases = [
        (public, with(0..32, 0)),
        (public, with(32..64, 0)),
        (public, with(0..32, 0xFF)),
        (public, with(32..64, 0xFF)),
        (public, der[..der.len() - 1].to_vec()),
        (public, Vec::new()),
        (&off_the_curve, der),
    ];
    let taken = cases.iter().any(|(public, der)| matches!(accelerator.sm2_verify(public, digest, der), Ok(true)));
    if taken { Err(wrong(Operation::Sm2Verify, "a malformed signature or key")) } else { Ok(()) }
}
