//! Connections leave file descriptors to the rest of the process. A test of its own, because the limit belongs to the process.

#![allow(missing_docs)]

#[path = "server/chain.rs"]
#[allow(dead_code)]
mod chain;
#[path = "server/client.rs"]
#[allow(dead_code)]
mod client;

use std::time::Duration;

use bixi_rpc::{Bounds, Params};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

#[tokio::test]
async fn half_of_the_descriptors_stay_for_the_ledger() {
    let before = getrlimit(Resource::Nofile);
    let chain = chain::Chain::new();
    setrlimit(Resource::Nofile, Rlimit { current: Some(200), ..before }).expect("lowers its own limit");
    let params = Params {
        listen: ([127, 0, 0, 1], 0).into(),
        connections_max: 1_000,
        body_bytes_max: 1024,
        batch_calls_max: 1,
        bounds: Bounds::default(),
    };
    let server = bixi_rpc::serve(params, chain).await.expect("listens");
    // The clients' own descriptors come from the same table: the server has counted, they may have more.
    setrlimit(Resource::Nofile, before).expect("restores its own limit");
    let mut clients = Vec::new();
    for _ in 0..104 {
        clients.push(client::Client::connect(server.address()).await);
    }
    let get = "GET /healthz HTTP/1.1\r\nHost: node\r\n\r\n";
    let mut answers = tokio::task::JoinSet::new();
    for mut client in clients {
        client.send(get).await;
        // The client comes back open: closing it would make room for another.
        answers.spawn(async move { (client.response().await.status, client) });
    }
    let mut served = Vec::new();
    while served.len() < 100 {
        let answer = tokio::time::timeout(client::PATIENCE, answers.join_next()).await.expect("100 are served");
        served.push(answer.expect("104 were asked").expect("no client panics"));
    }
    let more = tokio::time::timeout(Duration::from_millis(300), answers.join_next()).await;
    assert!(more.is_err(), "the others wait");
}
