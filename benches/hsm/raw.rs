//! The module as a C program would use it: function list, sessions, `C_SignInit`, `C_Sign`, nothing else.

use std::ffi::c_ulong;
use std::path::Path;
use std::ptr;
use std::sync::Mutex;

use cryptoki_sys::{
    CK_ATTRIBUTE, CK_FUNCTION_LIST_PTR, CK_MECHANISM, CK_OBJECT_HANDLE, CK_RV, CK_SESSION_HANDLE, CKA_CLASS, CKA_LABEL,
    CKF_SERIAL_SESSION, CKO_PRIVATE_KEY, CKR_OK,
};

/// Calls a function of the list; one that a module of PKCS#11 2.40 must have.
macro_rules! call {
    ($module:expr, $function:ident $(, $argument:expr)*) => {{
        // SAFETY: the list and its functions live as long as the library, which is never unloaded; the arguments are what
        // PKCS#11 2.40 section 5 asks of this function, and outlive the call.
        let code = unsafe { ((*$module.list).$function.expect(stringify!($function)))($($argument),*) };
        check(code, stringify!($function));
    }};
}

fn check(code: CK_RV, function: &str) {
    assert_eq!(code, CKR_OK, "{function} answered 0x{code:08X}");
}

/// A module that somebody else in this process has initialised and logged in to.
pub(crate) struct Module {
    list: CK_FUNCTION_LIST_PTR,
    sign_us: *mut u32,
    _library: libloading::Library,
}

// SAFETY: the list is constant, and its functions may be called by many threads at once: the module was initialised with
// CKF_OS_LOCKING_OK. The word of the delay is written while no call is under way, by its one owner.
unsafe impl Sync for Module {}

impl Module {
    /// Takes the functions of a module, and the word by which its signatures can be made slow.
    pub(crate) fn load(path: &Path) -> Self {
        // SAFETY: the file is the fixture that was compiled a moment ago; loading it runs no code of its own.
        let library = unsafe { libloading::Library::new(path) }.expect("the module");
        let mut list = ptr::null_mut();
        // SAFETY: both symbols have these types in tests/fixtures/device.c.
        let sign_us = unsafe {
            let get = library.get::<unsafe extern "C" fn(*mut CK_FUNCTION_LIST_PTR) -> CK_RV>(b"C_GetFunctionList\0");
            check(get.expect("C_GetFunctionList")(&mut list), "C_GetFunctionList");
            *library.get::<*mut u32>(b"bixi_device_sign_us\0").expect("the fixture's delay")
        };
        Self { list, sign_us, _library: library }
    }

    /// From here on each signature takes so much longer.
    pub(crate) fn delay(&mut self, sign_us: u32) {
        // SAFETY: an aligned word of the library's, which lives as long as `self`; nobody signs now.
        unsafe { self.sign_us.write_volatile(sign_us) };
    }

    /// A session of the slot's, with the key of that label.
    fn session(&self, slot: c_ulong, label: &str) -> (CK_SESSION_HANDLE, CK_OBJECT_HANDLE) {
        let (mut session, mut key, mut found, mut class) = (0, 0, 0, CKO_PRIVATE_KEY);
        call!(self, C_OpenSession, slot, CKF_SERIAL_SESSION, ptr::null_mut(), None, &mut session);
        let attribute = |kind, value: *mut _, bytes| CK_ATTRIBUTE { type_: kind, pValue: value, ulValueLen: bytes };
        let mut wanted = [
            attribute(CKA_CLASS, (&raw mut class).cast(), size_of_val(&class) as c_ulong),
            attribute(CKA_LABEL, label.as_ptr().cast_mut().cast(), label.len() as c_ulong),
        ];
        call!(self, C_FindObjectsInit, session, wanted.as_mut_ptr(), wanted.len() as c_ulong);
        call!(self, C_FindObjects, session, &mut key, 1, &mut found);
        call!(self, C_FindObjectsFinal, session);
        assert_eq!(found, 1, "the private key {label:?}");
        (session, key)
    }

    /// The slot with the token of that label.
    fn slot(&self, label: &str) -> c_ulong {
        let (mut slots, mut count) = ([0; 64], 64);
        call!(self, C_GetSlotList, 1, slots.as_mut_ptr(), &mut count);
        let has_label = |slot: &&c_ulong| {
            // SAFETY: a structure of integers and byte arrays, for which zero is a value.
            let mut info: cryptoki_sys::CK_TOKEN_INFO = unsafe { std::mem::zeroed() };
            call!(self, C_GetTokenInfo, **slot, &mut info);
            info.label.starts_with(label.as_bytes())
        };
        *slots[..count as usize].iter().find(has_label).expect("the token")
    }

    /// What the library calls itself.
    pub(crate) fn description(&self) -> String {
        // SAFETY: as above.
        let mut info: cryptoki_sys::CK_INFO = unsafe { std::mem::zeroed() };
        call!(self, C_GetInfo, &mut info);
        String::from_utf8_lossy(&info.libraryDescription).trim_end().to_owned()
    }
}

/// Callers with a session each.
pub(crate) struct Signers<'a> {
    module: &'a Module,
    mechanism: c_ulong,
    sessions: Vec<Mutex<(CK_SESSION_HANDLE, CK_OBJECT_HANDLE)>>,
}

impl<'a> Signers<'a> {
    pub(crate) fn new(module: &'a Module, token: &str, key: &str, mechanism: u64, count: usize) -> Self {
        let slot = module.slot(token);
        let sessions = (0..count).map(|_| Mutex::new(module.session(slot, key))).collect();
        Self { module, mechanism, sessions }
    }

    /// Signs a digest in the session of that caller.
    pub(crate) fn sign(&self, caller: usize, digest: &mut [u8; 32]) -> [u8; 64] {
        // Nobody else's: taking it costs one atomic operation.
        let session = self.sessions[caller].lock().expect("no panic");
        let mut mechanism = CK_MECHANISM { mechanism: self.mechanism, pParameter: ptr::null_mut(), ulParameterLen: 0 };
        let (mut signature, mut bytes) = ([0; 64], 64);
        call!(self.module, C_SignInit, session.0, &mut mechanism, session.1);
        call!(self.module, C_Sign, session.0, digest.as_mut_ptr(), 32, signature.as_mut_ptr(), &mut bytes);
        signature
    }
}

impl Drop for Signers<'_> {
    fn drop(&mut self) {
        for session in &self.sessions {
            call!(self.module, C_CloseSession, session.lock().expect("no panic").0);
        }
    }
}
