use super::*;

fn memory() -> (tempfile::TempDir, PinMemory) {
    let dir = tempfile::tempdir().unwrap();
    let memory = PinMemory::new(dir.path().join("pin.state"), Duration::from_secs(30), "C_Login");
    (dir, memory)
}

/// As if the last attempt had been made long ago.
fn let_pause_pass(memory: &PinMemory) {
    let record = memory.read().unwrap().expect("an attempt without a verdict");
    memory.write(&Record { tried: Moment::LONG_AGO, ..record }).unwrap();
}

#[test]
fn a_refused_pin_is_held_back_until_it_changes() {
    let (_dir, memory) = memory();
    let (wrong, right) = (Secret::from_slice(b"111111"), Secret::from_slice(b"222222"));
    memory.begin(&wrong).unwrap().refuse().unwrap();
    for _ in 0..3 {
        assert_eq!(memory.begin(&wrong).err().unwrap().cause, Cause::PinHeldBack);
    }
    memory.begin(&right).unwrap().forget().unwrap();
    assert!(memory.begin(&wrong).is_ok(), "a right PIN ends the memory of a wrong one");
}

#[test]
fn attempts_that_never_came_back_are_counted() {
    let (_dir, memory) = memory();
    let pin = Secret::from_slice(b"111111");
    assert!(memory.begin(&pin).is_ok());
    let_pause_pass(&memory);
    assert!(memory.begin(&pin).is_ok());
    assert_eq!(memory.begin(&pin).err().unwrap().cause, Cause::PinUnanswered);
}

/// A network HSM that is away for a moment answers nothing, again and again, within milliseconds.
#[test]
fn after_an_attempt_without_a_verdict_the_next_one_waits_and_is_not_counted() {
    let (_dir, memory) = memory();
    let pin = Secret::from_slice(b"111111");
    let away = || Err(DeviceError::new("C_Login", Cause::Absent, "as told"));
    memory.begin(&pin).unwrap().judged(away()).unwrap_err();
    let noted = std::fs::read(&memory.path).unwrap();
    for _ in 0..5 {
        // As another process would.
        let another = memory.clone();
        let error = another.begin(&pin).err().expect("too soon");
        assert_eq!((error.cause, error.kind()), (Cause::Busy, crate::ErrorKind::Retry), "{error}");
        assert!(error.message.contains("s at the earliest"), "{error}");
        assert_eq!(another.turn().unwrap().check(&pin).unwrap_err().cause, Cause::Busy);
    }
    assert_eq!(std::fs::read(&memory.path).unwrap(), noted, "nothing was counted");
    // A PIN that was changed meanwhile is another one, and one that was refused elsewhere never waits to be held back.
    memory.begin(&Secret::from_slice(b"222222")).unwrap().withdraw().unwrap();
    let_pause_pass(&memory);
    memory.begin(&pin).unwrap().judged(Ok(())).expect("it is back");
    assert!(memory.read().unwrap().is_none());
    memory.begin(&pin).unwrap().judged(away()).unwrap_err();
    memory.note_refused(&pin).unwrap();
    assert_eq!(memory.begin(&pin).err().unwrap().cause, Cause::PinHeldBack);
}

/// It may have lasted longer than the pause.
#[test]
fn the_pause_begins_when_the_device_gave_up() {
    let (_dir, memory) = memory();
    let pin = Secret::from_slice(b"111111");
    let attempt = memory.begin(&pin).unwrap();
    let_pause_pass(&memory);
    attempt.judged(Err(DeviceError::new("C_Login", Cause::Timeout, "as told"))).unwrap_err();
    assert_eq!(memory.begin(&pin).err().unwrap().cause, Cause::Busy);
}

/// The device may have counted the attempt: what it answered besides does not clear the PIN.
#[test]
fn answers_without_a_verdict_are_counted() {
    let locked_by_it = Cause::PinLocked;
    for cause in
        [locked_by_it, Cause::Absent, Cause::Timeout, Cause::Fault, Cause::KeyNotFound, Cause::Unsupported, Cause::Busy]
    {
        let (_dir, memory) = memory();
        let pin = Secret::from_slice(b"111111");
        for _ in 0..UNFINISHED_MAX {
            let answer = Err(DeviceError::new("C_Login", cause, "as told"));
            assert_eq!(memory.begin(&pin).unwrap().judged(answer).unwrap_err().cause, cause);
            let_pause_pass(&memory);
        }
        assert_eq!(memory.begin(&pin).err().map(|error| error.cause), Some(Cause::PinUnanswered), "{cause:?}");
        memory.begin(&Secret::from_slice(b"222222")).unwrap().judged(Ok(())).unwrap();
        assert!(memory.begin(&pin).is_ok(), "a right PIN ends the memory");
    }
}

#[test]
fn a_pin_that_was_not_sent_changes_nothing() {
    let (_dir, memory) = memory();
    let (wrong, other) = (Secret::from_slice(b"111111"), Secret::from_slice(b"222222"));
    for _ in 0..5 {
        memory.begin(&other).unwrap().withdraw().unwrap();
    }
    assert!(memory.read().unwrap().is_none());
    memory.begin(&wrong).unwrap().refuse().unwrap();
    memory.begin(&other).unwrap().withdraw().unwrap();
    assert_eq!(memory.begin(&wrong).err().unwrap().cause, Cause::PinHeldBack, "the refused PIN is still known");
}

#[test]
fn a_turn_that_ends_before_the_pin_is_sent_counts_for_nothing() {
    let (_dir, memory) = memory();
    let pin = Secret::from_slice(b"111111");
    for _ in 0..3 {
        memory.turn().unwrap().check(&pin).unwrap();
        assert!(!memory.path.exists());
    }
    memory.begin(&pin).unwrap().refuse().unwrap();
    assert_eq!(memory.turn().unwrap().check(&pin).unwrap_err().cause, Cause::PinHeldBack);
}

/// Who watches may end the process at any other moment: then nothing is noted, or the verdict is.
#[test]
fn an_attempt_is_noted_and_judged_inside_its_phase() {
    let (_dir, memory) = memory();
    let (pin, path) = (Secret::from_slice(b"111111"), memory.path.clone());
    let noted = std::rc::Rc::new(std::cell::RefCell::new(Vec::new()));
    let observer = {
        let noted = std::rc::Rc::clone(&noted);
        std::rc::Rc::new(move |phase| {
            let verdict = std::fs::read(&path).ok().map(|bytes| Record::parse(&bytes).expect("a record").verdict);
            noted.borrow_mut().push((phase, verdict));
        })
    };
    phase::observed(observer, || {
        drop(memory.begin(&pin).unwrap());
        let_pause_pass(&memory);
        memory.begin(&pin).unwrap().judged(Ok(())).unwrap();
        let refused = Err(DeviceError::new("C_Login", Cause::WrongPin, "as told"));
        memory.begin(&pin).unwrap().judged(refused).unwrap_err();
    });
    let (pin, call) = (Phase::Pin, Phase::Call);
    let told = [(pin, None), (call, Some(1)), (pin, Some(1)), (call, None), (pin, None), (call, Some(REFUSED))];
    assert_eq!(*noted.borrow(), told);
}

#[test]
fn a_second_attempt_waits_for_the_verdict_on_the_first() {
    let (_dir, memory) = memory();
    let pin = Secret::from_slice(b"111111");
    let first = memory.begin(&pin).unwrap();
    std::thread::scope(|scope| {
        let second = scope.spawn(|| memory.begin(&pin).err().map(|error| error.cause));
        std::thread::sleep(Duration::from_millis(100));
        assert!(!second.is_finished(), "it did not wait");
        first.refuse().unwrap();
        assert_eq!(second.join().unwrap(), Some(Cause::PinHeldBack));
    });
    let impatient = PinMemory { patience: Duration::ZERO, ..memory.clone() };
    let other = memory.begin(&Secret::from_slice(b"222222")).unwrap();
    assert_eq!(impatient.begin(&pin).err().unwrap().cause, Cause::Busy);
    drop(other);
    assert_eq!(
        impatient.begin(&pin).err().map(|error| error.cause),
        None,
        "a changed PIN ended the memory of the first"
    );
}

#[test]
fn no_pin_is_tried_when_the_memory_cannot_be_kept() {
    let memory = PinMemory::new(PathBuf::from("/nonexistent/directory/pin.state"), Duration::ZERO, "C_Login");
    assert_eq!(memory.begin(&Secret::from_slice(b"111111")).err().unwrap().cause, Cause::Setup);
    let (_dir, memory) = self::memory();
    std::fs::write(&memory.path, b"junk").unwrap();
    assert_eq!(memory.begin(&Secret::from_slice(b"111111")).err().unwrap().cause, Cause::Setup);
}

#[test]
fn the_pin_is_not_in_the_file() {
    let (_dir, memory) = memory();
    memory.begin(&Secret::from_slice(b"314159265")).unwrap().refuse().unwrap();
    let bytes = std::fs::read(&memory.path).unwrap();
    assert!(!bytes.windows(9).any(|window| window == b"314159265"));
}

/// A helper that the vendor's library forked during the login has its files open for as long as it lives.
#[test]
fn a_turn_ends_though_a_child_has_the_lock_file_open() {
    let (_dir, memory) = memory();
    let pin = Secret::from_slice(b"111111");
    let attempt = memory.begin(&pin).unwrap();
    // The same open file, as after a fork.
    let childs = attempt._turn.0.try_clone().unwrap();
    attempt.judged(Ok(())).unwrap();
    let impatient = PinMemory { patience: Duration::ZERO, ..memory.clone() };
    impatient.begin(&pin).map(drop).expect("the turn is free");
    drop(childs);
}
