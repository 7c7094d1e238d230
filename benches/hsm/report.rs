//! A table for people, or one JSON object for programs.

use bixi_benches::{Options, Sheet};
use serde_json::json;

use crate::load::Sample;

/// Rows, printed as they come or kept for the end.
pub(crate) struct Report {
    sheet: Sheet,
}

impl Report {
    pub(crate) fn new(options: &Options, verification_us: f64, sync_us: f64, module: &str) -> Self {
        let kernels: Vec<_> =
            bixi_accel::cpu::selected().iter().map(|selected| (selected.operation, selected.kernel)).collect();
        let mut sheet = Sheet::new(options, &kernels);
        sheet.note("module", module, &format!("module           {module}"));
        let line = format!("verification     {verification_us:.1} us with the key's table");
        sheet.note("verification_us", rounded(verification_us), &line);
        sheet.note("sync_us", rounded(sync_us), &format!("sync             {sync_us:.0} us for a small write\n"));
        let report = Self { sheet };
        report.sheet.line(&format!(
            "{:44} {:8} {:>10} {:>9} {:>10} {:>10} {:>9} {:>10}",
            "row", "through", "sigs/s", "of raw", "p50 us", "p99 us", "cpu us", "over us"
        ));
        report
    }

    /// One row: the module called directly first, then the same with each signature verified. `over` is processor time beyond the latter for
    /// what verifies and records, beyond the former for the others.
    pub(crate) fn race(&mut self, name: &str, samples: &[(&'static str, Sample)]) {
        let (raw, verified) = (samples[0].1, samples[1].1);
        for (index, (through, sample)) in samples.iter().enumerate() {
            let Sample { rate, cpu_us, p50_us, p99_us } = *sample;
            let ratio = rate / raw.rate;
            let over_us = match *through {
                "recorded" | "service" | "broker" => cpu_us - verified.cpu_us,
                _ => cpu_us - raw.cpu_us,
            };
            let (shown, over) = if index == 0 { (name, String::new()) } else { ("", format!("{over_us:.1}")) };
            self.sheet.line(&format!(
                "{shown:44} {through:8} {rate:>10.0} {:>8.1}% {p50_us:>10.0} {p99_us:>10.0} {cpu_us:>9.1} {over:>10}",
                100.0 * ratio
            ));
            self.sheet.row(json!({
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
        self.sheet.line(&format!(
            "{name:44} {:8} {rate:>10.0} {:>9} {p50_us:>10.0} {p99_us:>10.0} {cpu_us:>9.1}   syncs each: guard {guard:.2}{audit_text}",
            "", ""
        ));
        self.sheet.row(json!({
            "name": name, "op": name.split('/').next(), "backend": "disk", "unit": "op/s", "ours": rounded(rate),
            "best_peer": null, "peer_value": null, "ratio": null, "p50_us": rounded(p50_us), "p99_us": rounded(p99_us),
            "cpu_us": rounded(cpu_us), "guard_syncs": guard, "audit_syncs": audit,
        }));
    }

    pub(crate) fn finish(self) {
        self.sheet.finish();
    }
}

/// With as many places as mean something.
fn rounded(value: f64) -> f64 {
    (value * 10.0).round() / 10.0
}
