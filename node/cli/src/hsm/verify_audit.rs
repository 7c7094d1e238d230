//! `bixi hsm verify-audit`: the audit trail of a node, read and verified whole.

use std::path::PathBuf;

use bixi_runtime::lifecycle::trail::{self, Head, Line, Problem, Review, Wish};
use bixi_types::NodeId;
use clap::Args;

use crate::failure::{Failure, Status};
use crate::{console, run};

/// Verify a node's audit trail: every entry, every link between them, every head that the device signed.
///
/// Finds any edit, cut or exchange of entries and names file and place. That the newest entries were cut off shows only against a head
/// written down elsewhere (--expect). Works beside a running node; the vault is opened by the broker, if it runs, or by the device with
/// its PIN. A head is written as the number of entries, a colon and the hash of the last.
///
/// A head counts that the node's present TLS key signed, as the device tells it, or one named with --tls-key, for this node. Any other head
/// is a problem, and so is it when more than 20,000 entries follow the last head that counts: then whoever has the data keys could have
/// written them. Problems are printed with the findings, and named by their type under "problems" with --json.
///
/// Exit status: 0 the trail holds; 1 it does not, or has problems, or could not be read; 77 the key device refused the PIN; 78 a file of the
/// operator's cannot be used.
#[derive(Debug, Args)]
pub(crate) struct VerifyAuditArgs {
    /// The node file.
    #[arg(long, value_name = "PATH", default_value = "/etc/bixi/bixi.toml")]
    config: PathBuf,
    /// Count and print only what came after this head, which the trail must have stood at.
    #[arg(long, value_name = "HEAD")]
    from: Option<Head>,
    /// A head that was written down; the trail must have stood at it.
    #[arg(long, value_name = "HEAD")]
    expect: Option<Head>,
    /// An earlier TLS key of the node, 128 hexadecimal digits, as it is known from elsewhere than this host; once for each.
    #[arg(long, value_name = "KEY")]
    tls_key: Vec<NodeId>,
    /// Print every entry before the findings, one a line.
    #[arg(long)]
    all: bool,
    /// Print one JSON object, and with --all one for each entry before it.
    ///
    /// {"holds", "problems": [{"kind", "text"}]} of any trail that was judged; with the findings where every entry follows from the one
    /// before it. A problem names what it is about: "broken" and "damaged" the file; "newest-missing",
    /// "head-exchanged" and "head-archived" the head that was written down.
    #[arg(long)]
    json: bool,
}

pub(crate) fn run(args: &VerifyAuditArgs) -> Result<(), Failure> {
    let settings = run::enter_to_ask(&args.config)?;
    let mut printed = Ok(());
    let mut each = |line: &Line<'_>| {
        if args.all && printed.is_ok() {
            printed = console::result(&if args.json { line.to_json().to_string() } else { line.to_text() });
        }
    };
    let wish = Wish { from: args.from, expect: args.expect, tls_keys: args.tls_key.clone() };
    let verified = trail::verify(&settings, wish, &mut each);
    printed?;
    let review = match verified {
        Ok(review) => review,
        Err(error) => {
            let verdict = trail::verdict_against(&error);
            if let (true, Some(verdict)) = (args.json, &verdict) {
                console::result(&verdict.to_string())?;
            }
            let refusal = run::refusal("the audit trail was not verified", &error);
            // A trail that is damaged is what this looks for.
            return Err(if error.is_file_unusable() { refusal.with_status(Status::Fault) } else { refusal });
        }
    };
    console::result(&if args.json { review.to_json().to_string() } else { text(&review) })?;
    match &review.problems()[..] {
        [] => Ok(()),
        problems => Err(Failure::new(Status::Fault, words(problems))),
    }
}

fn words(problems: &[Problem]) -> String {
    let words: Vec<String> = problems.iter().map(ToString::to_string).collect();
    format!("every entry follows from the one before it, and the trail is not to be trusted: {}", words.join("; "))
}

fn text(review: &Review) -> String {
    console::table(&review.rows().into_iter().map(|(name, text)| [name, text]).collect::<Vec<_>>())
}
