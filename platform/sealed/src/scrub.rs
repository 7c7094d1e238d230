//! Reading a whole file for what is damaged in it: every page, every frame, and not the first bad one only.
//!
//! Nothing that is read here is data for anybody: behind a damaged frame the reading goes on at the next authentic one, which is what a
//! reader of a log must never do.

use std::fmt;
use std::ops::ControlFlow;
use std::sync::Arc;

use bixi_platform::io::File;

use crate::frames::{self, End};
use crate::reseal::Pace;
use crate::{KeyRing, Layout, Purpose, SealedError, pages, small};

/// Places told of one file; more are counted.
pub const PLACES_MAX: usize = 256;

/// A part of a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    /// All of it: its name, its kind.
    File,
    /// Header and first segment, without which nothing can be opened.
    Header,
    /// A frame or a later segment of a log.
    Frame,
    /// A page of a table, by its number.
    Page(u64),
    /// The body of a small file.
    Body,
}

impl fmt::Display for Place {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File => write!(out, "file"),
            Self::Header => write!(out, "header"),
            Self::Frame => write!(out, "frame"),
            Self::Page(index) => write!(out, "page {index}"),
            Self::Body => write!(out, "body"),
        }
    }
}

/// One damaged part.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Damage {
    /// Which.
    pub place: Place,
    /// Where it begins in the sealed file.
    pub offset: u64,
    /// What is wrong with it.
    pub reason: String,
}

/// What a file is like.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Scrubbed {
    /// Length of the sealed file.
    pub bytes: u64,
    /// Damaged parts in the order of the file, at most [`PLACES_MAX`].
    pub damage: Vec<Damage>,
    /// How many there are.
    pub damaged: u64,
    /// Offset and length of an end that was never known to be durable: what a crash leaves, and no damage.
    pub torn: Option<(u64, u64)>,
    /// Plaintext of a log's first frame.
    pub first_frame: Option<Vec<u8>>,
    /// Whether a log ends in a mark over everything before it, as one that was closed does.
    pub ends_in_mark: bool,
    /// Whether it was not read to its end because nobody wanted to know more.
    pub is_cut_short: bool,
    /// Whether it was damaged as a file is that was never finished: empty, or without its last page.
    pub is_unfinished: bool,
}

impl Scrubbed {
    /// Whether everything in it authenticates.
    pub fn is_whole(&self) -> bool {
        self.damaged == 0
    }

    /// Adds a damaged part.
    pub fn tell(&mut self, place: Place, offset: u64, reason: impl fmt::Display) {
        self.damaged += 1;
        if self.damage.len() < PLACES_MAX {
            self.damage.push(Damage { place, offset, reason: reason.to_string() });
        }
    }

    pub(crate) fn tell_error(&mut self, place: Place, offset: u64, error: &SealedError) {
        self.is_unfinished |= matches!(error.cause(), SealedError::Incomplete { .. });
        match error.cause() {
            // Offset and place are told beside it, and advice by whoever knows the file.
            SealedError::Tampered { offset, what } => self.tell(place, *offset, what),
            other => self.tell(place, offset, other),
        }
    }
}

/// Reads all of `file`, which is to have this layout and purpose, at the pace of `pace`.
pub fn scrub(
    file: impl Into<Arc<dyn File>>,
    ring: &KeyRing,
    layout: Layout,
    purpose: Purpose,
    pace: Pace<'_>,
) -> Scrubbed {
    let (file, mut found) = (file.into(), Scrubbed::default());
    match file.len() {
        Ok(bytes) => found.bytes = bytes,
        Err(error) => {
            found.tell(Place::File, 0, error);
            return found;
        }
    }
    match layout {
        Layout::Frames => scrub_log(file, ring, purpose, &mut found, pace),
        Layout::Pages => pages::scrub(file, ring, purpose, &mut found, pace),
        Layout::Small => {
            if let Err(error) = small::read_open(&*file, ring, purpose) {
                let place = match error {
                    SealedError::Tampered { .. } | SealedError::Incomplete { .. } => Place::Body,
                    _ => Place::Header,
                };
                found.tell_error(place, 0, &error);
            }
            found.is_cut_short = pace(found.bytes).is_break();
        }
    }
    found
}

fn scrub_log(file: Arc<dyn File>, ring: &KeyRing, purpose: Purpose, found: &mut Scrubbed, pace: Pace<'_>) {
    let mut reader = match frames::Reader::open(file, ring, purpose) {
        Ok(reader) => reader,
        Err(error) => return found.tell_error(Place::Header, 0, &error),
    };
    let mut told = 0;
    loop {
        let error = match reader.next_frame() {
            Ok(Some(frame)) => {
                if found.first_frame.is_none() && found.is_whole() {
                    found.first_frame = Some(frame.to_vec());
                }
                None
            }
            Ok(None) => {
                found.ends_in_mark = reader.ends_in_mark();
                if let End::TornTail { offset, dropped } = reader.end() {
                    found.torn = Some((offset, dropped));
                }
                break;
            }
            Err(error) => Some(error),
        };
        if let Some(error) = error {
            found.tell_error(Place::Frame, reader.position(), &error);
            // A gap is crossed only where the bytes were read and refused: a flipped bit may name an epoch that is nowhere.
            let was_read = matches!(error, SealedError::Tampered { .. } | SealedError::MissingEpoch { .. });
            let crossed = was_read.then(|| reader.skip_damage());
            match crossed {
                Some(Ok(true)) => {}
                Some(Ok(false)) => break,
                other => {
                    if let Some(Err(error)) = other {
                        found.tell_error(Place::Frame, reader.position(), &error);
                    }
                    let unread = "nothing from here on was read: whether it is sound is not known";
                    found.tell(Place::Frame, reader.position(), unread);
                    break;
                }
            }
        }
        let position = reader.position();
        if pace(position.saturating_sub(told)) == ControlFlow::Break(()) {
            found.is_cut_short = true;
            break;
        }
        told = position;
    }
}

#[cfg(test)]
mod tests;
