//! `bixi db scrub`: a running node reads its own files for damage, now.

use std::path::PathBuf;
use std::thread::sleep;
use std::time::{Duration, Instant};

use bixi_runtime::Settings;
use bixi_runtime::data_keys::Left;
use bixi_runtime::data_keys::control::{self, Request, ScrubProgress};
use clap::Args;
use serde_json::json;

use crate::failure::{Failure, Status};
use crate::{console, run};

/// Have a running node read all of its files for damage now, and show what it has found.
///
/// The node does it beside its blocks at storage.scrub_mb_per_second, and by itself every storage.scrub_days. This command asks it as the user that
/// it runs as, shows how far it is, and may be ended without ending that; --status only tells what the node knows. What is damaged is looked
/// at again every hour until it is damaged no more.
///
/// That every page authenticates says nothing of roots and signatures: of a stopped node `bixi db verify` reads all of that, too.
///
/// Exit status: 0 nothing is damaged; 65 something is, see what is printed; 1 no node runs here, or it was stopped meanwhile; 78 a file of the
/// operator's cannot be used.
#[derive(Debug, Args)]
pub(crate) struct ScrubArgs {
    /// The node file.
    #[arg(long, value_name = "PATH", default_value = "/etc/bixi/bixi.toml")]
    config: PathBuf,
    /// Begin nothing: what the node has found so far.
    #[arg(long)]
    status: bool,
    /// Print one JSON object.
    ///
    /// {"under_way", "passes", "bytes", "bytes_total", "damaged", "found": [{"file", "reason"}], "besides"}; damaged counts files, found lists some
    #[arg(long)]
    json: bool,
}

/// How often a person is told how far it is, and how often the node is asked.
const TOLD: Duration = Duration::from_secs(5);
const LOOK: Duration = Duration::from_millis(500);

pub(super) fn run(args: &ScrubArgs) -> Result<(), Failure> {
    let settings = run::enter_with_node(&args.config)?;
    let request = if args.status { Request::ScrubProgress } else { Request::Scrub };
    let mut progress = asked(&settings, &request)?;
    if !progress.is_wanted {
        return Err(Failure::new(
            Status::Fault,
            "storage.scrub_mb_per_second is 0: this node reads no files by itself. Set it and restart the node, or stop it and run \
             `bixi db verify --files-only`",
        ));
    }
    let mut told = Instant::now();
    while progress.is_under_way && !args.status {
        if told.elapsed() >= TOLD {
            told = Instant::now();
            let ScrubProgress { bytes, bytes_total, damaged, .. } = progress;
            console::say(&format!("scrub: {} of {} MiB, {damaged} files damaged", bytes >> 20, bytes_total >> 20));
        }
        sleep(LOOK);
        progress = asked(&settings, &Request::ScrubProgress)?;
    }
    console::result(&if args.json { to_json(&progress) } else { to_text(&progress) })?;
    match progress.damaged == 0 && progress.besides.is_empty() {
        true => Ok(()),
        false => Err(Failure::new(
            Status::Damaged,
            "not everything could be read, or is as it was written; see above. Stop this node when others can do without it, and run `bixi db verify`",
        )),
    }
}

fn asked(settings: &Settings, request: &Request) -> Result<ScrubProgress, Failure> {
    let told = control::ask_scrub(settings, request).map_err(|error| Failure::new(Status::Fault, error))?;
    let none = "no node runs on these files; of a stopped one `bixi db verify` reads everything";
    told.ok_or_else(|| Failure::new(Status::Fault, none))
}

fn to_json(progress: &ScrubProgress) -> String {
    let ScrubProgress { is_wanted: _, is_under_way, passes, bytes, bytes_total, damaged, found, besides } = progress;
    let found: Vec<_> = found.iter().map(|Left { file, reason }| json!({"file": file, "reason": reason})).collect();
    json!({
        "under_way": is_under_way,
        "passes": passes,
        "bytes": bytes,
        "bytes_total": bytes_total,
        "damaged": damaged,
        "found": found,
        "besides": besides,
    })
    .to_string()
}

fn to_text(progress: &ScrubProgress) -> String {
    let ScrubProgress { is_under_way, passes, bytes, bytes_total, damaged, .. } = progress;
    let read = format!("{} of {} KiB", bytes.div_ceil(1024), bytes_total.div_ceil(1024));
    let mut rows = vec![
        ["passes since the start".to_owned(), passes.to_string()],
        [if *is_under_way { "this pass has read" } else { "the last pass read" }.to_owned(), read],
        ["damaged files".to_owned(), damaged.to_string()],
    ];
    rows.extend(progress.found.iter().map(|Left { reason, .. }| ["WRONG".to_owned(), reason.clone()]));
    rows.extend(progress.besides.iter().map(|reason| ["WRONG".to_owned(), reason.clone()]));
    console::table(&rows)
}
