//! How a command fails: one message on standard error and an exit status that a service manager can act on.

use crate::console;

/// What `bixi --help` ends with.
pub(crate) const STATUSES: &str = "\
Exit status:
    0  done, or stopped when asked
    1  could not be done; the reason is the last line of standard error
    2  the command line is wrong, or asks for what this release does not have
   65  `bixi db verify`, `bixi db seal` or `bixi db scrub` found damage
   71  a process that waits for the key device does not end whatever is done: reset the device or the machine before another start
   75  the key device did not answer to the PIN, which is held back until a person has acted; another start does no harm
   77  the key device refused the PIN: correct it before another start
   78  a file cannot be used, of the operator's, or guard, audit trail or vault, or the ledger is not sealed and verified: put it right before another start
   79  the key device failed its self-test: look at it before another start
  130  `bixi demo` was interrupted before its report
A second signal ends a command on the spot, with the signal's own status.";

/// Exit statuses. A unit lists [`Status::UNTIL_A_PERSON_ACTS`] in `RestartPreventExitStatus`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Status {
    /// The command could not do its work.
    Fault = 1,
    /// The command line asks for what this release does not have; clap ends a wrong one with the same status.
    Usage = 2,
    /// What is on disk is not whole (`EX_DATAERR`).
    Damaged = 65,
    /// A worker that was killed waits for the device, in the kernel, and nothing ends it (`EX_OSERR`).
    StuckDevice = 71,
    /// The device never answered to the PIN, which is not sent again by itself (`EX_TEMPFAIL`).
    PinUnanswered = 75,
    /// The device refused the PIN (`EX_NOPERM`).
    WrongPin = 77,
    /// A file of the operator's cannot be used, or one that only a person can put right (`EX_CONFIG`).
    Configuration = 78,
    /// The key device failed its self-test.
    UnsoundDevice = 79,
    /// Stopped by Ctrl-C before the end.
    Interrupted = 130,
}

impl Status {
    /// Another start cannot do better until a person has acted.
    pub(crate) const UNTIL_A_PERSON_ACTS: [Self; 4] =
        [Self::StuckDevice, Self::WrongPin, Self::Configuration, Self::UnsoundDevice];
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

    /// The same words, with another status.
    pub(crate) fn with_status(self, status: Status) -> Self {
        Self { status, ..self }
    }

    pub(crate) fn configuration(message: impl ToString) -> Self {
        Self::new(Status::Configuration, message)
    }

    /// Whether a person ended the command before it was done.
    pub(crate) fn is_interruption(&self) -> bool {
        self.status == Status::Interrupted
    }

    /// Why it failed.
    pub(crate) fn message(&self) -> &str {
        &self.message
    }

    /// Says it, and returns the exit status.
    pub(crate) fn report(self) -> u8 {
        if !self.message.is_empty() {
            console::say(&format!("bixi: {}", self.message));
        }
        self.status as u8
    }
}

impl<E: Into<anyhow::Error>> From<E> for Failure {
    fn from(error: E) -> Self {
        Self::new(Status::Fault, words(&error.into()))
    }
}

/// The error and its causes. A cause that the text already holds, as the texts of many error types do, is not said again.
fn words(error: &anyhow::Error) -> String {
    let mut text = error.to_string();
    for cause in error.chain().skip(1).map(ToString::to_string) {
        if !text.contains(&cause) {
            text.push_str(": ");
            text.push_str(&cause);
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cause_is_said_once() {
        let disk = std::io::Error::other("disk full");
        let told = anyhow::Error::new(disk).context("data/vault: disk full").context("making the vault");
        assert_eq!(words(&told), "making the vault: data/vault: disk full");
    }
}
