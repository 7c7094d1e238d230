//! Rows beside their goals.

use std::hint::black_box;
use std::path::Path;
use std::time::{Duration, Instant};

use bixi_accel::sm4::gcm;
use bixi_benches::{Case, Options, Sheet};
use serde_json::{Value, json};

const PLAINTEXT: &str = "plaintext";
/// What the cipher alone is measured on.
const CIPHER_BYTES: usize = 16 << 10;

/// What a value counts, and which way is better.
#[derive(Clone, Copy)]
pub(crate) enum Unit {
    /// So many of these a second.
    PerSecond(&'static str),
    /// 10^6 bytes a second.
    Megabytes,
    Microseconds,
    Bytes,
}

impl Unit {
    fn name(self) -> String {
        match self {
            Self::PerSecond(what) => format!("{what}/s"),
            Self::Megabytes => "MB/s".to_owned(),
            Self::Microseconds => "us".to_owned(),
            Self::Bytes => "bytes".to_owned(),
        }
    }

    fn best(self, values: &[f64]) -> f64 {
        let better = match self {
            Self::PerSecond(_) | Self::Megabytes => f64::max,
            Self::Microseconds | Self::Bytes => f64::min,
        };
        values.iter().copied().reduce(better).expect("at least one round")
    }
}

/// What ours over plaintext should be.
#[derive(Clone, Copy)]
pub(crate) enum Goal {
    AtLeast(f64),
    AtMost(f64),
}

impl Goal {
    fn is_met(self, ratio: f64) -> bool {
        match self {
            Self::AtLeast(bound) => ratio >= bound,
            Self::AtMost(bound) => ratio <= bound,
        }
    }

    fn text(self) -> String {
        match self {
            Self::AtLeast(bound) => format!(">= {bound:.2}"),
            Self::AtMost(bound) => format!("<= {bound:.2}"),
        }
    }
}

/// Contenders in the order of [`crate::backend::Backend::contenders`], a value for each round.
pub(crate) struct Row {
    case: Case,
    unit: Unit,
    goal: Option<Goal>,
    /// Of values that are quantiles the median counts: the best one is a lucky moment.
    is_typical: bool,
    contenders: Vec<(String, Vec<f64>)>,
}

impl Row {
    pub(crate) fn new(case: Case, unit: Unit, contenders: Vec<(String, Vec<f64>)>) -> Self {
        Self { case, unit, goal: None, is_typical: false, contenders }
    }

    pub(crate) fn typical(mut self) -> Self {
        self.is_typical = true;
        self
    }

    pub(crate) fn goal(mut self, goal: Goal) -> Self {
        self.goal = Some(goal);
        self
    }

    fn plaintext(&self) -> &[f64] {
        let found = self.contenders.iter().find(|(name, _)| name == PLAINTEXT);
        &found.expect("plaintext is always measured").1
    }

    /// The value that is shown: the best of all rounds, or the typical one.
    fn shown(&self, values: &[f64]) -> f64 {
        if self.is_typical { median(values.iter().copied()) } else { self.unit.best(values) }
    }

    /// The value that is shown over plaintext's.
    fn ratio_of_shown(&self, values: &[f64]) -> f64 {
        self.shown(values) / self.shown(self.plaintext())
    }

    /// Median over the rounds, each over plaintext's of the same round: what a disk does to one round it does to both.
    fn ratio(&self, values: &[f64]) -> f64 {
        median(values.iter().zip(self.plaintext()).map(|(value, plain)| value / plain))
    }

    /// The best of those that are neither ours nor plaintext.
    fn best_peer(&self) -> Option<(&str, f64)> {
        let peers = self.contenders[1..].iter().filter(|(name, _)| name != PLAINTEXT);
        let peers: Vec<_> = peers.map(|(name, values)| (name.as_str(), self.shown(values))).collect();
        let best = self.unit.best(&peers.iter().map(|(_, value)| *value).collect::<Vec<_>>());
        peers.into_iter().find(|(_, value)| *value == best)
    }

    fn to_json(&self, backend: &str) -> Value {
        let ours = &self.contenders[0].1;
        let ratio = self.ratio(ours);
        let (name, peer) = (self.case.name(), self.best_peer());
        let contender = |(name, values): &(String, Vec<f64>)| {
            json!({
                "name": name, "value": self.shown(values), "ratio": self.ratio(values),
                "ratio_of_bests": self.ratio_of_shown(values), "values": values,
            })
        };
        json!({
            "name": name, "op": self.case.operation(), "backend": backend, "unit": self.unit.name(),
            "ours": self.shown(ours), "plaintext": self.shown(self.plaintext()), "ratio": ratio,
            "ratio_of_bests": self.ratio_of_shown(ours), "goal": self.goal.map(Goal::text),
            "met": self.goal.map(|goal| goal.is_met(ratio)), "best_peer": peer.map(|(name, _)| name),
            "peer_value": peer.map(|(_, value)| value),
            "contenders": self.contenders.iter().map(contender).collect::<Vec<_>>(),
        })
    }

    fn lines(&self) -> Vec<String> {
        let line = |(index, (name, values)): (usize, &(String, Vec<f64>))| {
            let ratio = self.ratio(values);
            let shown = if index == 0 { self.case.name() } else { String::new() };
            let goal = self.goal.filter(|_| index == 0).map_or(String::new(), |goal| {
                format!("{} {}", goal.text(), if goal.is_met(ratio) { "met" } else { "MISSED" })
            });
            let (best, of_bests) = (self.shown(values), self.ratio_of_shown(values));
            format!("{shown:76} {name:10} {best:>12.0} {:7} {ratio:>6.3} {of_bests:>8.3}  {goal}", self.unit.name())
        };
        self.contenders.iter().enumerate().map(line).collect()
    }
}

fn median(values: impl Iterator<Item = f64>) -> f64 {
    let mut values: Vec<f64> = values.collect();
    values.sort_unstable_by(f64::total_cmp);
    values[values.len() / 2]
}

/// Rows, printed as they come or kept for the end.
pub(crate) struct Report {
    sheet: Sheet,
    options: Options,
    /// The kernel that serves SM4 in this process.
    backend: &'static str,
}

impl Report {
    pub(crate) fn new(options: &Options, place: &Path) -> Self {
        let kernels: Vec<_> =
            bixi_accel::cpu::selected().iter().map(|selected| (selected.operation, selected.kernel)).collect();
        let kernel = kernels.iter().find(|(operation, _)| *operation == "sm4");
        let backend = kernel.expect("something serves SM4").1;
        let mut sheet = Sheet::new(options, &kernels);
        let rate = cipher_rate();
        let line = format!("SM4-GCM          {rate:.0} MB/s on one core ({backend}), messages of {CIPHER_BYTES} bytes");
        sheet.note("sm4_gcm_megabytes_per_second", rate.round(), &line);
        let sync_us = sync_us(place);
        sheet.note("sync_us", sync_us.round(), &format!("sync             {sync_us:.0} us for a small write\n"));
        sheet.line(&format!(
            "{:76} {:10} {:>12} {:7} {:>6} {:>8}  goal",
            "row", "kept", "best", "", "ratio", "of bests"
        ));
        Self { sheet, options: options.clone(), backend }
    }

    /// A row of that operation.
    pub(crate) fn named(&self, operation: &str) -> Case {
        Case::new(operation, self.backend)
    }

    pub(crate) fn wants(&self, case: &Case) -> bool {
        self.options.wants(&case.name())
    }

    /// Adds the row, if it was asked for.
    pub(crate) fn add(&mut self, row: Row) {
        if self.wants(&row.case) {
            row.lines().iter().for_each(|line| self.sheet.line(line));
            self.sheet.row(row.to_json(self.backend));
        }
    }

    pub(crate) fn finish(self) {
        self.sheet.finish();
    }
}

/// Megabytes a second that the cipher alone seals.
fn cipher_rate() -> f64 {
    let key = gcm::Key::new(&[1; 16]);
    let mut data = vec![7; CIPHER_BYTES];
    let best = shortest(Duration::from_millis(50), || _ = black_box(gcm::seal(&key, &[0; 12], &[], &mut data)));
    CIPHER_BYTES as f64 / best.as_secs_f64() / 1e6
}

/// Microseconds until a small write is durable.
fn sync_us(directory: &Path) -> f64 {
    use std::os::unix::fs::FileExt as _;
    let file = std::fs::File::create(directory.join("sync")).expect("a file");
    let mut end = 0;
    let best = shortest(Duration::from_millis(50), || {
        file.write_all_at(&[7; 256], end).and_then(|()| file.sync_data()).expect("a disk");
        end += 256;
    });
    best.as_secs_f64() * 1e6
}

fn shortest(window: Duration, mut act: impl FnMut()) -> Duration {
    let (all, mut best) = (Instant::now(), Duration::MAX);
    while all.elapsed() < window {
        let began = Instant::now();
        act();
        best = best.min(began.elapsed());
    }
    best
}
