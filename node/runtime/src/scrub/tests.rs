use std::fs;

use bixi_platform::io::{OpenMode, PreadStorage};
use bixi_platform::secret::Secret;
use bixi_sealed::{AtRest, Purpose, frames};
use crossbeam_channel::bounded;
use tempfile::TempDir;

use super::*;

fn scrubber(dir: &TempDir) -> Scrubber {
    Scrubber {
        storage: Arc::new(PreadStorage),
        ring: KeyRing::new(AtRest::Sm4Gcm, vec![(1, Secret::from_slice(&[3; 32]))], 1).unwrap(),
        data: dir.path().to_owned(),
        bytes_per_second: 1 << 30,
        rest: Duration::ZERO,
        second_look: Duration::from_millis(1),
        look_again: Duration::from_secs(3600),
        state: Arc::default(),
    }
}

/// An ordering log of three frames.
fn log(scrubber: &Scrubber) -> PathBuf {
    let dir = scrubber.data.join("ordering");
    scrubber.storage.create_dir_all(&dir).unwrap();
    let path = dir.join("000000000000.log");
    let file = scrubber.storage.open(&path, OpenMode::CreateNew).unwrap();
    let mut writer = frames::Writer::create(file, &scrubber.ring, Purpose::ConsensusLog).unwrap();
    for _ in 0..3 {
        writer.append(&[5; 100]).unwrap();
        writer.sync().unwrap();
    }
    writer.close().unwrap();
    path
}

fn flip(path: &Path, offset: usize) {
    let mut bytes = fs::read(path).unwrap();
    bytes[offset] ^= 1;
    fs::write(path, bytes).unwrap();
}

#[test]
fn damage_is_said_until_a_pass_finds_none() {
    let dir = TempDir::new().unwrap();
    let (scrubber, (_stop, stopped)) = (scrubber(&dir), bounded(0));
    let path = log(&scrubber);
    let pass = || assert!(scrubber.pass(&stopped).is_continue());
    let state = || (scrubber.state.passes.load(Ordering::Relaxed), scrubber.state.damaged());
    pass();
    assert_eq!((state(), scrubber.state.fault()), ((1, 0), None));
    assert!(scrubber.state.bytes.load(Ordering::Relaxed) > 300);
    flip(&path, 150);
    flip(&path, 420);
    pass();
    assert_eq!(state(), (2, 2));
    let fault = scrubber.state.fault().unwrap();
    assert!(fault.contains("000000000000.log, frame at byte 128") && fault.contains("db verify"), "{fault}");
    flip(&path, 150);
    flip(&path, 420);
    pass();
    assert_eq!((state(), scrubber.state.fault()), ((3, 0), None));
}

#[test]
fn what_is_under_way_or_gone_is_no_damage() {
    let dir = TempDir::new().unwrap();
    let (scrubber, (_stop, stopped)) = (scrubber(&dir), bounded(0));
    fs::create_dir(dir.path().join("ledger")).unwrap();
    fs::write(dir.path().join("ledger/000009.sst"), b"").unwrap();
    fs::write(dir.path().join("ledger/LOCK"), b"").unwrap();
    fs::write(dir.path().join("pin-state"), b"1").unwrap();
    assert!(scrubber.pass(&stopped).is_continue());
    assert_eq!(scrubber.state.fault(), None);
    let gone = scrubber.read(&dir.path().join("ledger/000007.sst"), &Pace::new(None), &stopped).unwrap();
    assert_eq!(gone, Verdict::Sound);
    // What nobody writes any more and is not finished is damage.
    let old = SystemTime::now() - 2 * TABLE_UNDER_WAY;
    fs::File::options().write(true).open(dir.path().join("ledger/000009.sst")).unwrap().set_modified(old).unwrap();
    assert!(scrubber.pass(&stopped).is_continue());
    assert!(scrubber.state.fault().unwrap().contains("000009.sst"));
}

/// Has `change` done after the first look at a log that is damaged at byte 150 has begun, and before the second.
fn between_two_looks(change: impl FnOnce(&Path)) -> Verdict {
    let dir = TempDir::new().unwrap();
    let (mut scrubber, (_stop, stopped)) = (scrubber(&dir), bounded(0));
    let path = log(&scrubber);
    flip(&path, 150);
    scrubber.second_look = Duration::from_secs(2);
    std::thread::scope(|scope| {
        let reading = scope.spawn(|| scrubber.read(&path, &Pace::new(None), &stopped).unwrap());
        while scrubber.state.bytes.load(Ordering::Relaxed) == 0 && !reading.is_finished() {
            std::thread::yield_now();
        }
        assert!(!reading.is_finished());
        std::thread::sleep(Duration::from_millis(20));
        change(&path);
        reading.join().unwrap()
    })
}

#[test]
fn what_is_exchanged_or_put_right_between_two_looks_is_no_damage_and_what_grows_is() {
    let exchanged = between_two_looks(|path| {
        let other = path.with_extension("new");
        fs::copy(path, &other).unwrap();
        fs::rename(other, path).unwrap();
    });
    assert_eq!(exchanged, Verdict::Unknown);
    assert_eq!(between_two_looks(|path| flip(path, 150)), Verdict::Sound);
    assert_eq!(between_two_looks(|path| fs::remove_file(path).unwrap()), Verdict::Sound);
    let grown = between_two_looks(|path| {
        let mut bytes = fs::read(path).unwrap();
        bytes.extend([7; 30]);
        fs::write(path, bytes).unwrap();
    });
    assert!(matches!(grown, Verdict::Damaged(Fault { damaged: 1, .. })), "{grown:?}");
}

#[test]
fn what_was_damaged_is_looked_at_again_while_a_pass_is_under_way() {
    let dir = TempDir::new().unwrap();
    let (mut scrubber, (_stop, stopped)) = (scrubber(&dir), bounded(0));
    let path = log(&scrubber);
    for number in 0..8 {
        fs::copy(&path, path.with_file_name(format!("00000000001{number}.log"))).unwrap();
    }
    scrubber.look_again = Duration::ZERO;
    let mut again = 0;
    // A pass that begins with the file itself has nothing left to look at.
    for _ in 0..20 {
        let before = scrubber.state.bytes.load(Ordering::Relaxed);
        scrubber.state.judged(&path, Verdict::Damaged(Fault { damaged: 1, words: "of a test".to_owned() }));
        assert!(scrubber.pass(&stopped).is_continue());
        assert_eq!(scrubber.state.fault(), None);
        let progress = scrubber.state.progress();
        again += u64::from(scrubber.state.bytes.load(Ordering::Relaxed) - before > progress.bytes_total);
    }
    assert!(again > 5, "{again} of 20");
}

#[test]
fn what_cannot_be_looked_into_is_said_and_everything_else_is_read() {
    let dir = TempDir::new().unwrap();
    let (scrubber, (_stop, stopped)) = (scrubber(&dir), bounded(0));
    let path = log(&scrubber);
    flip(&path, 150);
    let turn = dir.path().join("ledger-turn");
    std::os::unix::fs::symlink("ledger-turn", &turn).unwrap();
    assert!(scrubber.pass(&stopped).is_continue());
    let progress = scrubber.state.progress();
    assert_eq!((progress.damaged, progress.found.len(), progress.besides.len()), (1, 1, 1), "{progress:?}");
    assert!(progress.besides[0].contains("ledger-turn cannot be looked into"), "{progress:?}");
    fs::remove_file(turn).unwrap();
    assert!(scrubber.look_again(&stopped).is_continue());
    assert_eq!(scrubber.state.progress().besides, [""; 0]);
}

#[test]
fn an_operator_has_the_next_pass_begin_before_its_time() {
    let dir = TempDir::new().unwrap();
    let (mut scrubber, (stop, stopped)) = (scrubber(&dir), bounded(0));
    log(&scrubber);
    scrubber.rest = Duration::from_secs(86_400);
    let passes = || scrubber.state.passes.load(Ordering::Relaxed);
    std::thread::scope(|scope| {
        scope.spawn(|| scrubber.run(&stopped));
        for wanted in 2..5 {
            while passes() < wanted - 1 {
                std::thread::yield_now();
            }
            scrubber.state.begin();
            while passes() < wanted {
                std::thread::yield_now();
            }
        }
        drop(stop);
    });
    let progress = scrubber.state.progress();
    assert_eq!((progress.passes, progress.bytes, progress.is_under_way), (4, progress.bytes_total, false));
    assert!(progress.bytes > 300);
}

/// A socket of the node's own, one that a killed node left, a pipe.
#[test]
fn what_is_no_file_is_not_opened() {
    let dir = TempDir::new().unwrap();
    let (scrubber, (_stop, stopped)) = (scrubber(&dir), bounded(0));
    let _socket = std::os::unix::net::UnixListener::bind(dir.path().join("control.sock")).unwrap();
    let pipe = dir.path().join("pipe");
    assert!(std::process::Command::new("mkfifo").arg(&pipe).status().unwrap().success());
    assert!(scrubber.pass(&stopped).is_continue());
    assert_eq!((scrubber.state.fault(), scrubber.state.damaged()), (None, 0));
}

#[test]
fn what_is_put_right_between_two_passes_is_said_no_more_and_a_reader_that_panicked_is_said() {
    let dir = TempDir::new().unwrap();
    let (scrubber, (_stop, stopped)) = (scrubber(&dir), bounded(0));
    let path = log(&scrubber);
    flip(&path, 150);
    assert!(scrubber.pass(&stopped).is_continue() && scrubber.look_again(&stopped).is_continue());
    assert_eq!(scrubber.state.damaged(), 1);
    flip(&path, 150);
    assert!(scrubber.look_again(&stopped).is_continue());
    assert_eq!(scrubber.state.fault(), None);
    let panicked = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
        let _ended = Ended(&scrubber.state);
        panic!("of a test");
    }));
    assert!(panicked.is_err() && scrubber.state.fault().unwrap().contains("restart the node"));
}

#[test]
fn a_stop_ends_a_slow_pass_at_once() {
    let dir = TempDir::new().unwrap();
    let mut scrubber = scrubber(&dir);
    log(&scrubber);
    scrubber.bytes_per_second = 1;
    let (stop, stopped) = bounded(0);
    std::thread::scope(|scope| {
        let reading = scope.spawn(|| scrubber.pass(&stopped));
        drop(stop);
        assert!(reading.join().unwrap().is_break());
    });
    assert_eq!(scrubber.state.passes.load(Ordering::Relaxed), 0);
}
