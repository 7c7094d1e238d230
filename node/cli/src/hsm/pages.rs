//! Officers' shares as they come and go: pages in files, or on the terminal, where each officer is alone with his own.

use std::fs::{self, OpenOptions};
use std::io::{self, BufRead as _, BufReader, Read as _, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use bixi_runtime::escrow::{self, DOCUMENT_BYTES_MAX, Document, PageReader, Passphrase, Record, Share};
use zeroize::Zeroizing;

/// Longest line that is typed.
const LINE_BYTES_MAX: usize = 256;
/// Where people are, whatever standard input and output are.
const TERMINAL: &str = "/dev/tty";
/// Clears the screen and what has scrolled out of it, as xterm and the Linux console understand it.
const CLEAR: &str = "\x1b[2J\x1b[3J\x1b[H";

type Failure = Box<dyn std::error::Error + Send + Sync>;

/// Where new pages go.
pub(super) enum Outlet {
    /// One file for each officer.
    Directory(PathBuf),
    /// One after another on the terminal, which is cleared between them.
    Terminal,
}

impl Outlet {
    /// The directory, which must not hold pages yet, or the terminal.
    pub(super) fn open(directory: Option<&Path>) -> io::Result<Self> {
        let Some(directory) = directory else {
            let terminal = OpenOptions::new().read(true).write(true).open(TERMINAL);
            return terminal.map(|_| Self::Terminal).map_err(|error| {
                let text = format!("there is no terminal to show shares on ({error}): name a directory with --out");
                io::Error::new(error.kind(), text)
            });
        };
        match fs::DirBuilder::new().mode(0o700).create(directory) {
            Err(error) if error.kind() != io::ErrorKind::AlreadyExists => {
                Err(io::Error::new(error.kind(), format!("{}: {error}", directory.display())))
            }
            _ => Ok(Self::Directory(directory.to_owned())),
        }
    }

    /// Gives an officer the page of his share, sealed under what he types if he wishes so.
    pub(super) fn give(&self, officer: &str, share: &Share, is_sealed: bool) -> Result<(), Failure> {
        let index = share.id().index;
        let page = if is_sealed {
            let text = format!("passphrase of {officer} for share {index}");
            escrow::seal(share, &Passphrase::New(text).read()?)?.print(officer)
        } else {
            share.page(officer)
        };
        match self {
            Self::Directory(directory) => write_page(&directory.join(format!("share-{index}.txt")), &page),
            Self::Terminal => show_page(officer, &page),
        }
    }
}

fn write_page(path: &Path, page: &str) -> Result<(), Failure> {
    let named = |error: io::Error| format!("{}: {error}", path.display());
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o400).open(path).map_err(named)?;
    file.write_all(page.as_bytes()).and_then(|()| file.sync_all()).map_err(named)?;
    Ok(fs::File::open(path.parent().unwrap_or(Path::new("."))).and_then(|directory| directory.sync_all())?)
}

fn show_page(officer: &str, page: &str) -> Result<(), Failure> {
    let mut terminal = OpenOptions::new().read(true).write(true).open(TERMINAL)?;
    write!(terminal, "{CLEAR}The next page is for {officer} alone. Press Enter when nobody else sees this screen.")?;
    next_line(&mut BufReader::new(terminal.try_clone()?))?;
    write!(terminal, "{CLEAR}{page}\nPress Enter when it is written down and compared.")?;
    next_line(&mut BufReader::new(terminal.try_clone()?))?;
    Ok(terminal.write_all(CLEAR.as_bytes())?)
}

/// One line, without its end.
fn next_line(source: &mut impl io::BufRead) -> Result<Zeroizing<String>, Failure> {
    let mut line = Zeroizing::new(String::with_capacity(LINE_BYTES_MAX));
    source.take(LINE_BYTES_MAX as u64).read_line(&mut line)?;
    if line.ends_with('\n') { Ok(line) } else { Err("the terminal was closed".into()) }
}

/// Reads a page from a file.
pub(super) fn read_page(path: &Path) -> Result<Document, Failure> {
    let named = |error: io::Error| format!("{}: {error}", path.display());
    let mut text = Zeroizing::new(String::with_capacity(DOCUMENT_BYTES_MAX + 1));
    let file = fs::File::open(path).map_err(named)?;
    file.take(DOCUMENT_BYTES_MAX as u64 + 1).read_to_string(&mut text).map_err(named)?;
    Document::parse(&text).map_err(|error| format!("{}: {error}", path.display()).into())
}

/// Has an officer type a page; a line that is wrong is typed again.
pub(super) fn type_page(what: &str) -> Result<Document, Failure> {
    let mut terminal = OpenOptions::new().read(true).write(true).open(TERMINAL)?;
    let mut typed = BufReader::new(terminal.try_clone()?);
    writeln!(terminal, "{CLEAR}{what}: type the numbered lines of the page, each with its number.")?;
    let mut page = PageReader::new();
    while !page.is_whole() {
        let line = next_line(&mut typed)?;
        if let Err(error) = page.take(&line) {
            writeln!(terminal, "  {error}")?;
        }
    }
    terminal.write_all(CLEAR.as_bytes())?;
    Ok(page.finish()?)
}

/// The share of a page; its officer is asked for the passphrase if it has one.
pub(super) fn open_page(page: Document) -> Result<Share, Failure> {
    match page {
        Document::Open(share) => Ok(share),
        Document::Sealed(sealed) => {
            let text = format!("passphrase of share {}", sealed.id().index);
            Ok(sealed.open(Passphrase::Known(text).read()?.as_slice())?)
        }
    }
}

/// The shares in these files, or those that officers type, as many as an escrow needs.
pub(super) fn collect(files: &[PathBuf], records: &[Record]) -> Result<Vec<Share>, Failure> {
    if !files.is_empty() {
        return files.iter().map(|file| open_page(read_page(file)?)).collect();
    }
    let mut shares: Vec<Share> = Vec::new();
    loop {
        let share = open_page(type_page(&format!("Share number {}", shares.len() + 1))?)?;
        let escrow = shares.first().map_or(share.id().escrow, |first| first.id().escrow);
        let record = records.iter().find(|record| record.id == escrow);
        let record = record.ok_or("this vault has no escrow of that name; is it the page of another node?")?;
        record.check_share(&share)?;
        shares.push(share);
        if shares.len() >= usize::from(record.threshold) {
            return Ok(shares);
        }
    }
}
