//! The thread that writes the ordering log: appends in order, one fsync for all who wait.

use bixi_consensus::Input;
use bixi_sealed::SealedError;
use bixi_sealed::reseal::Copied;
use bixi_types::H256;
use crossbeam_channel::{Receiver, Sender};

use crate::event::{Event, Fault};
use crate::ordering_log::{LogError, OrderingLog, Record};

/// What the thread is told.
pub(crate) enum Command {
    Append(Record),
    /// Make everything before durable, then give the answer.
    Flush(Answer),
    /// Records at and below the height are no longer needed.
    Forget(u64),
    /// Go on under the current epoch of the data keys, and say so.
    Renew(Sender<()>),
    /// Put a copy of a closed file into its place, and say what became of it.
    Exchange(Copied, Sender<Result<bool, SealedError>>),
}

/// What is said once the records are durable.
pub(crate) enum Answer {
    Flushed(u64),
    BatchesDurable(H256),
}

/// Runs until every sender is gone.
pub(crate) fn run(mut log: OrderingLog, commands: &Receiver<Command>, events: &Sender<Event>) {
    while let Ok(first) = commands.recv() {
        let mut owed = Vec::new();
        let outcome = std::iter::once(first)
            .chain(commands.try_iter())
            .try_for_each(|command| perform(&mut log, command, &mut owed))
            .and_then(|()| if owed.is_empty() { Ok(()) } else { log.sync() });
        if let Err(error) = outcome {
            let fault = Fault::Durability { what: "the ordering log", detail: error.to_string() };
            let _ = events.send(Event::Fault(fault));
            return;
        }
        for answer in owed {
            let input = match answer {
                Answer::Flushed(id) => Input::LogFlushed { id },
                Answer::BatchesDurable(value) => Input::BatchesDurable { value },
            };
            let _ = events.send(Event::Input(Box::new(input)));
        }
    }
    if let Err(error) = log.sync() {
        tracing::error!(%error, "the ordering log could not be closed");
    }
}

fn perform(log: &mut OrderingLog, command: Command, owed: &mut Vec<Answer>) -> Result<(), LogError> {
    match command {
        Command::Append(record) => log.append(&record),
        Command::Flush(answer) => {
            owed.push(answer);
            Ok(())
        }
        Command::Forget(height) => log.forget(height),
        Command::Renew(told) => {
            // What is owed is in the file that ends.
            log.sync()?;
            log.renew()?;
            let _ = told.send(());
            Ok(())
        }
        Command::Exchange(copied, told) => {
            let _ = told.send(log.exchange(copied));
            Ok(())
        }
    }
}
