use std::sync::mpsc;

use bixi_hsm::soft::SoftDevice;
use bixi_hsm::{KeyKind, KeySpec};

use super::*;

const LIMITS: Limits =
    Limits { call: Duration::from_secs(5), open: Duration::from_secs(60), pin: Duration::from_secs(300) };
/// Later than any test takes.
const LATER: Duration = Duration::from_secs(3_600);

fn watch() -> CallWatch {
    CallWatch::new(LIMITS)
}

fn overdue(watch: &CallWatch, now: Instant) -> Option<Overdue> {
    watch.overdue(&watch.calls(), now)
}

#[test]
fn a_call_is_late_after_its_limit_and_never_once_it_is_back() {
    let watch = watch();
    let begin = Instant::now();
    watch.during("sign_digest", LIMITS.call, || {
        watch.during("health", LIMITS.call / 5, || {
            assert_eq!(overdue(&watch, begin), None);
            let late = overdue(&watch, Instant::now() + LIMITS.call / 2).expect("the short one");
            assert_eq!((late.function, late.limit), ("health", LIMITS.call / 5));
        });
        assert_eq!(overdue(&watch, begin + LIMITS.call / 2), None, "the short one is back");
        let late = watch.condemn(Instant::now() + LIMITS.call * 2).expect("the long one");
        assert!(late.to_string().contains("sign_digest, at work") && late.to_string().contains("5000"), "{late}");
    });
    assert_eq!(watch.condemn(Instant::now() + LATER), None);
}

#[test]
fn a_call_that_panics_is_over() {
    let watch = watch();
    let panicked = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
        watch.during("sign_digest", LIMITS.call, || panic!("of the library"));
    }));
    assert!(panicked.is_err());
    assert_eq!(watch.condemn(Instant::now() + LATER), None);
}

#[test]
fn a_login_inside_a_call_has_limits_of_its_own_and_every_piece_of_work_a_new_one() {
    let watch = watch();
    watch.during("sign_digest", LIMITS.call, || {
        for (at, limit) in [(Phase::Open, LIMITS.open), (Phase::Pin, LIMITS.pin), (Phase::Call, LIMITS.call)] {
            let phase = phase::enter(at);
            let began = Instant::now();
            assert_eq!(overdue(&watch, began + limit / 2), None, "{at:?}");
            let late = overdue(&watch, began + limit * 2).expect("late");
            assert_eq!((late.phase, late.limit), (at, limit));
            drop(phase);
        }
        // What it took before does not count.
        assert_eq!(overdue(&watch, Instant::now() + LIMITS.call / 2), None);
    });
}

#[test]
fn a_hung_call_does_not_end_a_process_that_waits_for_a_verdict_until_that_is_late_too() {
    let watch = watch();
    let ((judging, is_judging), (let_it, may)) = (mpsc::channel(), mpsc::channel::<()>());
    std::thread::scope(|scope| {
        let logging_in = watch.clone();
        let login = scope.spawn(move || {
            logging_in.during("health", LIMITS.call, || {
                let _pin = phase::enter(Phase::Pin);
                judging.send(()).unwrap();
                may.recv().unwrap();
            });
        });
        is_judging.recv().unwrap();
        assert!(watch.is_judging());
        watch.during("sign_digest", LIMITS.call, || {
            assert!(overdue(&watch, Instant::now() + LIMITS.call * 2).is_some(), "the signature hangs");
            assert_eq!(watch.condemn(Instant::now() + LIMITS.call * 2), None, "the PIN may come back");
            let_it.send(()).unwrap();
            login.join().unwrap();
            let late = watch.condemn(Instant::now() + LIMITS.call * 2).expect("nothing is judged any more");
            assert_eq!(late.function, "sign_digest");
        });
    });
    watch.during("health", LIMITS.call, || ());
}

#[test]
fn a_verdict_that_never_comes_condemns() {
    let watch = watch();
    watch.during("open", LIMITS.open, || {
        let _pin = phase::enter(Phase::Pin);
        assert_eq!(watch.condemn(Instant::now() + LIMITS.pin / 2), None);
        let late = watch.condemn(Instant::now() + LIMITS.pin * 2).expect("late");
        assert_eq!(late.phase, Phase::Pin);
    });
}

/// An orderly end waits for the verdict on a PIN that was sent, and no other one is sent.
#[test]
fn a_close_waits_for_the_verdict_and_holds_the_next_pin_back() {
    let watch = watch();
    let ((judging, is_judging), (let_it, may)) = (mpsc::channel(), mpsc::channel::<()>());
    let (closed, is_closed) = mpsc::channel();
    let sent = Arc::new(Mutex::new(false));
    std::thread::scope(|scope| {
        let opening = watch.clone();
        scope.spawn(move || {
            opening.during("open", LIMITS.open, || {
                let _pin = phase::enter(Phase::Pin);
                judging.send(()).unwrap();
                may.recv().unwrap();
            });
        });
        is_judging.recv().unwrap();
        let closing = watch.clone();
        scope.spawn(move || {
            closing.close();
            closed.send(()).unwrap();
        });
        assert!(is_closed.recv_timeout(Duration::from_millis(50)).is_err(), "it did not wait");
        let_it.send(()).unwrap();
        is_closed.recv().unwrap();
    });
    // Its thread stays where it is, as it would in a process that ends.
    let (late, marked) = (watch.clone(), Arc::clone(&sent));
    std::thread::spawn(move || {
        late.during("open", LIMITS.open, || {
            let _pin = phase::enter(Phase::Pin);
            *marked.lock().unwrap() = true;
        });
    });
    while watch.calls().under_way.is_empty() {
        std::thread::yield_now();
    }
    watch.close();
    std::thread::sleep(Duration::from_millis(50));
    assert!(!*sent.lock().unwrap(), "a PIN was sent by a process that ends");
}

#[test]
fn keys_in_this_process_are_another_ones_for_whoever_asks() {
    let soft: Arc<dyn KeyDevice> = Arc::new(SoftDevice::seeded("test", 1));
    let watched = Watched::new(Arc::clone(&soft), watch());
    let key = watched.generate(&KeySpec::new("consensus", KeyKind::Sm2Sign)).unwrap();
    assert_eq!((soft.info().custody, watched.info().custody), (Custody::ProcessMemory, Custody::OtherProcess));
    assert_eq!(watched.attest(&key).unwrap().device.custody, Custody::OtherProcess);
    assert_eq!(watched.public_key(&key).unwrap(), soft.public_key(&key).unwrap());
    assert_eq!((watched.allowed("list"), watched.allowed("sign_digest")), (LIMITS.open, LIMITS.call));
}

#[test]
fn a_watched_device_conforms() {
    let soft: Arc<dyn KeyDevice> = Arc::new(SoftDevice::seeded("test", 1));
    let watched: Arc<dyn KeyDevice> = Arc::new(Watched::new(soft, watch()));
    bixi_hsm::conformance::run(watched.as_ref(), "watched").assert_passed();
}
