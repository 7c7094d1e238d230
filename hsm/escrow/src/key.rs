//! The escrow's key: made, split, and found again.

use bixi_accel::sm3;
use bixi_platform::random::OsRandom;
use bixi_platform::secret::Secret;

use crate::EscrowError;
use crate::record::{Holder, Record, check_officers};
use crate::shamir;
use crate::share::{Share, ShareId};

const PRF_DOMAIN: &[u8] = b"BIXI-ESCROW-PRF-V1";

/// Bytes of the key.
const KEY_BYTES: usize = 32;

/// A key encryption key in locked memory, while officers are together.
pub struct EscrowKey {
    id: [u8; 16],
    key: Secret,
}

impl std::fmt::Debug for EscrowKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "EscrowKey({})", self.name())
    }
}

impl EscrowKey {
    /// The escrow's name in hexadecimal.
    pub fn name(&self) -> String {
        hex::encode(self.id)
    }

    /// Writes PRF(key, input) to `out`: HMAC-SM3 over domain ‖ escrow ‖ input.
    pub fn derive(&self, input: &[u8], out: &mut [u8; 32]) {
        let mut mac = sm3::Hmac::new(self.key.as_slice());
        mac.update(PRF_DOMAIN);
        mac.update(&self.id);
        mac.update(input);
        *out = mac.finalize();
    }
}

/// An escrow on the machine of its ceremony, before the shares are given out.
#[derive(Debug)]
pub struct Escrow {
    /// Its key.
    pub key: EscrowKey,
    /// What the vault's slot says of it.
    pub record: Record,
    /// One for each officer, in the record's order.
    pub shares: Vec<Share>,
}

impl Escrow {
    /// Makes a key and splits it for the vault named `vault` among `officers`, of whom any `threshold` recover it. The key and every
    /// coefficient of its polynomial come from `draw`, 32 bytes each, which nobody may know: who knows the coefficients needs one share.
    ///
    /// # Errors
    /// [`EscrowError::Shape`], [`EscrowError::Name`], those of `draw`, or of the system's random source, which names the escrow.
    ///
    /// # Panics
    /// If `draw` gives not 32 bytes, or the key does not come back from its shares: nothing may be sealed under it then.
    pub fn establish<E: From<EscrowError>>(
        draw: &mut dyn FnMut() -> Result<Secret, E>,
        officers: &[impl AsRef<str>],
        threshold: usize,
        vault: &[u8; 32],
    ) -> Result<Self, E> {
        let officers: Vec<&str> = officers.iter().map(AsRef::as_ref).collect();
        check_officers(&officers, threshold)?;
        let key = draw()?;
        let coefficients = (1..threshold).map(|_| draw()).collect::<Result<Vec<_>, _>>()?;
        let is_whole = |secret: &Secret| secret.len() == KEY_BYTES;
        assert!(is_whole(&key) && coefficients.iter().all(is_whole), "32 bytes for the key and each coefficient");
        let (threshold, count) = (threshold as u8, officers.len() as u8);
        let escrow: [u8; 16] = OsRandom.array().map_err(EscrowError::Random)?;
        let vault = *vault.first_chunk().expect("32 bytes begin with 8");
        let values = shamir::split(&key, &coefficients, count);
        let shares: Vec<Share> = (1..)
            .zip(values)
            .map(|(index, value)| Share::new(ShareId { escrow, vault, threshold, count, index }, value))
            .collect();
        let holders = shares.iter().zip(officers);
        let holders =
            holders.map(|(share, name)| Holder { name: name.to_owned(), commitment: share.commitment() }).collect();
        let record = Record { id: escrow, threshold, holders };
        // Officers go away with what was split wrongly: the last moment to see it.
        for part in [&shares[..usize::from(threshold)], &shares[usize::from(count - threshold)..]] {
            assert!(combine(part).ct_eq(key.as_slice()), "shares give back the key they were made of");
        }
        Ok(Self { key: EscrowKey { id: escrow, key }, record, shares })
    }
}

fn combine<'a>(shares: impl IntoIterator<Item = &'a Share>) -> Secret {
    let points: Vec<_> = shares.into_iter().map(|share| (share.id().index, share.value())).collect();
    shamir::combine(&points)
}

/// The key of the escrow that `record` describes, from its officers' shares. Every share is held against the record first; more
/// than the threshold do no harm.
///
/// # Errors
/// [`EscrowError::Foreign`], [`EscrowError::Forged`] or [`EscrowError::Repeated`] name the share at fault;
/// [`EscrowError::TooFew`] says how many are missing.
pub fn recover(record: &Record, shares: &[Share]) -> Result<EscrowKey, EscrowError> {
    record.check()?;
    for (place, share) in shares.iter().enumerate() {
        let officer = record.check_share(share)?;
        let index = share.id().index;
        if shares[..place].iter().any(|earlier| earlier.id().index == index) {
            return Err(EscrowError::Repeated { index, officer: officer.to_owned() });
        }
    }
    let threshold = usize::from(record.threshold);
    if shares.len() < threshold {
        return Err(too_few(record, shares));
    }
    Ok(EscrowKey { id: record.id, key: combine(&shares[..threshold]) })
}

fn too_few(record: &Record, shares: &[Share]) -> EscrowError {
    let given = |index: u8| shares.iter().any(|share| share.id().index == index);
    let others: Vec<String> = (1..)
        .zip(&record.holders)
        .filter(|(index, _)| !given(*index))
        .map(|(index, holder)| format!("{index} ({})", holder.name))
        .collect();
    let threshold = usize::from(record.threshold);
    EscrowError::TooFew { given: shares.len(), threshold, missing: threshold - shares.len(), others: others.join(", ") }
}
