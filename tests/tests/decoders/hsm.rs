//! The signing protocol, key references, what a TLS library hands over to be signed, an officer's page, a vault's file.

use std::path::Path;

use bixi_accel::sm2::{self, PrivateKey};
use bixi_accel::{Random, RandomError, sm3};
use bixi_hsm::audit::Head;
use bixi_hsm::exchange::{self, End, Left, Moved, Progress, Wish};
use bixi_hsm::guard::Ticket;
use bixi_hsm::guard::export::Export;
use bixi_hsm::guard::{Claim, Position};
use bixi_hsm::officer::key::{FILE_BYTES, public_key_of};
use bixi_hsm::officer::{Approval, Change, Override};
use bixi_hsm::protocol::{
    DataKeyEpochs, FrameError, KeyRole, Message, Request, Response, TlsRole, TlsTranscript, TrailResealed,
};
use bixi_hsm::transcript::Transcript;
use bixi_hsm::{KeyRef, KeyUri};
use bixi_hsm_broker::frame;
use bixi_hsm_escrow::Document;
use bixi_hsm_vault::Description;
use bixi_sealed::AtRest;
use bixi_types::consensus::SignatureBytes;
use bixi_types::{H256, NodeId};

use crate::plan::Decoder;

fn message<M: Message + PartialEq + std::fmt::Debug>(bytes: &[u8]) -> bool {
    let Ok::<M, FrameError>(read) = M::decode(bytes) else { return false };
    assert_eq!(*read.encode(), bytes);
    true
}

/// A frame on the broker's socket, whose stream ends with it.
fn broker_frame(mut bytes: &[u8]) -> bool {
    let whole = bytes;
    let Ok(read) = frame::read(&mut bytes) else { return false };
    let mut written = Vec::new();
    frame::write(&mut written, &read).expect("memory takes it");
    assert_eq!(written, whole[..whole.len() - bytes.len()]);
    bytes.is_empty()
}

/// What is read is shown in one way, which reads the same.
fn key_uri(bytes: &[u8]) -> bool {
    let Some(read) = text(bytes).and_then(|text| text.parse::<KeyUri>().ok()) else { return false };
    let _ = text(bytes).expect("read before").parse::<KeyRef>();
    assert_eq!(read.to_string().parse(), Ok(read));
    true
}

fn tls_transcript(bytes: &[u8]) -> bool {
    let Some(read) = TlsTranscript::from_content(bytes) else { return false };
    assert_eq!(read.content(), bytes);
    true
}

/// An officer's note of where the audit trail stood.
fn audit_head(bytes: &[u8]) -> bool {
    let Some(read) = text(bytes).and_then(|text| text.parse::<Head>().ok()) else { return false };
    assert_eq!(read.to_string().as_bytes(), bytes);
    true
}

fn override_statement(bytes: &[u8]) -> bool {
    let Ok(read) = Override::decode(bytes) else { return false };
    assert_eq!(read.encode(), bytes);
    true
}

fn approval(bytes: &[u8]) -> bool {
    let Ok(read) = Approval::decode(bytes) else { return false };
    assert_eq!(read.encode(), bytes);
    true
}

fn officer_key(bytes: &[u8]) -> bool {
    public_key_of(bytes).is_ok()
}

/// One of today's, as far as it is read without a passphrase: magic, public half, cost of the passphrase.
fn officer_file() -> Vec<u8> {
    let mut file = [&b"BIXIOFK2"[..], &[7; 64], &(64_u32 << 10).to_le_bytes(), &3_u32.to_le_bytes()].concat();
    file.resize(FILE_BYTES, 7);
    file
}

const OFFICER_KEY_V1: &[u8] = include_bytes!("../../../hsm/tests/fixtures/officer-key-v1");

/// What is read was signed, so it is one of the seeds: nobody else has the key.
fn guard_export(bytes: &[u8]) -> bool {
    let Ok(read) = Export::decode(bytes) else { return false };
    assert_eq!(read, export().0);
    true
}

/// What is read prints as it was read.
fn guard_ticket(bytes: &[u8]) -> bool {
    let Some(text) = text(bytes) else { return false };
    let Ok(read) = Ticket::parse(text, &H256([1; 32]), &NodeId([2; 64])) else { return false };
    assert_eq!(read.text(&H256([1; 32]), &NodeId([2; 64])), text.trim().to_ascii_lowercase());
    true
}

const TICKET: Ticket = Ticket::new([7; 16]);

/// An export and its file.
fn export() -> (Export, Vec<u8>) {
    let key = PrivateKey::from_bytes(&[5; 32]).expect("a key");
    let node = NodeId([2; 64]);
    let claim = Claim { key: node, position: Position::Checkpoint { height: 7 }, digest: [3; 32] };
    let export = Export {
        chain: H256([1; 32]),
        node,
        signer: key.public_key().to_bytes(),
        ticket: TICKET,
        overrulings: 2,
        at_ms: 9,
        marks: vec![(claim, Some(SignatureBytes([4; 64])))],
    };
    let signature = sm2::sign(&key, sm2::DEFAULT_ID, &export.sign_bytes(), &mut Same).expect("a signature");
    let file = export.encode(&SignatureBytes(signature.0));
    (export, file)
}

/// The same file in every run.
struct Same;

impl Random for Same {
    fn fill(&mut self, out: &mut [u8]) -> Result<(), RandomError> {
        out.fill(0x5A);
        Ok(())
    }
}

/// What is read is printed in one way, which reads the same.
fn escrow_page(bytes: &[u8]) -> bool {
    let Some(read) = text(bytes).and_then(|text| Document::parse(text).ok()) else { return false };
    let page = read.print("officer");
    assert_eq!(*Document::parse(&page).expect("our own printing").print("officer"), *page);
    true
}

/// A vault's file without its last field, the checksum: with it, every change would end there.
fn vault(bytes: &[u8]) -> bool {
    Description::parse(Path::new("vault"), &[bytes, &sm3::digest(bytes)].concat()).is_ok()
}

/// Entries follow from the chain before them, so nothing else is to be held against them.
fn ceremony_transcript(bytes: &[u8]) -> bool {
    text(bytes).is_some_and(|text| Transcript::parse(text).is_ok())
}

fn text(bytes: &[u8]) -> Option<&str> {
    std::str::from_utf8(bytes).ok()
}

const VAULT: &[u8] = include_bytes!("../../../hsm/vault/tests/fixtures/vault-v1");
const TRANSCRIPT: &str = include_str!("../../../hsm/tests/fixtures/transcript-v1.txt");
const PAGE: &str = include_str!("../../../hsm/escrow/tests/fixtures/page-v1.txt");

/// All of them.
pub(crate) fn decoders() -> Vec<Decoder> {
    let transcript = TlsTranscript { role: TlsRole::Server, hash: [5; 32] };
    let requests = [
        Request::SignTls(transcript),
        Request::SignCheckpoint { header: vec![1; 90] },
        Request::Random { len: 32 },
        Request::Attest(KeyRole::Kek),
        Request::Health,
        Request::Settle,
        Request::TellDue,
        Request::RotateDataKey { after: 1 },
        Request::ResealTrail,
        Request::DropDataKeys { below: 2 },
        Request::RotateDataKeyTo { after: 1, suite: AtRest::Aes256Gcm },
    ];
    let change = Change { height: 7, old: H256([1; 32]), new: H256([2; 32]) };
    let statement = Override {
        chain: H256([1; 32]),
        node: NodeId([2; 64]),
        number: 1,
        changes: vec![change],
        reason: "a faulty build".into(),
        at_ms: 5,
    };
    let responses = [
        Response::PublicKey([7; 64]),
        Response::Settled,
        Response::DataKeys(DataKeyEpochs { current: 3, known: vec![1, 3] }),
        Response::Resealed(TrailResealed { bytes: 9, files_left: 1 }),
    ];
    let wish = Wish { new_epoch: true, drop_older: false, cipher: Some(AtRest::Aes256Gcm), bytes_per_second: Some(5) };
    let left = Left { file: "data/guard".into(), reason: "held".into() };
    let moved = Moved { epoch: 2, cipher: AtRest::Sm4Gcm, bytes: 9, dropped: vec![1], kept: vec![], left: vec![left] };
    let progress = Progress {
        life: 3,
        number: 1,
        wish,
        epoch: 2,
        step: "ledger".into(),
        bytes: 3,
        bytes_total: 9,
        end: Some(End::Moved(moved)),
    };
    let asked = [exchange::Request::Exchange(wish), exchange::Request::Progress];
    let told = [exchange::Answer::Progress(progress), exchange::Answer::Refused("another user".into())];
    let uri = b"pkcs11:token=bixi;object=consensus;type=private;id=%01%02?module-path=/usr/lib/libx.so".to_vec();
    vec![
        Decoder::new(
            "signing-request",
            message::<Request>,
            requests.iter().map(|request| request.encode().to_vec()).collect(),
        ),
        Decoder::new(
            "signing-response",
            message::<Response>,
            responses.iter().map(|one| one.encode().to_vec()).collect(),
        ),
        Decoder::new(
            "control-request",
            message::<exchange::Request>,
            asked.iter().map(|one| one.encode().to_vec()).collect(),
        ),
        Decoder::new(
            "control-answer",
            message::<exchange::Answer>,
            told.iter().map(|one| one.encode().to_vec()).collect(),
        ),
        Decoder::new("broker-frame", broker_frame, vec![[&[5, 0, 0, 0][..], b"frame"].concat()]),
        Decoder::new("audit-head", audit_head, vec![Head { entries: 40, hash: [7; 32] }.to_string().into_bytes()]),
        Decoder::new("override-statement", override_statement, vec![statement.encode()]),
        Decoder::new(
            "override-approval",
            approval,
            vec![Approval { statement: [1; 32], officer: [2; 64], signature: [3; 64] }.encode()],
        ),
        Decoder::new("officer-key", officer_key, vec![officer_file(), OFFICER_KEY_V1.to_vec()]),
        Decoder::new("guard-export", guard_export, vec![export().1]),
        Decoder::new("guard-ticket", guard_ticket, vec![TICKET.text(&H256([1; 32]), &NodeId([2; 64])).into_bytes()]),
        Decoder::open_ended("key-uri", key_uri, vec![uri]),
        Decoder::open_ended("escrow-page", escrow_page, vec![PAGE.into()]),
        Decoder::open_ended("ceremony-transcript", ceremony_transcript, vec![TRANSCRIPT.into()]),
        Decoder::new("vault", vault, vec![VAULT[..VAULT.len() - 32].to_vec()]),
        Decoder::new("tls-transcript", tls_transcript, vec![transcript.content()]),
    ]
}
