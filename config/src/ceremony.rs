//! A ceremony's plan: who takes part, what is done, in which order.

use std::fmt::Write as _;
use std::path::Path;

use crate::diagnostic::ConfigErrors;
use crate::document::{Section, as_text, parse};

const OFFICERS: std::ops::RangeInclusive<usize> = 2..=16;
const STEPS_MAX: usize = 16;
const TITLE_BYTES_MAX: usize = 200;
const NAME_BYTES_MAX: usize = 64;

/// What a ceremony does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CeremonyStep {
    /// Initialise the token and make the node's keys in it.
    Keys,
    /// Make vault and sign-once guard.
    Seal,
    /// Make an escrow of the vault and give its shares out.
    Escrow,
    /// Have every officer's page held against the vault's record.
    Check,
    /// Bring the node back on a new device by officers' shares.
    Recover,
    /// List who can open the vault.
    Slots,
}

const STEPS: [(&str, CeremonyStep); 6] = [
    ("keys", CeremonyStep::Keys),
    ("seal", CeremonyStep::Seal),
    ("escrow", CeremonyStep::Escrow),
    ("check", CeremonyStep::Check),
    ("recover", CeremonyStep::Recover),
    ("slots", CeremonyStep::Slots),
];

impl CeremonyStep {
    /// As the plan names it.
    pub fn word(self) -> &'static str {
        crate::document::word_of(&STEPS, self)
    }
}

/// A plan.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CeremonyPlan {
    /// What it is for.
    pub title: String,
    /// Officers needed to recover from the escrow.
    pub threshold: usize,
    /// Who takes part; each is given a share.
    pub officers: Vec<String>,
    /// What is done.
    pub steps: Vec<CeremonyStep>,
}

impl CeremonyPlan {
    /// Reads a plan.
    ///
    /// # Errors
    /// All that is wrong with it, each with its line.
    pub fn parse(file: &Path, text: &str) -> Result<Self, ConfigErrors> {
        let plan = parse(file, text, read)?;
        Ok(plan.expect("a missing part was reported as an error"))
    }

    /// The file of a plan; [`Self::parse`] reads it back unchanged.
    pub fn render(&self) -> String {
        let mut out = String::new();
        let steps: Vec<String> = self.steps.iter().map(|step| format!("{:?}", step.word())).collect();
        write!(
            out,
            "title = {}\nthreshold = {}\nsteps = [{}]\n",
            crate::document::quoted(&self.title),
            self.threshold,
            steps.join(", ")
        )
        .expect("writing to a String cannot fail");
        for officer in &self.officers {
            write!(out, "\n[[officer]]\nname = {}\n", crate::document::quoted(officer))
                .expect("writing to a String cannot fail");
        }
        out
    }
}

fn read(root: &mut Section<'_, '_, '_>) -> Option<CeremonyPlan> {
    let title = root.required("title", "a line of 1 to 200 bytes", |value| {
        as_text(value).filter(|text| is_line(text, TITLE_BYTES_MAX))
    });
    let threshold = root.integer("threshold", 2, 2..=*OFFICERS.end() as u64) as usize;
    let expected = format!("one of {}", STEPS.map(|(word, _)| word).join(", "));
    let steps = root.list("steps", STEPS_MAX, &expected, Vec::new(), |value| {
        let word = as_text(value)?;
        STEPS.iter().find(|(known, _)| *known == word).map(|(_, step)| *step)
    });
    let officers: Vec<Option<String>> = root.sections("officer", |section| {
        section.required("name", "a name of 1 to 64 bytes", |value| {
            as_text(value).filter(|text| is_line(text, NAME_BYTES_MAX))
        })
    });
    check(root, threshold, &steps, officers.len());
    let officers: Vec<String> = officers.into_iter().collect::<Option<_>>()?;
    let twin = officers.iter().enumerate().find(|(place, name)| officers[..*place].contains(name));
    if let Some((_, name)) = twin {
        root.contradiction("officer", format!("two officers are called {name:?}"));
    }
    Some(CeremonyPlan { title: title?, threshold, officers, steps })
}

fn check(root: &mut Section<'_, '_, '_>, threshold: usize, steps: &[CeremonyStep], officers: usize) {
    if steps.is_empty() {
        root.contradiction("steps", "expected at least one step");
    }
    if !OFFICERS.contains(&officers) {
        let range = format!("{} to {}", OFFICERS.start(), OFFICERS.end());
        root.contradiction("officer", format!("expected {range} [[officer]] tables, found {officers}"));
    } else if threshold > officers {
        root.contradiction("threshold", format!("{threshold} of {officers} officers cannot be"));
    }
}

fn is_line(text: &str, bytes_max: usize) -> bool {
    (1..=bytes_max).contains(&text.len()) && !text.chars().any(char::is_control)
}

#[cfg(test)]
mod tests {
    use super::*;

    const PLAN: &str = "title = \"Keys of node0\"\nthreshold = 2\nsteps = [\"keys\", \"escrow\"]\n\n\
                        [[officer]]\nname = \"Li Wei\"\n\n[[officer]]\nname = \"王芳\"\n";

    fn errors(text: &str) -> Vec<String> {
        let errors = CeremonyPlan::parse(Path::new("plan.toml"), text).unwrap_err();
        errors.0.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn a_plan_is_read_and_written_the_same() {
        let plan = CeremonyPlan::parse(Path::new("plan.toml"), PLAN).unwrap();
        assert_eq!(plan.officers, ["Li Wei", "王芳"]);
        assert_eq!((plan.threshold, &plan.steps[..]), (2, &[CeremonyStep::Keys, CeremonyStep::Escrow][..]));
        assert_eq!(plan.render(), PLAN);
    }

    #[test]
    fn all_that_is_wrong_is_told_at_once() {
        let wrong = PLAN.replace("\"escrow\"", "\"escrw\"").replace("threshold = 2", "threshold = 1");
        let told = errors(&wrong);
        assert!(told.len() == 2 && told.iter().any(|one| one.contains("plan.toml:3")), "{told:?}");
        assert!(errors(&PLAN.replace("王芳", "Li Wei"))[0].contains("two officers"));
        assert!(errors(&PLAN.replace("threshold = 2", "threshold = 3"))[0].contains("3 of 2"));
        assert!(errors(&PLAN.replace("title = \"Keys of node0\"\n", "")).len() == 1);
        assert!(errors(&PLAN.replace("[\"keys\", \"escrow\"]", "[]"))[0].contains("at least one step"));
        assert!(errors(PLAN.split("\n\n[[officer]]\nname = \"王").next().unwrap())[0].contains("found 1"));
    }
}
