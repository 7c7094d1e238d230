//! A table for people, or one JSON object for programs.

use std::io::{self, Write as _};

use bixi_benches::machine;
use serde_json::{Value, json};

use crate::load::Sample;

/// Rows, printed as they come or kept for the end.
pub(crate) struct Report {
    json: bool,
    machine: Value,
    verification_us: f64,
    rows: Vec<Value>,
}

impl Report {
    pub(crate) fn new(json: bool, verification_us: f64, sync_us: f64, module: &str) -> Self {
        let kernels: Vec<_> =
            bixi_accel::cpu::selected().iter().map(|selected| (selected.operation, selected.kernel)).collect();
        let mut machine = machine(&kernels);
        let head = machine.as_object_mut().expect("the machine is an object");
        head.insert("module".to_owned(), json!(module));
        head.insert("verification_us".to_owned(), json!(rounded(verification_us)));
        head.insert("sync_us".to_owned(), json!(rounded(sync_us)));
        let report = Self { json, machine, verification_us, rows: Vec::new() };
        report.print(&format!(
            "module           {module}\nverification     {verification_us:.1} us with the key's table\nsync             {sync_us:.0} us for a small write\n"
        ));
        report.print(&format!(
            "{:44} {:8} {:>10} {:>9} {:>10} {:>10} {:>9} {:>10}",
            "row", "through", "sigs/s", "of raw", "p50 us", "p99 us", "cpu us", "over us"
        ));
        report
    }

    /// One row: the module called directly first. `over` is processor time beyond that and one verification.
    pub(crate) fn race(&mut self, name: &str, samples: &[(&'static str, Sample)]) {
        let raw = samples[0].1;
        for (index, (through, sample)) in samples.iter().enumerate() {
            let Sample { rate, cpu_us, p50_us, p99_us } = *sample;
            let (ratio, over_us) = (rate / raw.rate, cpu_us - raw.cpu_us - self.verification_us);
            let (shown, over) = match index {
                0 => (name, String::new()),
                // The pool verifies nothing.
                _ if *through == "device" => ("", format!("{:.1}", cpu_us - raw.cpu_us)),
                _ => ("", format!("{over_us:.1}")),
            };
            self.print(&format!(
                "{shown:44} {through:8} {rate:>10.0} {:>8.1}% {p50_us:>10.0} {p99_us:>10.0} {cpu_us:>9.1} {over:>10}",
                100.0 * ratio
            ));
            self.rows.push(json!({
                "name": name, "op": "hsm::sign", "backend": through, "unit": "op/s", "ours": rounded(rate), "best_peer": "raw",
                "peer_value": rounded(raw.rate), "ratio": ratio, "p50_us": rounded(p50_us), "p99_us": rounded(p99_us),
                "cpu_us": rounded(cpu_us), "peer_cpu_us": rounded(raw.cpu_us), "over_us": rounded(over_us),
            }));
        }
    }

    /// One row of what waits for the disk.
    pub(crate) fn durable(&mut self, name: &str, sample: Sample, guard: f64, audit: Option<f64>) {
        let Sample { rate, cpu_us, p50_us, p99_us } = sample;
        let audit_text = audit.map_or(String::new(), |audit| format!(", audit {audit:.3}"));
        self.print(&format!(
            "{name:44} {:8} {rate:>10.0} {:>9} {p50_us:>10.0} {p99_us:>10.0} {cpu_us:>9.1}   syncs each: guard {guard:.2}{audit_text}",
            "", ""
        ));
        self.rows.push(json!({
            "name": name, "op": name.split('/').next(), "backend": "disk", "unit": "op/s", "ours": rounded(rate),
            "best_peer": null, "peer_value": null, "ratio": null, "p50_us": rounded(p50_us), "p99_us": rounded(p99_us),
            "cpu_us": rounded(cpu_us), "guard_syncs": guard, "audit_syncs": audit,
        }));
    }

    pub(crate) fn finish(self) {
        if self.json {
            let whole = json!({"machine": self.machine, "rows": self.rows});
            writeln!(io::stdout().lock(), "{whole:#}").expect("standard output");
        }
    }

    fn print(&self, line: &str) {
        if !self.json {
            writeln!(io::stdout().lock(), "{line}").expect("standard output");
        }
    }
}

/// With as many places as mean something.
fn rounded(value: f64) -> f64 {
    (value * 10.0).round() / 10.0
}
