//! The signing service in a process of its own: its socket, the worker that holds the device, and the supervisor that starts another
//! worker when one dies or hangs.
//!
//! ```text
//!  node ── channel ──▶ socket ◀── server ── SigningService ── watch ── device      worker: the vendor's library, guard, audit trail
//!                        ▲           │
//!                        │ inherited │ line: the PIN there, beats back
//!                        └────── supervisor: the listening socket and the PIN, no library of a vendor's
//! ```
//!
//! Invariants:
//! - the supervisor loads no library of a vendor's and opens no file of guard, vault or audit trail;
//! - the listening socket outlives every worker: callers wait for the next one instead of being refused;
//! - the PIN travels from supervisor to worker through a socket pair that nobody else holds, never by argument or environment;
//! - a worker that has ended, and what its libraries forked, was waited for before the next one starts, and the locks of guard and audit
//!   trail keep a second one away all the same;
//! - frames are bounded in both directions and in time; whoever breaks a bound is told the reason and the connection ends;
//! - only processes of one user are served (unix(7), `SO_PEERCRED`).

#![forbid(unsafe_code)]

pub mod channel;
mod deadline;
pub mod frame;
pub mod line;
pub mod server;
pub mod socket;
pub mod supervisor;
pub mod watch;

pub use channel::SocketChannel;
pub use line::Line;
pub use server::{Handler, Server};
pub use supervisor::{End, supervise};
pub use watch::{CallWatch, Limits, Watched};
