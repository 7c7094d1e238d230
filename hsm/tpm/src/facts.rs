//! What a TPM says of itself (`TPM2_GetCapability`, part 3, 30.2): maker, algorithms, and how near it is to locking itself.

use std::time::Duration;

use bixi_hsm::{Cause, DeviceError};

use crate::command::{Command, CommandCode};
use crate::connection::{Connection, malformed};
use crate::line::Address;
use crate::public::{ALG_SM2, ALG_SM3, ALG_XOR, Algorithms, CURVE_SM2};
use crate::wire::{Malformed, Reader, Writer};

const CAPABILITY_ALGORITHMS: u32 = 0;
const CAPABILITY_HANDLES: u32 = 1;
const CAPABILITY_PROPERTIES: u32 = 6;
const CAPABILITY_CURVES: u32 = 8;
const ALG_AES: u16 = 0x0006;

const MANUFACTURER: u32 = 0x105;
const VENDOR_STRING: u32 = 0x106;
const FIRMWARE: u32 = 0x10B;
const PERMANENT: u32 = 0x200;
const SESSIONS_FREE: u32 = 0x204;
const OBJECTS_FREE: u32 = 0x207;
const LOCKOUT_COUNTER: u32 = 0x20E;
/// Bit of the property [`PERMANENT`].
const IN_LOCKOUT: u32 = 1 << 9;
const LOADED_SESSION_FIRST: u32 = 0x0200_0000;
const TRANSIENT_FIRST: u32 = 0x8000_0000;
/// Most handles one answer holds here.
const HANDLES_MAX: u32 = 64;

/// How near a TPM is to refusing every authorization (dictionary attack protection, part 1, 19.8).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Lockout {
    /// It refuses them now.
    pub locked: bool,
    /// Wrong PINs counted, and losses of power while one was in use.
    pub failed_tries: u32,
    /// At this many it locks itself.
    pub tries_max: u32,
    /// After this long without another, one is forgotten.
    pub interval_s: u32,
    /// So long it does not even hear its owner after a wrong lockout authorization.
    pub recovery_s: u32,
}

/// What a TPM says of itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Facts {
    /// Four letters of its maker, e.g. `IBM`, `NTZ`, `STM`.
    pub manufacturer: String,
    /// The maker's own words.
    pub model: String,
    /// Version of its firmware.
    pub firmware: String,
    /// It signs by SM2.
    pub sm2: bool,
    /// It hashes by SM3.
    pub sm3: bool,
    /// Slots for loaded objects that are free, about three of three. What others left behind in them is missing.
    pub objects_free: u32,
    /// Slots for sessions that are free.
    pub sessions_free: u32,
    /// Its state.
    pub lockout: Lockout,
}

/// Asks the TPM at `address`, without any authorization.
///
/// # Errors
/// Why it could not be asked within `timeout_ms`.
pub fn facts(address: &Address, timeout_ms: u64) -> Result<Facts, DeviceError> {
    let mut connection = Connection::new(address.clone(), Duration::from_millis(timeout_ms), None);
    connection.begin()?;
    read(&mut connection)
}

/// Everything that is told.
pub(crate) fn read(connection: &mut Connection) -> Result<Facts, DeviceError> {
    let known = algorithms(connection)?;
    let sm2 = has_algorithm(connection, ALG_SM2)? && has_curve(connection, CURVE_SM2)?;
    let made = properties(connection, MANUFACTURER, 5)?;
    let words: Vec<u8> = (0..4).flat_map(|index| property(&made, VENDOR_STRING + index).to_be_bytes()).collect();
    let firmware = properties(connection, FIRMWARE, 2)?;
    let version = property(&firmware, FIRMWARE);
    let free = properties(connection, SESSIONS_FREE, OBJECTS_FREE - SESSIONS_FREE + 1)?;
    Ok(Facts {
        manufacturer: printable(&property(&made, MANUFACTURER).to_be_bytes()),
        model: printable(&words),
        firmware: format!("{}.{}.{:x}", version >> 16, version & 0xFFFF, property(&firmware, FIRMWARE + 1)),
        sm2,
        sm3: known.sm3,
        objects_free: property(&free, OBJECTS_FREE),
        sessions_free: property(&free, SESSIONS_FREE),
        lockout: lockout(connection)?,
    })
}

/// Which of two ciphers and hashes templates may name; a TPM without XOR obfuscation cannot hide parameters from the bus.
pub(crate) fn algorithms(connection: &mut Connection) -> Result<Algorithms, DeviceError> {
    if !has_algorithm(connection, ALG_XOR)? {
        let message = "the TPM does not hide parameters by TPM_ALG_XOR";
        return Err(DeviceError::new(CommandCode::GetCapability.name(), Cause::Unsupported, message));
    }
    Ok(Algorithms { sm3: has_algorithm(connection, ALG_SM3)?, aes: has_algorithm(connection, ALG_AES)? })
}

/// Read before any authorization is tried.
pub(crate) fn lockout(connection: &mut Connection) -> Result<Lockout, DeviceError> {
    let permanent = properties(connection, PERMANENT, 1)?;
    let counted = properties(connection, LOCKOUT_COUNTER, 4)?;
    let counted = |index| property(&counted, LOCKOUT_COUNTER + index);
    Ok(Lockout {
        locked: property(&permanent, PERMANENT) & IN_LOCKOUT != 0,
        failed_tries: counted(0),
        tries_max: counted(1),
        interval_s: counted(2),
        recovery_s: counted(3),
    })
}

impl Lockout {
    /// No authorization is tried on a TPM that refuses all of them. That ends by itself, so nobody need be told to stop: the
    /// error is one to ask again after.
    pub(crate) fn refuse_when_locked(&self) -> Result<(), DeviceError> {
        if !self.locked {
            if self.failed_tries > 0 {
                let (failed, max) = (self.failed_tries, self.tries_max);
                tracing::warn!(
                    failed,
                    max,
                    "the TPM counts wrong PINs or losses of power; at the maximum it locks itself"
                );
            }
            return Ok(());
        }
        let Self { failed_tries, tries_max, interval_s, .. } = self;
        let message = format!("the TPM is locked: {failed_tries} failed tries, {tries_max} allowed; no PIN was tried");
        let advice = format!(
            "asked again by itself; the TPM forgets one in {interval_s} s, and its owner can reset it at once (`tpm2_dictionarylockout --clear-lockout`)"
        );
        Err(DeviceError::new(CommandCode::GetCapability.name(), Cause::Busy, message).with_advice(advice))
    }
}

/// The handles from `first` on, in the range of its first byte.
pub(crate) fn handles(connection: &mut Connection, first: u32) -> Result<Vec<u32>, DeviceError> {
    let mut all = Vec::new();
    let mut from = first;
    loop {
        let (more, found) =
            capability(connection, CAPABILITY_HANDLES, from, HANDLES_MAX, |reader| reader.u32("handle"))?;
        let Some(last) = found.last().copied() else { return Ok(all) };
        all.extend(found);
        // Each answer must come further, or asking would not end.
        match last.checked_add(1) {
            Some(next) if more && next > from => from = next,
            _ => return Ok(all),
        }
    }
}

/// Handles of everything loaded at present: objects, and sessions of every kind (part 2, 7.2).
pub(crate) fn loaded(connection: &mut Connection) -> Result<Vec<u32>, DeviceError> {
    let mut all = handles(connection, TRANSIENT_FIRST)?;
    all.extend(handles(connection, LOADED_SESSION_FIRST)?);
    Ok(all)
}

fn has_algorithm(connection: &mut Connection, algorithm: u16) -> Result<bool, DeviceError> {
    let (_, found) = capability(connection, CAPABILITY_ALGORITHMS, algorithm.into(), 1, |reader| {
        let found = reader.u16("algorithm")?;
        reader.u32("attributes of the algorithm")?;
        Ok(found)
    })?;
    Ok(found.contains(&algorithm))
}

fn has_curve(connection: &mut Connection, curve: u16) -> Result<bool, DeviceError> {
    let (_, found) = capability(connection, CAPABILITY_CURVES, curve.into(), 1, |reader| reader.u16("curve"))?;
    Ok(found.contains(&curve))
}

fn properties(connection: &mut Connection, first: u32, count: u32) -> Result<Vec<(u32, u32)>, DeviceError> {
    let pair = |reader: &mut Reader<'_>| Ok((reader.u32("property")?, reader.u32("value of a property")?));
    Ok(capability(connection, CAPABILITY_PROPERTIES, first, count, pair)?.1)
}

/// A property that is not told counts as zero: the standard leaves out those that mean nothing.
fn property(told: &[(u32, u32)], wanted: u32) -> u32 {
    told.iter().find(|(property, _)| *property == wanted).map_or(0, |(_, value)| *value)
}

/// One answer: whether there is more, and its entries.
fn capability<T>(
    connection: &mut Connection,
    capability: u32,
    first: u32,
    count: u32,
    entry: impl Fn(&mut Reader<'_>) -> Result<T, Malformed>,
) -> Result<(bool, Vec<T>), DeviceError> {
    let parameters = Writer::new().u32(capability).u32(first).u32(count);
    let answer = connection.run(Command::bare(CommandCode::GetCapability, Vec::new(), parameters))?;
    entries(&answer.parameters, capability, count, entry).map_err(malformed(CommandCode::GetCapability))
}

fn entries<T>(
    answer: &[u8],
    capability: u32,
    count: u32,
    entry: impl Fn(&mut Reader<'_>) -> Result<T, Malformed>,
) -> Result<(bool, Vec<T>), Malformed> {
    let mut reader = Reader::new(answer);
    let more = reader.u8("more data")? != 0;
    if reader.u32("capability")? != capability {
        return Err(Malformed("capability"));
    }
    let told = reader.u32("number of entries")?;
    if told > count {
        return Err(Malformed("number of entries"));
    }
    let found = (0..told).map(|_| entry(&mut reader)).collect::<Result<_, _>>()?;
    reader.end("end of the capability")?;
    Ok((more, found))
}

/// Letters as makers write them: padded with zeros or spaces.
fn printable(bytes: &[u8]) -> String {
    let letters: String =
        bytes.iter().filter(|byte| (0x20..0x7F).contains(*byte)).map(|byte| char::from(*byte)).collect();
    letters.split_whitespace().collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use bixi_hsm::ErrorKind;

    use super::*;

    #[test]
    fn entries_are_those_asked_for_and_no_more() {
        let handle = |reader: &mut Reader<'_>| reader.u32("handle");
        let answer = [&[1][..], &1u32.to_be_bytes(), &1u32.to_be_bytes(), &7u32.to_be_bytes()].concat();
        assert_eq!(entries(&answer, 1, 8, handle), Ok((true, vec![7])));
        assert_eq!(entries(&answer, 6, 8, handle), Err(Malformed("capability")));
        assert_eq!(entries(&answer, 1, 0, handle), Err(Malformed("number of entries")));
        assert_eq!(entries(&answer[..12], 1, 8, handle), Err(Malformed("handle")));
        assert_eq!(entries(&[&answer[..], &[0]].concat(), 1, 8, handle), Err(Malformed("end of the capability")));
    }

    #[test]
    fn a_locked_tpm_is_told_with_its_times() {
        let lockout = Lockout { locked: true, failed_tries: 3, tries_max: 3, interval_s: 1000, recovery_s: 9 };
        let refused = lockout.refuse_when_locked().unwrap_err();
        assert_eq!(refused.kind(), ErrorKind::Retry);
        assert!(refused.to_string().contains("3 allowed") && refused.advice.contains("1000 s"), "{refused}");
        assert_eq!(Lockout { locked: false, ..lockout }.refuse_when_locked(), Ok(()));
    }

    #[test]
    fn makers_words_are_readable() {
        assert_eq!(printable(b"IBM\0"), "IBM");
        assert_eq!(printable(b"SW   TPM\0\0\x1B\0"), "SW TPM");
    }
}
