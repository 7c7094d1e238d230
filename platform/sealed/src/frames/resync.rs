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
    let mut search = Search { file, ring, file_len, opened, candidates: 0, bytes: 0, scratch: Vec::new() };
    let mut window = vec![0; WINDOW_BYTES + SEGMENT_BYTES];
    let mut start = opened.offset + 1;
    while start < file_len {
        let got = file.read_at(start, &mut window).map_err(SealedError::io("read"))?;
        for position in 0..got.min(WINDOW_BYTES) {
            search.look_at(start + position as u64, &window[position..got])?;
        }
        start += WINDOW_BYTES as u64;
    }
    Ok(())
}

/// Whether a segment's head stands at the bad offset, whole or with a damaged magic, and something follows it. A head is
/// durable before anything follows it, so a crash tears it only where it ends the file.
fn segment_was_edited(file: &dyn File, ring: &KeyRing, file_len: u64, opened: &Opened) -> Result<bool> {
    if file_len - opened.offset <= SEGMENT_BYTES as u64 {
        return Ok(false);
    }
    let mut bytes = [0; SEGMENT_BYTES];
    file.read_exact_at(opened.offset, &mut bytes).map_err(SealedError::io("read"))?;
    Ok(bytes[..4] == SEGMENT_MAGIC || authentic_segment(ring, opened, opened.offset, &bytes)?)
}

fn authentic_segment(ring: &KeyRing, opened: &Opened, offset: u64, bytes: &[u8; SEGMENT_BYTES]) -> Result<bool> {
    match Segment::open(ring, &opened.header, offset, bytes) {
        Ok(segment) => Ok(segment.is_some()),
        // Random bytes name random epochs.
        Err(SealedError::MissingEpoch { .. }) => Ok(false),
        Err(error) => Err(error),
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

impl Search<'_> {
    fn look_at(&mut self, offset: u64, bytes: &[u8]) -> Result<()> {
        if let Some(segment) = bytes.first_chunk::<SEGMENT_BYTES>()
            && segment[..4] == SEGMENT_MAGIC
        {
            self.charge(0)?;
            if authentic_segment(self.ring, self.opened, offset, segment)? {
                return Err(self.tampered(LATER_SEGMENT));
            }
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
        let ahead_max = (offset - self.opened.offset) / FRAME_OVERHEAD_BYTES as u64 + 1;
        let ahead = u64::from(head.counter).checked_sub(u64::from(self.opened.counter));
        if ahead.is_some_and(|ahead| (1..=ahead_max).contains(&ahead)) {
            self.charge(u64::from(head.length))?;
            if open_frame_at(self.file, &self.opened.segment, offset, head, &mut self.scratch)?.is_some() {
                return Err(self.tampered(LATER_FRAME));
            }
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
