//! The sessions of a token behind the pool that backends share.
//!
//! A PKCS#11 login belongs to the whole application, so one login serves all sessions; it lasts as long as the token has a
//! session open, which is what the login here is.

use std::time::Duration;

use bixi_hsm::DeviceError;
use bixi_hsm::pin::PinMemory;
use bixi_hsm::pool::{self, Epoch, Source};
use bixi_platform::secret::Secret;
use cryptoki::context::{Function, Pkcs11};
use cryptoki::error::{Error, RvError};
use cryptoki::session::{Session, UserType};
use cryptoki::types::RawAuthPin;

use crate::device::TokenSelector;
use crate::error::device_error;
use crate::module;

/// A token and what opens it.
pub(crate) struct Token {
    pub module: Pkcs11,
    pub selector: TokenSelector,
    pub pin: Secret,
    pub memory: PinMemory,
}

impl Token {
    fn session(&self, what: &'static str) -> Result<Session, DeviceError> {
        let slot = module::find_slot_again(&self.module, &self.selector)?;
        self.module.open_rw_session(slot).map_err(|error| device_error(what, &error))
    }
}

impl Source for Token {
    /// Kept open and unused: a token logs out when its last session closes.
    type Login = Session;
    type Session = Session;

    const EXCLUSIVE: bool = false;

    fn log_in(&self) -> Result<Session, DeviceError> {
        let session = self.session("open the first session")?;
        let attempt = self.memory.begin(&self.pin)?;
        let pin = RawAuthPin::new(Box::new(self.pin.as_slice().to_vec()));
        let answer = match session.login_with_raw(UserType::User, &pin) {
            // A token without a user PIN has nothing to hold one against: nothing was judged, and nothing counted.
            Err(error @ Error::Pkcs11(RvError::UserPinNotInitialized, Function::Login)) => {
                attempt.withdraw()?;
                return Err(device_error("log in", &error));
            }
            Ok(()) | Err(Error::Pkcs11(RvError::UserAlreadyLoggedIn, Function::Login)) => Ok(()),
            Err(error) => Err(device_error("log in", &error)),
        };
        attempt.judged(answer)?;
        Ok(session)
    }

    fn open(&self) -> Result<Session, DeviceError> {
        self.session("open a session")
    }
}

/// The sessions of one token.
pub(crate) struct Pool(pool::Pool<Token>);

impl Pool {
    pub(crate) fn new(token: Token, sessions_max: usize, timeout: Duration) -> Self {
        Self(pool::Pool::new(token, sessions_max, timeout))
    }

    /// One more session, which the pool neither counts nor lends; it is worth something as long as the pool's login.
    pub(crate) fn open(&self) -> Result<Session, DeviceError> {
        self.0.source().open()
    }

    /// The login that is.
    pub(crate) fn epoch(&self) -> Result<Epoch, DeviceError> {
        self.0.with(|_, epoch| Ok(epoch))
    }

    /// Run `work`, which is `what` to an officer, with a logged-in session.
    pub(crate) fn with<T>(
        &self,
        what: &'static str,
        work: impl Fn(&Session, Epoch) -> Result<T, Failure>,
    ) -> Result<T, DeviceError> {
        self.0.with(|session, epoch| work(session, epoch).map_err(|failure| failure.told(what)))
    }

    /// The same, run once whatever happens: for work that changes the token.
    pub(crate) fn once<T>(
        &self,
        what: &'static str,
        work: impl Fn(&Session, Epoch) -> Result<T, Failure>,
    ) -> Result<T, DeviceError> {
        self.0.once(|session, epoch| work(session, epoch).map_err(|failure| failure.told(what)))
    }
}

/// Why work with a session failed.
pub(crate) enum Failure {
    /// The module said so: the session is closed.
    Module(Error),
    /// We said so: the session is sound.
    Ours(DeviceError),
    /// We said so of the session or its login: it is closed.
    Lost(DeviceError),
}

impl Failure {
    /// To the pool, of work that is `what` to an officer.
    fn told(self, what: &'static str) -> pool::Failure {
        match self {
            Failure::Module(error) => pool::Failure::Device(device_error(what, &error)),
            Failure::Lost(error) => pool::Failure::Device(error),
            Failure::Ours(error) => pool::Failure::Ours(error),
        }
    }
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
