//! Modules of this process: each path is loaded and initialised once, shared by every device on it, and never unloaded.
//!
//! Vendors' libraries crash in `C_Finalize`, in destructors and at `dlclose`, and a second `C_Initialize` is an error;
//! so a module, once loaded, stays until the process ends.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use bixi_hsm::{Cause, DeviceError};
use cryptoki::context::{CInitializeArgs, CInitializeFlags, Function, Pkcs11};
use cryptoki::error::{Error, RvError};
use cryptoki::slot::{Slot, TokenInfo};
use cryptoki_sys::CKR_CRYPTOKI_NOT_INITIALIZED;

use crate::device::TokenSelector;
use crate::error::device_error;
use crate::raw::Functions;

static LOADED: Mutex<BTreeMap<PathBuf, Module>> = Mutex::new(BTreeMap::new());

/// An initialised module: what `cryptoki` calls, and what it would refuse to.
#[derive(Clone)]
pub(crate) struct Module {
    pub pkcs11: Pkcs11,
    pub functions: Functions,
}

/// The initialised module at `path`.
pub(crate) fn load(path: &Path) -> Result<Module, DeviceError> {
    let absent = |error: std::io::Error| {
        DeviceError::new("dlopen", Cause::Setup, format!("module {}: {error}", path.display()))
            .with_advice("check the module's path in the configuration")
    };
    let path = path.canonicalize().map_err(absent)?;
    let mut loaded = LOADED.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(module) = loaded.get(&path) {
        return Ok(module.clone());
    }
    let pkcs11 = Pkcs11::new(&path).map_err(|error| device_error("load the module", &error))?;
    initialise(&pkcs11)?;
    let module = Module { pkcs11, functions: Functions::of(&path)? };
    loaded.insert(path, module.clone());
    Ok(module)
}

fn initialise(module: &Pkcs11) -> Result<(), DeviceError> {
    match module.initialize(CInitializeArgs::new(CInitializeFlags::OS_LOCKING_OK)) {
        Ok(()) | Err(Error::Pkcs11(RvError::CryptokiAlreadyInitialized, Function::Initialize)) => Ok(()),
        Err(error) => Err(device_error("initialise the module", &error)),
    }
}

/// The one slot whose token answers to `selector`, after another user of the module in this process may have finalised it.
pub(crate) fn find_slot_again(module: &Pkcs11, selector: &TokenSelector) -> Result<Slot, DeviceError> {
    let found = match find_slot(module, selector) {
        Err(error) if error.code == Some(CKR_CRYPTOKI_NOT_INITIALIZED) => {
            tracing::warn!("somebody finalised the PKCS#11 module; it is initialised again");
            initialise(module)?;
            find_slot(module, selector)
        }
        found => found,
    };
    found.map(|(slot, _)| slot)
}

/// The one slot whose token answers to `selector`.
pub(crate) fn find_slot(module: &Pkcs11, selector: &TokenSelector) -> Result<(Slot, TokenInfo), DeviceError> {
    let slots = module.get_slots_with_token().map_err(|error| device_error("list the slots", &error))?;
    let mut found: Vec<(Slot, TokenInfo)> = Vec::new();
    let mut unreadable = None;
    for slot in slots {
        match module.get_token_info(slot) {
            Ok(info) if selector.matches(slot, &info) => found.push((slot, info)),
            Ok(_) => {}
            Err(error) => unreadable = Some(device_error("read the token", &error)),
        }
    }
    match (found.len(), unreadable) {
        (1, _) => Ok(found.remove(0)),
        (0, Some(error)) => Err(error),
        (0, None) => Err(DeviceError::new("C_GetTokenInfo", Cause::Absent, format!("no token with {selector}"))
            .with_advice("compare with `pkcs11-tool --list-token-slots`; initialise the token, or correct its name")),
        (count, _) => Err(DeviceError::new("C_GetTokenInfo", Cause::Setup, format!("{count} tokens with {selector}"))
            .with_advice("name the token by its serial number")),
    }
}
