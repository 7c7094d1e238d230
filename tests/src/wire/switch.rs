//! The threads that move frames: one reads each place's frames and decides, one writes what is due to it.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::fs::File;
use std::io::{Read as _, Write as _};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex};
use std::time::{Duration, Instant};

use super::Condition;
use crate::wallet::Seeded;

/// A macvtap puts this before every frame (`struct virtio_net_hdr`): what the sender left to the hardware, such as a checksum.
const HEADER_BYTES: usize = 10;
const FRAME_BYTES_MAX: usize = HEADER_BYTES + (64 << 10);
/// Frames waiting for one place. More are lost, as in any router.
const QUEUE_BYTES_MAX: usize = 1 << 20;
/// On the way at all times, so that an empty queue needs no other way of waiting.
const IDLE: Duration = Duration::from_secs(3600);

/// Frames on their way to one place, the next first.
#[derive(Default)]
struct Queue {
    frames: BinaryHeap<Reverse<(Instant, u64, Vec<u8>)>>,
    bytes: usize,
    taken: u64,
}

/// One place's end.
#[derive(Default)]
struct Port {
    queue: Mutex<Queue>,
    changed: Condvar,
}

/// All ends, and what happens between them.
pub(super) struct Switch {
    ports: Vec<Port>,
    conditions: Vec<Mutex<Condition>>,
    passed: AtomicU64,
    lost: AtomicU64,
}

impl Switch {
    /// Starts the threads. They end with the process.
    pub(super) fn start(taps: Vec<(File, File)>, seed: u64) -> Arc<Self> {
        let count = taps.len();
        let switch = Arc::new(Self {
            ports: (0..count).map(|_| Port::default()).collect(),
            conditions: (0..count * count).map(|_| Mutex::new(Condition::GOOD)).collect(),
            passed: AtomicU64::new(0),
            lost: AtomicU64::new(0),
        });
        for (place, (from, to)) in taps.into_iter().enumerate() {
            let reading = Arc::clone(&switch);
            std::thread::spawn(move || reading.read(place, from, Seeded(seed + place as u64)));
            let writing = Arc::clone(&switch);
            std::thread::spawn(move || writing.write(place, to));
        }
        switch
    }

    pub(super) fn set(&self, from: usize, to: usize, condition: Condition) {
        *self.condition(from, to).lock().expect("no thread of the wire panics") = condition;
    }

    pub(super) fn totals(&self) -> (u64, u64) {
        (self.passed.load(Ordering::Relaxed), self.lost.load(Ordering::Relaxed))
    }

    fn condition(&self, from: usize, to: usize) -> &Mutex<Condition> {
        &self.conditions[from * self.ports.len() + to]
    }

    fn read(&self, from: usize, mut tap: File, mut random: Seeded) {
        let mut buffer = vec![0; FRAME_BYTES_MAX];
        let mut free = vec![Instant::now(); self.ports.len()];
        while let Ok(length) = tap.read(&mut buffer) {
            let frame = &buffer[..length];
            for to in self.receivers(from, frame) {
                let condition = *self.condition(from, to).lock().expect("no thread of the wire panics");
                let bytes = length - HEADER_BYTES;
                let arrivals = condition.arrivals(bytes, Instant::now(), &mut free[to], &mut random);
                if arrivals.is_empty() {
                    self.lost.fetch_add(1, Ordering::Relaxed);
                }
                arrivals.into_iter().for_each(|at| self.take(to, at, frame));
            }
        }
    }

    /// By the Ethernet address: the last byte is the place, a group's address is everybody's.
    fn receivers(&self, from: usize, frame: &[u8]) -> Vec<usize> {
        let Some(address) = frame.get(HEADER_BYTES..HEADER_BYTES + 6) else { return Vec::new() };
        let is_group = address[0] & 1 == 1;
        (0..self.ports.len()).filter(|to| *to != from && (is_group || usize::from(address[5]) == *to)).collect()
    }

    fn take(&self, to: usize, at: Instant, frame: &[u8]) {
        let port = &self.ports[to];
        let mut queue = port.queue.lock().expect("no thread of the wire panics");
        if queue.bytes + frame.len() > QUEUE_BYTES_MAX {
            self.lost.fetch_add(1, Ordering::Relaxed);
            return;
        }
        queue.bytes += frame.len();
        queue.taken += 1;
        let order = queue.taken;
        queue.frames.push(Reverse((at, order, frame.to_vec())));
        port.changed.notify_one();
    }

    fn write(&self, place: usize, mut tap: File) {
        loop {
            let frame = self.next(place);
            // An interface that is down or full loses the frame, as a cable would.
            let count = if tap.write_all(&frame).is_ok() { &self.passed } else { &self.lost };
            count.fetch_add(1, Ordering::Relaxed);
        }
    }

    fn next(&self, place: usize) -> Vec<u8> {
        let port = &self.ports[place];
        let mut queue = port.queue.lock().expect("no thread of the wire panics");
        loop {
            let now = Instant::now();
            let wait = match queue.frames.peek() {
                Some(Reverse((at, ..))) if *at <= now => {
                    let Reverse((.., frame)) = queue.frames.pop().expect("seen above");
                    queue.bytes -= frame.len();
                    return frame;
                }
                Some(Reverse((at, ..))) => *at - now,
                None => IDLE,
            };
            queue = port.changed.wait_timeout(queue, wait).expect("no thread of the wire panics").0;
        }
    }
}
