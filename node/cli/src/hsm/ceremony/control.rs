//! Dual control: a step is taken when two different officers have confirmed it.

use std::path::{Path, PathBuf};

use bixi_runtime::escrow::{Passphrase, Secret};

use crate::hsm::terminal::{Terminal, choose_passphrase};

/// Wrong passphrases for one step before the ceremony ends.
const ATTEMPTS: usize = 3;

type Failure = Box<dyn std::error::Error + Send + Sync>;

/// The officers of a ceremony; their passphrases are in locked memory, and nowhere when it ends.
pub(super) struct Control {
    officers: Vec<(String, Secret)>,
    source: Source,
}

enum Source {
    Terminal,
    /// A rehearsal without people; counts the confirmations, so that everybody has a turn.
    Files {
        directory: PathBuf,
        turn: usize,
    },
}

impl Control {
    /// Has every officer choose a passphrase for this ceremony.
    pub(super) fn register(names: &[String], files: Option<&Path>) -> Result<Self, Failure> {
        let source = match files {
            Some(directory) => Source::Files { directory: directory.to_owned(), turn: 0 },
            None => Source::Terminal,
        };
        let officers = names.iter().enumerate().map(|(place, name)| {
            let passphrase = match &source {
                Source::Terminal => choose_passphrase(&format!("passphrase of {name} for this ceremony"))?,
                Source::Files { directory, .. } => file(directory, place).read()?,
            };
            Ok((name.clone(), passphrase))
        });
        Ok(Self { officers: officers.collect::<Result<_, Failure>>()?, source })
    }

    /// The names of two officers who agree to a step.
    pub(super) fn confirm(&mut self, step: &str) -> Result<[String; 2], Failure> {
        let first = self.one(step, None)?;
        let second = self.one(step, Some(first))?;
        Ok([first, second].map(|place| self.officers[place].0.clone()))
    }

    /// The place of an officer who agrees and is not `other`.
    fn one(&mut self, step: &str, other: Option<usize>) -> Result<usize, Failure> {
        for _ in 0..ATTEMPTS {
            let (place, passphrase) = match &mut self.source {
                Source::Files { directory, turn } => {
                    let place = *turn % self.officers.len();
                    *turn += 1;
                    (place, file(directory, place))
                }
                Source::Terminal => {
                    let place = choose(step, &self.officers)?;
                    (place, Passphrase::Known(format!("passphrase of {}", self.officers[place].0)))
                }
            };
            if Some(place) == other {
                crate::console::say("ceremony: another officer has to confirm it, too");
                continue;
            }
            if self.officers[place].1 == passphrase.read()? {
                return Ok(place);
            }
            crate::console::say("ceremony: that is not the passphrase of this officer");
        }
        Err(format!("step {step:?} was not confirmed by two officers").into())
    }
}

fn file(directory: &Path, place: usize) -> Passphrase {
    Passphrase::File(directory.join((place + 1).to_string()))
}

/// Which officer confirms.
fn choose(step: &str, officers: &[(String, Secret)]) -> Result<usize, Failure> {
    let mut terminal = Terminal::open()?;
    loop {
        for (number, (name, _)) in (1..).zip(officers) {
            terminal.show(&format!("  {number}  {name}\n"))?;
        }
        let line = terminal.ask(&format!("Who confirms {step:?}? Number: "))?;
        match line.parse::<usize>().ok().and_then(|number| number.checked_sub(1)) {
            Some(place) if place < officers.len() => return Ok(place),
            _ => terminal.show("That is no number of an officer.\n")?,
        }
    }
}
