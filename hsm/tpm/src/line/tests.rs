use std::os::unix::net::{UnixListener, UnixStream};
use std::thread::JoinHandle;

use rustix::net::{bind, listen};

use super::*;

fn far() -> Instant {
    Instant::now() + Duration::from_secs(60)
}

/// A peer that runs `answer` on the first connection.
fn peer(answer: impl FnOnce(UnixStream) + Send + 'static) -> (tempfile::TempDir, Address, JoinHandle<()>) {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("tpm");
    let listener = UnixListener::bind(&path).unwrap();
    let thread = thread::spawn(move || answer(listener.accept().unwrap().0));
    (directory, Address::Unix(path), thread)
}

/// What comes back when the peer answers a command with these pieces and then ends the connection.
fn answered(pieces: Vec<Vec<u8>>) -> io::Result<Zeroizing<Vec<u8>>> {
    let (_directory, address, thread) = peer(move |mut stream| {
        stream.read_exact(&mut [0; 12]).unwrap();
        for piece in pieces {
            // The line may be given up before the last piece.
            let _ = stream.write_all(&piece);
        }
    });
    let result = Line::open(&address, far()).unwrap().exchange(&[7; 12], far());
    thread.join().unwrap();
    result
}

fn response(length: u32, body: usize) -> Vec<u8> {
    [&[0x80, 1][..], &length.to_be_bytes(), &[0; 4], &vec![9; body]].concat()
}

#[test]
fn a_response_in_pieces_is_put_together() {
    let whole = response(200, 190);
    let pieces = whole.chunks(3).map(<[u8]>::to_vec).collect();
    assert_eq!(*answered(pieces).unwrap(), whole);
}

#[test]
fn impossible_lengths_and_cut_responses_are_refused() {
    for length in [0, 9, 4097, u32::MAX] {
        assert_eq!(answered(vec![response(length, 0)]).unwrap_err().kind(), io::ErrorKind::InvalidData, "{length}");
    }
    assert_eq!(answered(vec![response(20, 20)]).unwrap_err().kind(), io::ErrorKind::InvalidData);
    for cut in [vec![], response(20, 5), response(20, 0)[..4].to_vec()] {
        assert_eq!(answered(vec![cut]).unwrap_err().kind(), io::ErrorKind::UnexpectedEof);
    }
}

#[test]
fn a_silent_peer_is_left_at_the_deadline() {
    let (_directory, address, thread) = peer(|mut stream| {
        // Until the caller has gone.
        let _ = stream.read_to_end(&mut Vec::new());
    });
    let mut line = Line::open(&address, far()).unwrap();
    let deadline = Instant::now() + Duration::from_millis(50);
    assert_eq!(line.exchange(&[7; 12], deadline).unwrap_err().kind(), io::ErrorKind::TimedOut);
    drop(line);
    thread.join().unwrap();
}

#[test]
fn a_full_queue_is_left_at_the_deadline() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("tpm");
    let listener = socket_with(AddressFamily::UNIX, SocketType::STREAM, SocketFlags::CLOEXEC, None).unwrap();
    bind(&listener, &SocketAddrUnix::new(&path).unwrap()).unwrap();
    listen(&listener, 1).unwrap();
    // Nobody accepts.
    let mut waiting = Vec::new();
    let refused = loop {
        match Line::open(&Address::Unix(path.clone()), Instant::now() + Duration::from_millis(50)) {
            Ok(line) if waiting.len() < 100 => waiting.push(line),
            other => break other,
        }
    };
    assert_eq!(refused.unwrap_err().kind(), io::ErrorKind::TimedOut);
}

#[test]
fn addresses_are_those_of_this_host() {
    for text in ["device:/dev/tpmrm0", "swtpm:path=/run/tpm.sock", "swtpm:host=127.0.0.1,port=2321"] {
        assert_eq!(text.parse::<Address>().unwrap().to_string(), text);
    }
    for text in
        ["", "/dev/tpm0", "device:tpm0", "swtpm:path=x", "swtpm:host=192.0.2.1,port=1", "swtpm:host=127.0.0.1,port=x"]
    {
        assert!(text.parse::<Address>().is_err(), "{text}");
    }
    assert!("device:/dev/tpmrm0".parse::<Address>().unwrap().has_resource_manager());
    assert!(!"device:/dev/tpm0".parse::<Address>().unwrap().has_resource_manager());
}
