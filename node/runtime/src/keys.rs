//! From a PIN to signatures and data keys: device → vault → guard → signing service, in this order, because each is sealed by
//! the one before.

use std::path::Path;
use std::sync::Arc;

use bixi_config::{Hsm, HsmBackend};
use bixi_hsm::audit::AuditLog;
use bixi_hsm::guard::Guard;
use bixi_hsm::profile::ProfileChoice;
use bixi_hsm::service::{Client, CustodyPolicy, InProcess, Keys, Params, RetryPolicy, SigningService};
use bixi_hsm::{DeviceError, KeyDevice, KeyKind, KeyRef};
use bixi_hsm_pkcs11::{Pkcs11Device, TokenSelector};
use bixi_hsm_sdf::SdfDevice;
use bixi_hsm_tpm::{Address, TpmDevice};
use bixi_hsm_vault::{DeviceKek, Vault};
use bixi_platform::credentials::PinSource;
use bixi_platform::io::Storage;
use bixi_sealed::KeyRing;
use bixi_types::ports::Signer as _;

use crate::settings::Settings;

/// Everything that needs the device.
#[derive(Clone)]
pub(crate) struct Unlocked {
    pub device: Arc<dyn KeyDevice>,
    pub ring: KeyRing,
    pub signer: Arc<Client<InProcess>>,
    /// The trail of decisions about keys; ordinary ones become durable when it is synced.
    pub audit: Arc<AuditLog>,
}

/// Where a TPM's wrapped keys lie, in the data directory.
pub(crate) const TPM_STORE: &str = "tpm";

type Failure = Box<dyn std::error::Error + Send + Sync>;

/// Opens the configured device with its PIN.
pub(crate) fn open_device(settings: &Settings) -> Result<Arc<dyn KeyDevice>, Failure> {
    match settings.config.hsm.backend {
        HsmBackend::Pkcs11 => Ok(Arc::new(open_module(settings)?)),
        HsmBackend::Sdf => {
            let (data, password) = (settings.data(""), settings.pin());
            Ok(Arc::new(open_library(&settings.config.hsm, &settings.base, &data, password)?))
        }
        HsmBackend::Tpm => {
            let (data, pin) = (settings.data(""), settings.pin());
            Ok(Arc::new(open_tpm(&settings.config.hsm, &settings.base, &data, pin)?))
        }
    }
}

fn open_module(settings: &Settings) -> Result<Pkcs11Device, DeviceError> {
    let hsm = &settings.config.hsm;
    Pkcs11Device::open(bixi_hsm_pkcs11::Params {
        module_path: settings.path(&hsm.module),
        token: TokenSelector::label(&hsm.token),
        pin: settings.pin(),
        profile: profile_choice(hsm, &settings.base),
        sessions_max: hsm.sessions_max as usize,
        timeout_ms: hsm.timeout_ms,
        pin_state_path: settings.data("pin-state"),
    })
}

/// Opens an SDF device; relative paths start at `base`, and `data` is the node's data directory.
pub(crate) fn open_library(hsm: &Hsm, base: &Path, data: &Path, password: PinSource) -> Result<SdfDevice, DeviceError> {
    SdfDevice::open(bixi_hsm_sdf::Params {
        library_path: base.join(&hsm.module),
        token: hsm.token.clone(),
        password,
        password_state_path: data.join("pin-state"),
        records_path: data.join("sdf"),
        profile: profile_choice(hsm, base),
        indices: 1..=u32::try_from(hsm.sdf_index_max).expect("the configuration allows 4096"),
        sessions_max: hsm.sessions_max as usize,
        timeout_ms: hsm.timeout_ms,
    })
}

/// Opens the store of a TPM that a node file names; relative paths start at `base`, and the store lies in `data`.
pub(crate) fn open_tpm(hsm: &Hsm, base: &Path, data: &Path, pin: PinSource) -> Result<TpmDevice, DeviceError> {
    TpmDevice::open(bixi_hsm_tpm::Params {
        address: Address::of_path(&base.join(&hsm.module)),
        directory: data.join(TPM_STORE),
        pin,
        pin_state_path: data.join("pin-state"),
        timeout_ms: hsm.timeout_ms,
    })
}

/// A shipped profile by name, a file by path, or whatever the module's own words match.
fn profile_choice(hsm: &Hsm, base: &Path) -> ProfileChoice {
    let profile = &hsm.profile;
    if profile.is_empty() {
        ProfileChoice::Matched
    } else if profile.ends_with(".toml") {
        ProfileChoice::File(base.join(profile))
    } else {
        ProfileChoice::Named(profile.clone())
    }
}

/// The key of a label and kind; exactly one must be there.
pub(crate) fn find_key(device: &dyn KeyDevice, label: &str, kind: KeyKind) -> Result<KeyRef, Failure> {
    let mut found: Vec<KeyRef> =
        device.list()?.into_iter().filter(|key| key.label == label && key.kind == kind).map(|key| key.uri).collect();
    match found.len() {
        1 => Ok(found.remove(0)),
        0 => Err(format!(
            "the token {:?} holds no {kind:?} key labelled {label:?}; generate it with `bixi chain keys` or correct hsm.*_key",
            device.info().token
        )
        .into()),
        count => Err(format!("the token holds {count} {kind:?} keys labelled {label:?}; remove all but one").into()),
    }
}

/// Unlocks everything a validator signs and reads with.
pub(crate) fn unlock(settings: &Settings, storage: &Arc<dyn Storage>) -> Result<Unlocked, Failure> {
    let hsm = &settings.config.hsm;
    let device = open_device(settings)?;
    let keys = Keys {
        consensus: find_key(device.as_ref(), &hsm.consensus_key, KeyKind::Sm2Sign)?,
        tls: Some(find_key(device.as_ref(), &hsm.tls_key, KeyKind::Sm2Sign)?),
        kek: Some(find_key(device.as_ref(), &hsm.kek, KeyKind::Kek)?),
    };
    let kek = keys.kek.clone().expect("set above");
    let kek = DeviceKek { device: device.as_ref(), key: &kek };
    let vault = Vault::open(Arc::clone(storage), settings.data("vault"), &kek)?;
    let ring = vault.key_ring();
    let audit = Arc::new(AuditLog::open(Arc::clone(storage), settings.data("audit"), ring.clone())?);
    let chain = settings.genesis.hash();
    let guard = Guard::open(Arc::clone(storage), settings.data("guard"), ring.clone(), chain)?;
    let custody = if settings.config.production {
        CustodyPolicy::Production { software_token_allowed: false }
    } else {
        CustodyPolicy::Any
    };
    let service = SigningService::new(Params {
        device: Arc::clone(&device),
        device_calls_max: hsm.sessions_max as usize,
        keys,
        guard,
        chain,
        suite: settings.genesis.suite,
        retry: RetryPolicy { deadline_ms: hsm.timeout_ms, ..RetryPolicy::default() },
        custody,
        audit: Arc::clone(&audit) as _,
    })?;
    // The same frames as over a socket: what the node asks for in process is what a broker will be asked for.
    let signer = Arc::new(Client::connect(InProcess(Arc::new(service)))?);
    let node = signer.node_id();
    tracing::info!(%node, custody = %device.info().custody, "keys unlocked");
    Ok(Unlocked { device, ring, signer, audit })
}
