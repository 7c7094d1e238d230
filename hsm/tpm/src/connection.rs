//! A connection to the TPM: a line, one session, the few keys loaded at present.
//!
//! A TPM has about three slots for loaded objects, and a persistent parent takes one while it is used: so at most two of ours
//! are loaded. Through the kernel's resource manager they stay loaded between two pieces of work, and the kernel flushes them
//! when the line ends. Elsewhere the slots are everybody's: what a piece of work loads is flushed at its end, whatever that is,
//! and the line is given up, because swtpm serves one caller at a time. See `flushing`.

mod flushing;

use std::io;
use std::time::{Duration, Instant};

use bixi_hsm::{Cause, DeviceError};
use zeroize::Zeroizing;

use crate::code::{AUTH_FAIL, BAD_AUTH, HANDLE, Remedy, ResponseCode};
use crate::command::{Answer, Command, CommandCode, Entity, Protection, response_code};
use crate::facts;
use crate::line::{Address, Line};
use crate::public::{PUBLIC_BYTES_MAX, name_of};
use crate::session::{Opening, SaltKey, Session};
use crate::store::Wrapped;
use crate::wire::{Malformed, Reader, Writer};

/// Most keys loaded at once.
const LOADED_MAX: usize = 2;
/// First and longest pause before a command is sent again.
const PAUSE_MIN: Duration = Duration::from_millis(2);
const PAUSE_MAX: Duration = Duration::from_millis(200);
/// `TPM_SU_CLEAR`.
const STARTUP_CLEAR: u16 = 0;

/// See the module.
pub(crate) struct Connection {
    address: Address,
    timeout: Duration,
    deadline: Instant,
    line: Option<Line>,
    /// Whether this piece of work began on a line that an earlier one left.
    reused: bool,
    /// How often the TPM had been reset when the line was opened.
    resets: Option<u32>,
    salt_key: Option<SaltKey>,
    session: Option<Session>,
    /// Least recently used first.
    loaded: Vec<Entity>,
    /// What others had loaded when the line was opened: never flushed.
    of_others: Vec<u32>,
    /// Something of ours may be loaded of which the handle is not known.
    unclear: bool,
}

impl Connection {
    /// A connection whose session will be salted by `salt_key`, the parent of all keys. Nothing is opened yet.
    pub(crate) fn new(address: Address, timeout: Duration, salt_key: Option<SaltKey>) -> Self {
        let deadline = Instant::now() + timeout;
        Self {
            address,
            timeout,
            deadline,
            line: None,
            reused: false,
            resets: None,
            salt_key,
            session: None,
            loaded: Vec::new(),
            of_others: Vec::new(),
            unclear: false,
        }
    }

    /// Begins a piece of work: it has the whole timeout, on a line to the TPM that has our parent.
    pub(crate) fn begin(&mut self) -> Result<(), DeviceError> {
        self.deadline = Instant::now() + self.timeout;
        self.reused = self.line.is_some();
        if self.reused {
            return Ok(());
        }
        let line = Line::open(&self.address, self.deadline).map_err(|error| self.unreachable(&error))?;
        self.line = Some(line);
        // A line that was not looked at is not kept: the next piece of work would trust it.
        self.look().inspect_err(|_| self.line = None)
    }

    fn look(&mut self) -> Result<(), DeviceError> {
        if let Some(key) = self.salt_key.clone() {
            self.check_parent(&key)?;
        }
        if !self.address.has_resource_manager() {
            self.resets = Some(self.reset_count()?);
            self.of_others = facts::loaded(self)?;
        }
        Ok(())
    }

    /// Ends a piece of work that went well, or failed by itself.
    pub(crate) fn rest(&mut self) {
        if !self.address.has_resource_manager() {
            self.close();
        }
    }

    /// The TPM must be the one that the keys belong to, before any authorization is tried: with another key at the parent's
    /// handle the session would have another key too, and a right PIN would look wrong.
    fn check_parent(&mut self, key: &SaltKey) -> Result<(), DeviceError> {
        let handle = key.entity.handle;
        let refused = |what: &str| {
            DeviceError::new(CommandCode::ReadPublic.name(), Cause::Setup, format!("{what} at {handle:#010x}"))
                .with_advice(
                    "this is another TPM, or it was cleared and the keys are gone, or its owner removed the object",
                )
        };
        match self.name_at(handle) {
            Ok(name) if name == key.entity.name => Ok(()),
            Ok(_) => Err(refused("the TPM has another key than the parent of this store")),
            Err(error) if ResponseCode::of(&error).is_some_and(|code| code.base() == HANDLE) => {
                Err(refused("the TPM has no parent of this store"))
            }
            Err(error) => Err(error),
        }
    }

    /// The name of a loaded or persistent key, by its public area.
    pub(crate) fn name_at(&mut self, handle: u32) -> Result<Vec<u8>, DeviceError> {
        let command = Command::bare(CommandCode::ReadPublic, vec![Entity { handle, name: Vec::new() }], Writer::new());
        let answer = self.run(command)?;
        let mut reader = Reader::new(&answer.parameters);
        let area = reader.sized(PUBLIC_BYTES_MAX, "public area").map_err(malformed(CommandCode::ReadPublic))?;
        Ok(name_of(area))
    }

    fn reset_count(&mut self) -> Result<u32, DeviceError> {
        let answer = self.run(Command::bare(CommandCode::ReadClock, Vec::new(), Writer::new()))?;
        let mut reader = Reader::new(&answer.parameters);
        // Time and clock, eight bytes each, stand before it.
        let read = reader.take(16, "clock").and_then(|_| reader.u32("reset count"));
        read.map_err(malformed(CommandCode::ReadClock))
    }

    /// Runs a command; its session is opened when there is none.
    pub(crate) fn run(&mut self, mut command: Command<'_>) -> Result<Answer, DeviceError> {
        let Some(protection) = command.protection else {
            let response = self.send(&command, &command.encode(None))?;
            return Answer::decode(&command, &response).map_err(malformed(command.code));
        };
        let mut session = match self.session.take() {
            Some(session) => session,
            None => self.open_session()?,
        };
        let authorization = session.authorize(&mut command, &protection);
        // Kept whatever follows, so that it is flushed.
        self.session = Some(session);
        let message = command.encode(Some(&authorization?));
        let response = self.send(&command, &message).map_err(|error| match protection.authorization {
            None => no_pin_was_judged(error),
            Some(_) => error,
        })?;
        let mut answer = Answer::decode(&command, &response).map_err(malformed(command.code))?;
        let session = self.session.as_mut().expect("put there above");
        session.accept(command.code, &mut answer, &protection).map_err(malformed(command.code))?;
        Ok(answer)
    }

    fn open_session(&mut self) -> Result<Session, DeviceError> {
        let (opening, command) = Opening::command(self.salt_key.as_ref())?;
        let answer = self.run(command)?;
        let session = opening.finish(&answer).map_err(malformed(CommandCode::StartAuthSession))?;
        self.unclear = false;
        Ok(session)
    }

    /// Sends a command until the TPM takes it, mending what can be mended.
    fn send(&mut self, command: &Command<'_>, message: &Writer) -> Result<Zeroizing<Vec<u8>>, DeviceError> {
        // Until whoever wanted it has it: see `adopt`.
        self.unclear |= command.returns_handle;
        let mut pause = PAUSE_MIN;
        let mut mended = Vec::new();
        loop {
            let response = self.exchange(message.as_slice())?;
            let code = match response_code(&response).map_err(malformed(command.code))? {
                0 => return Ok(response),
                code => ResponseCode(code),
            };
            let remedy = code.remedy();
            match remedy {
                Some(Remedy::Resend) if self.deadline.saturating_duration_since(Instant::now()) > pause => {
                    std::thread::sleep(pause);
                    pause = (pause * 2).min(PAUSE_MAX);
                }
                Some(remedy @ (Remedy::Startup | Remedy::SelfTest)) if !mended.contains(&remedy) => {
                    self.mend(remedy)?;
                    mended.push(remedy);
                }
                _ => return Err(code.error(command.code)),
            }
        }
    }

    /// Starts a TPM that nobody started, or lets it test what it has not tested yet.
    fn mend(&mut self, remedy: Remedy) -> Result<(), DeviceError> {
        let (code, parameters) = match remedy {
            Remedy::Startup => (CommandCode::Startup, Writer::new().u16(STARTUP_CLEAR)),
            _ => (CommandCode::SelfTest, Writer::new().u8(0)),
        };
        let message = Command::bare(code, Vec::new(), parameters).encode(None);
        let response = self.exchange(message.as_slice())?;
        match response_code(&response).map_err(malformed(code))? {
            0 => Ok(()),
            // Another caller was faster, or the test goes on: the command itself will tell.
            answer if matches!(ResponseCode(answer).remedy(), Some(Remedy::Startup | Remedy::Resend)) => Ok(()),
            answer => Err(ResponseCode(answer).error(code)),
        }
    }

    fn exchange(&mut self, message: &[u8]) -> Result<Zeroizing<Vec<u8>>, DeviceError> {
        let line = self
            .line
            .as_mut()
            .ok_or_else(|| DeviceError::new("connection", Cause::SessionLost, "the line to the TPM was lost"))?;
        line.exchange(message, self.deadline).map_err(|error| {
            self.line = None;
            self.unreachable(&error)
        })
    }

    fn unreachable(&self, error: &io::Error) -> DeviceError {
        let cause = match error.kind() {
            io::ErrorKind::TimedOut => Cause::Timeout,
            io::ErrorKind::PermissionDenied => Cause::Setup,
            io::ErrorKind::ResourceBusy => Cause::Busy,
            io::ErrorKind::InvalidData => Cause::BadAnswer,
            // What an earlier piece of work left may have ended since; a new line will show.
            _ if self.reused => Cause::SessionLost,
            _ => Cause::Absent,
        };
        let advice = match cause {
            Cause::Setup => "let the node's user read and write the device file (group tss, or a udev rule)",
            Cause::Busy => "another process holds the bare device file: use the resource manager's, /dev/tpmrm0",
            other => other.advice(),
        };
        DeviceError::new("TPM", cause, format!("{}: {error}", self.address)).with_advice(advice)
    }

    /// Loads a wrapped key, or finds it loaded.
    pub(crate) fn load(&mut self, key: &Wrapped) -> Result<Entity, DeviceError> {
        let name = name_of(&key.public);
        if let Some(at) = self.loaded.iter().position(|entity| entity.name == name) {
            let entity = self.loaded.remove(at);
            self.loaded.push(entity.clone());
            return Ok(entity);
        }
        let parameters = Writer::new().sized(&key.private).sized(&key.public);
        let command = Command::bare(CommandCode::Load, vec![self.parent()?], parameters).returning_handle();
        let answer = self.run_under_parent(command, Protection::by(&[]))?;
        let entity = Entity { handle: answer.handle.expect("asked for"), name };
        self.adopt(entity.clone());
        Ok(entity)
    }

    /// Runs a command that the parent's empty authorization allows. So a session begins: when the two sides do not have the
    /// same session key (a disturbed line, somebody between), it shows here, where no PIN is counted as wrong. What it makes takes
    /// a slot, and so does the parent meanwhile.
    pub(crate) fn run_under_parent(
        &mut self,
        command: Command<'_>,
        protection: Protection<'_>,
    ) -> Result<Answer, DeviceError> {
        while self.loaded.len() >= LOADED_MAX {
            let oldest = self.loaded.remove(0);
            self.flush(oldest.handle)?;
        }
        self.run(Command { protection: Some(protection), ..command }).map_err(no_pin_was_judged)
    }

    /// The parent of all keys.
    pub(crate) fn parent(&self) -> Result<Entity, DeviceError> {
        let key = self.salt_key.as_ref();
        key.map(|key| key.entity.clone())
            .ok_or_else(|| DeviceError::new("connection", Cause::Setup, "no parent key yet"))
    }

    /// Sessions are salted by `key` from now on, on this line.
    pub(crate) fn salt_with(&mut self, key: SaltKey) -> Result<(), DeviceError> {
        if let Some(session) = &self.session {
            self.flush(session.handle())?;
            self.session = None;
        }
        self.salt_key = Some(key);
        Ok(())
    }

    /// Ends the line, and what was known of the TPM with it; the next piece of work asks anew, on a session without a salt.
    pub(crate) fn give_up(&mut self) {
        self.close();
        self.salt_key = None;
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        self.close();
    }
}

/// The error of a command that no PIN authorized: nothing it answers is a verdict on one.
fn no_pin_was_judged(error: DeviceError) -> DeviceError {
    match ResponseCode::of(&error).map(ResponseCode::base) {
        Some(AUTH_FAIL | BAD_AUTH) => {
            let message = format!("{}: the session's key is not the TPM's, or the parent has a PIN", error.message);
            DeviceError { cause: Cause::SessionLost, message, ..error }.with_advice(Cause::SessionLost.advice())
        }
        _ => error,
    }
}

/// The error of an answer that is not what it must be.
pub(crate) fn malformed(code: CommandCode) -> impl Fn(Malformed) -> DeviceError {
    move |error| {
        DeviceError::new(code.name(), Cause::BadAnswer, format!("the TPM's answer is {error}"))
            .with_advice("what answers is no TPM, a broken one, or somebody between: stop using it and look")
    }
}
