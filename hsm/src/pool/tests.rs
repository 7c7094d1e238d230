use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use super::*;

const PATIENCE: Duration = Duration::from_secs(30);

/// A device that counts, and answers what it is told to.
#[derive(Default)]
struct Device {
    logins: AtomicUsize,
    open: Arc<AtomicUsize>,
    asked: AtomicUsize,
    /// A fault of one session is no fault of the device's.
    forgiving: bool,
    sessions_max: usize,
    login_answer: Mutex<Option<Cause>>,
}

struct Session(Arc<AtomicUsize>);

impl Drop for Session {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::SeqCst);
    }
}

fn fails(cause: Cause) -> DeviceError {
    DeviceError::new("test", cause, "as told")
}

impl Source for Device {
    type Login = ();
    type Session = Session;

    const EXCLUSIVE: bool = true;

    fn log_in(&self) -> Result<(), DeviceError> {
        self.logins.fetch_add(1, Ordering::SeqCst);
        self.login_answer.lock().unwrap().map_or(Ok(()), |cause| Err(fails(cause)))
    }

    fn open(&self) -> Result<Session, DeviceError> {
        self.asked.fetch_add(1, Ordering::SeqCst);
        let session = Session(Arc::clone(&self.open));
        let before = self.open.fetch_add(1, Ordering::SeqCst);
        if before >= self.sessions_max { Err(fails(Cause::Busy)) } else { Ok(session) }
    }

    fn ends_login(&self, error: &DeviceError) -> bool {
        error.cause == Cause::Absent || (!self.forgiving && matches!(error.cause, Cause::SessionLost | Cause::Fault))
    }
}

fn pool(sessions_max: usize, timeout: Duration) -> Pool<Device> {
    Pool::new(Device { sessions_max, ..Device::default() }, 2, timeout)
}

fn logins(pool: &Pool<Device>) -> usize {
    pool.source().logins.load(Ordering::SeqCst)
}

fn open(pool: &Pool<Device>) -> usize {
    pool.source().open.load(Ordering::SeqCst)
}

#[test]
fn a_panic_gives_its_session_back() {
    let pool = pool(2, PATIENCE);
    for round in 0..5 {
        let panicked =
            catch_unwind(AssertUnwindSafe(|| pool.with::<()>(|_, _| panic!("inside a call, round {round}"))));
        assert!(panicked.is_err());
    }
    assert_eq!((pool.state().in_use, open(&pool)), (0, 0));
    pool.with(|_, _| Ok(())).unwrap();
    assert_eq!((pool.state().in_use, open(&pool)), (0, 1));
}

#[test]
fn sessions_are_reused_and_closed_when_the_device_failed_in_them() {
    let pool = pool(2, PATIENCE);
    for _ in 0..3 {
        let epoch = pool.with(|_, epoch| Ok(epoch)).unwrap();
        assert_eq!(epoch, 1);
        assert_eq!(open(&pool), 1);
    }
    let ours = pool.with::<()>(|_, _| Err(fails(Cause::KeyNotFound).into()));
    assert_eq!((ours.unwrap_err().cause, open(&pool)), (Cause::KeyNotFound, 1));
    let refused = pool.with::<()>(|_, _| Err(Failure::Device(fails(Cause::Rejected))));
    assert_eq!((refused.unwrap_err().cause, open(&pool), logins(&pool)), (Cause::Rejected, 0, 1));
}

#[test]
fn a_lost_login_is_made_again_once_for_each_call() {
    let pool = pool(2, PATIENCE);
    pool.with(|_, epoch| if epoch == 1 { Err(Failure::Device(fails(Cause::SessionLost))) } else { Ok(()) }).unwrap();
    assert_eq!((logins(&pool), open(&pool)), (2, 1));
    let lost = pool.with::<()>(|_, _| Err(Failure::Device(fails(Cause::SessionLost))));
    assert_eq!((lost.unwrap_err().cause, logins(&pool), open(&pool)), (Cause::SessionLost, 3, 0));
    let absent = pool.with::<()>(|_, _| Err(Failure::Device(fails(Cause::Absent))));
    assert_eq!((absent.unwrap_err().cause, logins(&pool)), (Cause::Absent, 4), "an absent device is not asked twice");
}

#[test]
fn a_wrong_pin_halts_the_pool_wherever_it_is_found() {
    let at_login = pool(2, PATIENCE);
    *at_login.source().login_answer.lock().unwrap() = Some(Cause::WrongPin);
    let in_work = pool(2, PATIENCE);
    for round in 0..3 {
        let first = at_login.with(|_, _| Ok(())).unwrap_err();
        let second = in_work.with::<()>(|_, _| Err(Failure::Device(fails(Cause::WrongPin)))).unwrap_err();
        assert_eq!((first.cause, second.cause), (Cause::WrongPin, Cause::WrongPin), "round {round}");
    }
    assert_eq!((logins(&at_login), logins(&in_work), open(&in_work)), (1, 1, 0));
    assert_eq!(in_work.with(|_, _| Ok(())).unwrap_err().cause, Cause::WrongPin, "the work is not even begun");
}

#[test]
fn what_the_pool_or_the_device_has_no_more_of_is_waited_for_until_the_deadline() {
    for sessions_max in [1, 2] {
        let pool = pool(sessions_max, Duration::ZERO);
        let inner = pool.with(|_, _| {
            let busy = || pool.with::<()>(|_, _| Ok(())).unwrap_err();
            match sessions_max {
                1 => Ok(busy()),
                _ => Ok(pool.with(|_, _| Ok(busy()))?),
            }
        });
        let error = inner.unwrap();
        assert_eq!(error.cause, Cause::Busy, "{error}");
        assert!(error.message.starts_with("no session came free in 0 ms; "), "{error}");
        assert_eq!(pool.state().in_use, 0);
    }
}

/// Whoever logs in again waits for the sessions of the lost login: closing a device under a call is undefined.
#[test]
fn a_new_login_waits_for_the_sessions_of_the_last() {
    let pool = pool(2, Duration::ZERO);
    let during = pool.with(|_, _| {
        let lost = pool.with::<()>(|_, _| Err(Failure::Device(fails(Cause::Absent)))).unwrap_err();
        Ok((lost.cause, pool.with::<()>(|_, _| Ok(())).unwrap_err().cause))
    });
    assert_eq!(during.unwrap(), (Cause::Absent, Cause::Busy));
    assert_eq!((logins(&pool), open(&pool)), (1, 0), "the session of the lost login was closed, not kept");
    assert_eq!(pool.with(|_, epoch| Ok(epoch)).unwrap(), 2);
}

#[test]
fn waiters_get_what_comes_back() {
    let pool = pool(2, PATIENCE);
    let done = AtomicUsize::new(0);
    std::thread::scope(|scope| {
        for _ in 0..8 {
            scope.spawn(|| {
                for _ in 0..50 {
                    pool.with(|_, _| Ok(done.fetch_add(1, Ordering::SeqCst))).unwrap();
                }
            });
        }
    });
    assert_eq!(done.load(Ordering::SeqCst), 400);
    assert!(open(&pool) <= 2);
}

/// Both sessions of the device are held while six others come: each asks for a third at most once, and then never again.
#[test]
fn a_device_with_fewer_sessions_than_allowed_is_not_asked_again_and_again() {
    const WAITERS: usize = 6;
    let device = Device { sessions_max: 2, ..Device::default() };
    let pool = Pool::new(device, 2 + WAITERS, PATIENCE);
    let work = |rounds: usize| (0..rounds).try_for_each(|_| pool.with(|_, _| Ok(())));
    std::thread::scope(|scope| {
        let waiters = pool.with(|_, _| {
            Ok(pool.with(|_, _| Ok((0..WAITERS).map(|_| scope.spawn(|| work(200))).collect::<Vec<_>>()))?)
        });
        for waiter in waiters.unwrap() {
            waiter.join().unwrap().unwrap();
        }
    });
    let asked = pool.source().asked.load(Ordering::SeqCst);
    assert!((2..=2 + WAITERS).contains(&asked), "asked for a session {asked} times");
    assert_eq!(open(&pool), 2);
}

#[test]
fn a_device_that_had_no_more_is_asked_for_one_more_later_and_after_a_new_login() {
    let pool = pool(1, Duration::ZERO);
    let asked = || pool.source().asked.load(Ordering::SeqCst);
    let second_is_busy = || pool.with(|_, _| Ok(pool.with::<()>(|_, _| Ok(())).unwrap_err().cause)).unwrap();
    for _ in 0..3 {
        assert_eq!((second_is_busy(), asked()), (Cause::Busy, 2), "the first time only");
    }
    for _ in 0..LENDINGS_UNTIL_ASKED_AGAIN {
        pool.with(|_, _| Ok(())).unwrap();
    }
    assert_eq!((second_is_busy(), asked()), (Cause::Busy, 3));
    pool.with::<()>(|_, _| Err(Failure::Device(fails(Cause::Absent)))).unwrap_err();
    assert_eq!((second_is_busy(), asked()), (Cause::Busy, 5), "the new login's first session, and one more");
}

#[test]
fn what_ends_a_session_only_leaves_the_login_and_the_other_sessions() {
    let pool = Pool::new(Device { sessions_max: 2, forgiving: true, ..Device::default() }, 2, PATIENCE);
    for cause in [Cause::Fault, Cause::SessionLost] {
        let failed =
            pool.with(|_, _| Ok(pool.once::<()>(|_, _| Err(Failure::Device(fails(cause)))).unwrap_err().cause));
        assert_eq!((failed.unwrap(), logins(&pool), open(&pool)), (cause, 1, 1), "its own session is closed");
    }
    pool.with::<()>(|_, _| Err(Failure::Device(fails(Cause::Absent)))).unwrap_err();
    assert_eq!(open(&pool), 0);
}

#[test]
fn work_that_changes_the_device_is_done_once() {
    let (pool, done) = (pool(2, PATIENCE), AtomicUsize::new(0));
    let lost = pool.once::<()>(|_, _| {
        done.fetch_add(1, Ordering::SeqCst);
        Err(Failure::Device(fails(Cause::SessionLost)))
    });
    assert_eq!((lost.unwrap_err().cause, done.load(Ordering::SeqCst)), (Cause::SessionLost, 1));
}
