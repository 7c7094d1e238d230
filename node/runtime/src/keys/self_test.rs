//! What a device shows at a start before anything is unlocked with it, as the node file wants it, and who is told.

use bixi_config::{Hsm, RandomTest};
use bixi_hsm::KeyDevice;
use bixi_hsm::audit::{Audit, AuditError, Durability, Event, Outcome};
use bixi_hsm::self_test::{self, RandomTested, Rule, SelfTestError};
use bixi_hsm::service::{Keys, RetryPolicy};
use bixi_hsm_randomness::power_on::Passed;

/// Tests the random bit generator by the rule that the node file names, and tells the log.
///
/// # Errors
/// For a broken one.
pub(crate) fn random(hsm: &Hsm, device: &dyn KeyDevice) -> Result<Option<RandomTested>, SelfTestError> {
    let Some(rule) = rule(hsm) else {
        tracing::warn!("the device's random bit generator is not tested: hsm.random_test is \"off\"");
        return Ok(None);
    };
    let tested = self_test::random(device, rule, super::retry(hsm))?;
    match tested.passed {
        Passed::AtOnce => tracing::info!(result = %tested, "random bit generator"),
        Passed::Repeated | Passed::Alarmed(_) => tracing::warn!(result = %tested, "random bit generator"),
    }
    Ok(Some(tested))
}

/// The rule that the node file names; nothing when the test is off.
pub(crate) fn rule(hsm: &Hsm) -> Option<Rule> {
    match hsm.random_test {
        RandomTest::PowerOn => Some(Rule::Bounded),
        RandomTest::Strict => Some(Rule::Standard),
        RandomTest::Off => None,
    }
}

/// Has the device sign and derive known inputs. The TLS key signs: the consensus key signs statements of consensus and nothing else.
pub(super) fn keys(device: &dyn KeyDevice, keys: &Keys, retry: RetryPolicy) -> Result<(), SelfTestError> {
    match (&keys.tls, &keys.kek) {
        (Some(tls), Some(kek)) => self_test::keys(device, tls, kek, retry),
        _ => Ok(()),
    }
}

/// Tells the audit trail what the tests found, which a start without an entry did not come to.
pub(super) fn tell(audit: &dyn Audit, tested: Option<&RandomTested>) -> Result<(), AuditError> {
    let random = tested.map_or_else(|| "not tested".to_owned(), ToString::to_string);
    let subject = format!("signature and derivation of known inputs are right; random bit generator: {random}");
    let event = Event { request: "self-test".to_owned(), subject, digest: None, outcome: Outcome::Answered };
    audit.record(&event, Durability::Grouped)
}
