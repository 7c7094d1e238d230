//! A character device in front of swtpm: a pseudo-terminal without any line discipline, under a name that says that a resource
//! manager stands behind it.

use std::fs::File;
use std::io::Write as _;
use std::os::fd::OwnedFd;
use std::os::unix::fs::symlink;
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;

use bixi_hsm_tpm::Address;
use bixi_tests::swtpm::message;
use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
use rustix::termios::{OptionalActions, tcgetattr, tcsetattr};

/// See the module.
pub(crate) struct DeviceFile {
    path: PathBuf,
    commands: Arc<Mutex<Vec<u32>>>,
    /// While it is open the device's user may come and go.
    open: Option<OwnedFd>,
    thread: Option<JoinHandle<()>>,
}

impl DeviceFile {
    /// At `path`, for the TPM whose data socket is at `tpm`.
    pub(crate) fn new(path: PathBuf, tpm: PathBuf) -> Self {
        let ours = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY).unwrap();
        grantpt(&ours).unwrap();
        unlockpt(&ours).unwrap();
        let theirs = ptsname(&ours, Vec::new()).unwrap().into_string().unwrap();
        let open = OwnedFd::from(File::options().read(true).write(true).open(&theirs).unwrap());
        let mut settings = tcgetattr(&open).unwrap();
        settings.make_raw();
        tcsetattr(&open, OptionalActions::Now, &settings).unwrap();
        symlink(theirs, &path).unwrap();
        let commands = Arc::<Mutex<Vec<u32>>>::default();
        let seen = Arc::clone(&commands);
        let thread = std::thread::spawn(move || relay(File::from(ours), UnixStream::connect(tpm).unwrap(), &seen));
        Self { path, commands, open: Some(open), thread: Some(thread) }
    }

    pub(crate) fn address(&self) -> Address {
        Address::Device(self.path.clone())
    }

    /// How often a command was sent.
    pub(crate) fn count(&self, code: u32) -> usize {
        self.commands.lock().unwrap().iter().filter(|sent| **sent == code).count()
    }
}

impl Drop for DeviceFile {
    fn drop(&mut self) {
        // With the last user gone, reading on our side ends.
        drop(self.open.take());
        self.thread.take().unwrap().join().unwrap();
    }
}

fn relay(mut device: File, mut tpm: UnixStream, seen: &Mutex<Vec<u32>>) {
    while let Some(command) = message(&mut device) {
        seen.lock().unwrap().push(u32::from_be_bytes(command[6..10].try_into().unwrap()));
        if tpm.write_all(&command).is_err() {
            return;
        }
        let Some(response) = message(&mut tpm) else { return };
        if device.write_all(&response).is_err() {
            return;
        }
    }
}
