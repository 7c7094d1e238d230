//! From an address or an accepted socket to an open session, within one deadline.

use std::net::SocketAddr;

use bixi_types::consensus::SignatureBytes;
use bixi_types::ports::{Check, Verifier};
use bixi_types::session::{EXPORTER_BYTES, EXPORTER_LABEL, SessionProof, SessionRole};
use rustls::ConnectionCommon;
use rustls::pki_types::ServerName;
use tokio::net::TcpStream;
use tokio::time::error::Elapsed;
use tokio::time::{Instant, timeout, timeout_at};
use tokio_rustls::{TlsAcceptor, TlsConnector, TlsStream};

use crate::frame::{self, Kind};
use crate::pki;
use crate::session::error::SessionError;
use crate::session::hello::Hello;
use crate::session::link::{self, Link, Patience, Reader, Writer};
use crate::session::refusal::{Reason, Refusal};
use crate::session::{Channel, Direction, Door, Local, Remote};

/// A session both sides agreed on.
pub(crate) struct Opened {
    pub(crate) remote: Remote,
    pub(crate) reader: Reader,
    pub(crate) writer: Writer,
}

/// Names are not compared (see `tls::trust`); rustls wants one.
const NO_NAME: &str = "peer.invalid";

/// A connection to `address`, "host:port".
pub(crate) async fn connect(local: &Local, address: &str) -> Result<TcpStream, SessionError> {
    let connecting = timeout(local.deadline, TcpStream::connect(address)).await;
    let tcp = connecting.map_err(|_| slow(local, "TCP connection"))?;
    tcp.map_err(|error| SessionError::Connect(error.to_string()))
}

/// Calls over a connection.
pub(crate) async fn call(
    local: &Local,
    tcp: TcpStream,
    channel: Channel,
    door: &dyn Door,
) -> Result<Opened, SessionError> {
    let until = Instant::now() + local.deadline;
    let address = prepare(&tcp)?;
    let name = ServerName::try_from(NO_NAME).expect("a DNS name");
    let shaking = TlsConnector::from(local.client.clone()).connect(name, tcp).into_fallible();
    let tls = shaken(timeout_at(until, shaking).await, local).await?;
    let exporter = export(tls.get_ref().1)?;
    let end = End { local, door, role: SessionRole::Client, exporter, address, until };
    end.open(Link::new(TlsStream::Client(tls)), Some(channel)).await
}

/// Answers a caller.
pub(crate) async fn answer(local: &Local, tcp: TcpStream, door: &dyn Door) -> Result<Opened, SessionError> {
    let until = Instant::now() + local.deadline;
    let address = prepare(&tcp)?;
    let shaking = TlsAcceptor::from(local.server.clone()).accept(tcp).into_fallible();
    let tls = shaken(timeout_at(until, shaking).await, local).await?;
    let exporter = export(tls.get_ref().1)?;
    let end = End { local, door, role: SessionRole::Server, exporter, address, until };
    end.open(Link::new(TlsStream::Server(tls)), None).await
}

fn slow(local: &Local, what: &'static str) -> SessionError {
    SessionError::Slow { what, limit_ms: local.deadline.as_millis() as u64 }
}

/// Small frames must not wait for acknowledgements of earlier ones (RFC 896).
fn prepare(tcp: &TcpStream) -> Result<SocketAddr, SessionError> {
    let broken = |error: std::io::Error| SessionError::Broken(error.to_string());
    tcp.set_nodelay(true).map_err(broken)?;
    tcp.peer_addr().map_err(broken)
}

/// What came of a TLS handshake.
async fn shaken<T>(
    result: Result<Result<T, (std::io::Error, TcpStream)>, Elapsed>,
    local: &Local,
) -> Result<T, SessionError> {
    match result.map_err(|_| slow(local, "TLS handshake"))? {
        Ok(tls) => Ok(tls),
        Err((error, tcp)) => {
            link::leave(tcp).await;
            Err(SessionError::from_io(&error))
        }
    }
}

fn export<Data>(tls: &ConnectionCommon<Data>) -> Result<[u8; EXPORTER_BYTES], SessionError> {
    tls.export_keying_material([0; EXPORTER_BYTES], EXPORTER_LABEL, None)
        .map_err(|error| SessionError::Tls { detail: error.to_string(), advice: "update this node" })
}

/// One end of a TLS connection, before the session is open.
struct End<'a> {
    local: &'a Local,
    door: &'a dyn Door,
    role: SessionRole,
    exporter: [u8; EXPORTER_BYTES],
    address: SocketAddr,
    /// The deadline.
    until: Instant,
}

impl End<'_> {
    /// The exchange; whatever ends it on our side is told to the peer.
    async fn open(&self, mut link: Link, calls_for: Option<Channel>) -> Result<Opened, SessionError> {
        let exchange = async {
            match calls_for {
                Some(channel) => self.client(&mut link, channel).await,
                None => self.server(&mut link).await,
            }
        };
        let opened = timeout_at(self.until, exchange).await;
        match opened.unwrap_or_else(|_| Err(slow(self.local, "hello and proof"))) {
            Ok(remote) => Ok(Opened { remote, reader: link.reader, writer: link.writer }),
            Err(error) => {
                if let Some(refusal) = error.to_tell() {
                    link.refuse(&refusal).await;
                }
                Err(error)
            }
        }
    }

    async fn client(&self, link: &mut Link, channel: Channel) -> Result<Remote, SessionError> {
        let remote = self.introduced(link, Some(channel)).await?;
        // Signed before the hello goes: a peer that refuses the hello is still there when the proof follows.
        let proof = self.prove(&remote)?;
        link.send(Kind::Hello, &self.hello(Some(channel)).encode()).await?;
        link.send(Kind::Proof, &proof.0).await?;
        self.check_proof(&expect(link, Kind::Proof, Some(&remote)).await?, &remote)?;
        link.send(Kind::Ready, &[]).await?;
        Ok(remote)
    }

    async fn server(&self, link: &mut Link) -> Result<Remote, SessionError> {
        link.send(Kind::Hello, &self.hello(None).encode()).await?;
        let remote = self.introduced(link, None).await?;
        self.check_proof(&expect(link, Kind::Proof, Some(&remote)).await?, &remote)?;
        link.send(Kind::Proof, &self.prove(&remote)?.0).await?;
        expect(link, Kind::Ready, Some(&remote)).await?;
        Ok(remote)
    }

    fn hello(&self, channel: Option<Channel>) -> Hello {
        let local = self.local;
        Hello {
            versions: local.versions,
            chain: local.chain,
            node: local.node,
            channel,
            listen_port: local.listen_port,
            instance: local.instance,
            unix_time_ms: (local.clock)(),
        }
    }

    /// Reads the peer's hello and judges it.
    async fn introduced(&self, link: &mut Link, calls_for: Option<Channel>) -> Result<Remote, SessionError> {
        let body = expect(link, Kind::Hello, None).await?;
        let hello = Hello::decode(&body).map_err(|refusal| SessionError::Refused { node: None, refusal })?;
        let remote = self.judge(&hello, link, calls_for);
        remote.map_err(|refusal| SessionError::Refused { node: Some(hello.node), refusal })
    }

    fn judge(&self, hello: &Hello, link: &Link, calls_for: Option<Channel>) -> Result<Remote, Refusal> {
        let local = self.local;
        let protocol_version = local.versions.agree(hello.versions)?;
        if hello.chain != local.chain {
            let detail = format!("this node is of chain {}, the other one of {}", local.chain, hello.chain);
            return Err(Refusal::new(Reason::Chain, detail));
        }
        if hello.node == local.node {
            return Err(Refusal::new(Reason::OwnNode, "both ends are one node"));
        }
        let channel = calls_for.or(hello.channel);
        let channel = channel.ok_or_else(|| Refusal::new(Reason::Malformed, "the caller names no channel"))?;
        let direction = if calls_for.is_some() { Direction::Outbound } else { Direction::Inbound };
        let listen = (hello.listen_port != 0).then(|| SocketAddr::new(self.address.ip(), hello.listen_port));
        let remote = Remote {
            node: hello.node,
            address: self.address,
            direction,
            channel,
            instance: hello.instance,
            listen,
            protocol_version,
            skew_ms: hello.skew_ms((local.clock)()),
            certificates: link.certificates.as_slice().into(),
            // One that was believed can be read.
            certificate_not_after_s: link
                .certificates
                .first()
                .and_then(|own| pki::from_der(own).ok())
                .map_or(0, |own| pki::not_after_s(&own)),
        };
        self.door.judge(&remote)?;
        Ok(remote)
    }

    fn statement(&self, node: bixi_types::NodeId, role: SessionRole, protocol_version: u32) -> SessionProof {
        SessionProof { chain: self.local.chain, node, role, protocol_version, exporter: self.exporter }
    }

    fn prove(&self, remote: &Remote) -> Result<SignatureBytes, SessionError> {
        let proof = self.statement(self.local.node, self.role, remote.protocol_version);
        self.local.slots.run(|| self.local.key.sign_session(&proof)).map_err(|error| SessionError::Refused {
            node: Some(remote.node),
            refusal: Refusal::new(Reason::Unsigned, format!("the session could not be signed: {error}")),
        })
    }

    fn check_proof(&self, body: &[u8], remote: &Remote) -> Result<(), SessionError> {
        let role = match self.role {
            SessionRole::Client => SessionRole::Server,
            SessionRole::Server => SessionRole::Client,
        };
        let statement = self.statement(remote.node, role, remote.protocol_version);
        if verifies(&*self.local.verifier, &statement, body) {
            return Ok(());
        }
        let detail = format!("the proof is not of node {:.16} for this connection", remote.node.to_hex());
        let refusal = Refusal::new(Reason::Proof, detail);
        Err(SessionError::Refused { node: Some(remote.node), refusal })
    }
}

fn verifies(verifier: &dyn Verifier, statement: &SessionProof, signature: &[u8]) -> bool {
    let Ok(signature) = signature.try_into().map(SignatureBytes) else { return false };
    let check = Check { node: &statement.node, message: &statement.sign_bytes(), signature: &signature };
    verifier.verify(&[check]) == [true]
}

/// The next frame's body, which is of that kind or why not.
async fn expect(link: &mut Link, kind: Kind, remote: Option<&Remote>) -> Result<Vec<u8>, SessionError> {
    // The whole handshake has one deadline: its frames have none of their own.
    let patience = Patience { silence: link::NO_LIMIT, frame: link::NO_LIMIT };
    let node = remote.map(|remote| remote.node);
    match link.reader.next(patience).await? {
        Some(frame::Frame { kind: found, body }) if found == kind => Ok(body),
        Some(frame::Frame { kind: Kind::Refusal, body }) => {
            Err(SessionError::RefusedByPeer { node, refusal: Refusal::decode(&body) })
        }
        Some(frame) => {
            let refusal = Refusal::new(Reason::Malformed, format!("{:?} where {kind:?} was expected", frame.kind));
            Err(SessionError::Refused { node, refusal })
        }
        None => Err(SessionError::Closed("before the session was open")),
    }
}
