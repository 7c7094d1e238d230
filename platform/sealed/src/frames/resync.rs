//! After a bad frame: was it durable?
//!
//! Everything after the bad offset is searched for an authentic frame whose synced-through mark lies above it, or an
//! authentic segment (made only after everything below it was durable). Either proves that the bad bytes were durable
//! once, so no crash can have torn them. Authentic frames without such a mark prove nothing: a disk may persist unsynced
//! writes in any order.
//!
//! When the bad bytes are a segment's head, the frames after it have lost their key. Their heads are in clear: frames that
//! follow each other to the end of the file, with marks above the damage, are refused unopened.
//!
//! An honest torn tail costs a scan and no cryptography: random bytes hold a plausible mark about once in 2^40 positions.
//! The work on a crafted tail is bounded; beyond the bound the file is refused.

use bixi_platform::io::File;

use super::{
    FRAME_OVERHEAD_BYTES, HEAD_BYTES, Head,
    reader::{Opened, open_frame_at},
};
use crate::{
    KeyRing, Result, SealedError,
    segment::{SEGMENT_BYTES, SEGMENT_MAGIC, Segment},
};

const WINDOW_BYTES: usize = 1 << 20;
const CANDIDATES_MAX: u32 = 1 << 12;
const CANDIDATE_BYTES_MAX: u64 = 256 << 20;

const LATER_FRAME: &str = "a frame does not authenticate, though a later one proves it was durable";
const LATER_SEGMENT: &str = "a frame does not authenticate, though a later segment proves it was durable";
const SEGMENT_EDITED: &str = "a segment's head does not authenticate, though it was durable before what follows it";
const LOST_SEGMENT: &str = "a segment's head is damaged, and the frames it was for stand after it";
const CRAFTED: &str = "the tail imitates frames, which no crash does";

/// Refuses the bytes at `opened.offset` if they were durable.
pub(super) fn refuse_if_durable(file: &dyn File, ring: &KeyRing, file_len: u64, opened: &Opened) -> Result<()> {
    if segment_was_edited(file, ring, file_len, opened)? {
        return Err(SealedError::Tampered { offset: opened.offset, what: SEGMENT_EDITED });
    }
    let mut search = Search::new(file, ring, file_len, opened);
    each_position(file, file_len, opened.offset + 1, |offset, bytes| search.look_at(offset, bytes).map(|()| None::<()>))
        .map(drop)
}

/// Where a log can be read on behind damage.
pub(super) enum Found {
    /// A frame of the segment that is open.
    Frame { offset: u64, counter: u32 },
    /// The beginning of another segment.
    Segment { offset: u64, segment: Segment },
}

/// The first authentic frame of the open segment, or segment, at or behind the damage, whatever it proves.
pub(super) fn next_authentic(file: &dyn File, ring: &KeyRing, file_len: u64, opened: &Opened) -> Result<Option<Found>> {
    let mut search = Search::new(file, ring, file_len, opened);
    // Refused for what stands before it, or for its magic alone.
    if let Some(bytes) = segment_bytes(file, file_len, opened.offset)?
        && let Some(segment) = open_segment(ring, opened, opened.offset, &bytes)?
    {
        return Ok(Some(Found::Segment { offset: opened.offset, segment }));
    }
    each_position(file, file_len, opened.offset + 1, |offset, bytes| search.find_at(offset, bytes))
}

/// Shows `look` every position from `start` on with what follows it, until it has found something.
fn each_position<T>(
    file: &dyn File,
    file_len: u64,
    mut start: u64,
    mut look: impl FnMut(u64, &[u8]) -> Result<Option<T>>,
) -> Result<Option<T>> {
    let mut window = vec![0; WINDOW_BYTES + SEGMENT_BYTES];
    while start < file_len {
        let got = file.read_at(start, &mut window).map_err(SealedError::io("read"))?;
        // Of a file that grows meanwhile no more than was there.
        let got = got.min(usize::try_from(file_len - start).unwrap_or(usize::MAX));
        for position in 0..got.min(WINDOW_BYTES) {
            if let Some(found) = look(start + position as u64, &window[position..got])? {
                return Ok(Some(found));
            }
        }
        start += WINDOW_BYTES as u64;
    }
    Ok(None)
}

/// Whether a segment's head stands at the bad offset, whole or with a damaged magic, and something follows it. A head is
/// durable before anything follows it, so a crash tears it only where it ends the file.
fn segment_was_edited(file: &dyn File, ring: &KeyRing, file_len: u64, opened: &Opened) -> Result<bool> {
    let Some(bytes) = segment_bytes(file, file_len, opened.offset)? else { return Ok(false) };
    Ok(bytes[..4] == SEGMENT_MAGIC || open_segment(ring, opened, opened.offset, &bytes)?.is_some())
}

/// What would be a segment's head; none where nothing follows it.
fn segment_bytes(file: &dyn File, file_len: u64, offset: u64) -> Result<Option<[u8; SEGMENT_BYTES]>> {
    if file_len - offset <= SEGMENT_BYTES as u64 {
        return Ok(None);
    }
    let mut bytes = [0; SEGMENT_BYTES];
    file.read_exact_at(offset, &mut bytes).map_err(SealedError::io("read"))?;
    Ok(Some(bytes))
}

/// The segment, if it is authentic.
fn open_segment(ring: &KeyRing, opened: &Opened, offset: u64, bytes: &[u8; SEGMENT_BYTES]) -> Result<Option<Segment>> {
    match Segment::open(ring, &opened.header, offset, bytes) {
        // Random bytes name random epochs.
        Err(SealedError::MissingEpoch { .. }) => Ok(None),
        opened => opened,
    }
}

struct Search<'a> {
    file: &'a dyn File,
    ring: &'a KeyRing,
    file_len: u64,
    opened: &'a Opened,
    candidates: u32,
    bytes: u64,
    scratch: Vec<u8>,
}

impl<'a> Search<'a> {
    fn new(file: &'a dyn File, ring: &'a KeyRing, file_len: u64, opened: &'a Opened) -> Self {
        Self { file, ring, file_len, opened, candidates: 0, bytes: 0, scratch: Vec::new() }
    }

    fn find_at(&mut self, offset: u64, bytes: &[u8]) -> Result<Option<Found>> {
        if let Some(segment) = self.segment_at(offset, bytes)? {
            return Ok(Some(Found::Segment { offset, segment }));
        }
        let Some(head) = bytes.first_chunk::<HEAD_BYTES>().map(Head::decode) else { return Ok(None) };
        let fits = head.frame_bytes().is_some_and(|bytes| bytes as u64 <= self.file_len - offset);
        let found = fits && head.synced_through <= offset && self.is_authentic(offset, head)?;
        Ok(found.then_some(Found::Frame { offset, counter: head.counter }))
    }

    fn segment_at(&mut self, offset: u64, bytes: &[u8]) -> Result<Option<Segment>> {
        match bytes.first_chunk::<SEGMENT_BYTES>() {
            Some(segment) if segment[..4] == SEGMENT_MAGIC => {
                self.charge(0)?;
                open_segment(self.ring, self.opened, offset, segment)
            }
            _ => Ok(None),
        }
    }

    /// Whether a frame of the open segment stands here; one whose counter cannot come so early is not tried.
    fn is_authentic(&mut self, offset: u64, head: Head) -> Result<bool> {
        let ahead_max = (offset - self.opened.offset) / FRAME_OVERHEAD_BYTES as u64 + 1;
        let ahead = u64::from(head.counter).checked_sub(u64::from(self.opened.counter));
        if !ahead.is_some_and(|ahead| (1..=ahead_max).contains(&ahead)) {
            return Ok(false);
        }
        self.charge(u64::from(head.length))?;
        Ok(open_frame_at(self.file, &self.opened.segment, offset, head, &mut self.scratch)?.is_some())
    }

    fn look_at(&mut self, offset: u64, bytes: &[u8]) -> Result<()> {
        if self.segment_at(offset, bytes)?.is_some() {
            return Err(self.tampered(LATER_SEGMENT));
        }
        match bytes.first_chunk::<HEAD_BYTES>() {
            Some(head) => self.look_at_frame(offset, Head::decode(head)),
            None => Ok(()),
        }
    }

    fn look_at_frame(&mut self, offset: u64, head: Head) -> Result<()> {
        let Some(frame_bytes) = head.frame_bytes() else { return Ok(()) };
        let proves = head.synced_through > self.opened.offset && head.synced_through <= offset;
        if !(proves && frame_bytes as u64 <= self.file_len - offset) {
            return Ok(());
        }
        if self.is_authentic(offset, head)? {
            return Err(self.tampered(LATER_FRAME));
        }
        if self.leads_to_the_end(offset, head)? { Err(self.tampered(LOST_SEGMENT)) } else { Ok(()) }
    }

    /// Whether frame heads follow each other, in order, from `offset` to the end of the file.
    fn leads_to_the_end(&mut self, mut offset: u64, mut head: Head) -> Result<bool> {
        while let Some(frame_bytes) = head.frame_bytes() {
            offset += frame_bytes as u64;
            if offset == self.file_len {
                return Ok(true);
            }
            if offset + HEAD_BYTES as u64 > self.file_len {
                break;
            }
            self.charge(0)?;
            let mut bytes = [0; HEAD_BYTES];
            self.file.read_exact_at(offset, &mut bytes).map_err(SealedError::io("read"))?;
            let next = Head::decode(&bytes);
            let marked = (head.synced_through..=offset).contains(&next.synced_through);
            if head.counter.checked_add(1) != Some(next.counter) || !marked {
                break;
            }
            head = next;
        }
        Ok(false)
    }

    fn charge(&mut self, bytes: u64) -> Result<()> {
        self.candidates += 1;
        self.bytes += bytes;
        if self.candidates > CANDIDATES_MAX || self.bytes > CANDIDATE_BYTES_MAX {
            return Err(self.tampered(CRAFTED));
        }
        Ok(())
    }

    fn tampered(&self, what: &'static str) -> SealedError {
        SealedError::Tampered { offset: self.opened.offset, what }
    }
}
