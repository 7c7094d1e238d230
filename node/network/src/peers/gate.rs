//! The gate before any cryptography: a token bucket for each source address, one more for all strangers together, and places for
//! those who have not proven who they are.
//!
//! A TLS 1.3 server signs before it knows its client (RFC 8446 4.4.3), so every connection let in costs the device a signature. A
//! source's bucket bounds what one address costs; whoever has many addresses is bounded by the strangers' bucket. An address is no
//! stranger's when a session with a member stood there within [`KNOWN_FOR`], whoever called: its calls cost the common bucket
//! nothing and have places of their own, so that no flood keeps peers from each other. A newcomer shares the common bucket with the
//! flood, is refused now and then, and calls again; so does a peer that moved.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv6Addr};
use std::sync::Arc;
use std::time::{Duration, Instant};

use parking_lot::Mutex;

use crate::peers::limits::Limits;

/// An address is known for so long after a session there began or ended: longer than a restart or a repair of a line takes.
const KNOWN_FOR: Duration = Duration::from_secs(3_600);

/// Why a connection is closed before a word is said. The caller is not told: telling would cost a handshake.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, thiserror::Error)]
pub(crate) enum Closed {
    #[error("its address begins connections faster than p2p allows")]
    TooFast,
    #[error("its address has too many handshakes open")]
    SourceBusy,
    #[error("too many handshakes are open; others do not let go of theirs")]
    AllBusy,
    #[error("unknown addresses together begin more connections than p2p pays for")]
    TooManyStrangers,
}

impl Closed {
    /// Its name in metrics.
    pub(crate) fn label(self) -> &'static str {
        match self {
            Self::TooFast => "source_too_fast",
            Self::SourceBusy => "source_busy",
            Self::AllBusy => "all_busy",
            Self::TooManyStrangers => "too_many_strangers",
        }
    }
}

/// The gate.
pub(crate) struct Gate {
    limits: Limits,
    sources: Mutex<Sources>,
}

struct Sources {
    by_address: BTreeMap<IpAddr, Source>,
    /// When a session there last began or ended.
    known: BTreeMap<IpAddr, Instant>,
    strangers: Bucket,
    inside: usize,
    closed: BTreeMap<Closed, u64>,
}

struct Source {
    bucket: Bucket,
    inside: usize,
}

/// Tokens that come back with time.
struct Bucket {
    tokens: f64,
    at: Instant,
    burst: u32,
    per_s: u32,
}

impl Bucket {
    fn new(burst: u32, per_s: u32, now: Instant) -> Self {
        Self { tokens: f64::from(burst), at: now, burst, per_s }
    }

    fn refill(&mut self, now: Instant) {
        let seconds = now.saturating_duration_since(self.at).as_secs_f64();
        self.tokens = (self.tokens + seconds * f64::from(self.per_s)).min(f64::from(self.burst));
        self.at = now;
    }

    fn is_full(&self) -> bool {
        self.tokens >= f64::from(self.burst)
    }

    fn take(&mut self, now: Instant) -> bool {
        self.refill(now);
        let has = self.tokens >= 1.0;
        if has {
            self.tokens -= 1.0;
        }
        has
    }
}

/// A place of a connection that has not proven who it is; given back when dropped.
pub(crate) struct Place {
    gate: Arc<Gate>,
    source: IpAddr,
}

impl Gate {
    pub(crate) fn new(limits: &Limits) -> Self {
        let sources = Sources {
            by_address: BTreeMap::new(),
            known: BTreeMap::new(),
            strangers: Bucket::new(limits.strangers_burst, limits.strangers_per_s, Instant::now()),
            inside: 0,
            closed: BTreeMap::new(),
        };
        Self { limits: limits.clone(), sources: Mutex::new(sources) }
    }

    /// Asks for a place.
    pub(crate) fn enter(self: &Arc<Self>, address: IpAddr, now: Instant) -> Result<Place, Closed> {
        let source = source(address);
        let mut sources = self.sources.lock();
        match sources.enter(&self.limits, source, now) {
            Ok(()) => Ok(Place { gate: Arc::clone(self), source }),
            Err(closed) => {
                *sources.closed.entry(closed).or_default() += 1;
                Err(closed)
            }
        }
    }

    /// A session with a member began or ended there.
    pub(crate) fn know(&self, address: IpAddr, now: Instant) {
        let source = source(address);
        let mut sources = self.sources.lock();
        if sources.known.len() >= self.limits.sessions_max && !sources.known.contains_key(&source) {
            let oldest = sources.known.iter().min_by_key(|(_, at)| **at).map(|(address, _)| *address);
            oldest.and_then(|oldest| sources.known.remove(&oldest));
        }
        sources.known.insert(source, now);
    }

    /// How many were closed so far, by reason.
    pub(crate) fn closed(&self) -> BTreeMap<Closed, u64> {
        self.sources.lock().closed.clone()
    }
}

impl Sources {
    fn enter(&mut self, limits: &Limits, source: IpAddr, now: Instant) -> Result<(), Closed> {
        if !self.by_address.contains_key(&source) && self.by_address.len() >= limits.sources_max {
            self.forget(limits, now);
        }
        let is_known = self.known.get(&source).is_some_and(|at| now.saturating_duration_since(*at) < KNOWN_FOR);
        // A quarter of the places is for those we know.
        let places = if is_known { limits.handshakes_max } else { limits.handshakes_max - limits.handshakes_max / 4 };
        let fresh = || Source { bucket: Bucket::new(limits.source_burst, limits.source_per_s, now), inside: 0 };
        let entry = self.by_address.entry(source).or_insert_with(fresh);
        if !entry.bucket.take(now) {
            return Err(Closed::TooFast);
        }
        if entry.inside >= limits.handshakes_per_source_max {
            return Err(Closed::SourceBusy);
        }
        if self.inside >= places {
            return Err(Closed::AllBusy);
        }
        if !is_known && !self.strangers.take(now) {
            return Err(Closed::TooManyStrangers);
        }
        entry.inside += 1;
        self.inside += 1;
        Ok(())
    }

    /// Forgets whoever would have a full bucket; if nobody has, everybody who has no connection here. That gives a flood from
    /// many addresses full buckets again, and the strangers' bucket is what holds then.
    fn forget(&mut self, limits: &Limits, now: Instant) {
        self.by_address.values_mut().for_each(|source| source.bucket.refill(now));
        self.by_address.retain(|_, source| source.inside > 0 || !source.bucket.is_full());
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
            strangers_burst: 1_000,
            strangers_per_s: 2,
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
        held.extend([enter(2).unwrap(), enter(2).unwrap()]);
        assert_eq!(enter(3).err(), Some(Closed::AllBusy), "the last quarter is for those we know");
        gate.know(v4(3), now);
        held.push(enter(3).unwrap());
        assert_eq!(enter(3).err(), Some(Closed::AllBusy));
        held.truncate(3);
        assert!(enter(4).is_ok());
        assert_eq!(gate.closed(), [(Closed::SourceBusy, 1), (Closed::AllBusy, 2)].into());
    }

    #[test]
    fn strangers_together_have_one_rate_and_those_we_know_have_none_of_it() {
        let (gate, begin) = (gate(), Instant::now());
        let enter = |address, seconds| gate.enter(address, begin + Duration::from_secs(seconds)).map(drop);
        // More addresses than are remembered: each has a fresh bucket of its own.
        let flood = |first: u32, count: u32, seconds| {
            let addresses = (first..first + count).map(|number| IpAddr::from(number.to_be_bytes()));
            addresses.filter(|address| enter(*address, seconds).is_ok()).count()
        };
        gate.know(v4(1), begin);
        assert_eq!(flood(1 << 24, 2_000, 0), 1_000, "the burst");
        assert_eq!(enter(v4(2), 0), Err(Closed::TooManyStrangers));
        assert_eq!(enter(v4(1), 0), Ok(()));
        assert_eq!(flood(1 << 25, 2_000, 10), 20, "two a second");
        assert_eq!(enter(v4(1), 10), Ok(()));
        let later = KNOWN_FOR.as_secs();
        assert_eq!(flood(1 << 26, 2_000, later), 1_000);
        assert_eq!(enter(v4(1), later), Err(Closed::TooManyStrangers), "nobody is known for ever");
    }

    #[test]
    fn addresses_known_are_bounded_and_the_oldest_goes() {
        let gate = Arc::new(Gate::new(&Limits { sessions_max: 3, ..Limits::default() }));
        let begin = Instant::now();
        for last in 0..50 {
            gate.know(v4(last), begin + Duration::from_secs(last.into()));
        }
        let known: Vec<IpAddr> = gate.sources.lock().known.keys().copied().collect();
        assert_eq!(known, [v4(47), v4(48), v4(49)]);
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
