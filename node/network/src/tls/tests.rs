mod openssl;

use bixi_accel::sm2::DEFAULT_ID;
use bixi_types::CryptoSuite;
use rustls::{AlertDescription, CertificateError, ClientConnection, Connection, ProtocolVersion, ServerConnection};

use super::fixtures::{Authority, DAY, in_both_suites, now};
use super::*;
use crate::pki::{self, PkiError};
use crate::suite::algorithms;

/// A key that its device does not give.
#[derive(Debug)]
struct Gone([u8; 64]);

impl TlsKey for Gone {
    fn sign(&self, _: &[u8]) -> Result<[u8; 64], TlsKeyError> {
        Err(TlsKeyError("the device does not answer".into()))
    }

    fn public_key(&self) -> [u8; 64] {
        self.0
    }
}

/// Both ends of a connection without a network.
struct Pair {
    client: Connection,
    server: Connection,
}

impl Pair {
    fn new(client: &Identity, client_trust: Trust, server: &Identity, server_trust: Trust) -> Self {
        let stores = (Arc::new(TrustStore::new(client_trust)), Arc::new(TrustStore::new(server_trust)));
        let client = client_config(client, stores.0, &[b"bixi/1"]).expect("a configuration");
        let server = server_config(server, stores.1, &[b"bixi/1"]).expect("a configuration");
        Self::of(client, server)
    }

    fn of(client: Arc<ClientConfig>, server: Arc<ServerConfig>) -> Self {
        let name = "node".try_into().expect("a name");
        Self {
            client: ClientConnection::new(client, name).expect("a client").into(),
            server: ServerConnection::new(server).expect("a server").into(),
        }
    }

    /// Carries bytes until neither side has any; the error of whoever refused, and the alert the other got.
    fn shake_hands(&mut self) -> Result<(), (Error, Option<AlertDescription>)> {
        while self.client.wants_write() || self.server.wants_write() {
            if let Err(error) = carry(&mut self.client, &mut self.server) {
                return Err((error, alert(carry(&mut self.server, &mut self.client))));
            }
            if let Err(error) = carry(&mut self.server, &mut self.client) {
                return Err((error, alert(carry(&mut self.client, &mut self.server))));
            }
        }
        assert!(!self.client.is_handshaking() && !self.server.is_handshaking());
        Ok(())
    }
}

fn alert(told: Result<(), Error>) -> Option<AlertDescription> {
    match told {
        Err(Error::AlertReceived(alert)) => Some(alert),
        _ => None,
    }
}

fn carry(from: &mut Connection, to: &mut Connection) -> Result<(), Error> {
    let mut bytes = Vec::new();
    while from.wants_write() {
        from.write_tls(&mut bytes).expect("memory takes all");
    }
    let mut rest = &bytes[..];
    while !rest.is_empty() {
        to.read_tls(&mut rest).expect("memory gives all");
        to.process_new_packets()?;
    }
    Ok(())
}

fn refused(mut pair: Pair) -> (Error, Option<AlertDescription>) {
    pair.shake_hands().expect_err("refused")
}

fn certificate(error: CertificateError) -> Error {
    Error::InvalidCertificate(error)
}

fn both_sides_agree_and_know_each_other(suite: CryptoSuite) {
    use std::io::{Read as _, Write as _};
    let ca = Authority::new(suite, "CN=ca,O=chain0");
    let (a, b) = (ca.node(2), ca.node(3));
    let best = algorithms(suite).cipher_suites[0];
    let mut pair = Pair::new(&a.identity(), ca.trust(), &b.identity(), ca.trust());
    pair.shake_hands().expect("agreed");
    let mut secrets = Vec::new();
    for (side, peer) in [(&mut pair.client, &b), (&mut pair.server, &a)] {
        assert_eq!(side.protocol_version(), Some(ProtocolVersion::TLSv1_3));
        assert_eq!(side.negotiated_cipher_suite().map(|suite| suite.suite()), Some(best.suite()));
        assert_eq!(side.alpn_protocol(), Some(&b"bixi/1"[..]));
        let shown = &side.peer_certificates().expect("a certificate")[0];
        assert_eq!(peer_key(suite, shown).expect("a key"), peer.public_key());
        secrets.push(side.export_keying_material([0; 32], b"EXPORTER-test", None).expect("a secret"));
    }
    assert_eq!(secrets[0], secrets[1]);

    let sent: Vec<u8> = (0..200_000_u32).map(|index| index as u8).collect();
    let mut got = Vec::new();
    for piece in sent.chunks(30_000) {
        pair.client.writer().write_all(piece).expect("room");
        carry(&mut pair.client, &mut pair.server).expect("whole records");
        let mut buffer = vec![0; piece.len()];
        pair.server.reader().read_exact(&mut buffer).expect("all of it");
        got.extend(buffer);
    }
    assert_eq!(got, sent);
}

fn every_algorithm_of_the_suite_is_spoken(suite: CryptoSuite) {
    let ca = Authority::new(suite, "CN=ca,O=chain0");
    let (a, b) = (ca.node(2).identity(), ca.node(3).identity());
    let store = || Arc::new(TrustStore::new(ca.trust()));
    let server = server_config(&b, store(), &[]).expect("a configuration");
    for (cipher_suite, group) in algorithms(suite)
        .cipher_suites
        .iter()
        .flat_map(|one| algorithms(suite).groups.iter().map(move |two| (one, two)))
    {
        let only = CryptoProvider {
            cipher_suites: vec![*cipher_suite],
            kx_groups: vec![*group],
            ..provider(algorithms(suite))
        };
        let client = client_config_offering(only, &a, store(), &[]).expect("a configuration");
        let mut pair = Pair::of(client, Arc::clone(&server));
        pair.shake_hands().expect("agreed");
        let agreed = pair.server.negotiated_cipher_suite().map(|agreed| agreed.suite());
        assert_eq!(agreed, Some(cipher_suite.suite()));
        assert_eq!(pair.server.negotiated_key_exchange_group().map(|agreed| agreed.name()), Some(group.name()));
    }
}

fn authorities_and_certificates_of_another_suite_are_refused(suite: CryptoSuite) {
    let other = if suite == CryptoSuite::Sm { CryptoSuite::Std } else { CryptoSuite::Sm };
    let ca = Authority::new(suite, "CN=ca,O=chain0");
    let authorities = [ca.certificate.clone()];
    let params = TrustParams { authorities: &authorities, ..TrustParams::default() };
    let refused = Trust::new(other, &params).map(|_| ());
    let wrong = |error: &PkiError| matches!(error, PkiError::Algorithm { .. });
    assert!(matches!(&refused, Err(TrustError::Authority { index: 0, source }) if wrong(source)), "{refused:?}");
    let refused = Identity::new(other, &authorities, Arc::new(Gone([0; 64]))).map(|_| ());
    assert!(refused.as_ref().is_err_and(wrong), "{refused:?}");
}

fn a_changed_bit_of_a_record_ends_the_connection(suite: CryptoSuite) {
    use std::io::Write as _;
    let ca = Authority::new(suite, "CN=ca,O=chain0");
    for position in [5, 20, 60] {
        let mut pair = Pair::new(&ca.node(2).identity(), ca.trust(), &ca.node(3).identity(), ca.trust());
        pair.shake_hands().expect("agreed");
        pair.client.writer().write_all(&[7; 40]).expect("room");
        let mut bytes = Vec::new();
        pair.client.write_tls(&mut bytes).expect("memory takes all");
        bytes[position] ^= 1;
        pair.server.read_tls(&mut &bytes[..]).expect("memory gives all");
        assert_eq!(pair.server.process_new_packets().expect_err("refused"), Error::DecryptError, "{position}");
    }
}

fn a_stranger_is_refused_by_either_side(suite: CryptoSuite) {
    let (ca, other) = (Authority::new(suite, "CN=ca,O=chain0"), Authority::new(suite, "CN=other,O=elsewhere"));
    let (ours, theirs) = (ca.node(2).identity(), other.node(3).identity());
    let unknown = (certificate(CertificateError::UnknownIssuer), Some(AlertDescription::UnknownCA));
    let authorities = [ca.certificate.clone(), other.certificate.clone()];
    let both = Trust::new(suite, &TrustParams { authorities: &authorities, ..TrustParams::default() }).expect("trust");
    assert_eq!(refused(Pair::new(&ours, ca.trust(), &theirs, other.trust())), unknown, "the client refuses the server");
    assert_eq!(refused(Pair::new(&theirs, both, &ours, ca.trust())), unknown, "the server refuses the client");
}

fn several_authorities_are_believed_side_by_side(suite: CryptoSuite) {
    let (one, two) = (Authority::new(suite, "CN=one,O=chain0"), Authority::new(suite, "CN=two,O=chain0"));
    let authorities = [one.certificate.clone(), two.certificate.clone()];
    let both =
        || Trust::new(suite, &TrustParams { authorities: &authorities, ..TrustParams::default() }).expect("trust");
    Pair::new(&one.node(2).identity(), both(), &two.node(3).identity(), both()).shake_hands().expect("agreed");
}

fn a_certificate_out_of_its_time_is_refused(suite: CryptoSuite) {
    let ca = Authority::new(suite, "CN=ca,O=chain0");
    let good = ca.node(2).identity();
    for (validity, error, told) in [
        ((now() - 3 * DAY, now() - DAY), CertificateError::Expired, AlertDescription::CertificateExpired),
        ((now() + DAY, now() + 3 * DAY), CertificateError::NotValidYet, AlertDescription::CertificateExpired),
    ] {
        let bad = ca.node_within(3, validity).identity();
        let found = refused(Pair::new(&good, ca.trust(), &bad, ca.trust()));
        assert_eq!(found, (certificate(error), Some(told)));
    }
}

fn a_revoked_certificate_is_refused_from_the_next_handshake_on(suite: CryptoSuite) {
    let ca = Authority::new(suite, "CN=ca,O=chain0");
    let (a, b) = (ca.node(2), ca.node(3));
    let store = Arc::new(TrustStore::new(ca.trust()));
    let server = server_config(&a.identity(), Arc::clone(&store), &[]).expect("a configuration");
    let calling = Arc::new(TrustStore::new(ca.trust()));
    let client = client_config(&b.identity(), calling, &[]).expect("a configuration");
    Pair::of(Arc::clone(&client), Arc::clone(&server)).shake_hands().expect("agreed");

    let authorities = [ca.certificate.clone()];
    let with_list = |serials: &[u8]| {
        let lists = [ca.revoke(serials)];
        Trust::new(
            suite,
            &TrustParams { authorities: &authorities, revocation_lists: &lists, ..TrustParams::default() },
        )
        .expect("trust")
    };
    store.replace(with_list(&[9]));
    Pair::of(Arc::clone(&client), Arc::clone(&server)).shake_hands().expect("another one is revoked");
    store.replace(with_list(&[9, 3]));
    let revoked = (certificate(CertificateError::Revoked), Some(AlertDescription::CertificateRevoked));
    assert_eq!(refused(Pair::of(client, server)), revoked);
}

fn a_revocation_list_that_its_authority_did_not_sign_is_refused(suite: CryptoSuite) {
    let (ca, forger) = (Authority::new(suite, "CN=ca,O=chain0"), Authority::new(suite, "CN=ca,O=chain0"));
    let authorities = [ca.certificate.clone()];
    let lists = [forger.revoke(&[9])];
    let params = TrustParams { authorities: &authorities, revocation_lists: &lists, ..TrustParams::default() };
    let refused = Trust::new(suite, &params).expect_err("it would be held against every certificate").to_string();
    assert!(refused.contains("none of the authorities given has signed it"), "{refused}");

    // Lists are found by name: of two keys with one name, one's list would be held against the other's certificates.
    let both = [ca.certificate.clone(), forger.certificate.clone()];
    let refused = Trust::new(suite, &TrustParams { authorities: &both, ..params }).expect_err("one name").to_string();
    assert!(refused.contains("different keys are both named"), "{refused}");
}

fn the_newest_list_of_an_authority_counts_and_none_older_takes_its_place(suite: CryptoSuite) {
    let ca = Authority::new(suite, "CN=ca,O=chain0");
    let authorities = [ca.certificate.clone()];
    let trust = |lists: &[Vec<u8>]| {
        let params = TrustParams { authorities: &authorities, revocation_lists: lists, ..TrustParams::default() };
        Trust::new(suite, &params).expect("trust")
    };
    let (first, second, forked) = (ca.revoke_by(1, &[]), ca.revoke_by(2, &[3]), ca.revoke_by(2, &[4]));
    for lists in [[first.clone(), second.clone()], [second.clone(), first.clone()]] {
        let (error, _) = refused(Pair::new(&ca.node(2).identity(), trust(&lists), &ca.node(3).identity(), ca.trust()));
        assert_eq!(error, certificate(CertificateError::Revoked));
    }
    let in_force = trust(std::slice::from_ref(&second));
    for older in [first, forked] {
        let refused = trust(&[older]).check_not_older_than(&in_force).expect_err("older").to_string();
        assert!(refused.contains("number 2"), "{refused}");
    }
    for newer in [&[][..], &[second], &[ca.revoke_by(3, &[])]] {
        assert_eq!(trust(newer).check_not_older_than(&in_force), Ok(()));
    }
}

fn only_an_authority_is_believed_as_one(suite: CryptoSuite) {
    let ca = Authority::new(suite, "CN=ca,O=chain0");
    let authorities = [ca.certificate.clone(), ca.node(2).certificate];
    let refused = Trust::new(suite, &TrustParams { authorities: &authorities, ..TrustParams::default() });
    let refused = refused.expect_err("a node's certificate").to_string();
    assert!(refused.contains("CA certificate 1") && refused.contains("no authority's"), "{refused}");
}

fn lists_of_keys_let_in_and_keep_out(suite: CryptoSuite) {
    let ca = Authority::new(suite, "CN=ca,O=chain0");
    let (a, b) = (ca.node(2), ca.node(3));
    let authorities = [ca.certificate.clone()];
    let rules = |allowed: &[[u8; 64]], denied: &[[u8; 64]]| {
        Trust::new(suite, &TrustParams { authorities: &authorities, allowed, denied, ..TrustParams::default() })
            .expect("trust")
    };
    let meet = |trust| Pair::new(&b.identity(), ca.trust(), &a.identity(), trust).shake_hands();
    let kept_out =
        (certificate(CertificateError::ApplicationVerificationFailure), Some(AlertDescription::AccessDenied));
    let key = b.public_key();
    assert_eq!(meet(rules(&[key], &[])), Ok(()));
    assert_eq!(meet(rules(&[a.public_key()], &[])), Err(kept_out.clone()));
    assert_eq!(meet(rules(&[], &[key])), Err(kept_out.clone()));
    assert_eq!(meet(rules(&[key], &[key])), Err(kept_out), "keeping out goes first");
}

fn a_renewed_certificate_is_shown_by_the_next_handshake_and_one_of_another_key_never(suite: CryptoSuite) {
    let ca = Authority::new(suite, "CN=ca,O=chain0");
    let (node, peer) = (ca.node(2), ca.node(3));
    let identity = node.identity();
    let store = || Arc::new(TrustStore::new(ca.trust()));
    let server = server_config(&identity, store(), &[]).expect("a configuration");
    let client = client_config(&peer.identity(), store(), &[]).expect("a configuration");
    let shown = || {
        let mut pair = Pair::of(Arc::clone(&client), Arc::clone(&server));
        assert_eq!(pair.shake_hands(), Ok(()));
        pki::from_der(&pair.client.peer_certificates().expect("shown")[0]).expect("a certificate")
    };
    assert_eq!(shown(), node.certificate);
    let renewed = ca.renew(&node, 4);
    assert_eq!(identity.replace_chain(std::slice::from_ref(&peer.certificate)), Err(PkiError::OtherKey));
    assert_eq!(shown(), node.certificate);
    assert_eq!(identity.replace_chain(std::slice::from_ref(&renewed)), Ok(()));
    assert_eq!(shown(), renewed);
}

#[test]
fn a_signature_with_another_identifier_is_refused() {
    let ca = Authority::new(CryptoSuite::Sm, "CN=ca,O=chain0");
    let (good, bad) = (ca.node(2).identity(), ca.node(3).identity_signing_with(DEFAULT_ID));
    let wrong = (certificate(CertificateError::BadSignature), Some(AlertDescription::DecryptError));
    assert_eq!(refused(Pair::new(&good, ca.trust(), &bad, ca.trust())), wrong, "the server's");
    assert_eq!(refused(Pair::new(&bad, ca.trust(), &good, ca.trust())), wrong, "the client's");
}

fn a_caller_without_a_certificate_is_refused(suite: CryptoSuite) {
    let ca = Authority::new(suite, "CN=ca,O=chain0");
    let server = server_config(&ca.node(2).identity(), Arc::new(TrustStore::new(ca.trust())), &[]).expect("a server");
    let mut client = ClientConfig::builder_with_provider(Arc::new(provider(algorithms(suite))))
        .with_protocol_versions(&[&TLS13])
        .expect("TLS 1.3")
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(Verifier::new(Arc::new(TrustStore::new(ca.trust())))))
        .with_no_client_auth();
    client.enable_sni = false;
    let told = Some(AlertDescription::CertificateRequired);
    assert_eq!(refused(Pair::of(Arc::new(client), server)), (Error::NoCertificatesPresented, told));
}

fn a_certificate_of_another_key_is_no_identity(suite: CryptoSuite) {
    let ca = Authority::new(suite, "CN=ca,O=chain0");
    let (node, other) = (ca.node(2), ca.node(3));
    let own = |key| Identity::new(suite, std::slice::from_ref(&node.certificate), Arc::new(Gone(key))).map(|_| ());
    assert_eq!(own(other.public_key()), Err(PkiError::OtherKey));
    assert_eq!(own(node.public_key()), Ok(()));
}

fn a_device_that_cannot_sign_ends_the_handshake_with_its_words(suite: CryptoSuite) {
    let ca = Authority::new(suite, "CN=ca,O=chain0");
    let node = ca.node(2);
    let key = Arc::new(Gone(node.public_key()));
    let gone = Identity::new(suite, std::slice::from_ref(&node.certificate), key).expect("an identity");
    let (error, _) = refused(Pair::new(&ca.node(3).identity(), ca.trust(), &gone, ca.trust()));
    assert!(error.to_string().contains("the device does not answer"), "{error}");
}

fn a_peer_that_speaks_another_version_is_refused(suite: CryptoSuite) {
    let ca = Authority::new(suite, "CN=ca,O=chain0");
    let store = || Arc::new(TrustStore::new(ca.trust()));
    let client = client_config(&ca.node(2).identity(), store(), &[b"bixi/2"]).expect("a configuration");
    let server = server_config(&ca.node(3).identity(), store(), &[b"bixi/1"]).expect("a configuration");
    let none = (Error::NoApplicationProtocol, Some(AlertDescription::NoApplicationProtocol));
    assert_eq!(refused(Pair::of(client, server)), none);
}

fn rules_that_cannot_be_kept_are_refused_by_place(suite: CryptoSuite) {
    let ca = Authority::new(suite, "CN=ca,O=chain0");
    assert_eq!(Trust::new(suite, &TrustParams::default()).map(|_| ()), Err(TrustError::NoAuthority));
    let authorities = [ca.certificate.clone()];
    for list in [vec![], vec![0x30, 0x80], vec![0; REVOCATION_LIST_BYTES_MAX + 1]] {
        let lists = [ca.revoke(&[9]), list];
        let params = TrustParams { authorities: &authorities, revocation_lists: &lists, ..TrustParams::default() };
        assert!(matches!(Trust::new(suite, &params), Err(TrustError::RevocationList { index: 1, .. })));
    }
}

in_both_suites!(
    both_sides_agree_and_know_each_other,
    every_algorithm_of_the_suite_is_spoken,
    authorities_and_certificates_of_another_suite_are_refused,
    a_changed_bit_of_a_record_ends_the_connection,
    a_stranger_is_refused_by_either_side,
    several_authorities_are_believed_side_by_side,
    a_certificate_out_of_its_time_is_refused,
    a_revoked_certificate_is_refused_from_the_next_handshake_on,
    a_revocation_list_that_its_authority_did_not_sign_is_refused,
    the_newest_list_of_an_authority_counts_and_none_older_takes_its_place,
    only_an_authority_is_believed_as_one,
    lists_of_keys_let_in_and_keep_out,
    a_renewed_certificate_is_shown_by_the_next_handshake_and_one_of_another_key_never,
    a_caller_without_a_certificate_is_refused,
    a_certificate_of_another_key_is_no_identity,
    a_device_that_cannot_sign_ends_the_handshake_with_its_words,
    a_peer_that_speaks_another_version_is_refused,
    rules_that_cannot_be_kept_are_refused_by_place,
);
