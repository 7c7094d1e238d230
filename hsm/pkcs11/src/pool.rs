//! Sessions: bounded, logged in once, evicted on error.
//!
//! A PKCS#11 login belongs to the whole application, so one login serves all sessions. A *login epoch* ends when the
//! device forgets us (removed, reset, session lost); handles found in one epoch are worthless in the next.
//! A call into a module cannot be interrupted: the deadline bounds the wait for a free session, not the call.

use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use bixi_hsm::{Cause, DeviceError};
use bixi_platform::secret::Secret;
use cryptoki::context::{Function, Pkcs11};
use cryptoki::error::{Error, RvError};
use cryptoki::session::{Session, UserType};
use cryptoki::types::RawAuthPin;

use crate::device::TokenSelector;
use crate::error::device_error;
use crate::module;
use crate::pin::PinMemory;

/// Counts logins; a handle is valid in one epoch.
pub(crate) type Epoch = u64;

/// The sessions of one token.
pub(crate) struct Pool {
    module: Pkcs11,
    selector: TokenSelector,
    pin: Secret,
    memory: PinMemory,
    sessions_max: usize,
    timeout: Duration,
    state: Mutex<State>,
    returned: Condvar,
}

#[derive(Default)]
struct State {
    epoch: Epoch,
    /// Kept open and unused while logged in: a token logs out when its last session closes.
    anchor: Option<Session>,
    idle: Vec<Session>,
    in_use: usize,
    /// Once set, nothing reaches the device any more.
    halted: Option<DeviceError>,
}

/// A session taken from the pool. Dropped without [`Lease::settle`], by a panic of whoever works with it, it is closed, and
/// its place is free again.
struct Lease<'a> {
    pool: &'a Pool,
    session: Option<Session>,
    epoch: Epoch,
}

impl Lease<'_> {
    fn session(&self) -> &Session {
        self.session.as_ref().expect("held until the lease ends")
    }

    /// Give the session back. After a failure it is closed; after a lost login everything of its epoch is.
    fn settle(mut self, failure: Option<&DeviceError>) {
        let mut state = self.pool.state();
        let lost =
            failure.is_some_and(|error| matches!(error.cause, Cause::SessionLost | Cause::Absent | Cause::Fault));
        if lost && self.epoch == state.epoch {
            state.idle.clear();
            state.anchor = None;
        } else if failure.is_none() && self.epoch == state.epoch {
            state.idle.extend(self.session.take());
        }
    }
}

impl Drop for Lease<'_> {
    fn drop(&mut self) {
        // Closed before its place is free: the device may have no other.
        drop(self.session.take());
        self.pool.state().in_use -= 1;
        self.pool.returned.notify_one();
    }
}

impl Pool {
    pub(crate) fn new(
        module: Pkcs11,
        selector: TokenSelector,
        pin: Secret,
        memory: PinMemory,
        sessions_max: usize,
        timeout: Duration,
    ) -> Self {
        let state = Mutex::new(State::default());
        Self { module, selector, pin, memory, sessions_max, timeout, state, returned: Condvar::new() }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Run `work` with a logged-in session. When the login was lost, log in again and run it once more.
    pub(crate) fn with<T>(
        &self,
        what: &'static str,
        work: impl Fn(&Session, Epoch) -> Result<T, Failure>,
    ) -> Result<T, DeviceError> {
        match self.attempt(what, &work) {
            Err(error) if error.cause == Cause::SessionLost => self.attempt(what, &work),
            result => result,
        }
    }

    fn attempt<T>(
        &self,
        what: &'static str,
        work: &impl Fn(&Session, Epoch) -> Result<T, Failure>,
    ) -> Result<T, DeviceError> {
        let lease = self.take()?;
        match work(lease.session(), lease.epoch) {
            Ok(value) => {
                lease.settle(None);
                Ok(value)
            }
            Err(Failure::Ours(error)) => {
                lease.settle(None);
                Err(error)
            }
            Err(Failure::Module(error)) => {
                let error = device_error(what, &error);
                lease.settle(Some(&error));
                Err(error)
            }
        }
    }

    fn take(&self) -> Result<Lease<'_>, DeviceError> {
        let began = Instant::now();
        let mut state = self.state();
        loop {
            if let Some(error) = &state.halted {
                return Err(error.clone());
            }
            self.ensure_login(&mut state)?;
            if let Some(session) = state.idle.pop() {
                return Ok(self.lease(&mut state, session));
            }
            if state.in_use < self.sessions_max
                && let Some(session) = self.open_another(&state)?
            {
                return Ok(self.lease(&mut state, session));
            }
            let left = self.timeout.saturating_sub(began.elapsed());
            if left.is_zero() {
                return Err(self.exhausted(state.in_use));
            }
            state = self.returned.wait_timeout(state, left).unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    fn lease(&self, state: &mut State, session: Session) -> Lease<'_> {
        state.in_use += 1;
        Lease { pool: self, session: Some(session), epoch: state.epoch }
    }

    fn exhausted(&self, in_use: usize) -> DeviceError {
        let message = format!("no session came free in {} ms; {in_use} are in use", self.timeout.as_millis());
        DeviceError::new("session pool", Cause::Busy, message)
    }

    /// One more session; `None` when the device has no more and others will come back.
    fn open_another(&self, state: &State) -> Result<Option<Session>, DeviceError> {
        let (slot, _) = module::find_slot(&self.module, &self.selector)?;
        match self.module.open_rw_session(slot) {
            Ok(session) => Ok(Some(session)),
            Err(Error::Pkcs11(RvError::SessionCount, _)) if state.in_use > 0 => Ok(None),
            Err(error) => Err(device_error("open a session", &error)),
        }
    }

    fn ensure_login(&self, state: &mut State) -> Result<(), DeviceError> {
        if state.anchor.is_some() {
            return Ok(());
        }
        let (slot, _) = module::find_slot(&self.module, &self.selector)?;
        let session =
            self.module.open_rw_session(slot).map_err(|error| device_error("open the first session", &error))?;
        if let Err(error) = self.login(&session) {
            if error.cause.concerns_pin() {
                tracing::error!(%error, "the device is not used any more");
                state.halted = Some(error.clone());
                self.returned.notify_all();
            }
            return Err(error);
        }
        state.epoch += 1;
        state.anchor = Some(session);
        Ok(())
    }

    fn login(&self, session: &Session) -> Result<(), DeviceError> {
        let attempt = self.memory.begin(&self.pin)?;
        let pin = RawAuthPin::new(Box::new(self.pin.as_slice().to_vec()));
        match session.login_with_raw(UserType::User, &pin) {
            Ok(()) | Err(Error::Pkcs11(RvError::UserAlreadyLoggedIn, Function::Login)) => attempt.forget(),
            Err(error) => {
                let error = device_error("log in", &error);
                match error.cause {
                    Cause::WrongPin => attempt.refuse()?,
                    _ => attempt.forget()?,
                }
                Err(error)
            }
        }
    }
}

/// Why work with a session failed.
pub(crate) enum Failure {
    /// The module said so: the session is closed.
    Module(Error),
    /// We said so: the session is sound.
    Ours(DeviceError),
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        Failure::Module(error)
    }
}

impl From<DeviceError> for Failure {
    fn from(error: DeviceError) -> Self {
        Failure::Ours(error)
    }
}

#[cfg(test)]
mod tests;
