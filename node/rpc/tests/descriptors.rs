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
    let mut served = 0;
    for client in &mut clients {
        client.send(get).await;
    }
    for client in &mut clients {
        served += usize::from(tokio::time::timeout(Duration::from_millis(300), client.response()).await.is_ok());
    }
    assert_eq!(served, 100);
}
