//! Where a node stands: among its peers, in consensus, by its own account.

use bixi_types::NodeId;
use serde_json::{Value, json};

use super::{Answer, Node};
use crate::api::Peer;
use crate::params::Positional;

pub(super) fn get_sync_status(node: &Node, params: &Positional) -> Answer {
    params.expect_node(node.chain())?;
    let chain = node.chain();
    let status = node.sync_status()?;
    let peers: Vec<Value> = node
        .peers()
        .iter()
        .filter_map(|peer| {
            let (id, head) = (peer.id?, peer.head?);
            Some(json!({
                "nodeID": id.to_hex(),
                "genesisHash": chain.genesis_hash.to_hex(),
                "blockNumber": head.number,
                "latestHash": head.hash.to_hex(),
                "archivedBlockNumber": 0,
            }))
        })
        .collect();
    // FISCO BCOS answers this one as a JSON text inside a string.
    let text = json!({
        "nodeID": chain.node.id.to_hex(),
        "genesisHash": chain.genesis_hash.to_hex(),
        "blockNumber": status.block_number,
        "archivedBlockNumber": 0,
        "latestHash": status.latest_hash.to_hex(),
        "knownHighestNumber": status.known_highest_number,
        "knownLatestHash": status.known_latest_hash.to_hex(),
        "isSyncing": status.known_highest_number > status.block_number,
        "peers": peers,
    });
    Ok(text.to_string().into())
}

pub(super) fn get_consensus_status(node: &Node, params: &Positional) -> Answer {
    params.expect_node(node.chain())?;
    let status = node.consensus_status()?;
    let total: u64 = status.validators.iter().map(|validator| validator.weight).sum();
    let faulty = total.saturating_sub(1) / 3;
    let nodes: Vec<Value> = status
        .validators
        .iter()
        .enumerate()
        .map(|(index, validator)| {
            json!({"nodeID": validator.id.to_hex(), "weight": validator.weight, "termWeight": 0, "index": index})
        })
        .collect();
    let text = json!({
        "nodeID": node.chain().node.id.to_hex(),
        "index": status.index.map_or(-1, |index| index as i64),
        "leaderIndex": status.leader_index,
        "consensusNodesNum": status.validators.len(),
        "maxFaultyQuorum": faulty,
        "minRequiredQuorum": total - faulty,
        "isConsensusNode": status.index.is_some(),
        "blockNumber": status.committed,
        "hash": status.head_hash.to_hex(),
        "timeout": status.timed_out,
        "changeCycle": status.round,
        "view": status.round,
        "connectedNodeList": 1 + connected(node).count(),
        "consensusNodeList": nodes,
    });
    Ok(text.to_string().into())
}

/// Peers with whom every session stands.
fn connected(node: &Node) -> impl Iterator<Item = NodeId> {
    node.peers().into_iter().filter(Peer::is_connected).filter_map(|peer| peer.id)
}

/// FISCO BCOS's names; what it does not have is in `getNodeStatus`.
pub(super) fn get_peers(node: &Node, _: &Positional) -> Answer {
    let group = &node.chain().group_id;
    let shown = |id: Option<NodeId>, address: &str| {
        let id = id.map(|id| id.to_hex());
        let groups = json!([{"group": group, "nodeIDList": [id]}]);
        json!({"p2pNodeID": id, "endPoint": address, "groupNodeIDInfo": groups})
    };
    let peers: Vec<Value> =
        node.peers().iter().filter(|peer| peer.is_connected()).map(|peer| shown(peer.id, &peer.address)).collect();
    let own = &node.chain().node;
    let mut answer = shown(Some(own.id), &own.p2p_address);
    answer["peers"] = peers.into();
    Ok(answer)
}

pub(super) fn get_group_peers(node: &Node, params: &Positional) -> Answer {
    params.expect_group(node.chain())?;
    Ok(connected(node).map(|id| Value::from(id.to_hex())).collect())
}

/// Everything an operator asks first, in one answer of ours: FISCO BCOS has no such method.
pub(super) fn get_node_status(node: &Node, params: &Positional) -> Answer {
    params.expect_node(node.chain())?;
    let own = &node.chain().node;
    let status = node.node_status()?;
    let checks = node.health().checks;
    let checks: Vec<Value> =
        checks.iter().map(|check| json!({"component": check.component, "fault": check.fault})).collect();
    let peers: Vec<Value> = node
        .peers()
        .iter()
        .map(|peer| {
            json!({
                "nodeID": peer.id.map(|id| id.to_hex()),
                "endPoint": peer.address,
                "sessions": peer.sessions,
                "connected": peer.is_connected(),
                "rtt_us": peer.rtt_us,
                "certificateDays": peer.certificate_days,
                "blockNumber": peer.head.map(|head| head.number),
                "lastRefusal": peer.last_refusal,
            })
        })
        .collect();
    let joining = status.joining.map(|joining| {
        json!({
            "blockNumber": joining.height,
            "phase": joining.phase,
            "receivedBytes": joining.received_bytes,
            "percent": joining.percent,
            "bytesPerSecond": joining.bytes_per_second,
            "secondsLeft": joining.left_s,
        })
    });
    Ok(json!({
        "name": own.name,
        "nodeID": own.id.to_hex(),
        "version": own.version,
        "mode": status.mode,
        "orderingHeight": status.ordering_height,
        "round": status.round,
        "decided": status.decided,
        "certified": status.certified,
        "snapshot": joining,
        "custody": status.custody,
        "blockNumber": node.height(),
        "peers": peers,
        "checks": checks,
    }))
}
