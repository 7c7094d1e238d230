//! Which thread runs where: a pure function of the topology and a few numbers.
//!
//! With a core for every thread each gets one of its own, neighbours in the pipeline on neighbouring cores: consensus,
//! signer, network, storage and rpc first, then the executors side by side, then the verifiers, which touch no shared
//! state and may be far away. With fewer cores the plan is *shared*: every thread may run on every allowed core, and
//! there are only as many workers as can run at once.

use std::fmt;

use crate::topology::{Core, Topology};

/// What a thread does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Role {
    /// The ordering engine and its log.
    Consensus,
    /// Sign-once guard and the device's sessions.
    Signer,
    /// Sessions with peers.
    Network,
    /// Ledger commits, RocksDB's background work.
    Storage,
    /// Requests of clients.
    Rpc,
    /// Execution of transactions.
    Executor,
    /// Signature checks.
    Verifier,
    /// Everything else: never pinned.
    Other,
}

impl Role {
    /// The roles that get cores, in the order in which they get them.
    pub const PLACED: [Self; 7] =
        [Self::Consensus, Self::Signer, Self::Network, Self::Storage, Self::Rpc, Self::Executor, Self::Verifier];

    /// Lower-case name, used in thread names and reports.
    pub fn name(self) -> &'static str {
        match self {
            Self::Consensus => "consensus",
            Self::Signer => "signer",
            Self::Network => "network",
            Self::Storage => "storage",
            Self::Rpc => "rpc",
            Self::Executor => "executor",
            Self::Verifier => "verifier",
            Self::Other => "other",
        }
    }
}

/// How many threads of each kind to place; None chooses by the number of cores.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Params {
    /// Network threads.
    pub network: Option<usize>,
    /// Storage threads.
    pub storage: Option<usize>,
    /// Rpc threads.
    pub rpc: Option<usize>,
    /// Executors.
    pub executors: Option<usize>,
    /// Verifiers.
    pub verifiers: Option<usize>,
    /// Leave every thread on every core, whatever the machine.
    pub force_shared: bool,
}

/// Where one thread runs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Slot {
    /// What it does.
    pub role: Role,
    /// Number among its role's threads.
    pub index: usize,
    /// Hardware threads it may run on.
    pub cpus: Vec<usize>,
    /// NUMA node of those, when they are of one node.
    pub numa_node: Option<usize>,
}

/// One line of the printed plan.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Row {
    /// Role and number, such as `executor-3`.
    pub thread: String,
    /// Hardware threads it may run on.
    pub cores: Vec<usize>,
    /// NUMA node of those, when they are of one node.
    pub numa_node: Option<usize>,
}

/// The placement of all threads.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Plan {
    slots: Vec<Slot>,
    everywhere: Slot,
    numa_nodes: usize,
    shared: Option<String>,
}

impl Plan {
    /// Places the threads. Equal inputs give equal plans.
    pub fn make(topology: &Topology, params: &Params) -> Self {
        let cores = topology.cores().len().min(topology.parallelism());
        let wanted = counts(params, cores);
        let threads: usize = wanted.iter().sum();
        let shared = if params.force_shared {
            Some("shared: asked for by the configuration".to_owned())
        } else if threads > cores {
            Some(format!("shared: {threads} threads to place, {cores} cores allowed"))
        } else {
            None
        };
        let everywhere = everywhere(topology, Role::Other, 0);
        let kinds = Role::PLACED.into_iter().zip(wanted).flat_map(|(role, count)| (0..count).map(move |n| (role, n)));
        let slots = if shared.is_some() {
            kinds.map(|(role, index)| Slot { role, index, ..everywhere.clone() }).collect()
        } else {
            kinds.zip(topology.cores()).map(|((role, index), core)| pinned(role, index, core)).collect()
        };
        Self { slots, everywhere, numa_nodes: topology.numa_nodes().len(), shared }
    }

    /// Whether threads share all cores because there are too few.
    pub fn is_shared(&self) -> bool {
        self.shared.is_some()
    }

    /// Why the plan is shared, in words for an operator.
    pub fn shared_reason(&self) -> Option<&str> {
        self.shared.as_deref()
    }

    /// NUMA nodes of the machine; with one, memory needs no binding.
    pub fn numa_nodes(&self) -> usize {
        self.numa_nodes
    }

    /// Threads placed for `role`; at least 1 for every placed role, 0 for [`Role::Other`].
    pub fn instances(&self, role: Role) -> usize {
        self.slots_of(role).count()
    }

    /// Place of the `index`th thread of `role`, counted round; every allowed core for [`Role::Other`].
    pub fn slot(&self, role: Role, index: usize) -> &Slot {
        match self.instances(role) {
            0 => &self.everywhere,
            count => self.slots_of(role).nth(index % count).expect("the remainder is below the count"),
        }
    }

    /// Every core of a role, for threads that no one told apart.
    pub fn cpus_of(&self, role: Role) -> Vec<usize> {
        let mut cpus: Vec<usize> = self.slots_of(role).flat_map(|slot| slot.cpus.iter().copied()).collect();
        cpus.sort_unstable();
        cpus.dedup();
        if cpus.is_empty() { self.everywhere.cpus.clone() } else { cpus }
    }

    /// The plan, line by line.
    pub fn rows(&self) -> Vec<Row> {
        let row = |slot: &Slot| Row {
            thread: format!("{}-{}", slot.role.name(), slot.index),
            cores: slot.cpus.clone(),
            numa_node: slot.numa_node,
        };
        self.slots.iter().map(row).collect()
    }

    fn slots_of(&self, role: Role) -> impl Iterator<Item = &Slot> {
        self.slots.iter().filter(move |slot| slot.role == role)
    }
}

impl fmt::Display for Plan {
    /// A table for `doctor`.
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(reason) = &self.shared {
            writeln!(formatter, "{reason}")?;
        }
        for row in self.rows() {
            let node = row.numa_node.map_or_else(|| "-".to_owned(), |node| node.to_string());
            writeln!(formatter, "{:<14} node {node:<3} cores {}", row.thread, cpu_list(&row.cores))?;
        }
        Ok(())
    }
}

/// Threads of each role, in the order of [`Role::PLACED`].
fn counts(params: &Params, cores: usize) -> [usize; 7] {
    let some = |asked: Option<usize>, default: usize| asked.unwrap_or(default).max(1);
    let network = some(params.network, cores / 16);
    let storage = some(params.storage, cores / 16);
    let rpc = some(params.rpc, cores / 16);
    let left = cores.saturating_sub(2 + network + storage + rpc);
    let verifiers = some(params.verifiers, params.executors.map_or(left / 2, |asked| left.saturating_sub(asked)));
    let executors = some(params.executors, left.saturating_sub(verifiers));
    // Workers beyond the cores that exist only wait for each other.
    let bounded = |count: usize, asked: Option<usize>| if asked.is_some() { count } else { count.min(cores) };
    [1, 1, network, storage, rpc, bounded(executors, params.executors), bounded(verifiers, params.verifiers)]
}

fn pinned(role: Role, index: usize, core: &Core) -> Slot {
    Slot { role, index, cpus: core.cpus.clone(), numa_node: Some(core.numa_node) }
}

fn everywhere(topology: &Topology, role: Role, index: usize) -> Slot {
    let nodes = topology.numa_nodes();
    Slot { role, index, cpus: topology.cpus(), numa_node: (nodes.len() == 1).then(|| nodes[0]) }
}

/// Numbers as ranges, such as `0-3,8`.
pub fn cpu_list(cpus: &[usize]) -> String {
    let mut ranges: Vec<(usize, usize)> = Vec::new();
    for &cpu in cpus {
        match ranges.last_mut() {
            Some((_, last)) if *last + 1 == cpu => *last = cpu,
            _ => ranges.push((cpu, cpu)),
        }
    }
    let words = ranges.into_iter().map(|(first, last)| match first == last {
        true => first.to_string(),
        false => format!("{first}-{last}"),
    });
    words.collect::<Vec<_>>().join(",")
}

#[cfg(test)]
mod tests;
