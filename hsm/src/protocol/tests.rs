use bixi_sealed::AtRest;
use bixi_types::consensus::VoteKind;
use bixi_types::session::SessionRole;
use bixi_types::{H256, NodeId};
use proptest::prelude::*;

use super::*;
use crate::device::{Cause, Custody};
use crate::guard::Step;

fn vote() -> Vote {
    Vote { chain: H256([1; 32]), height: 7, round: 2, kind: VoteKind::Prevote, value: None, validator: NodeId([3; 64]) }
}

fn requests() -> Vec<Request> {
    let proposal = Proposal {
        chain: H256([1; 32]),
        height: 7,
        round: 2,
        value: H256([2; 32]),
        pol_round: Some(1),
        validator: NodeId([3; 64]),
    };
    vec![
        Request::SignProposal(proposal),
        Request::SignVote(vote()),
        Request::SignCheckpoint { header: vec![1, 2, 3] },
        Request::SignTls(TlsTranscript { role: TlsRole::Client, hash: [4; 32] }),
        Request::SignCertificateRequest { info: vec![0x30, 0] },
        Request::Prf { input: PRF_DOMAIN.to_vec() },
        Request::Random { len: 32 },
        Request::Attest(KeyRole::Kek),
        Request::PublicKey(KeyRole::Tls),
        Request::Health,
        Request::Marks,
        Request::SignSession(SessionProof {
            chain: H256([1; 32]),
            node: NodeId([3; 64]),
            role: SessionRole::Server,
            protocol_version: 1,
            exporter: [4; 32],
        }),
        Request::Settle,
        Request::TellDue,
        Request::RotateDataKey { after: 3 },
        Request::ResealTrail,
        Request::DropDataKeys { below: 4 },
        Request::RotateDataKeyTo { after: 3, suite: AtRest::Sm4Gcm },
        Request::RotateDataKeyTo { after: 3, suite: AtRest::Aes256Gcm },
    ]
}

fn responses() -> Vec<Response> {
    let info = DeviceInfo {
        backend: "soft".to_owned(),
        manufacturer: String::new(),
        model: String::new(),
        serial: String::new(),
        token: "t".to_owned(),
        version: "1".to_owned(),
        custody: Custody::Hardware,
        monotonic_counter: true,
    };
    let error = DeviceError::new("C_Sign", Cause::Fault, "broken").with_code(0x30).with_advice("replace it");
    vec![
        Response::Signature(SignatureBytes([9; 64])),
        Response::PublicKey([8; 64]),
        Response::Derived(Derived([7; 32])),
        Response::Random(Drawn(vec![1, 2, 3])),
        Response::Marks(vec![
            Position::Ordering { height: 7, round: 1, step: Step::Precommit },
            Position::Checkpoint { height: 6 },
        ]),
        Response::Healthy(info),
        Response::Settled,
        Response::Refused(Refusal::Conflict("twice".to_owned())),
        Response::Refused(Refusal::Device(error)),
        Response::Refused(Refusal::NoKey(KeyRole::Kek)),
    ]
}

#[test]
fn every_message_survives_its_frame() {
    for request in requests() {
        assert_eq!(Request::decode(&request.encode()), Ok(request));
    }
    for response in responses() {
        assert_eq!(Response::decode(&response.encode()), Ok(response));
    }
}

#[test]
fn frames_are_bounded_versioned_and_exact() {
    let frame = Request::SignVote(vote()).encode();
    assert_eq!(Request::decode(&[]), Err(FrameError::Empty));
    for (theirs, side) in [(VERSION + 1, "upgrade this side"), (VERSION - 1, "upgrade the other side")] {
        let error = Request::decode(&[theirs]).unwrap_err();
        assert_eq!(error, FrameError::Version(theirs));
        assert!(error.to_string().ends_with(side), "{error}");
    }
    assert_eq!(Request::decode(&vec![VERSION; FRAME_BYTES_MAX + 1]), Err(FrameError::TooLong(FRAME_BYTES_MAX + 1)));
    let longer = [&frame[..], &[0]].concat();
    assert!(matches!(Request::decode(&longer), Err(FrameError::Malformed(_))));
    for cut in 1..frame.len() {
        assert!(matches!(Request::decode(&frame[..cut]), Err(FrameError::Malformed(_))), "cut at {cut}");
    }
}

#[test]
fn a_length_field_that_lies_allocates_nothing_of_its_size() {
    // SignCheckpoint with a header "of 4 GiB": must fail on the missing bytes.
    let frame = [VERSION, 2, 0xFF, 0xFF, 0xFF, 0xFF];
    assert!(matches!(Request::decode(&frame), Err(FrameError::Malformed(_))));
}

#[test]
fn secrets_are_not_printed() {
    assert_eq!(format!("{:?}", Response::Derived(Derived([0xAB; 32]))), "Derived(Derived(..))");
    assert_eq!(format!("{:?}", Response::Random(Drawn(vec![0xAB; 32]))), "Random(Drawn(..))");
}

#[test]
fn tls_content_is_rfc_8446_section_4_4_3() {
    let transcript = TlsTranscript { role: TlsRole::Server, hash: [0x5A; 32] };
    let content = transcript.content();
    assert_eq!(content.len(), 64 + 33 + 1 + 32);
    assert!(content[..64].iter().all(|byte| *byte == b' '));
    assert_eq!(&content[64..98], b"TLS 1.3, server CertificateVerify\0");
    assert_eq!(TlsTranscript::from_content(&content), Some(transcript));
    let client = TlsTranscript { role: TlsRole::Client, ..transcript };
    assert_eq!(TlsTranscript::from_content(&client.content()), Some(client));
    assert_ne!(client.content(), content);
    assert_eq!(TlsTranscript::from_content(&content[..129]), None);
    assert_eq!(TlsTranscript::from_content(&[&content[..], &[0]].concat()), None);
    assert_eq!(TlsTranscript::from_content(&content[1..]), None);
}

proptest! {
    #[test]
    fn arbitrary_frames_never_panic(mut frame in proptest::collection::vec(any::<u8>(), 0..200), versioned: bool) {
        if let (true, Some(first)) = (versioned, frame.first_mut()) {
            *first = VERSION;
        }
        if let Ok(request) = Request::decode(&frame) {
            prop_assert_eq!(&request.encode()[..], &frame[..]);
        }
        let _ = Response::decode(&frame);
    }
}
