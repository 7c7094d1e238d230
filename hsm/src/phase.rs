//! What a call of a device is at, told to whoever watches it.
//!
//! A library cannot be interrupted, so a call that takes too long costs its process. How long is too long depends on what the call is
//! at: a signature takes milliseconds, a device that was lost is found and logged into anew inside whatever call comes next, which may
//! take minutes. And while a device judges a PIN nobody may end the process that he could let live: the attempt would count as one
//! without a verdict (see [`pin`](crate::pin)).
//!
//! Pools and the memory of PINs tell; a watch is installed for the calls of one thread. Where none is, telling costs nothing. Whether any
//! thread has sent a PIN is told to one more, who keeps the process from ending meanwhile ([`on_pin_judged`]).

use std::cell::RefCell;
use std::marker::PhantomData;
use std::rc::Rc;
use std::sync::{Mutex, OnceLock, PoisonError};

/// What a call is at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Phase {
    /// The library does what was asked. Entered anew for every piece of work, so that waiting for a session is not part of it.
    Call,
    /// The device is found and opened anew.
    Open,
    /// A PIN was noted as tried and has no verdict yet.
    Pin,
}

/// Hears each phase of the calls of a thread when it begins. It may keep the thread from going on.
pub type Observer = Rc<dyn Fn(Phase)>;

struct Current {
    observer: Option<Observer>,
    phase: Phase,
}

thread_local! {
    static CURRENT: RefCell<Current> = const { RefCell::new(Current { observer: None, phase: Phase::Call }) };
}

/// Who hears of PINs in the whole process.
static SENTINEL: OnceLock<fn(bool)> = OnceLock::new();
/// PINs without their verdict now.
static JUDGED: Mutex<usize> = Mutex::new(0);

/// Has `hears` be told when the first PIN is about to be sent, before it is noted, and when the last one has its verdict, after that was
/// noted, whatever threads they are of. The first who asks is told, for as long as the process lives.
pub fn on_pin_judged(hears: fn(bool)) {
    let _ = SENTINEL.set(hears);
}

/// Counts a PIN that is about to be sent, or that has its verdict.
fn count_judged(is_begun: bool) {
    let mut judged = JUDGED.lock().unwrap_or_else(PoisonError::into_inner);
    *judged = if is_begun { *judged + 1 } else { *judged - 1 };
    // Told under the lock, so that beginnings and ends come in order.
    if let Some(hears) = SENTINEL.get()
        && *judged == usize::from(is_begun)
    {
        hears(is_begun);
    }
}

/// Runs `call` with its phases told to `observer`, instead of whoever heard them before.
pub fn observed<T>(observer: Observer, call: impl FnOnce() -> T) -> T {
    let before = CURRENT.replace(Current { observer: Some(observer), phase: Phase::Call });
    let _restored = Restored(Some(before));
    call()
}

/// Puts the observer of before in its place, also after a panic.
struct Restored(Option<Current>);

impl Drop for Restored {
    fn drop(&mut self) {
        if let Some(before) = self.0.take() {
            drop(CURRENT.replace(before));
        }
    }
}

/// Begins a phase, which lasts until what is returned is dropped; the one of before goes on then.
pub fn enter(phase: Phase) -> Entered {
    let before = CURRENT.with_borrow_mut(|current| std::mem::replace(&mut current.phase, phase));
    tell(phase);
    // After the thread's own watch, which may keep it for ever.
    if phase == Phase::Pin {
        count_judged(true);
    }
    Entered { phase, before, _of_this_thread: PhantomData }
}

fn tell(phase: Phase) {
    // The observer may block, and may be asked again meanwhile: nothing is borrowed while it hears.
    if let Some(observer) = CURRENT.with_borrow(|current| current.observer.clone()) {
        observer(phase);
    }
}

/// A phase under way on this thread.
#[derive(Debug)]
#[must_use = "the phase ends when this is dropped"]
pub struct Entered {
    phase: Phase,
    before: Phase,
    _of_this_thread: PhantomData<*const ()>,
}

impl Drop for Entered {
    fn drop(&mut self) {
        CURRENT.with_borrow_mut(|current| current.phase = self.before);
        tell(self.before);
        if self.phase == Phase::Pin {
            count_judged(false);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn phases_are_told_in_order_and_only_while_somebody_watches() {
        let told = Rc::new(RefCell::new(Vec::new()));
        let hears = |told: &Rc<RefCell<Vec<Phase>>>| -> Observer {
            let told = Rc::clone(told);
            Rc::new(move |phase| told.borrow_mut().push(phase))
        };
        let work = || {
            let _open = enter(Phase::Open);
            drop(enter(Phase::Pin));
        };
        work();
        assert!(told.borrow().is_empty());
        observed(hears(&told), || {
            work();
            let inner = Rc::default();
            observed(hears(&inner), || drop(enter(Phase::Pin)));
            assert_eq!(*inner.borrow(), [Phase::Pin, Phase::Call]);
        });
        work();
        assert_eq!(*told.borrow(), [Phase::Open, Phase::Pin, Phase::Open, Phase::Call]);
    }

    /// Other tests of this process send PINs beside this one: that it hears of its own, at least, is what can be said.
    #[test]
    fn pins_of_all_threads_are_heard_of_in_one_place() {
        static HEARD: Mutex<Vec<bool>> = Mutex::new(Vec::new());
        on_pin_judged(|is_judged| HEARD.lock().unwrap().push(is_judged));
        let pin = enter(Phase::Pin);
        std::thread::spawn(|| drop(enter(Phase::Pin))).join().unwrap();
        drop(enter(Phase::Open));
        let heard = HEARD.lock().unwrap().clone();
        assert_ne!(heard.last(), Some(&false), "one is under way: {heard:?}");
        drop(pin);
        while HEARD.lock().unwrap().len() == heard.len() {
            std::thread::yield_now();
        }
        let heard = HEARD.lock().unwrap();
        assert!(heard.windows(2).all(|two| two[0] != two[1]) && heard.contains(&false), "{heard:?}");
    }

    #[test]
    fn a_panic_ends_its_phases_and_its_watch() {
        let told = Rc::new(RefCell::new(Vec::new()));
        let hears: Observer = {
            let told = Rc::clone(&told);
            Rc::new(move |phase| told.borrow_mut().push(phase))
        };
        let panicked = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            observed(hears, || {
                let _pin = enter(Phase::Pin);
                panic!("of the library");
            });
        }));
        assert!(panicked.is_err());
        drop(enter(Phase::Open));
        assert_eq!(*told.borrow(), [Phase::Pin, Phase::Call]);
    }
}
