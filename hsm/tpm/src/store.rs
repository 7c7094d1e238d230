//! Where wrapped keys lie: a directory with one file for the store and one for each key.
//!
//! What a file holds the TPM wrapped for itself, so files may be copied for safety and are worth nothing elsewhere. Each ends
//! with the SM3 digest of what stands before it, which finds damage and no more: who can write here can exchange two keys'
//! labels, but make no key, and a reference with an id (the hash in the key's name) follows the key, not the label.

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io;
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use bixi_accel::sm3;
use bixi_hsm::device::lookup::{Candidate, lookup};
use bixi_hsm::{Cause, DeviceError, KeyInfo, KeyKind, KeyRef, KeyUri, ObjectType, Scheme, whole_file};
use borsh::{BorshDeserialize, BorshSerialize};

use crate::command::Entity;
use crate::public::{PRIVATE_BYTES_MAX, PUBLIC_BYTES_MAX, Public, Template, name_of};
use crate::session::SaltKey;

const DEVICE_MAGIC: [u8; 8] = *b"BIXITPM1";
const KEY_MAGIC: [u8; 8] = *b"BIXITPK1";
const DEVICE_FILE: &str = "store.tpm";
const LOCK_FILE: &str = "store.lock";
const KEY_EXTENSION: &str = "key";
/// Between two looks at a lock that another maker of keys holds.
const LOCK_PAUSE: Duration = Duration::from_millis(20);
/// Longest file: four keys and their labels.
const FILE_BYTES_MAX: u64 = 16 * 1024;
/// Most keys in a store.
pub(crate) const KEYS_MAX: usize = 1024;
/// Bytes of an id: the beginning of the hash in a key's name.
const ID_BYTES: usize = 16;

/// A key as the TPM wrapped it.
#[derive(Debug, Clone, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub(crate) struct Wrapped {
    pub(crate) public: Vec<u8>,
    pub(crate) private: Vec<u8>,
}

impl Wrapped {
    fn is_sound(&self) -> bool {
        self.public.len() <= PUBLIC_BYTES_MAX && self.private.len() <= PRIVATE_BYTES_MAX
    }
}

/// What belongs to the store as a whole.
#[derive(Debug, Clone, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub(crate) struct StoreRecord {
    /// Its name: the token in a key's URI.
    pub(crate) label: String,
    /// Persistent handle and public area of the parent of all keys.
    pub(crate) parent_handle: u32,
    pub(crate) parent_public: Vec<u8>,
    /// An HMAC key that shows at the start whether the PIN is right.
    pub(crate) login: Wrapped,
    /// Signs what the TPM states of keys.
    pub(crate) attestation: Wrapped,
    /// Index of the counter, if there is one.
    pub(crate) counter: Option<u32>,
}

impl StoreRecord {
    /// The parent, as sessions are salted with it; `None` when the file names no such key. Only one of our template is: with a
    /// parent whose private half somebody else knows, he would read the salt, and with it the PIN of keys that are made.
    pub(crate) fn salt_key(&self) -> Option<SaltKey> {
        let public = Public::decode(&self.parent_public).ok().filter(|_| Template::made_storage(&self.parent_public));
        let point = public?.storage_point()?;
        let entity = Entity { handle: self.parent_handle, name: name_of(&self.parent_public) };
        Some(SaltKey { entity, point })
    }
}

/// One key of the store.
#[derive(Debug, Clone, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub(crate) struct KeyRecord {
    pub(crate) label: String,
    pub(crate) key: Wrapped,
}

impl KeyRecord {
    /// What its public area says it is for.
    pub(crate) fn kind(&self) -> Option<KeyKind> {
        Public::decode(&self.key.public).ok()?.kind()
    }

    /// The beginning of the hash in its name.
    pub(crate) fn id(&self) -> Vec<u8> {
        name_of(&self.key.public)[2..2 + ID_BYTES].to_vec()
    }

    fn file_name(&self) -> String {
        let hex: String = self.id().iter().map(|byte| format!("{byte:02x}")).collect();
        format!("{hex}.{KEY_EXTENSION}")
    }

    pub(crate) fn describe(&self, token: &str, kind: KeyKind) -> Result<KeyInfo, DeviceError> {
        let uri = KeyUri::for_object(Scheme::Tpm, token, &self.label, &self.id(), object_type(kind));
        let uri = KeyRef::new(uri).map_err(|error| DeviceError::new("key file", Cause::Rejected, error.to_string()))?;
        // A public area of another kind would not have been taken: see `Public::kind`.
        Ok(KeyInfo { uri, label: self.label.clone(), kind, extractable: false, sensitive: true, local: true })
    }
}

fn object_type(kind: KeyKind) -> ObjectType {
    if kind == KeyKind::Sm2Sign { ObjectType::Private } else { ObjectType::SecretKey }
}

/// A store on disk.
#[derive(Debug, Clone)]
pub(crate) struct Store {
    directory: PathBuf,
    pub(crate) record: StoreRecord,
}

impl Store {
    /// Reads what belongs to the store as a whole.
    pub(crate) fn open(directory: &Path) -> Result<Self, DeviceError> {
        let path = directory.join(DEVICE_FILE);
        let Some(record) = read::<StoreRecord>(&path, DEVICE_MAGIC)? else {
            return Err(
                unusable(&path, "there is no such file").with_advice("initialise the store, or correct its path")
            );
        };
        if record.salt_key().is_none() {
            return Err(unusable(&path, "it names a parent of keys that was not made from this store's template"));
        }
        let made = |template: Template, key: &Wrapped| key.is_sound() && template.made(&key.public);
        if !made(Template::hmac(), &record.login) || !made(Template::attestation(), &record.attestation) {
            return Err(unusable(&path, "its login or attestation key was not made from this store's templates"));
        }
        Ok(Self { directory: directory.to_owned(), record })
    }

    /// Whether there is something at `directory` already.
    pub(crate) fn is_there(directory: &Path) -> bool {
        directory.join(DEVICE_FILE).exists()
    }

    /// Makes the directory, readable by its owner only, and puts the record in it.
    pub(crate) fn create(directory: &Path, record: StoreRecord) -> Result<Self, DeviceError> {
        let path = directory.join(DEVICE_FILE);
        let made = fs::DirBuilder::new().recursive(true).mode(0o700).create(directory);
        made.and_then(|()| whole_file::replace(&path, &framed(DEVICE_MAGIC, &record)))
            .map_err(|error| unusable(&path, &error.to_string()))?;
        Ok(Self { directory: directory.to_owned(), record })
    }

    /// The same store with another counter, durably.
    pub(crate) fn put_counter(&self, index: u32) -> Result<(), DeviceError> {
        let record = StoreRecord { counter: Some(index), ..self.record.clone() };
        let path = self.directory.join(DEVICE_FILE);
        whole_file::replace(&path, &framed(DEVICE_MAGIC, &record)).map_err(|error| unusable(&path, &error.to_string()))
    }

    /// One maker of keys at a time, whatever process it is in; ends when the file is dropped. Another is waited for no longer
    /// than `patience`.
    pub(crate) fn lock(&self, patience: Duration) -> Result<File, DeviceError> {
        let path = self.directory.join(LOCK_FILE);
        let opened = OpenOptions::new().create(true).truncate(false).write(true).mode(0o600).open(&path);
        let file = opened.map_err(|error| unusable(&path, &error.to_string()))?;
        let began = Instant::now();
        loop {
            match file.try_lock() {
                Ok(()) => return Ok(file),
                Err(TryLockError::Error(error)) => return Err(unusable(&path, &error.to_string())),
                Err(TryLockError::WouldBlock) if began.elapsed() < patience => std::thread::sleep(LOCK_PAUSE),
                Err(TryLockError::WouldBlock) => {
                    let message = format!("another process makes a key; it holds {}", path.display());
                    return Err(DeviceError::new("generate", Cause::Busy, message));
                }
            }
        }
    }

    /// Every key, by label. A file that cannot be read is an error: a key that silently is not there would be made again.
    pub(crate) fn keys(&self) -> Result<Vec<(KeyKind, KeyRecord)>, DeviceError> {
        let listed = |error: io::Error| unusable(&self.directory, &error.to_string());
        let mut keys = Vec::new();
        for entry in fs::read_dir(&self.directory).map_err(listed)? {
            let path = entry.map_err(listed)?.path();
            if path.extension().is_none_or(|extension| extension != KEY_EXTENSION) {
                continue;
            }
            if keys.len() >= KEYS_MAX {
                return Err(unusable(&self.directory, &format!("more than {KEYS_MAX} keys")));
            }
            keys.extend(read_key(&path)?);
        }
        keys.sort_by(|(_, left), (_, right)| (&left.label, left.id()).cmp(&(&right.label, right.id())));
        Ok(keys)
    }

    /// The one key that a reference names, and what it is for.
    pub(crate) fn find(&self, function: &'static str, key: &KeyRef) -> Result<(KeyKind, KeyRecord), DeviceError> {
        let keys = self.keys()?;
        let candidates =
            keys.iter().map(|(kind, record)| Candidate { label: &record.label, id: record.id(), key: (*kind, record) });
        let (found, record) = lookup(function, key, Scheme::Tpm, &self.record.label, candidates)?;
        if key.uri().object_type.is_some_and(|named| named != object_type(found)) {
            return Err(DeviceError::new(function, Cause::WrongKeyUse, format!("{key} is a {found:?} key")));
        }
        Ok((found, record.clone()))
    }

    /// Keeps a new key, durably.
    pub(crate) fn add(&self, record: &KeyRecord) -> Result<(), DeviceError> {
        let path = self.directory.join(record.file_name());
        whole_file::replace(&path, &framed(KEY_MAGIC, record)).map_err(|error| unusable(&path, &error.to_string()))
    }
}

fn read_key(path: &Path) -> Result<Option<(KeyKind, KeyRecord)>, DeviceError> {
    let Some(record) = read::<KeyRecord>(path, KEY_MAGIC)? else { return Ok(None) };
    match record.kind() {
        Some(kind) if record.key.is_sound() => Ok(Some((kind, record))),
        _ => Err(unusable(path, "its public area is of no key that could have been made here")),
    }
}

fn framed(magic: [u8; 8], record: &impl BorshSerialize) -> Vec<u8> {
    let mut bytes = magic.to_vec();
    record.serialize(&mut bytes).expect("writing to memory does not fail");
    let digest = sm3::digest(&bytes);
    bytes.extend(digest);
    bytes
}

/// A whole file; `None` when there is none.
fn read<T: BorshDeserialize>(path: &Path, magic: [u8; 8]) -> Result<Option<T>, DeviceError> {
    let bytes = whole_file::read(path, FILE_BYTES_MAX).map_err(|error| unusable(path, &error.to_string()))?;
    let Some(bytes) = bytes else { return Ok(None) };
    parse(&bytes, magic).map(Some).ok_or_else(|| unusable(path, "it is damaged, or no file of this kind"))
}

fn parse<T: BorshDeserialize>(bytes: &[u8], magic: [u8; 8]) -> Option<T> {
    let (framed, digest) = bytes.split_last_chunk::<32>()?;
    if sm3::digest(framed) != *digest {
        return None;
    }
    T::try_from_slice(framed.strip_prefix(&magic)?).ok()
}

fn unusable(path: &Path, what: &str) -> DeviceError {
    DeviceError::new("key store", Cause::Setup, format!("{}: {what}", path.display()))
        .with_advice("bring the file back from a copy; it is worth nothing on another TPM, and no secret")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wrapped_of(template: &Template) -> Wrapped {
        Wrapped { public: template.area(), private: vec![7; 100] }
    }

    fn wrapped() -> Wrapped {
        wrapped_of(&Template::hmac())
    }

    fn store(directory: &Path) -> Store {
        let algorithms = crate::public::Algorithms { sm3: false, aes: true };
        let record = StoreRecord {
            label: "t".into(),
            parent_handle: 0x8100_8000,
            parent_public: Template::storage(algorithms).area(),
            login: wrapped(),
            attestation: wrapped_of(&Template::attestation()),
            counter: None,
        };
        Store::create(directory, record).unwrap()
    }

    #[test]
    fn what_was_kept_is_found_again() {
        let directory = tempfile::tempdir().unwrap();
        let kept = store(directory.path());
        kept.add(&KeyRecord { label: "kek".into(), key: wrapped() }).unwrap();
        let opened = Store::open(directory.path()).unwrap();
        assert_eq!(opened.record, kept.record);
        let [(kind, record)] = &opened.keys().unwrap()[..] else { panic!("one key was kept") };
        let info = record.describe("t", *kind).unwrap();
        assert_eq!(opened.find("prf", &info.uri).unwrap(), (KeyKind::Kek, record.clone()));
        let mut other = info.uri.uri().clone();
        other.object_type = Some(ObjectType::Private);
        let misused = opened.find("sign", &KeyRef::new(other).unwrap()).unwrap_err();
        assert_eq!(misused.cause, Cause::WrongKeyUse);
    }

    #[test]
    fn a_parent_or_a_key_of_another_template_is_not_believed() {
        let directory = tempfile::tempdir().unwrap();
        let sound = store(directory.path()).record;
        let refused = |record: StoreRecord| {
            Store::create(directory.path(), record).unwrap();
            let error = Store::open(directory.path()).unwrap_err();
            assert_eq!(error.cause, Cause::Setup, "{error}");
        };
        // fixedTPM, fixedParent, sensitiveDataOrigin: all in the last byte of the attributes.
        for bit in [1 << 1, 1 << 4, 1 << 5] {
            let mut free = sound.clone();
            free.parent_public[7] ^= bit;
            refused(free);
            let mut free = sound.clone();
            free.login.public[7] ^= bit;
            refused(free);
        }
        refused(StoreRecord { attestation: wrapped(), ..sound.clone() });
        Store::create(directory.path(), sound).unwrap();
        Store::open(directory.path()).unwrap();
    }

    #[test]
    fn a_maker_of_keys_that_does_not_end_is_not_waited_for_for_ever() {
        let directory = tempfile::tempdir().unwrap();
        let store = store(directory.path());
        let held = store.lock(Duration::ZERO).unwrap();
        assert_eq!(store.lock(Duration::ZERO).unwrap_err().cause, Cause::Busy);
        drop(held);
        store.lock(Duration::ZERO).unwrap();
    }

    #[test]
    fn every_flipped_byte_and_every_cut_is_refused_by_name() {
        let directory = tempfile::tempdir().unwrap();
        let kept = store(directory.path());
        let record = KeyRecord { label: "kek".into(), key: wrapped() };
        kept.add(&record).unwrap();
        let path = directory.path().join(record.file_name());
        let whole = fs::read(&path).unwrap();
        for at in 0..whole.len() {
            let mut flipped = whole.clone();
            flipped[at] ^= 0x10;
            for bytes in [&flipped[..], &whole[..at]] {
                fs::write(&path, bytes).unwrap();
                let refused = kept.keys().unwrap_err();
                assert_eq!(refused.cause, Cause::Setup);
                assert!(refused.message.contains(&*path.to_string_lossy()), "{refused}");
            }
        }
    }
}
