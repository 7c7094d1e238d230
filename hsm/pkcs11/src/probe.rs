//! What a module says of itself before anybody logs in, and which vendor profile fits it.
//!
//! No PIN is asked for and nothing is made. A profile fits a token that lists every mechanism the profile uses with the flag the use
//! needs; whether numbers mean what the profile takes them for shows when a key is generated.

use std::collections::BTreeSet;
use std::path::Path;

use bixi_hsm::profile::VendorProfile as _;
use bixi_hsm::{Cause, DeviceError};
use cryptoki::context::Pkcs11;
use cryptoki::error::{Error, RvError};
use cryptoki::mechanism::{MechanismInfo, MechanismType};
use cryptoki::slot::Slot;

use crate::error::device_error;
use crate::module;
use crate::profile::{PrfKind, Profile, VENDOR_DEFINED};

/// A module and its tokens.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Probe {
    /// Manufacturer as the library reports it.
    pub manufacturer: String,
    /// What the library calls itself.
    pub description: String,
    /// Its version.
    pub version: String,
    /// Version of PKCS#11 it claims.
    pub interface: String,
    /// Tokens that are present.
    pub tokens: Vec<ProbedToken>,
}

/// One token.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProbedToken {
    /// Its slot.
    pub slot: u64,
    /// Its label.
    pub label: String,
    /// Manufacturer.
    pub manufacturer: String,
    /// Model.
    pub model: String,
    /// Serial number.
    pub serial: String,
    /// It was initialised, and a user PIN was set.
    pub is_ready: bool,
    /// Its mechanisms in the order of their numbers, as far as they have a name in PKCS#11 or a place in a shipped profile.
    pub mechanisms: Vec<Mechanism>,
    /// Every shipped profile, the best fit first.
    pub fits: Vec<Fit>,
}

/// One mechanism of a token.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mechanism {
    /// `CKM_` number.
    pub number: u64,
    /// The standard's name, or the number again.
    pub name: String,
    /// Smallest key, in the unit of the mechanism.
    pub key_min: u64,
    /// Largest key.
    pub key_max: u64,
    /// What it may be used for: `generate`, `sign` and so on; `hardware` when the device itself does it.
    pub uses: Vec<&'static str>,
}

/// How well a profile fits a token.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fit {
    /// The profile.
    pub profile: String,
    /// The module's file name or manufacturer is one the profile is for.
    pub is_named: bool,
    /// What the profile uses and the token does not list with the flag that is needed.
    pub missing: Vec<String>,
}

impl Fit {
    /// Whether the profile can be tried.
    #[must_use]
    pub fn is_whole(&self) -> bool {
        self.missing.is_empty()
    }
}

/// Loads a module and reads what it says without a login.
///
/// # Errors
/// When the module cannot be loaded or does not answer; the message names module or function.
pub fn probe(path: &Path) -> Result<Probe, DeviceError> {
    let loaded = module::load(path)?;
    let library = loaded.get_library_info().map_err(|error| device_error("read the module", &error))?;
    let slots = loaded.get_slots_with_token().map_err(|error| device_error("list the slots", &error))?;
    let manufacturer = library.manufacturer_id().to_owned();
    let token = |slot| probe_token(&loaded, slot, path, &manufacturer);
    let tokens = slots.into_iter().map(token).collect::<Result<_, _>>()?;
    Ok(Probe {
        description: library.library_description().to_owned(),
        version: library.library_version().to_string(),
        interface: library.cryptoki_version().to_string(),
        tokens,
        manufacturer,
    })
}

fn probe_token(module: &Pkcs11, slot: Slot, path: &Path, manufacturer: &str) -> Result<ProbedToken, DeviceError> {
    let info = module.get_token_info(slot).map_err(|error| device_error("read the token", &error))?;
    let named = module.get_mechanism_list(slot).map_err(|error| device_error("list the mechanisms", &error))?;
    let shipped = Profile::names().into_iter().map(Profile::named).collect::<Result<Vec<_>, _>>();
    let profiles = shipped.map_err(|error| DeviceError::new("vendor profile", Cause::Setup, error.to_string()))?;
    // The list leaves vendors' numbers out; each that a profile knows is asked for.
    let numbered: BTreeSet<u64> =
        profiles.iter().flat_map(numbers).filter(|number| *number >= VENDOR_DEFINED).collect();
    let numbered = numbered.into_iter().filter_map(|number| MechanismType::new_vendor_defined(number).ok());
    let described = named.into_iter().chain(numbered).map(|mechanism| describe(module, slot, mechanism));
    let mut mechanisms: Vec<Mechanism> = described.filter_map(Result::transpose).collect::<Result<_, _>>()?;
    mechanisms.sort_by_key(|mechanism| mechanism.number);
    let mut fits: Vec<Fit> = profiles.iter().map(|profile| fit(profile, path, manufacturer, &mechanisms)).collect();
    // The order of the shipped profiles decides between equals.
    fits.sort_by_key(|fit| (fit.missing.len(), !fit.is_named));
    Ok(ProbedToken {
        slot: slot.id(),
        label: info.label().to_owned(),
        manufacturer: info.manufacturer_id().to_owned(),
        model: info.model().to_owned(),
        serial: info.serial_number().to_owned(),
        is_ready: info.token_initialized() && info.user_pin_initialized(),
        mechanisms,
        fits,
    })
}

fn numbers(profile: &Profile) -> [u64; 4] {
    let Profile { sm2, prf, .. } = profile;
    [sm2.key_pair_generation, sm2.sign_digest, prf.key_generation, prf.mechanism]
}

/// What the token says of a mechanism; nothing when it has none of that number.
fn describe(module: &Pkcs11, slot: Slot, mechanism: MechanismType) -> Result<Option<Mechanism>, DeviceError> {
    let info = match module.get_mechanism_info(slot, mechanism) {
        Ok(info) => info,
        Err(Error::Pkcs11(RvError::MechanismInvalid, _)) => return Ok(None),
        Err(error) => return Err(device_error("read a mechanism", &error)),
    };
    let (number, name) = (*mechanism, mechanism.to_string());
    Ok(Some(Mechanism {
        name: if number >= VENDOR_DEFINED { format!("0x{number:08X}") } else { name },
        number,
        key_min: info.min_key_size() as u64,
        key_max: info.max_key_size() as u64,
        uses: uses(&info),
    }))
}

fn uses(info: &MechanismInfo) -> Vec<&'static str> {
    let all = [
        ("hardware", info.hardware()),
        ("generate", info.generate()),
        ("generate-pair", info.generate_key_pair()),
        ("sign", info.sign()),
        ("verify", info.verify()),
        ("encrypt", info.encrypt()),
        ("decrypt", info.decrypt()),
        ("digest", info.digest()),
        ("wrap", info.wrap()),
        ("unwrap", info.unwrap()),
        ("derive", info.derive()),
    ];
    all.into_iter().filter_map(|(name, is_allowed)| is_allowed.then_some(name)).collect()
}

fn fit(profile: &Profile, path: &Path, manufacturer: &str, mechanisms: &[Mechanism]) -> Fit {
    let prf_use = match profile.prf.kind {
        PrfKind::HmacSm3 | PrfKind::Sm4Mac => "sign",
        PrfKind::Sm4Ecb => "encrypt",
    };
    let fields = ["sm2.key_pair_generation", "sm2.sign_digest", "prf.key_generation", "prf.mechanism"];
    let needed = ["generate-pair", "sign", "generate", prf_use];
    let wanted = fields.into_iter().zip(numbers(profile)).zip(needed);
    let is_there = |number, use_: &str| {
        mechanisms.iter().any(|mechanism| mechanism.number == number && mechanism.uses.contains(&use_))
    };
    let missing = wanted.filter(|((_, number), use_)| !is_there(*number, use_));
    Fit {
        profile: profile.name.clone(),
        is_named: profile.is_for(path, manufacturer),
        missing: missing.map(|((field, number), use_)| format!("{field} 0x{number:08X} ({use_})")).collect(),
    }
}
