//! Why a session does not begin or goes on: said to the peer, and logged on both sides.

use std::fmt;

use bixi_types::limits::SESSION_FRAME_BYTES_MAX;

/// Declares the reasons with their codes on the wire, their names in metrics, and what the operator of the refused node does.
macro_rules! reasons {
    ($($(#[$doc:meta])* $name:ident = $code:literal, $label:literal, $advice:literal;)+) => {
        /// Why.
        #[repr(u8)]
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        #[non_exhaustive]
        pub enum Reason {
            $($(#[$doc])* $name = $code,)+
        }

        impl Reason {
            const ALL: &'static [Self] = &[$(Self::$name,)+];

            /// Its name in metrics.
            pub const fn label(self) -> &'static str {
                match self {
                    $(Self::$name => $label,)+
                }
            }

            /// What to do about it.
            pub const fn advice(self) -> &'static str {
                match self {
                    $(Self::$name => $advice,)+
                }
            }
        }
    };
}

reasons! {
    /// A reason this version does not know.
    Other = 0, "other", "see the other node's log";
    /// The two sides share no version of the protocol.
    Version = 1, "version", "upgrade the node with the older software";
    /// The two sides are of different chains.
    Chain = 2, "chain", "compare both nodes' genesis files and the addresses of p2p.peers";
    /// A node called itself.
    OwnNode = 3, "own_node", "nothing: an own address among p2p.peers is left out";
    /// The group does not know the node, or a list keeps it out.
    NotAdmitted = 4, "not_admitted", "add the node to the group, or change p2p.allow and p2p.deny";
    /// The proof is not that of the node it names, for this connection.
    Proof = 5, "proof", "check that node key and certificate are this node's own; somebody may be standing between the nodes";
    /// Another connection of the same kind stands.
    Duplicate = 6, "duplicate", "nothing: one of two connections is closed when both sides call";
    /// No place for another session.
    Full = 7, "full", "remove addresses from p2p.peers, or raise the limit of connections";
    /// Bytes that are no frames, or frames out of turn.
    Malformed = 8, "malformed", "check that the address is a node's p2p port and that both run released software";
    /// The layers above found the peer at fault.
    Offence = 9, "offence", "see the reason; a node that goes on like this runs changed software or is damaged";
    /// The peer was silent, or too slow in the middle of a frame.
    Silent = 10, "silent", "check the network between the nodes and the load of both";
    /// The node could not sign its proof.
    Unsigned = 11, "unsigned", "check the signing device of the node that refuses";
    /// The node stops.
    Stopping = 12, "stopping", "nothing: it is called again until it is back";
    /// The certificate a session began with has ended, was revoked, or its authority is believed no longer.
    Certificate = 13, "certificate", "have a new certificate issued, and give it to the node with p2p.certificate";
}

/// A reason and what was found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refusal {
    /// Why.
    pub reason: Reason,
    /// What was found, in words.
    pub detail: String,
}

impl Refusal {
    /// Longer details are cut.
    pub fn new(reason: Reason, detail: impl Into<String>) -> Self {
        let mut detail = detail.into();
        detail.truncate(detail.floor_char_boundary(SESSION_FRAME_BYTES_MAX - 1));
        Self { reason, detail }
    }

    /// reason (1 byte) ‖ detail (UTF-8).
    pub(crate) fn encode(&self) -> Vec<u8> {
        [&[self.reason as u8], self.detail.as_bytes()].concat()
    }

    /// Takes anything: a refusal of a later version is still one. What a peer says is made fit for a log.
    pub(crate) fn decode(body: &[u8]) -> Self {
        let (&code, detail) = body.split_first().unwrap_or((&0, &[]));
        let reason = Reason::ALL.iter().copied().find(|reason| *reason as u8 == code).unwrap_or(Reason::Other);
        let printable = |symbol: char| if symbol.is_control() { char::REPLACEMENT_CHARACTER } else { symbol };
        Self { reason, detail: String::from_utf8_lossy(detail).chars().map(printable).collect() }
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({:?}; {})", self.detail, self.reason, self.reason.advice())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn refusals_survive_the_wire_and_fit_a_frame() {
        for &reason in Reason::ALL {
            let refusal = Refusal::new(reason, "链 not ours");
            assert_eq!(Refusal::decode(&refusal.encode()), refusal);
        }
        let long = Refusal::new(Reason::Offence, "长".repeat(SESSION_FRAME_BYTES_MAX));
        assert!(long.encode().len() <= SESSION_FRAME_BYTES_MAX);
        assert_eq!(Refusal::decode(&long.encode()), long);
    }

    #[test]
    fn what_a_peer_says_cannot_forge_a_line_of_the_log() {
        let refusal = Refusal::decode(b"\xC8done\n2026-01-01 ERROR \x1B[31m forged \xFF");
        assert_eq!(refusal.reason, Reason::Other);
        assert!(!refusal.detail.chars().any(char::is_control), "{:?}", refusal.detail);
        assert_eq!(Refusal::decode(&[]), Refusal::new(Reason::Other, ""));
    }
}
