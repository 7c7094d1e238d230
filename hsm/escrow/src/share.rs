//! One officer's share, open or sealed under the officer's passphrase.

use bixi_accel::sm3;
use bixi_platform::secret::Secret;
use bixi_sealed::passphrase::{Binding, Cost, KEY_BYTES, WRAP_BYTES, Wrap};

use crate::EscrowError;
use crate::record::OFFICERS_MAX;

const COMMITMENT_DOMAIN: &[u8] = b"BIXI-ESCROW-SHARE-V1";
const WRAP_DOMAIN: &[u8] = b"BIXI-ESCROW-WRAP-V1";

/// Bytes of an encoded [`ShareId`].
pub(crate) const ID_BYTES: usize = 16 + 8 + 3;

/// Which share of which escrow.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ShareId {
    /// The escrow.
    pub escrow: [u8; 16],
    /// First bytes of the vault's name: where the page belongs.
    pub vault: [u8; 8],
    /// Shares that recover.
    pub threshold: u8,
    /// Shares given out.
    pub count: u8,
    /// This one, counted from 1.
    pub index: u8,
}

impl ShareId {
    pub(crate) fn encode(&self) -> [u8; ID_BYTES] {
        let numbers = [self.threshold, self.count, self.index];
        [&self.escrow[..], &self.vault, &numbers].concat().try_into().expect("the parts' lengths add up")
    }

    pub(crate) fn decode(bytes: &[u8; ID_BYTES]) -> Option<Self> {
        let (escrow, rest) = bytes.split_first_chunk()?;
        let (vault, rest) = rest.split_first_chunk()?;
        let [threshold, count, index] = *rest else { return None };
        let fits =
            usize::from(count) <= OFFICERS_MAX && (2..=count).contains(&threshold) && (1..=count).contains(&index);
        fits.then_some(Self { escrow: *escrow, vault: *vault, threshold, count, index })
    }
}

/// A share that can be used.
pub struct Share {
    id: ShareId,
    value: Secret,
}

impl std::fmt::Debug for Share {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Share({} of {})", self.id.index, hex::encode(self.id.escrow))
    }
}

impl Share {
    /// # Panics
    /// If the value has not [`KEY_BYTES`] bytes.
    pub(crate) fn new(id: ShareId, value: Secret) -> Self {
        assert_eq!(value.len(), KEY_BYTES, "a share is as long as the key");
        Self { id, value }
    }

    /// Which one.
    pub fn id(&self) -> &ShareId {
        &self.id
    }

    pub(crate) fn value(&self) -> &Secret {
        &self.value
    }

    /// What the record holds it against.
    pub(crate) fn commitment(&self) -> [u8; 32] {
        let mut hasher = sm3::Hasher::new();
        hasher.update(COMMITMENT_DOMAIN);
        hasher.update(&self.id.encode());
        hasher.update(self.value.as_slice());
        hasher.finalize()
    }

    /// Seals it under its officer's passphrase.
    ///
    /// # Errors
    /// When system or memory refuse.
    pub fn seal(&self, cost: Cost, passphrase: &[u8]) -> Result<SealedShare, EscrowError> {
        let owner = self.id.encode();
        let binding = Binding { domain: WRAP_DOMAIN, owner: &[&owner] };
        let wrap = Wrap::seal(cost, binding, passphrase, &self.value)
            .map_err(|source| EscrowError::Sealed { index: self.id.index, source })?;
        Ok(SealedShare { id: self.id, wrap })
    }
}

/// A share that its officer's passphrase opens.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SealedShare {
    id: ShareId,
    wrap: Wrap,
}

impl SealedShare {
    pub(crate) fn decode(id: ShareId, wrap: &[u8; WRAP_BYTES]) -> Option<Self> {
        // Whoever hands the page in wrote the cost: it is looked at before it is paid.
        Wrap::decode(wrap).filter(|wrap| wrap.cost().is_within(Cost::TYPED_MAX)).map(|wrap| Self { id, wrap })
    }

    pub(crate) fn encode(&self) -> [u8; WRAP_BYTES] {
        self.wrap.encode()
    }

    /// Which one.
    pub fn id(&self) -> &ShareId {
        &self.id
    }

    /// The share, if the passphrase is right.
    ///
    /// # Errors
    /// [`EscrowError::Sealed`].
    pub fn open(&self, passphrase: &[u8]) -> Result<Share, EscrowError> {
        let owner = self.id.encode();
        let opened = self.wrap.open(Binding { domain: WRAP_DOMAIN, owner: &[&owner] }, passphrase);
        let value = opened.map_err(|source| EscrowError::Sealed { index: self.id.index, source })?;
        Ok(Share { id: self.id, value })
    }
}
