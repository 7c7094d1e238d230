//! Power-on self-tests: known answers of every selected kernel, run before the process serves anybody.
//!
//! A failure means that this processor or this build computes wrongly: the caller must stop.

mod answers;

use crate::sm2::{self, PrivateKey};
use crate::{Random, cpu};
use std::sync::OnceLock;

/// A passed test.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Report {
    /// What was tested, and against what.
    pub test: &'static str,
    /// The kernel that computed it.
    pub kernel: &'static str,
}

/// A kernel computes wrongly; the process must not go on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SelfTestError {
    /// The answer differs from the known one.
    #[error("self-test `{test}` failed on kernel `{kernel}`: stop; try BIXI_CPU=portable, and report the processor")]
    WrongAnswer {
        /// What was tested.
        test: &'static str,
        /// The kernel at fault.
        kernel: &'static str,
    },
}

/// Runs all tests; the first failure ends it.
pub fn run() -> Result<Vec<Report>, SelfTestError> {
    run_all(&answers::TESTS)
}

/// Known answers for keys with wide tables, which are too large for every start: run once a process, before the first such key is used.
pub(crate) fn run_for_wide_tables() -> Result<(), SelfTestError> {
    static RESULT: OnceLock<Result<(), SelfTestError>> = OnceLock::new();
    *RESULT.get_or_init(|| run_all(&[answers::WIDE_TABLES]).map(drop))
}

/// One known-answer test.
struct Test {
    name: &'static str,
    /// The operation whose selected kernel it exercises.
    operation: &'static str,
    passes: fn() -> bool,
}

fn run_all(tests: &[Test]) -> Result<Vec<Report>, SelfTestError> {
    let selected = cpu::selected();
    let run = |test: &Test| {
        let kernel = selected.iter().find(|s| s.operation == test.operation).map_or("unknown", |s| s.kernel);
        if (test.passes)() {
            Ok(Report { test: test.name, kernel })
        } else {
            Err(SelfTestError::WrongAnswer { test: test.name, kernel })
        }
    };
    tests.iter().map(run).collect()
}

/// Pairwise consistency of a key pair: its signature verifies, and does not verify a changed digest.
pub fn check_pair(key: &PrivateKey, rng: &mut dyn Random) -> Result<(), sm2::KeyError> {
    sm2::check_pair(key, rng)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_selected_operation_is_tested_and_passes() {
        let reports = run().unwrap();
        assert_eq!(reports.len(), answers::TESTS.len());
        assert!(reports.iter().all(|report| report.kernel != "unknown"));
        for selected in cpu::selected() {
            assert!(answers::TESTS.iter().any(|test| test.operation == selected.operation), "{selected:?}");
        }
    }

    #[test]
    fn wide_tables_pass() {
        assert_eq!(run_for_wide_tables(), Ok(()));
        assert!(cpu::selected().iter().any(|selected| selected.operation == answers::WIDE_TABLES.operation));
    }

    #[test]
    fn a_wrong_answer_names_test_and_kernel() {
        let error = run_all(&[Test { name: "broken", operation: "sm4", passes: || false }]).unwrap_err();
        assert_eq!(error, SelfTestError::WrongAnswer { test: "broken", kernel: cpu::selected()[2].kernel });
        assert!(error.to_string().contains("broken") && error.to_string().contains("portable"));
    }
}
