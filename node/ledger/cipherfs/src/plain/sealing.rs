//! A plaintext database sealed where it is, file by file, while nobody has it open.
//!
//! A copy lies in a directory of its own under the name that it will have, because the name says how a file is sealed and is in the title
//! of a log. What was sealed by an earlier attempt is read and held against the list like everything else: a file that somebody else put
//! there meanwhile, sealed or plain, is refused.

use std::collections::BTreeMap;
use std::ops::{ControlFlow, Range};
use std::path::{Path, PathBuf};

use bixi_accel::sm3::Hasher;
use bixi_platform::io::{File, OpenMode};

use super::{FILES, PlainStage, Result, UNVERIFIED, copies_of, is_sealed, names, plain_stage};
use crate::error::CipherFsError;
use crate::file::Sequential;
use crate::fs::SealedFs;
use crate::kind::FileKind;

/// First line of the list.
const FILES_HEAD: &str = "BIXI-SEALING-V1";
/// The list while it is written.
const FILES_TEMPORARY: &str = "FILES.dbtmp";
/// Read and sealed at once.
const CHUNK_BYTES: usize = 1 << 20;

/// How far an attempt is.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Sealing {
    /// Files that it sealed.
    pub files: u64,
    /// Bytes of plaintext in them.
    pub bytes: u64,
    /// Bytes that were read: for the list, to seal them, to compare a copy, to look at what is sealed already.
    pub read: u64,
    /// Bytes that there were to read when this step began.
    pub read_total: u64,
}

/// Told at least once for each MiB that is read and each file that is done; may wait, and breaks to end it.
pub type SealingWatch<'a> = &'a mut dyn FnMut(&Sealing) -> ControlFlow<()>;

/// What the list says of a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Listed {
    bytes: u64,
    digest: [u8; 32],
}

type Files = Vec<(PathBuf, Listed)>;

/// One step of an attempt, and who is told.
struct Step<'a> {
    done: Sealing,
    watch: SealingWatch<'a>,
}

impl<'a> Step<'a> {
    fn new(read_total: u64, watch: SealingWatch<'a>) -> Self {
        Self { done: Sealing { read_total, ..Sealing::default() }, watch }
    }

    /// False where the watch ends it.
    fn read(&mut self, bytes: usize) -> bool {
        self.done.read += bytes as u64;
        (self.watch)(&self.done).is_continue()
    }

    fn sealed(&mut self, bytes: u64) -> bool {
        self.done.files += 1;
        self.done.bytes += bytes;
        (self.watch)(&self.done).is_continue()
    }
}

impl SealedFs {
    /// Writes down what is to be sealed, and makes all of it durable. Nobody opens the database from here on. False where `watch` ended it
    /// before.
    pub(crate) fn begin_sealing(&self, dir: &Path, watch: SealingWatch<'_>) -> Result<bool> {
        let files = names(&*self.storage, dir)?;
        let mut step = Step::new(files.values().sum(), watch);
        let mut list = format!("{FILES_HEAD}\n");
        for (path, bytes) in &files {
            self.sync_file(path)?;
            let Some(digest) = self.digest(path, *bytes, &mut step)? else { return Ok(false) };
            list.push_str(&format!("{bytes} {} {}\n", hex::encode(digest), name_of(path)));
        }
        self.sync_dir(dir)?;
        let copies = copies_of(dir);
        self.create_dir(&copies, true)?;
        self.sync_dir(dir)?;
        let temporary = copies.join(FILES_TEMPORARY);
        self.remove_copies(&copies)?;
        // In the form of a small file of the database, so that whoever reads every file reads it, too.
        let file = self.create(&temporary)?;
        file.append(list.as_bytes())?;
        file.sync()?;
        file.close()?;
        self.sync_file(&temporary)?;
        self.rename(&temporary, &copies.join(FILES))?;
        self.sync_dir(&copies)?;
        Ok(true)
    }

    /// Seals what is not sealed yet of what [`Self::begin_sealing`] wrote down; false where `watch` ended it.
    pub(crate) fn seal_plain(&self, dir: &Path, watch: SealingWatch<'_>) -> Result<bool> {
        let copies = copies_of(dir);
        match plain_stage(&*self.storage, dir)? {
            PlainStage::Begun => {}
            PlainStage::Unverified => return Ok(true),
            PlainStage::Nothing | PlainStage::Plain | PlainStage::Sealed => {
                return Err(CipherFsError::NotBegun { path: dir.to_owned() });
            }
        }
        self.remove_copies(&copies)?;
        let listed = self.listed(dir)?;
        self.remove_info_logs(dir)?;
        let (sealed, mut left) = self.by_seal(dir, &listed)?;
        let bytes = |files: &Files| files.iter().map(|(_, listed)| listed.bytes).sum::<u64>();
        let mut step = Step::new(bytes(&sealed) + 2 * bytes(&left), watch);
        for (path, listed) in sealed {
            if !self.expect_listed(&path, listed, &mut step)? {
                return Ok(false);
            }
        }
        left.sort_by_key(|(path, _)| turn_of(path));
        for (path, listed) in left {
            let copy = copies.join(path.file_name().expect("a file has a name"));
            let ended = self.seal_plain_file(&path, &copy, listed, &mut step);
            if !matches!(ended, Ok(true)) {
                // Its room is free at once; the next attempt removes what stays.
                drop(self.storage.remove(&copy));
                return ended;
            }
            if !step.sealed(listed.bytes) {
                return Ok(false);
            }
        }
        // One mark takes the other's place: there is no moment without.
        self.rename(&copies.join(FILES), &copies.join(UNVERIFIED))?;
        self.sync_dir(&copies)?;
        Ok(true)
    }

    /// Lets a database be opened that was sealed and verified.
    pub(crate) fn accept_sealed(&self, dir: &Path) -> Result<()> {
        let copies = copies_of(dir);
        for name in self.children(&copies)? {
            self.remove(&copies.join(name))?;
        }
        self.sync_dir(&copies)?;
        self.delete_dir(&copies)?;
        self.sync_dir(dir)
    }

    /// One file, by a copy that is durable and was read back.
    fn seal_plain_file(&self, path: &Path, copy: &Path, listed: Listed, step: &mut Step<'_>) -> Result<bool> {
        let from = self.storage.open(path, OpenMode::Read).map_err(CipherFsError::io(path))?;
        if from.len().map_err(CipherFsError::io(path))? != listed.bytes {
            return Err(CipherFsError::mixture(path, "it has another length than when its sealing began"));
        }
        let to = self.create(copy)?;
        let mut hasher = Hasher::new();
        let mut chunk = vec![0; CHUNK_BYTES];
        let mut offset = 0;
        while let Some(read) = read_chunk(&*from, path, offset..listed.bytes, &mut chunk)? {
            hasher.update(read);
            to.append(read)?;
            to.flush()?;
            offset += read.len() as u64;
            if !step.read(read.len()) {
                return Ok(false);
            }
        }
        if hasher.finalize() != listed.digest {
            return Err(CipherFsError::mixture(path, "it has another content than when its sealing began"));
        }
        to.sync()?;
        to.close()?;
        self.sync_file(copy)?;
        if !self.compare(&*from, listed.bytes, path, copy, step)? {
            return Ok(false);
        }
        self.rename(copy, path)?;
        self.sync_dir(path.parent().expect("in the database's directory"))?;
        Ok(true)
    }

    /// Reads a copy as RocksDB will, and holds it against what it is of.
    fn compare(&self, from: &dyn File, bytes: u64, path: &Path, copy: &Path, step: &mut Step<'_>) -> Result<bool> {
        let mut sealed = Sequential::open(&*self.storage, &self.keys, copy)?;
        let (mut chunk, mut found, mut offset) = (vec![0; CHUNK_BYTES], vec![0; CHUNK_BYTES], 0);
        let differs = || CipherFsError::Differs { path: path.to_owned() };
        while let Some(read) = read_chunk(from, path, offset..bytes, &mut chunk)? {
            let count = sealed.read(&mut found[..read.len()])?;
            if found[..count] != *read {
                return Err(differs());
            }
            offset += read.len() as u64;
            if !step.read(read.len()) {
                return Ok(false);
            }
        }
        match sealed.read(&mut found[..1])? {
            0 => Ok(true),
            _ => Err(differs()),
        }
    }

    /// Reads what an attempt before this one sealed, and holds it against the list.
    fn expect_listed(&self, path: &Path, listed: Listed, step: &mut Step<'_>) -> Result<bool> {
        let mut sealed = Sequential::open(&*self.storage, &self.keys, path)?;
        let (mut hasher, mut chunk, mut bytes) = (Hasher::new(), vec![0; CHUNK_BYTES], 0);
        loop {
            let count = sealed.read(&mut chunk)?;
            if count == 0 {
                break;
            }
            hasher.update(&chunk[..count]);
            bytes += count as u64;
            if !step.read(count) {
                return Ok(false);
            }
        }
        match (Listed { bytes, digest: hasher.finalize() }) == listed {
            true => Ok(true),
            false => {
                Err(CipherFsError::mixture(path, "it is sealed, and is not what was there when the sealing began"))
            }
        }
    }

    /// `None` where the watch ended it.
    fn digest(&self, path: &Path, bytes: u64, step: &mut Step<'_>) -> Result<Option<[u8; 32]>> {
        let from = self.storage.open(path, OpenMode::Read).map_err(CipherFsError::io(path))?;
        let (mut hasher, mut chunk, mut offset) = (Hasher::new(), vec![0; CHUNK_BYTES], 0);
        while let Some(read) = read_chunk(&*from, path, offset..bytes, &mut chunk)? {
            hasher.update(read);
            offset += read.len() as u64;
            if !step.read(read.len()) {
                return Ok(None);
            }
        }
        Ok(Some(hasher.finalize()))
    }

    /// What was written down.
    fn listed(&self, dir: &Path) -> Result<BTreeMap<String, Listed>> {
        let path = copies_of(dir).join(FILES);
        let mut file = Sequential::open(&*self.storage, &self.keys, &path)?;
        let (mut list, mut chunk) = (Vec::new(), vec![0; CHUNK_BYTES]);
        loop {
            match file.read(&mut chunk)? {
                0 => break,
                count => list.extend_from_slice(&chunk[..count]),
            }
        }
        let text = std::str::from_utf8(&list).unwrap_or_default();
        let lines = text.strip_prefix(FILES_HEAD).and_then(|lines| lines.strip_prefix('\n'));
        let parsed = lines.and_then(|lines| lines.lines().map(parse_line).collect());
        parsed.ok_or_else(|| CipherFsError::mixture(&path, "it is of another release"))
    }

    /// Files that are sealed, and those that are to be. Whatever is not as the list says was done by somebody else.
    fn by_seal(&self, dir: &Path, listed: &BTreeMap<String, Listed>) -> Result<(Files, Files)> {
        let there = names(&*self.storage, dir)?;
        if let Some(path) = there.keys().find(|path| !listed.contains_key(&*name_of(path))) {
            return Err(CipherFsError::mixture(path, "it was not there when the sealing began"));
        }
        let (mut sealed, mut left) = (Vec::new(), Vec::new());
        for (name, listed) in listed {
            let path = dir.join(name);
            if !there.contains_key(&path) {
                return Err(CipherFsError::mixture(&path, "it was there when the sealing began, and is gone"));
            }
            match is_sealed(&*self.storage, &path)? {
                true => sealed.push((path, *listed)),
                false => left.push((path, *listed)),
            }
        }
        Ok((sealed, left))
    }

    fn remove_info_logs(&self, dir: &Path) -> Result<()> {
        for name in self.children(dir)? {
            if FileKind::is_info_log(Path::new(&name)) {
                self.remove(&dir.join(name))?;
            }
        }
        self.sync_dir(dir)
    }

    /// What an attempt before this one left and nobody reads.
    fn remove_copies(&self, copies: &Path) -> Result<()> {
        for name in self.children(copies)? {
            if name != FILES {
                self.remove(&copies.join(name))?;
            }
        }
        self.sync_dir(copies)
    }

    fn remove(&self, path: &Path) -> Result<()> {
        self.storage.remove(path).map_err(CipherFsError::io(path))
    }
}

/// A plain RocksDB reads CURRENT and MANIFEST before it does anything: with the MANIFEST sealed it fails at once, whatever else is sealed.
/// CURRENT is the last, because it says that all the others are.
fn turn_of(path: &Path) -> u8 {
    match FileKind::of(path) {
        FileKind::Manifest => 0,
        _ if path.ends_with("CURRENT") => 2,
        _ => 1,
    }
}

fn name_of(path: &Path) -> String {
    path.file_name().unwrap_or_default().to_string_lossy().into_owned()
}

fn parse_line(line: &str) -> Option<(String, Listed)> {
    let mut fields = line.splitn(3, ' ');
    let (bytes, digest_hex, name) = (fields.next()?.parse().ok()?, fields.next()?, fields.next()?);
    let mut digest = [0; 32];
    hex::decode_to_slice(digest_hex, &mut digest).ok()?;
    Some((name.to_owned(), Listed { bytes, digest }))
}

/// The next bytes of a part of a file; none at its end.
fn read_chunk<'a>(file: &dyn File, path: &Path, part: Range<u64>, chunk: &'a mut [u8]) -> Result<Option<&'a [u8]>> {
    let count = chunk.len().min(usize::try_from(part.end.saturating_sub(part.start)).unwrap_or(usize::MAX));
    let read = &mut chunk[..count];
    file.read_exact_at(part.start, read).map_err(CipherFsError::io(path))?;
    Ok((count > 0).then_some(read))
}

#[cfg(test)]
mod tests;
