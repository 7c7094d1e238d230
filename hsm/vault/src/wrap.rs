//! The vault's cryptography: slot keys from the device's PRF, the epochs' key and the MAC key from the vault key.

use std::path::Path;

use bixi_accel::sm3::{self, hkdf};
use bixi_accel::sm4::gcm;
use bixi_hsm::KeyDevice;
use bixi_hsm::protocol::PRF_DOMAIN;
use bixi_platform::random::OsRandom;
use bixi_platform::secret::Secret;
use zeroize::Zeroizing;

use crate::VaultError;
use crate::format::{self, Body, KEY_BYTES, Parsed, Slot, SlotInfo};
use crate::kek::Kek;

const FRESH_DOMAIN: &[u8] = b"BIXI-VAULT-FRESH-V1";
const CHECK_DOMAIN: &[u8] = b"BIXI-VAULT-CHECK-V1";
const SLOT_DOMAIN: &[u8] = b"BIXI-VAULT-SLOT-V1";
const EPOCHS_DOMAIN: &[u8] = b"BIXI-VAULT-EPOCHS-V1";
const MAC_DOMAIN: &[u8] = b"BIXI-VAULT-MAC-V1";

/// A random public value.
pub(crate) fn fresh_salt() -> Result<[u8; 32], VaultError> {
    OsRandom.array().map_err(VaultError::Random)
}

/// A new key from two sources, the system's and the device's: as good as the better one.
pub(crate) fn fresh_key(device: &dyn KeyDevice) -> Result<Secret, VaultError> {
    let mut input = Secret::zeroed(2 * KEY_BYTES);
    let (system, of_device) = input.as_mut_slice().split_at_mut(KEY_BYTES);
    OsRandom.fill(system).map_err(VaultError::Random)?;
    device.random(of_device)?;
    let root = Zeroizing::new(hkdf::extract(FRESH_DOMAIN, input.as_slice()));
    let mut key = Secret::zeroed(KEY_BYTES);
    hkdf::expand(&root, &[FRESH_DOMAIN], key.as_mut_slice());
    Ok(key)
}

/// An SM4-GCM key used for exactly one message: it is derived with a salt drawn for that message alone, so its nonce, derived
/// with it, cannot repeat.
struct OneTimeKey {
    key: gcm::Key,
    nonce: [u8; 12],
}

impl OneTimeKey {
    fn derive(root: &[u8; 32], info: &[&[u8]]) -> Self {
        let mut bytes = Zeroizing::new([0; 28]);
        hkdf::expand(root, info, &mut *bytes);
        let (key, nonce) = bytes.split_first_chunk::<16>().expect("28 bytes");
        Self { key: gcm::Key::new(key), nonce: nonce.try_into().expect("12 bytes") }
    }
}

fn slot_root(vault: &[u8; 32], salt: &[u8; 32], kek: &dyn Kek) -> Result<Zeroizing<[u8; 32]>, VaultError> {
    let input = [PRF_DOMAIN, vault, salt].concat();
    let mut derived = Zeroizing::new([0; 32]);
    kek.derive(&input, &mut derived)?;
    Ok(Zeroizing::new(hkdf::extract(salt, &*derived)))
}

fn slot_check(root: &[u8; 32]) -> [u8; 8] {
    let mut check = [0; 8];
    hkdf::expand(root, &[CHECK_DOMAIN], &mut check);
    check
}

/// Seals the vault key for the recipient whose key encryption key `kek` is.
pub(crate) fn seal_slot(vault: &[u8; 32], info: SlotInfo, kek: &dyn Kek, key: &Secret) -> Result<Slot, VaultError> {
    let salt = fresh_salt()?;
    let root = slot_root(vault, &salt, kek)?;
    let one_time = OneTimeKey::derive(&root, &[SLOT_DOMAIN, vault]);
    let mut sealed: [u8; KEY_BYTES] = key.as_slice().try_into().expect("a vault key has 32 bytes");
    let tag = gcm::seal(&one_time.key, &one_time.nonce, &format::slot_aad(vault, &info), &mut sealed);
    Ok(Slot { info, salt, check: slot_check(&root), sealed, tag })
}

/// A slot that a key encryption key fits, and what opens it.
type Fitting<'a> = (&'a Slot, Zeroizing<[u8; 32]>);

/// The slot that the key encryption key fits.
fn fitting<'a>(body: &'a Body, kek: &dyn Kek) -> Result<Option<Fitting<'a>>, VaultError> {
    for slot in &body.slots {
        let root = slot_root(&body.vault, &slot.salt, kek)?;
        if slot_check(&root) == slot.check {
            return Ok(Some((slot, root)));
        }
    }
    Ok(None)
}

/// The slot that the key encryption key opens.
pub(crate) fn opened_by<'a>(body: &'a Body, kek: &dyn Kek) -> Result<Option<&'a SlotInfo>, VaultError> {
    Ok(fitting(body, kek)?.map(|(slot, _)| &slot.info))
}

/// Opens the slot that the key encryption key fits.
pub(crate) fn open_slots(path: &Path, body: &Body, kek: &dyn Kek) -> Result<Secret, VaultError> {
    match fitting(body, kek)? {
        Some((slot, root)) => open_slot(path, &body.vault, slot, &root),
        None => Err(VaultError::WrongKek { path: path.to_owned(), kek: kek.name(), slots: body.names() }),
    }
}

fn open_slot(path: &Path, vault: &[u8; 32], slot: &Slot, root: &[u8; 32]) -> Result<Secret, VaultError> {
    let one_time = OneTimeKey::derive(root, &[SLOT_DOMAIN, vault]);
    let mut key = Secret::from_slice(&slot.sealed);
    let aad = format::slot_aad(vault, &slot.info);
    gcm::open(&one_time.key, &one_time.nonce, &aad, key.as_mut_slice(), &slot.tag)
        .map_err(|_| VaultError::Altered { path: path.to_owned(), part: "recipient slot" })?;
    Ok(key)
}

fn vault_root(body: &Body, key: &Secret) -> Zeroizing<[u8; 32]> {
    Zeroizing::new(hkdf::extract(&body.salt, key.as_slice()))
}

/// The key of the MAC over the whole file.
pub(crate) fn mac_key(body: &Body, key: &Secret) -> Zeroizing<[u8; 32]> {
    let mut mac_key = Zeroizing::new([0; 32]);
    hkdf::expand(&vault_root(body, key), &[MAC_DOMAIN, &body.vault], &mut *mac_key);
    mac_key
}

/// Seals the epochs into the body. The body's salt must be fresh.
pub(crate) fn seal_epochs(body: &mut Body, epochs: &[(u32, Secret)], key: &Secret) {
    let mut plain = Secret::zeroed(epochs.len() * KEY_BYTES);
    for (place, (_, epoch)) in plain.as_mut_slice().chunks_exact_mut(KEY_BYTES).zip(epochs) {
        place.copy_from_slice(epoch.as_slice());
    }
    body.epochs = epochs.iter().map(|(epoch, _)| *epoch).collect();
    let one_time = OneTimeKey::derive(&vault_root(body, key), &[EPOCHS_DOMAIN, &body.vault]);
    let aad = format::epochs_aad(body);
    body.tag = gcm::seal(&one_time.key, &one_time.nonce, &aad, plain.as_mut_slice());
    body.sealed = plain.as_slice().to_vec();
}

/// Authenticates the whole file and opens the epochs.
pub(crate) fn open_epochs(path: &Path, parsed: &Parsed<'_>, key: &Secret) -> Result<Vec<(u32, Secret)>, VaultError> {
    let body = &parsed.body;
    let altered = |part| VaultError::Altered { path: path.to_owned(), part };
    let mut mac = sm3::Hmac::new(&*mac_key(body, key));
    mac.update(parsed.covered);
    if !mac.verify(&parsed.mac) {
        return Err(altered("whole file"));
    }
    let one_time = OneTimeKey::derive(&vault_root(body, key), &[EPOCHS_DOMAIN, &body.vault]);
    let mut plain = Secret::from_slice(&body.sealed);
    let aad = format::epochs_aad(body);
    gcm::open(&one_time.key, &one_time.nonce, &aad, plain.as_mut_slice(), &body.tag).map_err(|_| altered("epochs"))?;
    let keys = plain.as_slice().chunks_exact(KEY_BYTES).map(Secret::from_slice);
    Ok(body.epochs.iter().copied().zip(keys).collect())
}
