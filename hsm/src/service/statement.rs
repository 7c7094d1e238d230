//! From a request to the exact bytes that are signed, and the refusals on the way.

use bixi_sealed::AtRest;
use bixi_types::consensus::VoteKind;
use bixi_types::header::BlockHeader;
use bixi_types::ports::Statement;
use bixi_types::{CryptoSuite, H256, NodeId};

use crate::guard::{Position, Step};
use crate::protocol::{Refusal, Request};

/// The request that carries a statement.
pub(super) fn request(statement: &Statement) -> Request {
    match statement {
        Statement::Proposal(proposal) => Request::SignProposal(proposal.clone()),
        Statement::Vote(vote) => Request::SignVote(vote.clone()),
        Statement::Checkpoint(header) => Request::SignCheckpoint { header: header.encode() },
    }
}

/// What the audit trail calls the subject of a request.
pub(super) fn subject(request: &Request) -> String {
    match request {
        Request::SignProposal(proposal) => format!("height {} round {}", proposal.height, proposal.round),
        Request::SignVote(vote) => format!("height {} round {} {:?}", vote.height, vote.round, vote.kind),
        Request::SignCheckpoint { header } => match BlockHeader::decode(header) {
            Ok(header) => format!("header {}", header.number),
            Err(_) => format!("no header, {} bytes", header.len()),
        },
        Request::SignSession(proof) => format!("{:?}, protocol version {}", proof.role, proof.protocol_version),
        Request::SignTls(transcript) => format!("{:?}", transcript.role),
        Request::Attest(role) | Request::PublicKey(role) => format!("{role:?}"),
        Request::Random { len } => format!("{len} bytes"),
        Request::SignCertificateRequest { info } => format!("{} bytes", info.len()),
        Request::Settle => "the node stops".to_owned(),
        Request::TellDue => "a minute has passed".to_owned(),
        Request::RotateDataKey { after } => epoch_after(*after, None),
        Request::RotateDataKeyTo { after, suite } => epoch_after(*after, Some(*suite)),
        Request::ResealTrail => "an older file of the audit log under the current data key epoch".to_owned(),
        Request::DropDataKeys { below } => format!("data key epochs below {below}, which no file needs"),
        Request::Prf { .. } | Request::Health | Request::Marks | Request::Counter => String::new(),
    }
}

/// The epoch of the data keys that follows `after`, and the cipher that begins with it where one is asked for.
pub(super) fn epoch_after(after: u32, suite: Option<AtRest>) -> String {
    let cipher = suite.map_or(String::new(), |suite| format!(" with {}", suite.name()));
    format!("data key epoch {}{cipher}", after.saturating_add(1))
}

/// Decodes the header of a checkpoint request.
pub(super) fn decode_checkpoint(header: &[u8]) -> Result<Statement, Refusal> {
    let header = BlockHeader::decode(header).map_err(|error| Refusal::Malformed(format!("block header: {error}")))?;
    Ok(Statement::Checkpoint(Box::new(header)))
}

/// The statement's place in its guard lane and the message to sign, if it is ours to sign.
pub(super) fn check(
    statement: &Statement,
    chain: &H256,
    node: &NodeId,
    suite: CryptoSuite,
) -> Result<(Position, Vec<u8>), Refusal> {
    match statement {
        Statement::Proposal(proposal) => {
            check_origin(&proposal.chain, &proposal.validator, chain, node)?;
            let position = ordering(proposal.height, proposal.round, Step::Proposal);
            Ok((position, proposal.sign_bytes()))
        }
        Statement::Vote(vote) => {
            check_origin(&vote.chain, &vote.validator, chain, node)?;
            let step = match vote.kind {
                VoteKind::Prevote => Step::Prevote,
                VoteKind::Precommit => Step::Precommit,
            };
            Ok((ordering(vote.height, vote.round, step), vote.sign_bytes()))
        }
        Statement::Checkpoint(header) => {
            let height = checkpoint_height(header, node)?;
            Ok((Position::Checkpoint { height }, header.hash(suite).0.to_vec()))
        }
    }
}

fn ordering(height: u64, round: u32, step: Step) -> Position {
    Position::Ordering { height, round, step }
}

pub(super) fn check_origin(of_chain: &H256, of_node: &NodeId, chain: &H256, node: &NodeId) -> Result<(), Refusal> {
    if of_chain != chain {
        return Err(Refusal::Foreign(format!("it is of chain {of_chain}, this node signs for {chain}")));
    }
    if of_node != node {
        return Err(Refusal::Foreign(format!("it names validator {of_node}, this key is {node}")));
    }
    Ok(())
}

/// A header carries no chain id: what binds it is the parent's hash, down to genesis. It must list this validator.
fn checkpoint_height(header: &BlockHeader, node: &NodeId) -> Result<u64, Refusal> {
    if !header.sealer_list.contains(node) {
        return Err(Refusal::Foreign(format!("header {} does not list this validator", header.number)));
    }
    match u64::try_from(header.number) {
        Ok(height) if height > 0 => Ok(height),
        _ => Err(Refusal::Foreign(format!("header number {} cannot be certified", header.number))),
    }
}
