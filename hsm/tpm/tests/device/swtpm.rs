//! What these tests do with a software TPM.

use std::fs::{self, File};
use std::io::Write as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;

use bixi_hsm_tpm::{Address, Facts, Initialisation, Params, TpmDevice, facts, initialise_store};
use bixi_platform::credentials::PinSource;
use bixi_platform::secret::Secret;
use bixi_tests::swtpm::Swtpm;

pub(crate) const PIN: &[u8] = b"tpm-pin-271828";
/// Longest wait for swtpm in one call; nothing is measured by it.
pub(crate) const TIMEOUT_MS: u64 = 60_000;

const OWNER: [u8; 4] = [0x40, 0, 0, 1];
/// The length of an authorization area, and the only authorization in it.
const EMPTY_PASSWORD: [u8; 13] = [0, 0, 0, 9, 0x40, 0, 0, 9, 0, 0, 0, 0, 0];

/// The store that lies in a software TPM's own directory.
pub(crate) trait Stores {
    fn address(&self) -> Address;
    fn facts(&self) -> Facts;
    fn initialisation(&self) -> Initialisation;
    /// What opens the store with this PIN, in a file of its own.
    fn params(&self, pin: &[u8]) -> Params;
    /// A store, made and opened.
    fn device(&self) -> TpmDevice;
    /// Gives the TPM's owner, who had none, an authorization (`TPM2_HierarchyChangeAuth`).
    fn set_owner_authorization(&self, authorization: &[u8]);
    /// Takes the first counter of ours away, as the TPM's owner can (`TPM2_NV_UndefineSpace`).
    fn remove_counter(&self);
    /// Ends a lockout, as its time does (`TPM2_DictionaryAttackLockReset`).
    fn end_lockout(&self);
    /// How many keys are persistent (`TPM2_GetCapability`).
    fn persistent(&self) -> u32;
    /// The answer to one command, which must succeed.
    fn done(&self, command: &[u8]) -> Vec<u8>;
}

impl Stores for Swtpm {
    fn address(&self) -> Address {
        Address::Unix(self.socket())
    }

    fn facts(&self) -> Facts {
        facts(&self.address(), TIMEOUT_MS).unwrap()
    }

    fn initialisation(&self) -> Initialisation {
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

    fn params(&self, pin: &[u8]) -> Params {
        write_pin(&self.path("pin"), pin);
        params_of(&self.path(""), self.address())
    }

    fn device(&self) -> TpmDevice {
        initialise_store(&self.initialisation()).unwrap();
        TpmDevice::open(self.params(PIN)).unwrap()
    }

    fn set_owner_authorization(&self, authorization: &[u8]) {
        // Starts it, if nobody has.
        self.facts();
        let length = u8::try_from(authorization.len()).unwrap();
        let header = [0x80, 2, 0, 0, 0, 29 + length, 0, 0, 1, 0x29];
        self.done(&[&header[..], &OWNER, &EMPTY_PASSWORD, &[0, length], authorization].concat());
    }

    fn remove_counter(&self) {
        let header = [0x80, 2, 0, 0, 0, 31, 0, 0, 1, 0x22];
        self.done(&[&header[..], &OWNER, &[1, 0x80, 0x80, 0], &EMPTY_PASSWORD].concat());
    }

    fn end_lockout(&self) {
        let header_and_lockout = [0x80, 2, 0, 0, 0, 27, 0, 0, 1, 0x39, 0x40, 0, 0, 0x0A];
        self.done(&[&header_and_lockout[..], &EMPTY_PASSWORD].concat());
    }

    fn persistent(&self) -> u32 {
        let answer = self.done(&[0x80, 1, 0, 0, 0, 22, 0, 0, 1, 0x7A, 0, 0, 0, 1, 0x81, 0, 0, 0, 0, 0, 0, 64]);
        u32::from_be_bytes(answer[15..19].try_into().unwrap())
    }

    fn done(&self, command: &[u8]) -> Vec<u8> {
        let response = self.command(command);
        assert_eq!(response[6..10], [0; 4], "{response:02x?}");
        response
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
