//! What the manuals tell people to type.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::process::{Command, Output};

use bixi_tests::binary;

fn repository(file: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("..").join(file);
    fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

fn said(output: &Output) -> String {
    [&output.stdout[..], &output.stderr].map(String::from_utf8_lossy).concat()
}

/// The walk-through of the Chinese README, typed as it stands there.
#[test]
fn the_ceremony_of_the_readme_can_be_followed_to_the_letter() {
    let readme = repository("README.zh.md");
    let (_, chapter) = readme.split_once("## 密钥典礼演练").expect("its heading");
    let (_, block) = chapter.split_once("```sh\n").expect("its block");
    let (commands, _) = block.split_once("```\n").expect("the block's end");
    assert!(commands.lines().filter(|line| line.starts_with("bixi ")).count() > 10, "{commands}");
    let place = tempfile::tempdir().unwrap();
    let programs = binary("bixi").parent().unwrap().to_owned();
    let path = std::env::join_paths(
        [programs].into_iter().chain(std::env::split_paths(&std::env::var_os("PATH").unwrap_or_default())),
    );
    let typed = Command::new("bash")
        .args(["-euxo", "pipefail", "-c", commands])
        .env("PATH", path.unwrap())
        .current_dir(place.path())
        .output()
        .unwrap();
    assert!(typed.status.success(), "{}", said(&typed));
}

/// Every command that the officer's manual names is one of the program's.
#[test]
fn the_officers_manual_names_commands_that_exist() {
    let manual = repository("packaging/man/bixi-hsm.7");
    let mut named = BTreeSet::new();
    for line in manual.lines() {
        let words: Vec<&str> = line.split_whitespace().skip_while(|word| *word != "bixi").skip(1).collect();
        let is_word = |word: &&&str| word.starts_with(|c: char| c.is_ascii_lowercase()) && word.len() > 1;
        let command: Vec<&str> = words.iter().take_while(is_word).copied().collect();
        if line.starts_with('.') && line.contains("Ic bixi ") {
            named.insert(command);
        }
    }
    assert!(named.len() > 12, "{named:?}");
    for command in named {
        let help = Command::new(binary("bixi")).args(&command).arg("--help").output().unwrap();
        assert!(help.status.success(), "bixi {}: {}", command.join(" "), said(&help));
    }
}

/// Files of that extension below a directory, but for what is hidden or built.
fn sources(dir: &Path, text: &mut String) {
    for entry in fs::read_dir(dir).unwrap() {
        let (path, name) = entry.map(|entry| (entry.path(), entry.file_name())).unwrap();
        let name = name.to_string_lossy();
        if path.is_dir() && !name.starts_with('.') && name != "target" {
            sources(&path, text);
        } else if name.ends_with(".rs") {
            text.push_str(&fs::read_to_string(&path).unwrap());
        }
    }
}

/// Every statement about data at rest names the tests that hold it, by names that tests have.
#[test]
fn the_chapter_about_data_at_rest_names_tests_that_exist() {
    let chapter = repository("packaging/man/bixi-at-rest.7");
    let mut text = String::new();
    sources(&Path::new(env!("CARGO_MANIFEST_DIR")).join(".."), &mut text);
    let named: Vec<String> =
        chapter.lines().filter_map(|line| line.strip_prefix(".Dl ")).map(|name| name.replace("\\:", "")).collect();
    assert!(named.len() > 20, "{named:?}");
    for name in named {
        assert!(
            text.contains(&format!("#[test]\nfn {name}(")) || text.contains(&format!("#[test]\n    fn {name}(")),
            "{name}"
        );
    }
}

/// The manual pages are sound to the formatter that people read them with.
#[test]
fn the_officers_manuals_are_formatted_without_a_warning() {
    for name in ["bixi-hsm.7", "bixi-at-rest.7"] {
        let page = Path::new(env!("CARGO_MANIFEST_DIR")).join("../packaging/man").join(name);
        let formatted = Command::new("groff").args(["-mdoc", "-Tutf8", "-ww", "-z"]).arg(page).output();
        let formatted = formatted.expect("groff, which packaging/dev/packages.sh --tests installs");
        assert!(formatted.status.success() && formatted.stderr.is_empty(), "{name}: {}", said(&formatted));
    }
}
