//! How a command fails: one message on standard error and an exit status that a service manager can act on.

use std::process::ExitCode;

use crate::console;

/// Exit statuses. A unit lists [`Status::WrongPin`] and [`Status::Configuration`] in `RestartPreventExitStatus`, because
/// another start cannot do better until a person has acted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Status {
    /// The command could not do its work.
    Fault = 1,
    /// The device refused the PIN (`EX_NOPERM`).
    WrongPin = 77,
    /// A file of the operator's cannot be used (`EX_CONFIG`).
    Configuration = 78,
    /// Stopped by Ctrl-C before the end.
    Interrupted = 130,
}

/// A failed command.
#[derive(Debug)]
pub(crate) struct Failure {
    status: Status,
    message: String,
}

impl Failure {
    pub(crate) fn new(status: Status, message: impl ToString) -> Self {
        Self { status, message: message.to_string() }
    }

    pub(crate) fn configuration(message: impl ToString) -> Self {
        Self::new(Status::Configuration, message)
    }

    pub(crate) fn report(self) -> ExitCode {
        if !self.message.is_empty() {
            console::say(&format!("bixi: {}", self.message));
        }
        ExitCode::from(self.status as u8)
    }
}

impl<E: Into<anyhow::Error>> From<E> for Failure {
    fn from(error: E) -> Self {
        Self::new(Status::Fault, format!("{:#}", error.into()))
    }
}
