//! Signatures and MACs, in one step or many.
//!
//! SM2 follows GB/T 32918.2: on a message, Z is computed from the ID in the mechanism's parameter (the default ID when
//! there is none) and the key; on a digest the caller has done so. ECDSA (FIPS 186-5) is for the other curves only, never for a key
//! on SM2's. MACs are compared in constant time.

use std::sync::Arc;

use bixi_accel::sm2::{self, PrivateKey, PublicKey, Signature};
use cryptoki_sys::*;
use zeroize::{Zeroize as _, Zeroizing};

use super::block::BlockKey;
use super::hash::{Hasher, Hmac};
use super::{Parameter, check_use, key_secret};
use crate::curve::Curve;
use crate::error::{CkError, CkResult, refuse};
use crate::object::{Class, Object};
use crate::profile::{Algorithm, Block, Form, Hash, Input, KeyType};
use crate::random::SystemRandom;

const SM2: [KeyType; 2] = [KeyType::Sm2, KeyType::Ec(Curve::Sm2)];
const ECDSA: [KeyType; 2] = [KeyType::Ec(Curve::P256), KeyType::Ec(Curve::Secp256k1)];
/// Longest digest a caller of `CKM_ECDSA` can bring.
const ECDSA_DIGEST_BYTES_MAX: usize = 64;
/// Longest SM2 signature in DER: two INTEGERs of 33 bytes.
const DER_BYTES_MAX: usize = 72;
/// ENTL counts the ID's bits in 16 bits (GB/T 32918.2 5.5).
const ID_BYTES_MAX: usize = 8191;

/// Takes in what is to be signed.
enum Intake {
    Digest { digest: Vec<u8>, bytes_max: usize },
    Message(Hasher),
    Hmac(Hmac),
    Mac(Box<BlockMac>),
}

/// What is made of a digest with a private key.
#[derive(Clone, Copy)]
enum Scheme {
    Sm2(Form),
    Ecdsa,
}

/// An active signature or verification.
pub(crate) struct Signing {
    intake: Intake,
    /// Key and scheme of a signature; a MAC has its key in the intake.
    pair: Option<(Arc<Object>, Scheme)>,
}

impl Signing {
    /// `C_SignInit`.
    pub(crate) fn to_sign(algorithm: Algorithm, parameter: Parameter<'_>, key: &Arc<Object>) -> CkResult<Self> {
        Self::begin(algorithm, parameter, key, CKA_SIGN, Class::PrivateKey)
    }

    /// `C_VerifyInit`.
    pub(crate) fn to_verify(algorithm: Algorithm, parameter: Parameter<'_>, key: &Arc<Object>) -> CkResult<Self> {
        Self::begin(algorithm, parameter, key, CKA_VERIFY, Class::PublicKey)
    }

    fn begin(
        algorithm: Algorithm,
        parameter: Parameter<'_>,
        key: &Arc<Object>,
        usage: CK_ATTRIBUTE_TYPE,
        class: Class,
    ) -> CkResult<Self> {
        let (intake, scheme) = match algorithm {
            Algorithm::Sm2Sign(input, form) => {
                check_pair(key, usage, &SM2, class)?;
                (sm2_intake(input, parameter, key)?, Scheme::Sm2(form))
            }
            Algorithm::Ecdsa(hash) => {
                check_pair(key, usage, &ECDSA, class)?;
                parameter.none()?;
                (ecdsa_intake(hash), Scheme::Ecdsa)
            }
            _ => {
                let intake = mac_intake(algorithm, key, usage)?;
                parameter.none()?;
                return Ok(Self { intake, pair: None });
            }
        };
        Ok(Self { intake, pair: Some((Arc::clone(key), scheme)) })
    }

    /// Bytes the signature can have.
    pub(crate) fn output_bytes_max(&self) -> usize {
        match (&self.pair, &self.intake) {
            (Some((_, Scheme::Sm2(Form::Der))), _) => DER_BYTES_MAX,
            (Some(_), _) => 64,
            (None, Intake::Hmac(hmac)) => hmac.hash().digest_bytes(),
            (None, _) => 16,
        }
    }

    pub(crate) fn update(&mut self, data: &[u8]) -> CkResult<()> {
        match &mut self.intake {
            Intake::Digest { digest, bytes_max } if digest.len() + data.len() > *bytes_max => {
                return refuse(CKR_DATA_LEN_RANGE);
            }
            Intake::Digest { digest, .. } => digest.extend_from_slice(data),
            Intake::Message(hasher) => hasher.update(data),
            Intake::Hmac(hmac) => hmac.update(data),
            Intake::Mac(mac) => mac.update(data),
        }
        Ok(())
    }

    /// The signature or MAC.
    pub(crate) fn sign(self) -> CkResult<Vec<u8>> {
        let Some((key, scheme)) = &self.pair else { return Ok(self.intake.mac()?.to_vec()) };
        let secret = key.secret.as_ref().ok_or(CkError(CKR_KEY_TYPE_INCONSISTENT))?;
        let digest = self.intake.digest()?;
        match scheme {
            Scheme::Sm2(form) => sm2_sign(secret.as_slice(), &digest, *form),
            Scheme::Ecdsa => Ok(key.point()?.0.ecdsa_sign(secret.as_slice(), &digest)?.to_vec()),
        }
    }

    /// Whether `signature` is right.
    pub(crate) fn verify(self, signature: &[u8]) -> CkResult<()> {
        let Some((key, scheme)) = &self.pair else {
            let expected = self.intake.mac()?;
            return match signature.len() == expected.len() {
                false => refuse(CKR_SIGNATURE_LEN_RANGE),
                true if is_equal(&expected, signature) => Ok(()),
                true => refuse(CKR_SIGNATURE_INVALID),
            };
        };
        let (curve, point) = key.point()?;
        let digest = self.intake.digest()?;
        match scheme {
            Scheme::Sm2(form) => sm2_verify(&point, &digest, signature, *form),
            Scheme::Ecdsa if signature.len() != 64 => refuse(CKR_SIGNATURE_LEN_RANGE),
            Scheme::Ecdsa => curve.ecdsa_verify(&point, &digest, signature),
        }
    }
}

fn check_pair(key: &Object, usage: CK_ATTRIBUTE_TYPE, types: &[KeyType], class: Class) -> CkResult<()> {
    check_use(key, usage, types)?;
    if key.class == class { Ok(()) } else { refuse(CKR_KEY_TYPE_INCONSISTENT) }
}

fn mac_intake(algorithm: Algorithm, key: &Object, usage: CK_ATTRIBUTE_TYPE) -> CkResult<Intake> {
    let (block, padded) = match algorithm {
        Algorithm::Hmac(hash) => {
            return Ok(Intake::Hmac(Hmac::new(
                hash,
                key_secret(key, usage, &[KeyType::Generic, KeyType::Hmac(hash)])?.as_slice(),
            )));
        }
        Algorithm::Sm4Mac => (Block::Sm4, false),
        Algorithm::Cmac(block) => (block, true),
        _ => return refuse(CKR_MECHANISM_INVALID),
    };
    let key = key_secret(key, usage, &[block.key_type()])?;
    Ok(Intake::Mac(Box::new(BlockMac::new(block, key.as_slice(), padded)?)))
}

fn ecdsa_intake(hash: Option<Hash>) -> Intake {
    match hash {
        Some(hash) => Intake::Message(Hasher::new(hash)),
        None => Intake::Digest { digest: Vec::new(), bytes_max: ECDSA_DIGEST_BYTES_MAX },
    }
}

fn sm2_intake(input: Input, parameter: Parameter<'_>, key: &Object) -> CkResult<Intake> {
    let id = parameter.bytes()?;
    match input {
        Input::Digest => {
            parameter.none()?;
            Ok(Intake::Digest { digest: Vec::with_capacity(32), bytes_max: 32 })
        }
        Input::Message if id.len() > ID_BYTES_MAX => refuse(CKR_MECHANISM_PARAM_INVALID),
        Input::Message => {
            let id = if id.is_empty() { sm2::DEFAULT_ID } else { id };
            let mut hasher = Hasher::new(Hash::Sm3);
            hasher.update(&sm2::identity_digest(id, &sm2_public(&key.point()?.1)?));
            Ok(Intake::Message(hasher))
        }
    }
}

fn sm2_public(point: &[u8]) -> CkResult<PublicKey> {
    PublicKey::from_sec1(point).map_err(|_| CkError(CKR_KEY_TYPE_INCONSISTENT))
}

fn sm2_digest(digest: &[u8]) -> CkResult<[u8; 32]> {
    digest.try_into().map_err(|_| CkError(CKR_DATA_LEN_RANGE))
}

fn sm2_sign(secret: &[u8], digest: &[u8], form: Form) -> CkResult<Vec<u8>> {
    let scalar = secret.try_into().map_err(|_| CkError(CKR_GENERAL_ERROR))?;
    let private = PrivateKey::from_bytes(scalar).map_err(|_| CkError(CKR_GENERAL_ERROR))?;
    let signature = sm2::sign_digest(&private, &sm2_digest(digest)?, &mut SystemRandom);
    let signature = signature.map_err(|_| CkError(CKR_FUNCTION_FAILED))?;
    Ok(match form {
        Form::Raw => signature.0.to_vec(),
        Form::Der => signature.to_der(),
    })
}

fn sm2_verify(point: &[u8], digest: &[u8], signature: &[u8], form: Form) -> CkResult<()> {
    let parsed = match form {
        Form::Raw => Signature(signature.try_into().map_err(|_| CkError(CKR_SIGNATURE_LEN_RANGE))?),
        Form::Der => Signature::from_der(signature).map_err(|_| CkError(CKR_SIGNATURE_INVALID))?,
    };
    match sm2::verify_digest(&sm2_public(point)?, &sm2_digest(digest)?, &parsed) {
        true => Ok(()),
        false => refuse(CKR_SIGNATURE_INVALID),
    }
}

impl Intake {
    /// What the scheme is applied to: `e` of GB/T 32918.2, the hash of FIPS 186-5.
    fn digest(self) -> CkResult<Vec<u8>> {
        match self {
            Intake::Digest { digest, .. } if digest.is_empty() => refuse(CKR_DATA_LEN_RANGE),
            Intake::Digest { digest, .. } => Ok(digest),
            Intake::Message(hasher) => Ok(hasher.finalize()),
            Intake::Hmac(_) | Intake::Mac(_) => refuse(CKR_GENERAL_ERROR),
        }
    }

    fn mac(self) -> CkResult<Zeroizing<Vec<u8>>> {
        match self {
            Intake::Hmac(hmac) => Ok(hmac.finalize()),
            Intake::Mac(mac) => Ok(Zeroizing::new(mac.finalize()?.to_vec())),
            Intake::Digest { .. } | Intake::Message(_) => refuse(CKR_GENERAL_ERROR),
        }
    }
}

/// Equality whose time depends on the length only.
fn is_equal(left: &[u8], right: &[u8]) -> bool {
    let difference = left.iter().zip(right).fold(0, |sum, (a, b)| sum | (a ^ b));
    left.len() == right.len() && std::hint::black_box(difference) == 0
}

/// CBC-MAC: plain (whole blocks, fixed length) or as CMAC (SP 800-38B).
struct BlockMac {
    key: BlockKey,
    chain: [u8; 16],
    /// The last block is held back, because CMAC treats it apart.
    pending: Vec<u8>,
    padded: bool,
}

impl BlockMac {
    fn new(block: Block, key: &[u8], padded: bool) -> CkResult<Self> {
        Ok(Self { key: BlockKey::new(block, key)?, chain: [0; 16], pending: Vec::with_capacity(16), padded })
    }

    fn update(&mut self, data: &[u8]) {
        for byte in data {
            if self.pending.len() == 16 {
                self.absorb();
            }
            self.pending.push(*byte);
        }
    }

    fn absorb(&mut self) {
        self.chain.iter_mut().zip(&self.pending).for_each(|(chain, byte)| *chain ^= byte);
        self.key.encrypt_blocks(std::slice::from_mut(&mut self.chain));
        self.pending.zeroize();
    }

    fn finalize(mut self) -> CkResult<[u8; 16]> {
        if self.padded {
            self.mask_last_block();
        } else if self.pending.len() != 16 {
            return refuse(CKR_DATA_LEN_RANGE);
        }
        self.absorb();
        Ok(self.chain)
    }

    /// SP 800-38B 6.2: the last block is masked by K1 when whole, padded and masked by K2 when not.
    fn mask_last_block(&mut self) {
        let mut subkey = [[0; 16]];
        self.key.encrypt_blocks(&mut subkey);
        let mut mask = doubled(subkey[0]);
        if self.pending.len() < 16 {
            mask = doubled(mask);
            self.pending.push(0x80);
            self.pending.resize(16, 0);
        }
        self.pending.iter_mut().zip(mask).for_each(|(byte, mask)| *byte ^= mask);
        subkey.zeroize();
        mask.zeroize();
    }
}

/// Multiplication by x in GF(2^128), in constant time.
fn doubled(block: [u8; 16]) -> [u8; 16] {
    let value = u128::from_be_bytes(block);
    let carry = (value >> 127) * 0x87;
    ((value << 1) ^ carry).to_be_bytes()
}

impl Drop for BlockMac {
    fn drop(&mut self) {
        self.chain.zeroize();
        self.pending.zeroize();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mac(padded: bool, parts: &[&[u8]]) -> CkResult<[u8; 16]> {
        let mut mac = BlockMac::new(Block::Sm4, &[0x42; 16], padded).unwrap();
        parts.iter().for_each(|part| mac.update(part));
        let chain = mac.finalize()?;
        Ok(chain)
    }

    #[test]
    fn parts_give_the_same_mac_as_the_whole() {
        let data = [7; 100];
        let whole = mac(true, &[&data]).unwrap();
        assert_eq!(mac(true, &[&data[..1], &data[1..33], &data[33..]]).unwrap(), whole);
        assert_ne!(mac(true, &[&data[..99]]).unwrap(), whole);
    }

    #[test]
    fn plain_mac_is_one_encryption_of_one_block_and_refuses_parts_of_blocks() {
        let mut block = [[9; 16]];
        BlockKey::new(Block::Sm4, &[0x42; 16]).unwrap().encrypt_blocks(&mut block);
        assert_eq!(mac(false, &[&[9; 16]]).unwrap(), block[0]);
        assert_eq!(mac(false, &[&[9; 15]]).unwrap_err().0, CKR_DATA_LEN_RANGE);
        assert_eq!(mac(false, &[]).unwrap_err().0, CKR_DATA_LEN_RANGE);
    }

    #[test]
    fn doubling_reduces_by_the_polynomial() {
        let mut top = [0; 16];
        top[0] = 0x80;
        assert_eq!(doubled(top)[15], 0x87);
        assert_eq!(doubled([0x40; 16]), [0x80; 16]);
    }
}
