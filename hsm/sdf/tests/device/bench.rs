//! A device of the test library's own in a temporary directory.

use std::io::Write as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::PathBuf;
use std::time::Duration;

use bixi_hsm::profile::ProfileChoice;
use bixi_hsm::{DeviceError, KeyDevice, KeyKind, KeyRef, KeySpec};
use bixi_hsm_sdf::{Params, SdfDevice};
use bixi_platform::credentials::PinSource;

/// Longest wait for something that happens at once.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);
/// Where the index of a key file is, behind its magic and its id.
const KEK_INDEX_AT: usize = 8 + 16;
/// Sansec's numbers and lengths.
pub(crate) const SANSEC: &str = "sm4 = 0x2000\ncipher_bytes = 32\n";

/// The library lies beside the test, in the same target directory.
pub(crate) fn library() -> PathBuf {
    let exe = std::env::current_exe().unwrap();
    let mut candidates = exe.ancestors().skip(1).take(3).map(|dir| dir.join("libbixi_sdf_test.so"));
    candidates
        .find(|path| path.exists())
        .unwrap_or_else(|| panic!("libbixi_sdf_test.so is not beside {}", exe.display()))
}

/// A device in a directory.
pub(crate) struct Bench(tempfile::TempDir);

impl Bench {
    pub(crate) fn new(config: &str) -> Self {
        let bench = Self(tempfile::tempdir().unwrap());
        std::fs::copy(library(), bench.path("libsdf.so")).unwrap();
        std::fs::write(bench.path("sdf-test.conf"), config).unwrap();
        bench.password("12345678");
        bench
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    pub(crate) fn password(&self, password: &str) {
        let path = self.path("password");
        let _ = std::fs::remove_file(&path);
        let mut file = std::fs::File::options().create_new(true).write(true).mode(0o400).open(path).unwrap();
        file.write_all(password.as_bytes()).unwrap();
    }

    pub(crate) fn params(&self, profile: &str) -> Params {
        Params {
            library_path: self.path("libsdf.so"),
            token: "test".into(),
            password: PinSource::File(self.path("password")),
            password_state_path: self.path("password.state"),
            records_path: self.path("records"),
            profile: ProfileChoice::Named(profile.into()),
            indices: 1..=8,
            sessions_max: 4,
            timeout_ms: PATIENCE.as_millis() as u64,
        }
    }

    pub(crate) fn open(&self) -> Result<SdfDevice, DeviceError> {
        SdfDevice::open(self.params("standard"))
    }

    /// One session, waited for no longer than an instant.
    pub(crate) fn open_single(&self) -> SdfDevice {
        SdfDevice::open(Params { sessions_max: 1, timeout_ms: 0, ..self.params("standard") }).unwrap()
    }

    pub(crate) fn fault(&self, name: &str) {
        std::fs::write(self.path("state/fault"), name).unwrap();
    }

    /// From here on `function` answers `code`.
    pub(crate) fn refuse(&self, function: &str, code: u32) {
        self.fault(&format!("refuse {function} 0x{code:08X}"));
    }

    pub(crate) fn mend(&self) {
        std::fs::remove_file(self.path("state/fault")).unwrap();
    }

    /// As if the last attempt with the password had been made long ago: the times stand at the record's end.
    pub(crate) fn let_pin_pause_pass(&self) {
        let mut noted = std::fs::read(self.path("password.state")).unwrap();
        assert!(noted.starts_with(b"BIXIPIN2"), "an attempt without a verdict");
        noted.last_chunk_mut::<16>().expect("two times").fill(0);
        std::fs::write(self.path("password.state"), noted).unwrap();
    }

    pub(crate) fn calls(&self, function: &str) -> usize {
        let log = std::fs::read_to_string(self.path("state/calls.log")).unwrap();
        log.lines().filter(|line| *line == function).count()
    }

    pub(crate) fn name_pair(&self, text: &str) {
        std::fs::create_dir_all(self.path("records")).unwrap();
        std::fs::write(self.path("records/keys.toml"), text).unwrap();
    }

    /// The index of the encryption pair under which the one key encryption key is.
    pub(crate) fn kek_index(&self) -> u32 {
        let file = std::fs::read(self.kek_file()).unwrap();
        u32::from_be_bytes(file[KEK_INDEX_AT..KEK_INDEX_AT + 4].try_into().unwrap())
    }

    /// The one file of a key encryption key.
    pub(crate) fn kek_file(&self) -> PathBuf {
        let files = std::fs::read_dir(self.path("records")).unwrap().map(|entry| entry.unwrap().path());
        let keks: Vec<_> = files.filter(|path| path.extension().is_some_and(|end| end == "kek")).collect();
        let [kek] = &keks[..] else { panic!("{keks:?}") };
        kek.clone()
    }
}

pub(crate) fn key(text: &str) -> KeyRef {
    text.parse().unwrap()
}

pub(crate) fn sign_key(device: &SdfDevice) -> KeyRef {
    device.generate(&KeySpec::new("vote", KeyKind::Sm2Sign)).unwrap()
}

pub(crate) fn kek(device: &SdfDevice) -> KeyRef {
    device.generate(&KeySpec::new("kek", KeyKind::Kek)).unwrap()
}

pub(crate) fn prf(device: &SdfDevice, key: &KeyRef) -> Result<[u8; 32], DeviceError> {
    let mut out = [0; 32];
    device.prf(key, b"input", &mut out).map(|()| out)
}
