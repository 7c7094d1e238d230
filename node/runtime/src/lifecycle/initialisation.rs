//! Making a token or a TPM's store ready, outside a chain's ceremony.

use std::path::Path;

use bixi_hsm_pkcs11::{Initialisation, initialise_token};
use bixi_hsm_tpm::{Address, Ceremony, initialise_store};
use bixi_platform::secret::Secret;

use crate::launch::{Failure, LaunchError, step};
use crate::settings::source_of;

/// A TPM makes keys by itself, and slow ones take seconds for each.
const TPM_MS: u64 = 60_000;

/// What a PKCS#11 token is to be. Sources of PINs as `hsm.pin` is written.
#[derive(Debug, Clone, Copy)]
pub struct Token<'a> {
    /// The vendor's module.
    pub module: &'a Path,
    /// The slot; absent means the first whose token was never initialised.
    pub slot: Option<u64>,
    /// Its name.
    pub label: &'a str,
    /// Source of the security officer's PIN.
    pub so_pin: &'a str,
    /// Source of the user PIN.
    pub pin: &'a str,
    /// The present name of a token that is initialised, and whose keys are to be destroyed.
    pub destroy: Option<&'a str>,
}

/// Initialises a token; returns its serial number.
///
/// # Errors
/// Names the step. A token that is initialised is refused unless its name is repeated.
pub fn token(wish: &Token<'_>) -> Result<String, LaunchError> {
    let so_pin = step("SO PIN", || pin(wish.so_pin, "SO PIN of the token"))?;
    let user_pin = step("PIN", || pin(wish.pin, "new user PIN of the token"))?;
    step("PINs", || match so_pin.ct_eq(user_pin.as_slice()) {
        true => Err("SO PIN and user PIN are one: whoever uses the keys could destroy them"),
        false => Ok(()),
    })?;
    step("initialise", || {
        initialise_token(&Initialisation {
            module_path: wish.module.to_owned(),
            slot: wish.slot,
            label: wish.label.to_owned(),
            so_pin,
            user_pin,
            destroy: wish.destroy.map(str::to_owned),
        })
    })
}

/// Makes a store in a directory that has none, for keys of a TPM; returns names for the ceremony's record.
///
/// # Errors
/// Names the step. A store that is there is refused.
pub fn store(
    tpm: &Path,
    directory: &Path,
    label: &str,
    source: &str,
    owner: Option<&str>,
) -> Result<Vec<(&'static str, String)>, LaunchError> {
    let new_pin = step("PIN", || pin(source, "new PIN of the keys"))?;
    let owner_authorization = step("owner", || match owner {
        Some(source) => pin(source, "authorization of the TPM's owner"),
        None => Ok(Secret::from_slice(&[])),
    })?;
    let Ceremony { parent_handle, parent, attestation_key } = step("initialise", || {
        initialise_store(&bixi_hsm_tpm::Initialisation {
            address: Address::of_path(tpm),
            directory: directory.to_owned(),
            label: label.to_owned(),
            pin: new_pin,
            owner_authorization,
            counter: true,
            timeout_ms: TPM_MS,
        })
    })?;
    Ok(vec![
        ("parent_handle", format!("{parent_handle:#010x}")),
        ("parent", hex::encode(parent)),
        ("attestation_key", hex::encode(attestation_key)),
    ])
}

fn pin(source: &str, prompt: &str) -> Result<Secret, Failure> {
    Ok(source_of(source, Path::new(""), prompt)?.read()?)
}
