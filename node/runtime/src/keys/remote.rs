//! Keys behind the broker: no module is loaded and no PIN is asked for in this process.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use bixi_config::Hsm;
use bixi_hsm::device::PRF_BYTES;
use bixi_hsm::protocol::Refusal;
use bixi_hsm::service::{Channel, Client, ClientError};
use bixi_hsm::{DeviceError, ErrorKind};
use bixi_hsm_broker::SocketChannel;
use bixi_hsm_vault::{Kek, Vault};
use bixi_platform::io::Storage;
use bixi_sealed::KeyRing;
use bixi_types::ports::Signer as _;

use super::{Failure, NodeSigner, Unlocked};
use crate::settings::Settings;

/// How long a start waits for a broker that says nothing: the service manager starts both at once. One that says what its own start is at is
/// waited for as long as it does: finding a device and having it judge a PIN may take minutes, and the broker has limits for both.
const SILENCE_MAX: Duration = Duration::from_secs(60);
/// From a broker's answer that it is being started to the end of the caller's patience.
const MARGIN: Duration = Duration::from_secs(2);
/// How often the log tells what a start waits for.
const TOLD: Duration = Duration::from_secs(5);
/// Between two attempts while nobody listens.
const PAUSE: Duration = Duration::from_millis(50);

/// How long a worker that is being started has a request wait before it says so: a little less than whoever asks would wait.
pub(crate) fn start_patience(hsm: &Hsm) -> Duration {
    // A place at the device, the attempts, and the last one of them each have that time; then a worker that hangs is replaced.
    Duration::from_millis(hsm.timeout_ms.saturating_mul(3))
}

/// The way to the broker at `socket`.
pub(super) fn channel(settings: &Settings, socket: &Path) -> Arc<dyn Channel> {
    let patience = start_patience(&settings.config.hsm) + MARGIN;
    let owner = u32::try_from(settings.config.hsm.broker_uid).expect("the configuration allows numbers of users");
    Arc::new(SocketChannel::new(socket, patience).believing(owner))
}

/// Unlocks everything a validator signs and reads with, through the broker.
pub(super) fn unlock(settings: &Settings, storage: &Arc<dyn Storage>, socket: &Path) -> Result<Unlocked, Failure> {
    let signer = until_there(SILENCE_MAX, || Client::connect(channel(settings, socket)))?;
    let info = until_there(SILENCE_MAX, || signer.health())?;
    let ring = ring_of_service(settings, storage, &signer)?;
    tracing::info!(node = %signer.node_id(), custody = %info.custody, broker = %socket.display(), "keys unlocked");
    Ok(Unlocked { ring, signer: Arc::new(signer), audit: None })
}

/// The data keys by the vault as it is now, whose key encryption key a service holds: the broker, or the one in this process.
pub(crate) fn ring_of_service(
    settings: &Settings,
    storage: &Arc<dyn Storage>,
    signer: &NodeSigner,
) -> Result<KeyRing, Failure> {
    let kek = RemoteKek { signer, socket: settings.broker() };
    Ok(Vault::open(Arc::clone(storage), settings.data("vault"), &kek)?.key_ring())
}

/// The broker, asked once: for reports.
pub(crate) fn ask_broker(settings: &Settings, socket: PathBuf) -> Result<NodeSigner, ClientError> {
    Client::connect(channel(settings, &socket))
}

/// Asks again while the answer may change, and tells why; somebody who is there but says nothing of use has `silence_max`.
fn until_there<T>(silence_max: Duration, ask: impl Fn() -> Result<T, ClientError>) -> Result<T, Failure> {
    let (mut heard, mut told) = (Instant::now(), None::<Instant>);
    loop {
        match ask() {
            Ok(answer) => return Ok(answer),
            Err(error)
                if error.kind() == ErrorKind::Retry && (is_starting(&error) || heard.elapsed() < silence_max) =>
            {
                if is_starting(&error) {
                    heard = Instant::now();
                }
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

/// Whether somebody is there and says that it is not ready yet.
fn is_starting(error: &ClientError) -> bool {
    matches!(error, ClientError::Refused(Refusal::Starting(_)))
}

/// The key encryption key behind a service.
struct RemoteKek<'a> {
    signer: &'a NodeSigner,
    socket: Option<PathBuf>,
}

impl Kek for RemoteKek<'_> {
    fn name(&self) -> String {
        match &self.socket {
            Some(socket) => format!("the key encryption key of the broker at {}", socket.display()),
            None => "the node's key encryption key".to_owned(),
        }
    }

    fn derive(&self, input: &[u8], out: &mut [u8; PRF_BYTES]) -> Result<(), DeviceError> {
        out.copy_from_slice(&self.signer.derive(input)?.0);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use bixi_hsm::service::ChannelError;

    use super::*;

    /// Its device may take ten minutes to judge the PIN.
    #[test]
    fn a_broker_that_says_what_it_waits_for_is_waited_for_and_a_silent_one_not_for_long() {
        const SILENCE: Duration = Duration::from_millis(100);
        let began = Instant::now();
        let answered = until_there(SILENCE, || match began.elapsed() < SILENCE * 4 {
            true => Err(Refusal::Starting("judging the PIN".to_owned()).into()),
            false => Ok(7),
        });
        assert_eq!(answered.unwrap(), 7);
        let asked = Cell::new(0);
        let silent = until_there(SILENCE, || {
            asked.set(asked.get() + 1);
            Err::<(), _>(ChannelError("nobody".to_owned()).into())
        });
        assert!(silent.unwrap_err().to_string().contains("nobody") && asked.get() > 1);
    }
}
