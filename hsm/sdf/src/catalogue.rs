//! Names of a device's keys. A device knows indices only, so names are records of ours in a directory:
//!
//! - `keys.toml` names key pairs: written when a pair is generated here, and by the officer who made pairs with the vendor's
//!   tool. A public key noted there pins the pair: another one at that index is refused. Its list `encryption` holds further
//!   indices whose encryption pairs are ours.
//! - `*.kek` hold key encryption keys ([`crate::kek`]).
//!
//! A signing pair without a name is called `sign-` and its index.

use std::collections::BTreeSet;
use std::fs::{self, File, OpenOptions, TryLockError};
use std::io;
use std::ops::RangeInclusive;
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bixi_hsm::{Cause, DeviceError, KeyKind, KeyRef, KeySpec, KeyUri, ObjectType, Scheme, whole_file};
use serde::{Deserialize, Serialize};

use crate::abi::INDEX_MAX;
use crate::kek::{self, KekFile};

const FILE: &str = "keys.toml";
const FILE_BYTES_MAX: u64 = 1 << 20;
const KEKS_MAX: usize = 64;
const UNNAMED: &str = "sign-";

/// A named key pair.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Pair {
    /// Its name.
    pub label: String,
    /// Its index in the device.
    pub index: u32,
    /// X ‖ Y in hexadecimal: no other pair is accepted at this index.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub public_key: Option<String>,
    /// It was generated inside the device by this backend, so its origin is known.
    #[serde(default)]
    pub generated: bool,
}

impl Pair {
    /// The public key that is pinned, if one is.
    pub(crate) fn pinned(&self) -> Result<Option<[u8; 64]>, &'static str> {
        let Some(text) = &self.public_key else { return Ok(None) };
        let mut key = [0; 64];
        hex::decode_to_slice(text, &mut key).map_err(|_| "public_key is not 64 bytes in hexadecimal")?;
        Ok(Some(key))
    }
}

#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Names {
    /// Indices whose encryption pairs are ours to use, besides those of named pairs.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    encryption: BTreeSet<u32>,
    #[serde(default)]
    pair: Vec<Pair>,
}

/// What is known of a device's keys.
#[derive(Clone, Debug)]
pub(crate) struct Catalogue {
    directory: PathBuf,
    token: String,
    /// Where pairs are looked for, and made.
    pub indices: RangeInclusive<u32>,
    pub pairs: Vec<Pair>,
    /// Indices of encryption pairs that were made here, or that the officer gives.
    encryption: BTreeSet<u32>,
    pub keks: Vec<Arc<KekFile>>,
}

impl Catalogue {
    /// Reads the records in `directory`, which is made if it is not there.
    pub(crate) fn read(directory: &Path, token: &str, indices: RangeInclusive<u32>) -> Result<Self, DeviceError> {
        let unusable = |what: &Path, reason: &dyn std::fmt::Display| {
            DeviceError::new("key records", Cause::Setup, format!("{}: {reason}", what.display()))
                .with_advice("correct the file; it names the device's key pairs (label and index)")
        };
        if !(1..=INDEX_MAX).contains(indices.start()) || !(1..=INDEX_MAX).contains(indices.end()) || indices.is_empty()
        {
            return Err(unusable(directory, &format_args!("indices {indices:?} are not within 1 to {INDEX_MAX}")));
        }
        fs::DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(directory)
            .map_err(|error| unusable(directory, &error))?;
        let path = directory.join(FILE);
        let text = whole_file::read(&path, FILE_BYTES_MAX).map_err(|error| unusable(&path, &error))?;
        let text = String::from_utf8(text.unwrap_or_default()).map_err(|error| unusable(&path, &error))?;
        let names: Names = toml::from_str(&text).map_err(|error| unusable(&path, &error))?;
        let keks = read_keks(directory).map_err(|error| unusable(directory, &error))?;
        let keks = keks.into_iter().map(|path| KekFile::read(path).map(Arc::new)).collect::<Result<_, _>>()?;
        let Names { encryption, pair: pairs } = names;
        let (directory, token) = (directory.to_owned(), token.to_owned());
        let catalogue = Self { directory, token, indices, pairs, encryption, keks };
        catalogue.check().map_err(|reason| unusable(&path, &reason))?;
        Ok(catalogue)
    }

    fn check(&self) -> Result<(), String> {
        let (mut labels, mut indices) = (BTreeSet::new(), BTreeSet::new());
        for pair in &self.pairs {
            let Pair { label, index, .. } = pair;
            KeySpec::new(label, KeyKind::Sm2Sign).check().map_err(|error| error.message)?;
            pair.pinned().map_err(|reason| format!("pair {label:?}: {reason}"))?;
            let unnamed = unnamed_index(label).is_some_and(|named| named != *index);
            if unnamed || !(1..=INDEX_MAX).contains(index) || !indices.insert(*index) {
                return Err(format!(
                    "pair {label:?}: index {index} is taken, misleading or not within 1 to {INDEX_MAX}"
                ));
            }
        }
        if let Some(index) = self.encryption.iter().find(|index| !(1..=INDEX_MAX).contains(*index)) {
            return Err(format!("encryption: index {index} is not within 1 to {INDEX_MAX}"));
        }
        let named = self.pairs.iter().map(|pair| &pair.label).chain(self.keks.iter().map(|file| &file.kek.label));
        match named.into_iter().find(|label| !labels.insert(label.as_str())) {
            Some(label) => Err(format!("two keys are named {label:?}")),
            None => Ok(()),
        }
    }

    /// Every index that may hold a signing pair.
    pub(crate) fn all_indices(&self) -> BTreeSet<u32> {
        self.indices.clone().chain(self.pairs.iter().map(|pair| pair.index)).collect()
    }

    /// Every index whose encryption pair is ours to use: another's pair, whose password may be another's too, is left alone.
    pub(crate) fn encryption_indices(&self) -> BTreeSet<u32> {
        self.encryption.iter().copied().chain(self.pairs.iter().map(|pair| pair.index)).collect()
    }

    /// The name of an index.
    pub(crate) fn pair(&self, index: u32) -> Option<&Pair> {
        self.pairs.iter().find(|pair| pair.index == index)
    }

    /// Refuses a label that a key has already.
    pub(crate) fn refuse_taken(&self, label: &str) -> Result<(), DeviceError> {
        let named = self.pairs.iter().any(|pair| pair.label == label);
        if named || self.keks.iter().any(|file| file.kek.label == label) || unnamed_index(label).is_some() {
            let message = format!("a key named {label:?} exists, or the name is that of an index");
            return Err(DeviceError::new("generate", Cause::KeyExists, message));
        }
        Ok(())
    }

    /// The index of the signing pair that a reference names. Whether the device has one there, the device says.
    pub(crate) fn find_pair(&self, key: &KeyRef) -> Result<u32, DeviceError> {
        self.refuse_other(key, ObjectType::Private)?;
        self.named_pair(key.uri()).ok_or_else(|| not_found(key, "no signing pair of that name"))
    }

    /// The key encryption key that a reference names.
    pub(crate) fn find_kek(&self, key: &KeyRef) -> Result<Arc<KekFile>, DeviceError> {
        self.refuse_other(key, ObjectType::SecretKey)?;
        self.named_kek(key.uri()).cloned().ok_or_else(|| not_found(key, "no key encryption key of that name"))
    }

    /// Refuses references to another device, and to another type than is wanted: looked up as what they say, to tell a missing
    /// key from a misused one.
    fn refuse_other(&self, key: &KeyRef, wanted: ObjectType) -> Result<(), DeviceError> {
        let uri = key.uri();
        if uri.scheme != Scheme::Sdf || uri.token.as_ref().is_some_and(|token| *token != self.token) {
            return Err(not_found(key, "it names another device"));
        }
        let exists = match uri.object_type {
            Some(ObjectType::Private) if wanted != ObjectType::Private => self.named_pair(uri).is_some(),
            Some(ObjectType::SecretKey) if wanted != ObjectType::SecretKey => self.named_kek(uri).is_some(),
            Some(other) if other != wanted => false,
            _ => return Ok(()),
        };
        if !exists {
            return Err(not_found(key, "no key of that name and type"));
        }
        let message = format!("{key} is no object of type {}", wanted.name());
        Err(DeviceError::new("key records", Cause::WrongKeyUse, message))
    }

    fn named_pair(&self, uri: &KeyUri) -> Option<u32> {
        let named = self.pairs.iter().find(|pair| {
            uri.object.as_ref().is_none_or(|label| *label == pair.label)
                && uri.id.as_ref().is_none_or(|id| id[..] == pair_id(pair.index))
        });
        if let Some(pair) = named {
            return Some(pair.index);
        }
        let by_label = uri.object.as_deref().map(unnamed_index);
        let by_id = uri.id.as_deref().map(|id| id.try_into().ok().map(u32::from_be_bytes));
        let index = match (by_label, by_id) {
            (Some(label), Some(id)) if label == id => id,
            (Some(index), None) | (None, Some(index)) => index,
            _ => None,
        };
        index.filter(|index| self.indices.contains(index) && self.pair(*index).is_none())
    }

    fn named_kek(&self, uri: &KeyUri) -> Option<&Arc<KekFile>> {
        self.keks.iter().find(|file| {
            uri.object.as_ref().is_none_or(|label| *label == file.kek.label)
                && uri.id.as_ref().is_none_or(|id| id[..] == file.kek.id)
        })
    }

    /// The reference of the signing pair at an index.
    pub(crate) fn pair_uri(&self, index: u32) -> Result<KeyRef, DeviceError> {
        let label = self.pair(index).map_or_else(|| format!("{UNNAMED}{index}"), |pair| pair.label.clone());
        self.uri(&label, &pair_id(index), ObjectType::Private)
    }

    /// The reference of a key encryption key.
    pub(crate) fn kek_uri(&self, file: &KekFile) -> Result<KeyRef, DeviceError> {
        self.uri(&file.kek.label, &file.kek.id, ObjectType::SecretKey)
    }

    fn uri(&self, label: &str, id: &[u8], object_type: ObjectType) -> Result<KeyRef, DeviceError> {
        KeyRef::new(KeyUri::for_object(Scheme::Sdf, &self.token, label, id, object_type))
            .map_err(|error| DeviceError::new("key records", Cause::Setup, error.to_string()))
    }

    /// Adds a name and makes it durable.
    pub(crate) fn add_pair(&mut self, pair: Pair) -> Result<(), DeviceError> {
        self.pairs.push(pair);
        self.write("name it in this file by hand, with its label and index")
    }

    /// Notes that the encryption pair at an index was made here, durably.
    pub(crate) fn add_encryption(&mut self, index: u32) -> Result<(), DeviceError> {
        self.encryption.insert(index);
        self.write(&format!("add {index} to the list named encryption in this file by hand"))
    }

    fn write(&self, otherwise: &str) -> Result<(), DeviceError> {
        let path = self.directory.join(FILE);
        let text = toml::to_string(&Names { encryption: self.encryption.clone(), pair: self.pairs.clone() });
        let written = text.map_err(io::Error::other).and_then(|text| whole_file::replace(&path, text.as_bytes()));
        written.map_err(|error| {
            DeviceError::new("key records", Cause::Setup, format!("{}: {error}", path.display()))
                .with_advice(format!("the pair was made; {otherwise}"))
        })
    }

    /// Where key files are.
    pub(crate) fn directory(&self) -> &Path {
        &self.directory
    }

    /// Keeps other processes from making keys; released when dropped.
    pub(crate) fn lock(&self) -> Result<File, DeviceError> {
        let path = self.directory.join("lock");
        let failed = |cause, reason: &dyn std::fmt::Display| {
            DeviceError::new("key records", cause, format!("{}: {reason}", path.display()))
        };
        let opened = OpenOptions::new().create(true).truncate(false).write(true).mode(0o600).open(&path);
        let file = opened.map_err(|error| failed(Cause::Setup, &error))?;
        match file.try_lock() {
            Ok(()) => Ok(file),
            Err(TryLockError::WouldBlock) => Err(failed(Cause::Busy, &"another process makes keys on this device")),
            Err(TryLockError::Error(error)) => Err(failed(Cause::Setup, &error)),
        }
    }
}

/// The id of a pair in references: its index.
fn pair_id(index: u32) -> [u8; 4] {
    index.to_be_bytes()
}

fn unnamed_index(label: &str) -> Option<u32> {
    label.strip_prefix(UNNAMED)?.parse().ok()
}

fn not_found(key: &KeyRef, why: &str) -> DeviceError {
    DeviceError::new("key records", Cause::KeyNotFound, format!("{key}: {why}"))
}

/// Paths of the key files, sorted.
fn read_keks(directory: &Path) -> io::Result<Vec<PathBuf>> {
    let mut paths = Vec::new();
    for entry in fs::read_dir(directory)? {
        let path = entry?.path();
        if path.extension().is_some_and(|extension| extension == kek::EXTENSION) {
            paths.push(path);
        }
        if paths.len() > KEKS_MAX {
            return Err(io::Error::other(format!("more than {KEKS_MAX} key files; remove those that nothing needs")));
        }
    }
    paths.sort();
    Ok(paths)
}

#[cfg(test)]
mod tests;
