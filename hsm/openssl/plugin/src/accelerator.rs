//! An open accelerator: each operation bound to the engine or provider that was asked for, or not there.

use std::ffi::{CStr, CString};

use bixi_hsm_openssl_abi::{Operation, Slice};
use openssl_sys as ffi;

use crate::evp::{self, Bound, Mode};
use crate::{Failure, engine, sm2};

/// What the host asked for, checked.
pub(crate) struct Wanted<'a> {
    pub(crate) is_provider: bool,
    pub(crate) name: CString,
    pub(crate) directory: Option<&'a str>,
    pub(crate) properties: CString,
    pub(crate) commands: Vec<(CString, CString)>,
}

/// Who verifies SM2, by which way.
#[cfg(libcrypto3)]
type Verifier = crate::provider::Opened;
#[cfg(not(libcrypto3))]
type Verifier = engine::Opened;

/// An open engine or provider; what it refers to stays until the process ends.
pub(crate) struct Accelerator {
    sm3: Option<Bound<ffi::EVP_MD>>,
    ecb: Option<Bound<ffi::EVP_CIPHER>>,
    cbc: Option<Bound<ffi::EVP_CIPHER>>,
    ctr: Option<Bound<ffi::EVP_CIPHER>>,
    sm2: Option<Verifier>,
}

impl Accelerator {
    pub(crate) fn open(wanted: Wanted<'_>) -> Result<Self, Failure> {
        crate::errors::clear();
        if wanted.is_provider { Self::provider(wanted) } else { Self::engine(wanted) }
    }

    fn engine(wanted: Wanted<'_>) -> Result<Self, Failure> {
        let engine = engine::Opened::open(&wanted.name, wanted.directory, &wanted.commands)?;
        Ok(Self {
            sm3: engine.sm3(),
            ecb: engine.cipher(Mode::Ecb),
            cbc: engine.cipher(Mode::Cbc),
            ctr: engine.cipher(Mode::Ctr),
            #[cfg(not(libcrypto3))]
            sm2: engine.offers_sm2().then_some(engine),
            // What accelerates SM2 under 3 comes as a provider.
            #[cfg(libcrypto3)]
            sm2: None,
        })
    }

    #[cfg(not(libcrypto3))]
    fn provider(_wanted: Wanted<'_>) -> Result<Self, Failure> {
        Err(format!("{} has no providers; name an engine, or use a plugin for libcrypto.so.3", engine::LIBCRYPTO))
    }

    #[cfg(libcrypto3)]
    fn provider(wanted: Wanted<'_>) -> Result<Self, Failure> {
        let provider = Verifier::open(wanted.name, wanted.directory, wanted.properties)?;
        Ok(Self {
            sm3: provider.digest(c"SM3"),
            ecb: provider.cipher(c"SM4-ECB"),
            cbc: provider.cipher(c"SM4-CBC"),
            ctr: provider.cipher(c"SM4-CTR"),
            sm2: provider.offers_signature(c"SM2").then_some(provider),
        })
    }

    /// The set of operations, of [`Operation::bit`].
    pub(crate) fn operations(&self) -> u32 {
        Operation::ALL.into_iter().filter(|operation| self.offers(*operation)).map(Operation::bit).sum()
    }

    fn offers(&self, operation: Operation) -> bool {
        match operation {
            Operation::Sm3 => self.sm3.is_some(),
            Operation::Sm2Verify => self.sm2.is_some(),
            cipher => self.cipher(cipher).is_ok(),
        }
    }

    fn cipher(&self, operation: Operation) -> Result<&Bound<ffi::EVP_CIPHER>, Failure> {
        let cipher = match Mode::of(operation) {
            Some(Mode::Ecb) => &self.ecb,
            Some(Mode::Cbc) => &self.cbc,
            Some(Mode::Ctr) => &self.ctr,
            None => &None,
        };
        cipher.as_ref().ok_or_else(|| not_offered(operation))
    }

    pub(crate) fn sm3_many(&self, messages: &[Slice], out: &mut [[u8; 32]]) -> Result<(), Failure> {
        let sm3 = self.sm3.as_ref().ok_or_else(|| not_offered(Operation::Sm3))?;
        evp::sm3_many(sm3, messages, out)
    }

    /// # Safety
    /// As [`evp::sm4`].
    pub(crate) unsafe fn sm4(
        &self,
        operation: Operation,
        key: &[u8; 16],
        first: &[u8; 16],
        input: Slice,
        output: *mut u8,
    ) -> Result<(), Failure> {
        let cipher = self.cipher(operation)?;
        // SAFETY: passed on from this function's contract.
        unsafe { evp::sm4(cipher, operation, key, first, input, output) }
    }

    pub(crate) fn sm2_verify(&self, public: &[u8; 64], digest: &[u8; 32], signature: &[u8]) -> Result<bool, Failure> {
        let verifier = self.sm2.as_ref().ok_or_else(|| not_offered(Operation::Sm2Verify))?;
        sm2::verify(verifier, public, digest, signature)
    }
}

fn not_offered(operation: Operation) -> Failure {
    format!("the accelerator does not offer {}", operation.name())
}

/// libcrypto in its own words.
pub(crate) fn describe() -> String {
    // SAFETY: 0 asks for the version, a string that lives as long as the library.
    let version = unsafe { CStr::from_ptr(ffi::OpenSSL_version(0)) };
    format!("{} ({})", version.to_string_lossy(), engine::LIBCRYPTO)
}
