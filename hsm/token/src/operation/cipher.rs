//! Block ciphers in ECB, CBC and GCM, in one step or many.
//!
//! GCM gathers its whole input: nothing of a message is given out before its tag was checked.

use cryptoki_sys::*;
use zeroize::Zeroizing;

use super::block::{BLOCK_BYTES as BLOCK, BlockKey, GcmKey, TAG_BYTES as TAG};
use super::{Parameter, key_secret};
use crate::error::{CkError, CkResult, refuse};
use crate::object::Object;
use crate::profile::{Algorithm, Padding};

/// Longest message of one GCM operation, which is held in memory.
const GCM_BYTES_MAX: usize = 64 << 20;

/// Which way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Direction {
    Encrypt,
    Decrypt,
}

enum Mode {
    Ecb(BlockKey),
    Cbc { key: BlockKey, chain: [u8; BLOCK], pad: bool },
    Gcm { key: GcmKey, nonce: [u8; 12], aad: Vec<u8> },
}

/// An active encryption or decryption.
pub(crate) struct Cipher {
    mode: Mode,
    direction: Direction,
    pending: Zeroizing<Vec<u8>>,
}

impl Cipher {
    /// `C_EncryptInit` and `C_DecryptInit`.
    pub(crate) fn begin(
        algorithm: Algorithm,
        parameter: Parameter<'_>,
        key: &Object,
        direction: Direction,
    ) -> CkResult<Self> {
        let usage = if direction == Direction::Encrypt { CKA_ENCRYPT } else { CKA_DECRYPT };
        let block = match algorithm {
            Algorithm::Ecb(block) | Algorithm::Cbc(block, _) | Algorithm::Gcm(block) => block,
            _ => return refuse(CKR_MECHANISM_INVALID),
        };
        let key = key_secret(key, usage, &[block.key_type()])?.as_slice();
        let wrong_parameter = |_| CkError(CKR_MECHANISM_PARAM_INVALID);
        let mode = match (algorithm, parameter) {
            (Algorithm::Gcm(_), Parameter::Gcm { iv, aad, tag_bits: 128 }) => {
                let nonce = iv.try_into().map_err(wrong_parameter)?;
                Mode::Gcm { key: GcmKey::new(block, key)?, nonce, aad: aad.to_vec() }
            }
            (Algorithm::Gcm(_), _) => return refuse(CKR_MECHANISM_PARAM_INVALID),
            (Algorithm::Cbc(_, padding), _) => {
                let chain = parameter.bytes()?.try_into().map_err(wrong_parameter)?;
                Mode::Cbc { key: BlockKey::new(block, key)?, chain, pad: padding == Padding::Padded }
            }
            _ => {
                parameter.none()?;
                Mode::Ecb(BlockKey::new(block, key)?)
            }
        };
        Ok(Self { mode, direction, pending: Zeroizing::new(Vec::new()) })
    }

    fn pads(&self) -> bool {
        matches!(self.mode, Mode::Cbc { pad: true, .. })
    }

    fn is_gcm(&self) -> bool {
        matches!(self.mode, Mode::Gcm { .. })
    }

    /// Bytes [`Cipher::update`] will give for `input` more bytes.
    pub(crate) fn update_bytes(&self, input: usize) -> usize {
        if self.is_gcm() {
            return 0;
        }
        let total = self.pending.len() + input;
        let held = usize::from(self.pads() && self.direction == Direction::Decrypt && total > 0);
        (total - held) / BLOCK * BLOCK
    }

    /// Bytes one [`Cipher::update`] of `input` bytes and [`Cipher::finish`] give together, at most.
    pub(crate) fn total_bytes_max(&self, input: usize) -> usize {
        let total = self.pending.len() + input;
        match (self.direction, &self.mode) {
            (Direction::Encrypt, Mode::Gcm { .. }) => total + TAG,
            (Direction::Decrypt, Mode::Gcm { .. }) => total.saturating_sub(TAG),
            (Direction::Encrypt, _) if self.pads() => total / BLOCK * BLOCK + BLOCK,
            _ => total,
        }
    }

    /// Take in data and give out the whole blocks that are ready.
    pub(crate) fn update(&mut self, data: &[u8]) -> CkResult<Zeroizing<Vec<u8>>> {
        if self.is_gcm() && self.pending.len() + data.len() > GCM_BYTES_MAX {
            return refuse(CKR_DATA_LEN_RANGE);
        }
        let ready = self.update_bytes(data.len());
        self.pending.extend_from_slice(data);
        let rest = Zeroizing::new(self.pending.split_off(ready));
        let mut out = std::mem::replace(&mut self.pending, rest);
        self.run(&mut out);
        Ok(out)
    }

    fn run(&mut self, data: &mut [u8]) {
        let (blocks, _) = data.as_chunks_mut::<BLOCK>();
        match (&mut self.mode, self.direction) {
            (Mode::Ecb(key), Direction::Encrypt) => key.encrypt_blocks(blocks),
            (Mode::Ecb(key), Direction::Decrypt) => key.decrypt_blocks(blocks),
            (Mode::Cbc { key, chain, .. }, Direction::Encrypt) => key.cbc_encrypt(chain, blocks),
            (Mode::Cbc { key, chain, .. }, Direction::Decrypt) => key.cbc_decrypt(chain, blocks),
            (Mode::Gcm { .. }, _) => {}
        }
    }

    /// What is left: padding, the held block, or all of a GCM message.
    pub(crate) fn finish(mut self) -> CkResult<Zeroizing<Vec<u8>>> {
        let mut last = std::mem::take(&mut self.pending);
        if let Mode::Gcm { key, nonce, aad } = &self.mode {
            return gcm_finish(key, nonce, aad, self.direction, last);
        }
        match (self.direction, self.pads()) {
            (Direction::Encrypt, true) => {
                let padding = BLOCK - last.len();
                last.resize(BLOCK, padding as u8);
                self.run(&mut last);
                Ok(last)
            }
            (Direction::Decrypt, true) if last.len() != BLOCK => refuse(CKR_ENCRYPTED_DATA_LEN_RANGE),
            (Direction::Decrypt, true) => {
                self.run(&mut last);
                unpad(last)
            }
            (_, false) if last.is_empty() => Ok(last),
            (Direction::Encrypt, false) => refuse(CKR_DATA_LEN_RANGE),
            (Direction::Decrypt, false) => refuse(CKR_ENCRYPTED_DATA_LEN_RANGE),
        }
    }
}

/// Remove PKCS#7 padding. One answer for every wrong padding.
fn unpad(mut block: Zeroizing<Vec<u8>>) -> CkResult<Zeroizing<Vec<u8>>> {
    let padding = usize::from(block[BLOCK - 1]);
    let sound = (1..=BLOCK).contains(&padding) && block[BLOCK - padding..].iter().all(|&b| usize::from(b) == padding);
    if !sound {
        return refuse(CKR_ENCRYPTED_DATA_INVALID);
    }
    block.truncate(BLOCK - padding);
    Ok(block)
}

fn gcm_finish(
    key: &GcmKey,
    nonce: &[u8; 12],
    aad: &[u8],
    direction: Direction,
    mut data: Zeroizing<Vec<u8>>,
) -> CkResult<Zeroizing<Vec<u8>>> {
    if direction == Direction::Encrypt {
        let tag = key.seal(nonce, aad, &mut data)?;
        data.extend_from_slice(&tag);
        return Ok(data);
    }
    let Some((_, &tag)) = data.split_last_chunk::<TAG>() else { return refuse(CKR_ENCRYPTED_DATA_LEN_RANGE) };
    let length = data.len() - TAG;
    data.truncate(length);
    key.open(nonce, aad, &mut data, &tag)?;
    Ok(data)
}
