//! The C boundary: loads a library, resolves its functions, and keeps it until the process ends.
//!
//! A library is `dlopen`ed once per path and never closed, because vendors' libraries start threads and crash in their
//! destructors. Functions of the standard that this backend calls must be there; vendors' own may be missing.
#![allow(unsafe_code)]

mod calls;

use std::collections::BTreeMap;
use std::ffi::c_int;
use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicBool;
use std::sync::{Mutex, PoisonError};

use bixi_hsm::{Cause, DeviceError, elf};
use libloading::os::unix::{Library, RTLD_LOCAL, RTLD_NOW};

use crate::abi::{RawDeviceInfo, RawHandle, RawPublicKey, RawSignature};

pub(crate) use calls::{CipherBlob, Device, Key, RawSession, Usage};

/// Libraries of this process by path; each is leaked.
static LOADED: Mutex<BTreeMap<PathBuf, &'static Api>> = Mutex::new(BTreeMap::new());

type DeviceCall = unsafe extern "C" fn(RawHandle) -> c_int;
type SessionCall = unsafe extern "C" fn(RawHandle, *mut RawHandle) -> c_int;
type ExportCall = unsafe extern "C" fn(RawHandle, u32, *mut RawPublicKey) -> c_int;

/// The functions of one library. Signatures are those of GM/T 0018-2012 6.2 to 6.6, unchanged in -2023.
pub(crate) struct Api {
    open_device: unsafe extern "C" fn(*mut RawHandle) -> c_int,
    close_device: DeviceCall,
    open_session: SessionCall,
    close_session: DeviceCall,
    device_info: unsafe extern "C" fn(RawHandle, *mut RawDeviceInfo) -> c_int,
    random: unsafe extern "C" fn(RawHandle, u32, *mut u8) -> c_int,
    take_right: unsafe extern "C" fn(RawHandle, u32, *mut u8, u32) -> c_int,
    release_right: unsafe extern "C" fn(RawHandle, u32) -> c_int,
    export_sign: ExportCall,
    export_encrypt: ExportCall,
    generate_key: unsafe extern "C" fn(RawHandle, u32, u32, *mut u8, *mut RawHandle) -> c_int,
    import_key: unsafe extern "C" fn(RawHandle, u32, *mut u8, *mut RawHandle) -> c_int,
    destroy_key: unsafe extern "C" fn(RawHandle, RawHandle) -> c_int,
    sign: unsafe extern "C" fn(RawHandle, u32, *mut u8, u32, *mut RawSignature) -> c_int,
    encrypt: unsafe extern "C" fn(RawHandle, RawHandle, u32, *mut u8, *mut u8, u32, *mut u8, *mut u32) -> c_int,
    /// `SDF_CreateKeyPair_ECC(session, sign flag, index, public key)`, a vendors' extension.
    create_pair: Option<unsafe extern "C" fn(RawHandle, u32, u32, *mut RawPublicKey) -> c_int>,
    /// `SWCSM_GenerateECCKeyPair(session, number)`, Sansec's extension.
    generate_pair: Option<unsafe extern "C" fn(RawHandle, u32) -> c_int>,
    /// Whether envelopes can be turned over to another key (2012 only; the 2023 edition took it out).
    exchanges_envelopes: bool,
    /// Whether a [`Device`] of this library is open in this process.
    opened: AtomicBool,
}

/// The library at `path`.
pub(crate) fn load(path: &Path) -> Result<&'static Api, DeviceError> {
    let absent = |error: std::io::Error| {
        DeviceError::new("dlopen", Cause::Setup, format!("library {}: {error}", path.display()))
            .with_advice("check the library's path in the configuration")
    };
    let path = path.canonicalize().map_err(absent)?;
    let mut loaded = LOADED.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(api) = loaded.get(&path) {
        return Ok(api);
    }
    elf::check(&path)?;
    // SAFETY: loading runs the library's initialisers in this process; the operator named this file as the vendor's library,
    // which is the trust that using a device takes.
    let library = unsafe { Library::open(Some(&path), RTLD_NOW | RTLD_LOCAL) }.map_err(|error| {
        DeviceError::new("dlopen", Cause::Setup, format!("library {}: {error}", path.display()))
            .with_advice("check the libraries it needs (ldd) and its own configuration")
    })?;
    // Leaked on purpose: the functions below must stay as long as the process.
    let library: &'static Library = Box::leak(Box::new(library));
    let symbols = Symbols { library, path: &path };
    // SAFETY: each type in `Api` is the function's signature in GM/T 0018 or in the vendor's manual.
    let api = unsafe { symbols.resolve()? };
    let api: &'static Api = Box::leak(Box::new(api));
    loaded.insert(path, api);
    Ok(api)
}

struct Symbols<'a> {
    library: &'static Library,
    path: &'a Path,
}

impl Symbols<'_> {
    /// # Safety
    /// If the library has a function `name`, `T` is a pointer to functions of its signature, or opaque.
    unsafe fn optional<T: Copy>(&self, name: &str) -> Option<T> {
        // SAFETY: passed on from this function's contract; the pointer outlives its use, the library being leaked.
        unsafe { self.library.get::<T>(name.as_bytes()) }.ok().map(|symbol| *symbol)
    }

    /// # Safety
    /// As [`Symbols::optional`].
    unsafe fn required<T: Copy>(&self, name: &str) -> Result<T, DeviceError> {
        // SAFETY: passed on from this function's contract.
        unsafe { self.optional(name) }.ok_or_else(|| {
            DeviceError::new("dlsym", Cause::Setup, format!("library {} has no {name}", self.path.display()))
                .with_advice(
                    "the file is a shared library but no SDF library (GM/T 0018), or misses a call that is needed",
                )
        })
    }

    /// # Safety
    /// The signatures in [`Api`] are those of the library's functions.
    unsafe fn resolve(&self) -> Result<Api, DeviceError> {
        // SAFETY: passed on from this function's contract, for each function.
        unsafe {
            Ok(Api {
                open_device: self.required("SDF_OpenDevice")?,
                close_device: self.required("SDF_CloseDevice")?,
                open_session: self.required("SDF_OpenSession")?,
                close_session: self.required("SDF_CloseSession")?,
                device_info: self.required("SDF_GetDeviceInfo")?,
                random: self.required("SDF_GenerateRandom")?,
                take_right: self.required("SDF_GetPrivateKeyAccessRight")?,
                release_right: self.required("SDF_ReleasePrivateKeyAccessRight")?,
                export_sign: self.required("SDF_ExportSignPublicKey_ECC")?,
                export_encrypt: self.required("SDF_ExportEncPublicKey_ECC")?,
                generate_key: self.required("SDF_GenerateKeyWithIPK_ECC")?,
                import_key: self.required("SDF_ImportKeyWithISK_ECC")?,
                destroy_key: self.required("SDF_DestroyKey")?,
                sign: self.required("SDF_InternalSign_ECC")?,
                encrypt: self.required("SDF_Encrypt")?,
                create_pair: self.optional("SDF_CreateKeyPair_ECC"),
                generate_pair: self.optional("SWCSM_GenerateECCKeyPair"),
                exchanges_envelopes: self.optional::<RawHandle>("SDF_ExchangeDigitEnvelopeBaseOnECC").is_some(),
                opened: AtomicBool::new(false),
            })
        }
    }
}
