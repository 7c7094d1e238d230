//! The shim handles every virtual of RocksDB's classes: a new one in a newer RocksDB shows here first.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

const SHIM: &str = include_str!("../../shim/cipherfs.cc");

/// Virtuals whose base implementation neither reads nor writes a file, so that it is right for us too.
const BASE_IS_RIGHT: [(&str, &[&str]); 2] = [
    (
        "FSWritableFile",
        // Hints kept in the base class's own fields.
        &[
            "SetWriteLifeTimeHint",
            "SetIOPriority",
            "GetIOPriority",
            "GetWriteLifeTimeHint",
            "SetPreallocationBlockSize",
            "GetPreallocationStatus",
        ],
    ),
    // Closes once, through CloseImpl; nothing is buffered; sizes and levels are kept in the base class.
    ("Logger", &["Close", "Flush", "GetLogFileSize", "GetInfoLogLevel", "SetInfoLogLevel"]),
];

fn include() -> PathBuf {
    PathBuf::from(env!("BIXI_ROCKSDB_INCLUDE"))
}

/// The body of `class name` in a header.
fn class_body<'a>(header: &'a str, name: &str) -> &'a str {
    let start = [format!("\nclass {name} {{"), format!("\nclass {name} : ")]
        .iter()
        .find_map(|opening| header.find(opening.as_str()))
        .unwrap_or_else(|| panic!("class {name} is declared"));
    let end = header[start..].find("\n};").expect("a class ends");
    &header[start..start + end]
}

/// The virtual methods of a class and how many forms each has, the destructor left out.
fn virtuals(body: &str) -> BTreeMap<String, usize> {
    let mut found = BTreeMap::new();
    let names = body.split("virtual ").skip(1).filter_map(|rest| {
        let signature = &rest[..rest.find('(')?];
        let name = signature.rsplit([' ', '*', '&', '\n']).next()?;
        (!name.starts_with('~') && !name.is_empty()).then_some(name)
    });
    for name in names {
        *found.entry(name.to_owned()).or_default() += 1;
    }
    found
}

/// How many forms of a method a class overrides: what follows the closing parenthesis of its parameters says so.
fn overrides(body: &str, name: &str) -> usize {
    let called = format!("{name}(");
    let places = body.match_indices(&called).filter(|(start, _)| {
        !body[..*start].ends_with(|before: char| before.is_ascii_alphanumeric() || before == '_' || before == '~')
    });
    places
        .filter(|(start, _)| {
            let rest = &body[start + called.len()..];
            let mut depth = 1;
            let end = rest.find(|letter| {
                depth += i32::from(letter == '(') - i32::from(letter == ')');
                depth == 0
            });
            let after = &rest[end.expect("parentheses match")..];
            after[..after.find(['{', ';']).unwrap_or(after.len())].contains(" override")
        })
        .count()
}

fn unhandled(header: &str, base: &str, derived: &str) -> Vec<String> {
    let text = std::fs::read_to_string(include().join("rocksdb").join(header)).expect("header");
    let ours = class_body(SHIM, derived);
    let is_right = |name: &str| BASE_IS_RIGHT.iter().any(|(class, names)| *class == base && names.contains(&name));
    virtuals(class_body(&text, base))
        .into_iter()
        .filter(|(name, _)| !is_right(name))
        .filter(|(name, forms)| overrides(ours, name) != *forms)
        .map(|(name, forms)| format!("{} of {forms} forms of {name}", overrides(ours, &name)))
        .collect()
}

#[test]
fn every_virtual_is_handled() {
    let classes = [
        ("file_system.h", "FileSystem", "SealedFileSystem final"),
        ("file_system.h", "FSWritableFile", "SealedWritableFile final"),
        ("file_system.h", "FSSequentialFile", "SealedSequentialFile final"),
        ("file_system.h", "FSRandomAccessFile", "SealedRandomAccessFile final"),
        ("file_system.h", "FSDirectory", "SealedDirectory final"),
        ("env.h", "Logger", "ForwardingLogger final"),
    ];
    for (header, base, derived) in classes {
        let missing = unhandled(header, base, derived);
        assert!(missing.is_empty(), "{derived} overrides {missing:?}");
    }
}

#[test]
fn the_parser_sees_the_virtuals() {
    let text = std::fs::read_to_string(include().join("rocksdb/file_system.h")).expect("header");
    let found = virtuals(class_body(&text, "FileSystem"));
    for name in ["NewSequentialFile", "ReuseWritableFile", "SyncFile", "GetFreeSpace", "OptimizeForLogRead"] {
        assert!(found.contains_key(name), "{name} in {found:?}");
    }
    assert!(found.len() > 40, "{found:?}");
}

#[test]
fn nothing_derives_from_a_forwarding_wrapper() {
    assert!(!SHIM.contains("Wrapper("), "a wrapper forwards what it does not know");
}

/// The shim redeclares a type that RocksDB keeps private. Skipped when only headers are installed.
#[test]
fn the_environment_has_rocksdbs_layout() {
    let source = include().join("../db/c.cc");
    let Ok(text) = std::fs::read_to_string(Path::new(&source)) else { return };
    let tokens = |text: &str| text.replace("rocksdb::", "").split_whitespace().collect::<Vec<_>>().join(" ");
    let declaration = |text: &str| {
        let start = text.find("struct rocksdb_env_t {").expect("declared");
        let end = text[start..].find("};").expect("ends");
        tokens(&text[start..start + end])
    };
    assert_eq!(declaration(SHIM), declaration(&text));
}
