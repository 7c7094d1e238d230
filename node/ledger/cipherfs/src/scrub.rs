//! One file of a database, read for what is damaged in it.

use std::io;
use std::path::Path;

use bixi_platform::io::{OpenMode, Storage};
use bixi_sealed::reseal::Pace;
use bixi_sealed::scrub::{self, Place, Scrubbed};
use bixi_sealed::{KeyRing, Layout};

use crate::kind::FileKind;

/// Reads all of the file at `path`, whose name says what it is to be. RocksDB may be writing it: what was flushed is read.
///
/// # Errors
/// The system's, when it cannot be opened.
pub fn scrub(storage: &dyn Storage, keys: &KeyRing, path: &Path, pace: Pace<'_>) -> io::Result<Scrubbed> {
    let (file, kind) = (storage.open(path, OpenMode::Read)?, FileKind::of(path));
    let layout = if kind == FileKind::Table { Layout::Pages } else { Layout::Frames };
    let mut found = scrub::scrub(file, keys, layout, kind.purpose(), pace);
    if let (Some(title), Some(first)) = (FileKind::title(path), &found.first_frame)
        && title != *first
    {
        let written = String::from_utf8_lossy(first).into_owned();
        found.tell(Place::File, 0, format_args!("it was written as {written}: one log cannot stand in for another"));
    }
    if kind == FileKind::Small && found.is_whole() && !found.is_cut_short {
        if let Some((offset, _)) = found.torn.take() {
            found.tell(Place::Frame, offset, "the file ends in a damaged frame; it was whole when it got its name");
        } else if !found.ends_in_mark {
            let end = found.bytes;
            found.tell(Place::File, end, "the end of the file is missing; it was whole when it got its name");
        }
    }
    Ok(found)
}
