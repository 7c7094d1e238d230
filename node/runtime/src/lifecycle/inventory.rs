//! Every key of a node's device, and what the node uses it for.

use bixi_hsm::device::{Custody, DeviceInfo};
use bixi_hsm::{KeyInfo, KeyKind};
use serde_json::{Value, json};

use super::key_fingerprint;
use crate::doctor::custody::{Held, Named, named};
use crate::launch::{Failure, LaunchError, step};
use crate::settings::Settings;

/// One key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Row {
    /// What the node file uses it for: `consensus`, `tls`, `kek`; nothing when it uses it for nothing.
    pub role: Option<&'static str>,
    /// Its name in the device.
    pub label: String,
    /// `sm2-sign` or `kek`.
    pub kind: &'static str,
    /// Its reference.
    pub uri: String,
    /// Made inside the device.
    pub local: bool,
    /// The device shows its value to nobody.
    pub sensitive: bool,
    /// The device would give it out.
    pub extractable: bool,
    /// Of a signing key: the first 16 hexadecimal digits of SM3(X ‖ Y).
    pub fingerprint: Option<String>,
}

/// What a device holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Inventory {
    /// The device's own words.
    device: DeviceInfo,
    /// The broker was asked: it tells of the keys of the node file only.
    pub through_broker: bool,
    /// Its keys; those of the node file first.
    pub keys: Vec<Row>,
    /// Role and label of what the node file names and the device does not hold.
    pub missing: Vec<(&'static str, String)>,
    /// Where a key is missing, the vendor profile by which it was looked for, and whether another one fits better.
    pub looked_for_by: Option<String>,
}

/// Asks the broker, if it runs, or the device.
///
/// # Errors
/// Names the step: a PIN that is refused, a device that does not answer.
pub fn take(settings: &Settings) -> Result<Inventory, LaunchError> {
    let held = step("key device", || Held::open_wherever(settings))?;
    step("keys", || of(&held, settings))
}

fn of(held: &Held, settings: &Settings) -> Result<Inventory, Failure> {
    let named = named(&settings.config.hsm);
    let (mut keys, mut missing, mut looked_for_by) = (Vec::new(), Vec::new(), None);
    match held {
        Held::Broker(_) => {
            for key in &named {
                let attested = held.attest(key)?;
                keys.push(row(Some(key.role_name), attested.key, attested.public_key));
            }
        }
        Held::Here(device) => {
            let listed = device.list()?;
            let is = |named: &Named<'_>, key: &KeyInfo| named.label == key.label && named.kind == key.kind;
            missing.extend(
                named
                    .iter()
                    .filter(|named| !listed.iter().any(|key| is(named, key)))
                    .map(|named| (named.role_name, named.label.to_owned())),
            );
            looked_for_by = if missing.is_empty() { None } else { device.profile_words() };
            for key in listed {
                let public_key = match key.kind {
                    KeyKind::Sm2Sign => Some(device.public_key(&key.uri)?),
                    _ => None,
                };
                let role = named.iter().find(|named| is(named, &key)).map(|named| named.role_name);
                keys.push(row(role, key, public_key));
            }
            let place = |key: &Row| named.iter().position(|named| Some(named.role_name) == key.role).unwrap_or(3);
            keys.sort_by(|a, b| (place(a), &a.label).cmp(&(place(b), &b.label)));
        }
    }
    Ok(Inventory {
        device: held.info()?,
        through_broker: matches!(held, Held::Broker(_)),
        keys,
        missing,
        looked_for_by,
    })
}

fn row(role: Option<&'static str>, key: KeyInfo, public_key: Option<[u8; 64]>) -> Row {
    Row {
        role,
        kind: kind_word(key.kind),
        uri: key.uri.to_string(),
        label: key.label,
        local: key.local,
        sensitive: key.sensitive,
        extractable: key.extractable,
        fingerprint: public_key.as_ref().map(key_fingerprint),
    }
}

/// A kind of key as commands and reports name it.
pub(super) fn kind_word(kind: KeyKind) -> &'static str {
    match kind {
        KeyKind::Sm2Sign => "sm2-sign",
        KeyKind::Kek => "kek",
        _ => "other",
    }
}

/// What a device says of itself, as JSON.
pub(crate) fn device_json(device: &DeviceInfo) -> Value {
    json!({
        "backend": device.backend,
        "manufacturer": device.manufacturer,
        "model": device.model,
        "serial": device.serial,
        "token": device.token,
        "version": device.version,
        "custody": custody_word(device.custody),
        "monotonic_counter": device.monotonic_counter,
    })
}

pub(super) fn custody_word(custody: Custody) -> &'static str {
    match custody {
        Custody::ProcessMemory => "process-memory",
        Custody::OtherProcess => "other-process",
        Custody::Hardware => "hardware",
        Custody::Unknown => "unknown",
    }
}

impl Inventory {
    /// The device in one line.
    #[must_use]
    pub fn device_line(&self) -> String {
        let DeviceInfo { manufacturer, model, serial, token, custody, .. } = &self.device;
        format!("{manufacturer} {model} serial {serial}, token {token:?}: {custody}")
    }

    /// One object with everything.
    #[must_use]
    pub fn to_json(&self) -> Value {
        let key = |key: &Row| {
            json!({
                "role": key.role,
                "label": key.label,
                "kind": key.kind,
                "uri": key.uri,
                "local": key.local,
                "sensitive": key.sensitive,
                "extractable": key.extractable,
                "custody": custody_word(self.device.custody),
                "fingerprint": key.fingerprint,
            })
        };
        json!({
            "device": device_json(&self.device),
            "through": if self.through_broker { "broker" } else { "device" },
            "keys": self.keys.iter().map(key).collect::<Vec<_>>(),
            "missing": self.missing.iter().map(|(role, label)| json!({"role": role, "label": label})).collect::<Vec<_>>(),
            "looked_for_by": self.looked_for_by,
        })
    }
}
