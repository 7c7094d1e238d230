//! The machine as the node may use it: packages, NUMA nodes, shared caches, cores and their hardware threads.
//!
//! hwloc reads it; what comes out is plain data, already reduced to what the process is allowed (cgroup cpuset and
//! affinity mask), with the CPU quota beside it. Synthetic and XML descriptions give topologies of machines one does not
//! have.

use std::collections::BTreeSet;

use hwlocality::{
    Topology as Hwloc,
    cpu::cpuset::CpuSet,
    object::{TopologyObject, types::ObjectType},
};

/// Why a topology could not be read.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TopologyError {
    /// hwloc refused.
    #[error("hwloc cannot read the {what}: {reason}")]
    Hwloc {
        /// Machine, synthetic description or XML.
        what: &'static str,
        /// hwloc's reason.
        reason: String,
    },
    /// No core is left.
    #[error("no core of the topology is allowed to this process: check its cpuset and affinity")]
    NoCores,
}

/// A physical core and what is near to it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Core {
    /// Package (socket), by its rank in the topology.
    pub package: usize,
    /// NUMA node, by the operating system's number.
    pub numa_node: usize,
    /// Shared last-level cache, by its rank in the topology; cores without one count as sharing.
    pub l3: usize,
    /// The operating system's numbers of its hardware threads, ascending; only the allowed ones.
    pub cpus: Vec<usize>,
}

/// What the process may use of a machine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Topology {
    cores: Vec<Core>,
    cpus_max: usize,
}

impl Topology {
    /// Reads this machine, reduced to what the process is allowed.
    ///
    /// # Errors
    /// [`TopologyError`]; a caller may go on with [`Topology::flat`].
    pub fn detect() -> Result<Self, TopologyError> {
        let hwloc = Hwloc::new().map_err(|error| refused("machine", error))?;
        let allowed: BTreeSet<usize> = allowed_cpus().into_iter().collect();
        let mut topology = Self::from_hwloc(&hwloc, |cpu| allowed.contains(&cpu))?;
        topology.cpus_max = std::thread::available_parallelism().map_or(usize::MAX, usize::from);
        Ok(topology)
    }

    /// Builds a topology from hwloc's synthetic notation, such as `pack:4 numa:2 core:32 pu:1`.
    ///
    /// # Errors
    /// [`TopologyError`] when the description is malformed.
    pub fn from_synthetic(description: &str) -> Result<Self, TopologyError> {
        let builder = Hwloc::builder().from_synthetic(description);
        let hwloc = builder.map_err(|error| refused("synthetic description", error))?.build();
        Self::from_hwloc(&hwloc.map_err(|error| refused("synthetic description", error))?, |_| true)
    }

    /// Builds a topology from hwloc's XML (`lstopo --of xml`).
    ///
    /// # Errors
    /// [`TopologyError`] when the XML is malformed.
    pub fn from_xml(xml: &str) -> Result<Self, TopologyError> {
        let builder = Hwloc::builder().from_xml(xml).map_err(|error| refused("XML", error))?;
        Self::from_hwloc(&builder.build().map_err(|error| refused("XML", error))?, |_| true)
    }

    /// Cores in one package and one node: what is assumed where hwloc cannot read the machine.
    pub fn flat() -> Self {
        let core = |cpu| Core { package: 0, numa_node: 0, l3: 0, cpus: vec![cpu] };
        Self { cores: allowed_cpus().into_iter().map(core).collect(), cpus_max: usize::MAX }
    }

    fn from_hwloc(hwloc: &Hwloc, allowed: impl Fn(usize) -> bool) -> Result<Self, TopologyError> {
        let mut cores: Vec<Core> =
            hwloc.objects_with_type(ObjectType::Core).filter_map(|core| read_core(core, &allowed)).collect();
        cores.sort_by(|a, b| (a.package, a.numa_node, a.l3, &a.cpus).cmp(&(b.package, b.numa_node, b.l3, &b.cpus)));
        if cores.is_empty() { Err(TopologyError::NoCores) } else { Ok(Self { cores, cpus_max: usize::MAX }) }
    }

    /// Allowed cores, neighbours beside each other: by package, node, cache and number.
    pub fn cores(&self) -> &[Core] {
        &self.cores
    }

    /// Most threads that may run at once: the hardware threads, or the cgroup's CPU quota if that is less.
    pub fn parallelism(&self) -> usize {
        self.cpus().len().min(self.cpus_max)
    }

    /// Numbers of all allowed hardware threads, ascending.
    pub fn cpus(&self) -> Vec<usize> {
        let mut cpus: Vec<usize> = self.cores.iter().flat_map(|core| core.cpus.iter().copied()).collect();
        cpus.sort_unstable();
        cpus
    }

    /// The operating system's numbers of the NUMA nodes with allowed cores, ascending.
    pub fn numa_nodes(&self) -> Vec<usize> {
        distinct(self.cores.iter().map(|core| core.numa_node))
    }

    /// Number of packages with allowed cores.
    pub fn packages(&self) -> usize {
        distinct(self.cores.iter().map(|core| core.package)).len()
    }

    /// Number of last-level caches with allowed cores.
    pub fn l3_caches(&self) -> usize {
        distinct(self.cores.iter().map(|core| core.l3)).len()
    }

    /// Whether some core has more than one allowed hardware thread.
    pub fn has_smt(&self) -> bool {
        self.cores.iter().any(|core| core.cpus.len() > 1)
    }

    /// The same machine with less CPU time, as a cgroup quota gives it.
    #[must_use]
    pub fn with_quota(mut self, cpus_max: usize) -> Self {
        self.cpus_max = cpus_max.max(1);
        self
    }
}

fn read_core(core: &TopologyObject, allowed: &impl Fn(usize) -> bool) -> Option<Core> {
    let numbers = |set: &CpuSet| set.iter_set().map(usize::from).collect::<Vec<_>>();
    let cpus: Vec<usize> = numbers(&*core.cpuset()?).into_iter().filter(|&cpu| allowed(cpu)).collect();
    if cpus.is_empty() {
        return None;
    }
    let rank = |kind| core.first_ancestor_with_type(kind).map_or(0, TopologyObject::logical_index);
    let numa_node = core.nodeset().and_then(|nodes| nodes.first_set().map(usize::from)).unwrap_or(0);
    Some(Core { package: rank(ObjectType::Package), numa_node, l3: rank(ObjectType::L3Cache), cpus })
}

fn refused(what: &'static str, error: impl std::fmt::Display) -> TopologyError {
    TopologyError::Hwloc { what, reason: error.to_string() }
}

fn distinct(numbers: impl Iterator<Item = usize>) -> Vec<usize> {
    numbers.collect::<BTreeSet<_>>().into_iter().collect()
}

/// Numbers of the hardware threads in this thread's affinity mask.
fn allowed_cpus() -> Vec<usize> {
    crate::threads::affinity::of_thread(0).unwrap_or_else(|_| vec![0])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_machine_has_exactly_the_allowed_cpus() {
        let topology = Topology::detect().unwrap();
        assert_eq!(topology.cpus(), allowed_cpus());
        assert!(topology.parallelism() >= 1);
        assert!(topology.packages() >= 1 && topology.l3_caches() >= 1 && !topology.numa_nodes().is_empty());
        assert_eq!(Topology::flat().cpus(), allowed_cpus());
    }

    #[test]
    fn reads_a_four_socket_kunpeng() {
        let topology = Topology::from_synthetic("pack:4 numa:2 l3:1 core:32 pu:1").unwrap();
        assert_eq!((topology.packages(), topology.numa_nodes().len(), topology.cores().len()), (4, 8, 256));
        assert!(!topology.has_smt());
        let second_node: Vec<usize> = topology.cores()[32..64].iter().map(|core| core.numa_node).collect();
        assert_eq!(second_node, [1; 32]);
    }

    #[test]
    fn reads_a_two_socket_hygon_with_smt() {
        let topology = Topology::from_synthetic("pack:2 numa:4 l3:2 core:4 pu:2").unwrap();
        assert_eq!((topology.numa_nodes().len(), topology.l3_caches(), topology.cores().len()), (8, 16, 64));
        assert!(topology.has_smt());
        assert_eq!(topology.parallelism(), 128);
        assert_eq!(topology.clone().with_quota(3).parallelism(), 3);
    }

    #[test]
    fn reads_what_hwloc_exports_as_xml() {
        let hwloc = Hwloc::builder().from_synthetic("pack:1 numa:2 core:2 pu:1").unwrap().build().unwrap();
        let xml = hwloc.export_xml(Default::default()).unwrap().to_string();
        let topology = Topology::from_xml(&xml).unwrap();
        assert_eq!(topology, Topology::from_synthetic("pack:1 numa:2 core:2 pu:1").unwrap());
    }

    #[test]
    fn refuses_malformed_descriptions() {
        assert!(Topology::from_synthetic("pack:zero").is_err());
        assert!(Topology::from_xml("<topology").is_err());
    }
}
