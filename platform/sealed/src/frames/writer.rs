//! The appending side.

use std::{ops::Range, sync::Arc};

use bixi_platform::io::File;

use super::{
    End, FRAME_OVERHEAD_BYTES, FRAME_PLAINTEXT_BYTES_MAX, HEAD_BYTES, Head,
    reader::{Reader, Start},
};
use crate::{
    KeyRing, Layout, Purpose, Result, SealedError,
    aead::{TAG_BYTES, Tag},
    header::Header,
    segment::{SEGMENT_BYTES, Segment, fresh_prologue},
};

/// Written again at once.
const REWRITE_BYTES: usize = 1 << 20;

/// How much one segment's key may seal before the writer starts the next segment.
///
/// The defaults stay inside SP 800-38D's bounds: fewer than 2^32 invocations, and 2^36 bytes (2^32 blocks), which leaves
/// a distinguishing advantage of about 2^-64.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Frames under one key.
    pub frames_max: u32,
    /// Bytes under one key.
    pub bytes_max: u64,
}

impl Default for Limits {
    fn default() -> Self {
        Self { frames_max: u32::MAX - 1, bytes_max: 1 << 36 }
    }
}

/// A log open for appending. One writer for each file: the caller holds whatever lock makes that so.
///
/// Dropping it loses what was appended and not flushed.
pub struct Writer {
    file: Arc<dyn File>,
    ring: KeyRing,
    header: Header,
    limits: Limits,
    segment: Segment,
    /// Counter of the next frame in this segment.
    counter: u32,
    segment_bytes: u64,
    /// Tag of the last frame or segment: what a new segment chains to.
    last_tag: Tag,
    /// Length of the file as far as written.
    end: u64,
    synced_through: u64,
    plaintext_len: u64,
    /// Room for a frame's head, then the pending plaintext.
    pending: Vec<u8>,
    /// Room past the end was asked for.
    reserved: bool,
    poisoned: bool,
}

/// A log reopened for appending.
pub struct Reopened {
    /// Continues after the last authentic frame, in a new segment.
    pub writer: Writer,
    /// Whether a torn tail was dropped.
    pub end: End,
}

impl Writer {
    /// Starts a log in an empty file, and makes its header durable.
    ///
    /// # Errors
    /// [`SealedError::NotEmpty`], or the system's error.
    pub fn create(file: impl Into<Arc<dyn File>>, ring: &KeyRing, purpose: Purpose) -> Result<Self> {
        Self::create_limited(file, ring, purpose, Limits::default())
    }

    /// [`Writer::create`] with other limits for each key.
    ///
    /// # Errors
    /// As [`Writer::create`].
    pub fn create_limited(
        file: impl Into<Arc<dyn File>>,
        ring: &KeyRing,
        purpose: Purpose,
        limits: Limits,
    ) -> Result<Self> {
        let file = file.into();
        let bytes = file.len().map_err(SealedError::io("measure"))?;
        if bytes != 0 {
            return Err(SealedError::NotEmpty { bytes });
        }
        let header = Header::fresh(ring, Layout::Frames, purpose, 0)?;
        let (segment, prologue) = fresh_prologue(ring, &header)?;
        file.write_and_sync(0, &prologue).map_err(SealedError::io("write the header of"))?;
        let end = prologue.len() as u64;
        let start = Start { end, synced_through: end, last_tag: segment.tag, plaintext_len: 0 };
        Ok(Self::at(file, ring, header, limits, segment, start))
    }

    /// Reopens a log: verifies all of it, drops a torn tail, makes the rest durable, and continues in a new segment.
    ///
    /// # Errors
    /// What [`Reader`] reports, or the system's error. The file is changed only after all of it was verified.
    pub fn open_append(file: impl Into<Arc<dyn File>>, ring: &KeyRing, purpose: Purpose) -> Result<Reopened> {
        Self::replay_append(file, ring, purpose, |_| {})
    }

    /// [`Writer::open_append`], handing each frame's plaintext to `visit` on the way.
    ///
    /// # Errors
    /// As [`Writer::open_append`].
    pub fn replay_append(
        file: impl Into<Arc<dyn File>>,
        ring: &KeyRing,
        purpose: Purpose,
        mut visit: impl FnMut(&[u8]),
    ) -> Result<Reopened> {
        let file = file.into();
        let mut reader = Reader::open(file.clone(), ring, purpose)?;
        while let Some(frame) = reader.next_frame()? {
            visit(frame);
        }
        let end = reader.end();
        let Some((header, start)) = reader.into_start() else {
            return Ok(Reopened { writer: Self::restart(file, ring, purpose)?, end });
        };
        if file.len().map_err(SealedError::io("measure"))? > start.end {
            file.truncate(start.end).map_err(SealedError::io("drop the torn tail of"))?;
        }
        write_again(&*file, start.synced_through..start.end)?;
        file.sync_all().map_err(SealedError::io("sync"))?;
        let (segment, bytes) = Segment::fresh(ring, &header, start.end, start.last_tag, ring.current_epoch())?;
        file.write_and_sync(start.end, &bytes).map_err(SealedError::io("start a segment in"))?;
        let after = start.end + SEGMENT_BYTES as u64;
        let start = Start { end: after, synced_through: after, last_tag: segment.tag, ..start };
        Ok(Reopened { writer: Self::at(file, ring, header, Limits::default(), segment, start), end })
    }

    /// Starts over a file whose creation was cut off before anything was acknowledged.
    fn restart(file: Arc<dyn File>, ring: &KeyRing, purpose: Purpose) -> Result<Self> {
        file.truncate(0).map_err(SealedError::io("restart"))?;
        Self::create(file, ring, purpose)
    }

    fn at(file: Arc<dyn File>, ring: &KeyRing, header: Header, limits: Limits, segment: Segment, start: Start) -> Self {
        Self {
            file,
            ring: ring.clone(),
            header,
            limits,
            segment,
            counter: 1,
            segment_bytes: 0,
            last_tag: start.last_tag,
            end: start.end,
            synced_through: start.synced_through,
            plaintext_len: start.plaintext_len,
            pending: vec![0; HEAD_BYTES],
            reserved: false,
            poisoned: false,
        }
    }

    /// Takes `data` into the pending frame. Nothing is written before a flush, unless the frame is full.
    ///
    /// A record that must come back whole after a crash is appended and flushed alone, and is at most
    /// [`FRAME_PLAINTEXT_BYTES_MAX`] long; longer data is split over frames.
    ///
    /// # Errors
    /// As [`Writer::flush`], when the frame is full.
    pub fn append(&mut self, mut data: &[u8]) -> Result<()> {
        self.check_usable()?;
        if self.pending_bytes() > 0 && self.pending_bytes() + data.len() > FRAME_PLAINTEXT_BYTES_MAX {
            self.flush()?;
        }
        while data.len() > FRAME_PLAINTEXT_BYTES_MAX {
            let (chunk, rest) = data.split_at(FRAME_PLAINTEXT_BYTES_MAX);
            self.pending.extend_from_slice(chunk);
            self.flush()?;
            data = rest;
        }
        self.pending.extend_from_slice(data);
        Ok(())
    }

    /// Seals what is pending as one frame and writes it. It then survives the end of the process.
    ///
    /// # Errors
    /// The system's error; the writer is then poisoned.
    pub fn flush(&mut self) -> Result<()> {
        if self.pending_bytes() == 0 {
            return self.check_usable();
        }
        self.write_frame(false)
    }

    /// Flushes and makes everything durable: it then survives the loss of power.
    ///
    /// # Errors
    /// The system's error; the writer is then poisoned.
    pub fn sync(&mut self) -> Result<()> {
        if self.pending_bytes() > 0 {
            return self.write_frame(true);
        }
        self.check_usable()?;
        self.sync_written()
    }

    /// Syncs, then writes an empty frame whose mark covers everything. The mark itself is not durable: losing it loses nothing, and
    /// while it is there, damage to the last frame that was synced is tampering and not a torn tail.
    ///
    /// # Errors
    /// As [`Writer::sync`].
    pub fn sync_with_mark(&mut self) -> Result<()> {
        self.sync()?;
        self.mark()
    }

    /// Flushes, and writes a frame whose mark covers what is known to be durable. The frame need not be durable itself.
    ///
    /// # Errors
    /// As [`Writer::flush`].
    pub fn mark(&mut self) -> Result<()> {
        self.write_frame(false)
    }

    /// Takes note that the file is durable to `through`, because its owner synced it through a handle of its own: so a sync
    /// need not keep others from appending. `through` is a [`Writer::file_len`] from before that sync began.
    ///
    /// # Panics
    /// If nothing was written there yet.
    pub fn note_synced(&mut self, through: u64) {
        assert!(through <= self.end, "nothing is durable beyond what was written");
        self.synced_through = self.synced_through.max(through);
    }

    /// Has the system keep room for `bytes` more, so that a sync need not find it first. The length of the file stays: what is past its
    /// end is read by nobody. [`Writer::close`] gives back what was not used.
    ///
    /// # Errors
    /// The system's; the writer goes on without.
    pub fn reserve(&mut self, bytes: u64) -> Result<()> {
        self.check_usable()?;
        let bytes = bytes + (self.pending.len() + TAG_BYTES) as u64;
        self.file.allocate(self.end, bytes).map_err(SealedError::io("reserve room for"))?;
        self.reserved = true;
        Ok(())
    }

    /// Syncs, then writes an empty frame whose mark covers everything, so that later damage anywhere is tampering.
    ///
    /// # Errors
    /// As [`Writer::sync`].
    pub fn close(mut self) -> Result<()> {
        self.sync()?;
        self.write_frame(true)?;
        if self.reserved {
            self.file.truncate(self.end).map_err(SealedError::io("give back the reserved room of"))?;
        }
        Ok(())
    }

    /// Bytes appended in the file's whole life, pending ones included.
    pub fn plaintext_len(&self) -> u64 {
        self.plaintext_len + self.pending_bytes() as u64
    }

    /// Length of the file as far as written.
    pub fn file_len(&self) -> u64 {
        self.end
    }

    /// The epoch that the file's header names: the oldest of its segments.
    pub fn file_epoch(&self) -> u32 {
        self.header.epoch
    }

    /// Epoch of the segment being written.
    pub fn epoch(&self) -> u32 {
        self.segment.epoch
    }

    fn pending_bytes(&self) -> usize {
        self.pending.len() - HEAD_BYTES
    }

    fn check_usable(&self) -> Result<()> {
        if self.poisoned { Err(SealedError::Poisoned) } else { Ok(()) }
    }

    fn write_frame(&mut self, and_sync: bool) -> Result<()> {
        self.check_usable()?;
        self.roll_segment()?;
        self.poisoned = true;
        let head = self.seal_pending()?;
        let written = if and_sync {
            self.file.write_and_sync(self.end, &self.pending)
        } else {
            self.file.write_at(self.end, &self.pending)
        };
        written.map_err(SealedError::io("append to"))?;
        self.end += self.pending.len() as u64;
        self.plaintext_len += u64::from(head.length);
        if and_sync {
            self.synced_through = self.end;
        }
        self.pending.truncate(HEAD_BYTES);
        self.poisoned = false;
        Ok(())
    }

    /// Turns the pending plaintext into a frame, in place, and burns its counter.
    fn seal_pending(&mut self) -> Result<Head> {
        let head = Head {
            length: u32::try_from(self.pending_bytes()).expect("a frame's bound is below 4 GiB"),
            counter: self.counter,
            synced_through: self.synced_through,
        };
        self.counter += 1;
        self.segment_bytes += u64::from(head.length) + FRAME_OVERHEAD_BYTES as u64;
        let (front, body) = self.pending.split_at_mut(HEAD_BYTES);
        front.copy_from_slice(&head.encode());
        self.last_tag = self.segment.seal(u64::from(head.counter), &head.associated(self.end), body)?;
        self.pending.extend_from_slice(&self.last_tag);
        Ok(head)
    }

    fn sync_written(&mut self) -> Result<()> {
        if self.synced_through == self.end {
            return Ok(());
        }
        self.poisoned = true;
        self.file.sync_data().map_err(SealedError::io("sync"))?;
        self.synced_through = self.end;
        self.poisoned = false;
        Ok(())
    }

    /// Starts a segment when the ring has rotated or the key has sealed enough. What precedes it is durable first, so an
    /// authentic segment proves that everything below it was.
    fn roll_segment(&mut self) -> Result<()> {
        let epoch = self.ring.current_epoch();
        let bytes_after = self.segment_bytes + self.pending_bytes() as u64 + FRAME_OVERHEAD_BYTES as u64;
        let used_up = self.counter > self.limits.frames_max || bytes_after > self.limits.bytes_max;
        if epoch == self.segment.epoch && !(used_up && self.counter > 1) {
            return Ok(());
        }
        self.sync_written()?;
        let (segment, bytes) = Segment::fresh(&self.ring, &self.header, self.end, self.last_tag, epoch)?;
        self.poisoned = true;
        self.file.write_and_sync(self.end, &bytes).map_err(SealedError::io("start a segment in"))?;
        self.end += SEGMENT_BYTES as u64;
        self.synced_through = self.end;
        self.last_tag = segment.tag;
        self.segment = segment;
        self.counter = 1;
        self.segment_bytes = 0;
        self.poisoned = false;
        Ok(())
    }
}

/// Writes the bytes of `range` over themselves. A sync that failed in an earlier life leaves its data readable but clean: no
/// later sync would write it, and the frames after it would say that it was durable. Equal bytes cannot be torn.
fn write_again(file: &dyn File, range: Range<u64>) -> Result<()> {
    let mut bytes = vec![0; REWRITE_BYTES.min((range.end - range.start) as usize)];
    let mut offset = range.start;
    while offset < range.end {
        let count = bytes.len().min((range.end - offset) as usize);
        let chunk = &mut bytes[..count];
        file.read_exact_at(offset, chunk).map_err(SealedError::io("read"))?;
        file.write_at(offset, chunk).map_err(SealedError::io("write again"))?;
        offset += count as u64;
    }
    Ok(())
}
