//! The state: one thread reads its rows, the others sum them up.

use std::ops::ControlFlow;
use std::sync::Arc;

use bixi_ledger::verification::{Rows, Subject};
use crossbeam_channel::{Receiver, Sender, bounded};
use parking_lot::Mutex;

use super::report::{Finding, Part};
use super::{Ground, Report, Stage, Tell, side_by_side};
use crate::launch::Failure;

/// Pieces that were read and not yet summed up, for each thread.
const PIECES: usize = 2;

enum Message {
    Summed(u64),
    Sum(Vec<u8>),
    Unreadable(String),
}

struct Work {
    subject: Arc<Subject>,
    /// Taken by the one that reads, so that it ends when that one does.
    read: Mutex<Option<Sender<Rows>>>,
    rows: Receiver<Rows>,
}

impl Work {
    fn run(&self, number: usize, told: &Sender<Message>) {
        match number {
            0 => self.read(told),
            _ => self.sum(told),
        }
    }

    fn read(&self, told: &Sender<Message>) {
        let Some(read) = self.read.lock().take() else { return };
        let send = |rows| if read.send(rows).is_ok() { ControlFlow::Continue(()) } else { ControlFlow::Break(()) };
        if let Err(error) = self.subject.rows(&mut { send }) {
            let _ = told.send(Message::Unreadable(error.to_string()));
        }
    }

    fn sum(&self, told: &Sender<Message>) {
        let mut sum = self.subject.empty_sum();
        for rows in self.rows.iter() {
            sum = self.subject.gather(&sum, &rows);
            let _ = told.send(Message::Summed(rows.count() as u64));
        }
        let _ = told.send(Message::Sum(sum));
    }
}

impl Ground {
    pub(super) fn check_state(
        &self,
        subject: &Arc<Subject>,
        threads: usize,
        report: &mut Report,
        tell: Tell<'_>,
    ) -> Result<(), Failure> {
        let (read, rows) = bounded(PIECES * threads);
        let work = Work { subject: Arc::clone(subject), read: Mutex::new(Some(read)), rows };
        let (mut count, mut sum, mut told) = (0, subject.empty_sum(), Vec::new());
        tell(Stage::State, 0, None);
        side_by_side(
            &self.spawner,
            threads + 1,
            move |number, told| work.run(number, told),
            |message| match message {
                Message::Summed(rows) => {
                    count += rows;
                    tell(Stage::State, count, None);
                }
                Message::Sum(part) => sum = subject.join(&sum, &part),
                Message::Unreadable(error) => told.push(error),
            },
        )?;
        if told.is_empty()
            && let Err(error) = subject.state(&sum, &mut |what| told.push(what))
        {
            told.push(error.to_string());
        }
        let find = |what| report.find(Finding::of_ledger(Part::State, "state".into(), what));
        told.into_iter().for_each(find);
        Ok(())
    }
}
