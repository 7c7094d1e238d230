//! What officers have done to a guard, besides its lanes: retired, waiting, overruled, bound to a host.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use bixi_accel::sm3;
use bixi_types::{H256, NodeId};
use borsh::{BorshDeserialize, BorshSerialize};

const TICKET_BYTES: usize = 16;
const CHECK_BYTES: usize = 4;
const CHECK_DOMAIN: &[u8] = b"BIXI-HSM-GUARD-TICKET-V1";

/// How a guard stands.
#[derive(Debug, Clone, Default, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub(super) struct Standing {
    /// Overrulings taken so far, here and where the marks came from.
    pub(super) overrulings: u64,
    /// Keys that grant nothing any more here, and the one guard that their marks were signed for.
    pub(super) retired: BTreeMap<NodeId, Ticket>,
    /// Keys that grant nothing before the marks are here that are signed for this.
    pub(super) awaiting: BTreeMap<NodeId, Ticket>,
    /// Tickets of moves that have ended: no guard waits with them any more.
    pub(super) spent: BTreeSet<Ticket>,
    /// Retired by a version that named no key: keys that have no marks here may be the very ones, and grant nothing.
    pub(super) retired_unnamed: bool,
    /// The host on which it signs. None before the first start, and where hosts have no identity.
    pub(super) host: Option<HostId>,
}

/// The standing as format 1 had it first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub(super) struct FirstStanding {
    pub(super) overrulings: u64,
    /// All keys of that guard, for an importer that was not named.
    pub(super) is_retired: bool,
}

/// A host as a guard remembers it: derived from the system's identity, which it does not tell.
#[derive(Debug, Clone, Copy, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct HostId([u8; 32]);

impl HostId {
    /// Of a host by what is its own: Linux' `machine-id(5)`, which is not to be shown as it is.
    pub fn new(machine: &[u8]) -> Self {
        Self(sm3::digest(&[b"BIXI-HSM-GUARD-HOST-V1", machine].concat()))
    }
}

/// Drawn by a guard that waits for another one's marks. The export that names it is taken there and nowhere else.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, BorshSerialize, BorshDeserialize)]
pub struct Ticket([u8; TICKET_BYTES]);

/// A ticket that cannot be used.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error(
    "this is no ticket of this chain's validator: 40 hexadecimal digits, as `bixi hsm guard await-import` prints them on the host that the \
     validator moves to; a digit is wrong, or it is another validator's"
)]
pub struct TicketError;

impl Ticket {
    /// Of a retirement by a version that named no importer: nobody draws it.
    pub(super) const UNNAMED: Self = Self([0; TICKET_BYTES]);

    /// Of random bytes.
    pub const fn new(bytes: [u8; TICKET_BYTES]) -> Self {
        Self(bytes)
    }

    /// As officers carry it from host to host, with a check that it is for this validator of this chain.
    pub fn text(&self, chain: &H256, node: &NodeId) -> String {
        hex::encode([&self.0[..], &self.check(chain, node)].concat())
    }

    /// Reads what [`Self::text`] printed; blanks around it do not count.
    ///
    /// # Errors
    /// Anything else, and a ticket of another validator or chain.
    pub fn parse(text: &str, chain: &H256, node: &NodeId) -> Result<Self, TicketError> {
        let mut bytes = [0; TICKET_BYTES + CHECK_BYTES];
        hex::decode_to_slice(text.trim(), &mut bytes).map_err(|_| TicketError)?;
        let (ticket, check) = bytes.split_first_chunk().ok_or(TicketError)?;
        let ticket = Self(*ticket);
        if ticket.check(chain, node) == *check { Ok(ticket) } else { Err(TicketError) }
    }

    fn check(&self, chain: &H256, node: &NodeId) -> [u8; CHECK_BYTES] {
        let digest = sm3::digest(&[CHECK_DOMAIN, &chain.0, &node.0, &self.0].concat());
        std::array::from_fn(|place| digest[place])
    }
}

/// The digits without the check, to tell one from another.
impl fmt::Display for Ticket {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&hex::encode(self.0))
    }
}
