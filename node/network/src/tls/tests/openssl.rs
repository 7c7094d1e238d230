//! Suite `std` with OpenSSL at the other end. (For suite `sm` that is Tongsuo: `tests/interop/tls.sh`.)

use std::fs::File;
use std::io::{Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::process::Command;

use rustls::Stream;
use x509_cert::der::Document;
use x509_cert::der::pem::LineEnding;

use super::*;
use crate::tls::fixtures::{Key, Node};

const WORDS: &str = "votes and batches";

/// A caller's certificate, key and words in files.
fn write_caller(directory: &Path, ca: &Authority, caller: &Node) {
    let Key::Std(_, document) = &*caller.key else { panic!("a key of suite std") };
    let key = Document::try_from(&document[..]).expect("DER").to_pem("PRIVATE KEY", LineEnding::LF).expect("PEM");
    let authority = pki::to_pem(&ca.certificate).expect("PEM");
    let certificate = pki::to_pem(&caller.certificate).expect("PEM");
    let files = [("ca.pem", &*authority), ("a.pem", &*certificate), ("a.key", &*key), ("words", WORDS)];
    for (file, text) in files {
        std::fs::write(directory.join(file), text).expect("room");
    }
}

/// Sends back what one caller says.
fn echo(config: Arc<ServerConfig>, mut tcp: TcpStream) -> std::io::Result<()> {
    let mut connection = ServerConnection::new(config).expect("a server");
    let mut stream = Stream::new(&mut connection, &mut tcp);
    let mut words = vec![0; WORDS.len()];
    stream.read_exact(&mut words)?;
    stream.write_all(&words)?;
    stream.conn.send_close_notify();
    stream.flush()
}

#[test]
fn openssl_calls_with_every_algorithm_and_is_refused_without_a_certificate_or_with_tls_1_2() {
    let ca = Authority::new(CryptoSuite::Std, "CN=ca,O=chain0");
    let directory = tempfile::tempdir().expect("a directory");
    write_caller(directory.path(), &ca, &ca.node(3));
    let trust = Arc::new(TrustStore::new(ca.trust()));
    let config = server_config(&ca.node(2).identity(), trust, &[]).expect("a configuration");
    let call = |args: &[&str]| {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let address = listener.local_addr().expect("an address").to_string();
        let config = Arc::clone(&config);
        let server = std::thread::spawn(move || echo(config, listener.accept()?.0));
        let called = Command::new("openssl")
            .current_dir(directory.path())
            .args(["s_client", "-quiet", "-verify_return_error", "-CAfile", "ca.pem", "-connect", &address])
            .args(args)
            .stdin(File::open(directory.path().join("words")).expect("written above"))
            .output()
            .expect("openssl runs (packaging/dev/packages.sh --tests installs it)");
        // One that came to no call leaves the server waiting.
        drop(TcpStream::connect(&address));
        let answered = server.join().expect("no panic");
        (answered.map_err(|error| error.to_string()), String::from_utf8_lossy(&called.stdout).into_owned())
    };
    let certified = ["-cert", "a.pem", "-key", "a.key"];
    for choice in [
        ["-ciphersuites", "TLS_AES_256_GCM_SHA384"],
        ["-ciphersuites", "TLS_AES_128_GCM_SHA256"],
        ["-ciphersuites", "TLS_CHACHA20_POLY1305_SHA256"],
        ["-groups", "X25519"],
        ["-groups", "P-256"],
    ] {
        assert_eq!(call(&[&certified[..], &choice].concat()), (Ok(()), WORDS.to_owned()), "{choice:?}");
    }
    for (args, reason) in [(&[][..], "no certificate"), (&[&certified[..], &["-tls1_2"]].concat(), "incompatible")] {
        let (answered, said) = call(args);
        assert!(answered.as_ref().is_err_and(|error| error.contains(reason)), "{answered:?}");
        assert_eq!(said, "");
    }
}
