//! Key encryption keys: session keys made inside the device, kept in files under an encryption pair of the device.
//!
//! SDF has no persistent symmetric key that a library can make. So the device makes an SM4 key, gives it out under the public
//! key of an internal encryption pair (`SDF_GenerateKeyWithIPK_ECC`), and takes it in again in each session
//! (`SDF_ImportKeyWithISK_ECC`). The file holds that envelope:
//!
//! ```text
//! "BIXIKEK1" ‖ id 16 ‖ index u32 ‖ label length u8 ‖ label ‖ C length u16 ‖ x 64 ‖ y 64 ‖ M 32 ‖ C ‖ check 16 ‖ MAC 32
//! ```
//!
//! Real libraries import a changed envelope with `SDR_OK`, and would seal data under a key nobody has. So check and MAC are
//! derived from the key's own PRF: whatever was imported must answer the check, and the MAC covers every byte before it.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};

use bixi_accel::sm3::{self, hkdf};
use bixi_hsm::device::LABEL_BYTES_MAX;
use bixi_hsm::{Cause, DeviceError, whole_file};
use bixi_platform::secret::Secret;
use zeroize::Zeroizing;

use crate::abi::{COORDINATE_BYTES, INDEX_MAX, SDR_BASE};
use crate::error::{device_is_lost, right_lost};
use crate::ffi::CipherBlob;

const MAGIC: &[u8; 8] = b"BIXIKEK1";
const SALT: &[u8] = b"BIXI-SDF-KEK-V1";
const CHECK: &[u8] = b"BIXI-SDF-KEK-CHECK-V1";
const MAC: &[u8] = b"BIXI-SDF-KEK-MAC-V1";
const CHECK_BYTES: usize = 16;
const MAC_BYTES: usize = 32;
/// Bytes of a key's id.
pub(crate) const ID_BYTES: usize = 16;
const C_BYTES_MAX: usize = 1024;
const FILE_BYTES_MAX: u64 = 2048;
/// `SDR_PARDENY` and `SDR_PRKRERR`: the right to the encryption pair is missing.
const RIGHT_CODES: [u64; 2] = [SDR_BASE as u64 + 0x07, SDR_BASE as u64 + 0x18];
/// Ending of the files' names.
pub(crate) const EXTENSION: &str = "kek";

/// A key encryption key as its file says it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Kek {
    pub id: [u8; ID_BYTES],
    /// Its encryption pair.
    pub index: u32,
    pub label: String,
    pub blob: CipherBlob,
}

/// What binds a file to its key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Binding {
    check: [u8; CHECK_BYTES],
    mac: [u8; MAC_BYTES],
}

impl Kek {
    /// The input of the PRF behind a binding: the id alone, so that the check says which *key* answered, and the MAC whether
    /// anything else was changed.
    pub(crate) fn binding_input(&self) -> &[u8] {
        &self.id
    }

    /// The binding to a key that answers `answer` to [`Kek::binding_input`].
    pub(crate) fn bind(&self, answer: &Secret) -> Binding {
        let root = Zeroizing::new(hkdf::extract(SALT, answer.as_slice()));
        let mut check = [0; CHECK_BYTES];
        hkdf::expand(&root, &[CHECK], &mut check);
        let mut key = Zeroizing::new([0; 32]);
        hkdf::expand(&root, &[MAC], &mut *key);
        let mut mac = sm3::Hmac::new(&*key);
        mac.update(&self.body());
        mac.update(&check);
        Binding { check, mac: mac.finalize() }
    }

    fn body(&self) -> Vec<u8> {
        let label_bytes = u8::try_from(self.label.len()).expect("checked when it was made or read");
        let c_bytes = u16::try_from(self.blob.c.len()).expect("checked when it was made or read");
        let CipherBlob { x, y, m, c } = &self.blob;
        let head = [&MAGIC[..], &self.id, &self.index.to_be_bytes(), &[label_bytes], self.label.as_bytes()].concat();
        [&head[..], &c_bytes.to_be_bytes(), x, y, m, c].concat()
    }

    fn parse(bytes: &[u8]) -> Result<(Self, Binding), &'static str> {
        let mut rest = bytes.strip_prefix(MAGIC).ok_or("it is no key file")?;
        let id = take::<ID_BYTES>(&mut rest)?;
        let index = u32::from_be_bytes(take(&mut rest)?);
        let [label_bytes] = take(&mut rest)?;
        let label = take_slice(&mut rest, label_bytes.into())?;
        let c_bytes = u16::from_be_bytes(take(&mut rest)?);
        let (x, y) = (take::<COORDINATE_BYTES>(&mut rest)?, take::<COORDINATE_BYTES>(&mut rest)?);
        let m = take(&mut rest)?;
        let c = take_slice(&mut rest, c_bytes.into())?.to_vec();
        let binding = Binding { check: take(&mut rest)?, mac: take(&mut rest)? };
        let label = std::str::from_utf8(label).map_err(|_| "its label is no text")?;
        let sound = (1..=LABEL_BYTES_MAX).contains(&label.len()) && !label.chars().any(char::is_control);
        match (rest, sound, (1..=INDEX_MAX).contains(&index), (1..=C_BYTES_MAX).contains(&c.len())) {
            ([], true, true, true) => {
                Ok((Self { id, index, label: label.to_owned(), blob: CipherBlob { x, y, m, c } }, binding))
            }
            ([], ..) => Err("label, index or length is out of bounds"),
            _ => Err("it has bytes behind its end"),
        }
    }
}

/// A key and the file it was read from or is written to.
#[derive(Debug)]
pub(crate) struct KekFile {
    pub kek: Kek,
    pub path: PathBuf,
    binding: Binding,
    /// The device has imported the right key from it: what fails later is not the file's fault.
    proven: AtomicBool,
}

impl KekFile {
    /// Writes the file of a key that was just made.
    pub(crate) fn create(directory: &Path, kek: Kek, answer: &Secret) -> Result<Self, DeviceError> {
        let path = directory.join(format!("{}.{EXTENSION}", hex::encode(kek.id)));
        let binding = kek.bind(answer);
        let bytes = [&kek.body()[..], &binding.check, &binding.mac].concat();
        whole_file::replace(&path, &bytes).map_err(|error| {
            DeviceError::new("key file", Cause::Setup, format!("{}: {error}", path.display()))
                .with_advice("the directory of the device's records must be writable while keys are made")
        })?;
        Ok(Self { kek, path, binding, proven: AtomicBool::new(false) })
    }

    /// Reads a file; what it says is believed only after [`KekFile::verify`].
    pub(crate) fn read(path: PathBuf) -> Result<Self, DeviceError> {
        let bytes = match whole_file::read(&path, FILE_BYTES_MAX) {
            Ok(Some(bytes)) => bytes,
            Ok(None) => return Err(refused(&path, "it is gone")),
            Err(error) => return Err(refused(&path, &error.to_string())),
        };
        let (kek, binding) = Kek::parse(&bytes).map_err(|reason| refused(&path, reason))?;
        Ok(Self { kek, path, binding, proven: AtomicBool::new(false) })
    }

    /// Whether the key that answers `answer` is the one this file was made for, and the file unchanged.
    pub(crate) fn verify(&self, answer: &Secret) -> Result<(), DeviceError> {
        let expected = self.kek.bind(answer);
        if !bixi_accel::ct::eq(&expected.check, &self.binding.check) {
            let reason = "the device imported another key from it than was made: the envelope was changed, or belongs to \
                          another device or key pair";
            return Err(refused(&self.path, reason));
        }
        if !bixi_accel::ct::eq(&expected.mac, &self.binding.mac) {
            return Err(refused(&self.path, "its key is right, but label, index or envelope were changed"));
        }
        self.proven.store(true, Ordering::Relaxed);
        Ok(())
    }

    /// Removes the file of a key that cannot be used; nothing was sealed under it.
    pub(crate) fn discard(&self) {
        if let Err(error) = whole_file::remove(&self.path) {
            tracing::warn!(path = %self.path.display(), %error, "the file of a key that cannot be used stays");
        }
    }

    /// The device has no pair that could open what is in the file.
    pub(crate) fn without_pair(&self) -> DeviceError {
        refused(&self.path, &format!("the device has no encryption pair at its index {}", self.kek.index))
    }

    /// The device does not take what is in the file, by whatever code: libraries have many for an envelope they cannot open.
    /// A lost device or a right that was taken back says nothing of the file, and neither does a failure after it was proven.
    pub(crate) fn not_imported(&self, error: DeviceError) -> DeviceError {
        let right = error.code.is_some_and(|code| RIGHT_CODES.contains(&code));
        if right || device_is_lost(&error) {
            return error;
        }
        if self.proven.load(Ordering::Relaxed) {
            return right_lost(error);
        }
        let reason = format!("the device does not import it: {}", error.message);
        DeviceError { function: error.function, code: error.code, ..refused(&self.path, &reason) }
    }
}

fn refused(path: &Path, reason: &str) -> DeviceError {
    DeviceError::new("key file", Cause::Setup, format!("{}: {reason}", path.display())).with_advice(
        "restore the file from the copy made after the key was generated; without it what it sealed is lost",
    )
}

fn take<const N: usize>(rest: &mut &[u8]) -> Result<[u8; N], &'static str> {
    take_slice(rest, N).map(|bytes| bytes.try_into().expect("N bytes"))
}

fn take_slice<'a>(rest: &mut &'a [u8], length: usize) -> Result<&'a [u8], &'static str> {
    let (taken, left) = rest.split_at_checked(length).ok_or("it is cut off")?;
    *rest = left;
    Ok(taken)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::device_error;

    fn kek() -> Kek {
        let blob = CipherBlob { x: [1; 64], y: [2; 64], m: [3; 32], c: vec![4; 16] };
        Kek { id: [9; ID_BYTES], index: 7, label: "kek".into(), blob }
    }

    #[test]
    fn what_is_written_is_read_and_every_flipped_byte_is_refused() {
        let directory = tempfile::tempdir().unwrap();
        let answer = Secret::from_slice(&[5; 32]);
        let made = KekFile::create(directory.path(), kek(), &answer).unwrap();
        let read = KekFile::read(made.path.clone()).unwrap();
        assert_eq!((&read.kek, &read.binding), (&made.kek, &made.binding));
        read.verify(&answer).unwrap();
        let good = std::fs::read(&made.path).unwrap();
        for at in 0..good.len() {
            let mut bad = good.clone();
            bad[at] ^= 0x10;
            std::fs::write(&made.path, &bad).unwrap();
            let refused = KekFile::read(made.path.clone()).and_then(|file| file.verify(&answer)).unwrap_err();
            assert_eq!(refused.cause, Cause::Setup, "byte {at}");
            assert!(refused.message.contains(&*made.path.to_string_lossy()), "byte {at}: {refused}");
        }
    }

    #[test]
    fn what_fails_after_a_file_was_proven_is_not_its_fault() {
        let directory = tempfile::tempdir().unwrap();
        let answer = Secret::from_slice(&[5; 32]);
        let file = KekFile::create(directory.path(), kek(), &answer).unwrap();
        let cause = |code| file.not_imported(device_error("SDF_ImportKeyWithISK_ECC", code)).cause;
        assert_eq!([cause(0x0100_000C), cause(0x0100_001D)], [Cause::Setup; 2]);
        file.verify(&answer).unwrap();
        assert_eq!([cause(0x0100_000C), cause(0x0100_001D)], [Cause::Fault, Cause::SessionLost]);
    }

    #[test]
    fn cut_and_prolonged_files_are_refused() {
        let binding = kek().bind(&Secret::from_slice(&[5; 32]));
        let good = [&kek().body()[..], &binding.check, &binding.mac].concat();
        assert_eq!(Kek::parse(&good).unwrap(), (kek(), binding));
        for length in 0..good.len() {
            assert!(Kek::parse(&good[..length]).is_err(), "{length} bytes");
        }
        assert!(Kek::parse(&[&good[..], b"x"].concat()).is_err());
    }

    #[test]
    fn another_key_and_another_file_are_told_apart() {
        let directory = tempfile::tempdir().unwrap();
        let answer = Secret::from_slice(&[5; 32]);
        let mut file = KekFile::create(directory.path(), kek(), &answer).unwrap();
        let other = file.verify(&Secret::from_slice(&[6; 32])).unwrap_err();
        assert!(other.message.contains("imported another key"), "{other}");
        file.kek.label = "other".into();
        assert!(file.verify(&answer).unwrap_err().message.contains("its key is right"));
    }
}
