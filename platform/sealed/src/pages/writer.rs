//! The writing side.

use std::sync::Arc;

use bixi_platform::io::File;

use super::{PAGES_START, PLAINTEXT_BYTES_MAX, PageSize, associated, counter};
use crate::{
    KeyRing, Layout, Purpose, Result, SealedError,
    aead::TAG_BYTES,
    header::Header,
    segment::{Segment, fresh_prologue},
};

/// Plaintext gathered before it is written without a flush.
const GATHER_BYTES: usize = 256 << 10;

/// What is handed over ends at such a bound: a page of the system's that is written to again would be written twice.
const WRITE_BACK_BYTES: u64 = 64 << 10;

/// A table being written.
///
/// A table is readable only after [`Writer::finish`] or [`Writer::sync`]; one that was dropped before is refused.
pub struct Writer {
    file: Arc<dyn File>,
    segment: Segment,
    page: PageSize,
    /// Index of the next page to seal.
    next: u64,
    /// Plaintext not yet sealed.
    pending: Vec<u8>,
    plaintext_len: u64,
    /// Bytes of the file that the system was asked to write.
    handed_over: u64,
    state: State,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum State {
    Open,
    Finished,
    Poisoned,
}

impl Writer {
    /// Starts a table with the default page size in an empty file.
    ///
    /// # Errors
    /// [`SealedError::NotEmpty`], or the system's error.
    pub fn create(file: impl Into<Arc<dyn File>>, ring: &KeyRing, purpose: Purpose) -> Result<Self> {
        Self::create_paged(file, ring, purpose, PageSize::default())
    }

    /// [`Writer::create`] with another page size.
    ///
    /// # Errors
    /// As [`Writer::create`].
    pub fn create_paged(
        file: impl Into<Arc<dyn File>>,
        ring: &KeyRing,
        purpose: Purpose,
        page: PageSize,
    ) -> Result<Self> {
        let file = file.into();
        let bytes = file.len().map_err(SealedError::io("measure"))?;
        if bytes != 0 {
            return Err(SealedError::NotEmpty { bytes });
        }
        let header = Header::fresh(ring, Layout::Pages, purpose, page.log2())?;
        let (segment, prologue) = fresh_prologue(ring, &header)?;
        let mut start = vec![0; PAGES_START as usize];
        start[..prologue.len()].copy_from_slice(&prologue);
        file.write_at(0, &start).map_err(SealedError::io("write the header of"))?;
        Ok(Self {
            file,
            segment,
            page,
            next: 0,
            pending: Vec::new(),
            plaintext_len: 0,
            handed_over: 0,
            state: State::Open,
        })
    }

    /// Appends `data`; full pages are written when enough of them are gathered.
    ///
    /// # Errors
    /// [`SealedError::Finished`] after the final page was sealed, [`SealedError::TooLarge`], or the system's error, which
    /// poisons the writer.
    pub fn append(&mut self, mut data: &[u8]) -> Result<()> {
        self.check_open()?;
        let bytes = self.plaintext_len + data.len() as u64;
        if bytes > PLAINTEXT_BYTES_MAX {
            return Err(SealedError::TooLarge { bytes, bytes_max: PLAINTEXT_BYTES_MAX });
        }
        while !data.is_empty() {
            let room = GATHER_BYTES.saturating_sub(self.pending.len()).max(1);
            let (chunk, rest) = data.split_at(data.len().min(room));
            self.pending.extend_from_slice(chunk);
            self.plaintext_len += chunk.len() as u64;
            data = rest;
            if self.pending.len() >= GATHER_BYTES {
                self.write_pages(false)?;
            }
        }
        Ok(())
    }

    /// Writes the pages that are full and certainly not the last. The tail stays in memory: a table without its final
    /// page has no reader.
    ///
    /// # Errors
    /// As [`Writer::append`].
    pub fn flush(&mut self) -> Result<()> {
        match self.state {
            State::Finished => Ok(()),
            _ => self.write_pages(false),
        }
    }

    /// Seals the tail as the final page and writes it. Later appends are errors; a second call does nothing.
    ///
    /// # Errors
    /// As [`Writer::append`].
    pub fn finish(&mut self) -> Result<()> {
        if self.state == State::Finished {
            return Ok(());
        }
        self.write_pages(true)?;
        self.state = State::Finished;
        Ok(())
    }

    /// Finishes the table and makes it durable.
    ///
    /// # Errors
    /// As [`Writer::append`].
    pub fn sync(&mut self) -> Result<()> {
        self.finish()?;
        self.state = State::Poisoned;
        self.file.sync_data().map_err(SealedError::io("sync"))?;
        self.state = State::Finished;
        Ok(())
    }

    /// Has the system begin to write the pages that are full: the sync at the end then has less to wait for, and so does whoever syncs beside it.
    ///
    /// # Errors
    /// [`SealedError::Poisoned`], or the system's error, which poisons the writer: what the system could not write it may have dropped, and
    /// a later sync need not tell.
    pub fn begin_write_back(&mut self) -> Result<()> {
        if self.state == State::Finished {
            return Ok(());
        }
        self.check_open()?;
        let written = self.end();
        let whole = written - written % WRITE_BACK_BYTES;
        if whole <= self.handed_over {
            return Ok(());
        }
        self.state = State::Poisoned;
        let begun = self.file.begin_write_back(self.handed_over, whole - self.handed_over);
        begun.map_err(SealedError::io("begin to write back"))?;
        (self.handed_over, self.state) = (whole, State::Open);
        Ok(())
    }

    /// Plaintext bytes appended.
    pub fn plaintext_len(&self) -> u64 {
        self.plaintext_len
    }

    /// Bytes of the file so far: where the next page goes.
    fn end(&self) -> u64 {
        PAGES_START + self.next * self.page.bytes() as u64
    }

    fn check_open(&self) -> Result<()> {
        match self.state {
            State::Open => Ok(()),
            State::Finished => Err(SealedError::Finished),
            State::Poisoned => Err(SealedError::Poisoned),
        }
    }

    /// Seals and writes the full pages that something follows, and with `is_final` the rest as the final page.
    fn write_pages(&mut self, is_final: bool) -> Result<()> {
        self.check_open()?;
        let payload = self.page.payload_bytes();
        let full = self.pending.len().saturating_sub(1) / payload;
        if full == 0 && !is_final {
            return Ok(());
        }
        let offset = self.end();
        let (pages, tail) = self.pending.split_at(full * payload);
        let mut out = Vec::with_capacity(self.pending.len() + (full + 1) * TAG_BYTES);
        self.state = State::Poisoned;
        for page in pages.chunks_exact(payload) {
            seal_page(&self.segment, &mut self.next, false, page, &mut out)?;
        }
        if is_final {
            seal_page(&self.segment, &mut self.next, true, tail, &mut out)?;
        }
        self.file.write_at(offset, &out).map_err(SealedError::io("append to"))?;
        self.pending.drain(..full * payload);
        self.state = State::Open;
        Ok(())
    }
}

/// Appends one sealed page to `out` and burns its index.
fn seal_page(segment: &Segment, next: &mut u64, is_final: bool, plaintext: &[u8], out: &mut Vec<u8>) -> Result<()> {
    let start = out.len();
    out.extend_from_slice(plaintext);
    let index = *next;
    *next += 1;
    let tag = segment.seal(counter(index), &associated(index, is_final), &mut out[start..])?;
    out.extend_from_slice(&tag);
    Ok(())
}
