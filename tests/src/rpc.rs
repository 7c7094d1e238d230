//! JSON-RPC over a kept connection, by hand: what a client sees, hostile requests included.

use std::io::{self, BufReader, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use serde_json::{Value, json};

/// Longer than any answer of a living node takes.
const READ_TIMEOUT: Duration = Duration::from_secs(60);

/// Why a call has no result.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CallError {
    /// The connection ended: a killed node is an expected end.
    #[error("the connection ended: {0}")]
    Gone(String),
    /// The node answered with an error object.
    #[error("{message} ({code})")]
    Refused {
        /// JSON-RPC or FISCO BCOS code.
        code: i64,
        /// Why.
        message: String,
    },
}

impl From<io::Error> for CallError {
    fn from(error: io::Error) -> Self {
        Self::Gone(error.to_string())
    }
}

/// A kept connection.
pub struct Connection(BufReader<TcpStream>);

impl Connection {
    /// Connects.
    pub fn open(address: SocketAddr) -> Result<Self, CallError> {
        let stream = TcpStream::connect(address)?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(READ_TIMEOUT))?;
        Ok(Self(BufReader::new(stream)))
    }

    /// One JSON-RPC call.
    pub fn call(&mut self, method: &str, params: Value) -> Result<Value, CallError> {
        let body = json!({"jsonrpc": "2.0", "id": 1, "method": method, "params": params}).to_string();
        let (_, answer) = self.post(body.as_bytes())?;
        let mut answer: Value = serde_json::from_slice(&answer).map_err(io::Error::other)?;
        match answer.get("error") {
            None => Ok(answer["result"].take()),
            Some(error) => Err(CallError::Refused {
                code: error["code"].as_i64().expect("an error has a code"),
                message: error["message"].as_str().expect("an error has a message").to_owned(),
            }),
        }
    }

    /// `sendTransaction` of encoded bytes; returns the receipt.
    pub fn submit(&mut self, transaction: &[u8]) -> Result<Value, CallError> {
        self.call("sendTransaction", json!(["group0", "", format!("0x{}", hex::encode(transaction)), false]))
    }

    /// Posts a body as it is; returns the HTTP status and the answer's body.
    pub fn post(&mut self, body: &[u8]) -> io::Result<(u16, Vec<u8>)> {
        // No content type, as FISCO BCOS's curl examples.
        let mut request =
            format!("POST / HTTP/1.1\r\nHost: node\r\nContent-Length: {}\r\n\r\n", body.len()).into_bytes();
        request.extend(body);
        self.0.get_mut().write_all(&request)?;
        self.answer()
    }

    /// Fetches a page, such as `/healthz`.
    pub fn get(&mut self, path: &str) -> io::Result<(u16, Vec<u8>)> {
        write!(self.0.get_mut(), "GET {path} HTTP/1.1\r\nHost: node\r\n\r\n")?;
        self.answer()
    }

    fn answer(&mut self) -> io::Result<(u16, Vec<u8>)> {
        let (status, body) = read_message(&mut self.0)?;
        let status = status.split(' ').nth(1).and_then(|code| code.parse().ok());
        Ok((status.ok_or_else(|| io::Error::other("no HTTP status"))?, body))
    }
}

/// Reads one HTTP message whose length is given: its first line and its body.
pub fn read_message(from: &mut impl io::BufRead) -> io::Result<(String, Vec<u8>)> {
    let (first, mut length) = (read_line(from)?, 0);
    loop {
        let line = read_line(from)?.to_ascii_lowercase();
        if let Some(value) = line.strip_prefix("content-length:") {
            length = value.trim().parse().map_err(io::Error::other)?;
        }
        if line == "\r\n" {
            break;
        }
    }
    let mut body = vec![0; length];
    from.read_exact(&mut body)?;
    Ok((first, body))
}

fn read_line(from: &mut impl io::BufRead) -> io::Result<String> {
    let mut line = String::new();
    match from.read_line(&mut line)? {
        0 => Err(io::ErrorKind::UnexpectedEof.into()),
        _ => Ok(line),
    }
}
