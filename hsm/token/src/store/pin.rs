//! From a PIN to the token's master key: Argon2id (RFC 9106), HKDF-SM3, SM4-GCM.
//!
//! Each wrap has a salt of its own, so its key is used for one seal only. Cost parameters are stored with the wrap and
//! bounded when read, so that a damaged file cannot ask for all memory. The associated data binds the wrap to its role
//! and token.

use argon2::{Algorithm, Argon2, Block, Params, Version};
use bixi_accel::{sm3::hkdf, sm4::gcm};
use bixi_platform::secret::Secret;
use zeroize::Zeroize as _;

use crate::error::CkResult;
use crate::random;

/// Length of the master key.
pub(super) const MASTER_BYTES: usize = 32;
const SALT_BYTES: usize = 32;
const NONCE_BYTES: usize = 12;
const TAG_BYTES: usize = 16;
/// Length of an encoded wrap.
pub(super) const WRAP_BYTES: usize = 8 + SALT_BYTES + NONCE_BYTES + MASTER_BYTES + TAG_BYTES;
const MEMORY_KIB_MAX: u32 = 1 << 20;
const PASSES_MAX: u32 = 64;
const KEY_INFO: &[u8] = b"BIXI-TOKEN-PIN-WRAP-V1";

/// Whose PIN.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Role {
    /// The security officer.
    Officer,
    /// The ordinary user.
    User,
}

impl Role {
    fn name(self) -> &'static [u8] {
        match self {
            Role::Officer => b"so",
            Role::User => b"user",
        }
    }
}

/// Cost of one evaluation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Cost {
    pub(super) memory_kib: u32,
    pub(super) passes: u32,
}

impl Cost {
    fn is_bounded(self) -> bool {
        (8..=MEMORY_KIB_MAX).contains(&self.memory_kib) && (1..=PASSES_MAX).contains(&self.passes)
    }
}

/// The master key sealed under one PIN.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Wrap {
    cost: Cost,
    salt: [u8; SALT_BYTES],
    nonce: [u8; NONCE_BYTES],
    sealed: [u8; MASTER_BYTES],
    tag: [u8; TAG_BYTES],
}

/// Why a wrap did not open.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum OpenError {
    /// The PIN is wrong, or the wrap was altered: an AEAD cannot tell.
    Mismatch,
    /// The key derivation could not be computed: memory.
    Derivation,
}

impl Wrap {
    /// Seal `master` under `pin`.
    pub(super) fn seal(cost: Cost, role: Role, token: &[u8; 16], pin: &[u8], master: &Secret) -> CkResult<Self> {
        let (salt, nonce) = (random::array()?, random::array()?);
        let mut wrap = Self { cost, salt, nonce, sealed: [0; MASTER_BYTES], tag: [0; TAG_BYTES] };
        let refused = crate::error::CkError(cryptoki_sys::CKR_HOST_MEMORY);
        let key = wrap.key(pin).map_err(|_| refused)?;
        // Sealing happens in locked memory: only ciphertext is copied out.
        let mut buffer = Secret::from_slice(master.as_slice());
        wrap.tag = gcm::seal(&key, &nonce, &wrap.associated(role, token), buffer.as_mut_slice());
        wrap.sealed.copy_from_slice(buffer.as_slice());
        Ok(wrap)
    }

    /// The master key, if `pin` is right.
    pub(super) fn open(&self, role: Role, token: &[u8; 16], pin: &[u8]) -> Result<Secret, OpenError> {
        let key = self.key(pin)?;
        let mut master = Secret::from_slice(&self.sealed);
        match gcm::open(&key, &self.nonce, &self.associated(role, token), master.as_mut_slice(), &self.tag) {
            Ok(()) => Ok(master),
            Err(_) => Err(OpenError::Mismatch),
        }
    }

    fn key(&self, pin: &[u8]) -> Result<gcm::Key, OpenError> {
        let mut strengthened = Secret::zeroed(32);
        stretch(self.cost, pin, &self.salt, strengthened.as_mut_slice()).map_err(|_| OpenError::Derivation)?;
        let mut prk = hkdf::extract(&self.salt, strengthened.as_slice());
        let mut key = [0; 16];
        hkdf::expand(&prk, &[KEY_INFO], &mut key);
        let ready = gcm::Key::new(&key);
        prk.zeroize();
        key.zeroize();
        Ok(ready)
    }

    fn associated(&self, role: Role, token: &[u8; 16]) -> Vec<u8> {
        let cost = [self.cost.memory_kib.to_le_bytes(), self.cost.passes.to_le_bytes()].concat();
        [KEY_INFO, role.name(), token, &cost, &self.salt].concat()
    }

    /// The stored form.
    pub(super) fn encode(&self) -> Vec<u8> {
        let cost = [self.cost.memory_kib.to_le_bytes(), self.cost.passes.to_le_bytes()].concat();
        [&cost[..], &self.salt, &self.nonce, &self.sealed, &self.tag].concat()
    }

    /// From the stored form; refuses costs out of bounds.
    pub(super) fn decode(bytes: &[u8; WRAP_BYTES]) -> Option<Self> {
        let (memory_kib, rest) = bytes.split_first_chunk()?;
        let (passes, rest) = rest.split_first_chunk()?;
        let (salt, rest) = rest.split_first_chunk()?;
        let (nonce, rest) = rest.split_first_chunk()?;
        let (sealed, rest) = rest.split_first_chunk()?;
        let tag = rest.try_into().ok()?;
        let cost = Cost { memory_kib: u32::from_le_bytes(*memory_kib), passes: u32::from_le_bytes(*passes) };
        cost.is_bounded().then_some(Self { cost, salt: *salt, nonce: *nonce, sealed: *sealed, tag })
    }
}

/// Argon2id with memory of its own, wiped before it is given back.
fn stretch(cost: Cost, pin: &[u8], salt: &[u8], out: &mut [u8]) -> Result<(), argon2::Error> {
    let params = Params::new(cost.memory_kib, cost.passes, 1, Some(out.len()))?;
    let mut memory = vec![Block::default(); params.block_count()];
    let result = Argon2::new(Algorithm::Argon2id, Version::V0x13, params).hash_password_into_with_memory(
        pin,
        salt,
        out,
        &mut memory,
    );
    memory.iter_mut().for_each(|block| block.zeroize());
    result
}

#[cfg(test)]
mod tests {
    use super::*;

    const CHEAP: Cost = Cost { memory_kib: 8, passes: 1 };

    #[test]
    fn opens_with_the_right_pin_role_and_token_only() {
        let master = Secret::from_slice(&[3; MASTER_BYTES]);
        let wrap = Wrap::seal(CHEAP, Role::User, &[1; 16], b"123456", &master).unwrap();
        assert_eq!(wrap.open(Role::User, &[1; 16], b"123456").unwrap().as_slice(), [3; MASTER_BYTES]);
        assert_eq!(wrap.open(Role::User, &[1; 16], b"123457").err(), Some(OpenError::Mismatch));
        assert_eq!(wrap.open(Role::Officer, &[1; 16], b"123456").err(), Some(OpenError::Mismatch));
        assert_eq!(wrap.open(Role::User, &[2; 16], b"123456").err(), Some(OpenError::Mismatch));
    }

    #[test]
    fn survives_encoding_and_refuses_unbounded_costs() {
        let master = Secret::from_slice(&[3; MASTER_BYTES]);
        let wrap = Wrap::seal(CHEAP, Role::User, &[1; 16], b"123456", &master).unwrap();
        let bytes: [u8; WRAP_BYTES] = wrap.encode().try_into().unwrap();
        assert_eq!(Wrap::decode(&bytes).as_ref(), Some(&wrap));
        let mut greedy = bytes;
        greedy[..4].copy_from_slice(&u32::MAX.to_le_bytes());
        assert_eq!(Wrap::decode(&greedy), None);
    }

    #[test]
    fn two_wraps_of_one_key_share_nothing() {
        let master = Secret::from_slice(&[3; MASTER_BYTES]);
        let wrap = || Wrap::seal(CHEAP, Role::User, &[1; 16], b"123456", &master).unwrap();
        let (first, second) = (wrap(), wrap());
        assert_ne!(first.salt, second.salt);
        assert_ne!(first.sealed, second.sealed);
    }
}
