//! The bytes of a vault file: printed and parsed here and nowhere else.

use std::fmt;
use std::path::Path;

use bixi_accel::sm3;
use bixi_hsm::KeyRef;
use bixi_hsm_escrow::Record;
use bixi_sealed::AtRest;
use borsh::{BorshDeserialize, BorshSerialize};

use crate::VaultError;

/// First bytes of every vault.
pub(crate) const MAGIC: [u8; 8] = *b"BIXIVLT\n";
/// Newest format version this binary reads and writes. A vault is written in the oldest one that can say what it holds, so that
/// an older release still opens what it could have made.
pub(crate) const VERSION: u16 = 2;
/// The version in which every slot is a device's.
const VERSION_OF_DEVICES: u16 = 1;
/// Longest file.
pub(crate) const FILE_BYTES_MAX: usize = 256 * 1024;
/// Most epochs of one vault.
pub(crate) const EPOCHS_MAX: usize = 1024;
/// Most slots of one vault.
pub(crate) const SLOTS_MAX: usize = 8;
/// Bytes of one epoch key and of the vault key.
pub(crate) const KEY_BYTES: usize = 32;

/// Magic, version, length of the body.
const HEAD_BYTES: usize = 8 + 2 + 4;
/// MAC and checksum.
const TAIL_BYTES: usize = 32 + 32;

/// Whose key a slot is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, BorshSerialize, BorshDeserialize)]
pub enum SlotKind {
    /// The device the node runs with.
    Primary,
    /// A second device, kept ready.
    Standby,
    /// A device that officers keep offline, or a key of which each of them has a share.
    Escrow,
}

impl fmt::Display for SlotKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Primary => "primary",
            Self::Standby => "standby",
            Self::Escrow => "escrow",
        })
    }
}

/// Who can open a vault.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SlotInfo {
    /// Whose key.
    pub kind: SlotKind,
    /// Name given by the officer.
    pub label: String,
    /// The key encryption key.
    pub kek: KeyRef,
    /// Whose shares make it, where officers share it.
    pub escrow: Option<Record>,
}

/// One recipient: the vault key under one key encryption key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Slot {
    pub(crate) info: SlotInfo,
    pub(crate) salt: [u8; 32],
    /// Tells a wrong key encryption key from an altered slot.
    pub(crate) check: [u8; 8],
    pub(crate) sealed: [u8; KEY_BYTES],
    pub(crate) tag: [u8; 16],
}

/// A device's slot as both versions write it: kind, label, key encryption key, salt, check, sealed key, tag.
type DeviceSlot = (SlotKind, String, KeyRef, [u8; 32], [u8; 8], [u8; KEY_BYTES], [u8; 16]);
/// A slot of version 2.
type AnySlot = (DeviceSlot, Option<Record>);

impl Slot {
    fn to_wire(&self) -> AnySlot {
        let SlotInfo { kind, label, kek, escrow } = self.info.clone();
        ((kind, label, kek, self.salt, self.check, self.sealed, self.tag), escrow)
    }

    fn from_wire(((kind, label, kek, salt, check, sealed, tag), escrow): AnySlot) -> Self {
        Self { info: SlotInfo { kind, label, kek, escrow }, salt, check, sealed, tag }
    }

    /// An escrow's slot has officers, as many as there can be; a device's has none.
    fn is_sound(&self) -> bool {
        let info = &self.info;
        info.escrow.as_ref().is_none_or(|record| info.kind == SlotKind::Escrow && record.check().is_ok())
    }
}

/// Everything between head and tail.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Body {
    /// Cipher of files made in the current epoch.
    pub(crate) suite: AtRest,
    /// Random name of this vault, bound into every key.
    pub(crate) vault: [u8; 32],
    pub(crate) version: u64,
    /// Fresh for every write.
    pub(crate) salt: [u8; 32],
    pub(crate) slots: Vec<Slot>,
    pub(crate) current: u32,
    pub(crate) epochs: Vec<u32>,
    pub(crate) sealed: Vec<u8>,
    pub(crate) tag: [u8; 16],
}

type Wire<S> = (u8, [u8; 32], u64, [u8; 32], Vec<S>, u32, Vec<u32>, Vec<u8>, [u8; 16]);

impl Body {
    pub(crate) fn new(suite: AtRest, vault: [u8; 32]) -> Self {
        Self {
            suite,
            vault,
            version: 0,
            salt: [0; 32],
            slots: Vec::new(),
            current: 0,
            epochs: Vec::new(),
            sealed: Vec::new(),
            tag: [0; 16],
        }
    }

    /// Its slots in words.
    pub(crate) fn names(&self) -> String {
        let infos = self.slots.iter().map(|slot| &slot.info);
        infos.map(|info| format!("{} ({}) {}", info.label, info.kind, info.kek)).collect::<Vec<_>>().join(", ")
    }

    /// The oldest version that can say it.
    fn version_needed(&self) -> u16 {
        if self.slots.iter().any(|slot| slot.info.escrow.is_some()) { VERSION } else { VERSION_OF_DEVICES }
    }

    fn print(&self) -> Vec<u8> {
        let slots = self.slots.iter().map(Slot::to_wire);
        match self.version_needed() {
            VERSION_OF_DEVICES => self.print_with(slots.map(|(slot, _)| slot).collect()),
            _ => self.print_with(slots.collect()),
        }
    }

    fn print_with<S: BorshSerialize>(&self, slots: Vec<S>) -> Vec<u8> {
        let suite = self.suite.id();
        let wire: Wire<S> = (
            suite,
            self.vault,
            self.version,
            self.salt,
            slots,
            self.current,
            self.epochs.clone(),
            self.sealed.clone(),
            self.tag,
        );
        borsh::to_vec(&wire).expect("borsh into memory cannot fail")
    }

    fn parse(version: u16, bytes: &[u8]) -> Result<Self, String> {
        let body = match version {
            VERSION_OF_DEVICES => Self::parse_with(bytes, |slot: DeviceSlot| Slot::from_wire((slot, None))),
            _ => Self::parse_with(bytes, Slot::from_wire),
        }?;
        body.check()?;
        if body.version_needed() == version { Ok(body) } else { Err("an older version would hold it".to_owned()) }
    }

    fn parse_with<S: BorshDeserialize>(bytes: &[u8], slot: impl Fn(S) -> Slot) -> Result<Self, String> {
        let (suite, vault, version, salt, slots, current, epochs, sealed, tag) =
            Wire::<S>::try_from_slice(bytes).map_err(|error| error.to_string())?;
        let suite = AtRest::from_id(suite).ok_or("unknown suite")?;
        let slots = slots.into_iter().map(slot).collect();
        Ok(Self { suite, vault, version, salt, slots, current, epochs, sealed, tag })
    }

    fn check(&self) -> Result<(), String> {
        let counts = (1..=SLOTS_MAX).contains(&self.slots.len()) && (1..=EPOCHS_MAX).contains(&self.epochs.len());
        let ordered = self.epochs.is_sorted_by(|a, b| a < b);
        let newest = self.epochs.last() == Some(&self.current);
        let sized = self.sealed.len() == self.epochs.len() * KEY_BYTES;
        let sound = self.slots.iter().all(Slot::is_sound);
        if counts && ordered && newest && sized && sound {
            Ok(())
        } else {
            Err("its lists do not fit together".to_owned())
        }
    }
}

/// What the epochs' encryption authenticates besides the epochs.
pub(crate) fn epochs_aad(body: &Body) -> Vec<u8> {
    let fields = (body.suite.id(), body.vault, body.version, body.current, &body.epochs);
    borsh::to_vec(&fields).expect("borsh into memory cannot fail")
}

/// What a slot's encryption authenticates besides the vault key.
pub(crate) fn slot_aad(vault: &[u8; 32], info: &SlotInfo) -> Vec<u8> {
    let mut aad = borsh::to_vec(&(vault, info.kind, &info.label, &info.kek)).expect("borsh into memory cannot fail");
    if let Some(record) = &info.escrow {
        borsh::to_writer(&mut aad, record).expect("borsh into memory cannot fail");
    }
    aad
}

/// A parsed file, not yet authenticated.
pub(crate) struct Parsed<'a> {
    pub(crate) body: Body,
    /// What the MAC covers.
    pub(crate) covered: &'a [u8],
    pub(crate) mac: [u8; 32],
    pub(crate) checksum: [u8; 32],
}

/// Prints a file. `mac_key` authenticates all of it.
pub(crate) fn print(body: &Body, mac_key: &[u8; 32]) -> Vec<u8> {
    let version = body.version_needed();
    let body = body.print();
    let mut bytes = Vec::with_capacity(HEAD_BYTES + body.len() + TAIL_BYTES);
    bytes.extend(MAGIC);
    bytes.extend(version.to_le_bytes());
    bytes.extend(u32::try_from(body.len()).expect("bounded lists").to_le_bytes());
    bytes.extend(body);
    let mut mac = sm3::Hmac::new(mac_key);
    mac.update(&bytes);
    bytes.extend(mac.finalize());
    bytes.extend(sm3::digest(&bytes));
    bytes
}

/// Parses a file as far as it can be understood without a key.
pub(crate) fn parse<'a>(path: &Path, bytes: &'a [u8]) -> Result<Parsed<'a>, VaultError> {
    let damaged = |reason: &str| VaultError::Damaged { path: path.to_owned(), reason: reason.to_owned() };
    if bytes.len() > FILE_BYTES_MAX {
        return Err(damaged("too long"));
    }
    let (content, checksum) = bytes.split_last_chunk::<32>().ok_or_else(|| damaged("too short"))?;
    if sm3::digest(content) != *checksum {
        return Err(damaged("its checksum does not fit"));
    }
    let (covered, mac) = content.split_last_chunk::<32>().ok_or_else(|| damaged("too short"))?;
    let rest = covered.strip_prefix(&MAGIC).ok_or_else(|| damaged("it does not begin like a vault"))?;
    let (version, rest) = rest.split_first_chunk::<2>().ok_or_else(|| damaged("too short"))?;
    let version = u16::from_le_bytes(*version);
    if !(VERSION_OF_DEVICES..=VERSION).contains(&version) {
        return Err(VaultError::Version { path: path.to_owned(), version, supported: VERSION });
    }
    let (len, body) = rest.split_first_chunk::<4>().ok_or_else(|| damaged("too short"))?;
    if u32::from_le_bytes(*len) as usize != body.len() {
        return Err(damaged("its length field does not fit"));
    }
    let body = Body::parse(version, body).map_err(|reason| damaged(&reason))?;
    Ok(Parsed { body, covered, mac: *mac, checksum: *checksum })
}
