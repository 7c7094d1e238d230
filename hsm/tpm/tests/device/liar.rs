//! Somebody who answers every command with a well-formed header and whatever comes to mind.

use std::io::Write as _;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread::JoinHandle;

use bixi_hsm_tpm::Address;
use bixi_tests::swtpm::message;

/// See the module.
pub(crate) struct Liar {
    path: PathBuf,
    over: Arc<AtomicBool>,
    answered: Arc<AtomicUsize>,
    thread: Option<JoinHandle<()>>,
}

impl Liar {
    /// Listens at `path`.
    pub(crate) fn new(path: PathBuf) -> Self {
        let listener = UnixListener::bind(&path).unwrap();
        let (over, answered) = (Arc::<AtomicBool>::default(), Arc::<AtomicUsize>::default());
        let (ended, count) = (Arc::clone(&over), Arc::clone(&answered));
        let thread = std::thread::spawn(move || {
            while let Ok((mut caller, _)) = listener.accept() {
                if ended.load(Ordering::SeqCst) {
                    break;
                }
                while let Some(command) = message(&mut caller) {
                    let number = count.fetch_add(1, Ordering::SeqCst) as u64;
                    if caller.write_all(&lie(&command, number)).is_err() {
                        break;
                    }
                }
            }
        });
        Self { path, over, answered, thread: Some(thread) }
    }

    pub(crate) fn address(&self) -> Address {
        Address::Unix(self.path.clone())
    }

    /// Lies told so far.
    pub(crate) fn answered(&self) -> usize {
        self.answered.load(Ordering::SeqCst)
    }
}

impl Drop for Liar {
    fn drop(&mut self) {
        self.over.store(true, Ordering::SeqCst);
        // Wakes the listener.
        let _ = UnixStream::connect(&self.path);
        self.thread.take().unwrap().join().unwrap();
    }
}

/// A success in the form that was asked for, with the number's own body: small lengths now and then, so that it is read on.
fn lie(command: &[u8], number: u64) -> Vec<u8> {
    let mut state = number.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1;
    let mut draw = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state
    };
    let length = (draw() % 200) as usize;
    let mut body: Vec<u8> =
        (0..length).map(|_| if draw() % 3 == 0 { draw() as u8 } else { (draw() % 3) as u8 }).collect();
    const GET_CAPABILITY: &[u8] = &[0, 0, 1, 0x7A];
    if &command[6..10] == GET_CAPABILITY && draw() % 4 != 0 {
        // What was asked about, and one entry that says yes.
        body = [&[0][..], &command[10..14], &[0, 0, 0, 1]].concat();
        match command[13] {
            0 => body.extend([&command[16..18], &[0, 0, 0, 1]].concat()),
            6 => body.extend([&command[14..18], &[0, 0, 0, 1]].concat()),
            8 => body.extend(&command[16..18]),
            _ => body.extend(&command[14..18]),
        }
    }
    let length = u32::try_from(10 + body.len()).unwrap();
    [&command[..2], &length.to_be_bytes(), &[0; 4], &body].concat()
}
