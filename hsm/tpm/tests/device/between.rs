//! Somebody between the device and its TPM: passes everything on, keeps a copy, and spoils one response when told to.

use std::io::Write as _;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;

use bixi_hsm_tpm::Address;
use bixi_tests::swtpm::message;

/// What is done to one response.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Spoil {
    /// One bit of the byte at this share of its length, in 1/256; the response code is left alone, because no TPM
    /// authenticates an error.
    Flip(u8),
    /// Cut at this share, and the connection ended.
    Cut(u8),
    /// Bytes of no meaning in its place.
    Junk(u8),
    /// The TPM is not asked at all, and this code answered.
    Answer(u32),
}

#[derive(Default)]
struct State {
    seen: Vec<u8>,
    responses: usize,
    /// Codes of the commands, and whether an attempt with a PIN was noted when each came.
    commands: Vec<(u32, bool)>,
    /// At which response, counted from now, and how.
    armed: Option<(usize, Spoil)>,
}

/// See the module.
pub(crate) struct Between {
    path: PathBuf,
    state: Arc<Mutex<State>>,
    over: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Between {
    /// Listens at `path` for callers of the TPM at `tpm`.
    pub(crate) fn new(path: PathBuf, tpm: PathBuf) -> Self {
        let listener = UnixListener::bind(&path).unwrap();
        let (state, over) = (Arc::<Mutex<State>>::default(), Arc::<AtomicBool>::default());
        let (shared, ended) = (Arc::clone(&state), Arc::clone(&over));
        let memory = path.with_file_name("pin.state");
        let thread = std::thread::spawn(move || {
            while let Ok((caller, _)) = listener.accept() {
                if ended.load(Ordering::SeqCst) {
                    break;
                }
                serve(caller, &tpm, &memory, &shared);
            }
        });
        Self { path, state, over, thread: Some(thread) }
    }

    pub(crate) fn address(&self) -> Address {
        Address::Unix(self.path.clone())
    }

    /// Spoils the response that comes after `skipped` others.
    pub(crate) fn arm(&self, skipped: usize, spoil: Spoil) {
        let mut state = self.state.lock().unwrap();
        let at = state.responses + skipped;
        state.armed = Some((at, spoil));
    }

    /// Whether the spoiled response was reached; nothing is spoiled any more.
    pub(crate) fn disarm(&self) -> bool {
        self.state.lock().unwrap().armed.take().is_none()
    }

    /// The codes of the commands since it was last asked, and whether an attempt with a PIN was noted when each came.
    pub(crate) fn commands(&self) -> Vec<(u32, bool)> {
        std::mem::take(&mut self.state.lock().unwrap().commands)
    }

    /// Everything that went by.
    pub(crate) fn seen(&self) -> Vec<u8> {
        self.state.lock().unwrap().seen.clone()
    }

    /// Whether these bytes went by.
    pub(crate) fn saw(&self, bytes: &[u8]) -> bool {
        self.state.lock().unwrap().seen.windows(bytes.len()).any(|window| window == bytes)
    }
}

impl Drop for Between {
    fn drop(&mut self) {
        self.over.store(true, Ordering::SeqCst);
        // Wakes the listener.
        let _ = UnixStream::connect(&self.path);
        self.thread.take().unwrap().join().unwrap();
    }
}

/// One caller, until either side ends.
fn serve(mut caller: UnixStream, tpm: &Path, memory: &Path, state: &Mutex<State>) {
    let Ok(mut tpm) = UnixStream::connect(tpm) else { return };
    while let Some(command) = message(&mut caller) {
        let spoil = {
            let mut state = state.lock().unwrap();
            let at = state.responses;
            let code = u32::from_be_bytes(command[6..10].try_into().unwrap());
            state.commands.push((code, memory.exists()));
            state.responses += 1;
            state.armed.take_if(|(armed, _)| *armed == at).map(|(_, spoil)| spoil)
        };
        if let Some(Spoil::Answer(code)) = spoil {
            let answer = [&[0x80, 1, 0, 0, 0, 10][..], &code.to_be_bytes()].concat();
            if caller.write_all(&answer).is_err() {
                return;
            }
            continue;
        }
        if tpm.write_all(&command).is_err() {
            return;
        }
        let Some(response) = message(&mut tpm) else { return };
        state.lock().unwrap().seen.extend([&command[..], &response[..]].concat());
        let ends = matches!(spoil, Some(Spoil::Cut(_)));
        let sent = spoil.map_or(response.clone(), |spoil| spoiled(response, spoil));
        if caller.write_all(&sent).is_err() || ends {
            return;
        }
    }
}

fn spoiled(mut response: Vec<u8>, spoil: Spoil) -> Vec<u8> {
    let share = |of: usize, part: u8| of * usize::from(part) / 256;
    match spoil {
        Spoil::Flip(part) => {
            let at = share(response.len(), part);
            // Bytes 6 to 9 are the response code, and a response without parameters ends with it.
            let at = if (6..10).contains(&at) { 0 } else { at };
            response[at] ^= 0x40;
        }
        Spoil::Cut(part) => response.truncate(share(response.len(), part)),
        Spoil::Junk(byte) => response[10..].fill(byte),
        Spoil::Answer(_) => unreachable!("answered before the TPM was asked"),
    }
    response
}
