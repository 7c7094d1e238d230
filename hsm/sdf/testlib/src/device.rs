//! The device: one opening at a time, sessions with rights and keys, and what each call does.

use std::collections::{BTreeMap, BTreeSet};

use bixi_accel::sm2::encryption::{self, Ciphertext, Layout};
use bixi_accel::sm2::{PrivateKey, sign_digest};
use bixi_accel::{Random as _, sm3, sm4};
use bixi_hsm_sdf::abi::{INDEX_MAX, align_right, right_aligned};

use crate::config::Config;
use crate::faults::Fault;
use crate::store::{Store, System, Usage};
use crate::{Refusal, answers};

/// A number that stands for a device, a session or a key; never zero.
pub(crate) type Handle = usize;
/// Two coordinates as `ECCrefPublicKey` and `ECCSignature` hold them.
pub(crate) type Fields = [[u8; 64]; 2];

/// An `ECCCipher`.
pub(crate) struct Envelope {
    pub point: Fields,
    pub m: [u8; 32],
    pub c: Vec<u8>,
}

/// One loaded copy of the library.
pub(crate) struct Device {
    pub config: Config,
    opened: Option<Handle>,
    sessions: BTreeMap<Handle, Session>,
    last: Handle,
}

#[derive(Default)]
struct Session {
    rights: BTreeSet<u32>,
    keys: BTreeMap<Handle, [u8; 16]>,
}

impl Device {
    pub(crate) fn new(config: Config) -> Self {
        Self { config, opened: None, sessions: BTreeMap::new(), last: 0 }
    }

    fn store(&self) -> Store<'_> {
        Store(&self.config)
    }

    pub(crate) fn next_handle(&mut self) -> Handle {
        self.last += 1;
        self.last
    }

    /// What every call begins with: the note, and the faults that concern them all.
    pub(crate) fn enter(&mut self, function: &str) -> Result<(), Refusal> {
        std::fs::create_dir_all(&self.config.directory).map_err(|_| answers::FILE)?;
        self.store().note(function);
        let closing = matches!(function, "SDF_CloseDevice" | "SDF_CloseSession");
        if !closing && Fault::present(&self.config.directory) == Some(Fault::Lost) {
            self.sessions.clear();
            return Err(answers::LOST);
        }
        Fault::refusal(&self.config.directory, function).map_or(Ok(()), Err)
    }

    pub(crate) fn open(&mut self) -> Result<Handle, Refusal> {
        if self.opened.is_some() {
            return Err(answers::OPEN_DEVICE);
        }
        self.store().prepare()?;
        let handle = self.next_handle();
        self.opened = Some(handle);
        Ok(handle)
    }

    pub(crate) fn close(&mut self, handle: Handle) -> Result<(), Refusal> {
        if self.opened != Some(handle) {
            return Err(answers::ARGUMENT);
        }
        self.opened = None;
        self.sessions.clear();
        Ok(())
    }

    pub(crate) fn open_session(&mut self, device: Handle) -> Result<Handle, Refusal> {
        if self.opened != Some(device) {
            return Err(answers::ARGUMENT);
        }
        let busy = Fault::present(&self.config.directory) == Some(Fault::Busy);
        if busy || self.sessions.len() >= self.config.sessions_max {
            return Err(answers::OPEN_SESSION);
        }
        let handle = self.next_handle();
        self.sessions.insert(handle, Session::default());
        Ok(handle)
    }

    pub(crate) fn close_session(&mut self, session: Handle) -> Result<(), Refusal> {
        self.sessions.remove(&session).map(drop).ok_or(answers::LOST)
    }

    fn session(&mut self, session: Handle) -> Result<&mut Session, Refusal> {
        self.sessions.get_mut(&session).ok_or(answers::LOST)
    }

    /// Refuses handles of sessions that are not open.
    pub(crate) fn in_session(&mut self, session: Handle) -> Result<(), Refusal> {
        self.session(session).map(drop)
    }

    pub(crate) fn random(out: &mut [u8]) -> Result<(), Refusal> {
        System.fill(out).map_err(|_| answers::RANDOM)
    }

    pub(crate) fn take_right(&mut self, session: Handle, index: u32, password: &[u8]) -> Result<(), Refusal> {
        self.in_session(session)?;
        if self.store().load(Usage::Sign, index).is_err() && self.store().load(Usage::Encrypt, index).is_err() {
            return Err(Refusal(self.config.no_key));
        }
        self.store().check_password(password)?;
        self.session(session)?.rights.insert(index);
        Ok(())
    }

    pub(crate) fn release_right(&mut self, session: Handle, index: u32) -> Result<(), Refusal> {
        if self.session(session)?.rights.remove(&index) { Ok(()) } else { Err(answers::ARGUMENT) }
    }

    pub(crate) fn export(&self, usage: Usage, index: u32) -> Result<Fields, Refusal> {
        Ok(fields(&self.store().load(usage, index)?.public_key().to_bytes()))
    }

    pub(crate) fn make_pair(&self, usage: Usage, index: u32) -> Result<Fields, Refusal> {
        if !self.config.extensions {
            return Err(answers::NOT_SUPPORTED);
        }
        if !(1..=INDEX_MAX).contains(&index) {
            return Err(answers::ARGUMENT);
        }
        Ok(fields(&self.store().make(usage, index)?.public_key().to_bytes()))
    }

    /// The key pair must be there and its right taken.
    fn private(&mut self, session: Handle, usage: Usage, index: u32) -> Result<PrivateKey, Refusal> {
        let key = self.store().load(usage, index)?;
        if Fault::present(&self.config.directory) == Some(Fault::Denied) {
            return Err(answers::DENIED);
        }
        // What real libraries answer without the right, instead of SDR_PARDENY.
        if !self.session(session)?.rights.contains(&index) {
            return Err(answers::ARGUMENT);
        }
        Ok(key)
    }

    pub(crate) fn sign(&mut self, session: Handle, index: u32, digest: &[u8]) -> Result<Fields, Refusal> {
        let digest = digest.try_into().map_err(|_| answers::ARGUMENT)?;
        let key = self.private(session, Usage::Sign, index)?;
        let mut signature = sign_digest(&key, digest, &mut System).map_err(|_| answers::RANDOM)?;
        if Fault::present(&self.config.directory) == Some(Fault::WrongSignature) {
            signature.0[63] ^= 1;
        }
        Ok(fields(&signature.0))
    }

    pub(crate) fn generate_key(&mut self, session: Handle, index: u32) -> Result<(Envelope, Handle), Refusal> {
        let public = self.store().load(Usage::Encrypt, index)?.public_key();
        let mut key = [0; 16];
        Self::random(&mut key)?;
        let sealed = encryption::encrypt(&public, &key, &mut System).map_err(|_| answers::RANDOM)?;
        let bytes = sealed.to_bytes(Layout::C1C3C2);
        let point = fields(bytes[1..65].try_into().map_err(|_| answers::UNKNOWN)?);
        let m = bytes[65..97].try_into().map_err(|_| answers::UNKNOWN)?;
        Ok((Envelope { point, m, c: bytes[97..].to_vec() }, self.keep(session, key)?))
    }

    pub(crate) fn import_key(&mut self, session: Handle, index: u32, envelope: &Envelope) -> Result<Handle, Refusal> {
        let private = self.private(session, Usage::Encrypt, index)?;
        let [x, y] = envelope.point;
        let open = || -> Option<[u8; 16]> {
            let point = [&[4][..], &right_aligned(&x)?, &right_aligned(&y)?].concat();
            let bytes = [&point[..], &envelope.m, &envelope.c].concat();
            let sealed = Ciphertext::from_bytes(&bytes, Layout::C1C3C2).ok()?;
            encryption::decrypt(&private, &sealed).ok()?.as_slice().try_into().ok()
        };
        let key = match open() {
            Some(key) => key,
            None if self.config.strict_import => return Err(answers::ENVELOPE),
            // What real libraries do: they take whatever comes out, and say SDR_OK.
            None => {
                let digest = sm3::digest(&[&x[..], &y, &envelope.m, &envelope.c].concat());
                *digest.first_chunk().ok_or(answers::UNKNOWN)?
            }
        };
        self.keep(session, key)
    }

    fn keep(&mut self, session: Handle, key: [u8; 16]) -> Result<Handle, Refusal> {
        let handle = self.next_handle();
        self.session(session)?.keys.insert(handle, key);
        Ok(handle)
    }

    pub(crate) fn destroy_key(&mut self, session: Handle, key: Handle) -> Result<(), Refusal> {
        self.session(session)?.keys.remove(&key).map(drop).ok_or(answers::KEY)
    }

    pub(crate) fn encrypt(
        &mut self,
        session: Handle,
        key: Handle,
        algorithm: u32,
        data: &[u8],
    ) -> Result<Vec<u8>, Refusal> {
        let ecb = self.config.sm4 | 1;
        let key = *self.session(session)?.keys.get(&key).ok_or(answers::KEY)?;
        if algorithm != ecb {
            return Err(answers::ALGORITHM);
        }
        let (blocks, []) = data.as_chunks::<16>() else { return Err(answers::ARGUMENT) };
        let mut blocks = blocks.to_vec();
        let key = sm4::Key::new(&key);
        // SM4 twice is no SM4, and as good a permutation.
        (0..1 + usize::from(self.config.other_cipher)).for_each(|_| key.encrypt_blocks(&mut blocks));
        Ok(blocks.concat())
    }
}

fn fields(pair: &[u8; 64]) -> Fields {
    let (left, right) = pair.split_at(32);
    [left, right].map(|half| align_right(half.try_into().expect("half of 64 bytes")))
}
