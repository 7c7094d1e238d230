//! What an operator changes in a node's files.

use std::fs;
use std::path::Path;

/// Sets a key of a TOML file as `bixi chain new` writes them, every key on a line of its own; `section` is empty for those above the
/// first section.
///
/// # Panics
/// When the file has no such key: a setting that changes nothing would test nothing.
pub fn set(file: &Path, section: &str, key: &str, value: &str) {
    let text = fs::read_to_string(file).expect("a settings file");
    let (mut current, mut found) = ("", 0);
    let mut changed = String::with_capacity(text.len() + value.len());
    for line in text.lines() {
        if let Some(name) = line.strip_prefix('[') {
            current = name.trim_end_matches(']');
        }
        if current == section && line.strip_prefix(key).is_some_and(|rest| rest.starts_with(" = ")) {
            found += 1;
            changed.push_str(&format!("{key} = {value}\n"));
        } else {
            changed.push_str(line);
            changed.push('\n');
        }
    }
    assert_eq!(found, 1, "{key} of [{section}] in {}", file.display());
    fs::write(file, changed).expect("a settings file can be written");
}
