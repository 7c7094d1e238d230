//! What a call of a device is at, told to whoever watches it.
//!
//! A library cannot be interrupted, so a call that takes too long costs its process. How long is too long depends on what the call is
//! at: a signature takes milliseconds, a device that was lost is found and logged into anew inside whatever call comes next, which may
//! take minutes. And while a device judges a PIN nobody may end the process that he could let live: the attempt would count as one
//! without a verdict (see [`pin`](crate::pin)).
//!
//! Pools and the memory of PINs tell; a watch is installed for the calls of one thread. Where none is, telling costs nothing.

use std::cell::RefCell;
use std::marker::PhantomData;
use std::rc::Rc;

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
    Entered { before, _of_this_thread: PhantomData }
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
    before: Phase,
    _of_this_thread: PhantomData<*const ()>,
}

impl Drop for Entered {
    fn drop(&mut self) {
        CURRENT.with_borrow_mut(|current| current.phase = self.before);
        tell(self.before);
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
