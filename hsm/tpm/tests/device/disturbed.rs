//! Somebody on the line, or a TPM that answers otherwise than it should.

use bixi_accel::sm2::{PublicKey, Signature, verify_digest};
use bixi_hsm::{Cause, ErrorKind, KeyDevice as _, KeyKind, KeyRef, KeySpec};
use bixi_hsm_tpm::{Initialisation, Params, TpmDevice, initialise_store};
use bixi_platform::secret::Secret;
use bixi_tests::swtpm::Swtpm;
use bixi_tests::swtpm_or_skip;

use crate::between::{Between, Spoil};
use crate::liar::Liar;
use crate::swtpm::{PIN, Stores as _};

/// Responses of one piece of work: parent, clock, objects, sessions, then these, then two flushes.
const SESSION: usize = 4;
const LOAD: usize = 5;
const COMMAND: usize = 6;
const WORK: usize = 9;

#[test]
fn neither_pin_nor_what_is_secret_is_on_the_line() {
    let swtpm = swtpm_or_skip!();
    let between = Between::new(swtpm.path("between"), swtpm.path("tpm.socket"));
    let initialisation = Initialisation { address: between.address(), ..swtpm.initialisation() };
    initialise_store(&initialisation).unwrap();
    let device = TpmDevice::open(Params { address: between.address(), ..swtpm.params(PIN) }).unwrap();
    let key = device.generate(&KeySpec::new("vote", KeyKind::Sm2Sign)).unwrap();
    let kek = device.generate(&KeySpec::new("kek", KeyKind::Kek)).unwrap();
    let (mut random, mut prf) = ([0; 32], [0; 32]);
    device.random(&mut random).unwrap();
    device.prf(&kek, b"the input of a key encryption key", &mut prf).unwrap();
    let signature = device.sign_digest(&key, &[9; 32]).unwrap();
    assert!(device.advance_counter().is_ok());
    assert!(between.saw(&signature[..32]) && between.saw(&[9; 32]), "what is public goes by and is seen");
    for secret in [PIN, &random[..], &prf[..], b"the input of a key encryption key"] {
        assert!(!between.saw(secret), "{secret:02X?} was on the line");
    }
}

#[test]
fn the_owners_session_is_salted_and_the_parents_name_is_the_tpms() {
    let swtpm = swtpm_or_skip!();
    swtpm.set_owner_authorization(b"of the owner");
    let between = Between::new(swtpm.path("between"), swtpm.path("tpm.socket"));
    let owner_authorization = Secret::from_slice(b"of the owner");
    let request = Initialisation { address: between.address(), owner_authorization, ..swtpm.initialisation() };
    let ceremony = initialise_store(&request).unwrap();
    let seen = between.seen();
    // TPM2_CreatePrimary under the owner, and the TPM2_StartAuthSession before it: its first handle is the salt's key.
    let primary = seen.windows(8).position(|window| window == [0, 0, 1, 0x31, 0x40, 0, 0, 1]).unwrap();
    let opened = seen[..primary].windows(4).rposition(|window| window == [0, 0, 1, 0x76]).unwrap();
    assert_eq!(seen[opened + 4], 0x80, "a loaded key, not the null handle");
    let handle = ceremony.parent_handle.to_be_bytes();
    let answer = swtpm.done(&[&[0x80, 1, 0, 0, 0, 14, 0, 0, 1, 0x73][..], &handle].concat());
    assert!(answer.windows(34).any(|window| window == ceremony.parent), "{ceremony:x?}");
}

#[test]
fn a_parent_is_taken_away_when_the_answer_that_it_is_there_was_lost() {
    const EVICT_CONTROL: u32 = 0x120;
    let swtpm = swtpm_or_skip!();
    let between = Between::new(swtpm.path("between"), swtpm.path("tpm.socket"));
    let request = |directory| Initialisation {
        address: between.address(),
        directory: swtpm.path(directory),
        ..swtpm.initialisation()
    };
    // Starts it: else the first ceremony would have more commands than those after it.
    swtpm.facts();
    initialise_store(&request("sound")).unwrap();
    let made = between.commands().iter().position(|(code, _)| *code == EVICT_CONTROL).unwrap();
    for spoil in [Spoil::Cut(0), Spoil::Flip(255)] {
        between.arm(made, spoil);
        initialise_store(&request("spoiled")).unwrap_err();
        assert!(between.disarm());
        let facts = swtpm.facts();
        let left = (swtpm.persistent(), facts.objects_free, facts.sessions_free);
        assert_eq!(left, (1, 3, 3), "{spoil:?} left something behind");
    }
    initialise_store(&request("spoiled")).unwrap();
}

/// A store on a TPM of its own, used directly and through somebody between.
struct Disturbed {
    device: TpmDevice,
    between: Between,
    direct: TpmDevice,
    swtpm: Swtpm,
    vote: KeyRef,
    kek: KeyRef,
}

impl Disturbed {
    fn new(swtpm: Swtpm) -> Self {
        let between = Between::new(swtpm.path("between"), swtpm.path("tpm.socket"));
        let direct = swtpm.device();
        let vote = direct.generate(&KeySpec::new("vote", KeyKind::Sm2Sign)).unwrap();
        let kek = direct.generate(&KeySpec::new("kek", KeyKind::Kek)).unwrap();
        let device = TpmDevice::open(Params { address: between.address(), ..swtpm.params(PIN) }).unwrap();
        Self { device, between, direct, swtpm, vote, kek }
    }

    /// One signature, one PRF and one draw of random bytes, each with its response number `skipped` spoiled; how many were
    /// reached. Each begins on a sound device: nothing that was spoiled before stopped it for good.
    fn spoil(&self, skipped: usize, spoil: Spoil) -> usize {
        let public = PublicKey::from_bytes(&self.direct.public_key(&self.vote).unwrap()).unwrap();
        let mut expected = [0; 32];
        self.direct.prf(&self.kek, b"x", &mut expected).unwrap();
        self.device.health().unwrap();
        self.between.arm(skipped, spoil);
        if let Ok(signature) = self.device.sign_digest(&self.vote, &[3; 32]) {
            assert!(verify_digest(&public, &[3; 32], &Signature(signature)), "{spoil:?} at {skipped}");
        }
        let signing = self.between.disarm();
        self.device.health().unwrap();
        self.between.arm(skipped, spoil);
        let mut out = [0; 32];
        if self.device.prf(&self.kek, b"x", &mut out).is_ok() {
            assert_eq!(out, expected, "{spoil:?} at {skipped}");
        }
        let deriving = self.between.disarm();
        self.device.health().unwrap();
        self.between.arm(skipped, spoil);
        if let Err(refused) = self.device.random(&mut out) {
            assert_ne!(refused.cause, Cause::WrongPin, "{spoil:?} at {skipped}: {refused}");
        }
        [signing, deriving, self.between.disarm()].into_iter().map(usize::from).sum()
    }
}

#[test]
fn spoiled_responses_are_refused_and_leave_nothing_behind() {
    // Among them the nonce of a session (90), its handle (64), the handle of a loaded key (25).
    let flips = [1, 25, 64, 90, 255].map(Spoil::Flip);
    let spoils = [&flips[..], &[Spoil::Cut(0), Spoil::Cut(200), Spoil::Junk(0xFF)]].concat();
    let disturbed = Disturbed::new(swtpm_or_skip!());
    let mut reached = 0;
    for spoil in spoils {
        for skipped in 0..WORK {
            reached += disturbed.spoil(skipped, spoil);
            let facts = disturbed.swtpm.facts();
            assert_eq!(facts.lockout.failed_tries, 0, "{spoil:?} at {skipped} made the TPM count a wrong PIN");
            let free = (facts.objects_free, facts.sessions_free);
            assert_eq!(free, (3, 3), "{spoil:?} at {skipped} left something loaded");
        }
    }
    assert_eq!(reached, 8 * WORK * 3);
}

/// What the guard notes before each holds for one step.
#[test]
fn the_counter_is_advanced_by_one_at_most_whatever_becomes_of_the_answer() {
    let disturbed = Disturbed::new(swtpm_or_skip!());
    let (mut reached, mut unknown) = (0, 0);
    for spoil in [Spoil::Cut(0), Spoil::Flip(90), Spoil::Flip(255)] {
        for skipped in 0..12 {
            let before = disturbed.direct.counter().unwrap();
            disturbed.device.health().unwrap();
            disturbed.between.arm(skipped, spoil);
            let answer = disturbed.device.advance_counter();
            reached += usize::from(disturbed.between.disarm());
            let after = disturbed.direct.counter().unwrap();
            assert!(after - before <= 1, "{spoil:?} at {skipped}: from {before} to {after}");
            match answer {
                Ok(value) => assert_eq!((value, after), (before + 1, before + 1), "{spoil:?} at {skipped}"),
                Err(_) => unknown += after - before,
            }
        }
    }
    assert!(reached > 12 && unknown > 1, "{reached} spoiled, {unknown} advanced without an answer");
}

#[test]
fn a_session_key_that_is_not_the_tpms_is_no_verdict_on_the_pin() {
    const AUTH_FAIL: u32 = 0x98E;
    const BAD_AUTH: u32 = 0x9A2;
    let disturbed = Disturbed::new(swtpm_or_skip!());
    let mut random = [0; 32];
    // The nonce that the session's key is made from comes spoiled; nobody's PIN is wrong.
    disturbed.between.arm(SESSION, Spoil::Flip(90));
    disturbed.device.random(&mut random).unwrap();
    assert!(disturbed.between.disarm());
    // The answer to what no PIN authorizes: loading a key, then the random bytes themselves.
    for (skipped, code) in [(LOAD, AUTH_FAIL), (LOAD, BAD_AUTH), (COMMAND, AUTH_FAIL), (COMMAND, BAD_AUTH)] {
        disturbed.between.arm(skipped, Spoil::Answer(code));
        disturbed.device.random(&mut random).unwrap();
        assert!(disturbed.between.disarm(), "{code:#x} at {skipped} was not reached");
    }
    // A wrong PIN of a key is counted, so it is never what a TPM calls BAD_AUTH.
    disturbed.between.arm(COMMAND, Spoil::Answer(BAD_AUTH));
    disturbed.device.sign_digest(&disturbed.vote, &[3; 32]).unwrap();
    assert!(disturbed.between.disarm());
    // No PIN was remembered as refused.
    TpmDevice::open(disturbed.swtpm.params(PIN)).unwrap();
}

#[test]
fn a_tpm_that_is_busy_testing_or_not_started_is_asked_again() {
    const RETRY: u32 = 0x922;
    const TESTING: u32 = 0x90A;
    const YIELDED: u32 = 0x908;
    const NV_RATE: u32 = 0x920;
    const NEEDS_TEST: u32 = 0x153;
    const INITIALIZE: u32 = 0x100;
    let disturbed = Disturbed::new(swtpm_or_skip!());
    for code in [RETRY, TESTING, YIELDED, NV_RATE, NEEDS_TEST, INITIALIZE] {
        for skipped in 0..WORK {
            disturbed.between.arm(skipped, Spoil::Answer(code));
            disturbed.device.sign_digest(&disturbed.vote, &[3; 32]).unwrap();
            assert!(disturbed.between.disarm(), "{code:#x} at {skipped} was not reached");
        }
    }
    let facts = disturbed.swtpm.facts();
    assert_eq!((facts.objects_free, facts.sessions_free), (3, 3));
}

/// Of these only the last is sent with the PIN.
const HMAC: u32 = 0x155;
const SIGN: u32 = 0x15D;

#[test]
fn an_attempt_is_noted_when_the_pin_is_sent_and_not_while_a_tpm_is_waited_for() {
    let swtpm = swtpm_or_skip!();
    initialise_store(&swtpm.initialisation()).unwrap();
    let between = Between::new(swtpm.path("between"), swtpm.path("tpm.socket"));
    TpmDevice::open(Params { address: between.address(), ..swtpm.params(PIN) }).unwrap();
    let commands = between.commands();
    let sent = commands.iter().position(|(code, _)| *code == HMAC).unwrap();
    assert!(sent > WORK && commands[sent].1, "{commands:x?}");
    assert!(commands[..sent].iter().all(|(_, noted)| !noted), "noted before the PIN was sent: {commands:x?}");
}

#[test]
fn a_lockout_ends_by_itself_and_no_pin_is_sent_meanwhile() {
    let swtpm = swtpm_or_skip!();
    let disturbed = Disturbed::new(swtpm);
    let Disturbed { device, between, swtpm, vote, .. } = &disturbed;
    for attempt in 0..swtpm.facts().lockout.tries_max {
        TpmDevice::open(swtpm.params(format!("wrong-{attempt}").as_bytes())).unwrap_err();
    }
    assert!(swtpm.facts().lockout.locked);
    let refused = device.health().unwrap_err();
    assert_eq!((refused.cause, refused.kind()), (Cause::Busy, ErrorKind::Retry), "{refused}");
    between.commands();
    for _ in 0..3 {
        assert_eq!(device.sign_digest(vote, &[3; 32]).unwrap_err().cause, Cause::Busy);
        assert_eq!(device.health().unwrap_err().cause, Cause::Busy);
    }
    let commands = between.commands();
    assert!(!commands.is_empty() && commands.iter().all(|(code, _)| ![HMAC, SIGN].contains(code)), "{commands:x?}");
    swtpm.end_lockout();
    device.sign_digest(vote, &[3; 32]).unwrap();
    // Between a look at it and the PIN: told by the TPM itself, and looked at again.
    between.arm(COMMAND, Spoil::Answer(0x921));
    device.sign_digest(vote, &[3; 32]).unwrap();
    assert!(between.disarm());
}

#[test]
fn what_the_tpm_refuses_is_told_with_function_code_and_advice() {
    let cases = [
        (0x101, Cause::Fault, "failure mode"),
        (0x902, Cause::Busy, "/dev/tpmrm0"),
        (0x2D5, Cause::Rejected, "correct the request"),
    ];
    for (code, cause, advice) in cases {
        let disturbed = Disturbed::new(swtpm_or_skip!());
        disturbed.between.arm(COMMAND, Spoil::Answer(code));
        let refused = disturbed.device.sign_digest(&disturbed.vote, &[3; 32]).unwrap_err();
        assert_eq!((refused.cause, refused.code), (cause, Some(code.into())), "{refused}");
        assert!(refused.to_string().starts_with("TPM2_Sign: ") && refused.advice.contains(advice), "{refused}");
    }
}

#[test]
fn somebody_who_makes_answers_up_is_refused() {
    let swtpm = swtpm_or_skip!();
    initialise_store(&swtpm.initialisation()).unwrap();
    let liar = Liar::new(swtpm.path("liar"));
    for _ in 0..150 {
        assert!(TpmDevice::open(Params { address: liar.address(), ..swtpm.params(PIN) }).is_err());
        let request =
            Initialisation { address: liar.address(), directory: swtpm.path("lies"), ..swtpm.initialisation() };
        assert!(initialise_store(&request).is_err());
    }
    assert!(liar.answered() > 300);
    TpmDevice::open(swtpm.params(PIN)).unwrap();
}
