//! Whether those who are connected may be so still: looked at whenever the chain's nodes change, and once a minute for the sake of
//! certificates, which end while nobody does anything. Here, and nowhere on the network's workers, the ledger is read for them.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use bixi_network::{Network, pki};
use bixi_types::NodeId;

use super::members::Members;
use crate::health::Certificates;

/// How often the chain's nodes are read: how long one who joins may have to wait at the door.
pub(super) const PERIOD: Duration = Duration::from_secs(1);
/// How long a session may outlive its certificate.
const CERTIFICATES_PERIOD: Duration = Duration::from_secs(60);

/// A certificate that ends within so many days is a warning, once for each of them.
const WARNING_DAYS: [i64; 3] = [30, 7, 1];

/// Looks again and again.
pub(super) struct Recheck {
    network: Network,
    members: Arc<Members>,
    known: Arc<BTreeSet<NodeId>>,
    certificates: Arc<Certificates>,
    certificates_at: Option<Instant>,
    warnings: Warnings,
}

impl Recheck {
    pub(super) fn new(network: Network, members: Arc<Members>, certificates: Arc<Certificates>) -> Self {
        let known = members.known();
        Self { network, members, known, certificates, certificates_at: None, warnings: Warnings::default() }
    }

    pub(super) fn look(&mut self) {
        let has_changed = self.follow_members();
        let is_due = self.certificates_at.is_none_or(|at| at.elapsed() >= CERTIFICATES_PERIOD);
        if is_due {
            self.certificates_at = Some(Instant::now());
            let now_s = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
            let ends = self.members.certificate_ends(&self.network);
            for (owner, not_after_s) in &ends {
                if let Some(days) = self.warnings.due(owner, *not_after_s, now_s) {
                    tracing::warn!(
                        certificate = owner,
                        days,
                        "a certificate ends soon; have a new one issued and reload"
                    );
                }
            }
            self.certificates.set(ends);
        }
        if has_changed || is_due {
            self.network.recheck();
        }
    }

    /// Whether other nodes belong to the chain than the last time.
    fn follow_members(&mut self) -> bool {
        let now = self.members.read_again();
        if now == self.known {
            return false;
        }
        for node in now.difference(&self.known) {
            tracing::info!(node = node.to_hex(), "a node joins the chain");
        }
        for node in self.known.difference(&now) {
            tracing::info!(node = node.to_hex(), "a node has left the chain; its sessions end");
        }
        self.known = now;
        true
    }
}

/// Which warnings were given, by certificate.
#[derive(Default)]
struct Warnings(BTreeMap<(String, u64), i64>);

impl Warnings {
    /// The days left, when they have come below a limit that was not told yet.
    fn due(&mut self, owner: &str, not_after_s: u64, now_s: u64) -> Option<i64> {
        let days = pki::days_left(not_after_s, now_s);
        let limit = WARNING_DAYS.into_iter().filter(|limit| days < *limit).min()?;
        let told = self.0.insert((owner.to_owned(), not_after_s), limit);
        told.is_none_or(|told| limit < told).then_some(days)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const DAY_S: u64 = 86_400;

    #[test]
    fn a_certificate_is_told_of_once_at_each_limit() {
        let (mut warnings, end) = (Warnings::default(), 100 * DAY_S);
        let mut told = Vec::new();
        for hour in 0..=100 * 24 {
            told.extend(warnings.due("own", end, hour * 3_600));
        }
        assert_eq!(told, [29, 6, 0]);
        // A renewed one begins anew, and one found late is told of at once.
        assert_eq!(warnings.due("own", 200 * DAY_S, 100 * DAY_S), None);
        assert_eq!(warnings.due("peer", end, 98 * DAY_S), Some(2));
        assert_eq!(warnings.due("peer", end, 98 * DAY_S), None);
        assert_eq!(warnings.due("ended", end, 200 * DAY_S), Some(-100));
    }
}
