//! An accelerator that the node file names: opened, tested and measured, and how reports show what was found.

use std::sync::Arc;

pub use bixi_hsm::DeviceError;
pub use bixi_hsm_openssl::bulk::Row;
pub use bixi_hsm_openssl::measure::{Stopwatch, Verdict};
pub use bixi_hsm_openssl::{Bulk, Operation, Params, Source};
use bixi_types::CryptoSuite;
use serde_json::{Value, json};

use crate::settings::Settings;

/// What the node file names; `None` when it names nothing, and nothing is loaded.
pub fn params(settings: &Settings) -> Option<Params> {
    let set = &settings.config.accelerator;
    if set.plugin.as_os_str().is_empty() {
        return None;
    }
    let source = if set.provider.is_empty() {
        Source::Engine { id: set.engine.clone(), commands: set.commands.iter().map(|text| command(text)).collect() }
    } else {
        Source::Provider { name: set.provider.clone(), properties: set.properties.clone() }
    };
    // Empty is no path: it means where libcrypto looks.
    let has_directory = !set.directory.as_os_str().is_empty();
    Some(Params {
        plugin: settings.path(&set.plugin),
        source,
        directory: if has_directory { settings.path(&set.directory).display().to_string() } else { String::new() },
        operations: set.operations.iter().filter_map(|name| Operation::from_name(name)).collect(),
    })
}

/// What serves a node: nothing unless configured, and nothing when it cannot be opened, because it is faster at best and a node can do
/// without it. It is said which.
pub(crate) fn of_node(settings: &Settings) -> Option<Arc<Bulk>> {
    let params = params(settings)?;
    if settings.genesis.suite != CryptoSuite::Sm || settings.config.sync.snapshot_after_blocks == 0 {
        tracing::warn!(
            "an accelerator is configured and not opened: it digests pieces of snapshots in suite sm, and sync.snapshot_after_blocks is 0"
        );
        return None;
    }
    match start(&params) {
        Ok(bulk) => Some(Arc::new(bulk)),
        Err(error) => {
            tracing::error!(%error, "the accelerator cannot be used; the node starts without it");
            None
        }
    }
}

/// `NAME=VALUE`; without a sign the value is empty.
pub fn command(text: &str) -> (String, String) {
    let (name, value) = text.split_once('=').unwrap_or((text, ""));
    (name.to_owned(), value.to_owned())
}

/// Opens, tests and measures, which takes some 200 ms, or a second or two with a slow one or on a busy machine.
///
/// # Errors
/// What cannot be opened, in libcrypto's words, and what to do.
pub fn start(params: &Params) -> Result<Bulk, DeviceError> {
    Bulk::start(params, &mut Stopwatch::default())
}

/// A table with a line for each operation and size: operation, size, ours, theirs, what came of it.
pub fn cells(bulk: &Bulk) -> Vec<[String; 5]> {
    let head = ["operation", "size", "ours", "theirs", "who serves a node"].map(str::to_owned);
    std::iter::once(head).chain(bulk.rows().iter().flat_map(lines)).collect()
}

fn lines(row: &Row) -> Vec<[String; 5]> {
    let words = |cell: usize| if cell == 0 { row.verdict.to_string() } else { String::new() };
    let name = |cell: usize| if cell == 0 { row.operation.name().to_owned() } else { String::new() };
    if row.cells.is_empty() {
        return vec![[name(0), String::new(), String::new(), String::new(), words(0)]];
    }
    let line = |(index, cell): (usize, &bixi_hsm_openssl::measure::Cell)| {
        let rate = |ns: u64| match row.operation {
            Operation::Sm2Verify => format!("{:.0} op/s", 1e9 / ns as f64),
            _ => format!("{:.0} MB/s", cell.bytes as f64 * 1e3 / ns as f64),
        };
        [name(index), format!("{:>7} B", cell.bytes), rate(cell.ours_ns), rate(cell.theirs_ns), words(index)]
    };
    row.cells.iter().enumerate().map(line).collect()
}

/// The same for machines.
pub fn to_json(bulk: &Bulk) -> Value {
    let row = |row: &Row| {
        let cells: Vec<Value> = row
            .cells
            .iter()
            .map(|cell| json!({"bytes": cell.bytes, "ours_ns": cell.ours_ns, "theirs_ns": cell.theirs_ns}))
            .collect();
        let from_bytes = if let Verdict::From(bytes) = row.verdict { Some(bytes) } else { None };
        json!({
            "operation": row.operation.name(),
            "verdict": row.verdict.to_string(),
            "theirs_from_bytes": from_bytes,
            "is_refused": matches!(row.verdict, Verdict::Refused(_)),
            "cells": cells,
        })
    };
    json!({"name": bulk.title(), "operations": bulk.rows().iter().map(row).collect::<Vec<_>>()})
}
