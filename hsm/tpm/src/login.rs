//! Trying the PIN, once, and what the pool opens connections to.

use std::path::PathBuf;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bixi_hsm::pin::PinMemory;
use bixi_hsm::pool::Source;
use bixi_hsm::{Cause, DeviceError};
use bixi_platform::secret::Secret;

use crate::code::{LOCKOUT, ResponseCode};
use crate::command::CommandCode;
use crate::connection::Connection;
use crate::line::Address;
use crate::session::SaltKey;
use crate::store::Store;
use crate::{facts, key};

const DOMAIN: &[u8] = b"BIXI-TPM-LOGIN-V1";

/// What the pool opens connections to.
pub(crate) struct Tpm {
    address: Address,
    pub(crate) timeout: Duration,
    pub(crate) store: Store,
    salt_key: SaltKey,
    pub(crate) pin: Secret,
    memory: PinMemory,
    /// On which the PIN was tried: the first to be lent.
    first: Mutex<Option<Connection>>,
}

impl Tpm {
    pub(crate) fn new(address: Address, timeout: Duration, store: Store, pin: Secret, pin_state_path: PathBuf) -> Self {
        let salt_key = store.record.salt_key().expect("checked when the store was read");
        let memory = PinMemory::new(pin_state_path, timeout, CommandCode::Hmac.name());
        Self { address, timeout, store, salt_key, pin, memory, first: Mutex::new(None) }
    }

    fn connection(&self) -> Connection {
        Connection::new(self.address.clone(), self.timeout, Some(self.salt_key.clone()))
    }

    fn first(&self) -> MutexGuard<'_, Option<Connection>> {
        self.first.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A device that refuses our PIN is not asked again, by any process.
    pub(crate) fn remember(&self, error: DeviceError) -> DeviceError {
        if error.cause != Cause::WrongPin {
            return error;
        }
        // One that cannot be noted is told by the next start.
        if let Err(unnoted) = self.memory.note_refused(&self.pin) {
            tracing::error!(error = %unnoted, "the device's verdict on a PIN could not be noted");
        }
        error
    }

    /// The turn to try a PIN is taken before the line, and the line given up before the turn: on a line that serves one caller
    /// at a time two processes would wait for each other otherwise. The attempt is noted last, when the TPM has answered all that
    /// goes before: a process that is ended while a TPM hangs has not tried its PIN.
    fn try_pin(&self, connection: &mut Connection) -> Result<(), DeviceError> {
        let turn = self.memory.turn()?;
        turn.check(&self.pin)?;
        self.make_ready(connection)?;
        let attempt = turn.begin(&self.pin)?;
        let shown = key::hmac(connection, &self.store.record.login, self.pin.as_slice(), DOMAIN).map(drop);
        connection.rest();
        match shown {
            // Locked since it was looked at: the PIN was not judged.
            Err(error) if is_lockout(&error) => attempt.withdraw().and(Err(error)),
            shown => attempt.judged(shown),
        }
    }

    /// All that goes before the PIN: the TPM is not locked, and its session's key is ours.
    fn make_ready(&self, connection: &mut Connection) -> Result<(), DeviceError> {
        connection.begin()?;
        facts::lockout(connection)?.refuse_when_locked()?;
        connection.load(&self.store.record.login).map(drop)
    }
}

fn is_lockout(error: &DeviceError) -> bool {
    ResponseCode::of(error).is_some_and(|code| code.base() == LOCKOUT)
}

impl Source for Tpm {
    type Login = ();
    type Session = Connection;

    const EXCLUSIVE: bool = false;

    fn log_in(&self) -> Result<(), DeviceError> {
        let mut connection = self.connection();
        self.try_pin(&mut connection)?;
        *self.first() = Some(connection);
        Ok(())
    }

    fn open(&self) -> Result<Connection, DeviceError> {
        let first = self.first().take();
        Ok(first.unwrap_or_else(|| self.connection()))
    }
}
