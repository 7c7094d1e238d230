//! Floods, garbage, dripping bytes, and peers that do not read.

use std::net::SocketAddr;
use std::sync::Arc;

use bixi_types::CryptoSuite;
use bixi_types::ports::Destination;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream};
use tokio::runtime::Runtime;
use tokio_rustls::TlsConnector;

use super::world::{Member, eventually, notes, runtime};
use crate::frame::{self, Kind};
use crate::peers::{Channel, Limits, Network};
use crate::session::link::{FrameReader, NO_LIMIT, Patience};
use crate::session::{Opened, PROTOCOL, Refusal, SessionError};
use crate::tls::client_config;
use crate::tls::fixtures::{Authority, in_both_suites};

const HERE: &str = "127.0.0.1:0";
const ELSEWHERE: &str = "127.0.0.2:0";

struct Stage {
    member: Arc<Member>,
    /// Certified, and hostile or not.
    peer: Arc<Member>,
    network: Network,
    runtime: Runtime,
}

fn stage(suite: CryptoSuite, change: impl FnOnce(&mut Limits)) -> Stage {
    let ca = Authority::new(suite, "CN=ca,O=chain0");
    let (mut member, peer) = (Member::of(&ca, 2), Member::of(&ca, 3));
    change(&mut member.limits);
    let runtime = runtime();
    let network = member.start(&runtime, &[]);
    Stage { member: Arc::new(member), peer: Arc::new(peer), network, runtime }
}

impl Stage {
    /// A session by hand, on a worker of the runtime.
    fn open(&self, source: &'static str, channel: Channel) -> Result<Opened, SessionError> {
        let (peer, network) = (Arc::clone(&self.peer), self.network.clone());
        let opening = self.runtime.spawn(async move { peer.open(source, &network, channel).await });
        self.runtime.block_on(opening).expect("no panic")
    }

    fn tcp(&self, source: &str) -> TcpStream {
        let source: SocketAddr = source.parse().expect("an address");
        self.runtime.block_on(async {
            let socket = TcpSocket::new_v4().expect("a socket");
            socket.bind(source).expect("a source on this machine");
            socket.connect(self.network.address()).await.expect("it listens")
        })
    }

    fn gets_in(&self) {
        let opened = self.open(ELSEWHERE, Channel::Bulk);
        assert!(opened.is_ok(), "{:?}", opened.err());
        eventually("the session stands", || self.network.peers().iter().any(|peer| peer.node == Some(self.peer.node)));
    }
}

/// What the other side says before it closes.
async fn last_words<R: tokio::io::AsyncRead + Unpin>(reader: &mut FrameReader<R>) -> Option<Refusal> {
    let patience = Patience { silence: NO_LIMIT, frame: NO_LIMIT };
    while let Ok(Some(frame)) = reader.next(patience).await {
        if frame.kind == Kind::Refusal {
            return Some(Refusal::decode(&frame.body));
        }
    }
    None
}

fn garbage_instead_of_tls_is_refused_and_hurts_nobody(suite: CryptoSuite) {
    let stage = stage(suite, |_| {});
    let mut tcp = stage.tcp(HERE);
    stage.runtime.block_on(async {
        tcp.write_all(b"GET / HTTP/1.1\r\nHost: node\r\n\r\n").await.expect("it reads");
        let mut rest = Vec::new();
        let _ = tcp.read_to_end(&mut rest).await;
    });
    notes(&stage.network, &["TLS", "p2p port"]);
    stage.gets_in();
    stage.network.stop();
}

fn oversized_and_unknown_frames_are_refused_in_words_before_the_hello(suite: CryptoSuite) {
    let stage = stage(suite, |_| {});
    let identity = stage.peer.certified.identity();
    let config = client_config(&identity, Arc::clone(&stage.peer.trust), &[PROTOCOL]).expect("a configuration");
    for (bytes, words) in [
        (vec![0xFF; 5], "4294967295 bytes"),
        (vec![0; 5], "length 0"),
        (vec![0, 0, 0, 1, 99], "kind 99"),
        (vec![0, 0, 0xFF, 0xFF, Kind::Hello as u8], "65535 bytes"),
        (frame::encode(Kind::Hello, b"short"), "not a hello"),
        (frame::encode(Kind::Message, b"too early"), "Message where Hello"),
    ] {
        let tcp = stage.tcp(HERE);
        let told = stage.runtime.block_on(async {
            let connecting = TlsConnector::from(Arc::clone(&config)).connect("raw.invalid".try_into().unwrap(), tcp);
            let (reader, mut writer) = tokio::io::split(connecting.await.expect("certified"));
            writer.write_all(&bytes).await.expect("it reads");
            writer.flush().await.expect("it reads");
            last_words(&mut FrameReader::new(reader)).await
        });
        let told = told.unwrap_or_else(|| panic!("no word about {bytes:?}"));
        assert!(told.to_string().contains(words), "{told} about {bytes:?}");
        notes(&stage.network, &[words]);
    }
    stage.gets_in();
    stage.network.stop();
}

fn a_caller_that_says_nothing_is_cut_by_the_deadline_and_gives_its_place_back(suite: CryptoSuite) {
    let stage = stage(suite, |limits| {
        limits.handshake_ms = 3_000;
        limits.handshakes_per_source_max = 2;
    });
    let _silent = (stage.tcp(HERE), stage.tcp(HERE));
    notes(&stage.network, &["no TLS handshake within 3000 ms"]);
    eventually("the same source gets in again", || stage.open(HERE, Channel::Bulk).is_ok());
    stage.network.stop();
}

fn a_frame_that_drips_and_a_peer_that_falls_silent_are_cut_with_a_reason(suite: CryptoSuite) {
    let dripping = stage(suite, |limits| limits.frame_ms = 200);
    let mut opened = dripping.open(HERE, Channel::Bulk).expect("in");
    let told = dripping.runtime.block_on(async {
        let half = &frame::encode(Kind::Message, &[7; 1000])[..500];
        opened.writer.write_all(half).await.expect("it reads");
        opened.writer.flush().await.expect("it reads");
        last_words(&mut opened.reader).await
    });
    assert!(told.is_some_and(|told| told.to_string().contains("end of a frame that had begun")));
    notes(&dripping.network, &["no end of a frame that had begun within 200 ms"]);
    dripping.network.stop();

    let silent = stage(suite, |limits| limits.silence_ms = 200);
    let mut opened = silent.open(HERE, Channel::Bulk).expect("in");
    let told = silent.runtime.block_on(last_words(&mut opened.reader));
    assert!(told.is_some_and(|told| told.to_string().contains("no frame within 200 ms")));
    notes(&silent.network, &["no frame within 200 ms"]);
    assert!(!silent.member.inbox.is_connected(silent.peer.node), "one session is no connected peer");
    silent.network.stop();
}

fn garbage_in_an_open_session_ends_it_with_a_reason(suite: CryptoSuite) {
    let stage = stage(suite, |_| {});
    for (bytes, words) in [
        (vec![0xFF; 9], "4294967295 bytes"),
        (frame::encode(Kind::Ping, b"short"), "ping or pong of 5 bytes"),
        (frame::encode(Kind::Ready, b""), "Ready in a session that is open"),
    ] {
        let mut opened = stage.open(HERE, Channel::Consensus).expect("in");
        let told = stage.runtime.block_on(async {
            opened.writer.write_all(&bytes).await.expect("it reads");
            opened.writer.flush().await.expect("it reads");
            last_words(&mut opened.reader).await
        });
        assert!(told.as_ref().is_some_and(|told| told.to_string().contains(words)), "{told:?} about {bytes:?}");
        notes(&stage.network, &[words]);
    }
    stage.network.stop();
}

fn a_flood_from_one_source_is_closed_before_tls_and_another_source_gets_in(suite: CryptoSuite) {
    let stage = stage(suite, |limits| {
        limits.source_burst = 8;
        limits.source_per_s = 0;
        limits.handshakes_per_source_max = 3;
        limits.handshakes_max = 6;
    });
    let mut flood: Vec<TcpStream> = (0..30).map(|_| stage.tcp(HERE)).collect();
    // Three have a place and are waited for; all others are closed.
    let mut closed = 0;
    eventually("the rest of the flood is closed", || {
        flood.retain_mut(|tcp| match tcp.try_read(&mut [0; 8]) {
            Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => true,
            _ => {
                closed += 1;
                false
            }
        });
        closed == 27
    });
    stage.gets_in();
    drop(flood);
    stage.network.stop();
}

fn a_peer_that_never_reads_costs_its_queue_and_no_more(suite: CryptoSuite) {
    const QUEUE: usize = 1024 * 1024;
    const PAYLOAD: usize = 64 * 1024;
    let stage = stage(suite, |limits| {
        limits.bulk_queue_bytes_max = QUEUE;
        limits.consensus_queue_bytes_max = QUEUE;
        // It is the queue that bounds it here, not time.
        (limits.silence_ms, limits.frame_ms) = (600_000, 600_000);
    });
    let _held: Vec<Opened> = Channel::ALL.map(|channel| stage.open(HERE, channel).expect("in")).into();
    let to = Destination::Node(stage.peer.node);
    eventually("it is connected", || stage.member.inbox.is_connected(stage.peer.node));
    for channel in Channel::ALL {
        eventually("frames are refused or forgotten", || {
            stage.network.send_on(channel, to, vec![7; PAYLOAD]);
            let peers = stage.network.peers();
            let session = peers[0].sessions.iter().find(|session| session.channel == channel).expect("it stands");
            assert!(session.queued_bytes <= QUEUE, "{} bytes wait", session.queued_bytes);
            session.dropped_frames > 100
        });
    }
    assert_eq!(stage.network.send_on(Channel::Consensus, to, vec![7]), 1, "the newest is taken for the oldest");
    eventually("the sender is told", || stage.network.send_on(Channel::Bulk, to, vec![7; PAYLOAD]) == 0);
    stage.network.stop();
}

in_both_suites!(
    garbage_instead_of_tls_is_refused_and_hurts_nobody,
    oversized_and_unknown_frames_are_refused_in_words_before_the_hello,
    a_caller_that_says_nothing_is_cut_by_the_deadline_and_gives_its_place_back,
    a_frame_that_drips_and_a_peer_that_falls_silent_are_cut_with_a_reason,
    garbage_in_an_open_session_ends_it_with_a_reason,
    a_flood_from_one_source_is_closed_before_tls_and_another_source_gets_in,
    a_peer_that_never_reads_costs_its_queue_and_no_more,
);
