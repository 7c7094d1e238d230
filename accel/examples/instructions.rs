//! Repeats one operation, for a counter of instructions: `instructions OPERATION BYTES TIMES`. `c:…` operations are those of the C library
//! that `BIXI_PEER` names (OpenSSL's `libcrypto`), loaded at run time.
#![allow(clippy::print_stdout, missing_docs)]

use bixi_accel::{cpu, sm3, sm4};
use std::hint::black_box;

fn main() {
    cpu::configure_from_env().expect("a known value of BIXI_CPU");
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [operation, bytes, times] = &arguments[..] else { panic!("instructions OPERATION BYTES TIMES") };
    let (bytes, times): (usize, u32) = (bytes.parse().expect("bytes"), times.parse().expect("times"));
    let mut data = vec![7u8; bytes];
    match &operation[..] {
        "sm3" => repeat(times, || _ = black_box(sm3::digest(black_box(&data)))),
        "sm3.many" => {
            let messages = vec![&data[..]; 64];
            let mut digests = vec![[0; 32]; 64];
            repeat(times, || sm3::digest_many(black_box(&messages), &mut digests));
        }
        "sm4.ecb" => {
            let key = sm4::Key::new(&[7; 16]);
            repeat(times, || key.encrypt_blocks(black_box(data.as_chunks_mut().0)));
        }
        "sm4.ctr" => {
            let key = sm4::Key::new(&[7; 16]);
            repeat(times, || sm4::ctr::apply(&key, &[0; 16], black_box(&mut data)));
        }
        "sm4.gcm" => {
            let key = sm4::gcm::Key::new(&[7; 16]);
            repeat(times, || _ = black_box(sm4::gcm::seal(&key, &[0; 12], &[], black_box(&mut data))));
        }
        "c:sm3" => {
            let hash = peer::Hash::new();
            repeat(times, || hash.digest(black_box(&data)));
        }
        "c:sm4.ecb" => peer_cipher(c"EVP_sm4_ecb", &mut data, times),
        "c:sm4.ctr" => peer_cipher(c"EVP_sm4_ctr", &mut data, times),
        _ => panic!("no operation {operation}"),
    }
    if std::env::var_os("BIXI_PRINT_KERNELS").is_some() {
        cpu::selected().iter().for_each(|selected| println!("{} {}", selected.operation, selected.kernel));
    }
}

fn repeat(times: u32, mut call: impl FnMut()) {
    (0..times).for_each(|_| call());
}

fn peer_cipher(name: &std::ffi::CStr, data: &mut [u8], times: u32) {
    let cipher = peer::Cipher::new(name, &[7; 16]);
    repeat(times, || cipher.apply(black_box(data)));
}

/// Just enough of OpenSSL's interface; contexts are made once, so that the counts are those of the algorithms.
#[allow(unsafe_code)]
mod peer {
    use std::ffi::{CStr, CString, c_char, c_int, c_uint, c_void};
    use std::ptr::{null, null_mut};

    type Pointer = *mut c_void;

    unsafe extern "C" {
        fn dlopen(path: *const c_char, mode: c_int) -> Pointer;
        fn dlsym(library: Pointer, name: *const c_char) -> Pointer;
    }

    /// A function of the library.
    fn function(name: &CStr) -> Pointer {
        const RTLD_NOW: c_int = 2;
        let path = std::env::var("BIXI_PEER").expect("BIXI_PEER: the path of libcrypto");
        let path = CString::new(path).expect("a path");
        // SAFETY: both strings end with a zero; the library's initialisation is that of OpenSSL.
        let found = unsafe { dlsym(dlopen(path.as_ptr(), RTLD_NOW), name.as_ptr()) };
        assert!(!found.is_null(), "{name:?} in {path:?}");
        found
    }

    /// `$name` of the library, with the type its header gives.
    macro_rules! import {
        ($name:literal as fn($($argument:ty),*) -> $result:ty) => {
            // SAFETY: the type is the header's.
            unsafe { std::mem::transmute::<Pointer, unsafe extern "C" fn($($argument),*) -> $result>(function($name)) }
        };
    }

    pub(super) struct Hash {
        context: Pointer,
        algorithm: Pointer,
        init: unsafe extern "C" fn(Pointer, Pointer, Pointer) -> c_int,
        update: unsafe extern "C" fn(Pointer, *const u8, usize) -> c_int,
        finish: unsafe extern "C" fn(Pointer, *mut u8, *mut c_uint) -> c_int,
    }

    impl Hash {
        pub(super) fn new() -> Self {
            let fetch = import!(c"EVP_MD_fetch" as fn(Pointer, *const c_char, *const c_char) -> Pointer);
            let context = import!(c"EVP_MD_CTX_new" as fn() -> Pointer);
            // SAFETY: the default library context and no properties.
            let (algorithm, context) = unsafe { (fetch(null_mut(), c"SM3".as_ptr(), null()), context()) };
            assert!(!algorithm.is_null() && !context.is_null());
            Self {
                context,
                algorithm,
                init: import!(c"EVP_DigestInit_ex" as fn(Pointer, Pointer, Pointer) -> c_int),
                update: import!(c"EVP_DigestUpdate" as fn(Pointer, *const u8, usize) -> c_int),
                finish: import!(c"EVP_DigestFinal_ex" as fn(Pointer, *mut u8, *mut c_uint) -> c_int),
            }
        }

        pub(super) fn digest(&self, data: &[u8]) {
            let mut digest = [0; 32];
            // SAFETY: context and algorithm are the library's; the lengths are those of the slices.
            let done = unsafe {
                (self.init)(self.context, self.algorithm, null_mut()) == 1
                    && (self.update)(self.context, data.as_ptr(), data.len()) == 1
                    && (self.finish)(self.context, digest.as_mut_ptr(), null_mut()) == 1
            };
            assert!(done);
        }
    }

    pub(super) struct Cipher {
        context: Pointer,
        update: unsafe extern "C" fn(Pointer, *mut u8, *mut c_int, *const u8, c_int) -> c_int,
    }

    impl Cipher {
        pub(super) fn new(name: &CStr, key: &[u8; 16]) -> Self {
            let context = import!(c"EVP_CIPHER_CTX_new" as fn() -> Pointer);
            let init = import!(c"EVP_EncryptInit_ex" as fn(Pointer, Pointer, Pointer, *const u8, *const u8) -> c_int);
            let algorithm = {
                // SAFETY: every `EVP_sm4_…` takes nothing and gives a cipher.
                let algorithm =
                    unsafe { std::mem::transmute::<Pointer, unsafe extern "C" fn() -> Pointer>(function(name)) };
                // SAFETY: as above.
                unsafe { algorithm() }
            };
            // SAFETY: key and counter have sixteen bytes.
            let context = unsafe {
                let context = context();
                assert_eq!(init(context, algorithm, null_mut(), key.as_ptr(), key.as_ptr()), 1);
                context
            };
            Self {
                context,
                update: import!(c"EVP_EncryptUpdate" as fn(Pointer, *mut u8, *mut c_int, *const u8, c_int) -> c_int),
            }
        }

        pub(super) fn apply(&self, data: &mut [u8]) {
            let (mut out, length) = (0, data.len() as c_int);
            // SAFETY: in place, which the library allows; a whole number of blocks.
            let done = unsafe { (self.update)(self.context, data.as_mut_ptr(), &mut out, data.as_ptr(), length) };
            assert!(done == 1 && out == length);
        }
    }
}
