//! ENGINEs, by name at run time: distributions of OpenSSL 3 leave them out, OpenSSL 4 has none, and the plugin must load all the same.

use std::ffi::{CStr, CString, c_char, c_int, c_void};
use std::mem::transmute_copy;
use std::ptr::{NonNull, null, null_mut};
use std::sync::OnceLock;

use openssl_sys::{
    ENGINE, EVP_CIPHER, EVP_MD, EVP_sm3, EVP_sm4_cbc, EVP_sm4_ctr, EVP_sm4_ecb, NID_sm3, NID_sm4_cbc, NID_sm4_ctr,
    NID_sm4_ecb,
};

use crate::Failure;
use crate::errors::{clear, failure};
use crate::evp::{Bound, Mode};

/// The libcrypto this plugin is linked to, as the dynamic loader knows it.
pub(crate) const LIBCRYPTO: &str = env!("LIBCRYPTO");

/// `OPENSSL_INIT_ENGINE_DYNAMIC`: the engine that loads others is on the list.
const ENGINE_DYNAMIC: u64 = 0x400;

unsafe extern "C" {
    fn OPENSSL_init_crypto(options: u64, settings: *const c_void) -> c_int;
}

type Engine = *mut ENGINE;
/// The engine's own method for a numbered algorithm, or null.
type Getter = unsafe extern "C" fn(Engine, c_int) -> *const c_void;

/// The functions of `<openssl/engine.h>` that this plugin calls.
struct Api {
    by_id: unsafe extern "C" fn(*const c_char) -> Engine,
    command: unsafe extern "C" fn(Engine, *const c_char, *const c_char, c_int) -> c_int,
    init: unsafe extern "C" fn(Engine) -> c_int,
    free: unsafe extern "C" fn(Engine) -> c_int,
    digest: Getter,
    cipher: Getter,
    #[cfg(not(libcrypto3))]
    key_method: Getter,
}

/// Resolved once; none where this libcrypto has no engines.
fn api() -> Option<&'static Api> {
    static API: OnceLock<Option<Api>> = OnceLock::new();
    API.get_or_init(resolve).as_ref()
}

fn resolve() -> Option<Api> {
    let name = CString::new(LIBCRYPTO).ok()?;
    // SAFETY: the name ends with a zero byte; RTLD_NOLOAD finds the library that is loaded already, as this plugin needs it.
    let library = NonNull::new(unsafe { libc::dlopen(name.as_ptr(), libc::RTLD_LAZY | libc::RTLD_NOLOAD) })?;
    // SAFETY: each is a function of <openssl/engine.h> with the signature that 1.1 and 3 document.
    unsafe {
        Some(Api {
            by_id: function(library, c"ENGINE_by_id")?,
            command: function(library, c"ENGINE_ctrl_cmd_string")?,
            init: function(library, c"ENGINE_init")?,
            free: function(library, c"ENGINE_free")?,
            digest: function(library, c"ENGINE_get_digest")?,
            cipher: function(library, c"ENGINE_get_cipher")?,
            #[cfg(not(libcrypto3))]
            key_method: function(library, c"ENGINE_get_pkey_meth")?,
        })
    }
}

/// The function `name` of a library that is never unloaded.
///
/// # Safety
/// `library` is a live handle, and `T` the type of a pointer to that function.
unsafe fn function<T: Copy>(library: NonNull<c_void>, name: &CStr) -> Option<T> {
    const { assert!(size_of::<T>() == size_of::<*mut c_void>()) };
    // SAFETY: the handle is live; the name ends with a zero byte.
    let address = NonNull::new(unsafe { libc::dlsym(library.as_ptr(), name.as_ptr()) })?;
    // SAFETY: an address as a pointer to the function that stands there, by the caller's word; sizes were compared.
    Some(unsafe { transmute_copy(&address) })
}

/// An initialised engine; it stays so until the process ends.
pub(crate) struct Opened {
    api: &'static Api,
    engine: NonNull<ENGINE>,
}

/// A structural reference that is dropped unless it is initialised.
struct Found {
    api: &'static Api,
    engine: NonNull<ENGINE>,
}

impl Drop for Found {
    fn drop(&mut self) {
        // SAFETY: the reference is ours and live.
        unsafe { (self.api.free)(self.engine.as_ptr()) };
    }
}

impl Opened {
    /// Finds engine `id` (in `directory`, as `id.so`, if one is named), sends it `commands` and initialises it.
    pub(crate) fn open(id: &CStr, directory: Option<&str>, commands: &[(CString, CString)]) -> Result<Self, Failure> {
        let Some(api) = api() else {
            return Err(format!("{LIBCRYPTO} was built without engines; name a provider, or use a plugin for 1.1"));
        };
        // SAFETY: no settings; the call may be made any number of times.
        unsafe { OPENSSL_init_crypto(ENGINE_DYNAMIC, null()) };
        let found = match directory {
            None => Found::by_id(api, id)?,
            Some(directory) => Found::in_directory(api, id, directory)?,
        };
        for (name, value) in commands {
            found.command(name, Some(value))?;
        }
        // SAFETY: the structural reference is live.
        if unsafe { (api.init)(found.engine.as_ptr()) } != 1 {
            return Err(failure("ENGINE_init (is the device there, and may this user open it?)"));
        }
        let engine = found.engine;
        // It keeps its structural reference and the functional one that it just got.
        std::mem::forget(found);
        Ok(Self { api, engine })
    }

    /// For the `Init` calls of EVP.
    pub(crate) fn as_ptr(&self) -> *mut ENGINE {
        self.engine.as_ptr()
    }

    /// SM3, to be computed by this engine.
    pub(crate) fn sm3(&self) -> Option<Bound<EVP_MD>> {
        // SAFETY: returns a constant of libcrypto's.
        self.bound(self.api.digest, NID_sm3, unsafe { EVP_sm3() })
    }

    /// SM4 in a mode, to be computed by this engine.
    pub(crate) fn cipher(&self, mode: Mode) -> Option<Bound<EVP_CIPHER>> {
        // SAFETY: return constants of libcrypto's.
        let (nid, algorithm) = unsafe {
            match mode {
                Mode::Ecb => (NID_sm4_ecb, EVP_sm4_ecb()),
                Mode::Cbc => (NID_sm4_cbc, EVP_sm4_cbc()),
                Mode::Ctr => (NID_sm4_ctr, EVP_sm4_ctr()),
            }
        };
        self.bound(self.api.cipher, nid, algorithm)
    }

    /// Whether it has a method for SM2 keys. Asked in 1.1 only: what is made for 3 comes as a provider.
    #[cfg(not(libcrypto3))]
    pub(crate) fn offers_sm2(&self) -> bool {
        self.offers(self.api.key_method, openssl_sys::EVP_PKEY_SM2)
    }

    fn bound<T>(&self, get: Getter, nid: c_int, algorithm: *const T) -> Option<Bound<T>> {
        let algorithm = NonNull::new(algorithm.cast_mut())?;
        self.offers(get, nid).then_some(Bound { algorithm, engine: self.as_ptr() })
    }

    fn offers(&self, get: Getter, nid: c_int) -> bool {
        // SAFETY: the engine is live; null says that it does not have the algorithm.
        let found = !unsafe { get(self.engine.as_ptr(), nid) }.is_null();
        clear();
        found
    }
}

impl Found {
    fn by_id(api: &'static Api, id: &CStr) -> Result<Self, Failure> {
        // SAFETY: the id ends with a zero byte.
        match NonNull::new(unsafe { (api.by_id)(id.as_ptr()) }) {
            Some(engine) => Ok(Self { api, engine }),
            None => Err(failure("ENGINE_by_id")),
        }
    }

    /// Loads `directory/id.so` without putting it on the process's list of engines.
    fn in_directory(api: &'static Api, id: &CStr, directory: &str) -> Result<Self, Failure> {
        let path = CString::new(format!("{directory}/{}.so", id.to_string_lossy()))
            .map_err(|_| "the directory has a zero byte".to_owned())?;
        let found = Self::by_id(api, c"dynamic")?;
        found.command(c"SO_PATH", Some(&path))?;
        found.command(c"ID", Some(id))?;
        found.command(c"LIST_ADD", Some(c"0"))?;
        found.command(c"LOAD", None)?;
        Ok(found)
    }

    fn command(&self, name: &CStr, value: Option<&CStr>) -> Result<(), Failure> {
        let argument = value.map_or(null_mut(), |value| value.as_ptr().cast_mut());
        // SAFETY: the engine is live; both texts end with a zero byte and are copied where they are kept.
        if unsafe { (self.api.command)(self.engine.as_ptr(), name.as_ptr(), argument, 0) } == 1 {
            return Ok(());
        }
        let shown = value.map_or_else(String::new, |value| format!(" {}", value.to_string_lossy()));
        Err(failure(&format!("engine command {}{shown}", name.to_string_lossy())))
    }
}
