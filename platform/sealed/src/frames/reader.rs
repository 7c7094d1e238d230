//! The reading side.

use std::sync::Arc;

use bixi_platform::io::File;

use super::resync::{self, Found};
use super::{FRAME_OVERHEAD_BYTES, HEAD_BYTES, Head};
use crate::{
    KeyRing, Layout, Purpose, Result, SealedError,
    aead::{TAG_BYTES, Tag},
    header::{Header, MAGIC, array},
    segment::{PROLOGUE_BYTES, SEGMENT_BYTES, SEGMENT_MAGIC, Segment, open_prologue},
};

/// How a log ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// With its last frame.
    Clean,
    /// With bytes that a crash left: nothing at or above them was known to be durable.
    TornTail {
        /// Offset of the first byte that is dropped.
        offset: u64,
        /// Bytes from there to the end of the file.
        dropped: u64,
    },
}

/// Where appending continues.
#[derive(Clone, Copy)]
pub(super) struct Start {
    pub(super) end: u64,
    /// Below it everything was durable when the last frame was sealed.
    pub(super) synced_through: u64,
    pub(super) last_tag: Tag,
    pub(super) plaintext_len: u64,
}

/// Reads a log from its start, frame by frame.
///
/// The file's length is taken when it is opened, so a log that is being written reads as a prefix of it.
pub struct Reader {
    file: Arc<dyn File>,
    ring: KeyRing,
    file_len: u64,
    /// None where creation was cut off before the header was durable.
    opened: Option<Opened>,
    /// Ciphertext, then plaintext, of the frame last read.
    frame: Vec<u8>,
    end: Option<End>,
}

pub(super) struct Opened {
    pub(super) header: Header,
    pub(super) segment: Segment,
    /// Offset of the next frame or segment.
    pub(super) offset: u64,
    /// Counter of the last frame in this segment.
    pub(super) counter: u32,
    /// Whether the last frame is a mark over all that is before it.
    is_marked: bool,
    synced_through: u64,
    last_tag: Tag,
    plaintext_len: u64,
    epochs: Vec<u32>,
}

impl Reader {
    /// Opens a log and authenticates its header.
    ///
    /// # Errors
    /// [`SealedError::NotSealed`], [`SealedError::WrongPurpose`], [`SealedError::MissingEpoch`],
    /// [`SealedError::HeaderRefused`] …, or the system's error.
    pub fn open(file: impl Into<Arc<dyn File>>, ring: &KeyRing, purpose: Purpose) -> Result<Self> {
        let file = file.into();
        let file_len = file.len().map_err(SealedError::io("measure"))?;
        let mut prologue = [0; PROLOGUE_BYTES];
        let got = file.read_at(0, &mut prologue).map_err(SealedError::io("read"))?;
        let mut reader = Self { file, ring: ring.clone(), file_len, opened: None, frame: Vec::new(), end: None };
        if creation_was_cut_off(&prologue[..got], file_len)? {
            let torn = End::TornTail { offset: 0, dropped: file_len };
            reader.end = Some(if file_len == 0 { End::Clean } else { torn });
            return Ok(reader);
        }
        let (header, segment) = open_prologue(ring, &prologue)?;
        header.expect(Layout::Frames, purpose)?;
        reader.opened = Some(Opened::new(header, segment));
        Ok(reader)
    }

    /// Plaintext of the next frame; None at the end, which [`Reader::end`] then describes.
    ///
    /// # Errors
    /// [`SealedError::Tampered`] when bytes that were durable do not authenticate, [`SealedError::MissingEpoch`] when a
    /// later segment's epoch is not in the ring, or the system's error. The reader is not usable after an error.
    pub fn next_frame(&mut self) -> Result<Option<&[u8]>> {
        while self.end.is_none() {
            let Some(opened) = &mut self.opened else { break };
            let offset = opened.offset;
            if offset >= self.file_len {
                self.end = Some(End::Clean);
                break;
            }
            match opened.step(&*self.file, &self.ring, self.file_len, &mut self.frame)? {
                // An empty frame only carries a mark.
                Step::Frame if self.frame.is_empty() => {}
                Step::Frame => return Ok(Some(&self.frame)),
                Step::Segment => {}
                Step::Bad => {
                    resync::refuse_if_durable(&*self.file, &self.ring, self.file_len, opened)?;
                    self.end = Some(End::TornTail { offset, dropped: self.file_len - offset });
                }
            }
        }
        Ok(None)
    }

    /// How the log ended.
    ///
    /// # Panics
    /// Before [`Reader::next_frame`] has returned None.
    pub fn end(&self) -> End {
        self.end.expect("the end is known once every frame was read")
    }

    /// Whether the last frame read is a mark over everything before it, as [`super::Writer::close`] leaves it: of a file that was closed nothing is
    /// missing at such an end.
    pub fn ends_in_mark(&self) -> bool {
        self.opened.as_ref().is_some_and(|opened| opened.is_marked)
    }

    /// Plaintext bytes read so far.
    pub fn plaintext_len(&self) -> u64 {
        self.opened.as_ref().map_or(0, |opened| opened.plaintext_len)
    }

    /// Key epochs of the segments read so far, each once.
    pub fn epochs(&self) -> &[u32] {
        self.opened.as_ref().map_or(&[], |opened| &opened.epochs)
    }

    /// Where the next frame begins, or the damage.
    pub(crate) fn position(&self) -> u64 {
        self.opened.as_ref().map_or(0, |opened| opened.offset)
    }

    /// After [`SealedError::Tampered`]: goes on at the next authentic frame or segment, whatever stood before it; false where there is none.
    /// Only for who tells damage: what stands behind a gap is nobody's data.
    pub(crate) fn skip_damage(&mut self) -> Result<bool> {
        let Some(opened) = &mut self.opened else { return Ok(false) };
        match resync::next_authentic(&*self.file, &self.ring, self.file_len, opened)? {
            Some(Found::Frame { offset, counter }) => {
                (opened.offset, opened.counter, opened.synced_through) = (offset, counter - 1, 0);
            }
            Some(Found::Segment { offset, segment }) => opened.enter(offset, segment),
            None => return Ok(false),
        }
        Ok(true)
    }

    pub(super) fn into_start(self) -> Option<(Header, Start)> {
        let Opened { header, offset, synced_through, last_tag, plaintext_len, .. } = self.opened?;
        Some((header, Start { end: offset, synced_through, last_tag, plaintext_len }))
    }
}

/// Every frame's plaintext and how the log ends.
///
/// # Errors
/// As [`Reader::open`] and [`Reader::next_frame`].
pub fn read_all(file: impl Into<Arc<dyn File>>, ring: &KeyRing, purpose: Purpose) -> Result<(Vec<Vec<u8>>, End)> {
    let mut reader = Reader::open(file, ring, purpose)?;
    let mut frames = Vec::new();
    while let Some(frame) = reader.next_frame()? {
        frames.push(frame.to_vec());
    }
    Ok((frames, reader.end()))
}

enum Step {
    Frame,
    Segment,
    Bad,
}

impl Opened {
    fn new(header: Header, segment: Segment) -> Self {
        Self {
            header,
            offset: PROLOGUE_BYTES as u64,
            counter: 0,
            is_marked: false,
            synced_through: 0,
            last_tag: segment.tag,
            plaintext_len: 0,
            epochs: vec![segment.epoch],
            segment,
        }
    }

    /// Reads the frame or segment at the current offset; a frame's plaintext goes into `out`.
    fn step(&mut self, file: &dyn File, ring: &KeyRing, file_len: u64, out: &mut Vec<u8>) -> Result<Step> {
        let left = file_len - self.offset;
        if left < HEAD_BYTES as u64 {
            return Ok(Step::Bad);
        }
        let mut head = [0; HEAD_BYTES];
        file.read_exact_at(self.offset, &mut head).map_err(SealedError::io("read"))?;
        if head[..4] == SEGMENT_MAGIC {
            return self.enter_segment(file, ring, left);
        }
        let head = Head::decode(&head);
        let Some(tag) = self.open_frame(file, head, left, out)? else { return Ok(Step::Bad) };
        self.is_marked = head.length == 0 && head.synced_through == self.offset;
        self.offset += (head.length as usize + FRAME_OVERHEAD_BYTES) as u64;
        self.counter = head.counter;
        self.synced_through = head.synced_through;
        self.last_tag = tag;
        self.plaintext_len += u64::from(head.length);
        Ok(Step::Frame)
    }

    fn open_frame(&self, file: &dyn File, head: Head, left: u64, out: &mut Vec<u8>) -> Result<Option<Tag>> {
        let next = self.counter.checked_add(1) == Some(head.counter);
        let marked = (self.synced_through..=self.offset).contains(&head.synced_through);
        match head.frame_bytes() {
            Some(bytes) if next && marked && bytes as u64 <= left => {
                open_frame_at(file, &self.segment, self.offset, head, out)
            }
            _ => Ok(None),
        }
    }

    fn enter_segment(&mut self, file: &dyn File, ring: &KeyRing, left: u64) -> Result<Step> {
        if left < SEGMENT_BYTES as u64 {
            return Ok(Step::Bad);
        }
        let mut bytes = [0; SEGMENT_BYTES];
        file.read_exact_at(self.offset, &mut bytes).map_err(SealedError::io("read"))?;
        let segment = match Segment::open(ring, &self.header, self.offset, &bytes) {
            Ok(Some(segment)) => segment,
            // Half of a head names any epoch. Nothing was sealed under one that ends the file, so dropping it loses nothing.
            Err(SealedError::MissingEpoch { .. }) if left == SEGMENT_BYTES as u64 => return Ok(Step::Bad),
            Ok(None) => return Ok(Step::Bad),
            Err(error) => return Err(error),
        };
        if segment.previous != self.last_tag {
            let what = "a segment continues another history of this file";
            return Err(SealedError::Tampered { offset: self.offset, what });
        }
        self.enter(self.offset, segment);
        Ok(Step::Segment)
    }

    fn enter(&mut self, offset: u64, segment: Segment) {
        self.synced_through = offset;
        self.offset = offset + SEGMENT_BYTES as u64;
        self.counter = 0;
        self.is_marked = false;
        self.last_tag = segment.tag;
        if !self.epochs.contains(&segment.epoch) {
            self.epochs.push(segment.epoch);
        }
        self.segment = segment;
    }
}

/// Opens the frame at `offset`, which the caller knows to lie inside the file; its tag when it is authentic.
pub(super) fn open_frame_at(
    file: &dyn File,
    segment: &Segment,
    offset: u64,
    head: Head,
    out: &mut Vec<u8>,
) -> Result<Option<Tag>> {
    let length = head.length as usize;
    out.clear();
    out.resize(length + TAG_BYTES, 0);
    file.read_exact_at(offset + HEAD_BYTES as u64, out).map_err(SealedError::io("read"))?;
    let tag: Tag = array(&out[length..]);
    out.truncate(length);
    Ok(segment.aead.open(u64::from(head.counter), &head.associated(offset), out, &tag).then_some(tag))
}

/// Whether the file is what a crash leaves of [`super::Writer::create`], which acknowledges nothing before the whole
/// prologue is durable. A file of other origin is an error.
fn creation_was_cut_off(prologue: &[u8], file_len: u64) -> Result<bool> {
    let compared = prologue.len().min(MAGIC.len());
    let zeros = prologue.iter().all(|&byte| byte == 0);
    if prologue[..compared] != MAGIC[..compared] && !zeros {
        return Err(SealedError::NotSealed);
    }
    if file_len < PROLOGUE_BYTES as u64 || (zeros && file_len == PROLOGUE_BYTES as u64) {
        return Ok(true);
    }
    if zeros {
        return Err(SealedError::Tampered {
            offset: 0,
            what: "the header was erased; it was durable before any frame",
        });
    }
    Ok(false)
}
