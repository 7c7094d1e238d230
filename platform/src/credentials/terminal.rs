//! Asking on the terminal without showing what is typed.

use std::{
    fs, io,
    io::{Read, Write},
    mem::MaybeUninit,
    os::fd::{AsRawFd, RawFd},
    ptr::null_mut,
    sync::atomic::{AtomicPtr, Ordering},
};

use super::PIN_BYTES_MAX;
use crate::secret::Secret;

/// Asks on the controlling terminal and returns the line typed, with its end.
pub(super) fn ask(text: &str) -> io::Result<Secret> {
    SilentTerminal::open()?.ask(text, PIN_BYTES_MAX + 3)
}

/// What the terminal is to be again, for a signal's handler; null when it is that.
static BEFORE: AtomicPtr<Before> = AtomicPtr::new(null_mut());

struct Before {
    descriptor: RawFd,
    settings: libc::termios,
}

impl Before {
    fn put_back(&self) {
        // SAFETY: `settings` is what the kernel reported; a descriptor that was closed meanwhile is an error, which changes nothing.
        unsafe { libc::tcsetattr(self.descriptor, libc::TCSANOW, &self.settings) };
    }
}

/// Has a terminal whose echo is off put back when `signal` comes, before handlers that are registered later, such as one that ends this
/// process.
///
/// # Errors
/// When the system takes no handler.
pub fn put_back_at(signal: i32) -> io::Result<()> {
    let put_back = || {
        // SAFETY: what it points to is never freed.
        if let Some(before) = unsafe { BEFORE.load(Ordering::SeqCst).as_ref() } {
            before.put_back();
        }
    };
    // SAFETY: the handler reads an atomic and calls tcsetattr, which POSIX has among what a handler may call.
    unsafe { signal_hook::low_level::register(signal, put_back) }.map(drop)
}

/// The controlling terminal with its echo off, for lines that nobody else is to see. Its settings are put back on every way out, those
/// signals included that [`put_back_at`] was told of.
pub struct SilentTerminal {
    terminal: fs::File,
    _silence: Silence,
}

impl SilentTerminal {
    /// Opens it; what was typed before is dropped.
    ///
    /// # Errors
    /// When this process has no terminal.
    pub fn open() -> io::Result<Self> {
        let opened = fs::OpenOptions::new().read(true).write(true).open("/dev/tty");
        let terminal = opened.map_err(|error| {
            io::Error::new(error.kind(), format!("there is no terminal to ask on ({error}); run this on one"))
        })?;
        let silence = Silence::begin(terminal.try_clone()?)?;
        Ok(Self { terminal, _silence: silence })
    }

    /// Shows a text.
    ///
    /// # Errors
    /// The system's.
    pub fn show(&mut self, text: &str) -> io::Result<()> {
        self.terminal.write_all(text.as_bytes())
    }

    /// Shows a text and a colon, and returns the line typed, with its end; at most `bytes_max` of it. Without an end the terminal was closed,
    /// or the line is longer.
    ///
    /// # Errors
    /// The system's.
    pub fn ask(&mut self, text: &str, bytes_max: usize) -> io::Result<Secret> {
        write!(self.terminal, "{text}: ")?;
        let mut room = Secret::zeroed(bytes_max);
        let mut filled = 0;
        // Byte by byte, into locked memory alone: what follows the line belongs to the next question.
        while filled < bytes_max && self.terminal.read(&mut room.as_mut_slice()[filled..=filled])? == 1 {
            filled += 1;
            if room.as_slice()[filled - 1] == b'\n' {
                break;
            }
        }
        writeln!(self.terminal)?;
        Ok(Secret::from_slice(&room.as_slice()[..filled]))
    }
}

/// Keeps the echo off while it lives.
struct Silence {
    _terminal: fs::File,
    before: &'static Before,
}

impl Silence {
    fn begin(terminal: fs::File) -> io::Result<Self> {
        let mut settings = MaybeUninit::<libc::termios>::uninit();
        // SAFETY: the descriptor is open and `settings` is writable for a termios.
        if unsafe { libc::tcgetattr(terminal.as_raw_fd(), settings.as_mut_ptr()) } != 0 {
            return Err(io::Error::last_os_error());
        }
        // SAFETY: tcgetattr succeeded, so it has filled the structure.
        let settings = unsafe { settings.assume_init() };
        // For good, some hundred bytes a question: a handler on another thread may look at them at any time.
        let before = Box::leak(Box::new(Before { descriptor: terminal.as_raw_fd(), settings }));
        BEFORE.store(before, Ordering::SeqCst);
        let mut silent = settings;
        silent.c_lflag &= !(libc::ECHO | libc::ECHOE | libc::ECHOK | libc::ECHONL);
        // SAFETY: the descriptor is open and `silent` is a valid termios.
        if unsafe { libc::tcsetattr(terminal.as_raw_fd(), libc::TCSAFLUSH, &silent) } != 0 {
            return Err(io::Error::last_os_error());
        }
        Ok(Self { _terminal: terminal, before })
    }
}

impl Drop for Silence {
    fn drop(&mut self) {
        BEFORE.store(null_mut(), Ordering::SeqCst);
        // What was typed too much is no answer to anything that comes next.
        // SAFETY: the descriptor is open, for the terminal lives as long as this.
        unsafe { libc::tcflush(self.before.descriptor, libc::TCIFLUSH) };
        self.before.put_back();
    }
}
