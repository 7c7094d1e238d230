//! Block ciphers of 16-byte blocks by one interface, and what is built on them: CBC, GCM and key wrap. SM4 is accel's, AES
//! RustCrypto's.

use aes_gcm::aead::AeadInOut;
use aes_gcm::aead::consts::U12;
use aes_gcm::aes::cipher::{BlockCipherDecrypt, BlockCipherEncrypt};
use aes_gcm::aes::{Aes128, Aes192, Aes256};
use aes_gcm::{AesGcm, KeyInit};
use bixi_accel::sm4::{self, cbc, gcm};
use cryptoki_sys::*;
use zeroize::Zeroizing;

use crate::error::{CkError, CkResult, refuse};
use crate::profile::Block;

/// Bytes of a block.
pub(crate) const BLOCK_BYTES: usize = 16;
/// Bytes of a GCM tag.
pub(crate) const TAG_BYTES: usize = 16;
/// A64's default initial value (RFC 3394 2.2.3.1).
const WRAP_INITIAL: [u8; 8] = [0xA6; 8];

const WRONG_SIZE: CkError = CkError(CKR_KEY_SIZE_RANGE);

/// An expanded key. Each wipes itself when it is dropped.
pub(crate) enum BlockKey {
    Sm4(Box<sm4::Key>),
    Aes128(Box<Aes128>),
    Aes192(Box<Aes192>),
    Aes256(Box<Aes256>),
}

impl BlockKey {
    pub(crate) fn new(block: Block, key: &[u8]) -> CkResult<Self> {
        Ok(match (block, key.len()) {
            (Block::Sm4, 16) => Self::Sm4(Box::new(sm4::Key::new(key.try_into().map_err(|_| WRONG_SIZE)?))),
            (Block::Aes, 16) => Self::Aes128(Box::new(Aes128::new_from_slice(key).map_err(|_| WRONG_SIZE)?)),
            (Block::Aes, 24) => Self::Aes192(Box::new(Aes192::new_from_slice(key).map_err(|_| WRONG_SIZE)?)),
            (Block::Aes, 32) => Self::Aes256(Box::new(Aes256::new_from_slice(key).map_err(|_| WRONG_SIZE)?)),
            _ => return Err(WRONG_SIZE),
        })
    }

    pub(crate) fn encrypt_blocks(&self, blocks: &mut [[u8; BLOCK_BYTES]]) {
        match self {
            Self::Sm4(key) => key.encrypt_blocks(blocks),
            Self::Aes128(key) => blocks.iter_mut().for_each(|block| key.encrypt_block(block.into())),
            Self::Aes192(key) => blocks.iter_mut().for_each(|block| key.encrypt_block(block.into())),
            Self::Aes256(key) => blocks.iter_mut().for_each(|block| key.encrypt_block(block.into())),
        }
    }

    pub(crate) fn decrypt_blocks(&self, blocks: &mut [[u8; BLOCK_BYTES]]) {
        match self {
            Self::Sm4(key) => key.decrypt_blocks(blocks),
            Self::Aes128(key) => blocks.iter_mut().for_each(|block| key.decrypt_block(block.into())),
            Self::Aes192(key) => blocks.iter_mut().for_each(|block| key.decrypt_block(block.into())),
            Self::Aes256(key) => blocks.iter_mut().for_each(|block| key.decrypt_block(block.into())),
        }
    }

    /// CBC from `chain`, which becomes the last block of ciphertext.
    pub(crate) fn cbc_encrypt(&self, chain: &mut [u8; BLOCK_BYTES], blocks: &mut [[u8; BLOCK_BYTES]]) {
        if let Self::Sm4(key) = self {
            return cbc::encrypt(key, chain, blocks);
        }
        for block in blocks {
            xor(block, chain);
            self.encrypt_blocks(std::slice::from_mut(block));
            *chain = *block;
        }
    }

    /// The inverse of [`BlockKey::cbc_encrypt`].
    pub(crate) fn cbc_decrypt(&self, chain: &mut [u8; BLOCK_BYTES], blocks: &mut [[u8; BLOCK_BYTES]]) {
        if let Self::Sm4(key) = self {
            return cbc::decrypt(key, chain, blocks);
        }
        for block in blocks {
            let ciphertext = *block;
            self.decrypt_blocks(std::slice::from_mut(block));
            xor(block, chain);
            *chain = ciphertext;
        }
    }

    /// Key wrap (RFC 3394 2.2.1) of whole halves of blocks, two at least.
    pub(crate) fn wrap(&self, key: &[u8]) -> CkResult<Vec<u8>> {
        let (halves, []) = key.as_chunks::<8>() else { return refuse(CKR_KEY_SIZE_RANGE) };
        if halves.len() < 2 {
            return refuse(CKR_KEY_SIZE_RANGE);
        }
        let (mut integrity, mut halves) = (WRAP_INITIAL, Zeroizing::new(halves.to_vec()));
        for step in 0..6 * halves.len() as u64 {
            let half = &mut halves[step as usize % (key.len() / 8)];
            let mut block = Zeroizing::new([join(&integrity, half)]);
            self.encrypt_blocks(&mut *block);
            (integrity, *half) = split(&block[0]);
            count(&mut integrity, step + 1);
        }
        Ok([&integrity[..], halves.as_flattened()].concat())
    }

    /// The inverse of [`BlockKey::wrap`] (RFC 3394 2.2.2); refuses what was not wrapped under this key.
    pub(crate) fn unwrap(&self, wrapped: &[u8]) -> CkResult<Zeroizing<Vec<u8>>> {
        let (chunks, []) = wrapped.as_chunks::<8>() else { return refuse(CKR_WRAPPED_KEY_LEN_RANGE) };
        let [integrity, halves @ ..] = chunks else { return refuse(CKR_WRAPPED_KEY_LEN_RANGE) };
        if halves.len() < 2 {
            return refuse(CKR_WRAPPED_KEY_LEN_RANGE);
        }
        let count_of_halves = halves.len();
        let (mut integrity, mut halves) = (*integrity, Zeroizing::new(halves.to_vec()));
        for step in (0..6 * count_of_halves as u64).rev() {
            count(&mut integrity, step + 1);
            let half = &mut halves[step as usize % count_of_halves];
            let mut block = Zeroizing::new([join(&integrity, half)]);
            self.decrypt_blocks(&mut *block);
            (integrity, *half) = split(&block[0]);
        }
        // In the clear: what is compared is public when it is right, and noise when it is not.
        if integrity != WRAP_INITIAL {
            return refuse(CKR_WRAPPED_KEY_INVALID);
        }
        Ok(Zeroizing::new(halves.as_flattened().to_vec()))
    }
}

fn xor(block: &mut [u8; BLOCK_BYTES], with: &[u8; BLOCK_BYTES]) {
    block.iter_mut().zip(with).for_each(|(byte, with)| *byte ^= with);
}

fn join(left: &[u8; 8], right: &[u8; 8]) -> [u8; BLOCK_BYTES] {
    std::array::from_fn(|index| if index < 8 { left[index] } else { right[index - 8] })
}

fn split(block: &[u8; BLOCK_BYTES]) -> ([u8; 8], [u8; 8]) {
    (std::array::from_fn(|index| block[index]), std::array::from_fn(|index| block[index + 8]))
}

fn count(integrity: &mut [u8; 8], step: u64) {
    integrity.iter_mut().zip(step.to_be_bytes()).for_each(|(byte, count)| *byte ^= count);
}

/// A key of GCM with a 96-bit nonce and a 128-bit tag.
pub(crate) enum GcmKey {
    Sm4(Box<gcm::Key>),
    Aes128(Box<AesGcm<Aes128, U12>>),
    Aes192(Box<AesGcm<Aes192, U12>>),
    Aes256(Box<AesGcm<Aes256, U12>>),
}

/// The same work on whichever AES it is.
macro_rules! with_aes {
    ($key:expr, $aes:ident => $work:expr, sm4 $sm4:ident => $other:expr) => {
        match $key {
            Self::Sm4($sm4) => $other,
            Self::Aes128($aes) => $work,
            Self::Aes192($aes) => $work,
            Self::Aes256($aes) => $work,
        }
    };
}

impl GcmKey {
    pub(crate) fn new(block: Block, key: &[u8]) -> CkResult<Self> {
        Ok(match (block, key.len()) {
            (Block::Sm4, 16) => Self::Sm4(Box::new(gcm::Key::new(key.try_into().map_err(|_| WRONG_SIZE)?))),
            (Block::Aes, 16) => Self::Aes128(Box::new(AesGcm::new_from_slice(key).map_err(|_| WRONG_SIZE)?)),
            (Block::Aes, 24) => Self::Aes192(Box::new(AesGcm::new_from_slice(key).map_err(|_| WRONG_SIZE)?)),
            (Block::Aes, 32) => Self::Aes256(Box::new(AesGcm::new_from_slice(key).map_err(|_| WRONG_SIZE)?)),
            _ => return Err(WRONG_SIZE),
        })
    }

    pub(crate) fn seal(&self, nonce: &[u8; 12], aad: &[u8], data: &mut [u8]) -> CkResult<[u8; TAG_BYTES]> {
        let failed = |_| CkError(CKR_DATA_LEN_RANGE);
        with_aes!(self, key => {
            Ok(key.encrypt_inout_detached(nonce.into(), aad, data.into()).map_err(failed)?.into())
        }, sm4 key => Ok(gcm::seal(key, nonce, aad, data)))
    }

    pub(crate) fn open(&self, nonce: &[u8; 12], aad: &[u8], data: &mut [u8], tag: &[u8; TAG_BYTES]) -> CkResult<()> {
        with_aes!(self, key => {
            let opened = key.decrypt_inout_detached(nonce.into(), aad, data.into(), tag.into());
            opened.map_err(|_| CkError(CKR_ENCRYPTED_DATA_INVALID))
        }, sm4 key => gcm::open(key, nonce, aad, data, tag).map_err(|_| CkError(CKR_ENCRYPTED_DATA_INVALID)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bytes(hex: &str) -> Vec<u8> {
        (0..hex.len() / 2).map(|index| u8::from_str_radix(&hex[2 * index..2 * index + 2], 16).unwrap()).collect()
    }

    /// RFC 3394 4.1, 4.3 and 4.6.
    #[test]
    fn wraps_as_the_rfc_does_and_unwraps_nothing_else() {
        let kek = bytes("000102030405060708090A0B0C0D0E0F101112131415161718191A1B1C1D1E1F");
        let data = bytes("00112233445566778899AABBCCDDEEFF000102030405060708090A0B0C0D0E0F");
        for (kek_bytes, data_bytes, expected) in [
            (16, 16, "1FA68B0A8112B447AEF34BD8FB5A7B829D3E862371D2CFE5"),
            (32, 16, "64E8C3F9CE0F5BA263E9777905818A2A93C8191E7D6E8AE7"),
            (32, 32, "28C9F404C4B810F4CBCCB35CFB87F8263F5786E2D80ED326CBC7F0E71A99F43BFB988B9B7A02DD21"),
        ] {
            let key = BlockKey::new(Block::Aes, &kek[..kek_bytes]).unwrap();
            let wrapped = key.wrap(&data[..data_bytes]).unwrap();
            assert_eq!(wrapped, bytes(expected));
            assert_eq!(*key.unwrap(&wrapped).unwrap(), data[..data_bytes]);
            for place in 0..wrapped.len() {
                let mut damaged = wrapped.clone();
                damaged[place] ^= 1;
                assert_eq!(key.unwrap(&damaged).unwrap_err().0, CKR_WRAPPED_KEY_INVALID);
            }
            for short in [0, 8, 16, wrapped.len() - 1] {
                assert_eq!(key.unwrap(&wrapped[..short]).unwrap_err().0, CKR_WRAPPED_KEY_LEN_RANGE);
            }
        }
    }

    #[test]
    fn cbc_of_one_cipher_agrees_with_the_other_way_to_compute_it() {
        for block in [Block::Sm4, Block::Aes] {
            let key = BlockKey::new(block, &[7; 16]).unwrap();
            let plain = [[1; 16], [2; 16], [3; 16]];
            let (mut data, mut chain) = (plain, [9; 16]);
            key.cbc_encrypt(&mut chain, &mut data);
            assert_eq!(chain, data[2]);
            let mut first = [[1 ^ 9; 16]];
            key.encrypt_blocks(&mut first);
            assert_eq!(data[0], first[0]);
            let mut chain = [9; 16];
            key.cbc_decrypt(&mut chain, &mut data);
            assert_eq!(data, plain);
        }
    }
}
