//! The server over real TCP, driven by clients that write their own bytes.
//!
//! Behind it stand the real pool, its admission and the real encodings; only consensus, execution and disk are replaced, by
//! [`chain::Chain`], which seals what the pool packs into blocks in memory.

#![allow(missing_docs)]

mod chain;
mod client;

mod envelopes;
mod http;
mod limits;
mod memory;
mod methods;
mod stop;
mod submissions;

use std::sync::Arc;

use bixi_rpc::{Bounds, Params, Server};
use serde_json::{Value, json};

use chain::Chain;
use client::Client;

/// A chain and the server before it.
struct Running {
    chain: Arc<Chain>,
    server: Server,
}

impl Running {
    /// Generous limits; a test narrows the one it is about.
    fn params() -> Params {
        Params {
            listen: ([127, 0, 0, 1], 0).into(),
            connections_max: 64,
            body_bytes_max: 1024 * 1024,
            batch_calls_max: 64,
            bounds: Bounds::default(),
        }
    }

    async fn start(params: Params) -> Self {
        Self::over(Chain::new(), params).await
    }

    async fn over(chain: Arc<Chain>, params: Params) -> Self {
        let server = bixi_rpc::serve(params, Arc::clone(&chain) as _).await.expect("listens");
        Self { chain, server }
    }

    async fn client(&self) -> Client {
        Client::connect(self.server.address()).await
    }

    /// One call on a connection of its own.
    async fn call(&self, method: &str, params: Value) -> Value {
        self.client().await.call(method, params).await
    }
}

/// Parameters of a method that takes group and node first.
fn positional(rest: Value) -> Value {
    let mut params = vec![json!(chain::GROUP), json!("")];
    params.extend(rest.as_array().expect("an array").iter().cloned());
    params.into()
}

/// The error of an answer.
fn error(answer: &Value) -> (i64, &str) {
    assert!(answer.get("result").is_none(), "an answer has a result or an error: {answer}");
    let error = &answer["error"];
    (error["code"].as_i64().expect("a code"), error["message"].as_str().expect("a message"))
}
