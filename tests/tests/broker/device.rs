//! A broker on the device of `fixtures/device.c`, which can be made worse while it runs.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use bixi_tests::broker::RunningBroker;
use bixi_tests::chain::wait_until;
use bixi_tests::node::service;
use bixi_tests::{binary, fixture};

use crate::bench::Bench;

/// What the device can be made to do.
#[derive(Clone, Copy)]
pub(crate) enum Fault {
    Gone,
    Hangs,
    SlowLogin,
    Refuses,
}

impl Fault {
    const ALL: [Self; 4] = [Self::Gone, Self::Hangs, Self::SlowLogin, Self::Refuses];

    fn variable(self) -> &'static str {
        match self {
            Self::Gone => "BIXI_DEVICE_GONE",
            Self::Hangs => "BIXI_DEVICE_HANGS",
            Self::SlowLogin => "BIXI_DEVICE_SLOW_LOGIN",
            Self::Refuses => "BIXI_DEVICE_REFUSES",
        }
    }
}

pub(crate) struct Device {
    config: PathBuf,
    place: PathBuf,
}

impl Device {
    /// Puts it before the token of a node.
    pub(crate) fn new(bench: &Bench) -> Self {
        let place = bench.place.path().to_owned();
        let module = fixture::library("device.c", &place);
        bench.set("module", &format!("{:?}", module.display().to_string()));
        Self { config: bench.config.clone(), place }
    }

    fn file(&self, fault: Fault) -> PathBuf {
        self.place.join(fault.variable())
    }

    /// Every digest that it was handed to sign, 32 bytes each.
    pub(crate) fn signed(&self) -> PathBuf {
        self.place.join("signed")
    }

    /// Makes it worse, or well again.
    pub(crate) fn set(&self, fault: Fault, is_so: bool) {
        let path = self.file(fault);
        if is_so { fs::write(path, "").unwrap() } else { fs::remove_file(path).unwrap() }
    }

    /// The command that becomes `bixi` with it.
    pub(crate) fn command(&self) -> Command {
        let mut command = service();
        command.env("BIXI_DEVICE_MODULE", binary("libbixi_token.so")).env("BIXI_DEVICE_SIGNED", self.signed());
        for fault in Fault::ALL {
            command.env(fault.variable(), self.file(fault));
        }
        command
    }

    /// A broker on it that answers.
    pub(crate) fn broker(&self) -> RunningBroker {
        let broker = RunningBroker::try_start_by(self.command(), &self.config);
        broker.unwrap_or_else(|ended| panic!("{}", ended.said))
    }

    /// A broker on it that need not.
    pub(crate) fn spawned(&self) -> RunningBroker {
        RunningBroker::spawn_by(self.command(), &self.config)
    }

    /// Waits until a worker waits in its login, and returns its process; another one the next time.
    pub(crate) fn wait_for_login(&self) -> i32 {
        let path = self.file(Fault::SlowLogin).with_extension("waits");
        let process = |path: &Path| fs::read_to_string(path).ok()?.strip_suffix('\n')?.parse().ok();
        let mut found = None;
        wait_until("a login", || {
            found = process(&path);
            found.is_some()
        });
        fs::remove_file(path).unwrap();
        found.expect("waited for")
    }
}
