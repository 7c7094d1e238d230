//! One end of a TLS 1.3 connection with SM2, SM3 and SM4, by this crate: for trying it against other implementations.
//!
//! ```text
//! tls_peer make DIRECTORY                      a CA (ca.pem) and two nodes: a.pem, a.der, b.pem, b.der; a CA of strangers, other.pem
//! tls_peer serve   CERTIFICATE KEY CA          prints its port, takes one connection, sends back what it reads
//! tls_peer connect CERTIFICATE KEY CA ADDRESS  connects, sends 100,000 bytes, wants them back
//! ```
//! `INTEROP_TLS_ID` signs with that identifier instead of RFC 8998's, as no peer must accept it.
//! The last line on standard output is `agreed PROTOCOL CIPHER` or `refused REASON`. Keys lie in files here, as no node's do.
#![allow(missing_docs, clippy::print_stdout, clippy::print_stderr)]

use std::error::Error;
use std::fs;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use bixi_accel::sm2::{self, PrivateKey};
use bixi_accel::{Random, RandomError};
use bixi_network::pki::{self, CertificateParams, Role};
use bixi_network::tls::{self, Identity, TlsKey, TlsKeyError, Trust, TrustParams, TrustStore};
use bixi_types::CryptoSuite;
use rustls::{ClientConnection, CommonState, ServerConnection, Stream};

const BYTES: usize = 100_000;
const DAY: u64 = 86_400;

type Failure = Box<dyn Error>;

struct System;

impl Random for System {
    fn fill(&mut self, out: &mut [u8]) -> Result<(), RandomError> {
        bixi_platform::random::OsRandom.fill(out).map_err(|error| RandomError::new(error.to_string()))
    }
}

struct FileKey {
    key: PrivateKey,
    id: Vec<u8>,
}

impl std::fmt::Debug for FileKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("FileKey(..)")
    }
}

impl TlsKey for FileKey {
    fn sign(&self, content: &[u8]) -> Result<[u8; 64], TlsKeyError> {
        let signed = sm2::sign(&self.key, &self.id, content, &mut System);
        signed.map(|signature| signature.0).map_err(|error| TlsKeyError(error.to_string()))
    }

    fn public_key(&self) -> [u8; 64] {
        self.key.public_key().to_bytes()
    }
}

fn make(directory: &Path) -> Result<(), Failure> {
    let now = SystemTime::now().duration_since(UNIX_EPOCH)?.as_secs();
    let issue = |role, name: &str, issuer: &str, key: &PrivateKey, issuer_key: &PrivateKey, serial: u8| {
        let params = CertificateParams {
            suite: CryptoSuite::Sm,
            role,
            subject: format!("CN={name},O=interop"),
            issuer: format!("CN={issuer},O=interop"),
            serial: [serial; 16],
            not_before_s: now - DAY,
            not_after_s: now + DAY,
        };
        pki::issue(&params, &key.public_key().to_bytes(), &issuer_key.public_key().to_bytes(), |message| {
            let signed = sm2::sign(issuer_key, sm2::DEFAULT_ID, message, &mut System);
            signed.map(|signature| signature.0).map_err(|error| pki::PkiError::Signer(error.to_string()))
        })
    };
    let (ca, other) = (PrivateKey::generate(&mut System)?, PrivateKey::generate(&mut System)?);
    for (name, key, serial) in [("ca", &ca, 1), ("other", &other, 2)] {
        fs::write(
            directory.join(format!("{name}.pem")),
            pki::to_pem(&issue(Role::Ca, name, name, key, key, serial)?)?,
        )?;
    }
    for (name, serial) in [("a", 3), ("b", 4)] {
        let key = PrivateKey::generate(&mut System)?;
        let certificate = issue(Role::Node, name, "ca", &key, &ca, serial)?;
        fs::write(directory.join(format!("{name}.pem")), pki::to_pem(&certificate)?)?;
        fs::write(directory.join(format!("{name}.der")), &key.to_pkcs8_der()[..])?;
    }
    Ok(())
}

fn identity(certificate: &str, key: &str) -> Result<Identity, Failure> {
    let certificate = pki::from_pem(&fs::read_to_string(certificate)?)?;
    let key = PrivateKey::from_pkcs8_der(&fs::read(key)?)?;
    let id = std::env::var("INTEROP_TLS_ID").map_or(sm2::TLS_ID.to_vec(), String::into_bytes);
    Ok(Identity::new(CryptoSuite::Sm, &[certificate], Arc::new(FileKey { key, id }))?)
}

fn trust(ca: &str) -> Result<Arc<TrustStore>, Failure> {
    let authorities = [pki::from_pem(&fs::read_to_string(ca)?)?];
    let trust = Trust::new(CryptoSuite::Sm, &TrustParams { authorities: &authorities, ..TrustParams::default() })?;
    Ok(Arc::new(TrustStore::new(trust)))
}

fn report(connection: &CommonState) {
    let suite = connection.negotiated_cipher_suite().map(|suite| suite.suite());
    println!("agreed {:?} {suite:?}", connection.protocol_version());
}

fn serve(identity: &Identity, trust: Arc<TrustStore>) -> Result<(), Failure> {
    let config = tls::server_config(identity, trust, &[])?;
    let listener = TcpListener::bind("127.0.0.1:0")?;
    println!("{}", listener.local_addr()?.port());
    let (mut socket, _) = listener.accept()?;
    let mut connection = ServerConnection::new(config)?;
    let mut stream = Stream::new(&mut connection, &mut socket);
    let mut buffer = vec![0; BYTES];
    stream.read_exact(&mut buffer)?;
    stream.write_all(&buffer)?;
    stream.flush()?;
    report(&connection);
    Ok(())
}

fn connect(identity: &Identity, trust: Arc<TrustStore>, address: &str) -> Result<(), Failure> {
    let config = tls::client_config(identity, trust, &[])?;
    let mut socket = TcpStream::connect(address)?;
    let mut connection = ClientConnection::new(config, "node".try_into()?)?;
    let mut stream = Stream::new(&mut connection, &mut socket);
    let sent: Vec<u8> = (0..BYTES).map(|index| index as u8).collect();
    stream.write_all(&sent)?;
    let mut back = vec![0; BYTES];
    stream.read_exact(&mut back)?;
    if back != sent {
        return Err("other bytes came back".into());
    }
    report(&connection);
    Ok(())
}

fn main() {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    let ended = match words[..] {
        ["make", directory] => make(Path::new(directory)),
        ["serve", certificate, key, ca] => identity(certificate, key).and_then(|identity| serve(&identity, trust(ca)?)),
        ["connect", certificate, key, ca, address] => {
            identity(certificate, key).and_then(|identity| connect(&identity, trust(ca)?, address))
        }
        _ => {
            eprintln!("usage: tls_peer make DIRECTORY | serve CERTIFICATE KEY CA | connect CERTIFICATE KEY CA ADDRESS");
            std::process::exit(2);
        }
    };
    if let Err(reason) = ended {
        println!("refused {reason}");
        std::process::exit(1);
    }
}
