//! What the tests share: the plugins at hand, the engine double, a clock that shows what it is told.

use std::path::{Path, PathBuf};
use std::process::Command;

use bixi_hsm_openssl::measure::{Clock, Side};
use bixi_hsm_openssl::{Operation, Params, Source};
use tempfile::TempDir;

pub(crate) const DOUBLE: &str = "bixi-double";

/// A plugin, and the libcrypto it was built for.
pub(crate) struct Abi {
    pub(crate) plugin: PathBuf,
    /// Of a libcrypto that is not the system's.
    prefix: Option<PathBuf>,
}

impl Abi {
    /// libcrypto 3.
    pub(crate) fn three() -> Self {
        // Dependencies of tests are built into the directory of the test itself.
        let exe = std::env::current_exe().expect("the path of this test");
        let plugin = exe.with_file_name("libbixi_openssl.so");
        assert!(plugin.is_file(), "{} is not there", plugin.display());
        Self { plugin, prefix: None }
    }

    /// libcrypto 1.1, where it was built.
    pub(crate) fn one() -> Option<Self> {
        let built = PathBuf::from(std::env::var_os("BIXI_OPENSSL11")?);
        Some(Self { plugin: built.join("libbixi_openssl11.so"), prefix: Some(built.join("libcrypto11")) })
    }

    pub(crate) fn all() -> impl Iterator<Item = Self> {
        std::iter::once(Self::three()).chain(Self::one())
    }

    pub(crate) fn is_three(&self) -> bool {
        self.prefix.is_none()
    }

    pub(crate) fn engine(&self, id: &str) -> Params {
        self.params(Source::Engine { id: id.to_owned(), commands: Vec::new() })
    }

    pub(crate) fn provider(&self, name: &str) -> Params {
        self.params(Source::Provider { name: name.to_owned(), properties: String::new() })
    }

    fn params(&self, source: Source) -> Params {
        Params { plugin: self.plugin.clone(), source, directory: String::new(), operations: Vec::new() }
    }

    /// A copy of the engine double of its own, so that tests do not share its memory; it stays as long as the directory.
    pub(crate) fn double(&self, commands: &[(&str, &str)]) -> (Params, TempDir) {
        let place = tempfile::tempdir().unwrap();
        self.compile("engine.c", &place.path().join(format!("{DOUBLE}.so")));
        let commands = commands.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        let source = Source::Engine { id: DOUBLE.to_owned(), commands };
        let directory = place.path().to_str().unwrap().to_owned();
        (Params { directory, ..self.params(source) }, place)
    }

    fn compile(&self, fixture: &str, library: &Path) {
        let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/fixtures").join(fixture);
        let mut compiler = Command::new("cc");
        compiler.args(["-shared", "-fPIC", "-O1", "-o"]).arg(library).arg(source);
        if let Some(prefix) = &self.prefix {
            compiler.arg("-I").arg(prefix.join("include")).arg("-L").arg(prefix.join("lib"));
        }
        run(compiler.arg("-lcrypto"));
    }
}

/// Runs a tool of the C compiler's, which RocksDB needs anyhow.
pub(crate) fn run(command: &mut Command) -> String {
    let ran = command.output().expect("a C compiler and its tools");
    assert!(ran.status.success(), "{command:?}: {}", String::from_utf8_lossy(&ran.stderr));
    String::from_utf8(ran.stdout).unwrap()
}

/// Shows these times, whatever the machine is busy with; every call is made once.
pub(crate) struct Told {
    pub(crate) ours_ns: u64,
    pub(crate) theirs_ns: u64,
}

/// Theirs are faster at every size.
pub(crate) const FASTER: Told = Told { ours_ns: 1000, theirs_ns: 100 };

impl Clock for Told {
    fn shortest_ns(&mut self, side: Side, _: Operation, _: usize, call: &mut dyn FnMut()) -> u64 {
        call();
        match side {
            Side::Ours => self.ours_ns,
            Side::Theirs => self.theirs_ns,
        }
    }
}
