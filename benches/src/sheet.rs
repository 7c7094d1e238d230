//! Output of a bench that measures in its own way: lines for people as they come, or one JSON object for programs.

use std::io::{self, Write as _};

use serde_json::{Value, json};

use crate::{Options, machine};

/// The machine, notes, rows.
#[derive(Debug)]
pub struct Sheet {
    json: bool,
    machine: Value,
    rows: Vec<Value>,
}

impl Sheet {
    /// Begins with the machine. `kernels` says which implementation serves which operation.
    pub fn new(options: &Options, kernels: &[(&str, &str)]) -> Self {
        Self { json: options.json, machine: machine(kernels), rows: Vec::new() }
    }

    /// One more thing that the figures depend on, with the line people see.
    ///
    /// # Panics
    /// When nobody can be written to; so do the others.
    pub fn note(&mut self, name: &str, value: impl Into<Value>, line: &str) {
        self.machine.as_object_mut().expect("the machine is an object").insert(name.to_owned(), value.into());
        self.line(line);
    }

    /// For people only.
    ///
    /// # Panics
    /// As [`Sheet::note`].
    pub fn line(&self, line: &str) {
        if !self.json {
            written(writeln!(io::stdout().lock(), "{line}"));
        }
    }

    /// For programs only.
    pub fn row(&mut self, row: Value) {
        self.rows.push(row);
    }

    /// Prints the object, where it is wanted.
    ///
    /// # Panics
    /// As [`Sheet::note`].
    pub fn finish(self) {
        if self.json {
            let whole = json!({"machine": self.machine, "rows": self.rows});
            written(writeln!(io::stdout().lock(), "{whole:#}"));
        }
    }
}

fn written(result: io::Result<()>) {
    result.expect("standard output");
}
