//! A node as its users see it: a process, a socket, JSON-RPC.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};

use crate::binary;

/// A `bixi run` process.
pub struct RunningNode {
    child: Child,
    /// Where its JSON-RPC listens.
    pub rpc: SocketAddr,
}

impl RunningNode {
    /// Starts the node of a `bixi.toml` and waits for its ready line.
    ///
    /// # Panics
    /// When it does not become ready; its standard error is shown by the test.
    pub fn start(config: &Path) -> Self {
        let mut child = Command::new(binary("bixi"))
            .args(["run", "--ready-json", "--config"])
            .arg(config)
            .stdout(Stdio::piped())
            .spawn()
            .expect("bixi starts");
        let mut line = String::new();
        let stdout = child.stdout.take().expect("piped");
        BufReader::new(stdout).read_line(&mut line).expect("readable");
        let ready: Value = serde_json::from_str(&line).unwrap_or_else(|error| panic!("not ready: {error}: {line:?}"));
        let url = ready["rpc"].as_str().expect("an address").trim_start_matches("http://").trim_end_matches('/');
        Self { rpc: url.parse().expect("an address and port"), child }
    }

    /// kill -9 while others hold the node: no handler of its runs. Dropping it reaps it.
    pub fn kill_now(&self) {
        kill_process(Pid::from_child(&self.child), Signal::KILL).expect("kill -9");
    }

    /// One JSON-RPC call on a connection of its own.
    pub fn call(&self, method: &str, params: Value) -> Result<Value, String> {
        Connection::open(self.rpc).and_then(|mut connection| connection.call(method, params))
    }
}

impl Drop for RunningNode {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A kept connection. Errors are texts: a killed node is an expected end.
pub struct Connection(BufReader<TcpStream>);

impl Connection {
    /// Connects.
    pub fn open(address: SocketAddr) -> Result<Self, String> {
        let stream = TcpStream::connect(address).map_err(|error| error.to_string())?;
        stream.set_read_timeout(Some(Duration::from_secs(60))).map_err(|error| error.to_string())?;
        Ok(Self(BufReader::new(stream)))
    }

    /// One JSON-RPC call; the error holds the node's own error object as text.
    pub fn call(&mut self, method: &str, params: Value) -> Result<Value, String> {
        let body = json!({"jsonrpc": "2.0", "id": 1, "method": method, "params": params}).to_string();
        let mut answer = self.exchange(&body).map_err(|error| error.to_string())?;
        match answer.get("error") {
            Some(error) => Err(error.to_string()),
            None => Ok(answer["result"].take()),
        }
    }

    fn exchange(&mut self, body: &str) -> std::io::Result<Value> {
        // No content type, as FISCO BCOS's curl examples.
        write!(self.0.get_mut(), "POST / HTTP/1.1\r\nHost: node\r\nContent-Length: {}\r\n\r\n{body}", body.len())?;
        let mut length = 0;
        loop {
            let mut line = String::new();
            if self.0.read_line(&mut line)? == 0 {
                return Err(std::io::ErrorKind::UnexpectedEof.into());
            }
            if let Some(value) = line.to_ascii_lowercase().strip_prefix("content-length:") {
                length = value.trim().parse().map_err(std::io::Error::other)?;
            }
            if line == "\r\n" {
                break;
            }
        }
        let mut answer = vec![0; length];
        self.0.read_exact(&mut answer)?;
        serde_json::from_slice(&answer).map_err(std::io::Error::other)
    }
}
