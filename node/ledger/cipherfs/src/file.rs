//! Content: what RocksDB writes and reads, sealed.
//!
//! - Logs and small files are frames: one frame for each flush, a sync mark carried by the next frame.
//! - Tables are pages: read at random, sealed as final by the first sync or by close.
//!
//! A log's first frame is its title, which no caller sees: [`FileKind::title`].
//!
//! A reader sees what was flushed when it was opened, also while the writer goes on.

use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use bixi_platform::io::{OpenMode, Storage};
use bixi_sealed::frames::End;
use bixi_sealed::pages::PageSize;
use bixi_sealed::{KeyRing, frames, pages, reseal};
use parking_lot::{Mutex, RwLock};

use crate::error::CipherFsError;
use crate::kind::FileKind;

type Result<T> = std::result::Result<T, CipherFsError>;

/// A frames file that RocksDB wants at random is held in memory; only CURRENT and MANIFEST ever are.
const RANDOM_FRAMES_BYTES_MAX: u64 = 256 << 20;

enum Sink {
    Frames(frames::Writer),
    Pages(pages::Writer),
}

/// A file being written. Append, flush and sync may be called from different threads.
pub(crate) struct Writable {
    path: PathBuf,
    sink: Mutex<Option<Sink>>,
    size: AtomicU64,
}

impl Writable {
    /// A new file in the place of whatever had the name.
    pub(crate) fn create(storage: &dyn Storage, keys: &KeyRing, path: &Path, page: PageSize) -> Result<Self> {
        match storage.remove(path) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(CipherFsError::io(path)(error)),
            _ => {}
        }
        let file = storage.open(path, OpenMode::CreateNew).map_err(CipherFsError::io(path))?;
        let kind = FileKind::of(path);
        let sink = match kind {
            FileKind::Table => pages::Writer::create_paged(file, keys, kind.purpose(), page).map(Sink::Pages),
            _ => frames::Writer::create(file, keys, kind.purpose()).and_then(|mut writer| {
                write_title(&mut writer, path)?;
                Ok(Sink::Frames(writer))
            }),
        };
        Ok(Self::new(path, sink.map_err(CipherFsError::sealed(path))?, 0))
    }

    /// The end of an existing log, in a new segment under a new key.
    pub(crate) fn reopen(storage: &dyn Storage, keys: &KeyRing, path: &Path, page: PageSize) -> Result<Self> {
        let kind = FileKind::of(path);
        if kind == FileKind::Table {
            return Err(CipherFsError::Unsupported { path: path.to_owned(), what: "appending to a table" });
        }
        if !storage.exists(path).map_err(CipherFsError::io(path))? {
            return Self::create(storage, keys, path, page);
        }
        let file = storage.open(path, OpenMode::ReadWrite).map_err(CipherFsError::io(path))?;
        let mut first = None;
        let reopened = frames::Writer::replay_append(file, keys, kind.purpose(), |frame| {
            first.get_or_insert_with(|| frame.to_vec());
        });
        let frames::Reopened { mut writer, end } = reopened.map_err(CipherFsError::sealed(path))?;
        // Only logs are gone on with.
        check_end(path, kind, end, true)?;
        match &first {
            Some(title) => check_title(path, title)?,
            None => write_title(&mut writer, path).map_err(CipherFsError::sealed(path))?,
        }
        let size = writer.plaintext_len() - title_bytes(path);
        Ok(Self::new(path, Sink::Frames(writer), size))
    }

    fn new(path: &Path, sink: Sink, size: u64) -> Self {
        Self { path: path.to_owned(), sink: Mutex::new(Some(sink)), size: AtomicU64::new(size) }
    }

    fn with(&self, body: impl FnOnce(&mut Sink) -> bixi_sealed::Result<()>) -> Result<()> {
        let mut sink = self.sink.lock();
        let sink = sink.as_mut().ok_or_else(|| CipherFsError::Closed { path: self.path.clone() })?;
        body(sink).map_err(CipherFsError::sealed(&self.path))
    }

    pub(crate) fn append(&self, data: &[u8]) -> Result<()> {
        self.with(|sink| match sink {
            Sink::Frames(writer) => writer.append(data),
            Sink::Pages(writer) => writer.append(data),
        })?;
        self.size.fetch_add(data.len() as u64, Ordering::AcqRel);
        Ok(())
    }

    /// Full pages are handed on as they fill, so that a table has nothing to flush.
    pub(crate) fn flush(&self) -> Result<()> {
        self.with(|sink| match sink {
            Sink::Frames(writer) => writer.flush(),
            Sink::Pages(_) => Ok(()),
        })
    }

    /// Of a table: what was handed on is on its way to the disk before the sync waits for it. Logs are synced all the time.
    pub(crate) fn begin_write_back(&self) -> Result<()> {
        self.with(|sink| match sink {
            Sink::Frames(_) => Ok(()),
            Sink::Pages(writer) => writer.begin_write_back(),
        })
    }

    /// A MANIFEST never ends in what it acknowledged: RocksDB would take a lost edit for one that was never made, forget the
    /// tables it named, and replay the log over the hole. So a mark follows each sync, and damage to the edit is refused.
    pub(crate) fn sync(&self) -> Result<()> {
        let marked = FileKind::of(&self.path) == FileKind::Manifest;
        self.with(|sink| match sink {
            Sink::Frames(writer) if marked => writer.sync_with_mark(),
            Sink::Frames(writer) => writer.sync(),
            Sink::Pages(writer) => writer.sync(),
        })
    }

    /// Seals what was written anew, under the current epoch, and goes on behind it; `replace` moves the copy from the name it is given into
    /// this file's place, durably. False where there is no log to seal: the file is closed, or a table.
    ///
    /// # Errors
    /// Of the copy: nothing has changed then. Of `replace`: the file takes nothing more, for nobody knows which of the two has its name.
    pub(crate) fn reseal(
        &self,
        storage: &dyn Storage,
        keys: &KeyRing,
        copy: &Path,
        replace: impl FnOnce() -> Result<()>,
    ) -> Result<bool> {
        let mut sink = self.sink.lock();
        let Some(Sink::Frames(writer)) = sink.as_mut() else { return Ok(false) };
        let failed = CipherFsError::sealed;
        writer.sync().map_err(failed(&self.path))?;
        let from = storage.open(&self.path, OpenMode::Read).map_err(CipherFsError::io(&self.path))?;
        let to = storage.open(copy, OpenMode::Truncate).map_err(CipherFsError::io(copy))?;
        let purpose = FileKind::of(&self.path).purpose();
        let whole = reseal::log(from, to, keys, purpose, &mut |_| ControlFlow::Continue(()));
        let copied = whole.map_err(failed(&self.path))?.expect("nothing ends it");
        match replace() {
            Ok(()) => *writer = copied,
            Err(error) => {
                *sink = None;
                return Err(error);
            }
        }
        Ok(true)
    }

    /// Room for what a log is about to be: its syncs then find the blocks they write. Tables are synced once, and nobody waits.
    pub(crate) fn reserve(&self, size: u64) -> Result<()> {
        let beyond = size.saturating_sub(self.size());
        self.with(|sink| match sink {
            Sink::Frames(writer) => writer.reserve(beyond),
            Sink::Pages(_) => Ok(()),
        })
    }

    /// RocksDB trims preallocated space to the length it wrote; nothing else can be cut.
    pub(crate) fn truncate(&self, size: u64) -> Result<()> {
        if size == self.size() {
            return Ok(());
        }
        Err(CipherFsError::Unsupported { path: self.path.clone(), what: "cutting a file" })
    }

    /// Hands everything on and ends the file; the second close does nothing.
    pub(crate) fn close(&self) -> Result<()> {
        let Some(sink) = self.sink.lock().take() else { return Ok(()) };
        match sink {
            Sink::Frames(writer) => writer.close(),
            Sink::Pages(mut writer) => writer.finish(),
        }
        .map_err(CipherFsError::sealed(&self.path))
    }

    pub(crate) fn size(&self) -> u64 {
        self.size.load(Ordering::Acquire)
    }
}

fn write_title(writer: &mut frames::Writer, path: &Path) -> bixi_sealed::Result<()> {
    match FileKind::title(path) {
        Some(title) => writer.append(&title).and_then(|()| writer.flush()),
        None => Ok(()),
    }
}

/// Refuses a log whose first frame is not its title.
fn check_title(path: &Path, first: &[u8]) -> Result<()> {
    match FileKind::title(path) {
        Some(title) if title != first => {
            Err(CipherFsError::Misplaced { path: path.to_owned(), title: String::from_utf8_lossy(first).into_owned() })
        }
        _ => Ok(()),
    }
}

fn title_bytes(path: &Path) -> u64 {
    FileKind::title(path).map_or(0, |title| title.len() as u64)
}

/// A file that was closed before it got its name has no torn end, and ends in a mark.
fn check_end(path: &Path, kind: FileKind, end: End, ends_in_mark: bool) -> Result<()> {
    match end {
        End::Clean if !(ends_in_mark || kind.may_end_torn()) => Err(CipherFsError::CutOff { path: path.to_owned() }),
        End::TornTail { offset, .. } if !kind.may_end_torn() => {
            Err(CipherFsError::Cut { path: path.to_owned(), offset })
        }
        End::TornTail { offset, dropped } => {
            tracing::warn!(file = %path.display(), offset, dropped, "dropped the unsynced end of a log");
            Ok(())
        }
        End::Clean => Ok(()),
    }
}

/// The frames of a file, one after the other.
struct FrameCursor {
    path: PathBuf,
    kind: FileKind,
    reader: frames::Reader,
    /// What is left of the current frame begins here in `frame`.
    consumed: usize,
    frame: Vec<u8>,
    ended: bool,
}

impl FrameCursor {
    fn open(storage: &dyn Storage, keys: &KeyRing, path: &Path) -> Result<Self> {
        let kind = FileKind::of(path);
        let file = storage.open(path, OpenMode::Read).map_err(CipherFsError::io(path))?;
        let mut reader = frames::Reader::open(file, keys, kind.purpose()).map_err(CipherFsError::sealed(path))?;
        if FileKind::title(path).is_some()
            && let Some(first) = reader.next_frame().map_err(CipherFsError::sealed(path))?
        {
            check_title(path, first)?;
        }
        Ok(Self { path: path.to_owned(), kind, reader, consumed: 0, frame: Vec::new(), ended: false })
    }

    /// What is left of the current frame, or of the next one; empty at the end.
    fn available(&mut self) -> Result<&[u8]> {
        while self.consumed == self.frame.len() && !self.ended {
            match self.reader.next_frame().map_err(CipherFsError::sealed(&self.path))? {
                Some(next) => {
                    self.frame.clear();
                    self.frame.extend_from_slice(next);
                    self.consumed = 0;
                }
                None => {
                    check_end(&self.path, self.kind, self.reader.end(), self.reader.ends_in_mark())?;
                    self.ended = true;
                }
            }
        }
        Ok(&self.frame[self.consumed..])
    }

    fn read(&mut self, out: &mut [u8]) -> Result<usize> {
        let mut filled = 0;
        while filled < out.len() {
            let available = self.available()?;
            if available.is_empty() {
                break;
            }
            let take = available.len().min(out.len() - filled);
            out[filled..filled + take].copy_from_slice(&available[..take]);
            self.consumed += take;
            filled += take;
        }
        Ok(filled)
    }

    fn skip(&mut self, mut count: u64) -> Result<()> {
        while count > 0 {
            let available = self.available()?.len() as u64;
            if available == 0 {
                break;
            }
            let take = available.min(count);
            self.consumed += take as usize;
            count -= take;
        }
        Ok(())
    }
}

enum Source {
    Frames(Box<FrameCursor>),
    Pages { reader: pages::Reader, offset: u64 },
}

/// A file read from its start by one thread.
pub(crate) struct Sequential {
    path: PathBuf,
    source: Source,
}

impl Sequential {
    pub(crate) fn open(storage: &dyn Storage, keys: &KeyRing, path: &Path) -> Result<Self> {
        let source = match FileKind::of(path) {
            FileKind::Table => Source::Pages { reader: open_pages(storage, keys, path)?, offset: 0 },
            _ => Source::Frames(Box::new(FrameCursor::open(storage, keys, path)?)),
        };
        Ok(Self { path: path.to_owned(), source })
    }

    pub(crate) fn read(&mut self, out: &mut [u8]) -> Result<usize> {
        match &mut self.source {
            Source::Frames(cursor) => cursor.read(out),
            Source::Pages { reader, offset } => {
                let filled = reader.read_at(*offset, out).map_err(CipherFsError::sealed(&self.path))?;
                *offset += filled as u64;
                Ok(filled)
            }
        }
    }

    pub(crate) fn skip(&mut self, count: u64) -> Result<()> {
        match &mut self.source {
            Source::Frames(cursor) => cursor.skip(count),
            Source::Pages { reader, offset } => {
                *offset = offset.saturating_add(count).min(reader.plaintext_len());
                Ok(())
            }
        }
    }

    /// RocksDB asks this of files opened for direct I/O only, which there are none of.
    pub(crate) fn read_at(&mut self, offset: u64, out: &mut [u8]) -> Result<usize> {
        match &mut self.source {
            Source::Frames(_) => {
                Err(CipherFsError::Unsupported { path: self.path.clone(), what: "reading a log by offset" })
            }
            Source::Pages { reader, .. } => reader.read_at(offset, out).map_err(CipherFsError::sealed(&self.path)),
        }
    }
}

pub(crate) fn open_pages(storage: &dyn Storage, keys: &KeyRing, path: &Path) -> Result<pages::Reader> {
    let file = storage.open(path, OpenMode::Read).map_err(CipherFsError::io(path))?;
    pages::Reader::open(file, keys, FileKind::Table.purpose()).map_err(CipherFsError::sealed(path))
}

/// Plaintext length of a file, its torn end left out.
pub(crate) fn plaintext_len(storage: &dyn Storage, keys: &KeyRing, path: &Path) -> Result<u64> {
    if FileKind::of(path) == FileKind::Table {
        return Ok(open_pages(storage, keys, path)?.plaintext_len());
    }
    let mut cursor = FrameCursor::open(storage, keys, path)?;
    while cursor.reader.next_frame().map_err(CipherFsError::sealed(path))?.is_some() {}
    // A log cut off in its creation has no title.
    Ok(cursor.reader.plaintext_len().saturating_sub(title_bytes(path)))
}

/// A table that RocksDB has open; the file below it may be exchanged for another one of the same content.
pub(crate) struct Table(RwLock<pages::Reader>);

impl Table {
    /// Goes on with another file: the old one's space is free when nobody else has it open.
    pub(crate) fn exchange(&self, reader: pages::Reader) {
        *self.0.write() = reader;
    }
}

enum Content {
    Memory(Vec<u8>),
    Table { table: Arc<Table>, len: u64 },
}

/// A file read at random by many threads.
pub(crate) struct Random {
    path: PathBuf,
    content: Content,
}

impl Random {
    pub(crate) fn open(storage: &dyn Storage, keys: &KeyRing, path: &Path) -> Result<Self> {
        let content = match FileKind::of(path) {
            FileKind::Table => {
                let reader = open_pages(storage, keys, path)?;
                Content::Table { len: reader.plaintext_len(), table: Arc::new(Table(RwLock::new(reader))) }
            }
            _ => Content::Memory(read_frames(storage, keys, path)?),
        };
        Ok(Self { path: path.to_owned(), content })
    }

    /// What a reader of a table reads from.
    pub(crate) fn table(&self) -> Option<&Arc<Table>> {
        match &self.content {
            Content::Table { table, .. } => Some(table),
            Content::Memory(_) => None,
        }
    }

    pub(crate) fn len(&self) -> u64 {
        match &self.content {
            Content::Memory(bytes) => bytes.len() as u64,
            Content::Table { len, .. } => *len,
        }
    }

    pub(crate) fn read_at(&self, offset: u64, out: &mut [u8]) -> Result<usize> {
        match &self.content {
            Content::Table { table, .. } => {
                table.0.read().read_at(offset, out).map_err(CipherFsError::sealed(&self.path))
            }
            Content::Memory(bytes) => {
                let rest = usize::try_from(offset).ok().and_then(|start| bytes.get(start..)).unwrap_or_default();
                let take = rest.len().min(out.len());
                out[..take].copy_from_slice(&rest[..take]);
                Ok(take)
            }
        }
    }
}

fn read_frames(storage: &dyn Storage, keys: &KeyRing, path: &Path) -> Result<Vec<u8>> {
    let mut cursor = FrameCursor::open(storage, keys, path)?;
    let mut content = Vec::new();
    loop {
        let available = cursor.available()?;
        if available.is_empty() {
            return Ok(content);
        }
        content.extend_from_slice(available);
        cursor.consumed = cursor.frame.len();
        if content.len() as u64 > RANDOM_FRAMES_BYTES_MAX {
            return Err(CipherFsError::Unsupported { path: path.to_owned(), what: "random reading of a large log" });
        }
    }
}
