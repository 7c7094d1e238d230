//! What a module says of itself before anybody logs in, and which vendor profile fits it.
//!
//! No PIN is asked for and nothing is made. A profile fits a token that lists every mechanism the profile uses with the flag the use
//! needs; whether numbers mean what the profile takes them for shows when a key is generated.

use std::collections::BTreeSet;
use std::path::Path;

use bixi_hsm::profile::VendorProfile as _;
use bixi_hsm::{Cause, DeviceError};
use cryptoki::error::{Error, RvError};
use cryptoki::mechanism::MechanismType;
use cryptoki::slot::Slot;
use cryptoki_sys::*;

use crate::device::TokenSelector;
use crate::error::device_error;
use crate::module::{self, Module};
use crate::profile::{PrfKind, Profile};
use crate::raw::Functions;

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
    /// Tokens that are present and answer.
    pub tokens: Vec<ProbedToken>,
    /// Slots whose token is present and does not answer.
    pub silent: Vec<SilentToken>,
}

/// A token that is there and does not answer: one of several behind a module, such as p11-kit's proxy, must not hide the others.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SilentToken {
    /// Its slot.
    pub slot: u64,
    /// What it said instead.
    pub error: DeviceError,
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
    /// Its mechanisms in the order of their numbers, and those of shipped profiles it has without listing them.
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
/// When the module cannot be loaded or does not answer; the message names module or function. A token that does not answer is no
/// error: it is listed as silent.
pub fn probe(path: &Path) -> Result<Probe, DeviceError> {
    let loaded = module::load(path)?;
    let library = loaded.pkcs11.get_library_info().map_err(|error| device_error("read the module", &error))?;
    let slots = loaded.pkcs11.get_slots_with_token().map_err(|error| device_error("list the slots", &error))?;
    let manufacturer = library.manufacturer_id().to_owned();
    let (mut tokens, mut silent) = (Vec::new(), Vec::new());
    for slot in slots {
        match probe_token(&loaded, slot, path, &manufacturer) {
            Ok(token) => tokens.push(token),
            Err(error) => silent.push(SilentToken { slot: slot.id(), error }),
        }
    }
    Ok(Probe {
        description: library.library_description().to_owned(),
        version: library.library_version().to_string(),
        interface: library.cryptoki_version().to_string(),
        tokens,
        silent,
        manufacturer,
    })
}

/// How well a profile fits the token of `selector`, and the shipped one that fits it best, if one does.
pub(crate) fn hold_against(
    path: &Path,
    selector: &TokenSelector,
    profile: &Profile,
) -> Result<(Fit, Option<String>), DeviceError> {
    let module = module::load(path)?;
    let (slot, _) = module::find_slot(&module.pkcs11, selector)?;
    let library = module.pkcs11.get_library_info().map_err(|error| device_error("read the module", &error))?;
    let profiles = shipped()?;
    let mechanisms = mechanisms(module.functions, slot, profiles.iter().chain([profile]))?;
    let own = fit(profile, path, library.manufacturer_id(), &mechanisms);
    let best = fits(&profiles, path, library.manufacturer_id(), &mechanisms).into_iter().next();
    Ok((own, best.filter(Fit::is_whole).map(|fit| fit.profile)))
}

fn shipped() -> Result<Vec<Profile>, DeviceError> {
    let shipped = Profile::names().into_iter().map(Profile::named).collect::<Result<Vec<_>, _>>();
    shipped.map_err(|error| DeviceError::new("vendor profile", Cause::Setup, error.to_string()))
}

/// What the token says of every mechanism that it lists or that a profile knows: some modules leave their vendor's numbers out of the list.
/// One without any mechanism need not have the question answered at all.
fn mechanisms<'a>(
    functions: Functions,
    slot: Slot,
    profiles: impl Iterator<Item = &'a Profile>,
) -> Result<Vec<Mechanism>, DeviceError> {
    let listed = functions.mechanisms(slot).map_err(|error| device_error("list the mechanisms", &error))?;
    if listed.is_empty() {
        return Ok(Vec::new());
    }
    let numbers: BTreeSet<u64> = profiles.flat_map(numbers).chain(listed).collect();
    let described = numbers.into_iter().map(|number| describe(functions, slot, number));
    described.filter_map(Result::transpose).collect()
}

/// The best first; the order of the shipped profiles decides between equals.
fn fits(profiles: &[Profile], path: &Path, manufacturer: &str, mechanisms: &[Mechanism]) -> Vec<Fit> {
    let mut fits: Vec<Fit> = profiles.iter().map(|profile| fit(profile, path, manufacturer, mechanisms)).collect();
    fits.sort_by_key(|fit| (fit.missing.len(), !fit.is_named));
    fits
}

fn probe_token(module: &Module, slot: Slot, path: &Path, manufacturer: &str) -> Result<ProbedToken, DeviceError> {
    let info = module.pkcs11.get_token_info(slot).map_err(|error| device_error("read the token", &error))?;
    let profiles = shipped()?;
    let mechanisms = mechanisms(module.functions, slot, profiles.iter())?;
    let fits = fits(&profiles, path, manufacturer, &mechanisms);
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
fn describe(functions: Functions, slot: Slot, number: CK_MECHANISM_TYPE) -> Result<Option<Mechanism>, DeviceError> {
    let info = match functions.mechanism_info(slot, number) {
        Ok(info) => info,
        Err(Error::Pkcs11(RvError::MechanismInvalid, _)) => return Ok(None),
        Err(error) => return Err(device_error("read a mechanism", &error)),
    };
    let standard = MechanismType::try_from(number).ok().map(|named| named.to_string());
    Ok(Some(Mechanism {
        number,
        name: standard.filter(|name| name.starts_with("CKM_")).unwrap_or_else(|| format!("0x{number:08X}")),
        key_min: info.ulMinKeySize,
        key_max: info.ulMaxKeySize,
        uses: uses(info.flags),
    }))
}

fn uses(flags: CK_FLAGS) -> Vec<&'static str> {
    let all = [
        ("hardware", CKF_HW),
        ("generate", CKF_GENERATE),
        ("generate-pair", CKF_GENERATE_KEY_PAIR),
        ("sign", CKF_SIGN),
        ("verify", CKF_VERIFY),
        ("encrypt", CKF_ENCRYPT),
        ("decrypt", CKF_DECRYPT),
        ("digest", CKF_DIGEST),
        ("wrap", CKF_WRAP),
        ("unwrap", CKF_UNWRAP),
        ("derive", CKF_DERIVE),
    ];
    all.into_iter().filter_map(|(name, flag)| (flags & flag != 0).then_some(name)).collect()
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
