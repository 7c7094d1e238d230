//! Asking on the terminal without showing what is typed.

use std::{
    fs, io,
    io::{Read, Write},
    mem::MaybeUninit,
    os::fd::AsRawFd,
};

use super::PIN_BYTES_MAX;
use crate::secret::Secret;

/// Asks on the controlling terminal and returns the line typed, with its end.
pub(super) fn ask(text: &str) -> io::Result<Secret> {
    SilentTerminal::open()?.ask(text, PIN_BYTES_MAX + 3)
}

/// The controlling terminal with its echo off, for lines that nobody else is to see. Its settings are put back on every way out.
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
        let terminal = fs::OpenOptions::new().read(true).write(true).open("/dev/tty")?;
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
    terminal: fs::File,
    before: libc::termios,
}

impl Silence {
    fn begin(terminal: fs::File) -> io::Result<Self> {
        let mut settings = MaybeUninit::<libc::termios>::uninit();
        // SAFETY: the descriptor is open and `settings` is writable for a termios.
        if unsafe { libc::tcgetattr(terminal.as_raw_fd(), settings.as_mut_ptr()) } != 0 {
            return Err(io::Error::last_os_error());
        }
        // SAFETY: tcgetattr succeeded, so it has filled the structure.
        let before = unsafe { settings.assume_init() };
        let mut silent = before;
        silent.c_lflag &= !(libc::ECHO | libc::ECHOE | libc::ECHOK | libc::ECHONL);
        // SAFETY: the descriptor is open and `silent` is a valid termios.
        if unsafe { libc::tcsetattr(terminal.as_raw_fd(), libc::TCSAFLUSH, &silent) } != 0 {
            return Err(io::Error::last_os_error());
        }
        Ok(Self { terminal, before })
    }
}

impl Drop for Silence {
    fn drop(&mut self) {
        // SAFETY: as in `begin`; `before` is what the kernel reported.
        unsafe { libc::tcsetattr(self.terminal.as_raw_fd(), libc::TCSAFLUSH, &self.before) };
    }
}
