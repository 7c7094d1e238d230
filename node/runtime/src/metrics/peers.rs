//! Figures of peers, sessions and certificates, read when the page is asked for: nothing is kept for peers that have gone.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use bixi_network::{PeerStatus, SessionStatus};
use prometheus_client::collector::Collector;
use prometheus_client::encoding::DescriptorEncoder;

use super::family::{counters, gauges, one_gauge};
use crate::health::Certificates;
use crate::links::{Channel, Links, channel_name};

/// Hexadecimal digits of a node id in a label: enough to tell the nodes of a chain apart.
const SHORT_ID_DIGITS: usize = 16;

/// The way to the peers, and what is known of certificates.
pub(super) struct PeerMetrics {
    pub links: Arc<dyn Links>,
    pub certificates: Arc<Certificates>,
}

impl fmt::Debug for PeerMetrics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("PeerMetrics")
    }
}

type Labels = [(&'static str, String); 2];

impl Collector for PeerMetrics {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let Some(figures) = self.links.figures() else { return Ok(()) };
        let connected = figures.peers.iter().filter(|peer| peer.sessions.len() == Channel::ALL.len()).count();
        let out = &mut encoder;
        one_gauge(out, "bixi_network_connected_peers", "Peers with both sessions", connected as u64)?;

        let of = |value: fn(&SessionStatus) -> u64| per_session(&figures.peers, move |session| Some(value(session)));
        counters(out, "bixi_network_sent_bytes", "Written to the session that stands", of(|s| s.sent_bytes))?;
        counters(out, "bixi_network_received_bytes", "Read from the session that stands", of(|s| s.received_bytes))?;
        counters(out, "bixi_network_dropped_frames", "Not sent: too much waited", of(|s| s.dropped_frames))?;
        let queued = per_session(&figures.peers, |session| Some(session.queued_bytes as f64));
        gauges(out, "bixi_network_queued_bytes", "Waiting to be written", queued)?;
        let rtt = per_session(&figures.peers, |session| session.rtt.map(|rtt| rtt.as_secs_f64()));
        gauges(out, "bixi_network_round_trip_seconds", "From a ping to its answer", rtt)?;
        let skew = per_session(&figures.peers, |session| Some(session.skew_ms as f64 / 1_000.0));
        gauges(out, "bixi_network_clock_ahead_seconds", "The peer's clock when the session opened", skew)?;

        let refused = figures
            .refused
            .iter()
            .map(|(kind, count)| ([("by", kind.by.to_owned()), ("reason", kind.reason.to_owned())], *count));
        counters(out, "bixi_network_refused_sessions", "Not opened, or ended by a side, since the start", refused)?;
        let closed = figures.closed.iter().map(|(reason, count)| ([("reason", (*reason).to_owned())], *count));
        counters(out, "bixi_network_closed_callers", "Closed before a handshake since the start", closed)?;

        let now_s = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs_f64();
        let ends = earliest(self.certificates.ends());
        let left = ends.into_iter().map(|(owner, end_s)| ([("owner", owner)], end_s as f64 - now_s));
        gauges(out, "bixi_network_certificate_remaining_seconds", "Until a certificate ends", left)
    }
}

/// Node ids are cut; other owners have names.
pub(super) fn short(owner: &str) -> String {
    let is_id = owner.bytes().all(|byte| byte.is_ascii_hexdigit());
    if is_id { owner[..SHORT_ID_DIGITS.min(owner.len())].to_owned() } else { owner.to_owned() }
}

/// When the first certificate of each owner ends: two authorities may have one subject, and a metric must not be there twice.
fn earliest(ends: Vec<(String, u64)>) -> BTreeMap<String, u64> {
    let mut earliest = BTreeMap::new();
    for (owner, end_s) in ends {
        let first = earliest.entry(short(&owner)).or_insert(end_s);
        *first = end_s.min(*first);
    }
    earliest
}

/// A figure of every session that has it.
fn per_session<V>(
    peers: &[PeerStatus],
    value: impl Fn(&SessionStatus) -> Option<V>,
) -> impl Iterator<Item = (Labels, V)> {
    let sessions = peers.iter().filter_map(|peer| Some((peer.node?, &peer.sessions)));
    sessions.flat_map(move |(node, sessions)| {
        let peer = node.to_hex()[..SHORT_ID_DIGITS].to_owned();
        let rows = sessions.iter().filter_map(|session| {
            let channel = channel_name(session.channel).to_owned();
            Some(([("peer", peer.clone()), ("channel", channel)], value(session)?))
        });
        rows.collect::<Vec<_>>()
    })
}

#[cfg(test)]
mod tests {
    use bixi_types::NodeId;
    use bixi_types::ports::Destination;
    use prometheus_client::encoding::text::encode;
    use prometheus_client::registry::Registry;

    use super::*;
    use crate::links::LinkFigures;

    struct Nobody;

    impl Links for Nobody {
        fn send_on(&self, _: Channel, _: Destination, _: Vec<u8>) -> usize {
            0
        }

        fn peers(&self) -> Vec<NodeId> {
            Vec::new()
        }

        fn figures(&self) -> Option<LinkFigures> {
            Some(LinkFigures { peers: Vec::new(), refused: BTreeMap::new(), closed: BTreeMap::new() })
        }
    }

    #[test]
    fn certificates_of_one_owner_make_one_metric_and_the_first_to_end_counts() {
        const DAY_S: u64 = 86_400;
        let now_s = SystemTime::now().duration_since(UNIX_EPOCH).expect("after 1970").as_secs();
        let (certificates, subject) = (Arc::new(Certificates::default()), "authority CN=ca,O=chain0".to_owned());
        let peer = NodeId([0xab; 64]).to_hex();
        let ends = [("own".to_owned(), 5), (subject.clone(), 40), (subject, 20), (peer.clone(), 9), (peer, 9)];
        certificates.set(ends.map(|(owner, days)| (owner, now_s + days * DAY_S)).to_vec());
        let mut registry = Registry::default();
        registry.register_collector(Box::new(PeerMetrics { links: Arc::new(Nobody), certificates }));
        let mut text = String::new();
        encode(&mut text, &registry).expect("encoding into a String cannot fail");

        let rows = text.lines().filter_map(|line| line.strip_prefix("bixi_network_certificate_remaining_seconds{"));
        let rows = rows.map(|row| row.rsplit_once(' ').expect("labels and value"));
        // The clock went on since: a day more or less is what must not happen.
        let days = |left_s: &str| (left_s.parse::<f64>().expect("seconds") / DAY_S as f64).ceil() as u64;
        let rows: Vec<_> = rows.map(|(labels, left_s)| (labels, days(left_s))).collect();
        let expected =
            [("owner=\"abababababababab\"}", 9), ("owner=\"authority CN=ca,O=chain0\"}", 20), ("owner=\"own\"}", 5)];
        assert_eq!(rows, expected, "{text}");
    }
}
