//! The gate before any cryptography: a token bucket for each source address, and places for those who have not proven who they
//! are.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv6Addr};
use std::sync::Arc;
use std::time::Instant;

use parking_lot::Mutex;

use crate::peers::limits::Limits;

/// Why a connection is closed before a word is said. The caller is not told: telling would cost a handshake.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Closed {
    #[error("its address begins connections faster than p2p allows")]
    TooFast,
    #[error("its address has too many handshakes open")]
    SourceBusy,
    #[error("too many handshakes are open; others do not let go of theirs")]
    AllBusy,
}

/// The gate.
pub(crate) struct Gate {
    limits: Limits,
    sources: Mutex<Sources>,
}

#[derive(Default)]
struct Sources {
    by_address: BTreeMap<IpAddr, Source>,
    inside: usize,
}

struct Source {
    tokens: f64,
    at: Instant,
    inside: usize,
}

/// A place of a connection that has not proven who it is; given back when dropped.
pub(crate) struct Place {
    gate: Arc<Gate>,
    source: IpAddr,
}

impl Gate {
    pub(crate) fn new(limits: &Limits) -> Self {
        Self { limits: limits.clone(), sources: Mutex::default() }
    }

    /// Asks for a place.
    pub(crate) fn enter(self: &Arc<Self>, address: IpAddr, now: Instant) -> Result<Place, Closed> {
        let source = source(address);
        let mut sources = self.sources.lock();
        if !sources.by_address.contains_key(&source) && sources.by_address.len() >= self.limits.sources_max {
            sources.forget(&self.limits, now);
        }
        let (burst, all) = (f64::from(self.limits.source_burst), sources.inside);
        let entry = sources.by_address.entry(source).or_insert(Source { tokens: burst, at: now, inside: 0 });
        entry.refill(&self.limits, now);
        if entry.tokens < 1.0 {
            return Err(Closed::TooFast);
        }
        entry.tokens -= 1.0;
        if entry.inside >= self.limits.handshakes_per_source_max {
            return Err(Closed::SourceBusy);
        }
        if all >= self.limits.handshakes_max {
            return Err(Closed::AllBusy);
        }
        entry.inside += 1;
        sources.inside += 1;
        Ok(Place { gate: Arc::clone(self), source })
    }
}

impl Source {
    fn refill(&mut self, limits: &Limits, now: Instant) {
        let seconds = now.saturating_duration_since(self.at).as_secs_f64();
        self.tokens = (self.tokens + seconds * f64::from(limits.source_per_s)).min(f64::from(limits.source_burst));
        self.at = now;
    }
}

impl Sources {
    /// Forgets whoever would have a full bucket; if nobody has, everybody who has no connection here. That gives a flood from
    /// many addresses full buckets again, and the places of [`Limits::handshakes_max`] are what holds then.
    fn forget(&mut self, limits: &Limits, now: Instant) {
        self.by_address.values_mut().for_each(|source| source.refill(limits, now));
        let full = f64::from(limits.source_burst);
        self.by_address.retain(|_, source| source.inside > 0 || source.tokens < full);
        if self.by_address.len() >= limits.sources_max {
            self.by_address.retain(|_, source| source.inside > 0);
        }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut sources = self.gate.sources.lock();
        sources.inside -= 1;
        if let Some(source) = sources.by_address.get_mut(&self.source) {
            source.inside -= 1;
        }
    }
}

/// Whoever has an IPv6 address has 2^64 of them: a network of 64 bits counts as one source.
fn source(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(address) => {
            let [a, b, c, d, ..] = address.segments();
            IpAddr::V6(Ipv6Addr::new(a, b, c, d, 0, 0, 0, 0))
        }
        v4 => v4,
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn gate() -> Arc<Gate> {
        let limits = Limits {
            handshakes_max: 5,
            handshakes_per_source_max: 2,
            source_burst: 3,
            source_per_s: 1,
            sources_max: 4,
            ..Limits::default()
        };
        Arc::new(Gate::new(&limits))
    }

    fn v4(last: u8) -> IpAddr {
        IpAddr::from([10, 0, 0, last])
    }

    #[test]
    fn a_source_has_a_burst_and_then_its_rate_and_others_have_their_own() {
        let (gate, begin) = (gate(), Instant::now());
        let enter = |address, seconds| gate.enter(address, begin + Duration::from_secs(seconds)).err();
        for _ in 0..3 {
            assert_eq!(enter(v4(1), 0), None);
        }
        assert_eq!(enter(v4(1), 0), Some(Closed::TooFast));
        assert_eq!(enter(v4(2), 0), None, "another source has tokens of its own");
        assert_eq!((enter(v4(1), 1), enter(v4(1), 1)), (None, Some(Closed::TooFast)), "one second gives one token");
        for _ in 0..3 {
            assert_eq!(enter(v4(1), 1_000), None);
        }
        assert_eq!(enter(v4(1), 1_000), Some(Closed::TooFast), "and years give no more than a burst");
    }

    #[test]
    fn places_are_bounded_for_each_source_and_together_and_come_back() {
        let (gate, now) = (gate(), Instant::now());
        let enter = |last| gate.enter(v4(last), now);
        let mut held = vec![enter(1).unwrap(), enter(1).unwrap()];
        assert_eq!(enter(1).err(), Some(Closed::SourceBusy));
        held.extend([enter(2).unwrap(), enter(2).unwrap(), enter(3).unwrap()]);
        assert_eq!(enter(4).err(), Some(Closed::AllBusy));
        held.pop();
        assert!(enter(4).is_ok());
    }

    #[test]
    fn sources_remembered_are_bounded_and_the_busy_ones_are_kept() {
        let (gate, now) = (gate(), Instant::now());
        let held = gate.enter(v4(1), now).unwrap();
        for last in 2..=200 {
            gate.enter(v4(last), now).unwrap();
            assert!(gate.sources.lock().by_address.len() <= 4);
        }
        drop(held);
        let sources = gate.sources.lock();
        assert_eq!(sources.inside, 0);
        assert!(sources.by_address.values().all(|source| source.inside == 0));
    }

    #[test]
    fn an_ipv6_network_is_one_source_and_a_mapped_ipv4_address_is_itself() {
        let parse = |text: &str| text.parse::<IpAddr>().unwrap();
        assert_eq!(source(parse("2001:db8:1:2:3::1")), source(parse("2001:db8:1:2:9::7")));
        assert_ne!(source(parse("2001:db8:1:2::1")), source(parse("2001:db8:1:3::1")));
        assert_eq!(source(parse("::ffff:10.0.0.1")), v4(1));
    }
}
