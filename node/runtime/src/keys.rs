//! From a PIN to signatures and data keys: device → vault → guard → signing service, in this order, because each is sealed by
//! the one before. In this process, or in the broker's: then this one has no module, no PIN, no guard and no audit trail, and asks.

pub(crate) mod opening;
mod remote;
pub(crate) mod self_test;

use std::path::Path;
use std::sync::Arc;

use bixi_config::{Hsm, HsmBackend};
use bixi_hsm::audit::{self, AuditLog};
use bixi_hsm::device::Unrepeated;
use bixi_hsm::guard::{self, Guard, HostId};
use bixi_hsm::phase::{self, Phase};
use bixi_hsm::pin::{self, PinMemory};
use bixi_hsm::profile::ProfileChoice;
use bixi_hsm::service::{
    Channel, Client, ClientError, CustodyPolicy, InProcess, Keys, Params, RetryPolicy, SigningService,
};
use bixi_hsm::{DeviceError, KeyDevice, KeyInfo, KeyKind, KeyRef};
use bixi_hsm_pkcs11::{Pkcs11Device, TokenSelector};
use bixi_hsm_sdf::SdfDevice;
use bixi_hsm_tpm::{Address, TpmDevice};
use bixi_hsm_vault::{DeviceKek, Keeper, Vault};
use bixi_platform::credentials::PinSource;
use bixi_platform::host::machine_id;
use bixi_platform::io::Storage;
use bixi_sealed::KeyRing;
use bixi_types::ports::Signer as _;

use crate::settings::Settings;

/// A signing service, wherever it is.
pub(crate) type NodeSigner = Client<Arc<dyn Channel>>;

/// What a node has of its keys.
#[derive(Clone)]
pub(crate) struct Unlocked {
    pub ring: KeyRing,
    pub signer: Arc<NodeSigner>,
    /// The trail of decisions about keys where this process writes it; ordinary ones become durable when it is synced.
    pub audit: Option<Arc<AuditLog>>,
}

/// What the process has that holds the device.
pub(crate) struct Holder {
    pub service: Arc<SigningService>,
    pub ring: KeyRing,
    pub audit: Arc<AuditLog>,
}

/// What a process takes before it asks a device for anything: other processes are kept away, and what is missing is told, before a PIN
/// is sent.
pub(crate) struct Reserved {
    guard: guard::Reserved,
    audit: audit::Reserved,
}

impl Reserved {
    /// Takes guard and audit trail of a node that has a vault.
    pub(crate) fn take(settings: &Settings, storage: &Arc<dyn Storage>) -> Result<Self, Failure> {
        bixi_hsm_vault::describe(storage.as_ref(), settings.data("vault"))?;
        let guard = Guard::reserve(Arc::clone(storage), settings.data("guard"))?;
        Ok(Self { guard, audit: AuditLog::reserve(Arc::clone(storage), settings.data("audit"))? })
    }
}

/// Where a TPM's wrapped keys lie, in the data directory.
pub(crate) const TPM_STORE: &str = "tpm";

type Failure = Box<dyn std::error::Error + Send + Sync>;

use opening::OPENINGS;
pub(crate) use remote::{ask_broker, ring_of_service, start_patience};

/// Opens the configured device with its PIN, in time.
pub(crate) fn open_device(settings: &Settings, pin: PinSource) -> Result<Arc<dyn KeyDevice>, Failure> {
    in_time(settings, pin, open_device_here)
}

/// Has `open` open a device on another thread, with the PIN from `pin`. A person who types it is not hurried, nor is the pause after a
/// PIN without a verdict.
fn in_time<T: Send + 'static>(
    settings: &Settings,
    pin: PinSource,
    open: impl FnOnce(&Settings, PinSource) -> Result<T, Failure> + Send + 'static,
) -> Result<T, Failure> {
    let pin = PinSource::Handed(Arc::new(pin::read(&pin)?));
    PinMemory::wait_out_pause(&settings.data("pin-state"));
    let (hsm, ours) = (&settings.config.hsm, settings.clone());
    OPENINGS.in_time(&settings.path(&hsm.module), opening::limits(hsm), move || open(&ours, pin))
}

/// Opens it on this thread, however long that takes: for whoever is watched.
pub(crate) fn open_device_here(settings: &Settings, pin: PinSource) -> Result<Arc<dyn KeyDevice>, Failure> {
    let _phase = phase::enter(Phase::Open);
    Ok(open_backend(&settings.config.hsm, &settings.base, &settings.data(""), pin)?)
}

/// Opens the device of the kind that a node file names; relative paths start at `base`, and `data` is the node's data directory.
pub(crate) fn open_backend(
    hsm: &Hsm,
    base: &Path,
    data: &Path,
    pin: PinSource,
) -> Result<Arc<dyn KeyDevice>, DeviceError> {
    Ok(match hsm.backend {
        HsmBackend::Pkcs11 => Arc::new(open_token(hsm, base, data, pin)?),
        HsmBackend::Sdf => Arc::new(open_library(hsm, base, data, pin)?),
        HsmBackend::Tpm => Arc::new(open_tpm(hsm, base, data, pin)?),
    })
}

fn open_token(hsm: &Hsm, base: &Path, data: &Path, pin: PinSource) -> Result<Pkcs11Device, DeviceError> {
    Pkcs11Device::open(bixi_hsm_pkcs11::Params {
        module_path: base.join(&hsm.module),
        token: TokenSelector::label(&hsm.token),
        pin,
        profile: profile_choice(hsm, base),
        sessions_max: hsm.sessions_max as usize,
        timeout_ms: hsm.timeout_ms,
        pin_state_path: data.join("pin-state"),
    })
}

fn open_library(hsm: &Hsm, base: &Path, data: &Path, password: PinSource) -> Result<SdfDevice, DeviceError> {
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

fn open_tpm(hsm: &Hsm, base: &Path, data: &Path, pin: PinSource) -> Result<TpmDevice, DeviceError> {
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

/// What a device lists, asked for once: some devices look at thousands of places to answer.
pub(crate) struct Listed {
    token: String,
    keys: Vec<KeyInfo>,
    /// By which vendor profile they were looked for, where the token lacks a kind of key that every node has.
    profile: Option<String>,
}

impl Listed {
    pub(crate) fn of(device: &dyn KeyDevice) -> Result<Self, DeviceError> {
        let keys = device.list()?;
        let has = |kind| keys.iter().any(|key| key.kind == kind);
        let is_short = !has(KeyKind::Sm2Sign) || !has(KeyKind::Kek);
        let profile = if is_short { device.profile_words() } else { None };
        Ok(Self { token: device.info().token, keys, profile })
    }

    /// A key of that label, of whatever kind.
    pub(crate) fn labelled(&self, label: &str) -> Option<&KeyRef> {
        self.keys.iter().find(|key| key.label == label).map(|key| &key.uri)
    }

    /// The key of a label and kind; exactly one must be there.
    pub(crate) fn find(&self, label: &str, kind: KeyKind) -> Result<KeyRef, Failure> {
        let found: Vec<&KeyInfo> = self.keys.iter().filter(|key| key.label == label && key.kind == kind).collect();
        match found[..] {
            [key] => Ok(key.uri.clone()),
            [] => {
                let searched = self.profile.as_ref().map_or(String::new(), |words| {
                    format!("it was looked for by {words}; only where that profile is right, ")
                });
                Err(format!(
                    "the token {:?} holds no {kind} labelled {label:?}; {searched}generate it with `bixi chain keys`, bring a node whose device \
                     was lost back with `bixi hsm recover`, or correct hsm.*_key",
                    self.token
                )
                .into())
            }
            _ => {
                let count = found.len();
                Err(format!("the token holds {count} times a {kind} labelled {label:?}; remove all but one").into())
            }
        }
    }
}

/// Unlocks everything a validator signs and reads with.
pub(crate) fn unlock(settings: &Settings, storage: &Arc<dyn Storage>) -> Result<Unlocked, Failure> {
    if let Some(socket) = settings.broker() {
        return remote::unlock(settings, storage, &socket);
    }
    let holder = hold_here(settings, storage)?;
    holder.expect_in_service()?;
    let signer = Arc::new(holder.client()?);
    Ok(Unlocked { ring: holder.ring, signer, audit: Some(holder.audit) })
}

impl Holder {
    /// Refuses to begin with a guard that signs nothing any more, or yet, or not here, or is an old copy.
    pub(crate) fn expect_in_service(&self) -> Result<(), Failure> {
        // First: an old copy is not to be at home anywhere.
        self.service.expect_newest()?;
        if self.service.guard().expect_ready(&self.service.node_id(), this_host()?)? {
            self.service.tell_home()?;
        }
        Ok(())
    }

    /// Asks as over a socket, with the same frames.
    pub(crate) fn client(&self) -> Result<NodeSigner, ClientError> {
        let channel: Arc<dyn Channel> = Arc::new(InProcess(Arc::clone(&self.service)));
        Client::connect(channel)
    }
}

/// This host as guards know it; none where the system has no identity.
pub(crate) fn this_host() -> Result<Option<HostId>, Failure> {
    let id = machine_id().map_err(|error| format!("/etc/machine-id: {error}"))?;
    Ok(id.map(|id| HostId::new(&id)))
}

/// Opens the vault of a node with the key that its file names.
pub(crate) fn open_vault(
    settings: &Settings,
    storage: &Arc<dyn Storage>,
    device: &dyn KeyDevice,
    listed: &Listed,
) -> Result<Vault, Failure> {
    let key = listed.find(&settings.config.hsm.kek, KeyKind::Kek)?;
    Ok(Vault::open(Arc::clone(storage), settings.data("vault"), &DeviceKek { device, key: &key })?)
}

/// Has the trail told of handshakes that were counted, and made durable: to be done once every [`AuditLog::SYNC_PERIOD`].
pub(crate) fn tell_and_sync(signer: &NodeSigner, audit: &AuditLog) -> Result<(), Failure> {
    // First: telling may wait for the device, which then signs the head of the trail.
    audit.sync()?;
    Ok(signer.tell_due()?)
}

/// Opens the device in this process, whether or not a broker is configured; all that a start asks of it comes back in time.
pub(crate) fn hold_here(settings: &Settings, storage: &Arc<dyn Storage>) -> Result<Holder, Failure> {
    let reserved = Reserved::take(settings, storage)?;
    let storage = Arc::clone(storage);
    in_time(settings, settings.pin(), move |settings, pin| {
        hold(settings, &storage, reserved, open_device_here(settings, pin)?)
    })
}

/// How calls of the device are tried again.
pub(crate) fn retry(hsm: &Hsm) -> RetryPolicy {
    RetryPolicy { deadline_ms: hsm.timeout_ms, ..RetryPolicy::default() }
}

/// Makes the signing service over an open device, which first shows that it can be trusted with it.
pub(crate) fn hold(
    settings: &Settings,
    storage: &Arc<dyn Storage>,
    reserved: Reserved,
    device: Arc<dyn KeyDevice>,
) -> Result<Holder, Failure> {
    let hsm = &settings.config.hsm;
    let retry = retry(hsm);
    let tested = self_test::random(hsm, device.as_ref())?;
    let device: Arc<dyn KeyDevice> = Arc::new(Unrepeated::new(device));
    let listed = Listed::of(device.as_ref())?;
    let keys = Keys {
        consensus: listed.find(&hsm.consensus_key, KeyKind::Sm2Sign)?,
        tls: Some(listed.find(&hsm.tls_key, KeyKind::Sm2Sign)?),
        kek: Some(listed.find(&hsm.kek, KeyKind::Kek)?),
    };
    self_test::keys(device.as_ref(), &keys, retry)?;
    let vault = open_vault(settings, storage, device.as_ref(), &listed)?;
    let (ring, kek) = (vault.key_ring(), listed.find(&hsm.kek, KeyKind::Kek)?);
    let keeper =
        Keeper::new(Arc::clone(storage), Arc::clone(&device), kek, &vault).allow_dropping(hsm.drop_at_work_allowed);
    let audit = Arc::new(AuditLog::open_reserved(reserved.audit, ring.clone())?);
    self_test::tell(audit.as_ref(), tested.as_ref())?;
    let chain = settings.genesis.hash();
    let guard = Guard::open_reserved(reserved.guard, ring.clone(), chain)?;
    let custody = if settings.config.production {
        CustodyPolicy::Production { software_token_allowed: hsm.software_token_allowed }
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
        retry,
        custody,
        audit: Arc::clone(&audit) as _,
    })?
    .with_data_keys(Arc::new(keeper));
    tracing::info!(node = %service.node_id(), custody = %device.info().custody, "keys unlocked");
    Ok(Holder { service: Arc::new(service), ring, audit })
}
