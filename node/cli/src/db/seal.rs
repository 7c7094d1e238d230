//! `bixi db seal`: a plaintext ledger sealed where it is.

use std::path::PathBuf;

use bixi_runtime::lifecycle::sealing::{self, Left, Sealed, Stage};
use bixi_runtime::process::raise_descriptor_limit;
use clap::Args;
use serde_json::json;

use super::verify::{Progress, Unit, expect_whole, rows_of};
use crate::failure::Failure;
use crate::{console, run};

/// Seal a plaintext ledger where it is: a database that a plain RocksDB has written in the data directory's `ledger`. Then verify it.
///
/// For a ledger that never was sealed. If this node ran before and its ledger is in plaintext now, somebody has put another in its place:
/// keep it as evidence and restore the ledger from a backup.
///
/// The database is opened once without a seal, for reading alone, to prove that every row is readable; a log that does not end with a whole
/// record is refused, and so is a table that the database does not name. What only its logs have is held in memory meanwhile. Logs and
/// tables that were kept in other directories are not looked for. Then each file is sealed by itself: the copy is durable and was read back
/// and compared before it takes the file's place. In the end everything is read and computed again as by `bixi db verify`, because sealing
/// makes authentic whatever was there: no node starts before that says that it is whole. Ended anywhere, the command given again goes on.
/// The disk needs room for the largest file once more, and all of it is read about four times. Offline: the node and its broker are
/// stopped, and the key device is opened with the PIN.
///
/// Symbolic links in the directory and files with a second name, such as those of a checkpoint, are refused: they would stay in plaintext.
///
/// The plaintext's files are removed, not overwritten: their blocks stay on the disk until something else is written there. Where the disk
/// may fall into other hands, copy the data directory to a fresh disk afterwards and erase the old one as a whole.
///
/// Exit status: 0 the ledger is sealed and whole, or was before; 65 it is sealed and not whole, see what is printed; 1 not all of it is
/// sealed, and why; 77 the key device refused the PIN; 78 a file cannot be used: of the operator's, guard, vault, or of a ledger that is
/// neither plain nor what sealing left.
#[derive(Debug, Args)]
pub(crate) struct SealArgs {
    /// The node file.
    #[arg(long, value_name = "PATH", default_value = "/etc/bixi/bixi.toml")]
    config: PathBuf,
    /// Most MiB read in a second while files and rows are read, for a disk that others use; what is then computed goes as fast as it can.
    #[arg(long, value_name = "MIB", value_parser = clap::value_parser!(u64).range(1..=1_048_576))]
    rate_mib: Option<u64>,
    /// Print one JSON object.
    ///
    /// {"was_sealed", "rows", "files", "bytes", "report"}; was_sealed where nothing was left to do, and the others are null then; rows is
    /// null where an attempt before this one had read them; report is what `bixi db verify --json` prints
    #[arg(long)]
    json: bool,
}

pub(super) fn run(args: &SealArgs) -> Result<(), Failure> {
    let settings = run::enter_with_device(&args.config)?;
    raise_descriptor_limit()?;
    let mut progress = Progress::new("seal")?;
    let mut tell = |stage, done, total| match stage {
        Stage::Rows => progress.tell_of("rows in plaintext", Unit::Bytes, done, total),
        Stage::List => progress.tell_of("list of the files", Unit::Bytes, done, total),
        Stage::Files => progress.tell_of("sealed and read back", Unit::Bytes, done, total),
        Stage::Verification(stage) => progress.tell(stage, done, total),
    };
    let sealed = sealing::seal(&settings, args.rate_mib.map(|mib| mib << 20), &mut tell);
    progress.end();
    let sealed = sealed.map_err(|error| match sealing::left(&settings) {
        Left::Untouched => run::refusal("nothing was sealed", &error),
        Left::Begun => {
            console::say("seal: what is sealed stays; once what follows is put right, the command given again goes on");
            run::refusal("not everything is sealed and verified", &error)
        }
        Left::Sealed => run::refusal("the ledger is sealed; what failed", &error),
        Left::Unknown => run::refusal("whether anything was sealed cannot be told; see `bixi doctor`", &error),
    })?;
    let Some(Sealed { rows, files, bytes, report }) = sealed else {
        return match args.json {
            true => console::result(
                &json!({"was_sealed": true, "rows": null, "files": null, "bytes": null, "report": null}).to_string(),
            ),
            false => console::result("nothing was left to do: the ledger is sealed"),
        }
        .map_err(Into::into);
    };
    if args.json {
        let report = report.to_json();
        let done = json!({"was_sealed": false, "rows": rows, "files": files, "bytes": bytes, "report": report});
        console::result(&done.to_string())?;
    } else {
        let mut table = vec![["sealed".to_owned(), format!("{files} files, {} KiB", bytes.div_ceil(1024))]];
        table.extend(rows.map(|rows| ["rows read".to_owned(), rows.to_string()]));
        table.extend(rows_of(&report));
        console::result(&console::table(&table))?;
    }
    expect_whole(&report)?;
    console::say("seal: the plaintext's blocks are on the disk still, see --help");
    Ok(())
}
