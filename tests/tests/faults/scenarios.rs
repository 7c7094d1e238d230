//! The scenarios.

mod broker;
mod clock;
mod disk;
mod insiders;
mod intruders;
mod network;
mod process;
mod settings;

use crate::field::Field;
use crate::ground::Needs;

/// One way to break a chain.
pub(crate) struct Scenario {
    pub(crate) name: &'static str,
    pub(crate) what: &'static str,
    pub(crate) needs: Needs,
    pub(crate) nodes: usize,
    /// Each node has a broker.
    pub(crate) has_brokers: bool,
    /// Before the nodes start.
    pub(crate) prepare: fn(&mut Field<'_>),
    /// From a chain under load to a chain under load.
    pub(crate) run: fn(&mut Field<'_>),
}

impl Scenario {
    const fn new(name: &'static str, what: &'static str, run: fn(&mut Field<'_>)) -> Self {
        Self { name, what, needs: Needs::Nothing, nodes: 4, has_brokers: false, prepare: |_| (), run }
    }

    /// It breaks what only a privileged process may.
    const fn privileged(self) -> Self {
        Self { needs: Needs::Privileges, ..self }
    }

    /// Of so many validators.
    const fn of(self, nodes: usize) -> Self {
        Self { nodes, ..self }
    }

    /// The keys of every node are its broker's.
    const fn behind_brokers(self) -> Self {
        Self { has_brokers: true, ..self }
    }

    const fn after(self, prepare: fn(&mut Field<'_>)) -> Self {
        Self { prepare, ..self }
    }
}

/// All, in the order of a run.
pub(crate) static ALL: [Scenario; 34] = [
    Scenario::new("delay", "100 ms ± 50 between all", network::delay).privileged(),
    Scenario::new("loss-5", "5 % of all frames lost", network::loss_5).privileged(),
    Scenario::new("loss-20", "20 % of all frames lost", network::loss_20).privileged(),
    Scenario::new("reorder", "frames overtaken and repeated", network::reorder).privileged(),
    Scenario::new("narrow-one", "1 Mbit/s from and to one", network::narrow_one).privileged(),
    Scenario::new("narrow-all", "1 Mbit/s between all", network::narrow_all).privileged(),
    Scenario::new("partition-2-2", "two and two, then healed", network::partition_2_2).privileged(),
    Scenario::new("partition-3-1", "three and one, then healed", network::partition_3_1).privileged(),
    Scenario::new("one-way", "one is heard by nobody and hears all", network::one_way).privileged(),
    Scenario::new("flapping", "the link of one comes and goes", network::flapping).privileged(),
    Scenario::new("stop-one", "SIGSTOP of one, then SIGCONT", process::stop_one),
    Scenario::new("stop-leader", "SIGSTOP of the leader, then SIGCONT", process::stop_leader),
    Scenario::new("kill-all", "kill -9 of all at once", process::kill_all),
    Scenario::new("old-copy", "one starts from an old copy of its directory", process::old_copy),
    Scenario::new("twin", "two processes with one validator's keys and copied guard", process::twin).privileged(),
    Scenario::new("clock-ahead", "the clock of one jumps five minutes ahead", clock::ahead).after(clock::prepare),
    Scenario::new("clock-behind", "the clock of one jumps five minutes back", clock::behind).after(clock::prepare),
    Scenario::new("other-genesis", "one has another genesis", settings::other_genesis),
    Scenario::new("other-limits", "one has other timeouts and limits", settings::other_limits),
    Scenario::new("disk-full", "the disk of one fills up", disk::full).privileged().after(disk::mount_small),
    Scenario::new("disk-read-only", "the disk of one becomes read-only", disk::read_only)
        .privileged()
        .after(disk::mount_small),
    Scenario::new("device-lost", "the key device of one is gone for a while", disk::device_lost)
        .after(disk::wrap_device),
    Scenario::new("worker-killed", "kill -9 of one broker's worker, five times", broker::worker_killed)
        .behind_brokers(),
    Scenario::new("worker-stopped", "SIGSTOP of one broker's worker, which hangs", broker::worker_stopped)
        .behind_brokers(),
    Scenario::new("workers-killed", "kill -9 of all brokers' workers at once, five times", broker::workers_killed)
        .behind_brokers(),
    Scenario::new("supervisor-killed", "kill -9 of one broker, then another one", broker::supervisor_killed)
        .behind_brokers(),
    Scenario::new("token-away", "the token of one broker is moved away and back", broker::token_away).behind_brokers(),
    Scenario::new("token-away-killed", "the same, and its worker is killed meanwhile", broker::token_away_killed)
        .behind_brokers(),
    Scenario::new("stranger", "junk, silence and drips at the p2p port", intruders::stranger),
    Scenario::new("certificates", "unknown authority, expired, standard TLS", intruders::certificates)
        .after(intruders::trust_ours),
    Scenario::new("revoked", "the certificate of one is taken back, then replaced", insiders::revoked),
    Scenario::new("certified-junk", "an observer sends junk and what it heard, again and spoilt", insiders::junk)
        .after(intruders::trust_ours),
    Scenario::new("seven-kills", "two of seven are killed, then a third", process::seven).of(7),
    Scenario::new("seven-parts", "seven fall apart, four and three, five and two", network::seven).of(7).privileged(),
];
