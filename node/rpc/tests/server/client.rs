//! An HTTP/1.1 client that shows what it does: bytes out, a parsed response in.

use std::net::SocketAddr;
use std::time::Duration;

use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// Nothing takes longer in a test that is right, on whatever machine.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

#[derive(Debug)]
pub(crate) struct Response {
    pub(crate) status: u16,
    /// Names in lower case.
    headers: Vec<(String, String)>,
    pub(crate) body: Vec<u8>,
}

impl Response {
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(found, _)| found == name).map(|(_, value)| value.as_str())
    }

    pub(crate) fn json(&self) -> Value {
        serde_json::from_slice(&self.body)
            .unwrap_or_else(|error| panic!("{error}: {}", String::from_utf8_lossy(&self.body)))
    }

    pub(crate) fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }
}

pub(crate) struct Client {
    pub(crate) stream: TcpStream,
    unread: Vec<u8>,
}

impl Client {
    pub(crate) async fn connect(address: SocketAddr) -> Self {
        Self { stream: TcpStream::connect(address).await.expect("connects"), unread: Vec::new() }
    }

    /// Sends bytes as they are. A server that has already refused may have closed: the response tells.
    pub(crate) async fn send(&mut self, bytes: impl AsRef<[u8]>) {
        let _ = self.stream.write_all(bytes.as_ref()).await;
    }

    /// Posts a body the way curl does, without the content type.
    pub(crate) async fn post(&mut self, body: impl AsRef<[u8]>) -> Response {
        self.send(post(body.as_ref())).await;
        self.response().await
    }

    /// One call; its answer's envelope is checked.
    pub(crate) async fn call(&mut self, method: &str, params: Value) -> Value {
        let request = json!({"jsonrpc": "2.0", "id": 7, "method": method, "params": params});
        let response = self.post(request.to_string()).await;
        assert_eq!((response.status, response.header("content-type")), (200, Some("application/json")));
        let answer = response.json();
        assert_eq!((&answer["jsonrpc"], &answer["id"]), (&json!("2.0"), &json!(7)), "{answer}");
        answer
    }

    /// Bytes that a test has read by itself.
    pub(crate) fn keep(&mut self, bytes: &[u8]) {
        self.unread.extend_from_slice(bytes);
    }

    pub(crate) async fn response(&mut self) -> Response {
        self.read_response(true).await.expect("a response")
    }

    /// A response to HEAD: its length announces a body that does not come.
    pub(crate) async fn head_response(&mut self) -> Response {
        self.read_response(false).await.expect("a response")
    }

    /// Whether the server ends the connection within `limit`, without sending anything more.
    pub(crate) async fn is_closed_within(&mut self, limit: Duration) -> bool {
        let mut byte = [0];
        matches!(tokio::time::timeout(limit, self.stream.read(&mut byte)).await, Ok(Ok(0) | Err(_)))
    }

    /// `None` when the connection ends first.
    pub(crate) async fn read_response(&mut self, with_body: bool) -> Option<Response> {
        let end = loop {
            if let Some(at) = self.unread.windows(4).position(|window| window == b"\r\n\r\n") {
                break at + 4;
            }
            self.fill().await?;
        };
        let head = String::from_utf8(self.unread.drain(..end).collect()).expect("a head is ASCII");
        let mut lines = head.lines();
        let status = lines.next()?.split(' ').nth(1)?.parse().expect("a status");
        let headers: Vec<(String, String)> = lines
            .filter_map(|line| line.split_once(": "))
            .map(|(name, value)| (name.to_ascii_lowercase(), value.to_owned()))
            .collect();
        let mut response = Response { status, headers, body: Vec::new() };
        let length: usize = response.header("content-length").map_or(0, |length| length.parse().expect("a length"));
        while with_body && self.unread.len() < length {
            self.fill().await?;
        }
        if with_body {
            response.body = self.unread.drain(..length).collect();
        }
        Some(response)
    }

    async fn fill(&mut self) -> Option<()> {
        let mut chunk = vec![0; 64 * 1024];
        let read = tokio::time::timeout(PATIENCE, self.stream.read(&mut chunk)).await.expect("the server answers");
        match read {
            Ok(0) | Err(_) => None,
            Ok(count) => {
                self.unread.extend_from_slice(&chunk[..count]);
                Some(())
            }
        }
    }
}

/// The bytes of a POST.
pub(crate) fn post(body: &[u8]) -> Vec<u8> {
    let mut bytes = format!("POST / HTTP/1.1\r\nHost: node\r\nContent-Length: {}\r\n\r\n", body.len()).into_bytes();
    bytes.extend_from_slice(body);
    bytes
}

/// The bytes of a POST whose body comes in chunks of `chunk_bytes` and without a length.
pub(crate) fn post_chunked(body: &[u8], chunk_bytes: usize) -> Vec<u8> {
    let mut bytes = b"POST / HTTP/1.1\r\nHost: node\r\nTransfer-Encoding: chunked\r\n\r\n".to_vec();
    for chunk in body.chunks(chunk_bytes) {
        bytes.extend(format!("{:x}\r\n", chunk.len()).into_bytes());
        bytes.extend_from_slice(chunk);
        bytes.extend_from_slice(b"\r\n");
    }
    bytes.extend_from_slice(b"0\r\n\r\n");
    bytes
}
