//! RocksDB's `EncryptedEnv` with SM4 in counter mode, to measure against: what databases do that encrypt and do not authenticate.
//!
//! RocksDB ships the environment and a counter mode, but no cipher other than ROT13: the cipher is ours, as in `cipherfs`, so
//! that only the way of sealing differs. Nothing that is shipped uses this crate.

use std::ffi::{c_char, c_void};

use bixi_accel::sm4::{self, BLOCK_BYTES, KEY_BYTES};
use librocksdb_sys::rocksdb_env_t;
use rocksdb::Env;

/// How RocksDB asks for the cipher.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    /// RocksDB's own CTR provider, which asks for one block after the other.
    Blocks,
    /// A provider of our own whose streams take a span at once, as users of this interface write for themselves.
    Spans,
}

type EncryptBlock = unsafe extern "C" fn(*const c_void, *mut c_char);
type AddStream = unsafe extern "C" fn(*const c_void, *const c_char, u64, *mut c_char, usize);

unsafe extern "C" {
    fn ctr_env_new(key: *const c_void, spans: bool, encrypt: EncryptBlock, add: AddStream) -> *mut rocksdb_env_t;
}

/// An environment that encrypts under `key`. The expanded key is never freed: RocksDB's threads may outlive every owner.
///
/// # Panics
/// Without memory.
pub fn env(form: Form, key: &[u8; KEY_BYTES]) -> Env {
    let key: &'static sm4::Key = Box::leak(Box::new(sm4::Key::new(key)));
    // SAFETY: the key lives for ever; both functions keep the contract that the shim states.
    let env = unsafe { ctr_env_new((&raw const *key).cast(), form == Form::Spans, encrypt_block, add_stream) };
    assert!(!env.is_null(), "no memory for an environment");
    // SAFETY: the shim made it with the layout of RocksDB's own `rocksdb_env_t` and it is given away here, once.
    unsafe { Env::from_raw(env) }
}

/// # Safety
/// `key` is the one given to the shim, `block` has sixteen bytes that nobody else uses.
unsafe extern "C" fn encrypt_block(key: *const c_void, block: *mut c_char) {
    // SAFETY: from the caller.
    let (key, block) = unsafe { (&*key.cast::<sm4::Key>(), &mut *block.cast::<[u8; BLOCK_BYTES]>()) };
    key.encrypt_blocks(std::slice::from_mut(block));
}

/// # Safety
/// `key` is the one given to the shim, `counter` has sixteen bytes, `data` has `length` bytes that nobody else uses.
unsafe extern "C" fn add_stream(
    key: *const c_void,
    counter: *const c_char,
    offset: u64,
    data: *mut c_char,
    length: usize,
) {
    if length == 0 {
        return;
    }
    // SAFETY: from the caller; every byte was written before: it is data to encrypt or what a read returned.
    let (key, counter, data) = unsafe {
        let data = std::slice::from_raw_parts_mut(data.cast::<u8>(), length);
        (&*key.cast::<sm4::Key>(), &*counter.cast::<[u8; BLOCK_BYTES]>(), data)
    };
    add_from(key, counter, offset, data);
}

/// Adds the key stream from byte `offset` on.
fn add_from(key: &sm4::Key, counter: &[u8; BLOCK_BYTES], offset: u64, data: &mut [u8]) {
    let counter_at = |block: u64| u128::from_be_bytes(*counter).wrapping_add(block.into()).to_be_bytes();
    let (block, skip) = (offset / BLOCK_BYTES as u64, offset as usize % BLOCK_BYTES);
    let (first, rest) = data.split_at_mut(data.len().min((BLOCK_BYTES - skip) % BLOCK_BYTES));
    if !first.is_empty() {
        let mut stream = [0; BLOCK_BYTES];
        sm4::ctr::apply(key, &counter_at(block), &mut stream);
        first.iter_mut().zip(&stream[skip..]).for_each(|(byte, stream)| *byte ^= stream);
    }
    sm4::ctr::apply(key, &counter_at(block + u64::from(skip > 0)), rest);
}

#[cfg(test)]
mod tests {
    use super::*;
    use rocksdb::{DB, Options};

    #[test]
    fn a_span_in_pieces_is_the_span_at_once() {
        let (key, counter) = (sm4::Key::new(&[1; 16]), [0xff; 16]);
        let mut whole = vec![0; 100];
        sm4::ctr::apply(&key, &counter, &mut whole);
        for cut in 0..=whole.len() {
            let mut pieces = vec![0; whole.len()];
            let (first, second) = pieces.split_at_mut(cut);
            add_from(&key, &counter, 0, first);
            add_from(&key, &counter, cut as u64, second);
            assert_eq!(pieces, whole, "cut at {cut}");
        }
    }

    #[test]
    fn a_database_is_encrypted_and_comes_back() {
        const MARKER: &[u8] = b"a value that must not be seen on the disk";
        for form in [Form::Blocks, Form::Spans] {
            let dir = tempfile::tempdir().unwrap();
            let mut options = Options::default();
            options.create_if_missing(true);
            options.set_env(&env(form, &[7; 16]));
            let db = DB::open(&options, dir.path()).unwrap();
            db.put(b"in a table", MARKER).unwrap();
            db.flush().unwrap();
            db.put(b"in the log", MARKER).unwrap();
            drop(db);
            let files = std::fs::read_dir(dir.path()).unwrap().map(|entry| entry.unwrap().path());
            for file in files.filter(|file| file.file_name().is_some_and(|name| name != "LOG")) {
                let bytes = std::fs::read(&file).unwrap();
                assert!(!bytes.windows(MARKER.len()).any(|window| window == MARKER), "{form:?}: {}", file.display());
            }
            let db = DB::open(&options, dir.path()).unwrap();
            assert_eq!(db.get(b"in a table").unwrap().as_deref(), Some(MARKER));
            assert_eq!(db.get(b"in the log").unwrap().as_deref(), Some(MARKER));
        }
    }
}
