//! Sessions of a device: bounded, waited for with a deadline, evicted on error. Shared by every backend that has sessions.
//!
//! A *login epoch* begins when [`Source::log_in`] succeeds and ends when the device forgets us (removed, reset, login
//! lost); handles found in one epoch are worthless in the next.
//!
//! Invariants:
//! - never more than `sessions_max` sessions are lent at once, and a panic of whoever works with one costs none;
//! - a session in which a call of the device failed is closed, never lent again; when the device or its login is lost
//!   ([`Source::ends_login`]), every idle session of that epoch is closed and the next caller logs in again;
//! - a device that has fewer sessions than `sessions_max` is not asked again and again for more: what it has is learnt;
//! - an error that concerns the PIN halts the pool: nothing reaches the device any more;
//! - no lock is held while the device is asked. A call into a library cannot be interrupted: the deadline bounds the wait for
//!   a free session, not the call, and what a call is at is told to whoever watches it ([`crate::phase`]).

use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use crate::device::{Cause, DeviceError};
use crate::phase::{self, Phase};

/// Counts logins; a handle is valid in one epoch.
pub type Epoch = u64;

/// A device as its pool sees it.
pub trait Source: Send + Sync {
    /// What a login lasts as long as; dropped when the login is lost.
    type Login: Send;
    /// What a caller works with; dropped to close it.
    type Session: Send;

    /// Whether a new login must wait until every session of the last one is closed.
    const EXCLUSIVE: bool;

    /// Log in.
    ///
    /// # Errors
    /// As the device says; one that [concerns the PIN](Cause::concerns_pin) halts the pool.
    fn log_in(&self) -> Result<Self::Login, DeviceError>;

    /// One more session of the present login.
    ///
    /// # Errors
    /// [`Cause::Busy`] when the device has no more: the caller then waits for one that comes back.
    fn open(&self) -> Result<Self::Session, DeviceError>;

    /// Whether a failed call says that the login, and with it every session, is lost; else only its own session is closed.
    fn ends_login(&self, error: &DeviceError) -> bool {
        matches!(error.cause, Cause::SessionLost | Cause::Absent | Cause::Fault)
    }
}

/// After so many lendings a device that had no more sessions is asked for one more.
const LENDINGS_UNTIL_ASKED_AGAIN: u32 = 4096;

/// Why work with a session failed.
#[derive(Debug)]
pub enum Failure {
    /// The device said so: the session is closed.
    Device(DeviceError),
    /// We said so: the session is sound.
    Ours(DeviceError),
}

impl From<DeviceError> for Failure {
    fn from(error: DeviceError) -> Self {
        Self::Ours(error)
    }
}

/// The sessions of one device.
pub struct Pool<S: Source> {
    source: S,
    sessions_max: usize,
    timeout: Duration,
    state: Mutex<State<S>>,
    changed: Condvar,
}

struct State<S: Source> {
    epoch: Epoch,
    login: Option<S::Login>,
    logging_in: bool,
    idle: Vec<S::Session>,
    in_use: usize,
    /// Who waits for any of this to change.
    waiting: usize,
    /// Most places at once: `sessions_max`, or fewer once the device had no more.
    places_max: usize,
    /// Since the device had no more.
    lendings: u32,
    /// Once set, nothing reaches the device any more.
    halted: Option<DeviceError>,
}

/// What a caller without a session does next.
enum Step<T> {
    Work(T),
    LogIn,
    Open,
    Wait,
}

/// A place in the pool and the session in it. Dropped without [`Lease::settle`], by a panic of whoever works with it, the
/// session is closed, and its place is free again.
struct Lease<'a, S: Source> {
    pool: &'a Pool<S>,
    session: Option<S::Session>,
    epoch: Epoch,
    /// Until it was freed together with the session that came back.
    has_place: bool,
}

impl<S: Source> Lease<'_, S> {
    /// Give the session back. After a failure of the device it is closed; after a lost login everything of its epoch is.
    fn settle(mut self, failure: Option<&DeviceError>) {
        let Some(error) = failure else {
            let mut state = self.pool.state();
            if self.epoch == state.epoch && state.login.is_some() {
                state.idle.extend(self.session.take());
                self.pool.free_place(state);
                self.has_place = false;
            }
            return;
        };
        if error.cause.concerns_pin() {
            self.pool.halt(error);
        }
        if self.pool.source.ends_login(error) {
            self.pool.forget_login(self.epoch);
        }
    }
}

impl<S: Source> Drop for Lease<'_, S> {
    fn drop(&mut self) {
        // Closed before its place is free: the device may have no other.
        drop(self.session.take());
        if self.has_place {
            self.pool.free_place(self.pool.state());
        }
    }
}

/// The turn of the one who logs in, however it ends.
struct Turn<'a, S: Source>(&'a Pool<S>);

impl<S: Source> Drop for Turn<'_, S> {
    fn drop(&mut self) {
        self.0.state().logging_in = false;
        self.0.changed.notify_all();
    }
}

impl<S: Source> Pool<S> {
    /// A pool that has not logged in yet; at least one session is allowed.
    pub fn new(source: S, sessions_max: usize, timeout: Duration) -> Self {
        let sessions_max = sessions_max.max(1);
        let state = State {
            epoch: 0,
            login: None,
            logging_in: false,
            idle: Vec::new(),
            in_use: 0,
            waiting: 0,
            places_max: sessions_max,
            lendings: 0,
            halted: None,
        };
        Self { source, sessions_max, timeout, state: Mutex::new(state), changed: Condvar::new() }
    }

    /// The device behind the sessions.
    pub fn source(&self) -> &S {
        &self.source
    }

    /// Run `work` with a session of a login. When the login was lost, log in again and run it once more.
    ///
    /// # Errors
    /// What `work` or the device answered; [`Cause::Busy`] when no session came free in time.
    pub fn with<T>(&self, work: impl Fn(&mut S::Session, Epoch) -> Result<T, Failure>) -> Result<T, DeviceError> {
        match self.attempt(&work) {
            Err(error) if error.cause == Cause::SessionLost => self.attempt(&work),
            result => result,
        }
    }

    /// Run `work` with a session of a login, once, whatever happens: for calls that change the device.
    ///
    /// # Errors
    /// As [`Pool::with`].
    pub fn once<T>(&self, work: impl Fn(&mut S::Session, Epoch) -> Result<T, Failure>) -> Result<T, DeviceError> {
        self.attempt(&work)
    }

    fn attempt<T>(&self, work: &impl Fn(&mut S::Session, Epoch) -> Result<T, Failure>) -> Result<T, DeviceError> {
        let mut lease = self.take()?;
        let epoch = lease.epoch;
        let _phase = phase::enter(Phase::Call);
        match work(lease.session.as_mut().expect("held until the lease ends"), epoch) {
            Ok(value) => {
                lease.settle(None);
                Ok(value)
            }
            Err(Failure::Ours(error)) => {
                lease.settle(None);
                Err(error)
            }
            Err(Failure::Device(error)) => {
                lease.settle(Some(&error));
                Err(error)
            }
        }
    }

    fn state(&self) -> MutexGuard<'_, State<S>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn take(&self) -> Result<Lease<'_, S>, DeviceError> {
        let began = Instant::now();
        loop {
            let mut state = self.state();
            match self.next_step(&mut state)? {
                Step::Work(lease) => return Ok(lease),
                Step::LogIn => {
                    drop(state);
                    self.log_in()?;
                    continue;
                }
                Step::Open => {
                    let lease = self.lease(&mut state, None);
                    drop(state);
                    if let Some(lease) = self.open(lease)? {
                        return Ok(lease);
                    }
                    state = self.state();
                    // What came back meanwhile is not waited for.
                    if !state.idle.is_empty() || state.in_use == 0 {
                        continue;
                    }
                }
                Step::Wait => {}
            }
            let left = self.timeout.saturating_sub(began.elapsed());
            if left.is_zero() {
                return Err(self.exhausted(&state));
            }
            state.waiting += 1;
            let (mut state, _) = self.changed.wait_timeout(state, left).unwrap_or_else(PoisonError::into_inner);
            state.waiting -= 1;
        }
    }

    /// Somebody's work is done.
    fn free_place(&self, mut state: MutexGuard<'_, State<S>>) {
        state.in_use -= 1;
        let is_waited_for = state.waiting > 0;
        drop(state);
        // A system call each time.
        if is_waited_for {
            self.changed.notify_all();
        }
    }

    fn next_step(&self, state: &mut State<S>) -> Result<Step<Lease<'_, S>>, DeviceError> {
        if let Some(error) = &state.halted {
            return Err(error.clone());
        }
        if state.login.is_none() {
            if state.logging_in || (S::EXCLUSIVE && state.in_use > 0) {
                return Ok(Step::Wait);
            }
            state.logging_in = true;
            return Ok(Step::LogIn);
        }
        Ok(match state.idle.pop() {
            Some(session) => Step::Work(self.lease(state, Some(session))),
            None if state.in_use < state.places_max => Step::Open,
            None => Step::Wait,
        })
    }

    fn lease(&self, state: &mut State<S>, session: Option<S::Session>) -> Lease<'_, S> {
        state.in_use += 1;
        if state.places_max < self.sessions_max {
            state.lendings += 1;
            if state.lendings >= LENDINGS_UNTIL_ASKED_AGAIN {
                (state.places_max, state.lendings) = (state.places_max + 1, 0);
            }
        }
        Lease { pool: self, session, epoch: state.epoch, has_place: true }
    }

    fn log_in(&self) -> Result<(), DeviceError> {
        let _turn = Turn(self);
        let _phase = phase::enter(Phase::Open);
        match self.source.log_in() {
            Ok(login) => {
                let mut state = self.state();
                state.epoch += 1;
                state.login = Some(login);
                (state.places_max, state.lendings) = (self.sessions_max, 0);
                Ok(())
            }
            Err(error) => {
                if error.cause.concerns_pin() {
                    self.halt(&error);
                }
                Err(error)
            }
        }
    }

    /// Opens a session for a place; `None` when the device has no more and others will come back.
    fn open<'a>(&'a self, mut lease: Lease<'a, S>) -> Result<Option<Lease<'a, S>>, DeviceError> {
        let _phase = phase::enter(Phase::Call);
        match self.source.open() {
            Ok(session) => {
                lease.session = Some(session);
                Ok(Some(lease))
            }
            Err(error) if error.cause == Cause::Busy && self.gives_up_place(&lease) => Ok(None),
            Err(error) => {
                lease.settle(Some(&error));
                Err(error)
            }
        }
    }

    /// The device has no more sessions than the others hold: learns how many, so that nobody asks for more. `false` when there
    /// are no others to wait for.
    fn gives_up_place(&self, lease: &Lease<'_, S>) -> bool {
        let mut state = self.state();
        let others = state.in_use - 1 + state.idle.len();
        if others > 0 && lease.epoch == state.epoch {
            state.places_max = state.places_max.min(others);
        }
        others > 0
    }

    fn halt(&self, error: &DeviceError) {
        tracing::error!(%error, "the device is not used any more");
        self.state().halted = Some(error.clone());
        self.changed.notify_all();
    }

    fn forget_login(&self, epoch: Epoch) {
        let mut state = self.state();
        if epoch != state.epoch {
            return;
        }
        let lost = (std::mem::take(&mut state.idle), state.login.take());
        // The device is told without the lock.
        drop(state);
        drop(lost);
    }

    fn exhausted(&self, state: &State<S>) -> DeviceError {
        let message = format!("no session came free in {} ms; {} are in use", self.timeout.as_millis(), state.in_use);
        DeviceError::new("session pool", Cause::Busy, message)
    }
}

#[cfg(test)]
mod tests;
