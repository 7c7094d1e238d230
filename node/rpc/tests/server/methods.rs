//! Every method's answer against FISCO BCOS 3.x: names of fields, which numbers are decimal, hexadecimal, text.

use std::collections::BTreeSet;

use bixi_rpc::NodeApi;
use bixi_types::{H256, merkle};
use serde_json::{Value, json};

use crate::chain::{ECHO, SUITE, sign, signed, wire};
use crate::{Running, error, positional};

fn keys(value: &Value) -> BTreeSet<&str> {
    value.as_object().unwrap_or_else(|| panic!("an object, found {value}")).keys().map(String::as_str).collect()
}

fn set<'a>(names: &[&'a str]) -> BTreeSet<&'a str> {
    names.iter().copied().collect()
}

const HEADER: &[&str] = &[
    "consensusWeights",
    "extraData",
    "gasUsed",
    "hash",
    "number",
    "parentInfo",
    "receiptsRoot",
    "sealer",
    "sealerList",
    "signatureList",
    "stateRoot",
    "timestamp",
    "txsRoot",
    "version",
];
const RECEIPT: &[&str] = &[
    "blockNumber",
    "checksumContractAddress",
    "contractAddress",
    "extraData",
    "from",
    "gasUsed",
    "hash",
    "input",
    "logEntries",
    "message",
    "output",
    "status",
    "to",
    "transactionHash",
    "version",
];
const TRANSACTION: &[&str] = &[
    "abi",
    "blockLimit",
    "chainID",
    "extraData",
    "from",
    "groupID",
    "hash",
    "importTime",
    "input",
    "nonce",
    "signature",
    "to",
    "version",
];

async fn result(running: &Running, method: &str, rest: Value) -> Value {
    let answer = running.call(method, positional(rest)).await;
    assert!(answer.get("error").is_none(), "{method}: {answer}");
    answer["result"].clone()
}

/// Sends three transactions into one block; gives the receipts of the answers.
async fn block_of_three(running: &Running) -> Vec<Value> {
    running.chain.hold();
    let calls: Vec<Value> = (1..=3)
        .map(|account| {
            let params = positional(json!([wire(&signed(account, 1, 50))]));
            json!({"jsonrpc": "2.0", "id": account, "method": "sendTransaction", "params": params})
        })
        .collect();
    let mut client = running.client().await;
    let answers = tokio::spawn(async move { client.post(Value::from(calls).to_string()).await.json() });
    while running.chain.pool.len() < 3 {
        tokio::time::sleep(std::time::Duration::from_millis(5)).await;
    }
    running.chain.seal();
    let answers = answers.await.expect("answered");
    answers.as_array().expect("a list").iter().map(|answer| answer["result"].clone()).collect()
}

#[tokio::test]
async fn headers_have_the_documented_fields() {
    let running = Running::start(Running::params()).await;
    let header = running.chain.header(1).unwrap().unwrap();
    for flags in [json!([1]), json!([1, true]), json!([1, true, false]), json!([1, 1])] {
        let shown = result(&running, "getBlockByNumber", flags).await;
        assert_eq!(keys(&shown), set(HEADER), "only the header by default: no transactions at all");
        assert_eq!(shown["hash"], json!(header.hash(SUITE).to_string()));
        assert_eq!(
            (&shown["number"], &shown["timestamp"], &shown["sealer"]),
            (&json!(1), &json!(header.timestamp), &json!(0))
        );
        assert_eq!((&shown["gasUsed"], &shown["extraData"]), (&json!("0"), &json!("0x010203")));
        assert_eq!(shown["sealerList"], json!([header.sealer_list[0].to_string()]));
        assert_eq!(shown["signatureList"], json!([{"sealerIndex": 0, "signature": format!("0x{}", "09".repeat(64))}]));
        let parent = running.chain.hash_of(0).unwrap().unwrap().to_string();
        assert_eq!(shown["parentInfo"], json!([{"blockNumber": 0, "blockHash": parent}]));
    }
    let by_hash = result(&running, "getBlockByHash", json!([header.hash(SUITE).to_string(), true, true])).await;
    assert_eq!(by_hash, result(&running, "getBlockByNumber", json!([1, true, true])).await);
    assert_eq!(result(&running, "getBlockHashByNumber", json!([1])).await, by_hash["hash"]);
    let bare = header.hash(SUITE).to_hex();
    assert_eq!(result(&running, "getBlockByHash", json!([bare])).await, by_hash, "a hash needs no 0x");
}

#[tokio::test]
async fn blocks_hold_hashes_or_whole_transactions_as_asked() {
    let running = Running::start(Running::params()).await;
    let receipts = block_of_three(&running).await;
    let hashes: Vec<&Value> = receipts.iter().map(|receipt| &receipt["transactionHash"]).collect();
    let short = result(&running, "getBlockByNumber", json!([2, false, true])).await;
    assert_eq!(short["transactions"].as_array().unwrap().iter().collect::<Vec<_>>(), hashes);
    assert_eq!(short["gasUsed"], json!("f618"), "63000, hexadecimal without prefix");
    assert_eq!(result(&running, "getBlockByNumber", json!([2, false])).await, short, "hashes by default");
    let full = result(&running, "getBlockByNumber", json!([2, false, false])).await;
    for (transaction, hash) in full["transactions"].as_array().unwrap().iter().zip(hashes) {
        assert_eq!(keys(transaction), set(TRANSACTION));
        assert_eq!(&transaction["hash"], hash);
    }
}

#[tokio::test]
async fn transactions_and_receipts_have_the_documented_fields() {
    let running = Running::start(Running::params()).await;
    let mut transaction = signed(1, 255, 50);
    transaction.extra_data = "free text".into();
    sign(&mut transaction, 1);
    let receipt = result(&running, "sendTransaction", json!([wire(&transaction)])).await;
    assert_eq!(keys(&receipt), set(RECEIPT));
    let hash = transaction.hash(SUITE).to_string();
    let from = transaction.signer_unchecked(SUITE).unwrap().to_string();
    assert_eq!((&receipt["transactionHash"], &receipt["from"]), (&json!(hash), &json!(from)));
    assert_eq!((&receipt["status"], &receipt["blockNumber"], &receipt["version"]), (&json!(0), &json!(2), &json!(0)));
    assert_eq!((&receipt["gasUsed"], &receipt["output"]), (&json!("5208"), &json!("0xabcd")));
    assert_eq!((&receipt["contractAddress"], &receipt["message"]), (&json!(""), &json!("")));
    assert_eq!((&receipt["input"], &receipt["extraData"]), (&json!("0x01020301"), &json!("free text")));
    let log = json!({
        "address": "6849f21d1e455e9f0712b1e99fa4fcd23758e8f1",
        "topics": [H256([3; 32]).to_string()],
        "data": "0x04",
    });
    assert_eq!(receipt["logEntries"], json!([log]));
    assert_eq!(result(&running, "getTransactionReceipt", json!([hash])).await, receipt);

    let shown = result(&running, "getTransaction", json!([hash, false])).await;
    assert_eq!(keys(&shown), set(TRANSACTION));
    assert_eq!(
        (&shown["nonce"], &shown["blockLimit"]),
        (&json!("323535"), &json!(50)),
        "the nonce's text, hexadecimal"
    );
    assert_eq!(shown["signature"].as_str().unwrap().len(), 2 + 2 * 128);
}

#[tokio::test]
async fn later_versions_show_their_own_fields() {
    let running = Running::start(Running::params()).await;
    let mut transaction = signed(1, 1, 50);
    (transaction.version, transaction.gas_limit) = (1, 3_000_000);
    (transaction.value, transaction.gas_price) = ("0x0a".into(), "0x0".into());
    sign(&mut transaction, 1);
    let receipt = result(&running, "sendTransaction", json!([wire(&transaction)])).await;
    assert_eq!((&receipt["version"], &receipt["effectiveGasPrice"]), (&json!(1), &json!("0x1")));
    let shown = result(&running, "getTransaction", json!([receipt["transactionHash"]])).await;
    let later = ["value", "gasPrice", "gasLimit", "maxFeePerGas", "maxPriorityFeePerGas"];
    assert_eq!(keys(&shown), set(TRANSACTION).union(&set(&later)).copied().collect());
    assert_eq!((&shown["value"], &shown["gasLimit"]), (&json!("0xa"), &json!(3_000_000)));
}

#[tokio::test]
async fn a_deployment_names_its_contract_plain_and_in_mixed_case() {
    let running = Running::start(Running::params()).await;
    let mut transaction = signed(1, 1, 50);
    (transaction.to, transaction.abi) = (String::new(), "[]".into());
    sign(&mut transaction, 1);
    let receipt = result(&running, "sendTransaction", json!([wire(&transaction)])).await;
    assert_eq!(receipt["contractAddress"], json!("0x5aaeb6053f3e94c9b9a09f33669435e7ef1beaed"));
    let mixed = receipt["checksumContractAddress"].as_str().unwrap();
    assert_eq!(mixed.to_lowercase(), receipt["contractAddress"].as_str().unwrap());
    assert_ne!(mixed, mixed.to_lowercase());
    assert_eq!((&receipt["to"], &receipt["logEntries"]), (&json!(""), &json!([])));
}

/// SDKs read proofs from `txProof` and `txReceiptProof`. `transactionProof` and `receiptProof` must be there and empty: the Java SDK
/// expects objects of an older format in them and fails on texts.
#[tokio::test]
async fn proofs_verify_against_the_header_and_stand_where_sdks_read_them() {
    let running = Running::start(Running::params()).await;
    let receipts = block_of_three(&running).await;
    let header = running.chain.header(2).unwrap().unwrap();
    let elements = |proof: &Value| -> Vec<Vec<u8>> {
        proof.as_array().unwrap().iter().map(|element| hex::decode(element.as_str().unwrap()).unwrap()).collect()
    };
    for receipt in &receipts {
        let hash: H256 = receipt["transactionHash"].as_str().unwrap().parse().unwrap();
        let receipt_hash: H256 = receipt["hash"].as_str().unwrap().parse().unwrap();
        let with_proof = result(&running, "getTransactionReceipt", json!([hash.to_string(), true])).await;
        assert!(merkle::verify(SUITE, &receipt_hash, &elements(&with_proof["txReceiptProof"]), &header.receipts_root));
        assert!(merkle::verify(SUITE, &hash, &elements(&with_proof["txProof"]), &header.txs_root));
        assert_eq!((&with_proof["receiptProof"], &with_proof["transactionProof"]), (&json!([]), &json!([])));
        let transaction = result(&running, "getTransaction", json!([hash.to_string(), 1])).await;
        assert!(merkle::verify(SUITE, &hash, &elements(&transaction["txProof"]), &header.txs_root));
        assert_eq!(transaction["transactionProof"], json!([]));
    }
    let sent = running.call("sendTransaction", positional(json!([wire(&signed(9, 1, 50)), true])));
    let seal = async {
        while running.chain.pool.is_empty() {
            tokio::time::sleep(std::time::Duration::from_millis(5)).await;
        }
        running.chain.seal();
    };
    let (sent, ()) = tokio::join!(sent, seal);
    let receipt_hash: H256 = sent["result"]["hash"].as_str().unwrap().parse().unwrap();
    let root = running.chain.header(3).unwrap().unwrap().receipts_root;
    assert!(merkle::verify(SUITE, &receipt_hash, &elements(&sent["result"]["txReceiptProof"]), &root));
    assert_eq!(sent["result"]["receiptProof"], json!([]));
}

#[tokio::test]
async fn chain_and_consensus_methods_have_the_documented_shapes() {
    let running = Running::start(Running::params()).await;
    let id = running.chain.chain().node.id.to_hex();
    let sealer = json!({"nodeID": id, "weight": 1, "termWeight": 0});
    for (method, rest, expected) in [
        ("getBlockNumber", json!([]), json!(1)),
        ("getPbftView", json!([]), json!(0)),
        ("getPendingTxSize", json!([]), json!(0)),
        ("getSealerList", json!([]), json!([sealer])),
        ("getObserverList", json!([]), json!(["0b".repeat(64)])),
        ("getNodeListByType", json!(["consensus_sealer"]), json!([sealer])),
        ("getNodeListByType", json!(["consensus_candidate_sealer"]), json!([])),
        ("getSystemConfigByKey", json!(["tx_count_limit"]), json!({"blockNumber": 0, "value": "1000"})),
        (
            "getTotalTransactionCount",
            json!([]),
            json!({"blockNumber": 1, "transactionCount": 0, "failedTransactionCount": 0}),
        ),
        ("getGroupList", json!([]), json!({"code": 0, "msg": "success", "groupList": ["group0"]})),
        ("getCode", json!([ECHO]), json!("0x6080")),
        ("getCode", json!([&ECHO[2..].to_uppercase()]), json!("0x6080")),
        ("getCode", json!([format!("0x{}", "1".repeat(40))]), json!("")),
        ("getABI", json!([ECHO]), json!("[]")),
        ("call", json!([ECHO, "0xAbCd"]), json!({"blockNumber": 1, "status": 0, "output": "0xabcd"})),
        ("call", json!([ECHO, "abcd"]), json!({"blockNumber": 1, "status": 0, "output": "0xabcd"})),
        ("call", json!([ECHO, ""]), json!({"blockNumber": 1, "status": 0, "output": "0x"})),
    ] {
        assert_eq!(result(&running, method, rest).await, expected, "{method}");
    }
}

#[tokio::test]
async fn status_methods_answer_json_inside_a_string() {
    let running = Running::start(Running::params()).await;
    let head = running.chain.hash_of(1).unwrap().unwrap().to_hex();
    let inner = |text: Value| -> Value { serde_json::from_str(text.as_str().expect("a string")).expect("JSON") };
    let sync = inner(result(&running, "getSyncStatus", json!([])).await);
    let expected = [
        "archivedBlockNumber",
        "blockNumber",
        "genesisHash",
        "isSyncing",
        "knownHighestNumber",
        "knownLatestHash",
        "latestHash",
        "nodeID",
        "peers",
    ];
    assert_eq!(keys(&sync), set(&expected));
    assert_eq!((&sync["latestHash"], &sync["isSyncing"]), (&json!(head), &json!(false)), "hashes without 0x here");
    let consensus = inner(result(&running, "getConsensusStatus", json!([])).await);
    let expected = [
        "blockNumber",
        "changeCycle",
        "connectedNodeList",
        "consensusNodeList",
        "consensusNodesNum",
        "hash",
        "index",
        "isConsensusNode",
        "leaderIndex",
        "maxFaultyQuorum",
        "minRequiredQuorum",
        "nodeID",
        "timeout",
        "view",
    ];
    assert_eq!(keys(&consensus), set(&expected));
    assert_eq!((&consensus["maxFaultyQuorum"], &consensus["minRequiredQuorum"]), (&json!(0), &json!(1)));
    assert_eq!(keys(&consensus["consensusNodeList"][0]), set(&["index", "nodeID", "termWeight", "weight"]));
}

#[tokio::test]
async fn peers_are_told_in_the_shapes_of_fisco_bcos_and_everything_else_in_one_of_ours() {
    let running = Running::start(Running::params()).await;
    let (peer, unreached) = ("22".repeat(64), "127.0.0.1:30302");
    let sync: Value =
        serde_json::from_str(result(&running, "getSyncStatus", json!([])).await.as_str().unwrap()).unwrap();
    assert_eq!(
        keys(&sync["peers"][0]),
        set(&["archivedBlockNumber", "blockNumber", "genesisHash", "latestHash", "nodeID"])
    );
    assert_eq!(sync["peers"].as_array().map(Vec::len), Some(1), "only who told its head");
    let consensus = result(&running, "getConsensusStatus", json!([])).await;
    let consensus: Value = serde_json::from_str(consensus.as_str().unwrap()).unwrap();
    assert_eq!(consensus["connectedNodeList"], 2, "itself and one peer");

    let peers = running.call("getPeers", json!([])).await["result"].clone();
    assert_eq!(keys(&peers), set(&["endPoint", "groupNodeIDInfo", "p2pNodeID", "peers"]));
    assert_eq!(peers["endPoint"], "127.0.0.1:30300");
    assert_eq!(keys(&peers["peers"][0]), set(&["endPoint", "groupNodeIDInfo", "p2pNodeID"]));
    assert_eq!(peers["peers"][0]["groupNodeIDInfo"], json!([{"group": "group0", "nodeIDList": [peer]}]));
    assert_eq!(peers["peers"].as_array().map(Vec::len), Some(1));
    assert_eq!(running.call("getGroupPeers", json!(["group0"])).await["result"], json!([peer]));

    let status = result(&running, "getNodeStatus", json!([])).await;
    let expected = [
        "blockNumber",
        "certified",
        "checks",
        "custody",
        "decided",
        "mode",
        "name",
        "nodeID",
        "orderingHeight",
        "peers",
        "round",
        "snapshot",
        "version",
    ];
    assert_eq!(keys(&status), set(&expected));
    assert_eq!(status["snapshot"], json!(null), "none is fetched");
    assert_eq!((&status["mode"], &status["orderingHeight"]), (&json!("voting"), &json!(2)));
    assert_eq!((&status["peers"][0]["connected"], &status["peers"][0]["rtt_us"]), (&json!(true), &json!(420)));
    assert_eq!((&status["peers"][1]["endPoint"], &status["peers"][1]["connected"]), (&json!(unreached), &json!(false)));
    assert_eq!(status["peers"][0]["certificateDays"], 90);
    assert_eq!(status["peers"][1]["lastRefusal"], "nobody listens");
    assert_eq!(
        status["checks"],
        json!([{"component": "ledger", "fault": null}, {"component": "device", "fault": null}])
    );
}

#[tokio::test]
async fn group_methods_tell_sdks_the_suite() {
    let running = Running::start(Running::params()).await;
    let group = result(&running, "getGroupInfo", json!([])).await;
    assert_eq!(keys(&group), set(&["chainID", "genesisConfig", "groupID", "iniConfig", "nodeList"]));
    let node = &group["nodeList"][0];
    assert_eq!(*node, result(&running, "getGroupNodeInfo", json!([])).await);
    assert_eq!(json!([group]), result(&running, "getGroupInfoList", json!([])).await);
    let expected = [
        "featureKeys",
        "iniConfig",
        "microService",
        "name",
        "nodeID",
        "protocol",
        "serviceInfo",
        "supportConfigs",
        "type",
    ];
    assert_eq!(keys(node), set(&expected));
    let ini: Value = serde_json::from_str(node["iniConfig"].as_str().unwrap()).unwrap();
    assert_eq!((&node["type"], &ini["smCryptoType"], &ini["isWasm"]), (&json!(1), &json!(true), &json!(false)));
}

#[tokio::test]
async fn wrong_parameters_are_named() {
    let running = Running::start(Running::params()).await;
    for (method, params, code, words) in [
        ("getBlockNumber", json!([]), -32602, "parameter 1 (group)"),
        ("getBlockNumber", json!(["group1", ""]), -32005, "this node serves \"group0\""),
        ("getBlockNumber", json!(["group0", "node7"]), -32000, "this is \"node0\""),
        ("getBlockByNumber", json!(["group0", ""]), -32602, "parameter 3 (block number)"),
        ("getBlockByNumber", json!(["group0", "", -1]), -32602, "parameter 3 (block number)"),
        ("getBlockByNumber", json!(["group0", "", "1"]), -32602, "must be a JSON number"),
        ("getBlockByNumber", json!(["group0", "", 1.5]), -32602, "parameter 3 (block number)"),
        ("getBlockByNumber", json!(["group0", "", 1, "true"]), -32602, "parameter 4"),
        ("getBlockByNumber", json!(["group0", "", 2]), 3008, "block 2 is not there yet; the chain stands at 1"),
        ("getBlockByNumber", json!(["group0", "", u64::MAX]), 3008, "the chain stands at 1"),
        ("getBlockHashByNumber", json!(["group0", "", i64::MAX]), 3008, "the chain stands at 1"),
        ("getBlockByHash", json!(["group0", "", "0x12"]), -32602, "expected 64 hexadecimal digits"),
        ("getBlockByHash", json!(["group0", "", H256([1; 32]).to_string()]), 3008, "no block has the hash"),
        ("getTransaction", json!(["group0", "", H256([1; 32]).to_string()]), 3008, "no block holds"),
        ("getTransactionReceipt", json!(["group0", "", H256([1; 32]).to_string(), true]), 3008, "no block holds"),
        ("call", json!(["group0", "", ECHO, "0xabc"]), -32602, "Odd number of digits"),
        ("call", json!(["group0", "", ECHO, "0xzz"]), -32602, "parameter 4 (data)"),
        ("call", json!(["group0", "", "", "0x"]), -32602, "parameter 3 (to)"),
        ("call", json!(["group0", "", ECHO, "0x", "0xsignature"]), -32602, "leave it out"),
        ("getCode", json!(["group0", "", "0x1234"]), -32602, "expected 40 hexadecimal digits"),
        ("getSystemConfigByKey", json!(["group0", "", "no_such_key"]), 3008, "no configuration key \"no_such_key\""),
        ("getNodeListByType", json!(["group0", "", "sealer"]), -32602, "consensus_sealer, consensus_observer"),
        ("sendTransaction", json!(["group0", ""]), -32602, "parameter 3 (transaction)"),
        ("sendTransaction", json!(["group0", "", "0xabc"]), -32602, "Odd number of digits"),
        ("sendTransaction", json!(["group0", "", "0x00", "yes"]), -32602, "parameter 4 must be true or false"),
    ] {
        let answer = running.call(method, params.clone()).await;
        let (found, message) = error(&answer);
        assert_eq!(found, code, "{method} {params}: {message}");
        assert!(message.contains(words), "{method} {params}: {message:?} says nothing of {words:?}");
    }
    let extra = running.call("getBlockNumber", json!(["group0", "node0", "more", {"than": "asked"}])).await;
    assert_eq!(extra["result"], json!(1), "further parameters are left alone, as in FISCO BCOS");
}
