//! Officers at the terminal: pages and passphrases that they type.

use std::fs;
use std::path::{Path, PathBuf};

use bixi_tests::node::make_chain;
use bixi_tests::terminal::AtTerminal;

use crate::{bixi, json, said};

const CHECK: [&str; 5] = ["hsm", "escrow", "check", "--config", "bixi.toml"];

/// A node with an escrow of two of three, whose pages lie in `pages`.
fn node_with_escrow(place: &Path) -> PathBuf {
    let home = make_chain(place).parent().unwrap().to_owned();
    let create = ["hsm", "escrow", "create", "--json", "--config", "bixi.toml", "--out", "pages", "--threshold", "2"];
    json(&bixi(
        &[&create[..], &["--officer", "Li Wei", "--officer", "王芳", "--officer", "Zhang Min"]].concat(),
        &home,
    ));
    home
}

/// The numbered lines of a page.
fn lines(home: &Path, index: usize) -> Vec<String> {
    let page = fs::read_to_string(home.join(format!("pages/share-{index}.txt"))).unwrap();
    page.lines().filter(|line| line.starts_with(|c: char| c.is_ascii_digit())).map(str::to_owned).collect()
}

fn type_page(terminal: &mut AtTerminal, lines: &[String]) {
    for (number, line) in (1..).zip(lines) {
        terminal.answer(&format!("line {number}: "), line);
    }
}

#[test]
fn a_mistyped_page_is_asked_for_again_alone_and_nothing_typed_is_shown() {
    let place = tempfile::tempdir().unwrap();
    let home = node_with_escrow(place.path());
    let pages = [1, 2, 3].map(|index| lines(&home, index));
    fs::remove_dir_all(home.join("token")).unwrap();
    let mut terminal = AtTerminal::start(&["hsm", "recover", "--json", "--config", "bixi.toml"], &home);
    terminal.wait_for("Share number 1:");
    let wrong = pages[2][3].replacen(&pages[2][3][4..5], if &pages[2][3][4..5] == "7" { "8" } else { "7" }, 1);
    type_page(&mut terminal, &pages[2][..3]);
    terminal.answer("line 4: ", &wrong);
    terminal.wait_for("line 4 of the share");
    terminal.answer("line 4: ", &pages[2][3]);
    for (number, line) in (5..).zip(&pages[2][4..]) {
        terminal.answer(&format!("line {number}: "), line);
    }
    // One officer twice is one officer; the first share stays.
    terminal.wait_for("Share number 2 of 2:");
    type_page(&mut terminal, &pages[2]);
    terminal.wait_for("share 3 (Zhang Min) was given already");
    terminal.wait_for("Share number 2 of 2:");
    type_page(&mut terminal, &pages[0]);
    let shown = {
        terminal.wait_for("recover: guard");
        terminal.shown()
    };
    let recovered = json(&terminal.wait());
    assert_eq!(recovered["officers"], serde_json::json!(["Zhang Min", "Li Wei"]));
    for line in pages.iter().flatten() {
        assert!(!shown.contains(&line[4..]), "{shown}");
    }
}

#[test]
fn every_officer_brings_his_own_page() {
    let place = tempfile::tempdir().unwrap();
    let home = node_with_escrow(place.path());
    let of = |officer: &str, index: usize| {
        let page = format!("pages/share-{index}.txt");
        bixi(&[&CHECK[..], &["--officer", officer, "--share", &page]].concat(), &home)
    };
    assert!(of("王芳", 2).status.success());
    let other = of("王芳", 1);
    assert_eq!(other.status.code(), Some(1));
    assert!(said(&other).contains("the page of Li Wei (share 1), and not that of 王芳"), "{}", said(&other));

    let mut terminal = AtTerminal::start(&[&CHECK[..], &["--officer", "Li Wei"]].concat(), &home);
    terminal.wait_for("The share of Li Wei:");
    type_page(&mut terminal, &lines(&home, 3));
    terminal.wait_for("the page of Zhang Min");
    type_page(&mut terminal, &lines(&home, 1));
    let checked = terminal.wait();
    assert!(checked.status.success());
    assert!(String::from_utf8_lossy(&checked.stdout).contains("(Li Wei) is the one that was given out"));
}

#[test]
fn a_passphrase_is_long_and_asked_for_again_where_it_is_wrong() {
    let place = tempfile::tempdir().unwrap();
    let home = make_chain(place.path()).parent().unwrap().to_owned();
    let create =
        ["hsm", "escrow", "create", "--config", "bixi.toml", "--out", "pages", "--threshold", "2", "--officers", "2"];
    let mut terminal = AtTerminal::start(&[&create[..], &["--passphrases"]].concat(), &home);
    terminal.answer("passphrase of officer 1 for share 1: ", "too short");
    terminal.wait_for("fewer than 12 characters");
    for (index, words) in [(1, "words of the first"), (2, "words of the second")] {
        let prompt = format!("passphrase of officer {index} for share {index}");
        terminal.answer(&format!("{prompt}: "), words);
        terminal.answer(&format!("{prompt}, again: "), words);
    }
    terminal.wait_for("have every officer check his page");
    assert!(!terminal.shown().contains("words of"), "{}", terminal.shown());
    assert!(terminal.wait().status.success());

    let mut terminal = AtTerminal::start(&[&CHECK[..], &["--share", "pages/share-2.txt"]].concat(), &home);
    terminal.answer("passphrase of share 2: ", "words of the first");
    terminal.wait_for("the passphrase is wrong");
    terminal.answer("passphrase of share 2: ", "words of the second");
    assert!(terminal.wait().status.success());
}

/// Shares are worth nothing unless the slot is written: what keeps it from being written is found before they are given out.
#[test]
fn no_page_is_given_out_for_a_slot_that_cannot_be_added() {
    let place = tempfile::tempdir().unwrap();
    let home = node_with_escrow(place.path());
    let create = |label: &str, out: &str| {
        let words = ["hsm", "escrow", "create", "--config", "bixi.toml", "--officers", "3", "--threshold", "2"];
        bixi(&[&words[..], &["--label", label, "--out", out]].concat(), &home)
    };
    let taken = create("officers", "second");
    assert!(said(&taken).contains("choose another label"), "{}", said(&taken));
    let blocked = home.join("data/vault.tmp");
    fs::create_dir(&blocked).unwrap();
    let unwritable = create("others", "second");
    assert!(said(&unwritable).contains("vault: create"), "{}", said(&unwritable));
    fs::remove_dir(&blocked).unwrap();
    assert!(!home.join("second").exists(), "no page was given out, and the directory made for them is gone");
    fs::create_dir(home.join("third")).unwrap();
    fs::write(home.join("third/share-3.txt"), "a page of another escrow").unwrap();
    let in_the_way = create("others", "third");
    assert!(said(&in_the_way).contains("share-3.txt: a page is there already"), "{}", said(&in_the_way));
    assert_eq!(fs::read_dir(home.join("third")).unwrap().count(), 1);
    assert!(create("others", "second").status.success());
}
