//! Telling the service manager how we are: the datagrams of `sd_notify(3)`, without its library.
//!
//! Outside a service (`NOTIFY_SOCKET` unset) every call does nothing.

use std::{
    env,
    ffi::OsString,
    io,
    os::{
        linux::net::SocketAddrExt,
        unix::{
            ffi::OsStrExt,
            net::{SocketAddr, UnixDatagram},
        },
    },
    time::Duration,
};

/// A state of the service.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum State<'a> {
    /// Start-up is complete.
    Ready,
    /// Settings are being read again; [`Self::Ready`] follows.
    Reloading,
    /// Shutdown has begun.
    Stopping,
    /// The main loop is alive.
    Watchdog,
    /// A line for `systemctl status`.
    Status(&'a str),
}

impl State<'_> {
    fn message(&self) -> String {
        match self {
            Self::Ready => "READY=1".to_owned(),
            Self::Reloading => "RELOADING=1".to_owned(),
            Self::Stopping => "STOPPING=1".to_owned(),
            Self::Watchdog => "WATCHDOG=1".to_owned(),
            // A line end would start another assignment.
            Self::Status(text) => format!("STATUS={}", text.replace(['\n', '\r'], " ")),
        }
    }
}

/// The way to the service manager; the default one leads nowhere.
#[derive(Debug, Default)]
pub struct Notifier(Option<(UnixDatagram, SocketAddr)>);

impl Notifier {
    /// The socket that `NOTIFY_SOCKET` names, if it is set.
    ///
    /// # Errors
    /// When it is set but names no usable socket.
    pub fn from_env() -> io::Result<Self> {
        match env::var_os("NOTIFY_SOCKET") {
            Some(name) if !name.is_empty() => Self::to(&name),
            _ => Ok(Self(None)),
        }
    }

    fn to(name: &OsString) -> io::Result<Self> {
        let address = match name.as_bytes() {
            [b'@', abstract_name @ ..] => SocketAddr::from_abstract_name(abstract_name)?,
            [b'/', ..] => SocketAddr::from_pathname(name)?,
            _ => {
                let reason = "NOTIFY_SOCKET must be an absolute path or start with @";
                return Err(io::Error::new(io::ErrorKind::InvalidInput, reason));
            }
        };
        Ok(Self(Some((UnixDatagram::unbound()?, address))))
    }

    /// Whether anyone listens.
    pub fn is_active(&self) -> bool {
        self.0.is_some()
    }

    /// Sends `states` in one datagram.
    ///
    /// # Errors
    /// When the service manager's socket refuses; the service itself is not affected.
    pub fn notify(&self, states: &[State<'_>]) -> io::Result<()> {
        let Some((socket, address)) = &self.0 else { return Ok(()) };
        let message = states.iter().map(State::message).collect::<Vec<_>>().join("\n");
        socket.send_to_addr(message.as_bytes(), address).map(|_| ())
    }
}

/// How often the watchdog wants to hear from us: half of `WATCHDOG_USEC`, if it is meant for this process.
pub fn watchdog_interval() -> Option<Duration> {
    let micros: u64 = env::var("WATCHDOG_USEC").ok()?.parse().ok()?;
    if let Ok(pid) = env::var("WATCHDOG_PID")
        && pid != std::process::id().to_string()
    {
        return None;
    }
    (micros > 0).then(|| Duration::from_micros(micros / 2))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn received(socket: &UnixDatagram) -> String {
        let mut buffer = [0; 256];
        let count = socket.recv(&mut buffer).unwrap();
        String::from_utf8(buffer[..count].to_vec()).unwrap()
    }

    #[test]
    fn states_arrive_as_datagrams_on_path_and_abstract_sockets() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("notify");
        let listener = UnixDatagram::bind(&path).unwrap();
        let notifier = Notifier::to(&path.into_os_string()).unwrap();
        notifier.notify(&[State::Ready, State::Status("height 7\nREADY=0")]).unwrap();
        assert_eq!(received(&listener), "READY=1\nSTATUS=height 7 READY=0");
        let name = format!("bixi-notify-test-{}", std::process::id());
        let listener = UnixDatagram::bind_addr(&SocketAddr::from_abstract_name(&name).unwrap()).unwrap();
        let notifier = Notifier::to(&format!("@{name}").into()).unwrap();
        notifier.notify(&[State::Watchdog]).unwrap();
        notifier.notify(&[State::Stopping]).unwrap();
        notifier.notify(&[State::Reloading]).unwrap();
        for expected in ["WATCHDOG=1", "STOPPING=1", "RELOADING=1"] {
            assert_eq!(received(&listener), expected);
        }
    }

    #[test]
    fn without_a_socket_nothing_happens() {
        let notifier = Notifier(None);
        assert!(!notifier.is_active());
        notifier.notify(&[State::Ready]).unwrap();
    }

    #[test]
    fn a_relative_socket_is_refused() {
        assert!(Notifier::to(&"notify".into()).is_err());
    }
}
