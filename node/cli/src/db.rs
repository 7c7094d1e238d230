//! `bixi db`: a node's data.

mod scrub;
mod seal;
mod verify;

use std::path::PathBuf;
use std::thread::sleep;
use std::time::{Duration, Instant};

use bixi_runtime::data_keys::control::{self, Request};
use bixi_runtime::data_keys::{AtRest, End, Left, Moved, Progress, Wish};
use bixi_runtime::lifecycle::data_keys;
use bixi_runtime::{Replay, Replayed, Settings, Verdict};
use clap::{Args, Subcommand, ValueEnum};
use serde_json::{Value, json};

use crate::failure::{Failure, Status};
use crate::{console, run};

/// Look after the data of a node.
#[derive(Debug, Subcommand)]
pub(crate) enum DbCommand {
    Replay(ReplayArgs),
    RotateKey(RotateKeyArgs),
    Seal(seal::SealArgs),
    Verify(verify::VerifyArgs),
    Scrub(scrub::ScrubArgs),
}

/// Execute a decided height again and compare the result with what this node has signed.
///
/// The way out when the votes over a result do not come to a quorum. Offline: the node and its broker are stopped, and the key device is
/// opened with the PIN, as by `bixi run` without a broker. Heights above the ledger's head that are decided can be executed again, each is executed twice, and those above
/// it follow; a height in the ledger cannot, because the state before it is gone. Changes nothing without --accept.
///
/// Exit status: 0 this binary comes to what was signed, or nothing was, or what differed was dropped; 1 a result differs, or nothing could
/// be compared; 77 the key device refused the PIN; 78 a configuration file or the ledger cannot be used; 79 the key device failed its self-test.
#[derive(Debug, Args)]
pub(crate) struct ReplayArgs {
    /// The node file.
    #[arg(long, value_name = "PATH", default_value = "/etc/bixi/bixi.toml")]
    config: PathBuf,
    /// The height; lower ones are shown as well when their result is not what was signed.
    #[arg(long, value_name = "NUMBER")]
    height: u64,
    /// Drop results that differ, once they are shown: the next start executes these heights again and goes by the others' quorum.
    ///
    /// The key signs no second header of a height: without this node the validators of each must come to a quorum, or two officers must
    /// have put this binary's result in the place of the signed one. --height must not
    /// lie above the lowest that differs. What is dropped stays as a file of evidence, and the audit trail names both headers.
    #[arg(long)]
    accept: bool,
    /// Write a statement to a new file that two officers can sign: this binary's results in the place of those signed. Nothing is dropped.
    ///
    /// They sign with `bixi hsm officer sign`; `bixi hsm guard override` hands their approvals to the guard, and --accept then drops
    /// the signed results though no quorum of others is there.
    #[arg(long, value_name = "FILE", requires = "reason", conflicts_with = "accept")]
    propose: Option<PathBuf>,
    /// Why, for officers and audit trail.
    #[arg(long, value_name = "TEXT", requires = "propose")]
    reason: Option<String>,
    /// Print one JSON object.
    #[arg(long)]
    json: bool,
}

pub(crate) fn run(command: &DbCommand) -> Result<(), Failure> {
    match command {
        DbCommand::Replay(args) => replay(args),
        DbCommand::RotateKey(args) => rotate_key(args),
        DbCommand::Seal(args) => seal::run(args),
        DbCommand::Verify(args) => verify::run(args),
        DbCommand::Scrub(args) => scrub::run(args),
    }
}

/// Begin a new epoch of the keys that everything on disk is sealed under, and seal anew what is of an older one.
///
/// From the first moment on nothing is written under an older epoch. Files of older epochs follow, which takes as long as reading and
/// writing all of them does. Ended anywhere, it leaves a node that starts.
///
/// A node that runs does it itself, beside its blocks, and this command asks it as the user that it runs as: it shows how far the node is, and
/// may be ended without ending that. What a stop or a crash leaves is gone on with after the next start. Of a stopped node and broker this command
/// does it; --go-on does what is left.
///
/// With --cipher the new epoch has that cipher: SM4-GCM, with which a node begins, or AES-256-GCM. The two change together, in one write of the
/// vault; each file says its own cipher, and files of both are read.
///
/// The vault keeps the older epochs until --drop: files that were moved elsewhere, such as older ones of the audit trail, are read with them.
///
/// Whoever has an old copy of the whole data directory and the key encryption key reads that copy as before. To end that, too, rotate that
/// key (`bixi hsm rotate kek`) and destroy the old one in its device.
///
/// Exit status: 0 nothing is left under an older epoch; 1 something is, or nothing was done, and why; 77 the key device refused the PIN; 78 a
/// file of the operator's cannot be used, or the ledger is not sealed and verified.
#[derive(Debug, Args)]
pub(crate) struct RotateKeyArgs {
    /// The node file.
    #[arg(long, value_name = "PATH", default_value = "/etc/bixi/bixi.toml")]
    config: PathBuf,
    /// Begin no epoch: seal what is of an older epoch under the present one.
    #[arg(long)]
    go_on: bool,
    /// The cipher of files from the new epoch on; without it that of the epoch before. Asked for the one that is in use already, it is an
    /// ordinary rotation.
    #[arg(long, value_enum, conflicts_with = "go_on")]
    cipher: Option<Cipher>,
    /// In the end drop the older epochs that no file below the data directory needs. What was moved elsewhere without its vault and is
    /// sealed under them, older files of the audit trail or a backup of a part, is never read again.
    #[arg(long)]
    drop: bool,
    /// Most MiB sealed in a second, for a disk that others use; of a running node storage.reseal_mb_per_second unless it is said here. Said of an
    /// exchange that is under way it holds from then on.
    #[arg(long, value_name = "MIB", value_parser = clap::value_parser!(u64).range(1..=1_048_576))]
    rate_mib: Option<u64>,
    /// Print one JSON object.
    ///
    /// {"epoch", "cipher", "bytes", "dropped", "kept", "left": [{"file", "reason"}]}
    #[arg(long)]
    json: bool,
}

/// A cipher as the command line names it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Cipher {
    /// SM4-GCM, 128-bit keys (GB/T 32907).
    #[value(name = "sm4-gcm")]
    Sm4Gcm,
    /// AES-256-GCM (FIPS 197, SP 800-38D).
    #[value(name = "aes-256-gcm")]
    Aes256Gcm,
}

impl From<Cipher> for AtRest {
    fn from(cipher: Cipher) -> Self {
        match cipher {
            Cipher::Sm4Gcm => Self::Sm4Gcm,
            Cipher::Aes256Gcm => Self::Aes256Gcm,
        }
    }
}

/// How often a person is told how far it is.
const TOLD: Duration = Duration::from_secs(1);
/// How often a node is asked.
const LOOK: Duration = Duration::from_millis(200);

fn rotate_key(args: &RotateKeyArgs) -> Result<(), Failure> {
    let settings = run::enter_with_node(&args.config)?;
    let bytes_per_second = args.rate_mib.map(|mib| mib << 20);
    let cipher = args.cipher.map(AtRest::from);
    let wish = Wish { new_epoch: !args.go_on, drop_older: args.drop, cipher, bytes_per_second };
    let moved = match asked(&settings, &Request::Exchange(wish))? {
        Some(progress) => follow(&settings, wish, progress)?,
        None => exchange(&settings, wish)?,
    };
    if args.json {
        console::result(&moved_json(&moved).to_string())?;
    } else {
        let listed = |epochs: &[u32]| epochs.iter().map(u32::to_string).collect::<Vec<_>>().join(", ");
        let some = |epochs: &[u32]| if epochs.is_empty() { "none".to_owned() } else { listed(epochs) };
        let mut rows = vec![
            ["epoch".to_owned(), moved.epoch.to_string()],
            ["cipher of new files".to_owned(), moved.cipher.name().to_owned()],
            ["sealed anew".to_owned(), format!("{} KiB", moved.bytes.div_ceil(1024))],
            ["epochs dropped".to_owned(), some(&moved.dropped)],
            ["older epochs kept".to_owned(), some(&moved.kept)],
        ];
        rows.extend(moved.left.iter().map(|Left { file, reason }| [format!("left: {file}"), reason.clone()]));
        console::result(&console::table(&rows))?;
    }
    match moved.left.len() {
        0 => Ok(()),
        left => Err(Failure::new(
            Status::Fault,
            format!(
                "{left} files stay under older epochs, see above; an ordering log goes when the node has made some blocks. Then --go-on"
            ),
        )),
    }
}

fn moved_json(moved: &Moved) -> Value {
    let Moved { epoch, cipher, bytes, dropped, kept, left } = moved;
    let left: Vec<Value> = left.iter().map(|Left { file, reason }| json!({"file": file, "reason": reason})).collect();
    let cipher = cipher.name().to_lowercase();
    json!({"epoch": epoch, "cipher": cipher, "bytes": bytes, "dropped": dropped, "kept": kept, "left": left})
}

/// Of a stopped node, in this process.
fn exchange(settings: &Settings, wish: Wish) -> Result<Moved, Failure> {
    run::bind_device(settings)?;
    let (mut told, mut has_begun) = (Instant::now(), false);
    let mut tell = |done: u64, total: u64| {
        has_begun = true;
        if told.elapsed() >= TOLD {
            told = Instant::now();
            say(done, total);
        }
    };
    let exchanged = data_keys::exchange(settings, wish, &mut tell);
    exchanged.map_err(|error| match has_begun {
        true => {
            console::say("rotate-key: new files have the new epoch; `bixi db rotate-key --go-on` does what is left");
            run::refusal("not everything is sealed anew", &error)
        }
        false => run::refusal("nothing is sealed anew", &error),
    })
}

/// Of a node at work: shows how far it is until what is wanted was done. One that was under way before is waited for, and does where it
/// does as much.
fn follow(settings: &Settings, wish: Wish, mut progress: Progress) -> Result<Moved, Failure> {
    let mut told = Instant::now();
    if progress.bytes_total > 0 {
        console::say("rotate-key: the node is at it already; this shows how far it is");
    }
    loop {
        let (shown, does) = ((progress.life, progress.number), progress.wish.covers(&wish));
        while progress.end.is_none() {
            sleep(LOOK);
            progress = asked(settings, &Request::Progress)?.filter(|now| (now.life, now.number) == shown).ok_or_else(
                || Failure::new(Status::Fault, "the node has ended; after its next start it goes on with what is left"),
            )?;
            if told.elapsed() >= TOLD {
                told = Instant::now();
                say(progress.bytes, progress.bytes_total);
            }
        }
        match progress.end.take() {
            Some(End::Moved(moved)) if does => return Ok(moved),
            Some(End::Failed(reason)) if does => {
                let what = if progress.epoch == 0 { "nothing is sealed anew" } else { "not everything is sealed anew" };
                return Err(Failure::new(Status::Fault, format!("{what}: {reason}")));
            }
            // What was under way was another one.
            _ => {
                let next = asked(settings, &Request::Exchange(wish))?;
                progress = next.ok_or_else(|| Failure::new(Status::Fault, "the node has ended: ask again"))?;
            }
        }
    }
}

fn asked(settings: &Settings, request: &Request) -> Result<Option<Progress>, Failure> {
    control::ask(settings, request).map_err(|error| Failure::new(Status::Fault, error))
}

fn say(done: u64, total: u64) {
    let percent = done.saturating_mul(100) / total.max(1);
    console::say(&format!("rotate-key: {} of {} MiB, {percent} %", done >> 20, total >> 20));
}

fn replay(args: &ReplayArgs) -> Result<(), Failure> {
    let settings = run::enter_with_device(&args.config)?;
    let replay =
        bixi_runtime::replay(&settings, args.height).map_err(|error| run::refusal("nothing was replayed", &error))?;
    console::result(&if args.json { to_json(&replay).to_string() } else { to_text(&replay) })?;
    if let (Some(file), Some(reason)) = (&args.propose, &args.reason) {
        replay.propose(reason, file).map_err(|error| run::refusal("nothing was proposed", &error))?;
        let file = file.display();
        console::say(&format!(
            "wrote {file}; have two officers read and sign it: bixi hsm officer sign --statement {file}"
        ));
        return Ok(());
    }
    let (divergent, unstable) = (replay.divergent(), replay.heights.iter().any(|replayed| replayed.unstable.is_some()));
    if args.accept && !divergent.is_empty() {
        let dropped = replay.accept().map_err(|error| run::refusal("nothing was dropped", &error))?;
        let kept = dropped.evidence.map_or(String::new(), |path| format!(", kept in {}", path.display()));
        console::say(&format!("dropped what was signed of heights {}{kept}; start the node", joined(&dropped.heights)));
        return Ok(());
    }
    match divergent.first() {
        Some(height) => Err(Failure::new(
            Status::Fault,
            format!("this binary does not come to what was signed of height {height}; see above. --accept drops it"),
        )),
        None if unstable => Err(Failure::new(Status::Fault, "two runs of this binary differ; see above")),
        None => Ok(()),
    }
}

fn word(verdict: Verdict) -> &'static str {
    match verdict {
        Verdict::Equal => "equal",
        Verdict::Differs => "differs",
        Verdict::NotSigned => "not signed",
        Verdict::Unstable => "unstable",
    }
}

fn joined(heights: &[u64]) -> String {
    heights.iter().map(u64::to_string).collect::<Vec<_>>().join(", ")
}

fn to_json(replay: &Replay) -> Value {
    let height = |replayed: &Replayed| {
        let header = &replayed.header;
        let (executed, dropped) = replayed.transactions;
        json!({
            "height": replayed.height,
            "verdict": word(replayed.verdict()),
            "header": replayed.header_hash.to_hex(),
            "signed": replayed.signed.map(|hash| hash.to_hex()),
            "transactions_root": header.txs_root.to_hex(),
            "receipts_root": header.receipts_root.to_hex(),
            "state_root": header.state_root.to_hex(),
            "gas_used": header.gas_used,
            "transactions": executed,
            "dropped": dropped,
            "first_difference": replayed.unstable.as_ref().or(replayed.difference.as_ref()),
            "evidence": replayed.evidence,
        })
    };
    json!({
        "head": replay.head,
        "divergent": replay.divergent(),
        "heights": replay.heights.iter().map(height).collect::<Vec<_>>(),
    })
}

fn to_text(replay: &Replay) -> String {
    let mut rows = vec![["head".to_owned(), format!("height {} is the last in the ledger", replay.head)]];
    for replayed in &replay.heights {
        let (header, (executed, dropped)) = (&replayed.header, replayed.transactions);
        let mut row = |name: &str, text: String| rows.push([name.to_owned(), text]);
        row(&format!("height {}", replayed.height), word(replayed.verdict()).to_owned());
        row("  executed", format!("{}, {executed} transactions, {dropped} dropped", replayed.header_hash));
        row("  signed", replayed.signed.map_or("nothing".to_owned(), |hash| hash.to_string()));
        row("  transactions root", header.txs_root.to_string());
        row("  receipts root", header.receipts_root.to_string());
        row("  state root", header.state_root.to_string());
        replayed.unstable.iter().for_each(|difference| row("  two runs differ", difference.clone()));
        replayed.difference.iter().for_each(|difference| row("  signed and executed differ", difference.clone()));
        replayed.evidence.iter().for_each(|path| row("  evidence", path.display().to_string()));
    }
    if let Some(first) = replay.divergent().first() {
        let heights = joined(&replay.divergent());
        rows.push([
            "to be dropped".to_owned(),
            format!("what was signed of heights {heights}: from {first} on they build on it"),
        ]);
    }
    console::table(&rows)
}
