//! Providers: one, in a library context of its own, with OpenSSL's `default` behind it for what the provider itself asks for.
//!
//! Context, providers and what is fetched of them stay until the process ends: unloading runs vendors' code, and saves nothing.

use std::ffi::{CStr, CString, c_char};
use std::ptr::{NonNull, null, null_mut};

use openssl_sys as ffi;

use crate::Failure;
use crate::errors::{clear, failure};
use crate::evp::Bound;

unsafe extern "C" {
    fn OSSL_PROVIDER_get0_name(provider: *const ffi::OSSL_PROVIDER) -> *const c_char;
    fn EVP_MD_get0_provider(digest: *const ffi::EVP_MD) -> *const ffi::OSSL_PROVIDER;
    fn EVP_CIPHER_get0_provider(cipher: *const ffi::EVP_CIPHER) -> *const ffi::OSSL_PROVIDER;
    fn EVP_SIGNATURE_get0_provider(signature: *const ffi::EVP_SIGNATURE) -> *const ffi::OSSL_PROVIDER;
}

/// Loading any provider turns off the automatic default one, on which others build.
const DEFAULT: &CStr = c"default";

/// A loaded provider.
pub(crate) struct Opened {
    name: CString,
    properties: CString,
    context: NonNull<ffi::OSSL_LIB_CTX>,
}

impl Opened {
    /// Loads `name`, from `directory` if one is given.
    pub(crate) fn open(name: CString, directory: Option<&str>, properties: CString) -> Result<Self, Failure> {
        // SAFETY: no arguments.
        let context = NonNull::new(unsafe { ffi::OSSL_LIB_CTX_new() }).ok_or_else(|| failure("OSSL_LIB_CTX_new"))?;
        let opened = Self { name, properties, context };
        if let Some(directory) = directory {
            let directory = CString::new(directory).map_err(|_| "the directory has a zero byte".to_owned())?;
            // SAFETY: the context is live; the path is copied.
            if unsafe { ffi::OSSL_PROVIDER_set_default_search_path(context.as_ptr(), directory.as_ptr()) } != 1 {
                return Err(failure("OSSL_PROVIDER_set_default_search_path"));
            }
        }
        // First, so that of two providers with one algorithm it is the one that is found.
        opened.load(&opened.name)?;
        if opened.name.as_c_str() != DEFAULT {
            opened.load(DEFAULT)?;
        }
        Ok(opened)
    }

    fn load(&self, name: &CStr) -> Result<(), Failure> {
        // SAFETY: the context is live; the name ends with a zero byte.
        if unsafe { ffi::OSSL_PROVIDER_load(self.context(), name.as_ptr()) }.is_null() {
            return Err(failure(&format!("OSSL_PROVIDER_load {}", name.to_string_lossy())));
        }
        Ok(())
    }

    pub(crate) fn context(&self) -> *mut ffi::OSSL_LIB_CTX {
        self.context.as_ptr()
    }

    /// Null when there is none.
    pub(crate) fn properties(&self) -> *const c_char {
        if self.properties.is_empty() { null() } else { self.properties.as_ptr() }
    }

    pub(crate) fn digest(&self, name: &CStr) -> Option<Bound<ffi::EVP_MD>> {
        // SAFETY: context and texts are live; what was fetched has a provider.
        unsafe {
            let found = ffi::EVP_MD_fetch(self.context(), name.as_ptr(), self.properties());
            self.own(found, |found| EVP_MD_get0_provider(found))
        }
    }

    pub(crate) fn cipher(&self, name: &CStr) -> Option<Bound<ffi::EVP_CIPHER>> {
        // SAFETY: as in `digest`.
        unsafe {
            let found = ffi::EVP_CIPHER_fetch(self.context(), name.as_ptr(), self.properties());
            self.own(found, |found| EVP_CIPHER_get0_provider(found))
        }
    }

    pub(crate) fn offers_signature(&self, name: &CStr) -> bool {
        // SAFETY: as in `digest`.
        unsafe {
            let found = ffi::EVP_SIGNATURE_fetch(self.context(), name.as_ptr(), self.properties());
            self.own(found, |found| EVP_SIGNATURE_get0_provider(found)).is_some()
        }
    }

    /// What was fetched, if it is of the provider that was asked for and not of the default one behind it. Names are compared, as not
    /// every provider sets a property with its name. The algorithm knows its provider, so there is no engine.
    ///
    /// # Safety
    /// `found` is null or fetched, and `provider_of` takes it.
    unsafe fn own<T>(
        &self,
        found: *mut T,
        provider_of: impl FnOnce(*const T) -> *const ffi::OSSL_PROVIDER,
    ) -> Option<Bound<T>> {
        clear();
        let algorithm = NonNull::new(found)?;
        // SAFETY: what was fetched keeps its provider, whose name ends with a zero byte and lives as long.
        let name = unsafe { CStr::from_ptr(OSSL_PROVIDER_get0_name(provider_of(found))) };
        (name == self.name.as_c_str()).then_some(Bound { algorithm, engine: null_mut() })
    }
}
