//! A fault for the checker to find: something between clients and a node that answers one method with what the node said before.

use std::collections::BTreeMap;
use std::io::{self, BufReader, Write as _};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex};

use bixi_tests::rpc::{Connection, read_message};

/// What a call is remembered by.
pub(crate) type Same = fn(Vec<u8>) -> Vec<u8>;

/// Passes calls on; those of one method get the node's answer to the same call before.
pub(crate) struct Behind {
    node: SocketAddr,
    method: String,
    same: Same,
    /// The last answer to each call, by the call.
    said: Mutex<BTreeMap<Vec<u8>, Vec<u8>>>,
}

impl Behind {
    /// Listens for as long as the process lives; returns where.
    pub(crate) fn start(node: SocketAddr, method: &str, same: Same) -> SocketAddr {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a free port");
        let address = listener.local_addr().expect("it listens");
        let behind = Self { node, method: format!("\"method\":\"{method}\""), same, said: Mutex::default() };
        let behind = Arc::new(behind);
        std::thread::spawn(move || {
            for client in listener.incoming().flatten() {
                let behind = Arc::clone(&behind);
                // Ends with the client's connection.
                std::thread::spawn(move || behind.serve(client));
            }
        });
        address
    }

    fn serve(&self, client: TcpStream) -> io::Result<()> {
        client.set_nodelay(true)?;
        let mut client = BufReader::new(client);
        let mut node = Connection::open(self.node).map_err(io::Error::other)?;
        loop {
            let (_, call) = read_message(&mut client)?;
            let (status, answer) = node.post(&call)?;
            let answer = self.delay(call, answer);
            write!(client.get_mut(), "HTTP/1.1 {status} -\r\nContent-Length: {}\r\n\r\n", answer.len())?;
            client.get_mut().write_all(&answer)?;
        }
    }

    /// What was said to this call before, if it is of the method.
    fn delay(&self, call: Vec<u8>, answer: Vec<u8>) -> Vec<u8> {
        if !String::from_utf8_lossy(&call).contains(&self.method) {
            return answer;
        }
        let mut said = self.said.lock().expect("nobody panicked");
        said.insert((self.same)(call), answer.clone()).unwrap_or(answer)
    }
}
