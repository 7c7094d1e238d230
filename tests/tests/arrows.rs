//! The arrows of the house: which crate may use which, where `unsafe` may stand, who may start a thread.
//!
//! [`HOUSE`] mirrors the design's section "The house". A new arrow is a decision: it changes this table, `node/README.md` and,
//! if it goes beyond the design, an ADR. Dependencies of tests are free; those of libraries, binaries and build scripts are not.
#![forbid(unsafe_code)]
#![allow(missing_docs)]

use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// A crate's directory and the rooms it may use. Names are those of the packages without `bixi-`.
struct Room {
    name: &'static str,
    path: &'static str,
    uses: &'static str,
}

const fn room(name: &'static str, path: &'static str, uses: &'static str) -> Room {
    Room { name, path, uses }
}

#[rustfmt::skip]
const HOUSE: &[Room] = &[
    room("accel",      "accel",                ""),
    room("platform",   "platform",             ""),
    room("sealed",     "platform/sealed",      "accel platform"),
    room("types",      "node/types",           "accel"),
    room("config",     "config",               "types"),
    room("hsm",        "hsm",                  "accel platform sealed types hsm-randomness"),
    room("hsm-broker", "hsm/broker",           "platform hsm"),
    room("hsm-escrow", "hsm/escrow",           "accel platform sealed"),
    room("hsm-openssl", "hsm/openssl",         "accel hsm hsm-openssl-abi"),
    room("hsm-openssl-abi", "hsm/openssl/abi", ""),
    room("hsm-openssl-plugin", "hsm/openssl/plugin", "hsm-openssl-abi"),
    room("hsm-pkcs11", "hsm/pkcs11",           "accel platform hsm"),
    room("hsm-randomness", "hsm/randomness",   ""),
    room("hsm-sdf",    "hsm/sdf",              "accel platform hsm"),
    room("hsm-sdf-testlib", "hsm/sdf/testlib", "accel platform hsm-sdf"),
    room("hsm-tpm",    "hsm/tpm",              "accel platform hsm"),
    room("hsm-vault",  "hsm/vault",            "accel platform sealed hsm hsm-escrow"),
    room("hsm-token",  "hsm/token",            "accel platform sealed"),
    room("cipherfs",   "node/ledger/cipherfs", "accel platform sealed"),
    room("ledger",     "node/ledger",          "accel platform sealed types cipherfs"),
    room("execution",  "node/execution",       "accel platform types"),
    room("consensus",  "node/consensus",       "types"),
    room("txpool",     "node/txpool",          "accel platform types"),
    room("network",    "node/network",         "accel platform types"),
    room("rpc",        "node/rpc",             "types"),
    room("runtime",    "node/runtime",         "accel platform sealed types config hsm hsm-broker hsm-escrow hsm-openssl hsm-pkcs11 hsm-randomness hsm-sdf hsm-tpm hsm-vault ledger execution consensus txpool network rpc"),
    room("cli",        "node/cli",             "accel types config runtime"),
    room("tests",      "tests",                "accel types"),
    room("benches",    "benches",              ""),
    room("benches-ctr", "benches/ledger/ctr",  "accel"),
];

/// Crates that may hold `unsafe`, each for one reason.
const UNSAFE: &[&str] = &[
    "accel",              // instruction sets
    "platform",           // mlock, madvise, affinity, io_uring
    "hsm-openssl",        // the C boundary of plugins for accelerators
    "hsm-openssl-plugin", // the same boundary from the other side, and libcrypto
    "hsm-sdf",            // the C boundary of SDF libraries
    "hsm-sdf-testlib",    // the same boundary from the other side
    "hsm-pkcs11",         // mechanisms by a vendor's number
    "hsm-token",          // the C boundary of PKCS#11
    "cipherfs",           // the C boundary of RocksDB's file system
    "benches-ctr",        // the C boundary of RocksDB's encrypted environment, a peer to measure against
];

/// What starts threads. Tasks (`tokio::spawn`) run on threads of a runtime that platform made; a current-thread runtime, such as
/// the binary's main thread waits on, starts none.
const THREAD_STARTERS: &[&str] = &[
    "thread::spawn",
    "thread::scope",
    "thread::Builder",
    "rayon::spawn",
    "rayon::scope",
    "rayon::join",
    "ThreadPoolBuilder",
    "Runtime::new",
    "new_multi_thread",
    "tokio::main",
    "pthread_create",
];

/// Shipped files that may start threads of their own, each for one reason.
const THREAD_EXCEPTIONS: &[&str] = &[
    // The suite that officers run on a device: four threads share it for a moment. No running node calls it.
    "hsm/src/conformance/checks.rs",
    // The demonstration's clients: they stand for other machines, and must not take the node's places.
    "node/cli/src/demo.rs",
    // A device is opened by a thread that may hang for ever, before there is a plan to place it by, or none at all.
    "node/runtime/src/keys/opening.rs",
    // Callers of a stopped node's device: they stand for a node's threads, none of which is there.
    "node/runtime/src/lifecycle/bench.rs",
];

/// Features that exist for tests; no library, binary or build script may have one turned on.
const TEST_FEATURES: &[&str] = &["seeded", "fixtures", "unsealed"];

const UNFINISHED: &[&str] = &[concat!("todo", "!("), concat!("unimplemented", "!(")];

/// The workspace as cargo describes it.
struct Workspace {
    root: PathBuf,
    packages: Vec<Package>,
}

struct Package {
    name: String,
    directory: PathBuf,
    /// Rooms used by library, binaries and build script.
    uses: BTreeSet<String>,
    /// Features for tests that what is shipped would turn on.
    test_features: Vec<String>,
    /// Root files of library and binaries.
    roots: Vec<PathBuf>,
}

impl Workspace {
    fn read() -> Self {
        let output = Command::new(env!("CARGO"))
            .args(["metadata", "--format-version", "1", "--no-deps", "--offline", "--locked"])
            .current_dir(env!("CARGO_MANIFEST_DIR"))
            .output()
            .expect("cargo runs");
        assert!(output.status.success(), "cargo metadata: {}", String::from_utf8_lossy(&output.stderr));
        Self::from_metadata(&serde_json::from_slice(&output.stdout).expect("cargo metadata prints JSON"))
    }

    fn from_metadata(metadata: &Value) -> Self {
        let packages = metadata["packages"].as_array().expect("packages").iter().map(Package::from_metadata);
        Self { root: text(&metadata["workspace_root"]).into(), packages: packages.collect() }
    }

    fn arrows(&self) -> BTreeMap<&str, &BTreeSet<String>> {
        self.packages.iter().map(|package| (package.name.as_str(), &package.uses)).collect()
    }

    /// Every room that `name` uses, directly or through others.
    fn reach<'a>(&'a self, name: &'a str) -> BTreeSet<&'a str> {
        let arrows = self.arrows();
        let mut found = BTreeSet::new();
        let mut waiting = vec![name];
        while let Some(next) = waiting.pop() {
            let uses = arrows.get(next).unwrap_or_else(|| panic!("{next} is no crate of this workspace"));
            waiting.extend(uses.iter().map(String::as_str).filter(|&used| found.insert(used)));
        }
        found
    }
}

impl Package {
    fn from_metadata(package: &Value) -> Self {
        let manifest = Path::new(text(&package["manifest_path"]));
        let dependencies = package["dependencies"].as_array().expect("dependencies").iter();
        let targets = package["targets"].as_array().expect("targets").iter();
        Self {
            name: short(text(&package["name"])).expect("every crate is named bixi-…").to_owned(),
            directory: manifest.parent().expect("a manifest has a directory").to_owned(),
            uses: dependencies
                .filter(|dependency| dependency["kind"].as_str() != Some("dev"))
                .filter_map(|dependency| short(text(&dependency["name"])).map(str::to_owned))
                .collect(),
            test_features: test_features(package),
            roots: targets
                .filter(|target| target["kind"].as_array().is_some_and(|kinds| kinds.iter().any(is_shipped)))
                .map(|target| text(&target["src_path"]).into())
                .collect(),
        }
    }
}

fn text(value: &Value) -> &str {
    value.as_str().expect("a string in cargo's metadata")
}

fn short(name: &str) -> Option<&str> {
    name.strip_prefix("bixi-")
}

/// Features of [`TEST_FEATURES`] turned on by a dependency of what is shipped, or by another feature, `default` among them.
fn test_features(package: &Value) -> Vec<String> {
    let dependencies = package["dependencies"].as_array().expect("dependencies").iter();
    let shipped = dependencies.filter(|dependency| dependency["kind"].as_str() != Some("dev"));
    let asked = shipped.flat_map(|dependency| dependency["features"].as_array()).flatten();
    let implied = package["features"].as_object().into_iter().flat_map(|features| features.values());
    let implied = implied.filter_map(Value::as_array).flatten();
    let name = |feature: &'_ Value| text(feature).rsplit('/').next().expect("one part at least").to_owned();
    asked.chain(implied).map(name).filter(|name| TEST_FEATURES.contains(&name.as_str())).collect()
}

fn is_shipped(kind: &Value) -> bool {
    matches!(kind.as_str(), Some("lib" | "rlib" | "cdylib" | "bin"))
}

/// Where the workspace differs from the table.
fn differences(workspace: &Workspace, house: &[Room]) -> Vec<String> {
    let mut found = Vec::new();
    for package in &workspace.packages {
        let Some(room) = house.iter().find(|room| room.name == package.name) else {
            found.push(format!("{} has no line in the table", package.name));
            continue;
        };
        if package.directory != workspace.root.join(room.path) {
            found.push(format!("{} is not at {}", package.name, room.path));
        }
        let allowed: BTreeSet<_> = room.uses.split_whitespace().collect();
        let forbidden = package.uses.iter().filter(|used| !allowed.contains(used.as_str()));
        found.extend(forbidden.map(|used| format!("{} must not use {used}", package.name)));
    }
    let missing = house.iter().filter(|room| !workspace.packages.iter().any(|package| package.name == room.name));
    found.extend(missing.map(|room| format!("{} is in the table and nowhere else", room.name)));
    found
}

/// Every file below `directory` whose name ends in one of `extensions`, sorted.
fn files_of(directory: &Path, extensions: &[&str]) -> Vec<PathBuf> {
    let mut files = Vec::new();
    let Ok(entries) = fs::read_dir(directory) else { return files };
    let mut paths: Vec<_> = entries.map(|entry| entry.expect("a readable directory").path()).collect();
    paths.sort();
    for path in paths {
        if path.is_dir() {
            files.extend(files_of(&path, extensions));
        } else if path.extension().and_then(|name| name.to_str()).is_some_and(|name| extensions.contains(&name)) {
            files.push(path);
        }
    }
    files
}

/// Files and directories of modules that exist in tests only, declared in `file`.
fn test_modules(file: &Path, source: &str) -> Vec<PathBuf> {
    let is_root = matches!(file.file_name().and_then(|name| name.to_str()), Some("lib.rs" | "main.rs"));
    let directory =
        if is_root { file.parent().expect("a file has a directory").to_owned() } else { file.with_extension("") };
    let lines: Vec<_> = source.lines().map(str::trim).collect();
    let declared = lines.windows(2).filter(|pair| pair[0] == "#[cfg(test)]").filter_map(|pair| {
        let name = pair[1].rsplit_once("mod ")?.1.strip_suffix(';')?;
        Some(directory.join(name))
    });
    declared.flat_map(|module| [module.with_extension("rs"), module]).collect()
}

/// The source without comments and without modules that exist in tests only; lines keep their numbers.
fn shipped_lines(source: &str) -> Vec<(usize, &str)> {
    let mut kept = Vec::new();
    let mut previous = "";
    let mut in_tests = false;
    for (index, line) in source.lines().enumerate() {
        in_tests |= previous == "#[cfg(test)]" && line.starts_with("mod ") && line.ends_with('{');
        if !in_tests && !line.trim_start().starts_with("//") {
            kept.push((index + 1, line));
        }
        in_tests &= line != "}";
        previous = line;
    }
    kept
}

/// `file:line: word` wherever a shipped line of `package` holds one of `words`.
fn mentions(package: &Package, words: &[&str]) -> Vec<String> {
    let files: Vec<_> = files_of(&package.directory.join("src"), &["rs"])
        .into_iter()
        .map(|file| {
            let source = fs::read_to_string(&file).expect("readable source");
            (file, source)
        })
        .collect();
    assert!(!files.is_empty(), "{} has no source", package.name);
    let tests: Vec<_> = files.iter().flat_map(|(file, source)| test_modules(file, source)).collect();
    let shipped = files.iter().filter(|(file, source)| {
        !source.contains("#![cfg(test)]") && !tests.iter().any(|module| file.starts_with(module))
    });
    shipped.flat_map(|(file, source)| mentions_in(file, source, words)).collect()
}

fn mentions_in(file: &Path, source: &str, words: &[&str]) -> Vec<String> {
    let lines = shipped_lines(source);
    let hits = lines.iter().flat_map(|(number, line)| {
        let hits = words.iter().filter(|&&word| line.contains(word));
        hits.map(move |word| format!("{}:{number}: {word}", file.display()))
    });
    hits.collect()
}

#[test]
fn every_arrow_is_in_the_table() {
    assert_eq!(differences(&Workspace::read(), HOUSE), Vec::<String>::new());
}

#[test]
fn what_is_shipped_has_no_feature_of_tests() {
    let workspace = Workspace::read();
    let found: Vec<_> = workspace.packages.iter().filter(|package| !package.test_features.is_empty()).collect();
    assert!(found.is_empty(), "{:?}", found.iter().map(|package| &package.name).collect::<Vec<_>>());
}

#[test]
fn only_runtime_and_cli_see_the_configuration() {
    let workspace = Workspace::read();
    let seers = workspace.packages.iter().filter(|package| package.uses.contains("config"));
    let names: BTreeSet<_> = seers.map(|package| package.name.as_str()).collect();
    assert!(names.is_subset(&BTreeSet::from(["runtime", "cli"])), "{names:?}");
}

#[test]
fn rooms_do_not_reach_what_they_must_not_know() {
    let workspace = Workspace::read();
    for leaf in ["accel", "platform"] {
        assert!(workspace.reach(leaf).is_empty(), "{leaf} uses no room");
    }
    let never: &[(&str, &[&str])] = &[
        ("ledger", &["hsm", "hsm-broker", "hsm-pkcs11", "hsm-vault", "hsm-token", "execution", "consensus", "config"]),
        ("consensus", &["platform", "sealed", "ledger", "hsm", "config"]),
        ("execution", &["sealed", "ledger", "hsm", "config"]),
        ("hsm-token", &["hsm", "types", "config"]),
        ("runtime", &["hsm-token", "hsm-openssl-plugin", "hsm-sdf-testlib", "cli"]),
        // The token is a module loaded by path, like any vendor's, and so is what links OpenSSL; the test library is no part of the node.
        ("cli", &["hsm-token", "hsm-openssl-plugin", "hsm-sdf-testlib"]),
    ];
    for (room, unknown) in never {
        let reach = workspace.reach(room);
        let known: Vec<_> = unknown.iter().filter(|name| reach.contains(**name)).collect();
        assert!(known.is_empty(), "{room} reaches {known:?}");
    }
}

#[test]
fn unsafe_code_is_forbidden_where_it_is_not_needed() {
    let mut open = BTreeSet::new();
    for package in Workspace::read().packages {
        assert!(!package.roots.is_empty(), "{} has no library and no binary", package.name);
        for root in &package.roots {
            let source = fs::read_to_string(root).expect("readable source");
            if !source.lines().any(|line| line == "#![forbid(unsafe_code)]") {
                open.insert(package.name.clone());
            }
        }
    }
    let expected: BTreeSet<_> = UNSAFE.iter().map(|&name| name.to_owned()).collect();
    assert_eq!(open, expected, "crates whose roots lack #![forbid(unsafe_code)]");
}

#[test]
fn cipherfs_alone_holds_another_language() {
    let workspace = Workspace::read();
    let found =
        workspace.packages.iter().flat_map(|package| files_of(&package.directory, &["c", "cc", "cpp", "h", "hpp"]));
    let homes: BTreeSet<_> = found.map(|file| file.parent().expect("a file has a directory").to_owned()).collect();
    // A wrong clock, a device that can be pulled out and an engine that lies stand around a node under test, never in it.
    let fixtures = workspace.root.join("tests/fixtures");
    // What cipherfs is measured against is RocksDB's own, and RocksDB speaks C++.
    let peer = workspace.root.join("benches/ledger/ctr/shim");
    assert_eq!(homes, BTreeSet::from([workspace.root.join("node/ledger/cipherfs/shim"), fixtures, peer]));
}

#[test]
fn threads_start_in_platform_only() {
    let workspace = Workspace::read();
    // The library of the tests stands for clients and operators: no node runs it.
    let others = workspace.packages.iter().filter(|package| !["platform", "tests"].contains(&package.name.as_str()));
    let mut found: Vec<_> = others.flat_map(|package| mentions(package, THREAD_STARTERS)).collect();
    for exception in THREAD_EXCEPTIONS {
        let prefix = format!("{}:", workspace.root.join(exception).display());
        let before = found.len();
        found.retain(|mention| !mention.starts_with(&prefix));
        assert!(found.len() < before, "{exception} starts no thread any more: take it off the list");
    }
    assert_eq!(found, Vec::<String>::new());
}

#[test]
fn nothing_is_left_unfinished() {
    let workspace = Workspace::read();
    let found: Vec<_> = workspace.packages.iter().flat_map(|package| mentions(package, UNFINISHED)).collect();
    assert_eq!(found, Vec::<String>::new());
}

/// The checker itself: each rule, broken once.
mod checker {
    use super::*;
    use serde_json::json;

    const SMALL: &[Room] = &[room("types", "node/types", ""), room("ledger", "node/ledger", "types")];

    fn package(name: &str, path: &str, dependencies: &[(&str, Option<&str>)]) -> Value {
        let dependencies: Vec<_> =
            dependencies.iter().map(|(name, kind)| json!({ "name": name, "kind": kind })).collect();
        json!({ "name": name, "manifest_path": format!("/w/{path}/Cargo.toml"), "targets": [], "dependencies": dependencies })
    }

    fn workspace(packages: &[Value]) -> Workspace {
        Workspace::from_metadata(&json!({ "workspace_root": "/w", "packages": packages }))
    }

    #[test]
    fn accepts_the_arrows_of_the_table_and_any_dependency_of_tests() {
        let uses = [("bixi-types", None), ("bixi-hsm", Some("dev")), ("rocksdb", None)];
        let small = [package("bixi-types", "node/types", &[]), package("bixi-ledger", "node/ledger", &uses)];
        assert_eq!(differences(&workspace(&small), SMALL), Vec::<String>::new());
    }

    #[test]
    fn refuses_a_forbidden_arrow_of_library_or_build_script() {
        for kind in [None, Some("build")] {
            let uses = [("bixi-types", None), ("bixi-hsm", kind)];
            let small = [package("bixi-types", "node/types", &[]), package("bixi-ledger", "node/ledger", &uses)];
            assert_eq!(differences(&workspace(&small), SMALL), ["ledger must not use hsm"]);
        }
    }

    #[test]
    fn refuses_an_unknown_a_moved_and_a_missing_crate() {
        let small = [package("bixi-types", "types", &[]), package("bixi-raft", "node/raft", &[])];
        let expected =
            ["types is not at node/types", "raft has no line in the table", "ledger is in the table and nowhere else"];
        assert_eq!(differences(&workspace(&small), SMALL), expected);
    }

    #[test]
    fn finds_a_feature_of_tests_unless_a_dependency_of_tests_turns_it_on() {
        let asking = |kind: Option<&str>, features: &Value| {
            let mut package = package("bixi-types", "node/types", &[]);
            package["dependencies"] = json!([{ "name": "bixi-accel", "kind": kind, "features": ["seeded"] }]);
            package["features"] = features.clone();
            Package::from_metadata(&package).test_features
        };
        let none = json!({ "seeded": [] });
        assert!(asking(Some("dev"), &none).is_empty());
        assert_eq!(asking(None, &none), ["seeded"]);
        assert_eq!(asking(Some("build"), &none), ["seeded"]);
        assert_eq!(asking(Some("dev"), &json!({ "default": ["bixi-accel/seeded"] })), ["seeded"]);
    }

    #[test]
    fn follows_arrows_through_other_rooms() {
        let chain = [
            package("bixi-ledger", "a", &[("bixi-sealed", None)]),
            package("bixi-sealed", "b", &[("bixi-accel", None)]),
            package("bixi-accel", "c", &[]),
        ];
        assert_eq!(workspace(&chain).reach("ledger"), BTreeSet::from(["sealed", "accel"]));
    }

    #[test]
    fn finds_a_thread_in_shipped_code_only() {
        let source = "// thread::spawn\nfn a() { std::thread::spawn(b); }\n#[cfg(test)]\nmod tests {\n    \
                      fn c() { std::thread::spawn(d); }\n}\nfn e() { std::thread::scope(f); }\n";
        let found = mentions_in(Path::new("x.rs"), source, THREAD_STARTERS);
        assert_eq!(found, ["x.rs:2: thread::spawn", "x.rs:7: thread::scope"]);
    }

    #[test]
    fn knows_the_files_of_test_modules() {
        let source = "#[cfg(test)]\nmod crash;\nmod open;\n#[cfg(test)]\npub(crate) mod driver;\n";
        let crash = ["/w/src/crash.rs", "/w/src/crash", "/w/src/driver.rs", "/w/src/driver"].map(PathBuf::from);
        assert_eq!(test_modules(Path::new("/w/src/lib.rs"), source), crash);
        let below = test_modules(Path::new("/w/src/ledger.rs"), source);
        assert_eq!(below[0], Path::new("/w/src/ledger/crash.rs"));
    }
}
