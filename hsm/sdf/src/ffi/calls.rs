//! The library's calls as methods of what they need: an open device, a session, a key of a session.
//!
//! Every pointer handed over is to memory of the length the standard gives, initialised, and owned by this frame; handles are
//! used on the device they came from, and a session by one thread at a time (`&mut self`), as GM/T 0018 asks.

use std::ffi::c_int;
use std::ptr;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, PoisonError};

use bixi_accel::sm2::encryption::{Ciphertext, Layout};
use bixi_hsm::{Cause, DeviceError};
use bixi_platform::secret::Secret;
use zeroize::Zeroizing;

use super::Api;
use crate::abi::{
    CIPHER_HEADER_BYTES, COORDINATE_BYTES, RawDeviceInfo, RawHandle, RawPublicKey, RawSignature, SDR_OK, SM4_BITS,
    align_right,
};
use crate::error::{device_error, password_error};

/// Room behind the header of an `ECCCipher`, whatever length a library's header declares: the longest known is 255.
const CIPHER_ROOM_BYTES: usize = 1024;
const CIPHER_WORDS: usize = (CIPHER_HEADER_BYTES + CIPHER_ROOM_BYTES) / 4;
/// More than one call needs; some libraries write whole structures of their own.
const BLOCKS_ROOM_BYTES: usize = 64;

/// What a key pair is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Usage {
    Sign,
    Encrypt,
}

/// A session key under the public key of an encryption pair: `ECCCipher`, as the device wrote it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct CipherBlob {
    pub x: [u8; COORDINATE_BYTES],
    pub y: [u8; COORDINATE_BYTES],
    pub m: [u8; 32],
    pub c: Vec<u8>,
}

impl CipherBlob {
    /// An envelope that was made here.
    pub(crate) fn of(sealed: &Ciphertext) -> Self {
        let bytes = sealed.to_bytes(Layout::C1C3C2);
        let at = |at: usize| bytes[at..at + 32].try_into().expect("32 bytes");
        let [x, y] = [1, 33].map(|place| align_right(&at(place)));
        Self { x, y, m: at(65), c: bytes[97..].to_vec() }
    }

    /// In memory aligned as the structure is; zero behind its end.
    fn to_words(&self) -> Result<Vec<u32>, DeviceError> {
        if self.c.is_empty() || self.c.len() > CIPHER_ROOM_BYTES {
            let message = format!("an ECCCipher of {} bytes; 1 to {CIPHER_ROOM_BYTES} are allowed", self.c.len());
            return Err(DeviceError::new("ECCCipher", Cause::Rejected, message));
        }
        let length = (self.c.len() as u32).to_ne_bytes();
        let mut bytes = [&self.x[..], &self.y, &self.m, &length, &self.c].concat();
        bytes.resize(CIPHER_WORDS * 4, 0);
        Ok(bytes.chunks_exact(4).map(|word| u32::from_ne_bytes(word.try_into().expect("4 bytes"))).collect())
    }

    fn from_words(words: &[u32], c_bytes_max: usize) -> Result<Self, DeviceError> {
        let bytes: Vec<u8> = words.iter().flat_map(|word| word.to_ne_bytes()).collect();
        let (x, rest) = bytes.split_first_chunk().expect("a whole structure");
        let (y, rest) = rest.split_first_chunk().expect("a whole structure");
        let (m, rest) = rest.split_first_chunk().expect("a whole structure");
        let (length, c) = rest.split_first_chunk().expect("a whole structure");
        let length = u32::from_ne_bytes(*length) as usize;
        if !(1..=c_bytes_max.min(c.len())).contains(&length) {
            let message = format!("an ECCCipher with a ciphertext of {length} bytes; the profile allows {c_bytes_max}");
            return Err(DeviceError::new("SDF_GenerateKeyWithIPK_ECC", Cause::BadAnswer, message));
        }
        Ok(Self { x: *x, y: *y, m: *m, c: c[..length].to_vec() })
    }
}

/// A key handle; belongs to the session that made it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Key(RawHandle);

// SAFETY: a handle is a name the library gave; it is used with its session only, which one thread has at a time.
unsafe impl Send for Key {}

/// The open device of a library.
pub(crate) struct Device {
    api: &'static Api,
    handle: RawHandle,
    /// Opening and closing sessions is where libraries share state without locks of their own.
    opening: Mutex<()>,
}

// SAFETY: GM/T 0018 lets sessions of one device live in several threads; the handle itself is used under `opening` only, and
// closed when nobody has it any more.
unsafe impl Send for Device {}
// SAFETY: as above.
unsafe impl Sync for Device {}

impl Device {
    /// Opens the device; refused while it is open in this process, where a second opening is an error of the library's.
    pub(crate) fn open(api: &'static Api) -> Result<Self, DeviceError> {
        if api.opened.swap(true, Ordering::AcqRel) {
            let message = "this process has the device open already";
            return Err(DeviceError::new("SDF_OpenDevice", Cause::Setup, message)
                .with_advice("share the open device: a library has one per process"));
        }
        let mut handle = ptr::null_mut();
        // SAFETY: `handle` takes one handle.
        let opened = unsafe { (api.open_device)(&mut handle) };
        if let Err(error) = checked("SDF_OpenDevice", opened).and_then(|()| not_null("SDF_OpenDevice", handle)) {
            api.opened.store(false, Ordering::Release);
            return Err(error);
        }
        Ok(Self { api, handle, opening: Mutex::new(()) })
    }
}

impl Drop for Device {
    fn drop(&mut self) {
        // SAFETY: the handle is open, and every session, holding an `Arc` of this, is closed.
        let closed = unsafe { (self.api.close_device)(self.handle) };
        told("SDF_CloseDevice", closed);
        self.api.opened.store(false, Ordering::Release);
    }
}

/// A session of the device; what it holds is released when it is dropped.
pub(crate) struct RawSession {
    device: Arc<Device>,
    handle: RawHandle,
}

// SAFETY: GM/T 0018 binds a session to no thread; methods take `&mut self`, so one thread uses it at a time.
unsafe impl Send for RawSession {}

impl RawSession {
    pub(crate) fn open(device: Arc<Device>) -> Result<Self, DeviceError> {
        let mut handle = ptr::null_mut();
        let turn = device.opening.lock().unwrap_or_else(PoisonError::into_inner);
        // SAFETY: the device is open; `handle` takes one handle.
        let opened = unsafe { (device.api.open_session)(device.handle, &mut handle) };
        drop(turn);
        checked("SDF_OpenSession", opened).and_then(|()| not_null("SDF_OpenSession", handle))?;
        Ok(Self { device, handle })
    }

    fn api(&self) -> &'static Api {
        self.device.api
    }

    pub(crate) fn info(&mut self) -> Result<RawDeviceInfo, DeviceError> {
        let mut info = RawDeviceInfo {
            issuer: [0; 40],
            name: [0; 16],
            serial: [0; 16],
            device_version: 0,
            standard_version: 0,
            asymmetric: [0; 2],
            symmetric: 0,
            hash: 0,
            buffer_bytes: 0,
        };
        // SAFETY: the session is open; `info` is a whole DEVICEINFO.
        checked("SDF_GetDeviceInfo", unsafe { (self.api().device_info)(self.handle, &mut info) })?;
        Ok(info)
    }

    pub(crate) fn random(&mut self, out: &mut [u8]) -> Result<(), DeviceError> {
        let length = u32::try_from(out.len()).expect("callers ask in pieces");
        // SAFETY: the session is open; `out` has `length` bytes.
        checked("SDF_GenerateRandom", unsafe { (self.api().random)(self.handle, length, out.as_mut_ptr()) })
    }

    /// Takes the access right of an index. The password is copied, because the standard's pointer is not to constant bytes.
    pub(crate) fn take_right(&mut self, index: u32, password: &Secret) -> Result<(), DeviceError> {
        let mut password = Secret::from_slice(password.as_slice());
        let length = u32::try_from(password.len()).expect("a password is short");
        let bytes = password.as_mut_slice().as_mut_ptr();
        // SAFETY: the session is open; `bytes` points to `length` bytes of this frame's own copy.
        match unsafe { (self.api().take_right)(self.handle, index, bytes, length) } as u32 {
            SDR_OK => Ok(()),
            code => Err(password_error("SDF_GetPrivateKeyAccessRight", code)),
        }
    }

    pub(crate) fn release_right(&mut self, index: u32) {
        // SAFETY: the session is open.
        let released = unsafe { (self.api().release_right)(self.handle, index) };
        told("SDF_ReleasePrivateKeyAccessRight", released);
    }

    pub(crate) fn export(&mut self, usage: Usage, index: u32) -> Result<RawPublicKey, DeviceError> {
        let mut key = RawPublicKey { bits: 0, x: [0; COORDINATE_BYTES], y: [0; COORDINATE_BYTES] };
        let (name, call) = match usage {
            Usage::Sign => ("SDF_ExportSignPublicKey_ECC", self.api().export_sign),
            Usage::Encrypt => ("SDF_ExportEncPublicKey_ECC", self.api().export_encrypt),
        };
        // SAFETY: the session is open; `key` is a whole ECCrefPublicKey.
        checked(name, unsafe { call(self.handle, index, &mut key) })?;
        Ok(key)
    }

    pub(crate) fn sign(&mut self, index: u32, digest: &[u8; 32]) -> Result<RawSignature, DeviceError> {
        let mut digest = *digest;
        let mut signature = RawSignature { r: [0; COORDINATE_BYTES], s: [0; COORDINATE_BYTES] };
        // SAFETY: the session is open; `digest` has 32 bytes, `signature` is a whole ECCSignature.
        let signed = unsafe { (self.api().sign)(self.handle, index, digest.as_mut_ptr(), 32, &mut signature) };
        checked("SDF_InternalSign_ECC", signed)?;
        Ok(signature)
    }

    /// Makes an SM4 key inside the device; it comes out under the encryption key of `index`, of at most `c_bytes_max` bytes.
    pub(crate) fn generate_key(&mut self, index: u32, c_bytes_max: usize) -> Result<(CipherBlob, Key), DeviceError> {
        let mut words = vec![0u32; CIPHER_WORDS];
        let mut key = ptr::null_mut();
        let cipher = words.as_mut_ptr().cast();
        // SAFETY: the session is open; `cipher` points to zeroed memory, aligned as ECCCipher is and longer than any library
        // declares it; `key` takes one handle.
        let made = unsafe { (self.api().generate_key)(self.handle, index, SM4_BITS, cipher, &mut key) };
        checked("SDF_GenerateKeyWithIPK_ECC", made)?;
        let key = Key(key);
        match CipherBlob::from_words(&words, c_bytes_max) {
            Ok(blob) => Ok((blob, key)),
            Err(error) => {
                self.destroy(key);
                Err(error)
            }
        }
    }

    pub(crate) fn import_key(&mut self, index: u32, blob: &CipherBlob) -> Result<Key, DeviceError> {
        let mut words = blob.to_words()?;
        let mut key = ptr::null_mut();
        // SAFETY: the session is open; `words` holds a whole ECCCipher, aligned, zero behind its end; `key` takes one handle.
        let imported = unsafe { (self.api().import_key)(self.handle, index, words.as_mut_ptr().cast(), &mut key) };
        checked("SDF_ImportKeyWithISK_ECC", imported)?;
        Ok(Key(key))
    }

    pub(crate) fn destroy(&mut self, key: Key) {
        // SAFETY: the session is open and the key its own; its owner forgets the handle.
        told("SDF_DestroyKey", unsafe { (self.api().destroy_key)(self.handle, key.0) });
    }

    /// Two blocks under `algorithm`, an ECB identifier.
    pub(crate) fn encrypt(
        &mut self,
        key: Key,
        algorithm: u32,
        blocks: &[u8; 32],
    ) -> Result<Zeroizing<[u8; 32]>, DeviceError> {
        let (mut input, mut iv) = (Zeroizing::new(*blocks), [0u8; 16]);
        let mut out = Zeroizing::new([0u8; BLOCKS_ROOM_BYTES]);
        let mut length = BLOCKS_ROOM_BYTES as u32;
        // SAFETY: session and key are open; `iv` has the 16 bytes that modes with one would take, `input` 32, and `out` has
        // `length` bytes, more than whole blocks with padding need.
        let encrypted = unsafe {
            let (input, out) = (input.as_mut_ptr(), out.as_mut_ptr());
            (self.api().encrypt)(self.handle, key.0, algorithm, iv.as_mut_ptr(), input, 32, out, &mut length)
        };
        checked("SDF_Encrypt", encrypted)?;
        if length != 32 {
            let message = format!("two blocks became {length} bytes: check algorithms.sm4_ecb in the profile");
            return Err(DeviceError::new("SDF_Encrypt", Cause::BadAnswer, message));
        }
        Ok(Zeroizing::new(*out.first_chunk().expect("64 bytes")))
    }

    /// Makes a key pair at `index` by `SDF_CreateKeyPair_ECC`; `false` when the library has no such call.
    pub(crate) fn create_pair(&mut self, usage: Usage, index: u32) -> Result<bool, DeviceError> {
        let Some(call) = self.api().create_pair else { return Ok(false) };
        let mut key = RawPublicKey { bits: 0, x: [0; COORDINATE_BYTES], y: [0; COORDINATE_BYTES] };
        // SAFETY: the session is open; `key` is a whole ECCrefPublicKey.
        let made = unsafe { call(self.handle, u32::from(usage == Usage::Sign), index, &mut key) };
        checked("SDF_CreateKeyPair_ECC", made)?;
        Ok(true)
    }

    /// Makes a key pair by `SWCSM_GenerateECCKeyPair`, which counts both pairs of an index; `false` as above.
    pub(crate) fn generate_pair(&mut self, usage: Usage, index: u32) -> Result<bool, DeviceError> {
        let Some(call) = self.api().generate_pair else { return Ok(false) };
        let number = 2 * index - u32::from(usage == Usage::Sign);
        // SAFETY: the session is open.
        checked("SWCSM_GenerateECCKeyPair", unsafe { call(self.handle, number) })?;
        Ok(true)
    }

    /// Whether the library can turn envelopes over to another key.
    pub(crate) fn exchanges_envelopes(&self) -> bool {
        self.api().exchanges_envelopes
    }
}

impl Drop for RawSession {
    fn drop(&mut self) {
        let _turn = self.device.opening.lock().unwrap_or_else(PoisonError::into_inner);
        // SAFETY: the session is open, and nobody uses it any more.
        told("SDF_CloseSession", unsafe { (self.device.api.close_session)(self.handle) });
    }
}

fn checked(function: &'static str, answer: c_int) -> Result<(), DeviceError> {
    match answer as u32 {
        SDR_OK => Ok(()),
        code => Err(device_error(function, code)),
    }
}

fn not_null(function: &'static str, handle: RawHandle) -> Result<(), DeviceError> {
    if handle.is_null() {
        return Err(DeviceError::new(function, Cause::BadAnswer, "SDR_OK, and no handle"));
    }
    Ok(())
}

/// A failure while something ends changes nothing any more; it is told.
fn told(function: &'static str, answer: c_int) {
    if let Err(error) = checked(function, answer) {
        tracing::debug!(%error, "the device could not release something");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn blob(c_bytes: usize) -> CipherBlob {
        CipherBlob { x: [1; 64], y: [2; 64], m: [3; 32], c: vec![4; c_bytes] }
    }

    #[test]
    fn a_blob_survives_the_structure_whatever_its_length() {
        for c_bytes in [1, 16, 32, 255, CIPHER_ROOM_BYTES] {
            let words = blob(c_bytes).to_words().unwrap();
            assert_eq!(words.len() * 4, CIPHER_HEADER_BYTES + CIPHER_ROOM_BYTES);
            assert_eq!(CipherBlob::from_words(&words, CIPHER_ROOM_BYTES).unwrap(), blob(c_bytes));
        }
    }

    #[test]
    fn a_length_beyond_the_profile_or_the_room_is_refused() {
        let mut words = blob(17).to_words().unwrap();
        assert_eq!(CipherBlob::from_words(&words, 16).unwrap_err().cause, Cause::BadAnswer);
        for length in [0, 1025, u32::MAX] {
            words[CIPHER_HEADER_BYTES / 4 - 1] = length;
            assert_eq!(CipherBlob::from_words(&words, usize::MAX).unwrap_err().cause, Cause::BadAnswer, "{length}");
        }
        assert_eq!(blob(0).to_words().unwrap_err().cause, Cause::Rejected);
        assert_eq!(blob(1025).to_words().unwrap_err().cause, Cause::Rejected);
    }
}
