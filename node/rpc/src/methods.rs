//! The method table: one entry per FISCO BCOS JSON-RPC method.

mod standing;

use std::ops::Deref;
use std::sync::Arc;

use bixi_types::{Address, H256};
use jsonrpsee::RpcModule;
use jsonrpsee::core::RegisterMethodError;
use jsonrpsee::core::server::Extensions;
use jsonrpsee::types::ErrorObjectOwned;
use serde_json::value::RawValue;
use serde_json::{Value, json};

use crate::api::{LocatedReceipt, NodeApi};
use crate::error::{ApiError, clipped, quoted};
use crate::json;
use crate::limits::Cost;
use crate::params::Positional;
use crate::request::{Request, encode};

type Answer = Result<Value, ApiError>;

/// What the methods work on.
pub(crate) struct Node {
    pub(crate) api: Arc<dyn NodeApi>,
    /// Answers beyond this are given up while they are built.
    pub(crate) answer_bytes_max: usize,
}

impl Deref for Node {
    type Target = dyn NodeApi;

    fn deref(&self) -> &Self::Target {
        self.api.as_ref()
    }
}

/// Builds the table.
pub(crate) fn table(node: Node) -> Result<RpcModule<Node>, RegisterMethodError> {
    let mut module = RpcModule::new(node);
    for (name, read) in READS {
        module.register_async_method(name, move |params, node, extensions| async move {
            let params = Positional::parse(&params)?;
            let cost = cost_of(name, &params);
            let answer = request_of(&extensions)?.read(cost, move || read(&node, &params)).await?;
            Ok::<_, ErrorObjectOwned>(answer)
        })?;
    }
    module.register_async_method("sendTransaction", |params, node, extensions| async move {
        let params = Positional::parse(&params)?;
        send_transaction(node, &params, request_of(&extensions)?).await.map_err(ErrorObjectOwned::from)
    })?;
    Ok(module)
}

/// The request that a call belongs to; `dispatch` puts it there.
fn request_of(extensions: &Extensions) -> Result<&Request, ApiError> {
    let request =
        extensions.get::<Arc<Request>>().ok_or_else(|| ApiError::Internal("a call without its request".into()))?;
    Ok(request)
}

/// Executions and whatever needs a whole block (its transactions, or the leaves of a proof) are heavy.
fn cost_of(method: &str, params: &Positional) -> Cost {
    let is_heavy = match method {
        "call" => true,
        "getBlockByHash" | "getBlockByNumber" => !params.flag(3, true).unwrap_or(true),
        "getTransaction" | "getTransactionReceipt" => params.flag(3, false).unwrap_or(false),
        _ => false,
    };
    if is_heavy { Cost::Heavy } else { Cost::Light }
}

type Read = fn(&Node, &Positional) -> Answer;

const READS: [(&str, Read); 25] = [
    ("call", call),
    ("getABI", get_abi),
    ("getBlockByHash", get_block_by_hash),
    ("getBlockByNumber", get_block_by_number),
    ("getBlockHashByNumber", get_block_hash_by_number),
    ("getBlockNumber", get_block_number),
    ("getCode", get_code),
    ("getConsensusStatus", standing::get_consensus_status),
    ("getGroupInfo", get_group_info),
    ("getGroupInfoList", get_group_info_list),
    ("getGroupList", get_group_list),
    ("getGroupNodeInfo", get_group_node_info),
    ("getGroupPeers", standing::get_group_peers),
    ("getNodeListByType", get_node_list_by_type),
    ("getNodeStatus", standing::get_node_status),
    ("getObserverList", get_observer_list),
    ("getPbftView", get_pbft_view),
    ("getPeers", standing::get_peers),
    ("getPendingTxSize", get_pending_tx_size),
    ("getSealerList", get_sealer_list),
    ("getSyncStatus", standing::get_sync_status),
    ("getSystemConfigByKey", get_system_config_by_key),
    ("getTotalTransactionCount", get_total_transaction_count),
    ("getTransaction", get_transaction),
    ("getTransactionReceipt", get_transaction_receipt),
];

async fn send_transaction(node: Arc<Node>, params: &Positional, request: &Request) -> Result<Box<RawValue>, ApiError> {
    params.expect_node(node.chain())?;
    let bytes = params.bytes(2, "transaction")?;
    let with_proof = params.flag(3, false)?;
    let submitted = node
        .submit(bytes, request.connection)
        .await
        .map_err(|refused| ApiError::Refused { code: refused.code, message: clipped(refused.message) })?;
    let answer = if with_proof {
        request
            .read(Cost::Heavy, {
                let (node, found) = (Arc::clone(&node), submitted.receipt.clone());
                move || receipt_with_proof(&node, &found)
            })
            .await
            .ok()
    } else {
        None
    };
    match answer {
        Some(answer) => Ok(answer),
        None => receipt_alone(&node, &submitted.receipt, with_proof, request),
    }
}

/// The receipt of a transaction that is final. Nothing here may look like a refusal: the client would send the transaction again.
/// A proof that cannot be had now is empty, as in FISCO BCOS.
fn receipt_alone(
    node: &Node,
    found: &LocatedReceipt,
    with_proof: bool,
    request: &Request,
) -> Result<Box<RawValue>, ApiError> {
    let mut answer = json::receipt(node.chain().suite, found);
    if with_proof {
        answer.insert("txReceiptProof".into(), json!([]));
        answer.insert("receiptProof".into(), json!([]));
    }
    let answer = encode(&answer.into())?;
    let committed =
        |why: String| format!("the transaction is committed, ask for its receipt with getTransactionReceipt: {why}");
    request.charge(&answer).map_err(|error| match error {
        ApiError::TooLarge(why) => ApiError::TooLarge(committed(why)),
        ApiError::Busy(why) => ApiError::Busy(committed(why)),
        other => other,
    })?;
    Ok(answer)
}

/// A receipt with its proof. SDKs read the proof from `txReceiptProof`; they expect objects of an older shape in `receiptProof`, which
/// is there for them and empty.
fn receipt_with_proof(node: &Node, found: &LocatedReceipt) -> Answer {
    let mut answer = json::receipt(node.chain().suite, found);
    answer.insert("txReceiptProof".into(), json::proof(&node.receipt_proof(&found.located.hash)?));
    answer.insert("receiptProof".into(), json!([]));
    Ok(answer.into())
}

fn call(node: &Node, params: &Positional) -> Answer {
    params.expect_node(node.chain())?;
    if params.has(4) {
        return Err(ApiError::Params(
            "call with a signature (parameter 5) is not supported yet; leave it out to call as the zero address".into(),
        ));
    }
    let to: Address = params.id(2, "to")?;
    let output = node.call(Address::ZERO, to, params.bytes(3, "data")?)?;
    Ok(json!({"blockNumber": output.block_number, "status": output.status, "output": json::prefixed(&output.output)}))
}

fn get_abi(node: &Node, params: &Positional) -> Answer {
    params.expect_node(node.chain())?;
    Ok(node.abi(&params.id(2, "address")?)?.into())
}

fn get_code(node: &Node, params: &Positional) -> Answer {
    params.expect_node(node.chain())?;
    let code = node.code(&params.id(2, "address")?)?;
    Ok(if code.is_empty() { String::new() } else { json::prefixed(&code) }.into())
}

fn get_block_by_hash(node: &Node, params: &Positional) -> Answer {
    params.expect_node(node.chain())?;
    let hash: H256 = params.id(2, "block hash")?;
    let number = node.number_of(&hash)?.ok_or_else(|| ApiError::NotFound(format!("no block has the hash {hash}")))?;
    block(node, number, params)
}

fn get_block_by_number(node: &Node, params: &Positional) -> Answer {
    params.expect_node(node.chain())?;
    block(node, params.number(2, "block number")?, params)
}

fn block(node: &Node, number: u64, params: &Positional) -> Answer {
    let only_header = params.flag(3, true)?;
    let only_hashes = params.flag(4, true)?;
    let header = node.header(number)?.ok_or_else(|| no_block(node, number))?;
    let mut answer = json::header(node.chain().suite, &header);
    if !only_header {
        let transactions = if only_hashes {
            node.transaction_hashes(number)?.iter().map(|hash| hash.to_string().into()).collect()
        } else {
            transactions_of(node, number)?
        };
        answer.insert("transactions".into(), transactions.into());
    }
    Ok(answer.into())
}

/// A block's transactions. Their JSON has twice their bytes and more: a block too large to be sent is given up before it is built.
fn transactions_of(node: &Node, number: u64) -> Result<Vec<Value>, ApiError> {
    let mut bytes = 0;
    let mut shown = Vec::new();
    for located in node.transactions(number)? {
        bytes +=
            2 * (located.transaction.input.len() + located.transaction.signature.len()) + located.transaction.abi.len();
        if bytes > node.answer_bytes_max {
            return Err(ApiError::TooLarge(format!(
                "block {number} with its transactions is longer than {} bytes; ask with onlyTxHash = true and fetch them one by one",
                node.answer_bytes_max
            )));
        }
        shown.push(json::transaction(&located).into());
    }
    Ok(shown)
}

fn no_block(node: &Node, number: u64) -> ApiError {
    ApiError::NotFound(format!("block {number} is not there yet; the chain stands at {}", node.height()))
}

fn get_block_hash_by_number(node: &Node, params: &Positional) -> Answer {
    params.expect_node(node.chain())?;
    let number = params.number(2, "block number")?;
    let hash = node.hash_of(number)?.ok_or_else(|| no_block(node, number))?;
    Ok(hash.to_string().into())
}

fn get_block_number(node: &Node, params: &Positional) -> Answer {
    params.expect_node(node.chain())?;
    Ok(node.height().into())
}

fn get_transaction(node: &Node, params: &Positional) -> Answer {
    params.expect_node(node.chain())?;
    let hash: H256 = params.id(2, "transaction hash")?;
    let located = node.transaction(&hash)?.ok_or_else(|| no_transaction(&hash))?;
    let mut answer = json::transaction(&located);
    if params.flag(3, false)? {
        answer.insert("txProof".into(), json::proof(&node.transaction_proof(&hash)?));
        answer.insert("transactionProof".into(), json!([]));
    }
    Ok(answer.into())
}

fn get_transaction_receipt(node: &Node, params: &Positional) -> Answer {
    params.expect_node(node.chain())?;
    let hash: H256 = params.id(2, "transaction hash")?;
    let found = node.receipt(&hash)?.ok_or_else(|| no_transaction(&hash))?;
    if !params.flag(3, false)? {
        return Ok(json::receipt(node.chain().suite, &found).into());
    }
    let mut answer = receipt_with_proof(node, &found)?;
    answer["txProof"] = json::proof(&node.transaction_proof(&hash)?);
    answer["transactionProof"] = json!([]);
    Ok(answer)
}

fn no_transaction(hash: &H256) -> ApiError {
    ApiError::NotFound(format!("no block holds a transaction with the hash {hash}"))
}

fn get_sealer_list(node: &Node, params: &Positional) -> Answer {
    params.expect_node(node.chain())?;
    Ok(node.sealers()?.iter().map(json::sealer).collect())
}

fn get_observer_list(node: &Node, params: &Positional) -> Answer {
    params.expect_node(node.chain())?;
    Ok(node.observers()?.iter().map(|id| Value::from(id.to_hex())).collect())
}

fn get_node_list_by_type(node: &Node, params: &Positional) -> Answer {
    params.expect_node(node.chain())?;
    match params.text(2, "node type")? {
        "consensus_sealer" => Ok(node.sealers()?.iter().map(json::sealer).collect()),
        "consensus_observer" => {
            let observers = node.observers()?;
            Ok(observers.iter().map(|id| json!({"nodeID": id.to_hex(), "weight": 0, "termWeight": 0})).collect())
        }
        "consensus_candidate_sealer" => Ok(json!([])),
        other => Err(ApiError::Params(format!(
            "parameter 3 (node type) must be consensus_sealer, consensus_observer or consensus_candidate_sealer, found {}",
            quoted(other)
        ))),
    }
}

fn get_pbft_view(node: &Node, params: &Positional) -> Answer {
    params.expect_node(node.chain())?;
    Ok(node.consensus_status()?.round.into())
}

fn get_pending_tx_size(node: &Node, params: &Positional) -> Answer {
    params.expect_node(node.chain())?;
    Ok(node.pending().into())
}

fn get_system_config_by_key(node: &Node, params: &Positional) -> Answer {
    params.expect_node(node.chain())?;
    let key = params.text(2, "key")?;
    let (value, number) = node
        .system_config(key)?
        .ok_or_else(|| ApiError::NotFound(format!("no configuration key {} is set", quoted(key))))?;
    Ok(json!({"blockNumber": number, "value": value}))
}

fn get_total_transaction_count(node: &Node, params: &Positional) -> Answer {
    params.expect_node(node.chain())?;
    let counts = node.counts()?;
    Ok(json!({
        "blockNumber": counts.block_number,
        "transactionCount": counts.total,
        "failedTransactionCount": counts.failed,
    }))
}

fn get_group_list(node: &Node, _: &Positional) -> Answer {
    Ok(json!({"code": 0, "msg": "success", "groupList": [node.chain().group_id]}))
}

fn get_group_info(node: &Node, params: &Positional) -> Answer {
    params.expect_group(node.chain())?;
    Ok(group_info(node))
}

fn get_group_info_list(node: &Node, _: &Positional) -> Answer {
    Ok(json!([group_info(node)]))
}

fn get_group_node_info(node: &Node, params: &Positional) -> Answer {
    params.expect_node(node.chain())?;
    Ok(node_info(node))
}

fn group_info(node: &Node) -> Value {
    let chain = node.chain();
    json!({
        "chainID": chain.chain_id,
        "groupID": chain.group_id,
        "genesisConfig": chain.genesis_json.to_string(),
        "iniConfig": "",
        "nodeList": [node_info(node)],
    })
}

fn node_info(node: &Node) -> Value {
    let chain = node.chain();
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
