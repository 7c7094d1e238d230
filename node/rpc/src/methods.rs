//! The method table: one entry per FISCO BCOS JSON-RPC method.

use std::sync::Arc;

use bixi_types::{Address, H256};
use jsonrpsee::RpcModule;
use jsonrpsee::core::RegisterMethodError;
use jsonrpsee::types::ErrorObjectOwned;
use serde_json::{Value, json};

use crate::api::{ConnectionId, NodeApi};
use crate::error::ApiError;
use crate::json;
use crate::params::Positional;

type Api = Arc<dyn NodeApi>;
type Answer = Result<Value, ApiError>;

/// Builds the table.
pub(crate) fn table(api: Api) -> Result<RpcModule<Api>, RegisterMethodError> {
    let mut module = RpcModule::new(api);
    for (name, read) in READS {
        module.register_async_method(name, move |params, api, _| async move {
            let params = Positional::parse(&params)?;
            // Reads may wait for the disk and calls may compute: neither belongs on a socket's thread.
            tokio::task::spawn_blocking(move || read(api.as_ref(), &params))
                .await
                .map_err(|error| ApiError::Internal(format!("{name} failed: {error}")))?
                .map_err(ErrorObjectOwned::from)
        })?;
    }
    module.register_async_method("sendTransaction", |params, api, extensions| async move {
        let params = Positional::parse(&params)?;
        let connection = extensions.get::<ConnectionId>().copied().unwrap_or(ConnectionId(0));
        send_transaction(api.as_ref(), &params, connection).await.map_err(ErrorObjectOwned::from)
    })?;
    Ok(module)
}

type Read = fn(&Api, &Positional) -> Answer;

const READS: [(&str, Read); 22] = [
    ("call", call),
    ("getABI", get_abi),
    ("getBlockByHash", get_block_by_hash),
    ("getBlockByNumber", get_block_by_number),
    ("getBlockHashByNumber", get_block_hash_by_number),
    ("getBlockNumber", get_block_number),
    ("getCode", get_code),
    ("getConsensusStatus", get_consensus_status),
    ("getGroupInfo", get_group_info),
    ("getGroupInfoList", get_group_info_list),
    ("getGroupList", get_group_list),
    ("getGroupNodeInfo", get_group_node_info),
    ("getNodeListByType", get_node_list_by_type),
    ("getObserverList", get_observer_list),
    ("getPbftView", get_pbft_view),
    ("getPendingTxSize", get_pending_tx_size),
    ("getSealerList", get_sealer_list),
    ("getSyncStatus", get_sync_status),
    ("getSystemConfigByKey", get_system_config_by_key),
    ("getTotalTransactionCount", get_total_transaction_count),
    ("getTransaction", get_transaction),
    ("getTransactionReceipt", get_transaction_receipt),
];

async fn send_transaction(api: &Api, params: &Positional, connection: ConnectionId) -> Answer {
    params.expect_node(api.chain())?;
    let bytes = params.bytes(2, "transaction")?;
    let with_proof = params.flag(3, false)?;
    let submitted = api
        .submit(bytes, connection)
        .await
        .map_err(|refused| ApiError::Refused { code: refused.code, message: refused.message })?;
    let suite = api.chain().suite;
    let mut answer = json::receipt(suite, &submitted.receipt);
    if with_proof {
        let proof = json::proof(&api.receipt_proof(&submitted.receipt.located.hash)?);
        answer.insert("txReceiptProof".into(), proof.clone());
        answer.insert("receiptProof".into(), proof);
    }
    Ok(answer.into())
}

fn call(api: &Api, params: &Positional) -> Answer {
    params.expect_node(api.chain())?;
    if params.has(4) {
        return Err(ApiError::Params(
            "call with a signature (parameter 5) is not supported yet; leave it out to call as the zero address".into(),
        ));
    }
    let to: Address = params.id(2, "to")?;
    let output = api.call(Address::ZERO, to, params.bytes(3, "data")?)?;
    Ok(json!({"blockNumber": output.block_number, "status": output.status, "output": json::prefixed(&output.output)}))
}

fn get_abi(api: &Api, params: &Positional) -> Answer {
    params.expect_node(api.chain())?;
    Ok(api.abi(&params.id(2, "address")?)?.into())
}

fn get_code(api: &Api, params: &Positional) -> Answer {
    params.expect_node(api.chain())?;
    let code = api.code(&params.id(2, "address")?)?;
    Ok(if code.is_empty() { String::new() } else { json::prefixed(&code) }.into())
}

fn get_block_by_hash(api: &Api, params: &Positional) -> Answer {
    params.expect_node(api.chain())?;
    let hash: H256 = params.id(2, "block hash")?;
    let number = api.number_of(&hash)?.ok_or_else(|| ApiError::NotFound(format!("no block has the hash {hash}")))?;
    block(api, number, params)
}

fn get_block_by_number(api: &Api, params: &Positional) -> Answer {
    params.expect_node(api.chain())?;
    block(api, params.number(2, "block number")?, params)
}

fn block(api: &Api, number: u64, params: &Positional) -> Answer {
    let only_header = params.flag(3, true)?;
    let only_hashes = params.flag(4, true)?;
    let header = api.header(number)?.ok_or_else(|| no_block(api, number))?;
    let mut answer = json::header(api.chain().suite, &header);
    if !only_header {
        let transactions: Vec<Value> = if only_hashes {
            api.transaction_hashes(number)?.iter().map(|hash| hash.to_string().into()).collect()
        } else {
            api.transactions(number)?.iter().map(|located| json::transaction(located).into()).collect()
        };
        answer.insert("transactions".into(), transactions.into());
    }
    Ok(answer.into())
}

fn no_block(api: &Api, number: u64) -> ApiError {
    ApiError::NotFound(format!("block {number} is not there yet; the chain stands at {}", api.height()))
}

fn get_block_hash_by_number(api: &Api, params: &Positional) -> Answer {
    params.expect_node(api.chain())?;
    let number = params.number(2, "block number")?;
    let hash = api.hash_of(number)?.ok_or_else(|| no_block(api, number))?;
    Ok(hash.to_string().into())
}

fn get_block_number(api: &Api, params: &Positional) -> Answer {
    params.expect_node(api.chain())?;
    Ok(api.height().into())
}

fn get_transaction(api: &Api, params: &Positional) -> Answer {
    params.expect_node(api.chain())?;
    let hash: H256 = params.id(2, "transaction hash")?;
    let located = api.transaction(&hash)?.ok_or_else(|| no_transaction(&hash))?;
    let mut answer = json::transaction(&located);
    if params.flag(3, false)? {
        let proof = json::proof(&api.transaction_proof(&hash)?);
        answer.insert("txProof".into(), proof.clone());
        answer.insert("transactionProof".into(), proof);
    }
    Ok(answer.into())
}

fn get_transaction_receipt(api: &Api, params: &Positional) -> Answer {
    params.expect_node(api.chain())?;
    let hash: H256 = params.id(2, "transaction hash")?;
    let found = api.receipt(&hash)?.ok_or_else(|| no_transaction(&hash))?;
    let mut answer = json::receipt(api.chain().suite, &found);
    if params.flag(3, false)? {
        let receipt_proof = json::proof(&api.receipt_proof(&hash)?);
        answer.insert("txReceiptProof".into(), receipt_proof.clone());
        answer.insert("receiptProof".into(), receipt_proof);
        answer.insert("transactionProof".into(), json::proof(&api.transaction_proof(&hash)?));
    }
    Ok(answer.into())
}

fn no_transaction(hash: &H256) -> ApiError {
    ApiError::NotFound(format!("no block holds a transaction with the hash {hash}"))
}

fn get_sealer_list(api: &Api, params: &Positional) -> Answer {
    params.expect_node(api.chain())?;
    Ok(api.sealers()?.iter().map(json::sealer).collect())
}

fn get_observer_list(api: &Api, params: &Positional) -> Answer {
    params.expect_node(api.chain())?;
    Ok(api.observers()?.iter().map(|id| Value::from(id.to_hex())).collect())
}

fn get_node_list_by_type(api: &Api, params: &Positional) -> Answer {
    params.expect_node(api.chain())?;
    match params.text(2, "node type")? {
        "consensus_sealer" => Ok(api.sealers()?.iter().map(json::sealer).collect()),
        "consensus_observer" => {
            let observers = api.observers()?;
            Ok(observers.iter().map(|id| json!({"nodeID": id.to_hex(), "weight": 0, "termWeight": 0})).collect())
        }
        "consensus_candidate_sealer" => Ok(json!([])),
        other => Err(ApiError::Params(format!(
            "parameter 3 (node type) must be consensus_sealer, consensus_observer or consensus_candidate_sealer, found {other:?}"
        ))),
    }
}

fn get_pbft_view(api: &Api, params: &Positional) -> Answer {
    params.expect_node(api.chain())?;
    Ok(api.consensus_status()?.round.into())
}

fn get_pending_tx_size(api: &Api, params: &Positional) -> Answer {
    params.expect_node(api.chain())?;
    Ok(api.pending().into())
}

fn get_sync_status(api: &Api, params: &Positional) -> Answer {
    params.expect_node(api.chain())?;
    let chain = api.chain();
    let status = api.sync_status()?;
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
        "peers": [],
    });
    Ok(text.to_string().into())
}

fn get_consensus_status(api: &Api, params: &Positional) -> Answer {
    params.expect_node(api.chain())?;
    let status = api.consensus_status()?;
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
        "nodeID": api.chain().node.id.to_hex(),
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
        "connectedNodeList": 1,
        "consensusNodeList": nodes,
    });
    Ok(text.to_string().into())
}

fn get_system_config_by_key(api: &Api, params: &Positional) -> Answer {
    params.expect_node(api.chain())?;
    let key = params.text(2, "key")?;
    let (value, number) =
        api.system_config(key)?.ok_or_else(|| ApiError::NotFound(format!("no configuration key {key:?} is set")))?;
    Ok(json!({"blockNumber": number, "value": value}))
}

fn get_total_transaction_count(api: &Api, params: &Positional) -> Answer {
    params.expect_node(api.chain())?;
    let counts = api.counts()?;
    Ok(json!({
        "blockNumber": counts.block_number,
        "transactionCount": counts.total,
        "failedTransactionCount": counts.failed,
    }))
}

fn get_group_list(api: &Api, _: &Positional) -> Answer {
    Ok(json!({"code": 0, "msg": "", "groupList": [api.chain().group_id]}))
}

fn get_group_info(api: &Api, params: &Positional) -> Answer {
    params.expect_group(api.chain())?;
    Ok(group_info(api))
}

fn get_group_info_list(api: &Api, _: &Positional) -> Answer {
    Ok(json!([group_info(api)]))
}

fn get_group_node_info(api: &Api, params: &Positional) -> Answer {
    params.expect_node(api.chain())?;
    Ok(node_info(api))
}

fn group_info(api: &Api) -> Value {
    let chain = api.chain();
    json!({
        "chainID": chain.chain_id,
        "groupID": chain.group_id,
        "genesisConfig": chain.genesis_json.to_string(),
        "iniConfig": "",
        "nodeList": [node_info(api)],
    })
}

fn node_info(api: &Api) -> Value {
    let chain = api.chain();
    let sm = matches!(chain.suite, bixi_types::CryptoSuite::Sm);
    let ini = json!({
        "binaryInfo": {"version": chain.node.version, "gitCommitHash": "", "platform": "Linux/Bixi", "buildTime": ""},
        "chainID": chain.chain_id,
        "groupID": chain.group_id,
        "smCryptoType": sm,
        "isWasm": false,
        "isAuthCheck": false,
        "isSerialExecute": true,
        "nodeName": chain.node.name,
        "nodeID": chain.node.id.to_hex(),
        "rpcServiceName": "",
        "gatewayServiceName": "",
    });
    json!({
        "name": chain.node.name,
        "nodeID": chain.node.id.to_hex(),
        "type": u8::from(sm),
        "microService": false,
        "iniConfig": ini.to_string(),
        "serviceInfo": [],
        "protocol": {"minSupportedVersion": 0, "maxSupportedVersion": 2, "compatibilityVersion": 0x0310_0000_u32},
        "featureKeys": [],
        "supportConfigs": [],
    })
}
