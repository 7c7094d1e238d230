//! What a PKCS#11 module says of itself, for the officer who has to choose a vendor profile.

use std::path::Path;

use bixi_hsm_pkcs11::{Mechanism, ProbedToken, SilentToken};
use serde_json::{Value, json};

pub use bixi_hsm_pkcs11::{Probe, probe};

/// The module of a node's configuration; nothing when its device has none.
#[must_use]
pub fn module(settings: &crate::Settings) -> Option<std::path::PathBuf> {
    let hsm = &settings.config.hsm;
    (hsm.backend == bixi_config::HsmBackend::Pkcs11).then(|| settings.path(&hsm.module))
}

/// One object with everything.
#[must_use]
pub fn to_json(module: &Path, probe: &Probe) -> Value {
    json!({
        "module": module.display().to_string(),
        "manufacturer": probe.manufacturer,
        "description": probe.description,
        "version": probe.version,
        "interface": probe.interface,
        "tokens": probe.tokens.iter().map(token).collect::<Vec<_>>(),
        "silent": probe.silent.iter().map(silent).collect::<Vec<_>>(),
    })
}

fn silent(silent: &SilentToken) -> Value {
    json!({"slot": silent.slot, "error": silent.error.to_string()})
}

fn token(token: &ProbedToken) -> Value {
    let fits =
        token.fits.iter().map(|fit| json!({"profile": fit.profile, "named": fit.is_named, "missing": fit.missing}));
    json!({
        "slot": token.slot,
        "label": token.label,
        "manufacturer": token.manufacturer,
        "model": token.model,
        "serial": token.serial,
        "ready": token.is_ready,
        "fits": fits.collect::<Vec<_>>(),
        "mechanisms": token.mechanisms.iter().map(mechanism).collect::<Vec<_>>(),
    })
}

fn mechanism(mechanism: &Mechanism) -> Value {
    let Mechanism { number, name, key_min, key_max, uses } = mechanism;
    json!({"number": number, "name": name, "key_min": key_min, "key_max": key_max, "uses": uses})
}
