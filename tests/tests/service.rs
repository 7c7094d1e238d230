//! The node as a service: what it tells a service manager, over the socket a manager listens on.

use std::os::linux::net::SocketAddrExt as _;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::time::Duration;

use bixi_tests::node::{RunningNode, make_chain};

/// `NOTIFY_SOCKET` as systemd makes it.
struct Manager {
    socket: UnixDatagram,
    name: std::ffi::OsString,
}

impl Manager {
    fn on_path(place: &std::path::Path) -> Self {
        let path = place.join("notify");
        Self::with(UnixDatagram::bind(&path).unwrap(), path.into())
    }

    fn abstract_one() -> Self {
        let name = format!("bixi-service-test-{}", std::process::id());
        let socket = UnixDatagram::bind_addr(&SocketAddr::from_abstract_name(&name).unwrap()).unwrap();
        Self::with(socket, format!("@{name}").into())
    }

    fn with(socket: UnixDatagram, name: std::ffi::OsString) -> Self {
        socket.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
        Self { socket, name }
    }

    /// The assignments of the next datagram.
    fn hear(&self) -> Vec<String> {
        let mut buffer = [0; 4096];
        let count = self.socket.recv(&mut buffer).expect("a datagram in time");
        String::from_utf8(buffer[..count].to_vec()).unwrap().lines().map(str::to_owned).collect()
    }

    fn has_heard_nothing(&self) -> bool {
        self.socket.set_nonblocking(true).unwrap();
        self.socket.recv(&mut [0; 16]).is_err()
    }
}

#[test]
fn a_service_manager_hears_ready_alive_and_stopping() {
    let place = tempfile::tempdir().unwrap();
    let config = make_chain(place.path());
    for manager in [Manager::on_path(place.path()), Manager::abstract_one()] {
        let node = RunningNode::try_start_with(&config, |command| {
            command.env("NOTIFY_SOCKET", &manager.name);
        });
        let node = node.expect("ready");
        let first = manager.hear();
        assert_eq!(first[0], "READY=1");
        let status = first[1].strip_prefix("STATUS=").expect("a line for `systemctl status`");
        assert!(status.contains(&node.rpc.to_string()), "{status}");
        assert_eq!(node.height(), 0, "who is ready answers");
        assert_eq!(manager.hear(), ["WATCHDOG=1"]);
        let rpc = node.rpc;
        let ended = node.stop();
        assert_eq!(ended.status.code(), Some(0), "{}", ended.said);
        let last = std::iter::repeat_with(|| manager.hear()).find(|heard| heard[0] != "WATCHDOG=1");
        assert_eq!(last.unwrap(), ["STOPPING=1"]);
        assert!(std::net::TcpStream::connect(rpc).is_err(), "a stopped node takes no connections");
    }
}

#[test]
fn who_cannot_start_says_nothing_of_being_ready() {
    let place = tempfile::tempdir().unwrap();
    let config = make_chain(place.path());
    std::fs::remove_file(config.with_file_name("data/guard")).unwrap();
    let manager = Manager::on_path(place.path());
    let ended = RunningNode::try_start_with(&config, |command| {
        command.env("NOTIFY_SOCKET", &manager.name);
    });
    assert_eq!(ended.err().expect("no guard, no start").status.code(), Some(78));
    assert!(manager.has_heard_nothing());
}
