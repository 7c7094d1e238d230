//! One line per effect, for the trace of a failing seed.

use bixi_types::ports::{Destination, Statement};

use crate::Effect;
use crate::log::LogEntry;
use crate::message::{Mark, Message};

/// What a node does.
pub(super) fn describe(effect: &Effect) -> String {
    match effect {
        Effect::Append(entry) => format!("append {} h{}", entry_name(entry), entry.height()),
        Effect::Send { to, message } => match to {
            Destination::Broadcast => format!("says {}", describe_message(message)),
            Destination::Node(id) => format!("tells {} {}", id.0[0] - 1, describe_message(message)),
        },
        Effect::Sign { id, statement } => match statement {
            Statement::Vote(vote) => format!("sign #{id} {:?} {:?}", Mark::of_vote(vote), vote.value),
            Statement::Proposal(proposal) => format!("sign #{id} proposal {} {}", proposal.round, proposal.value),
            Statement::Checkpoint(header) => format!("sign #{id} checkpoint {}", header.number),
        },
        Effect::Decide { height, value, .. } => format!("DECIDE {height} built by {}", value.builder),
        Effect::CheckpointCertified { height, .. } => format!("CERTIFIED {height}"),
        other => format!("{other:?}").chars().take(160).collect(),
    }
}

fn entry_name(entry: &LogEntry) -> String {
    match entry {
        LogEntry::Vote(signed) => {
            format!("vote {:?} of {}", Mark::of_vote(&signed.vote), signed.vote.validator.0[0] - 1)
        }
        LogEntry::Proposal(signed) => format!("proposal r{}", signed.proposal.round),
        LogEntry::Verdict(verdict) => format!("verdict {}", verdict.valid),
        LogEntry::Timeout { round, kind, .. } => format!("timeout {kind:?} r{round}"),
        LogEntry::Polka(_) => "polka".to_owned(),
        LogEntry::Decided { .. } => "decided".to_owned(),
        LogEntry::Checkpoint(_) => "checkpoint".to_owned(),
    }
}

/// What a node says.
pub(super) fn describe_message(message: &Message) -> String {
    match message {
        Message::Vote(signed) => {
            let value = signed.vote.value.map_or("nil".to_owned(), |id| id.to_hex()[..8].to_owned());
            format!("{:?} {value}", Mark::of_vote(&signed.vote))
        }
        Message::Proposal(signed) => {
            let proposal = &signed.proposal;
            format!("proposal h{} r{} {}", proposal.height, proposal.round, &proposal.value.to_hex()[..8])
        }
        other => format!("{other:?}").chars().take(60).collect(),
    }
}
