use std::sync::mpsc;
use std::time::{Duration, Instant};

use super::{Spawner, affinity, short_name};
use crate::{
    placement::{Params, Plan, Role},
    topology::Topology,
};

fn spawner() -> Spawner {
    Spawner::new(Plan::make(&Topology::detect().unwrap(), &Params::default()))
}

/// A plan of one core, the first allowed one, so that placing is visible wherever the machine has two.
fn one_core() -> (usize, Spawner) {
    let cpu = affinity::of_thread(0).unwrap()[0];
    let core = format!("pack:1 core:{} pu:1", cpu + 1);
    let topology = Topology::from_synthetic(&core).unwrap();
    let plan = Plan::make(&topology, &Params::default());
    (cpu, Spawner::new(plan))
}

#[test]
fn threads_are_named_placed_and_listed_while_they_live() {
    let (cpu, spawner) = one_core();
    let (ready, started) = mpsc::channel();
    let (end, ended) = mpsc::channel::<()>();
    let thread = spawner.spawn(Role::Consensus, "consensus-engine-loop", move || {
        ready.send(affinity::of_thread(0).unwrap()).unwrap();
        ended.recv().unwrap_err();
    });
    let allowed = started.recv().unwrap();
    assert!(allowed.iter().all(|&core| core <= cpu), "{allowed:?}");
    let live = spawner.live();
    assert_eq!((live.len(), live[0].name.as_str(), live[0].role), (1, "consensus-engine-loop", Role::Consensus));
    assert_eq!((&live[0].cores, &live[0].unpinned), (&allowed, &None));
    let names: Vec<String> = affinity::threads_of_process().unwrap().into_iter().map(|(_, name)| name).collect();
    assert!(names.contains(&"consensus-engin".to_owned()), "{names:?}");
    drop(end);
    thread.unwrap().join().unwrap();
    assert!(spawner.live().is_empty());
}

#[test]
fn a_thread_is_listed_when_its_spawner_returns() {
    let spawner = spawner();
    for round in 1..=100 {
        let thread = spawner.spawn(Role::Other, "brief", std::thread::park).unwrap();
        assert_eq!(spawner.live().len(), 1, "round {round}");
        thread.thread().unpark();
        thread.join().unwrap();
        let runtime = spawner.tokio(Role::Rpc, "rpc", 3).unwrap();
        assert_eq!(spawner.live().len(), 3, "round {round}");
        drop(runtime);
    }
}

#[test]
fn a_thread_stays_listed_while_others_end() {
    let spawner = spawner();
    let stop = std::sync::atomic::AtomicBool::new(false);
    let missed = std::thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                while !stop.load(std::sync::atomic::Ordering::Relaxed) {
                    std::thread::spawn(|| ()).join().unwrap();
                }
            });
        }
        // Made anew each time, so that threads that end stand before it in the kernel's list.
        let misses = |_: &usize| {
            let thread = spawner.spawn(Role::Other, "stays", std::thread::park).unwrap();
            let missed = (0..10).any(|_| spawner.live().len() != 1);
            thread.thread().unpark();
            thread.join().unwrap();
            missed
        };
        let missed = (0..1_000).filter(misses).count();
        stop.store(true, std::sync::atomic::Ordering::Relaxed);
        missed
    });
    assert_eq!(missed, 0, "threads that were missed");
}

#[test]
fn a_panicking_thread_leaves_the_list() {
    let spawner = spawner();
    spawner.spawn(Role::Other, "doomed", || std::panic::panic_any(1)).unwrap().join().unwrap_err();
    assert!(spawner.live().is_empty());
}

#[test]
fn workers_of_tokio_and_rayon_are_listed() {
    let spawner = spawner();
    let pool = spawner.rayon(Role::Verifier, "verifier", 2).unwrap();
    let runtime = spawner.tokio(Role::Network, "network", 2).unwrap();
    assert_eq!(pool.broadcast(|context| context.index()), [0, 1]);
    runtime.block_on(async { tokio::spawn(async {}).await.unwrap() });
    let count = |role| spawner.live().iter().filter(|thread| thread.role == role).count();
    assert_eq!(count(Role::Verifier), 2);
    assert!(count(Role::Network) >= 1);
    drop(runtime);
    assert_eq!(count(Role::Network), 0);
}

#[test]
fn foreign_threads_are_adopted_once() {
    let spawner = spawner();
    let (end, ended) = mpsc::channel::<()>();
    let (ready, started) = mpsc::channel();
    let foreign = std::thread::Builder::new().name("rocksdb:low".to_owned()).spawn(move || {
        ready.send(()).unwrap();
        ended.recv().unwrap_err();
    });
    started.recv().unwrap();
    assert_eq!(spawner.adopt_by_name("rocksdb:", Role::Storage).unwrap(), 1);
    assert_eq!(spawner.adopt_by_name("rocksdb:", Role::Storage).unwrap(), 0);
    let live = spawner.live();
    assert_eq!((live[0].name.as_str(), live[0].role, &live[0].unpinned), ("rocksdb:low", Role::Storage, &None));
    drop(end);
    foreign.unwrap().join().unwrap();
    // The kernel wakes who waits for a thread a moment before the thread is gone.
    let began = Instant::now();
    while !spawner.live().is_empty() {
        assert!(began.elapsed() < Duration::from_secs(60), "a thread that ended stays listed");
        std::thread::yield_now();
    }
}

#[test]
fn memory_of_the_first_node_can_be_preferred() {
    std::thread::spawn(|| affinity::prefer_memory_of(affinity_node()).unwrap()).join().unwrap();
    assert!(affinity::prefer_memory_of(1 << 20).is_err());
}

fn affinity_node() -> usize {
    Topology::detect().unwrap().numa_nodes()[0]
}

#[test]
fn names_are_cut_between_characters() {
    assert_eq!(short_name("network"), "network");
    assert_eq!(short_name("0123456789abcdefgh"), "0123456789abcde");
    assert_eq!(short_name("驗證驗證驗證"), "驗證驗證驗");
}
