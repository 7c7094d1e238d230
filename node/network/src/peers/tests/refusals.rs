//! Every refusal is told on both sides, with who, why and what to do.

use std::sync::Arc;

use bixi_types::CryptoSuite;
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::{TlsAcceptor, TlsConnector};

use super::world::{CHAIN, Member, Members, Open, eventually, notes, runtime};
use crate::peers::{Channel, Network};
use crate::session::{PROTOCOL, Versions};
use crate::tls::fixtures::{Authority, DAY, Node, in_both_suites, now};
use crate::tls::{TrustStore, client_config, server_config};

/// `refused` calls `refuser`; each notes its words, and neither has a peer.
fn refuses(refuser: &Member, refused: &Member, words: &[&str], told: &[&str]) {
    let runtime = runtime();
    let called = refuser.start(&runtime, &[]);
    let caller = refused.start(&runtime, &[&called]);
    notes(&called, words);
    notes(&caller, told);
    let status = caller.peers();
    assert!(status.iter().all(|peer| peer.sessions.is_empty()), "{status:?}");
    eventually("the status of the address says why", || {
        let reason = caller.peers().into_iter().find_map(|peer| peer.last_refusal);
        reason.is_some_and(|reason| told.iter().all(|word| reason.contains(word)))
    });
    assert!(called.peers().is_empty());
    caller.stop();
    called.stop();
}

fn ca(suite: CryptoSuite) -> Authority {
    Authority::new(suite, "CN=ca,O=chain0")
}

fn a_certificate_of_another_authority(suite: CryptoSuite) {
    let (ca, other) = (ca(suite), Authority::new(suite, "CN=other,O=elsewhere"));
    let (ours, stranger) = (Member::of(&ca, 2), Member::new(other.node(3), ca.trust_beside(&other)));
    refuses(&ours, &stranger, &["UnknownIssuer", "p2p.ca"], &["UnknownCA", "add it to the p2p.ca there"]);
    // And the caller refuses the one it has called.
    let (ours, stranger) =
        (Member::new(ca.node(2), ca.trust_beside(&other)), Member::new(other.node(3), other.trust()));
    refuses(&ours, &stranger, &["UnknownCA", "add it to the p2p.ca there"], &["UnknownIssuer", "p2p.ca"]);
}

fn a_certificate_out_of_its_time(suite: CryptoSuite) {
    let ca = ca(suite);
    let expired: Node = ca.node_within(3, (now() - 3 * DAY, now() - DAY));
    let expired = Member::new(expired, ca.trust());
    refuses(&Member::of(&ca, 2), &expired, &["xpired", "compare both clocks"], &["CertificateExpired", "renew it"]);
}

fn a_certificate_that_was_revoked(suite: CryptoSuite) {
    let ca = ca(suite);
    let refuser = Member::new(ca.node(2), ca.trust_with(&[3], &[]));
    let words = (["Revoked", "needs another one"], ["CertificateRevoked", "needs another one"]);
    refuses(&refuser, &Member::of(&ca, 3), &words.0, &words.1);
}

fn a_denied_tls_key_and_a_node_the_group_does_not_know(suite: CryptoSuite) {
    let ca = ca(suite);
    let denied = Member::of(&ca, 3);
    let refuser = Member::new(ca.node(2), ca.trust_with(&[9], &[denied.certified.public_key()]));
    refuses(&refuser, &denied, &["lists of keys"], &["AccessDenied", "lists of keys"]);

    let refuser = Member::of(&ca, 2);
    refuser.admission.denied.lock().push(denied.node);
    let words = ["NotAdmitted", "the group does not know this node", "p2p.deny"];
    refuses(
        &refuser,
        &denied,
        &[&["by this node"][..], &words].concat(),
        &[&["by the other node"][..], &words].concat(),
    );
}

fn another_chain(suite: CryptoSuite) {
    let ca = ca(suite);
    let mut other = Member::of(&ca, 3);
    other.chain.0[0] ^= 1;
    let chains = (CHAIN.to_string(), other.chain.to_string());
    let words = ["Chain", &chains.0, &chains.1, "genesis"];
    // The caller sees it first.
    refuses(
        &Member::of(&ca, 2),
        &other,
        &[&["by the other node"][..], &words].concat(),
        &[&["by this node"][..], &words].concat(),
    );
}

fn no_common_version(suite: CryptoSuite) {
    let ca = ca(suite);
    let mut newer = Member::of(&ca, 3);
    newer.versions = Versions { oldest: 2, newest: 4 };
    let words = ["Version", "2 to 4", "1 to 1", "upgrade"];
    refuses(&Member::of(&ca, 2), &newer, &words, &words);
}

fn two_ranges_that_meet_speak_the_highest_common_version(suite: CryptoSuite) {
    let ca = ca(suite);
    let mut newer = Member::of(&ca, 3);
    newer.versions = Versions { oldest: 1, newest: 4 };
    let runtime = runtime();
    let called = Member::of(&ca, 2).start(&runtime, &[]);
    let caller = newer.start(&runtime, &[&called]);
    eventually("both sessions stand", || called.peers().iter().any(|peer| peer.sessions.len() == 2));
    assert!(called.peers()[0].sessions.iter().all(|session| session.protocol_version == 1));
    caller.stop();
    called.stop();
}

/// Ends the TLS of both sides with a certificate of its own and carries what they say.
async fn relay(
    listener: TcpListener,
    to: std::net::SocketAddr,
    identity: crate::tls::Identity,
    trust: Arc<TrustStore>,
) {
    let server = TlsAcceptor::from(server_config(&identity, Arc::clone(&trust), &[PROTOCOL]).expect("a configuration"));
    let client = TlsConnector::from(client_config(&identity, trust, &[PROTOCOL]).expect("a configuration"));
    while let Ok((tcp, _)) = listener.accept().await {
        let (Ok(mut caller), Ok(tcp)) = (server.accept(tcp).await, TcpStream::connect(to).await) else { continue };
        let Ok(mut called) = client.connect("relay.invalid".try_into().expect("a name"), tcp).await else { continue };
        let _ = tokio::io::copy_bidirectional(&mut caller, &mut called).await;
    }
}

fn a_relayed_hello_is_found_out_by_the_exporter(suite: CryptoSuite) {
    let ca = ca(suite);
    let (called, caller, between) = (Member::of(&ca, 2), Member::of(&ca, 3), ca.node(4));
    let runtime = runtime();
    let target: Network = called.start(&runtime, &[]);
    let listener = runtime.block_on(TcpListener::bind("127.0.0.1:0")).expect("a port");
    let address = listener.local_addr().expect("an address").to_string();
    let trust = Arc::new(TrustStore::new(ca.trust()));
    // The soft TLS key signs without a device: no worker waits.
    runtime.spawn(relay(listener, target.address(), between.identity(), trust));
    let victim = caller.start(&runtime, &[]);
    victim.call_only(&[address]);
    let words = ["Proof", "standing between the nodes"];
    notes(&target, &[&["by this node"][..], &words].concat());
    notes(&victim, &[&["by the other node"][..], &words].concat());
    assert!(target.peers().is_empty());
    victim.stop();
    target.stop();
}

fn rules_that_change_end_standing_sessions(suite: CryptoSuite) {
    let ca = ca(suite);
    let (stays, leaves) = (Member::of(&ca, 2), Member::of(&ca, 3));
    let runtime = runtime();
    let one = stays.start(&runtime, &[]);
    let other = leaves.start(&runtime, &[&one]);
    let meet = || eventually("both are connected", || stays.inbox.is_connected(leaves.node));
    let part = || eventually("they are not", || !stays.inbox.is_connected(leaves.node));

    meet();
    one.recheck();
    assert!(stays.inbox.is_connected(leaves.node), "rules that hold change nothing");
    stays.admission.denied.lock().push(leaves.node);
    one.recheck();
    part();
    notes(&one, &["by this node", "NotAdmitted", "the group does not know"]);
    notes(&other, &["by the other node", "NotAdmitted", "the group does not know"]);

    stays.admission.denied.lock().clear();
    meet();
    stays.trust.replace(ca.trust_with(&[3], &[]));
    one.recheck();
    part();
    notes(&one, &["by this node", "Certificate", "have a new certificate issued"]);
    notes(&other, &["by the other node", "Certificate", "have a new certificate issued"]);
    other.stop();
    one.stop();
}

/// What a test does to a member's rules.
type Change = fn(&Arc<Members>, &Arc<TrustStore>, &Member, &Authority);

fn rules_that_change_between_hello_and_session_end_it(suite: CryptoSuite) {
    let removed: Change = |members, _, peer, _| members.denied.lock().push(peer.node);
    let revoked: Change = |_, trust, _, ca| trust.replace(ca.trust_with(&[3], &[]));
    for (change, word) in [(removed, "NotAdmitted"), (revoked, "Certificate")] {
        let ca = Arc::new(ca(suite));
        let (called, caller) = (Member::of(&ca, 2), Arc::new(Member::of(&ca, 3)));
        let runtime = runtime();
        let one = called.start(&runtime, &[]);
        let (network, members, trust) = (one.clone(), called.admission.clone(), called.trust.clone());
        let (peer, authority) = (Arc::clone(&caller), Arc::clone(&ca));
        *called.key.before.lock() = Some(Box::new(move || {
            change(&members, &trust, &peer, &authority);
            // As a reload does; the session is not there to be found.
            network.recheck();
        }));
        let opened = runtime.block_on(async {
            let local = caller.local();
            let tcp = TcpStream::connect(one.address()).await.expect("it listens");
            let calling = async move { crate::session::call(&local, tcp, Channel::Bulk, &Open).await };
            tokio::spawn(calling).await.expect("no panic")
        });
        let _opened = opened.map_err(|error| error.to_string()).expect("the caller's side saw no refusal yet");
        notes(&one, &["by this node", word]);
        eventually("the session is gone", || one.peers().is_empty());
        one.stop();
    }
}

fn a_clock_that_is_minutes_off_is_told_and_not_refused(suite: CryptoSuite) {
    let ca = ca(suite);
    let (called, slow) = (Member::of(&ca, 2), Member::of(&ca, 3));
    let runtime = runtime();
    let network = called.start(&runtime, &[]);
    let mut local = slow.local();
    local.clock = || crate::session::unix_time_ms() - 3_600_000;
    let address = network.address();
    let calling = runtime.spawn(async move {
        let tcp = TcpStream::connect(address).await.expect("it listens");
        crate::session::call(&local, tcp, Channel::Bulk, &Open).await
    });
    let opened = runtime.block_on(calling).expect("no panic").map_err(|error| error.to_string()).expect("in");
    // Half an hour for what the way there took.
    assert!(opened.remote.skew_ms > 1_800_000);
    eventually("the other side sees it too", || {
        let peers = network.peers();
        let mut sessions = peers.iter().flat_map(|peer| &peer.sessions);
        sessions.any(|session| session.skew_ms < -1_800_000)
    });
    drop(opened);
    network.stop();
}

fn a_consensus_key_that_its_device_does_not_give_is_told_on_both_sides(suite: CryptoSuite) {
    struct Gone;
    impl crate::session::SessionKey for Gone {
        fn sign_session(
            &self,
            _: &bixi_types::session::SessionProof,
        ) -> Result<bixi_types::consensus::SignatureBytes, String> {
            Err("the device was pulled".into())
        }
    }
    let ca = ca(suite);
    let (called, mut caller) = (Member::of(&ca, 2), Member::of(&ca, 3).local());
    caller.key = Arc::new(Gone);
    let runtime = runtime();
    let network = called.start(&runtime, &[]);
    let refused = runtime.block_on(async {
        let tcp = TcpStream::connect(network.address()).await.expect("it listens");
        let calling = async move { crate::session::call(&caller, tcp, Channel::Bulk, &Open).await };
        tokio::spawn(calling).await.expect("no panic")
    });
    let error = refused.err().expect("refused").to_string();
    assert!(error.contains("the device was pulled"), "{error}");
    notes(&network, &["by the other node", "Unsigned", "the device was pulled"]);
    network.stop();
}

#[test]
fn a_node_of_another_suite() {
    let (sm, std) = (ca(CryptoSuite::Sm), ca(CryptoSuite::Std));
    let words = ["share no algorithm", "genesis"];
    for (refuser, refused) in [(&sm, &std), (&std, &sm)] {
        let told = [&["HandshakeFailure"][..], &words].concat();
        refuses(&Member::of(refuser, 2), &Member::of(refused, 3), &words, &told);
    }
}

#[test]
fn certificates_of_another_suite_than_the_chains_start_nothing() {
    let (sm, std) = (ca(CryptoSuite::Sm), ca(CryptoSuite::Std));
    let runtime = runtime();
    for (suite, what) in [(CryptoSuite::Std, "certificate"), (CryptoSuite::Sm, "authorities")] {
        let mut member = Member::new(sm.node(2), std.trust());
        member.suite = suite;
        let refused = member.try_start(&runtime, &[]).map(|_| ()).expect_err("refused").to_string();
        assert!(refused.contains(what) && refused.contains("the chain's suite"), "{refused}");
    }
}

in_both_suites!(
    a_certificate_of_another_authority,
    a_certificate_out_of_its_time,
    a_certificate_that_was_revoked,
    a_denied_tls_key_and_a_node_the_group_does_not_know,
    another_chain,
    no_common_version,
    two_ranges_that_meet_speak_the_highest_common_version,
    a_relayed_hello_is_found_out_by_the_exporter,
    rules_that_change_end_standing_sessions,
    rules_that_change_between_hello_and_session_end_it,
    a_clock_that_is_minutes_off_is_told_and_not_refused,
    a_consensus_key_that_its_device_does_not_give_is_told_on_both_sides,
);
