//! What `bixi doctor` finds out: one line per check, each saying what is and, when it is not well, what to do.
//!
//! Nothing here changes anything but one scratch file in the data directory, removed again. The device is opened only when
//! asked, because that takes the PIN.

mod certificates;
pub(crate) mod custody;
pub mod device;
mod files;
mod host;
mod membership;
mod rollback;

pub use certificates::{CertificateDays, certificate_days};
pub use files::free_mib;
pub(crate) use files::{expect_stopped, is_running};

use std::os::unix::fs::MetadataExt as _;
use std::path::Path;

use bixi_config::NodeConfig;
use bixi_hsm::Custody;
use bixi_hsm_randomness::power_on::Passed;
use bixi_platform::credentials::PinSource;
use bixi_platform::threads::Spawner;
use serde_json::{Value, json};

use crate::accelerator::{self, Bulk};
use crate::chain::{KeyRecord, NodeDirectory, NodeKeys};
use crate::settings::Settings;
use crate::{keys, placement};
use custody::Held;

/// How a check ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// As it should be.
    Good,
    /// Works, with a limit the operator should know.
    Warn,
    /// The node would not start, or not be safe.
    Bad,
    /// Not looked at.
    Skipped,
}

impl Verdict {
    /// One word for tables.
    pub fn word(self) -> &'static str {
        match self {
            Self::Good => "ok",
            Self::Warn => "warn",
            Self::Bad => "BAD",
            Self::Skipped => "skipped",
        }
    }
}

/// One finding.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Check {
    /// What was looked at.
    pub name: &'static str,
    /// How it is.
    pub verdict: Verdict,
    /// What was found, and what to do.
    pub detail: String,
}

impl Check {
    fn new(name: &'static str, verdict: Verdict, detail: impl Into<String>) -> Self {
        Self { name, verdict, detail: detail.into() }
    }
}

/// One line of the placement plan.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PlacementRow {
    /// Thread or group of threads.
    pub thread: String,
    /// CPUs it may run on.
    pub cores: Vec<usize>,
    /// Where its memory comes from; `None` when not bound.
    pub numa_node: Option<usize>,
}

impl PlacementRow {
    /// As reports print it.
    pub fn to_json(&self) -> Value {
        json!({"thread": self.thread, "cores": self.cores, "numa_node": self.numa_node})
    }
}

/// Everything found.
#[derive(Debug, Default)]
pub struct Report {
    /// The findings, in the order of a start.
    pub checks: Vec<Check>,
    /// Where threads would run.
    pub placement: Vec<PlacementRow>,
    /// `pinned` or `shared`.
    pub placement_mode: &'static str,
    /// The node's keys, if the device was opened.
    pub keys: Vec<KeyRecord>,
    /// The accelerator, if one is configured and could be opened: measured here, and used by no node.
    pub accelerator: Option<Bulk>,
}

impl Report {
    /// Whether nothing is bad.
    pub fn is_well(&self) -> bool {
        self.checks.iter().all(|check| check.verdict != Verdict::Bad)
    }

    /// As `--json` prints it.
    pub fn to_json(&self) -> Value {
        let checks: Vec<Value> = self
            .checks
            .iter()
            .map(|check| json!({"check": check.name, "verdict": check.verdict.word(), "detail": check.detail}))
            .collect();
        json!({
            "ok": self.is_well(),
            "checks": checks,
            "placement_mode": self.placement_mode,
            "placement": self.placement.iter().map(PlacementRow::to_json).collect::<Vec<_>>(),
            "keys": self.keys.iter().map(KeyRecord::to_json).collect::<Vec<_>>(),
            "accelerator": self.accelerator.as_ref().map(accelerator::to_json),
        })
    }
}

/// Looks at everything a node started with `config` would use. `offline` leaves the device and its PIN alone.
pub fn examine(config: &Path, offline: bool) -> Report {
    let mut report = Report::default();
    let settings = match Settings::load(config) {
        Ok(settings) => settings,
        Err(error) => {
            report.checks.push(Check::new("configuration", Verdict::Bad, error.to_string()));
            report.checks.push(host::kernels());
            return report;
        }
    };
    let chain = &settings.genesis;
    let text =
        format!("{}: chain {}, group {}, genesis {}", config.display(), chain.chain_id, chain.group_id, chain.hash());
    report.checks.push(Check::new("configuration", Verdict::Good, text));
    examine_placement(&settings, &mut report);
    report.checks.push(host::kernels());
    report.checks.extend(host::limits());
    report.checks.push(host::huge_pages());
    report.checks.push(host::clock(settings.config.consensus.clock_drift_ms_max));
    report.checks.push(host::fsync_latency(&settings.path(&settings.config.data_dir)));
    report.checks.extend(files::examine(&settings));
    report.checks.extend(certificates::check(&settings));
    examine_device(&settings, offline, &mut report);
    examine_accelerator(&settings, offline, &mut report);
    report
}

fn examine_placement(settings: &Settings, report: &mut Report) {
    match placement::plan(settings) {
        Ok(plan) => {
            report.placement_mode = if plan.is_shared() { "shared" } else { "pinned" };
            report.placement = plan
                .rows()
                .into_iter()
                .map(|row| PlacementRow { thread: row.thread, cores: row.cores, numa_node: row.numa_node })
                .collect();
            let detail = match plan.shared_reason() {
                Some(reason) => reason.to_owned(),
                None => format!("pinned over {} NUMA node(s)", plan.numa_nodes()),
            };
            report.checks.push(Check::new("placement", Verdict::Good, detail));
            report.checks.push(io_backend(settings, &Spawner::new(plan)));
        }
        Err(error) => report.checks.push(Check::new("placement", Verdict::Bad, error.to_string())),
    }
}

fn io_backend(settings: &Settings, spawner: &Spawner) -> Check {
    match settings.storage(spawner) {
        Ok(storage) => Check::new("io backend", Verdict::Good, storage.backend()),
        Err(error) => Check::new("io backend", Verdict::Bad, error.to_string()),
    }
}

fn examine_device(settings: &Settings, offline: bool, report: &mut Report) {
    if offline {
        report.checks.push(Check::new("key device", Verdict::Skipped, "not opened (--offline)"));
        let record = NodeKeys::read(&NodeDirectory::new(&settings.base)).and_then(|keys| keys.node_id());
        report.checks.extend(record.ok().map(|node| membership::check_offline(settings, node)));
        return;
    }
    let opened = Held::open(settings).and_then(|held| Ok((held.info()?, held)));
    let (info, held) = match opened {
        Ok(opened) => opened,
        Err(error) => {
            report.checks.push(Check::new("key device", Verdict::Bad, error.to_string()));
            return;
        }
    };
    let detail = format!(
        "{} {} serial {}, token {:?}: {}",
        info.manufacturer, info.model, info.serial, info.token, info.custody
    );
    let soft = info.custody != Custody::Hardware;
    report.checks.push(custody_check(soft, &settings.config, detail));
    report.checks.push(random_test(settings, &held));
    match held.keys(settings) {
        Ok(found) => {
            report.checks.push(key_check(&found));
            let node = found.iter().find(|key| key.role == "consensus").and_then(KeyRecord::id);
            report.checks.extend(node.map(|node| membership::check(settings, &held, node)));
            report.keys = found;
        }
        Err(error) => report.checks.push(Check::new("keys", Verdict::Bad, error.to_string())),
    }
    report.checks.push(at_rest(settings, info.custody));
    report.checks.push(rollback::check(settings, &held, &info));
}

/// Whether a node of this file may keep its keys in such a device.
fn custody_check(is_soft: bool, config: &NodeConfig, device: String) -> Check {
    let (verdict, text) = match (is_soft, config.production, config.hsm.software_token_allowed) {
        (false, ..) => (Verdict::Good, device),
        (true, false, _) => (Verdict::Warn, device),
        (true, true, true) => {
            let what = "production = true, and hsm.software_token_allowed takes it all the same: whoever reads this host's memory has the keys";
            (Verdict::Warn, format!("{device}; {what}"))
        }
        (true, true, false) => {
            let what = "production = true refuses it: name a hardware device in hsm.module, or say hsm.software_token_allowed = true";
            (Verdict::Bad, format!("{device}; {what}"))
        }
    };
    Check::new("key device", verdict, text)
}

/// Nothing is said where none is configured: few machines have one.
fn examine_accelerator(settings: &Settings, offline: bool, report: &mut Report) {
    let Some(params) = accelerator::params(settings) else { return };
    if offline {
        report.checks.push(Check::new("accelerator", Verdict::Skipped, "not opened (--offline)"));
        return;
    }
    match accelerator::start(&params) {
        Ok(bulk) => {
            report.checks.push(accelerator_check(&bulk));
            report.accelerator = Some(bulk);
        }
        Err(error) => report.checks.push(Check::new("accelerator", Verdict::Bad, error.to_string())),
    }
}

fn accelerator_check(bulk: &Bulk) -> Check {
    let of = |is: fn(&accelerator::Verdict) -> bool| {
        let rows = bulk.rows().iter().filter(|row| is(&row.verdict)).map(|row| row.operation.name());
        rows.collect::<Vec<_>>().join(", ")
    };
    let refused = of(|verdict| matches!(verdict, accelerator::Verdict::Refused(_)));
    let faster = of(|verdict| matches!(verdict, accelerator::Verdict::From(_)));
    let (verdict, found) = if !refused.is_empty() {
        (Verdict::Bad, format!("fails or answers wrongly: {refused}; do not use it"))
    } else if faster.is_empty() {
        (Verdict::Warn, "never faster than this machine's own kernels: take it out of the configuration".to_owned())
    } else {
        (Verdict::Good, format!("faster at {faster}"))
    };
    Check::new("accelerator", verdict, format!("{}: {found}", bulk.title()))
}

/// The test that a start makes, made now.
fn random_test(settings: &Settings, held: &Held) -> Check {
    const NAME: &str = "random bit generator";
    let Held::Here(device) = held else {
        return Check::new(NAME, Verdict::Skipped, "tested by the broker's worker at each of its starts; see its log");
    };
    match keys::self_test::random(&settings.config.hsm, device.as_ref()) {
        Ok(None) => Check::new(NAME, Verdict::Warn, "hsm.random_test is \"off\": no start tests it"),
        Ok(Some(tested)) => {
            let verdict = if tested.passed == Passed::AtOnce { Verdict::Good } else { Verdict::Warn };
            Check::new(NAME, verdict, tested.to_string())
        }
        Err(error) => Check::new(NAME, Verdict::Bad, error.to_string()),
    }
}

fn key_check(found: &[KeyRecord]) -> Check {
    let loose: Vec<&str> = found.iter().filter(|key| key.extractable).map(|key| key.role.as_str()).collect();
    if loose.is_empty() {
        return Check::new("keys", Verdict::Good, format!("{} keys, none extractable", found.len()));
    }
    Check::new("keys", Verdict::Bad, format!("extractable: {}; generate them anew in the device", loose.join(", ")))
}

/// Whether a stolen disk can be read: it can when everything needed to unlock it lies on it.
fn at_rest(settings: &Settings, custody: Custody) -> Check {
    let pin = match settings.pin() {
        PinSource::File(path) => path,
        _ => return Check::new("at rest", Verdict::Good, "sealed; the PIN is not on this disk"),
    };
    if custody == Custody::Hardware {
        return Check::new("at rest", Verdict::Good, "sealed; the key encryption key is in a device of its own");
    }
    let disk = |path: &Path| std::fs::metadata(path).map(|data| data.dev()).ok();
    let data = disk(&settings.path(&settings.config.data_dir));
    let token = disk(&settings.path(&settings.config.hsm.token_config));
    if data.is_some() && data == disk(&pin) && data == token {
        let text = "sealed, but token, PIN file and data lie on one disk: a stolen disk is readable; \
                    use an external device, a typed PIN or a credential bound to a TPM";
        return Check::new("at rest", Verdict::Warn, text);
    }
    Check::new("at rest", Verdict::Good, "sealed; token, PIN file and data are not all on one disk")
}
