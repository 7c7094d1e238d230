//! Asking on the terminal without showing what is typed.

use std::{
    fs, io,
    io::{Read, Write},
    mem::MaybeUninit,
    os::fd::AsRawFd,
};

use zeroize::Zeroizing;

use super::PIN_BYTES_MAX;

/// Asks on the controlling terminal and returns the line typed. The terminal's settings are put back on every way out.
pub(super) fn ask(text: &str) -> io::Result<Zeroizing<Vec<u8>>> {
    let mut terminal = fs::OpenOptions::new().read(true).write(true).open("/dev/tty")?;
    let _silent = Silence::begin(terminal.try_clone()?)?;
    write!(terminal, "{text}: ")?;
    let mut line = Zeroizing::new(Vec::with_capacity(PIN_BYTES_MAX + 3));
    let mut byte = Zeroizing::new([0]);
    while line.len() < line.capacity() && terminal.read(&mut *byte)? == 1 {
        line.push(byte[0]);
        if byte[0] == b'\n' {
            break;
        }
    }
    writeln!(terminal)?;
    Ok(line)
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
