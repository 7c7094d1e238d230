//! What goes wrong, and when.

use super::*;

/// Durable records that damage takes from the end of a log, at most.
const LOST_RECORDS_MAX: u64 = 12;

impl World {
    pub(super) fn schedule_faults(&mut self) {
        let plan = self.plan.clone();
        if plan.storm_ms == 0 {
            return;
        }
        let nodes = self.machines.len() as u64;
        for _ in 0..plan.crashes {
            let (at_ms, node) = (self.random.between(0, plan.storm_ms), self.random.between(0, nodes - 1) as usize);
            self.at(at_ms, Event::ArmCrash { node });
        }
        for _ in 0..plan.partitions {
            let (at_ms, sides) = (self.random.between(0, plan.storm_ms), self.random.between(0, (1 << nodes) - 1));
            self.at(at_ms, Event::Partition { sides });
        }
        for _ in 0..plan.outages {
            let (at_ms, node) = (self.random.between(0, plan.storm_ms), self.random.between(0, nodes - 1) as usize);
            let until_ms = (at_ms + self.random.between(100, 9_000)).min(plan.storm_ms);
            self.at(at_ms, Event::Outage { node, until_ms });
        }
        if plan.blackout {
            let at_ms = self.random.between(0, plan.storm_ms);
            self.at(at_ms, Event::Blackout);
        }
        if let Some((node, fault)) = plan.disk {
            let copied_ms = self.random.between(0, plan.storm_ms);
            let damaged_ms = self.random.between(copied_ms, plan.storm_ms);
            self.at(copied_ms, Event::Copy { node });
            self.at(damaged_ms, Event::Damage { node, fault });
        }
        for bad in &plan.clocks {
            for _ in 0..bad.jumps {
                let at_ms = self.random.between(0, plan.storm_ms);
                let offset_ms = self.random.between(0, 2 * bad.off_ms) as i64 - bad.off_ms as i64;
                self.at(at_ms, Event::SetClock { node: bad.node, offset_ms });
            }
        }
        self.at(plan.storm_ms, Event::Calm);
    }

    /// The storm is over: everything is repaired but clocks, parameters and liars.
    pub(super) fn calm(&mut self) {
        self.stormy = false;
        self.sides = None;
        self.goal = self.observer.height() + self.plan.target;
        self.trace(|| "calm".to_owned());
        for machine in &mut self.machines {
            machine.crash_in = None;
            machine.signer_down_until_ms = 0;
        }
    }

    pub(super) fn crash(&mut self, node: usize, kind: &'static str) {
        if self.machines[node].core.is_none() || self.machines[node].halted {
            return;
        }
        if let Some(at) = self.plan.crash_at {
            self.machines[node].keep_prefix(at.kept);
        } else if self.machines[node].keep_some(&mut self.random) > 0 {
            self.count("unsynced writes out of order");
        }
        self.machines[node].stop();
        self.crash_guard(node);
        self.count(kind);
        self.trace(|| format!("{node} {kind}"));
        let down_ms = self.random.between(1, 1_500);
        self.after(down_ms, Event::Restart { node });
    }

    /// A guard that twins share is in a process of its own and goes on.
    fn crash_guard(&mut self, node: usize) {
        if self.machines.iter().filter(|machine| machine.guard == self.machines[node].guard).count() > 1 {
            return;
        }
        let kept = self.random.between(0, 3) as usize;
        if self.guards[self.machines[node].guard].crash(kept) > 0 {
            self.count("claims of the guard lost");
        }
    }

    pub(super) fn crash_here(&mut self, node: usize) {
        if self.plan.crash_at.is_some_and(|at| at.all) {
            (0..self.machines.len()).for_each(|node| self.crash(node, "blackout"));
        } else {
            self.crash(node, "crash");
        }
    }

    pub(super) fn copy_disk(&mut self, node: usize) {
        let guard = self.guards[self.machines[node].guard].copy();
        let machine = &mut self.machines[node];
        machine.copy = Some((machine.disk.clone(), guard));
    }

    /// A node loses power and finds another disk when it comes back.
    pub(super) fn damage(&mut self, node: usize, fault: DiskFault) {
        let Some((disk, guard)) = self.machines[node].copy.take() else { return };
        if self.machines[node].halted {
            return;
        }
        self.crash(node, "disk exchanged");
        self.count(fault.name());
        let lost = self.random.between(1, LOST_RECORDS_MAX) as usize;
        let machine = &mut self.machines[node];
        machine.restored = true;
        match fault {
            DiskFault::LostTail => {
                let kept = machine.disk.log.len().saturating_sub(lost);
                machine.disk.log.truncate(kept);
            }
            DiskFault::OldLog => machine.disk.log = disk.log,
            DiskFault::OldData => machine.disk = disk,
            DiskFault::OldGuard => self.guards[machine.guard].restore(guard),
            DiskFault::OldEverything => {
                machine.disk = disk;
                self.guards[machine.guard].restore(guard);
                // Only the others remember now. When one of them may have forgotten too, this node counts as faulty.
                if !self.plan.is_witnessed() {
                    self.observer.excuse(self.machines[node].id);
                }
            }
        }
    }
}
