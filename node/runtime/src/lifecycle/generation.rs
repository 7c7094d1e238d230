//! Making a key in a node's device.

use bixi_hsm::device::Attestation;
use bixi_hsm::{Cause, DeviceError, KeyKind, KeySpec};

use super::desk::Desk;
use super::fingerprint_of;
use super::inventory::kind_word;
use super::statement::KeyStatement;
use crate::launch::{Failure, LaunchError, step};
use crate::settings::Settings;

/// The kinds of keys that can be made, as commands name them.
pub const KINDS: [&str; 2] = ["sm2-sign", "kek"];

fn kind_of(word: &str) -> Result<KeyKind, Failure> {
    let kinds = [KeyKind::Sm2Sign, KeyKind::Kek];
    let kind = kinds.into_iter().find(|kind| kind_word(*kind) == word);
    kind.ok_or_else(|| format!("{word:?} is no kind of key; use {}", KINDS.join(" or ")).into())
}

/// Makes a key of that label and kind inside the device and has the device state what it made. The node file goes on naming the keys
/// that it names.
///
/// # Errors
/// Names the step: a running node, a PIN that is refused, a label that is taken, an audit trail that cannot be written.
pub fn generate(settings: &Settings, label: &str, kind: &str) -> Result<KeyStatement, LaunchError> {
    let spec = step("kind", || Ok::<_, Failure>(KeySpec::new(label, kind_of(kind)?)))?;
    step("label", || spec.check())?;
    let desk = Desk::open(settings)?;
    let made = step("generate", || make(&desk, &spec))?;
    Ok(KeyStatement::new(settings, made.attestation, Some(made.fingerprint)))
}

/// A key that was made.
pub(super) struct Made {
    pub(super) attestation: Attestation,
    /// By what people compare it, of whichever kind it is.
    pub(super) fingerprint: String,
}

/// Makes a key whose label no other key has, of whatever kind, and checks that it is as wanted.
pub(super) fn make(desk: &Desk, spec: &KeySpec) -> Result<Made, Failure> {
    if let Some(taken) = desk.listed.labelled(&spec.label) {
        let message = format!("{taken} has this label already");
        return Err(DeviceError::new("generate", Cause::KeyExists, message).with_advice("choose another label").into());
    }
    let subject = format!("{} key labelled {:?}", kind_word(spec.kind), spec.label);
    desk.perform("generate", &subject, || {
        let made = desk.device.attest(&desk.device.generate(spec)?)?;
        if made.key.extractable || !made.key.sensitive {
            let reason = format!("{}: the device would give the new key out; remove it there", made.key.uri);
            return Err(DeviceError::new("generate", Cause::BadAnswer, reason).into());
        }
        let fingerprint =
            fingerprint_of(desk.device.as_ref(), &made)?.ok_or("the device tells no public half of the new key")?;
        Ok(Made { attestation: made, fingerprint })
    })
}
