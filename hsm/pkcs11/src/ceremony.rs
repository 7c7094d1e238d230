//! Making a token ready: label, SO PIN, user PIN.

use std::path::PathBuf;

use bixi_hsm::{Cause, DeviceError};
use bixi_platform::secret::Secret;
use cryptoki::context::Pkcs11;
use cryptoki::session::UserType;
use cryptoki::slot::Slot;
use cryptoki::types::AuthPin;

use crate::device::TokenSelector;
use crate::error::device_error;
use crate::module;

/// What a token is initialised with. Everything on it is destroyed.
#[derive(Debug)]
pub struct Initialisation {
    /// The vendor's module.
    pub module_path: PathBuf,
    /// The slot; absent means the first slot whose token was never initialised.
    pub slot: Option<u64>,
    /// New label, 1 to 32 bytes.
    pub label: String,
    /// The SO PIN: the present one of an initialised token, a new one otherwise.
    pub so_pin: Secret,
    /// New user PIN.
    pub user_pin: Secret,
    /// The present label of a token that is initialised, whose keys are to be destroyed. Such a token is refused otherwise.
    pub destroy: Option<String>,
}

/// Initialise a token and set its user PIN. Returns its serial number.
///
/// # Errors
/// [`Cause::KeyExists`] for an initialised token whose label was not repeated; [`Cause::WrongPin`] when an initialised token has another SO PIN; nothing was then changed.
pub fn initialise_token(request: &Initialisation) -> Result<String, DeviceError> {
    if request.label.is_empty() || request.label.len() > 32 {
        return Err(DeviceError::new("C_InitToken", Cause::Rejected, "a token label has 1 to 32 bytes"));
    }
    let loaded = module::load(&request.module_path)?.pkcs11;
    let slots = loaded.get_slots_with_token().map_err(|error| device_error("list the slots", &error))?;
    let is_fresh = |slot: &&Slot| loaded.get_token_info(**slot).is_ok_and(|info| !info.token_initialized());
    let label_of = |slot: &Slot| {
        let info = loaded.get_token_info(*slot).ok().filter(|info| info.token_initialized())?;
        Some(info.label().to_owned())
    };
    let slot = match (request.slot, &request.destroy) {
        (Some(wanted), _) => slots.iter().find(|slot| slot.id() == wanted),
        (None, Some(label)) => slots.iter().find(|slot| label_of(slot).as_ref() == Some(label)),
        (None, None) => slots.iter().find(is_fresh),
    };
    let slot = *slot.ok_or_else(|| {
        let taken: Vec<String> = slots
            .iter()
            .filter_map(|slot| {
                Some(format!("that in slot {} is initialised, its label is {:?}", slot.id(), label_of(slot)?))
            })
            .collect();
        let found = if taken.is_empty() { "no slot has a token".to_owned() } else { taken.join("; ") };
        let message = format!("no token can be initialised: {found}");
        DeviceError::new("C_GetSlotList", Cause::Absent, message)
            .with_advice("an initialised token is made anew when its label is repeated, which destroys its keys")
    })?;
    if let Some(label) = label_of(&slot).filter(|label| Some(label) != request.destroy.as_ref()) {
        let message = format!("the token in slot {} is initialised, its label is {label:?}", slot.id());
        return Err(DeviceError::new("C_InitToken", Cause::KeyExists, message)
            .with_advice("its keys would be destroyed: repeat this label if that is wanted"));
    }
    let (so_pin, user_pin) = (auth_pin(&request.so_pin)?, auth_pin(&request.user_pin)?);
    loaded.init_token(slot, &so_pin, &request.label).map_err(|error| {
        let failed = device_error("initialise the token", &error);
        // No memory of PINs guards this one, for an officer types it: so he is told what is left.
        match loaded.get_token_info(slot) {
            Ok(info) if failed.cause == Cause::WrongPin && info.so_pin_final_try() => {
                failed.with_advice("one try with the SO PIN is left: be sure of it, a locked token is lost")
            }
            Ok(info) if failed.cause == Cause::WrongPin && info.so_pin_count_low() => {
                failed.with_advice("correct the SO PIN; the token counts wrong ones and locks after a few")
            }
            _ => failed,
        }
    })?;
    let slot = renumbered(&loaded, slot, &request.label)?;
    let session = loaded.open_rw_session(slot).map_err(|error| device_error("open a session", &error))?;
    session.login(UserType::So, Some(&so_pin)).map_err(|error| device_error("log in as SO", &error))?;
    session.init_pin(&user_pin).map_err(|error| device_error("set the user PIN", &error))?;
    session.logout().map_err(|error| device_error("log out", &error))?;
    let info = loaded.get_token_info(slot).map_err(|error| device_error("read the token", &error))?;
    Ok(info.serial_number().to_owned())
}

/// The slot the new token is in: some modules give it another number.
fn renumbered(module: &Pkcs11, slot: Slot, label: &str) -> Result<Slot, DeviceError> {
    match module.get_token_info(slot) {
        Ok(info) if info.token_initialized() && info.label() == label => Ok(slot),
        _ => Ok(module::find_slot(module, &TokenSelector::label(label))?.0),
    }
}

fn auth_pin(pin: &Secret) -> Result<AuthPin, DeviceError> {
    let text = std::str::from_utf8(pin.as_slice())
        .map_err(|_| DeviceError::new("C_InitToken", Cause::Rejected, "a PIN must be UTF-8 text"))?;
    Ok(AuthPin::from(text.to_owned()))
}
