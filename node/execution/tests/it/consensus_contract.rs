use bixi_execution::system::{NodeKind, node_list, validators};
use bixi_types::receipt::Receipt;

use crate::support::*;

/// In the chain of these tests a change in block n holds from n + 3.
const PIPELINE: u64 = 3;

fn code(receipt: &Receipt) -> [u8; 32] {
    assert_eq!(receipt.status, 0, "{}", receipt.message);
    word(&receipt.output, 0)
}

fn add_sealer(chain: &mut Chain, byte: u8, weight: u128) -> Receipt {
    let id = node(byte).to_hex();
    chain.send_system(0x1003, "addSealer(string,uint256)", &[Value::Text(&id), Value::Uint(weight)])
}

fn set_weight(chain: &mut Chain, byte: u8, weight: u128) -> Receipt {
    let id = node(byte).to_hex();
    chain.send_system(0x1003, "setWeight(string,uint256)", &[Value::Text(&id), Value::Uint(weight)])
}

fn with_id(chain: &mut Chain, signature: &str, id: &str) -> Receipt {
    chain.send_system(0x1003, signature, &[Value::Text(id)])
}

fn add_observer(chain: &mut Chain, byte: u8) -> Receipt {
    with_id(chain, "addObserver(string)", &node(byte).to_hex())
}

fn remove(chain: &mut Chain, byte: u8) -> Receipt {
    with_id(chain, "remove(string)", &node(byte).to_hex())
}

fn weights(chain: &Chain, height: u64) -> Vec<(u8, u64)> {
    let set = validators(&chain.state, height).unwrap();
    set.members().iter().map(|member| (member.id.0[0], member.weight)).collect()
}

#[test]
fn a_node_joins_as_observer_and_then_as_sealer() {
    let mut chain = Chain::demo();
    assert_eq!(code(&add_sealer(&mut chain, 2, 1)), int(-51104), "not an observer yet");
    assert_eq!(code(&add_observer(&mut chain, 2)), uint(0));
    let joined = chain.state.height + PIPELINE;
    let nodes = node_list(&chain.state, joined).unwrap();
    assert_eq!((nodes[1].id, nodes[1].kind, nodes[1].enabled_from), (node(2), NodeKind::Observer, joined));
    assert_eq!(node_list(&chain.state, joined - 1).unwrap().len(), 1);

    assert_eq!(code(&add_sealer(&mut chain, 2, 5)), uint(0));
    let votes = chain.state.height + PIPELINE;
    assert_eq!(weights(&chain, votes - 1), [(1, 1)]);
    assert_eq!(weights(&chain, votes), [(1, 1), (2, 5)]);
    assert_eq!(weights(&chain, votes + 100), [(1, 1), (2, 5)]);
}

#[test]
fn every_height_of_the_pipeline_keeps_its_set() {
    let mut chain = Chain::demo();
    add_observer(&mut chain, 2);
    add_sealer(&mut chain, 2, 2);
    for weight in 3..20 {
        set_weight(&mut chain, 2, weight);
        let changed_at = chain.state.height;
        for height in changed_at.saturating_sub(1)..=changed_at + PIPELINE {
            // Weight w was set in block w, for height w + 3.
            let expected = if height < 5 { vec![(1, 1)] } else { vec![(1, 1), (2, height - PIPELINE)] };
            assert_eq!(weights(&chain, height), expected, "height {height} after block {changed_at}");
        }
    }
}

#[test]
fn the_last_sealer_stays() {
    let mut chain = Chain::demo();
    assert_eq!(code(&remove(&mut chain, 1)), int(-51101));
    assert_eq!(code(&add_observer(&mut chain, 1)), int(-51101));
    add_observer(&mut chain, 2);
    assert_eq!(code(&add_observer(&mut chain, 2)), uint(0), "an observer may be named again");
    assert_eq!(code(&remove(&mut chain, 1)), int(-51101), "an observer does not count");
    add_sealer(&mut chain, 2, 1);
    assert_eq!(code(&remove(&mut chain, 1)), uint(0));
    assert_eq!(code(&remove(&mut chain, 2)), int(-51101));
    assert_eq!(weights(&chain, chain.state.height + PIPELINE), [(2, 1)]);
}

#[test]
fn answers_the_codes_of_fisco_bcos() {
    let mut chain = Chain::demo();
    add_observer(&mut chain, 2);
    assert_eq!(code(&remove(&mut chain, 3)), int(-51103));
    assert_eq!(code(&set_weight(&mut chain, 3, 1)), int(-51103));
    assert_eq!(code(&set_weight(&mut chain, 1, 0)), int(-51102));
    assert_eq!(code(&set_weight(&mut chain, 1, 1 << 32)), int(-51102), "no weight may overflow a sum");
    assert_eq!(code(&add_sealer(&mut chain, 2, 0)), int(-51102));
    for id in ["", "12", &"g".repeat(128), &"0".repeat(127), &format!("0x{}", "0".repeat(126))] {
        assert_eq!(code(&with_id(&mut chain, "addObserver(string)", id)), int(-51100), "{id}");
        assert_eq!(code(&with_id(&mut chain, "remove(string)", id)), int(-51100), "{id}");
    }
    let receipt = set_weight(&mut chain, 2, 5);
    assert_eq!((receipt.status, receipt.message.as_str()), (15, "Cannot set weight to observer."));
    let upper = node(0xab).to_hex().to_uppercase();
    assert_eq!(code(&with_id(&mut chain, "addObserver(string)", &upper)), uint(0));
    assert_eq!(node_list(&chain.state, chain.state.height + PIPELINE).unwrap()[2].id, node(0xab));
}

#[test]
fn a_code_other_than_success_writes_nothing() {
    let mut chain = Chain::demo();
    let before = chain.state.rows.clone();
    remove(&mut chain, 1);
    remove(&mut chain, 9);
    add_sealer(&mut chain, 9, 1);
    assert_eq!(chain.state.rows, before);
}
