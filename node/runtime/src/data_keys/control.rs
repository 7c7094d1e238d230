//! The socket below its data directory at which a running node is asked: frames as to the broker, from processes of the node's user alone.
//!
//! A request is answered at once; what it began goes on whether or not anybody asks how far it is.

use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

pub use bixi_hsm::exchange::{Answer, Request, ScrubProgress};
use bixi_hsm::protocol::{Message as _, Refusal};
use bixi_hsm_broker::{Handler, Server, frame, server, socket};
use bixi_platform::peer;
use bixi_platform::threads::Spawner;
use rustix::process::geteuid;
use zeroize::Zeroizing;

use super::{Exchange, Progress};
use crate::broker::MadeSocket;
use crate::launch::Failure;
use crate::scrub::Scrubbing;
use crate::settings::Settings;

/// The socket's name in the data directory.
const SOCKET: &str = "control.sock";
/// How long a node may take to answer: nothing that it does for that takes long.
const PATIENCE: Duration = Duration::from_secs(30);
/// Officers who ask at once.
const CONNECTIONS_MAX: usize = 8;

/// The running end. Dropped, it takes no more callers, and the socket is gone.
pub(crate) struct Control {
    _server: Server,
    _made: MadeSocket,
}

impl Control {
    pub(crate) fn start(settings: &Settings, spawner: &Spawner, desk: Desk) -> Result<Self, Failure> {
        Self::at(&settings.data(SOCKET), geteuid().as_raw(), spawner, desk)
    }

    /// Serves processes of `uid`.
    fn at(path: &Path, uid: u32, spawner: &Spawner, desk: Desk) -> Result<Self, Failure> {
        let named = |error: io::Error| format!("{}: {error}", path.display());
        let listener = socket::listen(path).map_err(named)?;
        let made = MadeSocket::at(path).map_err(named)?;
        let bounds = server::Params { connections_max: CONNECTIONS_MAX, ..server::Params::for_user(uid) };
        let server = Server::start(listener, spawner, bounds, Arc::new(desk))?;
        Ok(Self { _server: server, _made: made })
    }
}

/// Answers.
pub(crate) struct Desk {
    pub(crate) exchange: Arc<Exchange>,
    pub(crate) scrubbing: Arc<Scrubbing>,
}

impl Handler for Desk {
    fn answer(&self, frame: &[u8]) -> Zeroizing<Vec<u8>> {
        let answer = match Request::decode(frame) {
            Ok(Request::Exchange(wish)) => {
                tracing::info!(?wish, "an exchange of the data keys is asked for");
                Answer::Progress(self.exchange.ask(wish))
            }
            Ok(Request::Progress) => Answer::Progress(self.exchange.progress()),
            Ok(Request::Scrub) => {
                tracing::info!("reading all files for damage is asked for");
                self.scrubbing.begin();
                Answer::Scrub(self.scrubbing.progress())
            }
            Ok(Request::ScrubProgress) => Answer::Scrub(self.scrubbing.progress()),
            Err(error) => Answer::Refused(error.to_string()),
        };
        answer.encode()
    }

    fn refusal(&self, refusal: Refusal) -> Zeroizing<Vec<u8>> {
        Answer::Refused(refusal.to_string()).encode()
    }
}

/// Why a running node did not answer.
#[derive(Debug, thiserror::Error)]
#[error("the node at {}: {reason}", path.display())]
pub struct ControlError {
    path: PathBuf,
    reason: String,
}

/// Asks the running node of these settings about its data keys; none where no node runs here.
///
/// # Errors
/// When a node is there and does not answer, or refuses: it runs as another user, or is of another release.
pub fn ask(settings: &Settings, request: &Request) -> Result<Option<Progress>, ControlError> {
    ask_at(&settings.data(SOCKET), request, |answer| match answer {
        Answer::Progress(progress) => Some(progress),
        _ => None,
    })
}

/// The same about its files.
///
/// # Errors
/// As [`ask`].
pub fn ask_scrub(settings: &Settings, request: &Request) -> Result<Option<ScrubProgress>, ControlError> {
    ask_at(&settings.data(SOCKET), request, |answer| match answer {
        Answer::Scrub(progress) => Some(progress),
        _ => None,
    })
}

fn ask_at<T>(
    path: &Path,
    request: &Request,
    expected: impl Fn(Answer) -> Option<T>,
) -> Result<Option<T>, ControlError> {
    let failed = |reason: String| ControlError { path: path.to_owned(), reason };
    let stream = match socket::connect(path, PATIENCE) {
        Ok(stream) => stream,
        Err(error) if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::ConnectionRefused) => return Ok(None),
        Err(error) => return Err(failed(format!("{error}; ask as the user whose node it is"))),
    };
    let converse = || -> Result<Zeroizing<Vec<u8>>, Failure> {
        let owner = peer::of(&stream)?;
        let own = geteuid().as_raw();
        if owner.uid != own {
            return Err(format!("it runs as user {}, and this is user {own}: ask as that user", owner.uid).into());
        }
        stream.set_read_timeout(Some(PATIENCE))?;
        stream.set_write_timeout(Some(PATIENCE))?;
        // Who is refused may be told so, and the connection closed, before he has asked.
        let asked = frame::write(&mut &stream, &request.encode());
        frame::read(&mut &stream).or_else(|fault| asked.map_err(Failure::from).and(Err(fault.into())))
    };
    let answered = converse().map_err(|error| failed(error.to_string()))?;
    match Answer::decode(&answered).map_err(|error| failed(error.to_string()))? {
        Answer::Refused(reason) => Err(failed(reason)),
        answer => expected(answer)
            .map(Some)
            .ok_or_else(|| failed("it answers something else; is it of another release?".to_owned())),
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::net::UnixStream;

    use bixi_hsm::protocol::FRAME_BYTES_MAX;
    use bixi_platform::placement::{self, Plan};
    use bixi_platform::topology::Topology;

    use super::*;
    use crate::data_keys::{AtRest, Wish};

    const WISH: Wish =
        Wish { new_epoch: true, drop_older: false, cipher: Some(AtRest::Aes256Gcm), bytes_per_second: Some(1) };

    fn desk_of(exchange: &Arc<Exchange>) -> Desk {
        Desk { exchange: Arc::clone(exchange), scrubbing: Arc::default() }
    }

    fn progress_at(path: &Path, request: &Request) -> Result<Option<Progress>, ControlError> {
        ask_at(path, request, |answer| if let Answer::Progress(progress) = answer { Some(progress) } else { None })
    }

    fn spawner() -> Spawner {
        let everywhere = placement::Params { force_shared: true, ..placement::Params::default() };
        Spawner::new(Plan::make(&Topology::flat(), &everywhere))
    }

    #[test]
    fn what_is_no_request_is_refused_and_changes_nothing() {
        let exchange = Arc::new(Exchange::default());
        let desk = desk_of(&exchange);
        let valid = Request::Exchange(WISH).encode();
        let mut odd: Vec<Vec<u8>> = (0..valid.len()).map(|length| valid[..length].to_vec()).collect();
        odd.push([&valid[..], &[0]].concat());
        odd.push([&[9], &valid[1..]].concat());
        for frame in odd {
            let answer = Answer::decode(&desk.answer(&frame)).unwrap();
            assert!(matches!(answer, Answer::Refused(_)), "{frame:?}: {answer:?}");
        }
        assert_eq!(exchange.progress().number, 0);
        let Ok(Answer::Progress(progress)) = Answer::decode(&desk.answer(&valid)) else { panic!("refused") };
        assert_eq!((progress.number, progress.is_under_way()), (1, true));
    }

    #[test]
    fn a_node_is_asked_at_its_socket_and_none_where_none_runs() {
        let place = tempfile::tempdir().unwrap();
        let path = place.path().join(SOCKET);
        assert!(progress_at(&path, &Request::Progress).unwrap().is_none());
        let exchange = Arc::new(Exchange::default());
        let control = Control::at(&path, geteuid().as_raw(), &spawner(), desk_of(&exchange)).unwrap();
        assert_eq!(progress_at(&path, &Request::Progress).unwrap().map(|now| now.number), Some(0));
        assert_eq!(progress_at(&path, &Request::Exchange(WISH)).unwrap().map(|now| now.number), Some(1));
        assert_eq!(progress_at(&path, &Request::Progress).unwrap(), Some(exchange.progress()));
        // More than a frame is announced, or none: told why, and the connection ends.
        for length in [0, FRAME_BYTES_MAX as u32 + 1, u32::MAX] {
            let stream = UnixStream::connect(&path).unwrap();
            io::Write::write_all(&mut &stream, &length.to_le_bytes()).unwrap();
            let told = Answer::decode(&frame::read(&mut &stream).unwrap()).unwrap();
            assert!(matches!(told, Answer::Refused(_)), "{length}: {told:?}");
            assert!(frame::read(&mut &stream).is_err());
        }
        assert_eq!(exchange.progress().number, 1);
        drop(control);
        assert!(!path.exists());
        assert!(progress_at(&path, &Request::Progress).unwrap().is_none());
    }

    #[test]
    fn another_users_process_is_refused_with_the_reason() {
        let place = tempfile::tempdir().unwrap();
        let path = place.path().join(SOCKET);
        let exchange = Arc::new(Exchange::default());
        let _control = Control::at(&path, u32::MAX, &spawner(), desk_of(&exchange)).unwrap();
        // Before or after the question was written.
        for _ in 0..100 {
            let refused = progress_at(&path, &Request::Exchange(WISH)).unwrap_err().to_string();
            assert!(refused.contains("is served here"), "{refused}");
        }
        assert_eq!(exchange.progress().number, 0);
    }
}
