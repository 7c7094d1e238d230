//! What the network allows others, each number with its reason.

use std::time::Duration;

use crate::session::Channel;
use crate::session::connection::Bounds;
use crate::session::link::Patience;

/// Bounds of the network. The default suits a chain of some tens of validators, several of them on one machine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Limits {
    /// From the first byte to an open session. A device that signs in tens of milliseconds, four round trips around the world and
    /// a queue before the device fit many times.
    pub handshake_ms: u64,
    /// Connections that have not proven who they are, at once, a quarter of them for known addresses only. Each costs a socket and
    /// some 40 KiB.
    pub handshakes_max: usize,
    /// The same for one source address: three addresses at least are needed to take all places of strangers.
    pub handshakes_per_source_max: usize,
    /// Connections a source address may begin at once: 31 validators on one address with two connections each fit.
    pub source_burst: u32,
    /// Connections a source address may begin each second from then on. Each costs the server one TLS signature.
    pub source_per_s: u32,
    /// Connections all unknown addresses together may begin at once: a new chain of 62 nodes that all call us fits.
    pub strangers_burst: u32,
    /// Connections they may begin each second from then on: what a flood from any number of addresses costs the device.
    pub strangers_per_s: u32,
    /// Source addresses remembered; the bucket of a forgotten one is full again.
    pub sources_max: usize,
    /// Signatures for handshakes asked of the device at once; consensus signs beside them.
    pub signatures_max: usize,
    /// Open sessions: two for each of [`bixi_types::limits::VALIDATORS_MAX`] validators, and as many observers.
    pub sessions_max: usize,
    /// Bytes that wait for one peer in consensus.
    pub consensus_queue_bytes_max: usize,
    /// Bytes that wait for one peer in bulk.
    pub bulk_queue_bytes_max: usize,
    /// A ping goes after so long.
    pub ping_ms: u64,
    /// A peer of which nothing is heard for so long has gone: four pings.
    pub silence_ms: u64,
    /// From a frame's first byte to its last, either way: 4 MiB at 140 KB/s.
    pub frame_ms: u64,
    /// Longest pause before the second call of an address; doubled for each further one.
    pub pause_first_ms: u64,
    /// Longest pause between two calls.
    pub pause_max_ms: u64,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            handshake_ms: 10_000,
            handshakes_max: 64,
            handshakes_per_source_max: 16,
            source_burst: 128,
            source_per_s: 8,
            strangers_burst: 128,
            strangers_per_s: 16,
            sources_max: 4_096,
            signatures_max: 2,
            sessions_max: 1_024,
            consensus_queue_bytes_max: 16 * 1024 * 1024,
            bulk_queue_bytes_max: 32 * 1024 * 1024,
            ping_ms: 5_000,
            silence_ms: 20_000,
            frame_ms: 30_000,
            pause_first_ms: 250,
            pause_max_ms: 15_000,
        }
    }
}

impl Limits {
    pub(crate) fn bounds(&self, channel: Channel) -> Bounds {
        let queue_bytes_max = match channel {
            Channel::Consensus => self.consensus_queue_bytes_max,
            Channel::Bulk => self.bulk_queue_bytes_max,
        };
        let (silence, frame) = (Duration::from_millis(self.silence_ms), Duration::from_millis(self.frame_ms));
        let ping = Duration::from_millis(self.ping_ms.max(1));
        Bounds { queue_bytes_max, ping, patience: Patience { silence, frame } }
    }
}
