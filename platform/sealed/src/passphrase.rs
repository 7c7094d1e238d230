//! A key of 32 bytes under a passphrase or a PIN: Argon2id (RFC 9106), HKDF-SM3, SM4-GCM.
//!
//! Each wrap has a salt of its own, so its key is used for one seal only. Cost parameters are stored with the wrap and bounded
//! when read, so that a damaged file cannot ask for all memory. The associated data binds the wrap to its purpose and owner.
//!
//! | bytes | field |
//! |---|---|
//! | 4 + 4 | cost: memory in KiB, passes (little-endian) |
//! | 32 | salt |
//! | 12 | nonce |
//! | 32 | sealed key |
//! | 16 | tag |

use argon2::{Algorithm, Argon2, Block, Params, Version};
use bixi_accel::{sm3::hkdf, sm4::gcm};
use bixi_platform::{random::OsRandom, secret::Secret};
use zeroize::{Zeroize as _, Zeroizing};

/// Length of what is sealed.
pub const KEY_BYTES: usize = 32;
/// Length of an encoded wrap.
pub const WRAP_BYTES: usize = 8 + SALT_BYTES + NONCE_BYTES + KEY_BYTES + TAG_BYTES;

const SALT_BYTES: usize = 32;
const NONCE_BYTES: usize = 12;
const TAG_BYTES: usize = 16;
const MEMORY_KIB_MAX: u32 = 1 << 20;
const PASSES_MAX: u32 = 64;

/// Cost of one evaluation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cost {
    /// Memory.
    pub memory_kib: u32,
    /// Passes over it.
    pub passes: u32,
}

impl Cost {
    /// What a passphrase that a person types is worth: RFC 9106's second recommendation, 64 MiB and three passes.
    pub const TYPED: Self = Self { memory_kib: 64 * 1024, passes: 3 };

    /// The most that is worth waiting for where a stranger may have written the cost: a few seconds, a quarter of a gigabyte.
    pub const TYPED_MAX: Self = Self { memory_kib: 4 * Self::TYPED.memory_kib, passes: 4 * Self::TYPED.passes };

    fn is_bounded(self) -> bool {
        self.memory_kib >= 8
            && self.passes >= 1
            && self.is_within(Self { memory_kib: MEMORY_KIB_MAX, passes: PASSES_MAX })
    }

    /// Whether neither memory nor passes are more than `max`'s.
    pub fn is_within(self, max: Self) -> bool {
        self.memory_kib <= max.memory_kib && self.passes <= max.passes
    }

    fn bytes(self) -> [u8; 8] {
        let mut bytes = [0; 8];
        bytes[..4].copy_from_slice(&self.memory_kib.to_le_bytes());
        bytes[4..].copy_from_slice(&self.passes.to_le_bytes());
        bytes
    }
}

/// What a wrap is for: part of the key and of what is authenticated.
#[derive(Clone, Copy, Debug)]
pub struct Binding<'a> {
    /// Domain string of the purpose.
    pub domain: &'a [u8],
    /// Whose it is, such as a role and a token; of lengths that the domain fixes.
    pub owner: &'a [&'a [u8]],
}

/// Why a wrap was not made or did not open.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum WrapError {
    /// The passphrase is wrong, or the wrap was altered or belongs elsewhere: an AEAD cannot tell.
    #[error("the passphrase is wrong, or what it seals was altered")]
    Mismatch,
    /// The key derivation could not be computed: no memory.
    #[error("no memory for the passphrase's key derivation")]
    Derivation,
    /// A passphrase that is chosen is too easily guessed.
    #[error(
        "the passphrase has fewer than {PASSPHRASE_CHARACTERS_MIN} characters: whoever has a copy of what it seals tries passphrases as fast as \
         his machines allow, for years, and nobody sees it; take several words"
    )]
    Short,
    /// The system's random source failed.
    #[error("the system's random source failed: {0}")]
    Random(std::io::Error),
}

/// Fewest characters of a passphrase that a person chooses, for what can be copied and guessed at without anybody's seeing it.
pub const PASSPHRASE_CHARACTERS_MIN: usize = 12;

/// Whether a passphrase that is chosen now is long enough. One that was chosen before opens what it sealed, however short it is.
///
/// # Errors
/// [`WrapError::Short`].
pub fn expect_long(passphrase: &[u8]) -> Result<(), WrapError> {
    let characters = std::str::from_utf8(passphrase).map_or(passphrase.len(), |text| text.chars().count());
    if characters < PASSPHRASE_CHARACTERS_MIN { Err(WrapError::Short) } else { Ok(()) }
}

/// A key sealed under one passphrase.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Wrap {
    cost: Cost,
    salt: [u8; SALT_BYTES],
    nonce: [u8; NONCE_BYTES],
    sealed: [u8; KEY_BYTES],
    tag: [u8; TAG_BYTES],
}

impl Wrap {
    /// Seals `key` under `passphrase`.
    ///
    /// # Errors
    /// When system or memory refuse.
    ///
    /// # Panics
    /// If `key` has not [`KEY_BYTES`] bytes.
    pub fn seal(cost: Cost, binding: Binding<'_>, passphrase: &[u8], key: &Secret) -> Result<Self, WrapError> {
        assert_eq!(key.len(), KEY_BYTES, "a wrap holds one key");
        let salt = OsRandom.array().map_err(WrapError::Random)?;
        let nonce = OsRandom.array().map_err(WrapError::Random)?;
        let mut wrap = Self { cost, salt, nonce, sealed: [0; KEY_BYTES], tag: [0; TAG_BYTES] };
        let one_time = wrap.one_time_key(binding, passphrase)?;
        // Sealing happens in locked memory: only ciphertext is copied out.
        let mut buffer = Secret::from_slice(key.as_slice());
        wrap.tag = gcm::seal(&one_time, &nonce, &wrap.associated(binding), buffer.as_mut_slice());
        wrap.sealed.copy_from_slice(buffer.as_slice());
        Ok(wrap)
    }

    /// The key, if `passphrase` is right.
    ///
    /// # Errors
    /// [`WrapError::Mismatch`], or [`WrapError::Derivation`].
    pub fn open(&self, binding: Binding<'_>, passphrase: &[u8]) -> Result<Secret, WrapError> {
        let one_time = self.one_time_key(binding, passphrase)?;
        let mut key = Secret::from_slice(&self.sealed);
        match gcm::open(&one_time, &self.nonce, &self.associated(binding), key.as_mut_slice(), &self.tag) {
            Ok(()) => Ok(key),
            Err(_) => Err(WrapError::Mismatch),
        }
    }

    fn one_time_key(&self, binding: Binding<'_>, passphrase: &[u8]) -> Result<gcm::Key, WrapError> {
        let mut strengthened = Secret::zeroed(32);
        stretch(self.cost, passphrase, &self.salt, strengthened.as_mut_slice())?;
        let root = Zeroizing::new(hkdf::extract(&self.salt, strengthened.as_slice()));
        let mut key = Zeroizing::new([0; 16]);
        hkdf::expand(&root, &[binding.domain], &mut *key);
        Ok(gcm::Key::new(&key))
    }

    fn associated(&self, binding: Binding<'_>) -> Vec<u8> {
        let owner = binding.owner.concat();
        [binding.domain, &owner, &self.cost.bytes(), &self.salt].concat()
    }

    /// What opening it costs.
    pub fn cost(&self) -> Cost {
        self.cost
    }

    /// The stored form.
    pub fn encode(&self) -> [u8; WRAP_BYTES] {
        let parts = [&self.cost.bytes()[..], &self.salt, &self.nonce, &self.sealed, &self.tag].concat();
        parts.try_into().expect("the parts' lengths add up")
    }

    /// From the stored form; refuses costs out of bounds.
    pub fn decode(bytes: &[u8; WRAP_BYTES]) -> Option<Self> {
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

/// Argon2id with memory of its own, wiped before it is given back: for a [`Wrap`], and to read formats from before it.
///
/// # Errors
/// [`WrapError::Derivation`].
pub fn stretch(cost: Cost, passphrase: &[u8], salt: &[u8], out: &mut [u8]) -> Result<(), WrapError> {
    let params = Params::new(cost.memory_kib, cost.passes, 1, Some(out.len())).map_err(|_| WrapError::Derivation)?;
    let mut memory = vec![Block::default(); params.block_count()];
    let result = Argon2::new(Algorithm::Argon2id, Version::V0x13, params).hash_password_into_with_memory(
        passphrase,
        salt,
        out,
        &mut memory,
    );
    memory.iter_mut().for_each(|block| block.zeroize());
    result.map_err(|_| WrapError::Derivation)
}

#[cfg(test)]
mod tests {
    use super::*;

    const CHEAP: Cost = Cost { memory_kib: 8, passes: 1 };
    const DOMAIN: &[u8] = b"BIXI-TEST-WRAP-V1";

    fn binding<'a>(owner: &'a [&'a [u8]]) -> Binding<'a> {
        Binding { domain: DOMAIN, owner }
    }

    fn sealed() -> Wrap {
        let key = Secret::from_slice(&[3; KEY_BYTES]);
        Wrap::seal(CHEAP, binding(&[b"user", &[1; 16]]), b"123456", &key).unwrap()
    }

    #[test]
    fn opens_with_the_right_passphrase_purpose_and_owner_only() {
        let wrap = sealed();
        assert_eq!(wrap.open(binding(&[b"user", &[1; 16]]), b"123456").unwrap().as_slice(), [3; KEY_BYTES]);
        let mismatches = |opened: Result<Secret, WrapError>| matches!(opened, Err(WrapError::Mismatch));
        assert!(mismatches(wrap.open(binding(&[b"user", &[1; 16]]), b"123457")));
        assert!(mismatches(wrap.open(binding(&[b"so", &[1; 16]]), b"123456")));
        assert!(mismatches(wrap.open(binding(&[b"user", &[2; 16]]), b"123456")));
        let other = Binding { domain: b"BIXI-OTHER-WRAP-V1", owner: &[b"user", &[1; 16]] };
        assert!(mismatches(wrap.open(other, b"123456")));
    }

    #[test]
    fn survives_encoding_and_refuses_unbounded_costs() {
        let wrap = sealed();
        let bytes = wrap.encode();
        assert_eq!(Wrap::decode(&bytes).as_ref(), Some(&wrap));
        let mut greedy = bytes;
        greedy[..4].copy_from_slice(&u32::MAX.to_le_bytes());
        assert_eq!(Wrap::decode(&greedy), None);
    }

    /// Salt, nonce, sealed key, tag and cost: none can be changed unseen. A cost is changed by its lowest bit only, because a
    /// higher one asks for gigabytes before it is found wrong.
    #[test]
    fn a_changed_byte_does_not_open() {
        let bytes = sealed().encode();
        for place in [0, 4].into_iter().chain(8..WRAP_BYTES) {
            let mut changed = bytes;
            changed[place] ^= 1;
            let opened = Wrap::decode(&changed).map(|wrap| wrap.open(binding(&[b"user", &[1; 16]]), b"123456"));
            assert!(!matches!(opened, Some(Ok(_))), "byte {place}");
        }
    }

    #[test]
    fn a_passphrase_is_long_by_its_characters() {
        for long in ["twelve chars", "十二个字的口令也是够长的"] {
            expect_long(long.as_bytes()).unwrap();
        }
        for short in ["", "eleven char", "四个汉字", "🔑🔑🔑🔑🔑🔑"] {
            assert!(matches!(expect_long(short.as_bytes()), Err(WrapError::Short)), "{short}");
        }
        expect_long(&[0xff; 12]).unwrap();
    }

    #[test]
    fn two_wraps_of_one_key_share_nothing() {
        let (first, second) = (sealed(), sealed());
        assert_ne!(first.salt, second.salt);
        assert_ne!(first.sealed, second.sealed);
    }
}
