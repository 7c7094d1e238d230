//! A JSON-RPC client over one kept-alive HTTP connection.

use std::net::SocketAddr;
use std::time::Duration;

use anyhow::{Context as _, anyhow, bail};
use http_body_util::{BodyExt as _, Full};
use hyper::body::Bytes;
use hyper::client::conn::http1::{SendRequest, handshake};
use hyper::header::{CONTENT_TYPE, HOST};
use hyper::{Method, Request, StatusCode};
use hyper_util::rt::TokioIo;
use serde_json::{Value, json};
use tokio::net::TcpStream;

/// Longer than the node itself waits for a receipt.
const ANSWER_DEADLINE: Duration = Duration::from_secs(60);

/// One connection.
pub(crate) struct Client {
    sender: SendRequest<Full<Bytes>>,
    address: SocketAddr,
}

impl Client {
    pub(crate) async fn connect(address: SocketAddr) -> anyhow::Result<Self> {
        let stream =
            TcpStream::connect(address).await.with_context(|| format!("cannot reach the node at {address}"))?;
        stream.set_nodelay(true)?;
        let (sender, connection) = handshake(TokioIo::new(stream)).await?;
        tokio::spawn(async move {
            // Its end shows itself in the next request.
            let _ = connection.await;
        });
        Ok(Self { sender, address })
    }

    /// Whether `/healthz` answers that the node is well.
    pub(crate) async fn is_healthy(&mut self) -> anyhow::Result<bool> {
        let (status, _) = self.exchange(Method::GET, "/healthz", Bytes::new()).await?;
        Ok(status == StatusCode::OK)
    }

    /// One call; a JSON-RPC error is an error.
    pub(crate) async fn call(&mut self, method: &str, params: Value) -> anyhow::Result<Value> {
        let mut answers = self.batch(method, vec![params]).await?;
        answers.pop().ok_or_else(|| anyhow!("{method}: no answer"))?
    }

    /// Many calls of one method in one request; answers in the order of the calls.
    pub(crate) async fn batch(
        &mut self,
        method: &str,
        params: Vec<Value>,
    ) -> anyhow::Result<Vec<anyhow::Result<Value>>> {
        let count = params.len();
        let calls: Vec<Value> = params
            .into_iter()
            .enumerate()
            .map(|(id, params)| json!({"jsonrpc": "2.0", "id": id, "method": method, "params": params}))
            .collect();
        let body = Bytes::from(serde_json::to_vec(&calls)?);
        let (status, body) = self.exchange(Method::POST, "/", body).await?;
        let answers: Value = serde_json::from_slice(&body)
            .with_context(|| format!("{method}: status {status}, not JSON: {}", String::from_utf8_lossy(&body)))?;
        in_order(method, count, &answers)
    }

    async fn exchange(&mut self, method: Method, path: &str, body: Bytes) -> anyhow::Result<(StatusCode, Bytes)> {
        let request = Request::builder()
            .method(method)
            .uri(path)
            .header(HOST, self.address.to_string())
            .header(CONTENT_TYPE, "application/json")
            .body(Full::new(body))?;
        let answered = async {
            self.sender.ready().await?;
            let response = self.sender.send_request(request).await?;
            let status = response.status();
            Ok::<_, hyper::Error>((status, response.into_body().collect().await?.to_bytes()))
        };
        Ok(tokio::time::timeout(ANSWER_DEADLINE, answered)
            .await
            .with_context(|| format!("the node did not answer within {} s", ANSWER_DEADLINE.as_secs()))??)
    }
}

fn in_order(method: &str, count: usize, answers: &Value) -> anyhow::Result<Vec<anyhow::Result<Value>>> {
    let Some(answers) = answers.as_array() else { bail!("{method}: {answers}") };
    let mut ordered: Vec<Option<anyhow::Result<Value>>> = (0..count).map(|_| None).collect();
    for answer in answers {
        let place = answer["id"].as_u64().and_then(|id| ordered.get_mut(id as usize));
        let Some(place) = place else { bail!("{method}: an answer to a call that was not made: {answer}") };
        *place = Some(match answer.get("error") {
            Some(error) => {
                Err(anyhow!("{method}: {}", error["message"].as_str().unwrap_or("an error without a message")))
            }
            None => Ok(answer["result"].clone()),
        });
    }
    ordered.into_iter().map(|answer| answer.ok_or_else(|| anyhow!("{method}: a call was not answered"))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_are_put_in_the_order_of_the_calls() {
        let answers = json!([{"id": 1, "result": "b"}, {"id": 0, "error": {"code": 1, "message": "no"}}]);
        let ordered = in_order("m", 2, &answers).unwrap();
        assert_eq!(ordered[0].as_ref().unwrap_err().to_string(), "m: no");
        assert_eq!(ordered[1].as_ref().unwrap(), "b");
    }

    #[test]
    fn a_missing_or_foreign_answer_is_an_error() {
        assert!(in_order("m", 2, &json!([{"id": 0, "result": 1}])).is_err());
        assert!(in_order("m", 1, &json!([{"id": 7, "result": 1}])).is_err());
        assert!(in_order("m", 1, &json!({"error": "whole batch"})).is_err());
    }
}
