//! What the figures depend on: the processor, how its clock is governed, what else it does.

use std::fs;

use serde_json::{Value, json};

/// The machine as it was before the first run.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Machine {
    cpu: String,
    cores: usize,
    /// Processes that wanted a core, over the last minute.
    load: Option<f64>,
    /// Of the first core; none where the system does not say, as in most virtual machines.
    governor: Option<String>,
}

impl Machine {
    pub(super) fn look() -> Self {
        let info = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
        let load = fs::read_to_string("/proc/loadavg").unwrap_or_default();
        let governor = fs::read_to_string("/sys/devices/system/cpu/cpu0/cpufreq/scaling_governor").ok();
        Self {
            cpu: model(&info).unwrap_or("unknown processor").to_owned(),
            cores: std::thread::available_parallelism().map_or(1, std::num::NonZero::get),
            load: load.split(' ').next().and_then(|load| load.parse().ok()),
            governor: governor.map(|governor| governor.trim().to_owned()),
        }
    }

    /// What makes figures taken now doubtful, and what to do.
    pub(super) fn warnings(&self) -> Vec<String> {
        let mut warnings = Vec::new();
        if let Some(load) = self.load.filter(|load| *load > 0.5 * self.cores as f64) {
            warnings.push(format!(
                "other work: load {load:.1} on {} cores; figures are those of a shared core, measure on an idle machine",
                self.cores
            ));
        }
        if let Some(governor) = self.governor.as_deref().filter(|governor| *governor != "performance") {
            warnings.push(format!(
                "the clock is governed by \"{governor}\" and may rise or fall; set the governor to \"performance\" to measure"
            ));
        }
        if cfg!(debug_assertions) {
            warnings.push("this is a development build; a release build is optimised further".to_owned());
        }
        warnings
    }

    pub(super) fn line(&self) -> String {
        let load = self.load.map_or_else(|| "unknown".to_owned(), |load| format!("{load:.1}"));
        let governor = self.governor.as_deref().unwrap_or("unknown");
        format!("{} ({}), {} cores, load {load}, governor {governor}", self.cpu, std::env::consts::ARCH, self.cores)
    }

    pub(super) fn to_json(&self) -> Value {
        json!({
            "cpu": self.cpu,
            "arch": std::env::consts::ARCH,
            "cores": self.cores,
            "load_1min": self.load,
            "governor": self.governor,
        })
    }
}

/// The processor's name in `/proc/cpuinfo`; AArch64 gives a part number only.
fn model(info: &str) -> Option<&str> {
    let lines = || info.lines().filter_map(|line| line.split_once(':'));
    let value = |name: &str| lines().find(|(key, _)| key.trim() == name).map(|(_, value)| value.trim());
    value("model name").or_else(|| value("CPU part"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn machine(load: f64, governor: Option<&str>) -> Machine {
        Machine { cpu: "X".to_owned(), cores: 4, load: Some(load), governor: governor.map(str::to_owned) }
    }

    #[test]
    fn load_and_a_moving_clock_are_warned_of() {
        let quiet = machine(0.3, Some("performance")).warnings();
        let of_build = usize::from(cfg!(debug_assertions));
        assert_eq!(quiet.len(), of_build, "{quiet:?}");
        let busy = machine(3.0, Some("powersave")).warnings();
        assert_eq!(busy.len(), 2 + of_build, "{busy:?}");
        assert!(busy[0].contains("load 3.0") && busy[1].contains("powersave"), "{busy:?}");
        assert_eq!(machine(0.3, None).warnings().len(), of_build, "a system that does not say is not doubted");
    }

    #[test]
    fn the_processor_is_named_on_both_architectures() {
        assert_eq!(model("processor\t: 0\nmodel name\t: X 9\n"), Some("X 9"));
        assert_eq!(model("processor\t: 0\nCPU part\t: 0xd01\n"), Some("0xd01"));
        assert_eq!(model(""), None);
    }
}
