//! One HTTP request while its calls are answered: who asks, what its answers may still weigh, whose turn it is.

use std::sync::Arc;

use parking_lot::Mutex;
use serde_json::value::RawValue;
use tokio::sync::Semaphore;

use crate::api::ConnectionId;
use crate::budget::Account;
use crate::error::ApiError;
use crate::limits::{Cost, Turns};

/// Shared by the calls of one request.
pub(crate) struct Request {
    pub(crate) connection: ConnectionId,
    turns: Arc<Turns>,
    own_turn: Semaphore,
    answers: Mutex<Account>,
    answer_bytes_max: usize,
}

impl Request {
    pub(crate) fn new(connection: ConnectionId, turns: Arc<Turns>, answers: Account, answer_bytes_max: usize) -> Self {
        Self { connection, turns, own_turn: Semaphore::new(1), answers: Mutex::new(answers), answer_bytes_max }
    }

    /// Runs a read on a blocking thread, encodes what it gives there, and charges the request for it.
    pub(crate) async fn read(
        &self,
        cost: Cost,
        read: impl FnOnce() -> Result<serde_json::Value, ApiError> + Send + 'static,
    ) -> Result<Box<RawValue>, ApiError> {
        let answer = self.turns.run(cost, &self.own_turn, move || encode(&read()?)).await??;
        self.charge(&answer)?;
        Ok(answer)
    }

    /// Charges the request for an answer; a batch pays for all of its answers together.
    pub(crate) fn charge(&self, answer: &RawValue) -> Result<(), ApiError> {
        let bytes = answer.get().len();
        let mut answers = self.answers.lock();
        if answers.held_bytes().saturating_add(bytes) > self.answer_bytes_max {
            let limit = self.answer_bytes_max;
            return Err(ApiError::TooLarge(format!(
                "this answer of {bytes} bytes would make the response longer than {limit}; ask for less at once"
            )));
        }
        if !answers.hold(bytes) {
            return Err(ApiError::Busy(format!(
                "no room for an answer of {bytes} bytes while others are being sent; ask again later"
            )));
        }
        Ok(())
    }

    /// What the answers hold, for as long as the response is on its way.
    pub(crate) fn into_account(self) -> Account {
        self.answers.into_inner()
    }
}

/// The text of an answer.
pub(crate) fn encode(value: &serde_json::Value) -> Result<Box<RawValue>, ApiError> {
    serde_json::value::to_raw_value(value)
        .map_err(|error| ApiError::Internal(format!("cannot encode the answer: {error}")))
}
