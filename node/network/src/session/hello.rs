//! Who speaks, and what both sides can agree on.

use std::fmt;
use std::time::{SystemTime, UNIX_EPOCH};

use bixi_types::{H256, NodeId};
use borsh::{BorshDeserialize, BorshSerialize};

use crate::session::Channel;
use crate::session::refusal::{Reason, Refusal};

/// Versions of the protocol of sessions and of what they carry that this software speaks.
pub const VERSIONS: Versions = Versions { oldest: 1, newest: 1 };

/// A range of versions of the protocol.
#[derive(Debug, Clone, Copy, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct Versions {
    /// The oldest one spoken.
    pub oldest: u32,
    /// The newest one spoken.
    pub newest: u32,
}

impl Versions {
    /// The highest common version.
    pub(crate) fn agree(self, peer: Self) -> Result<u32, Refusal> {
        let highest = self.newest.min(peer.newest);
        if highest >= self.oldest && highest >= peer.oldest {
            return Ok(highest);
        }
        Err(Refusal::new(Reason::Version, format!("this node speaks versions {self}, the other one {peer}")))
    }
}

impl fmt::Display for Versions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} to {}", self.oldest, self.newest)
    }
}

/// The first frame of each side. Fields are only ever added at the end: what follows those a version knows is passed over.
#[derive(Debug, Clone, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub(crate) struct Hello {
    pub(crate) versions: Versions,
    /// Genesis hash.
    pub(crate) chain: H256,
    /// Consensus public key; not proven yet.
    pub(crate) node: NodeId,
    /// What the connection is for; said by the caller only.
    pub(crate) channel: Option<Channel>,
    /// Where the node listens, on the address it calls from; 0 when it does not say.
    pub(crate) listen_port: u16,
    /// Drawn at each start: tells a connection of this run of the peer from one that its last run left behind.
    pub(crate) instance: u64,
    /// Its clock, milliseconds since 1970.
    pub(crate) unix_time_ms: u64,
}

impl Hello {
    pub(crate) fn encode(&self) -> Vec<u8> {
        borsh::to_vec(self).expect("borsh into memory cannot fail")
    }

    pub(crate) fn decode(body: &[u8]) -> Result<Self, Refusal> {
        Self::deserialize(&mut &body[..])
            .map_err(|error| Refusal::new(Reason::Malformed, format!("not a hello: {error}")))
    }

    /// How far the speaker's clock is ahead of ours, as far as the way here lets tell.
    pub(crate) fn skew_ms(&self, now_ms: u64) -> i64 {
        let difference = i128::from(self.unix_time_ms) - i128::from(now_ms);
        difference.clamp(i64::MIN.into(), i64::MAX.into()) as i64
    }
}

pub(crate) fn unix_time_ms() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use bixi_types::limits::SESSION_FRAME_BYTES_MAX;
    use proptest::prelude::*;

    use super::*;

    fn hello() -> Hello {
        Hello {
            versions: VERSIONS,
            chain: H256([1; 32]),
            node: NodeId([2; 64]),
            channel: Some(Channel::Bulk),
            listen_port: 30300,
            instance: 7,
            unix_time_ms: 1_800_000_000_000,
        }
    }

    #[test]
    fn a_hello_survives_the_wire_and_later_versions_may_add_to_it() {
        let bytes = hello().encode();
        assert_eq!(bytes.len(), 4 + 4 + 32 + 64 + 2 + 2 + 8 + 8);
        assert_eq!(Hello::decode(&bytes), Ok(hello()));
        assert_eq!(Hello::decode(&[&bytes[..], b"added later"].concat()), Ok(hello()));
        for cut in 0..bytes.len() {
            assert_eq!(Hello::decode(&bytes[..cut]).unwrap_err().reason, Reason::Malformed, "cut at {cut}");
        }
    }

    #[test]
    fn the_highest_common_version_is_spoken_or_both_ranges_are_named() {
        let of = |oldest, newest| Versions { oldest, newest };
        for (one, other, highest) in [((1, 1), (1, 1), 1), ((1, 3), (2, 5), 3), ((1, 9), (4, 4), 4)] {
            let (one, other) = (of(one.0, one.1), of(other.0, other.1));
            assert_eq!((one.agree(other), other.agree(one)), (Ok(highest), Ok(highest)));
        }
        for (one, other) in [((1, 1), (2, 3)), ((5, 6), (1, 4)), ((2, 1), (1, 2)), ((0, u32::MAX), (u32::MAX, 0))] {
            let (one, other) = (of(one.0, one.1), of(other.0, other.1));
            let refusal = one.agree(other).unwrap_err();
            assert_eq!(refusal.reason, Reason::Version);
            assert!(refusal.detail.contains(&one.to_string()) && refusal.detail.contains(&other.to_string()));
        }
    }

    #[test]
    fn a_clock_at_the_end_of_time_is_only_far_ahead() {
        for (theirs, ours, skew_ms) in [(u64::MAX, 0, i64::MAX), (0, u64::MAX, i64::MIN), (1_500, 2_000, -500)] {
            assert_eq!(Hello { unix_time_ms: theirs, ..hello() }.skew_ms(ours), skew_ms);
        }
    }

    proptest! {
        #[test]
        fn garbage_is_refused_or_read(body in proptest::collection::vec(any::<u8>(), 0..=SESSION_FRAME_BYTES_MAX)) {
            if let Ok(hello) = Hello::decode(&body) {
                let again = hello.encode();
                prop_assert_eq!(&again[..], &body[..again.len()]);
            }
        }
    }
}
