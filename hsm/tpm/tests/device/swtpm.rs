//! A swtpm of the test's own: state in a fresh directory, a Unix socket, stopped by its process.

use std::fs::{self, File};
use std::io::Write as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use bixi_hsm_tpm::{Address, Facts, Initialisation, Params, TpmDevice, facts, initialise_store};
use bixi_platform::credentials::PinSource;
use bixi_platform::secret::Secret;

use crate::between::message;

pub(crate) const PIN: &[u8] = b"tpm-pin-271828";
/// Longest wait for swtpm in one call; nothing is measured by it.
pub(crate) const TIMEOUT_MS: u64 = 60_000;

/// A running software TPM.
pub(crate) struct Swtpm {
    directory: tempfile::TempDir,
    child: Option<Child>,
}

/// A fresh one, or word that this machine has none.
macro_rules! swtpm_or_skip {
    () => {
        match $crate::swtpm::Swtpm::fresh() {
            Some(swtpm) => swtpm,
            None => {
                eprintln!(
                    "SKIPPED: there is no swtpm; `packaging/dev/packages.sh --tests` installs it. NOTHING WAS TESTED."
                );
                return;
            }
        }
    };
}
pub(crate) use swtpm_or_skip;

impl Swtpm {
    pub(crate) fn fresh() -> Option<Self> {
        let found = Command::new("swtpm").arg("--version").stdout(Stdio::null()).stderr(Stdio::null()).status();
        if found.is_err() {
            return None;
        }
        let directory = tempfile::tempdir().unwrap();
        fs::create_dir(directory.path().join("state")).unwrap();
        let mut swtpm = Self { directory, child: None };
        swtpm.start();
        Some(swtpm)
    }

    pub(crate) fn start(&mut self) {
        let socket = self.path("tpm.socket");
        let _ = fs::remove_file(&socket);
        let log = File::create(self.path("swtpm.log")).unwrap();
        let child = Command::new("swtpm")
            .args(["socket", "--tpm2", "--flags", "not-need-init"])
            .args(["--tpmstate", &format!("dir={}", self.path("state").display())])
            .args(["--server", &format!("type=unixio,path={}", socket.display())])
            .stdin(Stdio::null())
            .stdout(log.try_clone().unwrap())
            .stderr(log)
            .spawn()
            .unwrap();
        self.child = Some(child);
        let began = Instant::now();
        while facts(&self.address(), TIMEOUT_MS).is_err() {
            let log = fs::read_to_string(self.path("swtpm.log")).unwrap_or_default();
            assert!(self.child.as_mut().unwrap().try_wait().unwrap().is_none(), "swtpm ended: {log}");
            assert!(began.elapsed() < Duration::from_secs(60), "swtpm does not answer: {log}");
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    /// Ends it as a loss of power would.
    pub(crate) fn kill(&mut self) {
        if let Some(mut child) = self.child.take() {
            child.kill().unwrap();
            child.wait().unwrap();
        }
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    pub(crate) fn address(&self) -> Address {
        Address::Unix(self.path("tpm.socket"))
    }

    pub(crate) fn facts(&self) -> Facts {
        facts(&self.address(), TIMEOUT_MS).unwrap()
    }

    /// `TPM2_HierarchyChangeAuth` of the owner, who had none.
    pub(crate) fn set_owner_authorization(&self, authorization: &[u8]) {
        let length = u8::try_from(authorization.len()).unwrap();
        let owner_and_empty_password = [0x40, 0, 0, 1, 0, 0, 0, 9, 0x40, 0, 0, 9, 0, 0, 0, 0, 0];
        let command = [
            &[0x80, 2, 0, 0, 0, 29 + length, 0, 0, 1, 0x29][..],
            &owner_and_empty_password,
            &[0, length],
            authorization,
        ]
        .concat();
        let mut stream = UnixStream::connect(self.path("tpm.socket")).unwrap();
        stream.write_all(&command).unwrap();
        let response = message(&mut stream).unwrap();
        assert_eq!(response[6..10], [0; 4], "{response:02x?}");
    }

    pub(crate) fn initialisation(&self) -> Initialisation {
        Initialisation {
            address: self.address(),
            directory: self.path("store"),
            label: "bixi-test".into(),
            pin: Secret::from_slice(PIN),
            owner_authorization: Secret::from_slice(b""),
            counter: true,
            timeout_ms: TIMEOUT_MS,
        }
    }

    /// With this PIN, in a file of its own.
    pub(crate) fn params(&self, pin: &[u8]) -> Params {
        write_pin(&self.path("pin"), pin);
        params_of(self.directory.path(), self.address())
    }

    /// A store, opened.
    pub(crate) fn device(&self) -> TpmDevice {
        initialise_store(&self.initialisation()).unwrap();
        TpmDevice::open(self.params(PIN)).unwrap()
    }
}

impl Drop for Swtpm {
    fn drop(&mut self) {
        self.kill();
    }
}

/// What opens the store below `directory`.
pub(crate) fn params_of(directory: &Path, address: Address) -> Params {
    Params {
        address,
        directory: directory.join("store"),
        pin: PinSource::File(directory.join("pin")),
        pin_state_path: directory.join("pin.state"),
        timeout_ms: TIMEOUT_MS,
    }
}

fn write_pin(path: &Path, pin: &[u8]) {
    let _ = fs::remove_file(path);
    let mut file = File::options().create_new(true).write(true).mode(0o400).open(path).unwrap();
    file.write_all(pin).unwrap();
}
