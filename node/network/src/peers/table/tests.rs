use std::time::Duration;

use proptest::prelude::*;

use super::*;
use crate::session::connection::Bounds;
use crate::session::link::Patience;

const SMALL: NodeId = NodeId([1; 64]);
const LARGE: NodeId = NodeId([2; 64]);

fn session(node: NodeId, channel: Channel, direction: Direction, instance: u64) -> Arc<Session> {
    let address = ([127, 0, 0, 1], 1).into();
    let certificates = Arc::from([]);
    let (listen, protocol_version, skew_ms) = (None, 1, 0);
    let remote = Remote {
        node,
        address,
        direction,
        channel,
        instance,
        listen,
        protocol_version,
        skew_ms,
        certificates,
        certificate_not_after_s: 0,
    };
    let patience = Patience { silence: Duration::MAX, frame: Duration::MAX };
    Arc::new(Session::new(remote, Bounds { queue_bytes_max: 100, ping: Duration::MAX, patience }))
}

fn table(own: NodeId) -> (Table, mpsc::UnboundedReceiver<Event>) {
    Table::new(own, 4)
}

fn stands(table: &Table, session: &Arc<Session>) -> bool {
    table.all().iter().any(|standing| Arc::ptr_eq(standing, session))
}

#[test]
fn of_two_that_called_at_once_the_call_of_the_smaller_node_stays() {
    for (own, peer, stays) in [(SMALL, LARGE, Direction::Outbound), (LARGE, SMALL, Direction::Inbound)] {
        let of = |direction| session(peer, Channel::Bulk, direction, 1);
        for inbound_first in [true, false] {
            let (table, _events) = table(own);
            let (inbound, outbound) = (of(Direction::Inbound), of(Direction::Outbound));
            let order = if inbound_first { [&inbound, &outbound] } else { [&outbound, &inbound] };
            let entered = order.map(|session| table.enter(session));
            assert_eq!(entered[0], Ok(()), "somebody is alone");
            let kept = if stays == Direction::Inbound { &inbound } else { &outbound };
            assert!(stands(&table, kept) && table.all().len() == 1, "{own} {inbound_first}");
            assert_eq!(entered[1].is_ok(), Arc::ptr_eq(order[1], kept));
            assert_eq!(order[0].has_ended(), Arc::ptr_eq(order[1], kept), "the one that is replaced ends");
        }
    }
}

#[test]
fn the_younger_one_and_the_one_of_a_new_start_replace_what_was_left_behind() {
    let (table, _events) = table(SMALL);
    let enter = |direction, instance| {
        let new = session(LARGE, Channel::Bulk, direction, instance);
        (table.enter(&new).map_err(|refusal| refusal.reason), new)
    };
    let (_, first) = enter(Direction::Outbound, 1);
    let (entered, second) = enter(Direction::Outbound, 1);
    assert!(entered.is_ok() && first.has_ended() && stands(&table, &second));
    assert_eq!(enter(Direction::Inbound, 1).0, Err(Reason::Duplicate), "ours stays");
    let (entered, anew) = enter(Direction::Inbound, 2);
    assert!(entered.is_ok() && second.has_ended() && stands(&table, &anew), "its last run is over");
    table.leave(&first);
    assert!(stands(&table, &anew), "one that was replaced takes nobody with it");
    anew.refuse(Refusal::new(Reason::Silent, "ended and not yet out"));
    assert!(enter(Direction::Inbound, 2).0.is_ok());
}

#[test]
fn what_waited_goes_to_the_session_that_replaces() {
    let (table, _events) = table(SMALL);
    let (old, new) =
        (session(LARGE, Channel::Bulk, Direction::Inbound, 1), session(LARGE, Channel::Bulk, Direction::Outbound, 1));
    table.enter(&old).unwrap();
    assert!(old.queue.push(Arc::new(vec![7; 30])));
    table.enter(&new).unwrap();
    assert_eq!((old.queue.bytes(), new.queue.bytes()), (0, 30));
    assert!(!old.queue.push(Arc::new(vec![7])), "nothing is put where nobody writes");
}

#[test]
fn a_peer_is_announced_while_both_sessions_stand() {
    let (table, mut events) = table(SMALL);
    let [consensus, bulk] = Channel::ALL.map(|channel| session(LARGE, channel, Direction::Outbound, 1));
    table.enter(&bulk).unwrap();
    assert!(events.try_recv().is_err());
    assert_eq!(table.missing(Some(&LARGE)), [Channel::Consensus]);
    table.enter(&consensus).unwrap();
    assert_eq!(events.try_recv(), Ok(Event::Connected(LARGE)));
    let younger = session(LARGE, Channel::Bulk, Direction::Outbound, 1);
    table.enter(&younger).unwrap();
    table.leave(&bulk);
    assert!(events.try_recv().is_err(), "a replacement is no loss");
    table.leave(&younger);
    assert_eq!(events.try_recv(), Ok(Event::Disconnected(LARGE)));
    table.leave(&consensus);
    assert!(events.try_recv().is_err() && table.all().is_empty());
}

#[test]
fn sessions_are_bounded_and_a_closed_table_takes_nobody() {
    let (table, _events) = table(SMALL);
    for node in 2..=5 {
        table.enter(&session(NodeId([node; 64]), Channel::Bulk, Direction::Inbound, 1)).unwrap();
    }
    let another = session(NodeId([9; 64]), Channel::Bulk, Direction::Inbound, 1);
    assert_eq!(table.enter(&another).unwrap_err().reason, Reason::Full);
    let younger = session(LARGE, Channel::Bulk, Direction::Inbound, 1);
    assert_eq!(table.enter(&younger), Ok(()), "one that replaces takes no place");
    assert_eq!(table.close().len(), 4);
    assert_eq!(table.enter(&another).unwrap_err().reason, Reason::Stopping);
}

proptest! {
    /// Connections between two nodes come to stand in one order here and in another there; a side that refuses or replaces one
    /// tells the other, who takes it out. Both end up with the same one.
    #[test]
    fn both_sides_keep_the_same_connection(
        calls in proptest::collection::vec(any::<bool>(), 1..5),
        seeds in (any::<u64>(), any::<u64>()),
    ) {
        let sides = [(SMALL, LARGE), (LARGE, SMALL)].map(|(own, peer)| (table(own), peer));
        // One TCP connection: its end at the small node and its end at the large one.
        let connections: Vec<[Arc<Session>; 2]> = calls
            .iter()
            .map(|&of_the_small| {
                let (here, there) = if of_the_small {
                    (Direction::Outbound, Direction::Inbound)
                } else {
                    (Direction::Inbound, Direction::Outbound)
                };
                [session(LARGE, Channel::Bulk, here, 1), session(SMALL, Channel::Bulk, there, 1)]
            })
            .collect();
        for (side, seed) in [(0, seeds.0), (1, seeds.1)] {
            let ((table, _), _) = &sides[side];
            // Those of one caller arrive in the order of its calls; how the two callers' interleave is free.
            let mut queues = [true, false].map(|caller| {
                let own = connections.iter().zip(&calls).filter(move |(_, of)| **of == caller);
                own.map(|(ends, _)| &ends[side]).collect::<std::collections::VecDeque<_>>()
            });
            let mut seed = seed;
            while queues.iter().any(|queue| !queue.is_empty()) {
                let pick = usize::from(seed & 1 == 1);
                seed = seed.rotate_right(1);
                let next = queues[pick].pop_front().or_else(|| queues[1 - pick].pop_front()).unwrap();
                if let Err(refusal) = table.enter(next) {
                    next.refuse(refusal);
                }
            }
        }
        for ends in &connections {
            if ends.iter().any(|end| end.has_ended()) {
                for (end, ((table, _), _)) in ends.iter().zip(&sides) {
                    end.refuse(Refusal::new(Reason::Duplicate, "the other side ended it"));
                    table.leave(end);
                }
            }
        }
        let standing: Vec<usize> = (0..connections.len())
            .filter(|index| connections[*index].iter().zip(&sides).all(|(end, ((table, _), _))| stands(table, end)))
            .collect();
        prop_assert_eq!(standing.len(), 1, "{:?}", calls);
        for ((table, _), _) in &sides {
            prop_assert_eq!(table.all().len(), 1);
        }
    }
}
