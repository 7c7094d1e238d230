use std::sync::mpsc;

use super::*;

/// Nothing that comes at once takes longer, on whatever machine.
const PATIENCE: Duration = Duration::from_secs(60);
const AT_ONCE: Duration = Duration::ZERO;

fn enter_at_once(gate: &Gate, priority: Priority) -> Option<Place<'_>> {
    gate.enter(priority, AT_ONCE)
}

/// Waits until `count` of that priority wait.
fn until_waiting(gate: &Gate, priority: Priority, count: usize) {
    let began = Instant::now();
    while gate.state().waiting[priority.rank()] != count {
        assert!(began.elapsed() < PATIENCE, "nobody waits");
        std::thread::yield_now();
    }
}

#[test]
fn places_are_bounded_and_come_back() {
    let gate = Gate::new(2);
    let first = enter_at_once(&gate, Priority::Keeping).unwrap();
    let _second = enter_at_once(&gate, Priority::Statement).unwrap();
    assert!(enter_at_once(&gate, Priority::Statement).is_none());
    drop(first);
    assert!(enter_at_once(&gate, Priority::Keeping).is_some());
}

#[test]
fn handshakes_hold_a_quarter_and_one_at_least() {
    for (places, handshakes) in [(1, 1), (3, 1), (8, 2), (16, 4), (19, 4)] {
        let gate = Gate::new(places);
        let held: Vec<_> = std::iter::from_fn(|| enter_at_once(&gate, Priority::Handshake)).collect();
        assert_eq!(held.len(), handshakes, "of {places}");
        let others: Vec<_> = std::iter::from_fn(|| enter_at_once(&gate, Priority::Keeping)).collect();
        assert_eq!(others.len(), places - handshakes, "of {places}");
    }
}

#[test]
fn the_most_urgent_who_waits_goes_first() {
    let gate = Gate::new(1);
    let (entered, order) = mpsc::channel();
    std::thread::scope(|scope| {
        let held = enter_at_once(&gate, Priority::Keeping).unwrap();
        for priority in [Priority::Handshake, Priority::Keeping, Priority::Statement] {
            let (gate, entered) = (&gate, entered.clone());
            scope.spawn(move || {
                let place = gate.enter(priority, PATIENCE).expect("a place in the end");
                entered.send(priority).expect("somebody listens");
                drop(place);
            });
            until_waiting(gate, priority, 1);
        }
        drop(held);
    });
    drop(entered);
    assert_eq!(order.iter().collect::<Vec<_>>(), [Priority::Statement, Priority::Keeping, Priority::Handshake]);
}

#[test]
fn whoever_gives_up_holds_nobody_back() {
    let gate = Gate::new(8);
    let handshakes: Vec<_> = std::iter::from_fn(|| enter_at_once(&gate, Priority::Handshake)).collect();
    assert!(enter_at_once(&gate, Priority::Handshake).is_none(), "a quarter is taken");
    assert_eq!(gate.state().waiting, [0; Priority::COUNT]);
    drop(handshakes);
    assert!(enter_at_once(&gate, Priority::Handshake).is_some());
}

#[test]
fn a_panic_gives_its_place_back() {
    let gate = Gate::new(1);
    let panicked = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
        let _place = enter_at_once(&gate, Priority::Handshake);
        panic!("of whoever works inside");
    }));
    assert!(panicked.is_err());
    assert!(enter_at_once(&gate, Priority::Handshake).is_some());
}
