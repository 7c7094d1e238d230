//! Officers' shares as they come and go: pages in files, or on the terminal, where each officer is alone with his own.

use std::fs::{self, OpenOptions};
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use bixi_runtime::escrow::{
    self, DOCUMENT_BYTES_MAX, Document, EscrowError, PageReader, Passphrase, Record, Secret, Share, SilentTerminal,
};

use super::terminal::{ATTEMPTS, CLEAR, Terminal, choose_passphrase};
use crate::console;

/// Longest line that is typed.
const LINE_BYTES_MAX: usize = 256;

type Failure = Box<dyn std::error::Error + Send + Sync>;

/// Where new pages go.
pub(super) enum Outlet {
    /// One file for each officer.
    Directory(PageDirectory),
    /// One after another on the terminal, which is cleared between them.
    Terminal,
}

/// A directory of pages. One that was made for them goes again where none was written.
pub(super) struct PageDirectory {
    path: PathBuf,
    is_ours: bool,
}

impl Drop for PageDirectory {
    fn drop(&mut self) {
        if self.is_ours {
            // With a page in it, it stays: only an empty directory is removed by this.
            let _ = fs::remove_dir(&self.path);
        }
    }
}

impl Outlet {
    /// The directory, which must not hold any of so many pages yet and takes files, or the terminal: looked at before any page is made.
    pub(super) fn open(directory: Option<&Path>, pages: usize) -> io::Result<Self> {
        let Some(directory) = directory else {
            return Terminal::open().map(|_| Self::Terminal).map_err(|error| {
                let text = format!("there is no terminal to show shares on ({error}): name a directory with --out");
                io::Error::new(error.kind(), text)
            });
        };
        let named =
            |path: &Path, error: &io::Error| io::Error::new(error.kind(), format!("{}: {error}", path.display()));
        let is_ours = match fs::DirBuilder::new().mode(0o700).create(directory) {
            Ok(()) => true,
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => false,
            Err(error) => return Err(named(directory, &error)),
        };
        let directory = PageDirectory { path: directory.to_owned(), is_ours };
        let place = directory.path.as_path();
        for path in (1..=pages).map(|index| page_file(place, index)) {
            if path.try_exists().map_err(|error| named(&path, &error))? {
                return Err(named(&path, &io::Error::new(io::ErrorKind::AlreadyExists, "a page is there already")));
            }
        }
        tempfile::tempfile_in(place).map_err(|error| named(place, &error))?;
        Ok(Self::Directory(directory))
    }

    /// Gives an officer the page of his share, sealed under what he types if he wishes so.
    pub(super) fn give(&self, officer: &str, share: &Share, is_sealed: bool) -> Result<(), Failure> {
        let index = share.id().index;
        let page = if is_sealed {
            let text = format!("passphrase of {officer} for share {index}");
            escrow::seal(share, &choose_passphrase(&text)?)?.print(officer)
        } else {
            share.page(officer)
        };
        match self {
            Self::Directory(directory) => write_page(&page_file(&directory.path, index.into()), &page),
            Self::Terminal => show_page(officer, &page),
        }
    }
}

fn page_file(directory: &Path, index: usize) -> PathBuf {
    directory.join(format!("share-{index}.txt"))
}

fn write_page(path: &Path, page: &str) -> Result<(), Failure> {
    let named = |error: io::Error| format!("{}: {error}", path.display());
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o400).open(path).map_err(named)?;
    file.write_all(page.as_bytes()).and_then(|()| file.sync_all()).map_err(named)?;
    Ok(fs::File::open(path.parent().unwrap_or(Path::new("."))).and_then(|directory| directory.sync_all())?)
}

fn show_page(officer: &str, page: &str) -> Result<(), Failure> {
    let mut terminal = Terminal::open()?;
    terminal
        .ask(&format!("{CLEAR}The next page is for {officer} alone. Press Enter when nobody else sees this screen."))?;
    terminal.show(CLEAR)?;
    terminal.show(page)?;
    terminal.ask("\nPress Enter when it is written down and compared.")?;
    Ok(terminal.show(CLEAR)?)
}

/// Reads a page from a file.
pub(super) fn read_page(path: &Path) -> Result<Document, Failure> {
    let named = |error: io::Error| format!("{}: {error}", path.display());
    let mut room = Secret::zeroed(DOCUMENT_BYTES_MAX + 1);
    let mut file = fs::File::open(path).map_err(named)?;
    let mut filled = 0;
    while filled < room.len() {
        match file.read(&mut room.as_mut_slice()[filled..]).map_err(named)? {
            0 => break,
            count => filled += count,
        }
    }
    let text = std::str::from_utf8(&room.as_slice()[..filled]);
    let text = text.map_err(|_| format!("{}: this is no share: it is no text", path.display()))?;
    Document::parse(text).map_err(|error| format!("{}: {error}", path.display()).into())
}

/// Has an officer type a page, unseen; a line that is wrong is typed again.
fn type_page(what: &str) -> Result<Document, Failure> {
    let mut terminal = SilentTerminal::open()?;
    terminal.show(&format!(
        "{CLEAR}{what}: type the numbered lines of the page, each with its number. What is typed is not shown.\n"
    ))?;
    let mut page = PageReader::new();
    while !page.is_whole() {
        let typed = terminal.ask(&format!("line {}", page.next_line()), LINE_BYTES_MAX)?;
        let Some(line) = typed.as_slice().strip_suffix(b"\n") else {
            return Err(io::Error::new(
                io::ErrorKind::UnexpectedEof,
                "the terminal was closed, or the line is too long",
            )
            .into());
        };
        let taken = match std::str::from_utf8(line) {
            Ok(line) => page.take(line).map_err(|error| error.to_string()),
            Err(_) => Err("it is no text".to_owned()),
        };
        terminal.show(&taken.map_or_else(|error| format!("  {error}\n"), |()| "  taken\n".to_owned()))?;
    }
    terminal.show(CLEAR)?;
    Ok(page.finish()?)
}

/// A page that an officer types, judged by `verdict`: one that is not taken is typed again, alone.
pub(super) fn typed<T>(what: &str, verdict: impl FnMut(Share) -> Result<T, Failure>) -> Result<T, Failure> {
    repeated(&mut || type_page(what).and_then(open_page), verdict)
}

/// What `verdict` makes of the first share that it takes. What the system refuses is not asked for again.
fn repeated<T>(
    ask: &mut dyn FnMut() -> Result<Share, Failure>,
    mut verdict: impl FnMut(Share) -> Result<T, Failure>,
) -> Result<T, Failure> {
    let mut attempt = 1;
    loop {
        match ask().and_then(&mut verdict) {
            Err(error) if attempt < ATTEMPTS && !error.is::<io::Error>() => {
                console::say(&format!("this page was not taken, and the others stay: {error}. The page again"));
                attempt += 1;
            }
            ended => return ended,
        }
    }
}

/// The share of a page; its officer is asked for the passphrase if it has one.
pub(super) fn open_page(page: Document) -> Result<Share, Failure> {
    let sealed = match page {
        Document::Open(share) => return Ok(share),
        Document::Sealed(sealed) => sealed,
    };
    let text = format!("passphrase of share {}", sealed.id().index);
    let mut attempt = 1;
    loop {
        let passphrase = Passphrase::Known(text.clone()).read()?;
        match sealed.open(passphrase.as_slice()) {
            Err(error) if attempt < ATTEMPTS => {
                console::say(&error.to_string());
                attempt += 1;
            }
            opened => return Ok(opened?),
        }
    }
}

/// The shares in these files, or those that officers type, as many as an escrow needs.
pub(super) fn collect(files: &[PathBuf], records: &[Record]) -> Result<Vec<Share>, Failure> {
    if !files.is_empty() {
        return files.iter().map(|file| open_page(read_page(file)?)).collect();
    }
    gather(records, &mut |number, of| {
        let of = of.map_or_else(String::new, |threshold| format!(" of {threshold}"));
        type_page(&format!("Share number {number}{of}")).and_then(open_page)
    })
}

/// Asks for one share after another, by its number and how many are needed once that is known; one that does not fit is asked for again.
fn gather(
    records: &[Record],
    ask: &mut dyn FnMut(usize, Option<u8>) -> Result<Share, Failure>,
) -> Result<Vec<Share>, Failure> {
    let mut shares: Vec<Share> = Vec::new();
    let mut of: Option<&Record> = None;
    loop {
        let (number, needed) = (shares.len() + 1, of.map(|record| record.threshold));
        let (record, share) = repeated(&mut || ask(number, needed), |share| {
            let named = || records.iter().find(|record| record.id == share.id().escrow);
            let record = of.or_else(named);
            let record = record.ok_or("this vault has no escrow of that name; is it the page of another node?")?;
            let officer = record.check_share(&share)?;
            if shares.iter().any(|earlier| earlier.id().index == share.id().index) {
                let (index, officer) = (share.id().index, officer.to_owned());
                return Err(EscrowError::Repeated { index, officer }.into());
            }
            Ok((record, share))
        })?;
        of = Some(record);
        shares.push(share);
        if shares.len() >= usize::from(record.threshold) {
            return Ok(shares);
        }
    }
}
