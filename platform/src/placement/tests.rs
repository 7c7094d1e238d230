use std::collections::BTreeSet;

use super::{Params, Plan, Role, cpu_list};
use crate::topology::Topology;

fn plan(description: &str, params: Params) -> (Topology, Plan) {
    let topology = Topology::from_synthetic(description).unwrap();
    let plan = Plan::make(&topology, &params);
    (topology, plan)
}

#[test]
fn every_topology_gets_every_role_inside_its_cores() {
    for description in [
        "pack:1 core:1 pu:1",
        "pack:1 core:2 pu:1",
        "pack:1 core:2 pu:2",
        "pack:1 core:4 pu:2",
        "pack:1 core:7 pu:1",
        "pack:1 core:8 pu:1",
        "pack:1 numa:2 core:4 pu:1",
        "pack:2 numa:4 l3:2 core:4 pu:2",
        "pack:2 numa:1 core:64 pu:2",
        "pack:4 numa:2 l3:1 core:32 pu:1",
    ] {
        let (topology, plan) = plan(description, Params::default());
        let allowed: BTreeSet<usize> = topology.cpus().into_iter().collect();
        for role in Role::PLACED {
            assert!(plan.instances(role) >= 1, "{description}: no {role:?}");
        }
        for row in plan.rows() {
            assert!(
                !row.cores.is_empty() && row.cores.iter().all(|cpu| allowed.contains(cpu)),
                "{description}: {row:?}"
            );
        }
        assert_eq!(plan.is_shared(), topology.cores().len() < 7, "{description}");
        assert_eq!(plan.is_shared(), plan.shared_reason().is_some());
    }
}

#[test]
fn an_exclusive_plan_gives_no_core_twice_and_wastes_none() {
    for description in ["pack:1 core:7 pu:1", "pack:2 numa:4 l3:2 core:4 pu:2", "pack:4 numa:2 l3:1 core:32 pu:1"] {
        let (topology, plan) = plan(description, Params::default());
        let given: Vec<usize> = plan.rows().into_iter().flat_map(|row| row.cores).collect();
        let distinct: BTreeSet<usize> = given.iter().copied().collect();
        assert_eq!(given.len(), distinct.len(), "{description}");
        assert_eq!(distinct.into_iter().collect::<Vec<_>>(), topology.cpus(), "{description}");
    }
}

#[test]
fn two_cores_share_and_say_so() {
    let (_, plan) = plan("pack:1 core:2 pu:1", Params::default());
    assert_eq!(plan.shared_reason().unwrap(), "shared: 7 threads to place, 2 cores allowed");
    assert!(plan.rows().iter().all(|row| row.cores == [0, 1] && row.numa_node == Some(0)));
    assert!(plan.to_string().starts_with("shared: "));
}

#[test]
fn a_shared_plan_over_two_nodes_names_no_node() {
    let (_, plan) = plan("pack:1 numa:2 core:2 pu:1", Params::default());
    assert!(plan.is_shared() && plan.rows().iter().all(|row| row.numa_node.is_none()));
}

#[test]
fn a_quota_below_the_cores_shares() {
    let topology = Topology::from_synthetic("pack:1 core:32 pu:1").unwrap().with_quota(4);
    let plan = Plan::make(&topology, &Params::default());
    assert!(plan.is_shared());
    assert!(plan.instances(Role::Verifier) <= 4 && plan.instances(Role::Executor) <= 4);
}

#[test]
fn a_kunpeng_keeps_the_pipeline_on_one_node() {
    let (_, plan) = plan("pack:4 numa:2 l3:1 core:32 pu:1", Params::default());
    for role in [Role::Consensus, Role::Signer, Role::Network] {
        for index in 0..plan.instances(role) {
            assert_eq!(plan.slot(role, index).numa_node, Some(0), "{role:?}");
        }
    }
    let nodes: BTreeSet<_> =
        (0..plan.instances(Role::Executor)).map(|n| plan.slot(Role::Executor, n).numa_node).collect();
    assert!(nodes.len() <= 5, "executors are spread over {} nodes", nodes.len());
    assert_eq!(plan.numa_nodes(), 8);
}

#[test]
fn numbers_of_the_configuration_are_kept() {
    let asked = Params { executors: Some(5), verifiers: Some(9), network: Some(2), ..Params::default() };
    let (_, plan) = plan("pack:1 core:32 pu:1", asked);
    assert_eq!(
        (plan.instances(Role::Executor), plan.instances(Role::Verifier), plan.instances(Role::Network)),
        (5, 9, 2)
    );
    assert!(!plan.is_shared());
    let too_many = Params { executors: Some(40), ..Params::default() };
    let shared = plan_of(&too_many);
    assert_eq!(shared.instances(Role::Executor), 40);
    assert!(shared.is_shared());
}

fn plan_of(params: &Params) -> Plan {
    Plan::make(&Topology::from_synthetic("pack:1 core:32 pu:1").unwrap(), params)
}

#[test]
fn unplaced_threads_run_everywhere() {
    let (topology, plan) = plan("pack:1 core:8 pu:2", Params::default());
    assert_eq!(plan.instances(Role::Other), 0);
    assert_eq!(plan.slot(Role::Other, 3).cpus, topology.cpus());
    assert_eq!(plan.slot(Role::Consensus, 5), plan.slot(Role::Consensus, 0), "slots are counted round");
}

#[test]
fn lists_are_ranges() {
    assert_eq!(cpu_list(&[0, 1, 2, 3, 8, 10, 11]), "0-3,8,10-11");
    assert_eq!(cpu_list(&[]), "");
}
