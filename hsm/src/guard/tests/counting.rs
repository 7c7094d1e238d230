//! The guard's file against a counter that no copy of it sets back.

use std::cell::{Cell, RefCell};

use super::officers::{TICKET, change, checkpoint};
use super::*;
use crate::device::{Cause, Count, DeviceError};
use crate::guard::{CountError, Counter as _, Moved, Note};

const VAULT: u64 = 3;

/// How a device answers when it is to count.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Answer {
    Sound,
    /// It did not count.
    Failed,
    /// It counted, and the answer was lost.
    Late,
    /// Somebody had it count in between.
    Two,
}

/// What the device counts, which no crash of the disk changes. It keeps a copy of the guard from before and after each time it counts.
struct Counter {
    counter: [u8; 32],
    value: Cell<u64>,
    answer: Cell<Answer>,
    is_removed: Cell<bool>,
    copied: Option<CrashDisk>,
    copies: RefCell<Vec<Vec<u8>>>,
}

impl Counter {
    fn at(value: u64) -> Self {
        Self {
            counter: [9; 32],
            value: Cell::new(value),
            answer: Cell::new(Answer::Sound),
            is_removed: Cell::new(false),
            copied: None,
            copies: RefCell::default(),
        }
    }

    fn now(&self) -> Count {
        Count { counter: self.counter, value: self.value.get() }
    }

    fn copy(&self) {
        self.copies.borrow_mut().extend(self.copied.as_ref().map(|disk| disk.content(&path())));
    }
}

fn error(cause: Cause) -> DeviceError {
    DeviceError::new("counter", cause, "as told")
}

impl crate::guard::Counter for Counter {
    fn read(&self) -> Result<Option<Count>, DeviceError> {
        match self.is_removed.get() {
            true => Err(error(Cause::CounterRemoved)),
            false => Ok(Some(self.now())),
        }
    }

    fn advance(&self) -> Result<Count, DeviceError> {
        self.copy();
        let step = match self.answer.get() {
            Answer::Failed => return Err(error(Cause::Timeout)),
            Answer::Sound | Answer::Late => 1,
            Answer::Two => 2,
        };
        self.value.set(self.value.get() + step);
        self.copy();
        match self.answer.get() {
            Answer::Late => Err(error(Cause::Timeout)),
            _ => Ok(self.now()),
        }
    }
}

/// A device without one.
struct Without;

impl crate::guard::Counter for Without {
    fn read(&self) -> Result<Option<Count>, DeviceError> {
        Ok(None)
    }

    fn advance(&self) -> Result<Count, DeviceError> {
        panic!("a device without a counter is not to count")
    }
}

fn create_noted(disk: &CrashDisk, counter: &Counter) -> Guard {
    let noted = Some(Note::begin(counter.now(), VAULT));
    Guard::create_noted(Arc::new(disk.clone()), path(), ring(), CHAIN, noted).unwrap()
}

/// Puts a copy on a disk of its own and opens it.
fn restored(copy: &[u8]) -> Guard {
    let disk = CrashDisk::new(1);
    drop(create(&disk));
    disk.set_content(&path(), copy.to_vec());
    open(&disk).unwrap()
}

fn refused(result: Result<(), CountError>) -> String {
    match result.unwrap_err() {
        CountError::Guard(error @ GuardError::OldCopy { .. }) => error.to_string(),
        other => panic!("{other}"),
    }
}

/// Whatever became of the counts before, and wherever in one a copy was taken.
#[test]
fn once_the_device_has_counted_every_copy_from_before_is_refused_and_the_newest_file_is_not() {
    let mut tried = 0;
    for seed in 0..60 {
        let mut dice = Dice(seed);
        let disk = CrashDisk::new(seed);
        let counter = Counter { copied: Some(disk.clone()), ..Counter::at(7) };
        let mut guard = create_noted(&disk, &counter);
        for height in 1..20 {
            guard.claim(&prevote(height, 1)).unwrap();
            counter.copy();
            let answers = [Answer::Sound, Answer::Failed, Answer::Late];
            counter.answer.set(answers[dice.below(3) as usize]);
            if dice.below(3) == 0 {
                drop(guard);
                guard = open(&disk).unwrap();
            }
            let before = counter.copies.borrow().len();
            let counted = guard.count(&counter, VAULT, 0);
            guard.expect_newest(&counter, VAULT).unwrap_or_else(|error| panic!("seed {seed}: {error}"));
            if counted.is_err() {
                assert!(guard.is_uncounted(VAULT), "seed {seed}: it is to be made up for");
                continue;
            }
            for copy in counter.copies.borrow_mut().drain(..before) {
                refused(restored(&copy).expect_newest(&counter, VAULT));
                tried += 1;
            }
        }
    }
    assert!(tried > 1_000, "{tried} copies were tried");
}

/// The disk dies before any step, and again while the guard is opened.
#[test]
fn no_crash_makes_the_newest_file_an_old_one() {
    let mut counts = 0;
    for seed in 0..200 {
        let mut dice = Dice(seed);
        let mut disk = CrashDisk::new(seed);
        let counter = Counter::at(0);
        let (mut guard, mut height) = (create_noted(&disk, &counter), 1);
        for life in 0..6 {
            disk.dies_after(1 + dice.below(24));
            loop {
                height += 1;
                counter.answer.set([Answer::Sound, Answer::Late][dice.below(2) as usize]);
                match guard.claim(&prevote(height, 1)).map(|_| guard.count(&counter, VAULT, 0)) {
                    Ok(Ok(()) | Err(CountError::Device(_))) => {}
                    Ok(Err(CountError::Guard(_))) | Err(_) => break,
                }
            }
            drop(guard);
            guard = loop {
                disk = disk.crash();
                match open(&disk) {
                    Ok(guard) => break guard,
                    Err(error) => assert!(matches!(error, GuardError::Storage { .. }), "seed {seed}: {error}"),
                }
            };
            let newest = guard.expect_newest(&counter, VAULT);
            newest.unwrap_or_else(|error| panic!("seed {seed} life {life}: {error}"));
        }
        counts += counter.value.get();
    }
    assert!(counts > 1_000, "{counts}: disks died before anything was counted");
}

/// Else an edited line about the device would do, a copy from before the first count, or an older vault.
#[test]
fn what_does_not_fit_together_is_refused_each_with_its_way_on() {
    let disk = CrashDisk::new(4);
    drop(create(&disk));
    let unnoted = || open(&disk).unwrap();
    let text = refused(unnoted().expect_newest(&Counter::at(0), VAULT));
    assert!(text.contains("earlier version") && text.contains("until bixi was upgraded"), "{text}");
    unnoted().expect_newest(&Without, VAULT).expect("nobody counts");
    unnoted().count(&Without, VAULT, 0).unwrap();
    unnoted().take_for_newest(&Counter::at(6), VAULT).unwrap();

    let noted = |counter: &Counter, vault| refused(open(&disk).unwrap().expect_newest(counter, vault));
    let other = noted(&Counter { counter: [8; 32], ..Counter::at(7) }, VAULT);
    assert!(other.contains("another device") && other.contains("`bixi hsm recover`"), "{other}");
    let beyond = noted(&Counter::at(8), VAULT);
    assert!(beyond.contains("to 7 at most, and it has to 8") && beyond.contains("Put back the newest"), "{beyond}");
    let back = noted(&Counter::at(5), VAULT);
    assert!(back.contains("was to count to 7, and it stands at 5: the device was set back"), "{back}");
    let vault = noted(&Counter::at(7), VAULT - 1);
    assert!(vault.contains("version 3 of the vault, and the vault beside it is version 2"), "{vault}");
    let removed = Counter::at(7);
    removed.is_removed.set(true);
    let removed = noted(&removed, VAULT);
    assert!(removed.contains("adopt --old-copy` makes another counter"), "{removed}");
    let guard = open(&disk).unwrap();
    let without = refused(guard.expect_newest(&Without, VAULT));
    assert!(without.contains("this one has no counter"), "{without}");
    let seen = Guard::look(&disk, &path(), &ring(), CHAIN).unwrap();
    assert_eq!(seen.doubt(Some(Counter::at(7).now()), VAULT), None);
    assert!(seen.doubt(None, VAULT).is_some() && seen.is_uncounted(VAULT));
    guard.take_for_newest(&Without, VAULT).unwrap();
    drop(guard);
    unnoted().expect_newest(&Without, VAULT).expect("an officer said so");
}

#[test]
fn a_guard_that_was_refused_grants_and_moves_nothing_until_it_is_taken_for_the_newest() {
    let disk = CrashDisk::new(5);
    let counter = Counter::at(0);
    let guard = create_noted(&disk, &counter);
    guard.claim(&prevote(5, 1)).unwrap();
    guard.claim(&checkpoint(6, 1)).unwrap();
    // Another copy has the device count between this one's look and its step.
    counter.answer.set(Answer::Two);
    let text = refused(guard.count(&counter, VAULT, 0));
    assert!(text.contains("was to count to 1 and went to 2"), "{text}");
    counter.answer.set(Answer::Sound);
    let moved = Moved { key: &KEY, ticket: TICKET, overrulings: 0, marks: &[(prevote(9, 1), None)] };
    let attempts: [Result<(), GuardError>; 8] = [
        guard.claim(&prevote(7, 1)).map(drop),
        guard.claim(&prevote(5, 1)).map(drop),
        guard.overrule(&KEY, 1, &[change(6, 1, 2)]),
        guard.retire(&KEY, TICKET),
        guard.await_import(&KEY, TICKET, None).map(drop),
        guard.import(&moved, None),
        guard.adopt(None),
        guard.expect_ready(&KEY, None).map(drop),
    ];
    for attempt in attempts {
        assert!(matches!(attempt, Err(GuardError::OldCopy { .. })), "{attempt:?}");
    }
    assert!(guard.is_doubted());
    refused(guard.count(&counter, VAULT, 0));
    guard.take_for_newest(&counter, VAULT).unwrap();
    // What noted one more than the counter shows, somewhere, is shut out as well.
    let elsewhere = Note { counted: None, ..Note::begin(Count { value: 3, ..counter.now() }, VAULT) };
    guard.count(&counter, VAULT, 0).unwrap();
    assert!(counter.value.get() > elsewhere.at_most.value);
    guard.claim(&prevote(7, 1)).unwrap();
}

#[test]
fn what_was_not_counted_is_remembered_over_lives_and_every_change_is_one() {
    let disk = CrashDisk::new(6);
    let counter = Counter::at(0);
    let mut guard = create_noted(&disk, &counter);
    let again = |guard: Guard| {
        drop(guard);
        open(&disk).unwrap()
    };
    assert!(!guard.is_uncounted(VAULT) && guard.is_uncounted(VAULT + 1), "a vault that was written");
    for round in 0..3 {
        guard.claim(&prevote(5 + round, 1)).unwrap();
        guard = again(guard);
        assert!(guard.is_uncounted(VAULT));
        guard.count(&counter, VAULT, 0).unwrap();
        guard = again(guard);
        assert!(!guard.is_uncounted(VAULT), "round {round}");
        guard.claim(&prevote(5 + round, 1)).unwrap();
        assert!(!guard.is_uncounted(VAULT), "that was claimed before");
    }
    guard.claim(&checkpoint(6, 1)).unwrap();
    guard.count(&counter, VAULT, 0).unwrap();
    guard.overrule(&KEY, 1, &[change(6, 1, 2)]).unwrap();
    guard = again(guard);
    assert!(guard.is_uncounted(VAULT), "positions are as they were");
    guard.count(&counter, VAULT, 0).unwrap();
    // More than a file holds before it is written anew.
    for height in 0..journal::RECORDS_MAX as u64 {
        guard.claim(&prevote(100 + height, 1)).unwrap();
    }
    let changes = guard.changes();
    assert_eq!(again(guard).changes(), changes);
    let spent = open(&disk).unwrap().noted().unwrap();
    assert_eq!((spent.spent, counter.value.get()), (5, 5));
    const HOUR: u64 = REFILL.as_millis() as u64;
    assert_eq!([0, HOUR - 1, HOUR, 5 * HOUR, u64::MAX].map(|now| spent.spent_at(now)), [5, 5, 4, 0, 0]);
}

#[test]
fn a_count_that_is_due_costs_nothing_and_an_early_one_is_given_back_by_time() {
    let (disk, counter) = (CrashDisk::new(7), Counter::at(0));
    let guard = create_noted(&disk, &counter);
    let (period, mut now) = (PERIOD.as_millis() as u64, 1_000_000);
    let mut step = |more: u64| {
        now += more;
        guard.claim(&prevote(now, 1)).unwrap();
        guard.count(&counter, VAULT, now).unwrap();
        let noted = guard.noted().unwrap();
        assert_eq!(noted.counted_ms, now);
        noted.spent
    };
    assert_eq!(step(period), 0);
    // A day of signing, with a restart every hour, each of which is early by much.
    for hour in 0..24 {
        assert!((0..5).all(|_| step(period) <= 1), "hour {hour}");
        assert!(step(20_000) <= 2, "hour {hour}");
        step(period);
    }
    let spent: Vec<u32> = (0..5).map(|_| step(20_000)).collect();
    assert!(spent.windows(2).all(|two| two[1] == two[0] + 1), "{spent:?}");
    assert_eq!(step(REFILL.as_millis() as u64 * 10), 0);
}

#[test]
fn a_counter_at_its_end_is_an_error() {
    let counter = Counter::at(u64::MAX);
    let guard = create_noted(&CrashDisk::new(7), &counter);
    guard.claim(&prevote(5, 1)).unwrap();
    assert!(refused(guard.count(&counter, VAULT, 0)).contains("stands at its end"));
    assert!(guard.take_for_newest(&counter, VAULT).is_err());
    assert_eq!(counter.read().unwrap(), Some(counter.now()));
}
