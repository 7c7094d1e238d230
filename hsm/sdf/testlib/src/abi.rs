//! The C shell: the standard's functions and two vendors' own, each a few lines that turn pointers into references.
//!
//! Handles are numbers dressed as pointers and never followed. One lock guards the device; a hung call waits outside of it. The destructor
//! waits for hung calls, as those of vendors' libraries do.
#![allow(unsafe_code, non_snake_case)]

use std::ffi::{CStr, OsStr, c_int, c_void};
use std::os::unix::ffi::OsStrExt as _;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};

use bixi_hsm_sdf::abi::{
    CIPHER_HEADER_BYTES, RawDeviceInfo, RawHandle, RawPublicKey, RawSignature, SDR_OK, SM2_BITS, SM4_BITS,
};

use crate::config::Config;
use crate::device::{Device, Envelope, Fields, Handle};
use crate::faults;
use crate::store::Usage;
use crate::{Refusal, answers};

/// Name of the configuration beside the library.
const CONFIG: &str = "sdf-test.conf";
/// Longest input anything here takes.
const DATA_BYTES_MAX: u32 = 1 << 16;

static DEVICE: Mutex<Option<Device>> = Mutex::new(None);

/// Run by the loader when the process exits.
#[used]
#[unsafe(link_section = ".fini_array")]
static AT_EXIT: extern "C" fn() = wait_for_calls;

extern "C" fn wait_for_calls() {
    faults::wait_for_calls();
}

/// The file this code was loaded from.
fn own_path() -> Option<PathBuf> {
    let mut info = libc::Dl_info {
        dli_fname: std::ptr::null(),
        dli_fbase: std::ptr::null_mut(),
        dli_sname: std::ptr::null(),
        dli_saddr: std::ptr::null_mut(),
    };
    let here: *const c_void = std::ptr::from_ref(&DEVICE).cast();
    // SAFETY: `info` is a whole Dl_info; any address may be asked for.
    if unsafe { libc::dladdr(here, &mut info) } == 0 || info.dli_fname.is_null() {
        return None;
    }
    // SAFETY: the loader's name of an object that stays loaded while its code runs is a C string.
    let name = unsafe { CStr::from_ptr(info.dli_fname) };
    Some(Path::new(OsStr::from_bytes(name.to_bytes())).to_owned())
}

/// Runs one function on the device; nothing unwinds out of it.
fn call(function: &str, work: impl FnOnce(&mut Device) -> Result<(), Refusal>) -> c_int {
    let run = || {
        let mut device = lock()?;
        let entered = device.as_mut().expect("made by whoever locks");
        entered.enter(function)?;
        let directory = &entered.config.directory;
        if faults::hangs(directory, function) {
            let directory = directory.clone();
            drop(device);
            faults::hang(&directory, function);
            device = lock()?;
        }
        work(device.as_mut().expect("made by whoever locks"))
    };
    match catch_unwind(AssertUnwindSafe(run)) {
        Ok(Ok(())) => SDR_OK as c_int,
        Ok(Err(Refusal(code))) => code as c_int,
        Err(_) => answers::UNKNOWN.0 as c_int,
    }
}

/// The device, made when it is first asked for.
fn lock() -> Result<MutexGuard<'static, Option<Device>>, Refusal> {
    let mut device = DEVICE.lock().unwrap_or_else(PoisonError::into_inner);
    if device.is_none() {
        let config = own_path().and_then(|path| Config::read(&path.with_file_name(CONFIG)));
        *device = Some(Device::new(config.ok_or(answers::OPEN_DEVICE)?));
    }
    Ok(device)
}

fn number(handle: RawHandle) -> Handle {
    handle.addr()
}

/// # Safety
/// `place` is null or can be written.
unsafe fn put<T>(place: *mut T, value: T) -> Result<(), Refusal> {
    if place.is_null() {
        return Err(answers::ARGUMENT);
    }
    // SAFETY: passed on from this function's contract.
    unsafe { place.write(value) };
    Ok(())
}

/// # Safety
/// `place` is null or can be written.
unsafe fn put_handle(place: *mut RawHandle, handle: Handle) -> Result<(), Refusal> {
    // SAFETY: passed on from this function's contract.
    unsafe { put(place, std::ptr::without_provenance_mut(handle)) }
}

/// # Safety
/// `data` is null or has `length` bytes that nobody writes meanwhile.
unsafe fn bytes<'a>(data: *const u8, length: u32) -> Result<&'a [u8], Refusal> {
    if data.is_null() || length > DATA_BYTES_MAX {
        return Err(answers::ARGUMENT);
    }
    // SAFETY: passed on from this function's contract.
    Ok(unsafe { std::slice::from_raw_parts(data, length as usize) })
}

fn public_key([x, y]: Fields) -> RawPublicKey {
    RawPublicKey { bits: SM2_BITS, x, y }
}

/// Writes an `ECCCipher` as a library with an array of `declared` bytes does: all of it.
///
/// # Safety
/// `place` is null or has room for the header and the longer of `declared` and the ciphertext.
unsafe fn put_envelope(place: *mut u8, envelope: &Envelope, declared: usize) -> Result<(), Refusal> {
    let length = u32::try_from(envelope.c.len()).map_err(|_| answers::UNKNOWN)?.to_ne_bytes();
    let [x, y] = &envelope.point;
    let mut bytes = [&x[..], y, &envelope.m, &length, &envelope.c].concat();
    bytes.resize(bytes.len().max(CIPHER_HEADER_BYTES + declared), 0);
    if place.is_null() {
        return Err(answers::ARGUMENT);
    }
    // SAFETY: passed on from this function's contract.
    unsafe { place.copy_from_nonoverlapping(bytes.as_ptr(), bytes.len()) };
    Ok(())
}

/// # Safety
/// `place` is null or points to a whole `ECCCipher`.
unsafe fn read_envelope(place: *const u8) -> Result<Envelope, Refusal> {
    // SAFETY: passed on from this function's contract.
    let header = unsafe { bytes(place, CIPHER_HEADER_BYTES as u32)? };
    let (x, rest) = header.split_first_chunk().ok_or(answers::UNKNOWN)?;
    let (y, rest) = rest.split_first_chunk().ok_or(answers::UNKNOWN)?;
    let (m, rest) = rest.split_first_chunk().ok_or(answers::UNKNOWN)?;
    let length = u32::from_ne_bytes(rest.try_into().map_err(|_| answers::UNKNOWN)?);
    if !(1..=1024).contains(&length) {
        return Err(answers::ARGUMENT);
    }
    // SAFETY: the ciphertext follows the header; passed on from this function's contract.
    let c = unsafe { bytes(place.add(CIPHER_HEADER_BYTES), length)? };
    Ok(Envelope { point: [*x, *y], m: *m, c: c.to_vec() })
}

/// Declares functions of the standard. Each is `unsafe extern "C"`; its pointers are null or what GM/T 0018 says of them.
macro_rules! functions {
    ($($(#[$doc:meta])* fn $name:ident($($argument:ident: $type:ty),*) |$device:ident| $body:expr;)*) => {$(
        $(#[$doc])*
        ///
        /// # Safety
        /// Pointers are null or as GM/T 0018 describes them: to memory of the given or the structure's length.
        #[unsafe(no_mangle)]
        #[allow(unused_unsafe)]
        pub unsafe extern "C" fn $name($($argument: $type),*) -> c_int {
            call(stringify!($name), |$device| {
                // SAFETY: passed on from this function's contract.
                unsafe { $body }
            })
        }
    )*};
}

functions! {
    /// Opens the device.
    fn SDF_OpenDevice(place: *mut RawHandle) |device| put_handle(place, device.open()?);
    /// Closes it.
    fn SDF_CloseDevice(handle: RawHandle) |device| device.close(number(handle));
    /// Opens a session.
    fn SDF_OpenSession(handle: RawHandle, place: *mut RawHandle) |device|
        put_handle(place, device.open_session(number(handle))?);
    /// Closes it.
    fn SDF_CloseSession(session: RawHandle) |device| device.close_session(number(session));
    /// Says that it is a test device.
    fn SDF_GetDeviceInfo(session: RawHandle, place: *mut RawDeviceInfo) |device| {
        device.in_session(number(session))?;
        put(place, device_info(&device.config))
    };
    /// Random bytes of the system.
    fn SDF_GenerateRandom(session: RawHandle, length: u32, out: *mut u8) |device| {
        device.in_session(number(session))?;
        if out.is_null() || length > DATA_BYTES_MAX {
            return Err(answers::ARGUMENT);
        }
        Device::random(std::slice::from_raw_parts_mut(out, length as usize))
    };
    /// Takes the right to an index.
    fn SDF_GetPrivateKeyAccessRight(session: RawHandle, index: u32, password: *mut u8, length: u32) |device|
        device.take_right(number(session), index, bytes(password, length)?);
    /// Gives it back.
    fn SDF_ReleasePrivateKeyAccessRight(session: RawHandle, index: u32) |device|
        device.release_right(number(session), index);
    /// Public key of a signing pair.
    fn SDF_ExportSignPublicKey_ECC(session: RawHandle, index: u32, place: *mut RawPublicKey) |device| {
        device.in_session(number(session))?;
        put(place, public_key(device.export(Usage::Sign, index)?))
    };
    /// Public key of an encryption pair.
    fn SDF_ExportEncPublicKey_ECC(session: RawHandle, index: u32, place: *mut RawPublicKey) |device| {
        device.in_session(number(session))?;
        put(place, public_key(device.export(Usage::Encrypt, index)?))
    };
    /// Makes a session key under an encryption pair.
    fn SDF_GenerateKeyWithIPK_ECC(
        session: RawHandle,
        index: u32,
        bits: u32,
        cipher: *mut u8,
        place: *mut RawHandle
    ) |device| {
        if bits != SM4_BITS {
            return Err(answers::ARGUMENT);
        }
        let (envelope, key) = device.generate_key(number(session), index)?;
        put_envelope(cipher, &envelope, device.config.cipher_bytes)?;
        put_handle(place, key)
    };
    /// Takes it in again.
    fn SDF_ImportKeyWithISK_ECC(session: RawHandle, index: u32, cipher: *mut u8, place: *mut RawHandle) |device| {
        let envelope = read_envelope(cipher)?;
        put_handle(place, device.import_key(number(session), index, &envelope)?)
    };
    /// Signs a digest.
    fn SDF_InternalSign_ECC(session: RawHandle, index: u32, data: *mut u8, length: u32, place: *mut RawSignature) |device| {
        let digest = bytes(data, length)?;
        let [r, s] = device.sign(number(session), index, digest)?;
        put(place, RawSignature { r, s })
    };
    /// Forgets a session key.
    fn SDF_DestroyKey(session: RawHandle, key: RawHandle) |device| device.destroy_key(number(session), number(key));
    /// SM4 in mode ECB.
    fn SDF_Encrypt(
        session: RawHandle,
        key: RawHandle,
        algorithm: u32,
        _iv: *mut u8,
        data: *mut u8,
        length: u32,
        out: *mut u8,
        out_length: *mut u32
    ) |device| {
        let encrypted = device.encrypt(number(session), number(key), algorithm, bytes(data, length)?)?;
        if out.is_null() || out_length.is_null() || (*out_length as usize) < encrypted.len() {
            return Err(answers::ARGUMENT);
        }
        out.copy_from_nonoverlapping(encrypted.as_ptr(), encrypted.len());
        put(out_length, length)
    };
    /// Makes a pair at an index: a vendors' extension.
    fn SDF_CreateKeyPair_ECC(session: RawHandle, sign: u32, index: u32, place: *mut RawPublicKey) |device| {
        device.in_session(number(session))?;
        let usage = if sign == 1 { Usage::Sign } else { Usage::Encrypt };
        put(place, public_key(device.make_pair(usage, index)?))
    };
    /// The same by Sansec's numbers: 2i − 1 signs, 2i encrypts.
    fn SWCSM_GenerateECCKeyPair(session: RawHandle, key: u32) |device| {
        device.in_session(number(session))?;
        let usage = if key % 2 == 1 { Usage::Sign } else { Usage::Encrypt };
        device.make_pair(usage, key.div_ceil(2)).map(drop)
    };
}

fn device_info(config: &Config) -> RawDeviceInfo {
    RawDeviceInfo {
        issuer: padded(&config.issuer),
        name: padded(&config.name),
        serial: padded("0"),
        device_version: 1,
        standard_version: 0x0102_0000,
        asymmetric: [0x0002_0700, 256],
        symmetric: 0x0400,
        hash: 1,
        buffer_bytes: 0,
    }
}

fn padded<const N: usize>(text: &str) -> [u8; N] {
    let mut field = [0; N];
    field[..text.len()].copy_from_slice(text.as_bytes());
    field
}
