mod counting;
mod disk;
mod group;
mod links;
mod moving;
mod officers;
mod old;

use std::collections::BTreeMap;

use bixi_platform::secret::Secret;
use bixi_sealed::AtRest;

use super::*;
use disk::{CrashDisk, Dice};

const CHAIN: H256 = H256([7; 32]);
const KEY: NodeId = NodeId([1; 64]);

fn ring() -> KeyRing {
    KeyRing::new(AtRest::Sm4Gcm, vec![(1, Secret::from_slice(&[3; 32]))], 1).unwrap()
}

fn path() -> PathBuf {
    PathBuf::from("/guard/state")
}

fn create(disk: &CrashDisk) -> Guard {
    Guard::create(Arc::new(disk.clone()), path(), ring(), CHAIN).unwrap()
}

fn open(disk: &CrashDisk) -> Result<Guard, GuardError> {
    Guard::open(Arc::new(disk.clone()), path(), ring(), CHAIN)
}

fn prevote(height: u64, digest: u8) -> Claim {
    let position = Position::Ordering { height, round: 0, step: Step::Prevote };
    Claim { key: KEY, position, digest: [digest; 32] }
}

fn signature(byte: u8) -> SignatureBytes {
    SignatureBytes([byte; 64])
}

#[test]
fn remembers_claims_and_signatures_across_a_clean_restart() {
    let disk = CrashDisk::new(1);
    let guard = create(&disk);
    assert_eq!(guard.claim(&prevote(5, 1)).unwrap(), Grant::Sign);
    guard.store(&prevote(5, 1), signature(9)).unwrap();
    assert_eq!(guard.claim(&prevote(6, 1)).unwrap(), Grant::Sign);
    drop(guard);
    let guard = open(&disk).unwrap();
    assert_eq!(guard.claim(&prevote(5, 1)).unwrap(), Grant::Stored(signature(9)));
    assert_eq!(guard.claim(&prevote(6, 1)).unwrap(), Grant::Sign, "claimed, not signed: the same statement may go on");
    for contradiction in [prevote(5, 2), prevote(6, 2), prevote(4, 1)] {
        assert!(matches!(guard.claim(&contradiction), Err(GuardError::Conflict { .. })));
    }
    assert_eq!(guard.marks(&KEY), [prevote(6, 1).position]);
}

#[test]
fn every_keys_marks_are_read_beside_whoever_holds_the_guard() {
    let disk = CrashDisk::new(1);
    let look = || Guard::marks_at(&disk, path(), &ring(), CHAIN);
    assert!(matches!(look(), Err(GuardError::Missing { .. })));
    let guard = create(&disk);
    assert_eq!(look().unwrap(), []);
    let other = Claim { key: NodeId([2; 64]), ..prevote(9, 1) };
    for claim in [prevote(5, 1), prevote(6, 1), other] {
        guard.claim(&claim).unwrap();
    }
    assert_eq!(look().unwrap(), [prevote(6, 1).position, other.position]);
    assert_eq!(guard.claim(&prevote(7, 1)).unwrap(), Grant::Sign, "the file is the guard's still");
    assert!(matches!(Guard::marks_at(&disk, path(), &ring(), H256([8; 32])), Err(GuardError::Damaged { .. })));
}

#[test]
fn missing_existing_foreign_and_held_guards_are_told_apart() {
    let disk = CrashDisk::new(1);
    assert!(matches!(open(&disk), Err(GuardError::Missing { .. })));
    let guard = create(&disk);
    assert!(matches!(open(&disk), Err(GuardError::InUse { .. })));
    drop(guard);
    let storage: Arc<dyn Storage> = Arc::new(disk.clone());
    assert!(matches!(Guard::create(storage.clone(), path(), ring(), CHAIN), Err(GuardError::Exists { .. })));
    let other_chain = Guard::open(storage.clone(), path(), ring(), H256([8; 32]));
    assert!(matches!(other_chain, Err(GuardError::Damaged { .. })));
    let other_ring = KeyRing::new(AtRest::Sm4Gcm, vec![(1, Secret::from_slice(&[4; 32]))], 1).unwrap();
    let error = Guard::open(storage, path(), other_ring, CHAIN).unwrap_err();
    assert!(error.to_string().contains("/guard/state"), "{error}");
    open(&disk).unwrap();
}

#[test]
fn every_flipped_byte_is_refused_or_lies_above_the_last_sync() {
    let disk = CrashDisk::new(1);
    let guard = create(&disk);
    for height in 1..=3 {
        guard.claim(&prevote(height, 1)).unwrap();
        guard.store(&prevote(height, 1), signature(1)).unwrap();
    }
    guard.claim(&prevote(4, 1)).unwrap();
    drop(guard);
    let sound = disk.content(&path());
    let mut refused = 0;
    for place in 0..sound.len() {
        let mut flipped = sound.clone();
        flipped[place] ^= 0x10;
        disk.set_content(&path(), flipped);
        match open(&disk) {
            Err(error) => {
                assert!(error.to_string().contains("/guard/state"), "{error}");
                refused += 1;
            }
            // Only the last mark lies above everything that was synced.
            Ok(guard) => assert_eq!(guard.marks(&KEY), [prevote(4, 1).position], "byte {place}"),
        }
        disk.set_content(&path(), sound.clone());
    }
    assert!(refused + 2 * 32 > sound.len(), "{refused} of {} refused: all but the bytes of the last mark", sound.len());
}

#[test]
fn compaction_keeps_every_remembered_claim() {
    let disk = CrashDisk::new(1);
    let guard = create(&disk);
    let heights = 3 * journal::RECORDS_MAX as u64;
    let mut longest = 0;
    for height in 1..=heights {
        guard.claim(&prevote(height, 1)).unwrap();
        guard.store(&prevote(height, 1), signature(1)).unwrap();
        longest = longest.max(disk.content(&path()).len());
    }
    assert!(longest < 4 * journal::RECORDS_MAX * 400, "the file stays bounded, it reached {longest} bytes");
    drop(guard);
    let guard = open(&disk).unwrap();
    assert_eq!(guard.claim(&prevote(heights, 1)).unwrap(), Grant::Stored(signature(1)));
    assert!(matches!(guard.claim(&prevote(heights, 2)), Err(GuardError::Conflict { .. })));
    assert!(matches!(guard.claim(&prevote(1, 1)), Err(GuardError::Conflict { .. })), "forgotten, and below the mark");
}

#[test]
fn a_failed_write_poisons_the_guard() {
    let disk = CrashDisk::new(1);
    let guard = create(&disk);
    guard.claim(&prevote(1, 1)).unwrap();
    disk.dies_after(1);
    assert!(matches!(guard.claim(&prevote(2, 1)), Err(GuardError::Storage { .. })));
    disk.dies_after(u64::MAX);
    assert!(matches!(guard.claim(&prevote(3, 1)), Err(GuardError::Storage { .. })), "poisoned for good");
    assert!(matches!(guard.claim(&prevote(1, 1)), Err(GuardError::Storage { .. })), "even for a repetition");
}

#[test]
fn a_signature_that_comes_after_its_claim_was_forgotten_changes_nothing() {
    let disk = CrashDisk::new(1);
    let guard = create(&disk);
    let slow = prevote(1, 1);
    assert_eq!(guard.claim(&slow).unwrap(), Grant::Sign);
    for height in 2..=2 + lane::HISTORY_MAX as u64 {
        guard.claim(&prevote(height, 1)).unwrap();
    }
    guard.store(&slow, signature(1)).unwrap();
    assert!(matches!(guard.claim(&prevote(1, 2)), Err(GuardError::Conflict { .. })));
    drop(guard);
    let guard = open(&disk).unwrap();
    assert!(matches!(guard.claim(&slow), Err(GuardError::Conflict { .. })), "forgotten, and below the mark");
}

#[test]
#[should_panic(expected = "a signature without a claim")]
fn a_signature_that_was_never_granted_is_a_broken_promise() {
    let guard = create(&CrashDisk::new(1));
    guard.claim(&prevote(1, 1)).unwrap();
    let _ = guard.store(&prevote(2, 1), signature(1));
}

/// How the guard, or whoever uses it, is broken on purpose.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Mutation {
    None,
    /// Claims are written and not synced.
    ClaimsUnsynced,
    /// The device is asked before the claim is written.
    DeviceFirst,
}

/// What a campaign found.
#[derive(Default)]
struct Findings {
    signed: u64,
    crashes: u64,
    /// Two different statements signed at one position, or a statement signed below an earlier one.
    violations: Vec<String>,
}

/// The outside world: every digest the device was ever given, whatever the guard remembers.
#[derive(Default)]
struct Witness(BTreeMap<Position, [u8; 32]>);

impl Witness {
    fn see(&mut self, claim: &Claim, findings: &mut Findings, seed: u64) {
        findings.signed += 1;
        match self.0.insert(claim.position, claim.digest) {
            Some(earlier) if earlier != claim.digest => {
                findings.violations.push(format!("seed {seed}: two statements at {}", claim.position));
            }
            _ => {}
        }
    }
}

/// One validator that asks at random for right and wrong things, on a disk that dies every few operations.
fn campaign(seed: u64, mutation: Mutation, findings: &mut Findings) {
    let mut dice = Dice(seed);
    let mut disk = CrashDisk::new(dice.next());
    let mut guard = create(&disk);
    guard.set_sync_claims(mutation != Mutation::ClaimsUnsynced);
    let mut witness = Witness::default();
    let mut height = 1;
    for _ in 0..6 {
        disk.dies_after(1 + dice.below(24));
        while run_step(&guard, mutation, &mut dice, &mut height, &mut witness, findings, seed).is_ok() {}
        drop(guard);
        findings.crashes += 1;
        loop {
            disk = disk.crash();
            // Now and then the disk dies again while the guard is being opened.
            if dice.below(3) == 0 {
                disk.dies_after(1 + dice.below(6));
            }
            match open(&disk) {
                Ok(opened) => {
                    guard = opened;
                    break;
                }
                Err(GuardError::Storage { .. }) => findings.crashes += 1,
                Err(error) => panic!("seed {seed}: a crash must leave a guard that opens: {error}"),
            }
        }
        guard.set_sync_claims(mutation != Mutation::ClaimsUnsynced);
    }
}

fn run_step(
    guard: &Guard,
    mutation: Mutation,
    dice: &mut Dice,
    height: &mut u64,
    witness: &mut Witness,
    findings: &mut Findings,
    seed: u64,
) -> Result<(), GuardError> {
    let at = (*height + dice.below(2)).saturating_sub(dice.below(2)).max(1);
    let position = match dice.below(4) {
        0 => Position::Checkpoint { height: at },
        step => {
            let step = [Step::Proposal, Step::Prevote, Step::Precommit][step as usize - 1];
            Position::Ordering { height: at, round: dice.below(2) as u32, step }
        }
    };
    let claim = Claim { key: KEY, position, digest: [dice.below(2) as u8; 32] };
    if mutation == Mutation::DeviceFirst && guard.would_grant(&claim) {
        witness.see(&claim, findings, seed);
    }
    match guard.claim(&claim) {
        Ok(Grant::Sign) => {
            witness.see(&claim, findings, seed);
            guard.store(&claim, signature(claim.digest[0]))?;
            *height = at.max(*height);
        }
        Ok(Grant::Stored(stored)) => {
            if stored != signature(claim.digest[0]) {
                findings.violations.push(format!("seed {seed}: another statement's signature at {position}"));
            }
        }
        Err(GuardError::Conflict { .. }) => {}
        Err(error) => return Err(error),
    }
    Ok(())
}

fn campaigns(seeds: std::ops::Range<u64>, mutation: Mutation) -> Findings {
    let mut findings = Findings::default();
    seeds.for_each(|seed| campaign(seed, mutation, &mut findings));
    findings
}

/// Number of seeds: `BIXI_GUARD_SEEDS` for long runs.
fn seed_count() -> u64 {
    std::env::var("BIXI_GUARD_SEEDS").ok().and_then(|count| count.parse().ok()).unwrap_or(400)
}

#[test]
fn nothing_is_signed_twice_differently_whatever_crashes() {
    let findings = campaigns(0..seed_count(), Mutation::None);
    assert!(findings.violations.is_empty(), "{:#?}", findings.violations);
    assert!(findings.signed > 1000 && findings.crashes > 1000, "{} {}", findings.signed, findings.crashes);
}

#[test]
fn the_campaign_catches_a_guard_that_does_not_sync() {
    let findings = campaigns(0..100, Mutation::ClaimsUnsynced);
    assert!(!findings.violations.is_empty(), "a guard without fsync must be caught within 100 seeds");
}

#[test]
fn the_campaign_catches_a_device_that_is_asked_first() {
    let findings = campaigns(0..100, Mutation::DeviceFirst);
    assert!(!findings.violations.is_empty(), "signing before the claim is durable must be caught within 100 seeds");
}
