//! One token on disk.
//!
//! ```text
//!  lock       empty; flock serialises writers and logins of every process
//!  token      label, serial, master key wrapped under SO PIN and user PIN (checksum; HMAC under the master key)
//!  attempts   PIN attempts left, written and synced before an attempt is evaluated (checksum)
//!  objects    every token object, sealed under the master key: the truth
//!  public     projection of `objects` to what is not CKA_PRIVATE, for sessions without login (checksum; HMAC)
//! ```
//!
//! Invariants:
//! - `objects` is written before `public`; whoever logs in and finds `public` at another generation writes it anew;
//! - nothing of a private object is in `public`;
//! - an attempt is on disk before Argon2 runs; at 0 left nothing is evaluated any more.
//!
//! Someone who can write to the directory can put an old copy of it back, `attempts` included: against that the PIN has
//! only Argon2's cost. A device of its own does better, and the operator's manual says so.

mod envelope;
mod header;
mod pin;

use std::fs::{self, File, TryLockError};
use std::io;
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use bixi_platform::io::PreadStorage;
use bixi_platform::secret::Secret;
use bixi_sealed::passphrase::WrapError;
use bixi_sealed::{AtRest, KeyRing, Purpose, small};
use cryptoki_sys::*;

use crate::config::Config;
use crate::error::{CkError, CkResult};
use crate::object::codec::{Count, Fill, Inventory};
pub(crate) use header::{Attempts, Header};
pub(crate) use pin::Role;
use pin::{Cost, MASTER_BYTES, Wrap};

const KIND_PUBLIC: &str = "public";
const PUBLIC_INFO: &[u8] = b"BIXI-TOKEN-PUBLIC-V1";
const LOCK_WAIT: Duration = Duration::from_secs(30);
const LOCK_PAUSE: Duration = Duration::from_millis(2);

/// Why the store could not be used. Logged with its path; the caller sees only [`StoreError::code`].
#[derive(Debug, thiserror::Error)]
pub(crate) enum StoreError {
    #[error("{path}: {source}")]
    Io { path: PathBuf, source: io::Error },
    #[error("{path} is damaged: {what}; restore it from a backup, or initialise the token anew")]
    Damaged { path: PathBuf, what: &'static str },
    #[error("{path} does not open under this token's key: it was altered or belongs to another token ({what})")]
    Altered { path: PathBuf, what: String },
    #[error("{path}: another process has held the lock for {} s", LOCK_WAIT.as_secs())]
    Locked { path: PathBuf },
    #[error("PKCS#11 refusal 0x{:08x}", .0.0)]
    Refused(CkError),
}

impl StoreError {
    fn io(path: &Path, source: io::Error) -> Self {
        StoreError::Io { path: path.into(), source }
    }

    /// The return value of the C function.
    fn code(&self) -> CkError {
        match self {
            StoreError::Io { source, .. } if source.kind() == io::ErrorKind::StorageFull => CkError(CKR_DEVICE_MEMORY),
            StoreError::Io { .. } | StoreError::Altered { .. } => CkError(CKR_DEVICE_ERROR),
            StoreError::Damaged { .. } => CkError(CKR_TOKEN_NOT_RECOGNIZED),
            StoreError::Locked { .. } => CkError(CKR_FUNCTION_FAILED),
            StoreError::Refused(error) => *error,
        }
    }
}

impl From<CkError> for StoreError {
    fn from(error: CkError) -> Self {
        StoreError::Refused(error)
    }
}

/// Identifies one version of a file on disk without reading it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Fingerprint {
    inode: u64,
    length: u64,
    changed_ns: i128,
}

/// The master key of a logged-in token.
pub(crate) struct Unlocked {
    /// The life of the token this key belongs to.
    pub(crate) instance: [u8; 16],
    master: Secret,
    ring: KeyRing,
}

impl Unlocked {
    fn new(instance: [u8; 16], master: Secret) -> CkResult<Self> {
        let copy = Secret::from_slice(master.as_slice());
        let ring = KeyRing::new(AtRest::Sm4Gcm, vec![(1, copy)], 1).map_err(|_| CkError(CKR_GENERAL_ERROR))?;
        Ok(Self { instance, master, ring })
    }
}

/// Held while the store is locked against other processes and threads.
pub(crate) struct Guard {
    file: File,
}

impl Drop for Guard {
    /// Said, not left to closing: a child that the caller forked meanwhile has the file open for as long as it lives.
    fn drop(&mut self) {
        let _ = self.file.unlock();
    }
}

/// The directory of one slot.
#[derive(Clone, Debug)]
pub(crate) struct Store {
    directory: PathBuf,
    log: crate::log::Target,
    cost: Cost,
    attempts_max: u8,
}

impl Store {
    pub(crate) fn new(config: &Config, slot: u64) -> Self {
        Self {
            directory: config.directory.join(format!("slot-{slot}")),
            log: config.log.clone(),
            cost: Cost { memory_kib: config.argon2_memory_kib, passes: config.argon2_passes },
            attempts_max: config.pin_attempts_max,
        }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.directory.join(name)
    }

    /// Log a failure and turn it into the caller's return value.
    fn report<T>(&self, result: Result<T, StoreError>) -> CkResult<T> {
        result.map_err(|error| {
            if !matches!(error, StoreError::Refused(_)) {
                self.log.line(format_args!("{error}"));
            }
            error.code()
        })
    }

    /// The header; `None` when the token was never initialised.
    pub(crate) fn header(&self) -> CkResult<Option<Header>> {
        let read = Header::read(&self.path("token"));
        Ok(self.report(read)?.map(|(header, _)| header))
    }

    pub(crate) fn attempts(&self) -> CkResult<Attempts> {
        self.report(Attempts::read(&self.path("attempts")))
    }

    /// Whether `left` is below what a PIN starts with.
    pub(crate) fn is_low(&self, left: u8) -> bool {
        left < self.attempts_max
    }

    /// Exclude every other writer and login, of this process and others.
    pub(crate) fn lock(&self) -> CkResult<Guard> {
        self.report(self.try_lock())
    }

    fn try_lock(&self) -> Result<Guard, StoreError> {
        let path = self.path("lock");
        let created = fs::DirBuilder::new().recursive(true).mode(0o700).create(&self.directory);
        created.map_err(|error| StoreError::io(&self.directory, error))?;
        let opened = File::options().create(true).truncate(false).write(true).mode(0o600).open(&path);
        let file = opened.map_err(|error| StoreError::io(&path, error))?;
        let deadline = Instant::now() + LOCK_WAIT;
        loop {
            match file.try_lock() {
                Ok(()) => return Ok(Guard { file }),
                Err(TryLockError::Error(error)) => return Err(StoreError::io(&path, error)),
                Err(TryLockError::WouldBlock) if Instant::now() < deadline => std::thread::sleep(LOCK_PAUSE),
                Err(TryLockError::WouldBlock) => return Err(StoreError::Locked { path }),
            }
        }
    }

    /// Make the token, or make it anew: everything on it is destroyed. On an existing token `pin` must be the SO's.
    pub(crate) fn initialise(&self, pin: &[u8], label: [u8; 32]) -> CkResult<()> {
        let guard = self.lock()?;
        if self.header()?.is_some() {
            self.unlock_locked(&guard, Role::Officer, pin)?;
        }
        let (instance, master) = (crate::random::array()?, new_master()?);
        let officer = Wrap::seal(self.cost, Role::Officer, &instance, pin, &master)?;
        let header = Header { instance, label, officer, user: None };
        let unlocked = Unlocked::new(instance, master)?;
        let attempts = Attempts { officer: self.attempts_max, user: self.attempts_max };
        self.report(self.remove_all())?;
        self.report(attempts.write(&self.path("attempts")))?;
        self.write_locked(&guard, &unlocked, &Inventory { next_id: 1, ..Inventory::default() })?;
        // Last, because its presence says that the token is whole.
        self.report(header.write(&self.path("token"), &unlocked.master))
    }

    fn remove_all(&self) -> Result<(), StoreError> {
        for name in ["token", "public", "objects", "attempts"] {
            let path = self.path(name);
            match fs::remove_file(&path) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(StoreError::io(&path, error)),
                _ => {}
            }
        }
        envelope::sync_directory(&self.path("token")).map_err(|error| StoreError::io(&self.directory, error))
    }

    /// Spend one attempt on `pin`; give it back when the PIN was right.
    pub(crate) fn unlock(&self, role: Role, pin: &[u8]) -> CkResult<Unlocked> {
        let guard = self.lock()?;
        self.unlock_locked(&guard, role, pin)
    }

    fn unlock_locked(&self, _: &Guard, role: Role, pin: &[u8]) -> CkResult<Unlocked> {
        let (header, tag) = self.signed_header()?;
        let wrap = header.wrap(role).ok_or(CkError(CKR_USER_PIN_NOT_INITIALIZED))?;
        self.spend_attempt(role)?;
        let master = match wrap.open(role, &header.instance, pin) {
            Ok(master) => master,
            Err(WrapError::Mismatch) => return Err(self.wrong_pin(role)?),
            Err(_) => {
                self.log.line(format_args!("no memory for the PIN's key derivation; the attempt stays counted"));
                return Err(CkError(CKR_HOST_MEMORY));
            }
        };
        self.set_attempts(role, self.attempts_max)?;
        self.expect_authentic(&header, &master, &tag)?;
        Unlocked::new(header.instance, master)
    }

    fn signed_header(&self) -> CkResult<(Header, [u8; 32])> {
        self.report(Header::read(&self.path("token")))?.ok_or(CkError(CKR_TOKEN_NOT_RECOGNIZED))
    }

    fn expect_authentic(&self, header: &Header, master: &Secret, tag: &[u8; 32]) -> CkResult<()> {
        if header.is_authentic(master, tag) {
            return Ok(());
        }
        let what = String::from("its authentication tag is wrong");
        self.report(Err(StoreError::Altered { path: self.path("token"), what }))
    }

    fn spend_attempt(&self, role: Role) -> CkResult<()> {
        match self.attempts()?.left(role) {
            0 => Err(CkError(CKR_PIN_LOCKED)),
            left => self.set_attempts(role, left - 1),
        }
    }

    fn set_attempts(&self, role: Role, left: u8) -> CkResult<()> {
        let mut attempts = self.attempts()?;
        attempts.set(role, left);
        self.report(attempts.write(&self.path("attempts")))
    }

    fn wrong_pin(&self, role: Role) -> CkResult<CkError> {
        let left = self.attempts()?.left(role);
        let name = self.directory.display();
        self.log.line(format_args!("{name}: wrong {role:?} PIN; attempts left: {left}"));
        Ok(CkError(if left == 0 { CKR_PIN_LOCKED } else { CKR_PIN_INCORRECT }))
    }

    /// Wrap the master key under a new PIN and give it all its attempts.
    pub(crate) fn set_pin(&self, unlocked: &Unlocked, role: Role, pin: &[u8]) -> CkResult<()> {
        let _guard = self.lock()?;
        let (mut header, tag) = self.signed_header()?;
        if header.instance != unlocked.instance {
            return Err(CkError(CKR_DEVICE_REMOVED));
        }
        // What was put there meanwhile must not become authentic by being written again.
        self.expect_authentic(&header, &unlocked.master, &tag)?;
        let wrap = Wrap::seal(self.cost, role, &header.instance, pin, &unlocked.master)?;
        match role {
            Role::Officer => header.officer = wrap,
            Role::User => header.user = Some(wrap),
        }
        self.report(header.write(&self.path("token"), &unlocked.master))?;
        self.set_attempts(role, self.attempts_max)
    }

    /// Which version of the objects is on disk; private ones included when `unlocked`.
    pub(crate) fn fingerprint(&self, unlocked: bool) -> CkResult<Fingerprint> {
        let path = self.path(if unlocked { "objects" } else { "public" });
        let metadata = self.report(fs::metadata(&path).map_err(|error| StoreError::io(&path, error)))?;
        let changed_ns = i128::from(metadata.ctime()) * 1_000_000_000 + i128::from(metadata.ctime_nsec());
        Ok(Fingerprint { inode: metadata.ino(), length: metadata.len(), changed_ns })
    }

    /// The objects a session without login sees.
    pub(crate) fn read_public(&self) -> CkResult<Inventory> {
        let path = self.path("public");
        let body = self.report(envelope::read(&path, KIND_PUBLIC))?;
        let parsed = body.as_deref().and_then(|body| body.split_last_chunk::<32>());
        let (body, _) = self.report(parsed.ok_or(StoreError::Damaged { path: path.clone(), what: "it is missing" }))?;
        self.decode(&path, body)
    }

    /// Every object, under the lock. Brings the projection up to date when a crash has left it behind.
    pub(crate) fn read(&self, guard: &Guard, unlocked: &Unlocked) -> CkResult<Inventory> {
        let path = self.path("objects");
        let opened = small::read(&PreadStorage, &path, &unlocked.ring, Purpose::Token)
            .map_err(|error| StoreError::Altered { path: path.clone(), what: error.to_string() });
        let inventory = self.decode(&path, self.report(opened)?.as_slice())?;
        self.check_projection(guard, unlocked, &inventory)?;
        Ok(inventory)
    }

    fn check_projection(&self, guard: &Guard, unlocked: &Unlocked, truth: &Inventory) -> CkResult<()> {
        let path = self.path("public");
        let body = self.report(envelope::read(&path, KIND_PUBLIC))?.unwrap_or_default();
        let Some((body, tag)) = body.split_last_chunk::<32>() else {
            return self.write_projection(guard, unlocked, truth);
        };
        if !header::authenticator(&unlocked.master, PUBLIC_INFO, body).verify(tag) {
            let what = String::from("its authentication tag is wrong");
            return self.report(Err(StoreError::Altered { path, what }));
        }
        match self.decode(&path, body)?.generation {
            generation if generation == truth.generation => Ok(()),
            _ => self.write_projection(guard, unlocked, truth),
        }
    }

    fn decode(&self, path: &Path, bytes: &[u8]) -> CkResult<Inventory> {
        let damaged = |error: crate::object::codec::CodecError| StoreError::Altered {
            path: path.into(),
            what: error.to_string(),
        };
        self.report(Inventory::decode(bytes).map_err(damaged))
    }

    /// Write every object, then the projection. The caller has read the newest version under the same `guard`.
    pub(crate) fn write_locked(&self, guard: &Guard, unlocked: &Unlocked, inventory: &Inventory) -> CkResult<()> {
        let mut count = Count::default();
        inventory.encode(&mut count, |_| true);
        let mut plain = Secret::zeroed(count.0);
        inventory.encode(&mut Fill(plain.as_mut_slice(), 0), |_| true);
        let path = self.path("objects");
        let written = small::write_atomic(&PreadStorage, &path, &unlocked.ring, Purpose::Token, plain.as_slice())
            .map_err(|error| StoreError::io(&path, io::Error::other(error)));
        self.report(written)?;
        self.write_projection(guard, unlocked, inventory)
    }

    fn write_projection(&self, _: &Guard, unlocked: &Unlocked, inventory: &Inventory) -> CkResult<()> {
        let mut body = Vec::new();
        inventory.encode(&mut body, |object| !object.is_private() && object.secret.is_none());
        let tag = header::authenticator(&unlocked.master, PUBLIC_INFO, &body).finalize();
        self.report(envelope::write(&self.path("public"), KIND_PUBLIC, &[&body[..], &tag].concat()))
    }
}

fn new_master() -> CkResult<Secret> {
    Secret::random(MASTER_BYTES).map_err(|_| CkError(CKR_FUNCTION_FAILED))
}
