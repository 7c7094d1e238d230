//! Officers at the terminal, whatever standard input and output are: questions, and lines that nobody else is to see.

use std::fs::{File, OpenOptions};
use std::io::{self, BufRead as _, BufReader, Read as _, Write as _};

use bixi_runtime::escrow::{Passphrase, Secret};

use crate::console;

/// Where people are.
const PATH: &str = "/dev/tty";
/// Clears the screen and what has scrolled out of it, as xterm and the Linux console understand it.
pub(super) const CLEAR: &str = "\x1b[2J\x1b[3J\x1b[H";
/// Longest answer to a question.
const ANSWER_BYTES_MAX: u64 = 256;
/// Digits of a fingerprint that is compared.
const FINGERPRINT_DIGITS: usize = 16;

/// How often one thing is asked for: a person mistypes, and a program must end.
pub(super) const ATTEMPTS: usize = 5;

type Failure = Box<dyn std::error::Error + Send + Sync>;

/// The terminal of this process.
pub(super) struct Terminal {
    shown: File,
    typed: BufReader<File>,
}

impl Terminal {
    /// The terminal, if there is one.
    pub(super) fn open() -> io::Result<Self> {
        let shown = OpenOptions::new().read(true).write(true).open(PATH)?;
        Ok(Self { typed: BufReader::new(shown.try_clone()?), shown })
    }

    /// Shows a text.
    pub(super) fn show(&mut self, text: &str) -> io::Result<()> {
        self.shown.write_all(text.as_bytes())?;
        self.shown.flush()
    }

    /// What is typed after a question, without its line end. No secrets: it is shown while it is typed, and not wiped.
    pub(super) fn ask(&mut self, question: &str) -> Result<String, Failure> {
        self.show(question)?;
        let mut line = String::new();
        self.typed.by_ref().take(ANSWER_BYTES_MAX).read_line(&mut line)?;
        match line.strip_suffix('\n') {
            Some(answer) => Ok(answer.trim().to_owned()),
            None => Err("the terminal was closed".into()),
        }
    }
}

/// A passphrase that an officer chooses; one that is too short, or typed in two ways, is asked for again.
pub(super) fn choose_passphrase(text: &str) -> Result<Secret, Failure> {
    let mut attempt = 1;
    loop {
        match Passphrase::New(text.to_owned()).read() {
            Err(error) if attempt < ATTEMPTS => {
                console::say(&error.to_string());
                attempt += 1;
            }
            ended => return ended,
        }
    }
}

/// Whether two fingerprints are the same to people: case, spaces and colons do not matter.
pub(super) fn is_same(found: &str, told: &str) -> bool {
    let digits = |text: &str| text.chars().filter(char::is_ascii_alphanumeric).collect::<String>().to_ascii_lowercase();
    digits(found).len() == FINGERPRINT_DIGITS && digits(found) == digits(told)
}

/// Holds a key's fingerprint against the one that the officer named, or has him compare it.
pub(super) fn compare(name: &str, found: &str, told: Option<&str>) -> Result<(), Failure> {
    let other = |told: &str| {
        format!(
            "{name} has the fingerprint {found}, and not {told}: it is another key than is meant. Find out who put it there"
        )
    };
    if let Some(told) = told {
        return if is_same(found, told) { Ok(()) } else { Err(other(told).into()) };
    }
    let mut terminal = Terminal::open().map_err(|error| {
        format!("{name} has the fingerprint {found}, and there is no terminal to confirm that at ({error}): name it with --fingerprint")
    })?;
    terminal.show(&format!("{name}\nhas the fingerprint {found}\n"))?;
    match terminal.ask("Is that the one that was written down when it was made? yes or no: ")?.as_str() {
        "yes" => Ok(()),
        answer => Err(other(&format!("confirmed (the answer was {answer:?})")).into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fingerprint_is_compared_as_people_write_it() {
        let found = "0123456789abcdef";
        for told in [found, "0123 4567 89AB CDEF", "01:23:45:67:89:ab:cd:ef"] {
            assert!(is_same(found, told), "{told}");
            compare("key", found, Some(told)).unwrap();
        }
        for told in ["", "0123456789abcdee", "0123456789abcde", "0123456789abcdef0"] {
            let refused = compare("key", found, Some(told)).unwrap_err().to_string();
            assert!(refused.contains(found) && refused.contains("another key than is meant"), "{refused}");
        }
        assert!(!is_same("", ""), "no fingerprint is none that fits");
    }
}
