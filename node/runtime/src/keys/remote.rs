//! Keys behind the broker: no module is loaded and no PIN is asked for in this process.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use bixi_hsm::device::PRF_BYTES;
use bixi_hsm::service::{Channel, Client, ClientError};
use bixi_hsm::{DeviceError, ErrorKind};
use bixi_hsm_broker::SocketChannel;
use bixi_hsm_vault::{Kek, Vault};
use bixi_platform::io::Storage;
use bixi_sealed::KeyRing;
use bixi_types::ports::Signer as _;

use super::{Failure, NodeSigner, Unlocked};
use crate::settings::Settings;

/// How long a start waits for the broker: its device may take its time, and the service manager starts both at once.
const START_PATIENCE: Duration = Duration::from_secs(60);
/// How often the log tells what a start waits for.
const TOLD: Duration = Duration::from_secs(5);
/// Between two attempts while nobody listens.
const PAUSE: Duration = Duration::from_millis(50);

/// The way to the broker at `socket`.
pub(super) fn channel(settings: &Settings, socket: &Path) -> Arc<dyn Channel> {
    // A place at the device, the attempts, and the last one of them each have that time; then a worker that hangs is replaced.
    let patience = Duration::from_millis(settings.config.hsm.timeout_ms.saturating_mul(3)) + Duration::from_secs(2);
    let owner = u32::try_from(settings.config.hsm.broker_uid).expect("the configuration allows numbers of users");
    Arc::new(SocketChannel::new(socket, patience).believing(owner))
}

/// Unlocks everything a validator signs and reads with, through the broker.
pub(super) fn unlock(settings: &Settings, storage: &Arc<dyn Storage>, socket: &Path) -> Result<Unlocked, Failure> {
    let signer = until_there(|| Client::connect(channel(settings, socket)))?;
    let info = until_there(|| signer.health())?;
    let ring = ring_of_broker(settings, storage, &signer)?;
    tracing::info!(node = %signer.node_id(), custody = %info.custody, broker = %socket.display(), "keys unlocked");
    Ok(Unlocked { ring, signer: Arc::new(signer), audit: None })
}

/// The data keys of a vault whose key encryption key the broker holds.
pub(crate) fn ring_of_broker(
    settings: &Settings,
    storage: &Arc<dyn Storage>,
    signer: &NodeSigner,
) -> Result<KeyRing, Failure> {
    let kek = RemoteKek { signer, socket: &settings.broker().unwrap_or_default() };
    Ok(Vault::open(Arc::clone(storage), settings.data("vault"), &kek)?.key_ring())
}

/// The broker, asked once: for reports.
pub(crate) fn ask_broker(settings: &Settings, socket: PathBuf) -> Result<NodeSigner, ClientError> {
    Client::connect(channel(settings, &socket))
}

/// Asks again while the answer may change, and tells why.
fn until_there<T>(ask: impl Fn() -> Result<T, ClientError>) -> Result<T, Failure> {
    let (began, mut told) = (Instant::now(), None::<Instant>);
    loop {
        match ask() {
            Ok(answer) => return Ok(answer),
            Err(error) if error.kind() == ErrorKind::Retry && began.elapsed() < START_PATIENCE => {
                if told.is_none_or(|told| told.elapsed() >= TOLD) {
                    told = Some(Instant::now());
                    tracing::warn!(%error, "waiting for the broker");
                }
                std::thread::sleep(PAUSE);
            }
            Err(error) => return Err(error.into()),
        }
    }
}

/// The key encryption key behind the broker.
struct RemoteKek<'a> {
    signer: &'a NodeSigner,
    socket: &'a Path,
}

impl Kek for RemoteKek<'_> {
    fn name(&self) -> String {
        format!("the key encryption key of the broker at {}", self.socket.display())
    }

    fn derive(&self, input: &[u8], out: &mut [u8; PRF_BYTES]) -> Result<(), DeviceError> {
        out.copy_from_slice(&self.signer.derive(input)?.0);
        Ok(())
    }
}
