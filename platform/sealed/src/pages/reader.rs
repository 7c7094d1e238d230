//! The reading side.

pub(super) mod scrub;

use std::{cell::Cell, ops::Range, sync::Arc};

use bixi_platform::io::File;

use super::{PAGES_START, PLAINTEXT_BYTES_MAX, PageSize, associated, counter};
use crate::{
    KeyRing, Layout, Purpose, Result, SealedError,
    aead::TAG_BYTES,
    header::{Header, MAGIC, array},
    segment::{PROLOGUE_BYTES, Segment, open_prologue},
};

/// Most bytes read from the file at once: what was read is still in the core's second cache when it is opened.
const SPAN_BYTES: usize = 128 << 10;

const DAMAGED_PAGE: &str = "a page does not authenticate";

thread_local! {
    /// Where pages are opened: look-ups are too short to pay for fresh memory each time.
    static SPAN: Cell<Vec<u8>> = const { Cell::new(Vec::new()) };
}

/// A finished table, readable at random by many threads.
pub struct Reader {
    file: Arc<dyn File>,
    segment: Segment,
    page: PageSize,
    /// Index of the final page.
    last: u64,
    plaintext_len: u64,
}

impl Reader {
    /// Opens a table: authenticates its header and its final page, and with it the length.
    ///
    /// # Errors
    /// [`SealedError::NotSealed`], [`SealedError::WrongPurpose`], [`SealedError::MissingEpoch`],
    /// [`SealedError::HeaderRefused`], [`SealedError::Incomplete`] for a table never finished or cut,
    /// [`SealedError::Tampered`], or the system's error.
    pub fn open(file: impl Into<Arc<dyn File>>, ring: &KeyRing, purpose: Purpose) -> Result<Self> {
        let (reader, is_ended) = Self::start(file.into(), ring, purpose)?;
        if !is_ended {
            let offset = reader.file.len().map_err(SealedError::io("measure"))?;
            return Err(SealedError::Incomplete { offset });
        }
        reader.check_final_page()?;
        Ok(reader)
    }

    /// Authenticates the header. False beside it where after the last whole page there are bytes, too few for a page.
    fn start(file: Arc<dyn File>, ring: &KeyRing, purpose: Purpose) -> Result<(Self, bool)> {
        let file_len = file.len().map_err(SealedError::io("measure"))?;
        let mut start = vec![0; PAGES_START as usize];
        let got = file.read_at(0, &mut start).map_err(SealedError::io("read"))?;
        if got < MAGIC.len() || start[..MAGIC.len()] != MAGIC {
            return Err(SealedError::NotSealed);
        }
        if got < PROLOGUE_BYTES {
            return Err(SealedError::Incomplete { offset: got as u64 });
        }
        let (header, segment) = open_prologue(ring, &array(&start[..PROLOGUE_BYTES]))?;
        header.expect(Layout::Pages, purpose)?;
        if start[PROLOGUE_BYTES..].iter().any(|&byte| byte != 0) {
            let what = "the space between header and pages is not empty";
            return Err(SealedError::Tampered { offset: PROLOGUE_BYTES as u64, what });
        }
        let (page, last, last_bytes, is_ended) = measure(&header, file_len)?;
        let plaintext_len = last * page.payload_bytes() as u64 + (last_bytes - TAG_BYTES) as u64;
        if plaintext_len > PLAINTEXT_BYTES_MAX {
            return Err(SealedError::TooLarge { bytes: plaintext_len, bytes_max: PLAINTEXT_BYTES_MAX });
        }
        Ok((Self { file, segment, page, last, plaintext_len }, is_ended))
    }

    fn check_final_page(&self) -> Result<()> {
        let mut sealed = Vec::new();
        self.check_page(self.last, self.read_span(self.last, 1, &mut sealed)?)
    }

    /// Whether a page authenticates, and of the final one what is wrong.
    fn check_page(&self, index: u64, page: &mut [u8]) -> Result<()> {
        let (is_final, offset) = (index == self.last, self.page_offset(index));
        let mut copy = is_final.then(|| page.to_vec());
        if self.open_page(index, is_final, page, 0..0) {
            return Ok(());
        }
        if copy.as_mut().is_some_and(|copy| self.open_page(index, false, copy, 0..0)) {
            return Err(SealedError::Incomplete { offset });
        }
        let what = if is_final {
            "the final page does not authenticate: edited, cut, or never finished"
        } else {
            DAMAGED_PAGE
        };
        Err(SealedError::Tampered { offset, what })
    }

    /// Length of the plaintext.
    pub fn plaintext_len(&self) -> u64 {
        self.plaintext_len
    }

    /// Key epoch of the table.
    pub fn epoch(&self) -> u32 {
        self.segment.epoch
    }

    /// Bytes of a page on disk.
    pub fn page_size(&self) -> PageSize {
        self.page
    }

    /// Reads plaintext from `offset` and returns how much; less than asked for only at the end.
    ///
    /// # Errors
    /// [`SealedError::Tampered`] naming the page's offset, or the system's error; `out` is then undefined.
    pub fn read_at(&self, offset: u64, out: &mut [u8]) -> Result<usize> {
        let available = self.plaintext_len.saturating_sub(offset);
        let wanted = out.len().min(usize::try_from(available).unwrap_or(usize::MAX));
        if wanted == 0 {
            return Ok(0);
        }
        // Taken, not borrowed: whatever a file does below finds an empty one.
        let mut span = SPAN.take();
        let read = self.read_pages(offset, &mut out[..wanted], &mut span);
        SPAN.set(span);
        read.map(|()| wanted)
    }

    /// Fills `out`, all of which is there, through `span`.
    fn read_pages(&self, offset: u64, out: &mut [u8], span: &mut Vec<u8>) -> Result<()> {
        let payload = self.page.payload_bytes() as u64;
        let (first, last) = (offset / payload, (offset + out.len() as u64 - 1) / payload);
        let span_pages = (SPAN_BYTES / self.page.bytes()) as u64;
        let mut filled = 0;
        let mut index = first;
        while index <= last {
            for page in self.read_span(index, (last - index + 1).min(span_pages), span)?.chunks_mut(self.page.bytes()) {
                let bytes = page.len() - TAG_BYTES;
                let skip = (offset + filled as u64 - index * payload) as usize;
                let take = (bytes - skip).min(out.len() - filled);
                if !self.open_page(index, index == self.last, page, skip..skip + take) {
                    return Err(SealedError::Tampered { offset: self.page_offset(index), what: DAMAGED_PAGE });
                }
                out[filled..filled + take].copy_from_slice(&page[skip..skip + take]);
                filled += take;
                index += 1;
            }
        }
        Ok(())
    }

    /// Reads the sealed bytes of `pages` pages from page `index` on.
    fn read_span<'a>(&self, index: u64, pages: u64, span: &'a mut Vec<u8>) -> Result<&'a mut [u8]> {
        let mut bytes = pages as usize * self.page.bytes();
        if index + pages > self.last {
            let last_plaintext = (self.plaintext_len - self.last * self.page.payload_bytes() as u64) as usize;
            bytes -= self.page.payload_bytes() - last_plaintext;
        }
        span.resize(span.len().max(bytes), 0);
        let sealed = &mut span[..bytes];
        self.file.read_exact_at(self.page_offset(index), sealed).map_err(SealedError::io("read"))?;
        Ok(sealed)
    }

    /// Authenticates a page; `part` of it is plaintext then.
    fn open_page(&self, index: u64, is_final: bool, page: &mut [u8], part: Range<usize>) -> bool {
        let (body, tag) = page.split_at_mut(page.len() - TAG_BYTES);
        self.segment.aead.open_part(counter(index), &associated(index, is_final), body, &array(tag), part)
    }

    fn page_offset(&self, index: u64) -> u64 {
        PAGES_START + index * self.page.bytes() as u64
    }
}

/// Page size, index of the last page and its bytes on disk, from the length of the file; and whether the file ends with it.
fn measure(header: &Header, file_len: u64) -> Result<(PageSize, u64, usize, bool)> {
    let page = PageSize::from_log2(header.page_log2)
        .ok_or(SealedError::Unsupported { field: "page size", value: header.page_log2.into() })?;
    let body = file_len.saturating_sub(PAGES_START);
    let (full, rest) = (body / page.bytes() as u64, (body % page.bytes() as u64) as usize);
    match (full, rest) {
        (_, TAG_BYTES..) => Ok((page, full, rest, true)),
        (1.., _) => Ok((page, full - 1, page.bytes(), rest == 0)),
        (0, _) => Err(SealedError::Incomplete { offset: file_len }),
    }
}
