//! Every page of a table, whatever the others are like.

use std::sync::Arc;

use bixi_platform::io::File;

use super::{Reader, SPAN_BYTES};
use crate::reseal::Pace;
use crate::scrub::{Place, Scrubbed};
use crate::{KeyRing, Purpose, SealedError};

/// Reads all pages of a table and tells which are damaged.
pub(crate) fn scrub(file: Arc<dyn File>, ring: &KeyRing, purpose: Purpose, found: &mut Scrubbed, pace: Pace<'_>) {
    let (reader, is_ended) = match Reader::start(file, ring, purpose) {
        Ok(started) => started,
        Err(error) => {
            found.is_unfinished |= found.bytes == 0;
            return found.tell_error(Place::Header, 0, &error);
        }
    };
    let mut span = Vec::new();
    let span_pages = (SPAN_BYTES / reader.page.bytes()) as u64;
    let mut index = 0;
    while index <= reader.last {
        let pages = (reader.last - index + 1).min(span_pages);
        reader.scrub_span(index, pages, &mut span, found, pace);
        index += pages;
        if found.is_cut_short {
            return;
        }
        if pace(pages * reader.page.bytes() as u64).is_break() {
            found.is_cut_short = true;
            return;
        }
    }
    if !is_ended {
        let offset = found.bytes;
        found.tell_error(Place::Page(reader.last + 1), offset, &SealedError::Incomplete { offset });
    }
}

impl Reader {
    fn scrub_span(&self, first: u64, pages: u64, span: &mut Vec<u8>, found: &mut Scrubbed, pace: Pace<'_>) {
        match self.read_span(first, pages, span) {
            Ok(sealed) => {
                for (index, page) in (first..).zip(sealed.chunks_mut(self.page.bytes())) {
                    if let Err(error) = self.check_page(index, page) {
                        found.tell_error(Place::Page(index), self.page_offset(index), &error);
                    }
                }
            }
            // Which of them it is that the disk does not give; a dying one takes seconds for each.
            Err(_) if pages > 1 => {
                for index in first..first + pages {
                    if pace(0).is_break() {
                        found.is_cut_short = true;
                        return;
                    }
                    self.scrub_span(index, 1, span, found, pace);
                }
            }
            Err(error) => found.tell_error(Place::Page(first), self.page_offset(first), &error),
        }
    }
}
