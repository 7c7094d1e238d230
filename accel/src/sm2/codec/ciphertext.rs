//! Ciphertexts as bytes: the concatenations of GB/T 32918.4 and of its predecessor, and `SM2Cipher` of GM/T 0009-2012 7.2.

use super::{CodecError, der};
use crate::sm2::PublicKey;
use crate::sm2::encryption::{Ciphertext, PLAINTEXT_BYTES_MAX};

const C3_BYTES: usize = 32;
/// `04 ‖ X ‖ Y`.
const POINT_BYTES: usize = 65;
/// `02 ‖ X` or `03 ‖ X`.
const COMPRESSED_BYTES: usize = 33;
/// Headers of the sequence and of its four elements, and the zeros before two integers.
const DER_OVERHEAD_BYTES_MAX: usize = 5 * der::HEADER_BYTES_MAX + 2;

/// The order of a ciphertext's parts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Layout {
    /// Point, digest, text: GB/T 32918.4-2016.
    C1C3C2,
    /// Point, text, digest: as before the standard (GM/T 0003.4 drafts), still written by old software.
    C1C2C3,
}

impl Ciphertext {
    /// The concatenation, the point as `04 ‖ X ‖ Y`.
    pub fn to_bytes(&self, layout: Layout) -> Vec<u8> {
        let point = self.c1.to_sec1();
        let [first, second] = match layout {
            Layout::C1C3C2 => [&self.c3[..], &self.c2],
            Layout::C1C2C3 => [&self.c2, &self.c3[..]],
        };
        [&point, first, second].concat()
    }

    /// Decodes the concatenation; the point may be compressed.
    pub fn from_bytes(bytes: &[u8], layout: Layout) -> Result<Self, CodecError> {
        let point_bytes = if matches!(bytes, [2 | 3, ..]) { COMPRESSED_BYTES } else { POINT_BYTES };
        let c2_bytes = bytes.len().checked_sub(point_bytes + C3_BYTES).ok_or(CodecError::Length)?;
        check_text_length(c2_bytes)?;
        let (point, rest) = bytes.split_at(point_bytes);
        let (c3, c2) = match layout {
            Layout::C1C3C2 => rest.split_at(C3_BYTES),
            Layout::C1C2C3 => {
                let (c2, c3) = rest.split_at(c2_bytes);
                (c3, c2)
            }
        };
        Ok(Self { c1: PublicKey::from_sec1(point)?, c3: digest(c3)?, c2: c2.to_vec() })
    }

    /// `SEQUENCE { INTEGER X, INTEGER Y, OCTET STRING C3, OCTET STRING C2 }`.
    pub fn to_der(&self) -> Vec<u8> {
        let point = self.c1.to_bytes();
        let mut body = Vec::with_capacity(point.len() + C3_BYTES + self.c2.len() + DER_OVERHEAD_BYTES_MAX);
        for coordinate in point.as_chunks::<32>().0 {
            der::push_integer(&mut body, coordinate);
        }
        der::push_octets(&mut body, &self.c3);
        der::push_octets(&mut body, &self.c2);
        der::sequence(body)
    }

    /// Decodes [`Self::to_der`]'s form and no other.
    pub fn from_der(bytes: &[u8]) -> Result<Self, CodecError> {
        if bytes.len() > 64 + C3_BYTES + PLAINTEXT_BYTES_MAX + DER_OVERHEAD_BYTES_MAX {
            return Err(CodecError::Length);
        }
        let mut reader = der::Reader::whole(bytes, der::SEQUENCE)?;
        let mut point = [0; 64];
        for coordinate in point.as_chunks_mut::<32>().0 {
            *coordinate = reader.integer()?;
        }
        let c3 = digest(reader.element(der::OCTET_STRING)?)?;
        let c2 = reader.element(der::OCTET_STRING)?;
        reader.end()?;
        check_text_length(c2.len())?;
        Ok(Self { c1: PublicKey::from_bytes(&point)?, c3, c2: c2.to_vec() })
    }
}

/// No ciphertext has an empty text: its key stream would be "all zero", which GB/T 32918.4 6.1 A5 forbids.
fn check_text_length(bytes: usize) -> Result<(), CodecError> {
    if (1..=PLAINTEXT_BYTES_MAX).contains(&bytes) { Ok(()) } else { Err(CodecError::Length) }
}

fn digest(bytes: &[u8]) -> Result<[u8; C3_BYTES], CodecError> {
    bytes.try_into().map_err(|_| CodecError::Malformed)
}
