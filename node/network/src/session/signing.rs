//! Signatures of a device, made from asynchronous code: rustls calls its key in the middle of a handshake and waits.
//!
//! A worker of tokio's that has to wait hands its other tasks to another one first (`block_in_place`), so that a slow device
//! slows handshakes only; and no more than a few signatures are asked for at once, so that handshakes leave the device to
//! consensus.

use std::fmt;
use std::sync::Arc;

use tokio::runtime::Handle;
use tokio::sync::Semaphore;

use crate::tls::{TlsKey, TlsKeyError};

/// Places of those who may wait for the device.
#[derive(Clone)]
pub(crate) struct SigningSlots(Arc<Semaphore>);

impl SigningSlots {
    pub(crate) fn new(at_once_max: usize) -> Self {
        Self(Arc::new(Semaphore::new(at_once_max.max(1))))
    }

    /// Runs `sign` when there is a place. Only on workers of a runtime with several threads.
    pub(crate) fn run<T>(&self, sign: impl FnOnce() -> T) -> T {
        tokio::task::block_in_place(|| {
            let _slot = Handle::current().block_on(self.0.acquire()).expect("the semaphore is never closed");
            sign()
        })
    }
}

impl fmt::Debug for SigningSlots {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SigningSlots({} free)", self.0.available_permits())
    }
}

/// A TLS key that waits for a place.
#[derive(Debug)]
pub(crate) struct Queued {
    pub(crate) key: Arc<dyn TlsKey>,
    pub(crate) slots: SigningSlots,
}

impl TlsKey for Queued {
    fn sign(&self, content: &[u8]) -> Result<[u8; 64], TlsKeyError> {
        self.slots.run(|| self.key.sign(content))
    }

    fn public_key(&self) -> [u8; 64] {
        self.key.public_key()
    }
}
