//! A wire between network namespaces whose faults a test decides: delay, jitter, loss, order, duplicates, bandwidth, cuts; for each
//! direction between two places, changed at run time.
//!
//! Every place is a namespace with an Ethernet interface of its own; what leaves it is read here, in user space, and written to where it
//! goes, later or never. No kernel module is needed (`sch_netem` is often missing), the choices come from a seed, and the queue of each
//! receiver is bounded as a router's is: what does not fit is lost, and TCP slows down.
//!
//! ```text
//! place 0 ── wire0 ═ veth ═ w0 ── macvtap t0 ── reader ─┐            ┌─ queue of 1 ── writer ── t1 ═ … ═ wire0 ── place 1
//!                                                        ├─ condition ┤
//! place 1 ── wire0 ═ veth ═ w1 ── macvtap t1 ── reader ─┘            └─ queue of 0 ── writer ── t0 ═ … ═ wire0 ── place 0
//! ```
//!
//! A macvtap is read and written as a plain file, so no `ioctl` is needed. Besides the wire every place has a link of its own to the
//! test, where RPC listens and nothing is ever lost.

pub mod condition;
mod places;
mod switch;

use std::fs::{File, OpenOptions};
use std::path::Path;
use std::process::Command;
use std::sync::Arc;

pub use condition::Condition;
pub use places::private_network;

use switch::Switch;

/// Places joined by a wire. They end with the process: see [`private_network`].
pub struct Wire {
    switch: Arc<Switch>,
    count: usize,
}

impl Wire {
    /// Makes the namespaces and joins them by a wire without faults; device files go to `scratch`. Only in a [`private_network`].
    ///
    /// # Errors
    /// Why this machine does not allow it.
    pub fn new(count: usize, scratch: &Path, seed: u64) -> Result<Self, String> {
        let ends: Result<Vec<_>, String> = (0..count).map(|place| open(&places::make(place, scratch)?)).collect();
        Ok(Self { switch: Switch::start(ends?, seed), count })
    }

    /// Where a place is found by the other places.
    pub fn address(place: usize) -> String {
        format!("198.19.0.{}", 10 + place)
    }

    /// Where the test finds a place.
    pub fn control_address(place: usize) -> String {
        format!("198.18.{place}.2")
    }

    /// A command that runs in a place; its process is that of the program.
    pub fn command(place: usize, program: &Path) -> Command {
        let mut command = Command::new("ip");
        command.args(["netns", "exec", &places::name(place)]).arg(program);
        command
    }

    /// Sets the fault in one direction.
    pub fn set(&self, from: usize, to: usize, condition: Condition) {
        self.switch.set(from, to, condition);
    }

    /// Sets the fault in every direction that `chosen` names.
    pub fn set_where(&self, condition: Condition, chosen: impl Fn(usize, usize) -> bool) {
        for from in 0..self.count {
            for to in (0..self.count).filter(|to| *to != from) {
                if chosen(from, to) {
                    self.set(from, to, condition);
                }
            }
        }
    }

    /// Cuts both directions between the two groups that `side` tells apart.
    pub fn part(&self, side: impl Fn(usize) -> bool) {
        self.set_where(Condition::CUT, |from, to| side(from) != side(to));
    }

    /// Mends everything.
    pub fn heal(&self) {
        self.set_where(Condition::GOOD, |_, _| true);
    }

    /// Frames that passed and frames that were lost, for any reason.
    pub fn totals(&self) -> (u64, u64) {
        self.switch.totals()
    }
}

/// Two descriptors of one opening: every opening of a macvtap is a queue of its own, and the kernel spreads the flows over all queues.
fn open(device: &Path) -> Result<(File, File), String> {
    let at = |error: std::io::Error| format!("{}: {error}", device.display());
    let tap = OpenOptions::new().read(true).write(true).open(device).map_err(at)?;
    Ok((tap.try_clone().map_err(at)?, tap))
}
