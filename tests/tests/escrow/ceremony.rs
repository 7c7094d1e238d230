//! A ceremony, rehearsed from end to end without people, and its transcript.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use bixi_tests::node::make_chain;
use bixi_tests::terminal::AtTerminal;
use serde_json::Value;

use crate::{bixi, json, said};

const PLAN: &str = "title = \"Keys of the rehearsal\"\nthreshold = 2\n\
                    steps = [\"keys\", \"seal\", \"escrow\", \"check\", \"recover\", \"slots\"]\n\
                    [[officer]]\nname = \"Li Wei\"\n[[officer]]\nname = \"王芳\"\n[[officer]]\nname = \"Zhang Min\"\n";

fn lay_out(place: &Path) {
    fs::write(place.join("plan.toml"), PLAN).unwrap();
    fs::create_dir(place.join("words")).unwrap();
    for officer in 1..=3 {
        let path = place.join(format!("words/{officer}"));
        fs::write(&path, format!("words of officer {officer}")).unwrap();
        fs::set_permissions(path, fs::Permissions::from_mode(0o400)).unwrap();
    }
}

#[test]
fn a_rehearsal_is_held_and_its_transcript_cannot_be_edited() {
    let place = tempfile::tempdir().unwrap();
    let place = place.path();
    lay_out(place);
    let hold =
        ["hsm", "ceremony", "run", "--dry-run", "--plan", "plan.toml", "--transcript", "t", "--confirm-from", "words"];
    let held = bixi(&hold, place);
    assert!(held.status.success(), "{}", said(&held));
    let printed = String::from_utf8_lossy(&held.stdout).into_owned();
    assert!(printed.contains("REHEARSAL") && printed.contains("signed by hand"), "{printed}");

    let read = json(&bixi(&["hsm", "ceremony", "verify", "t", "--json"], place));
    let entries = read["entries"].as_array().unwrap();
    assert_eq!(entries.len(), 1 + 2 * 6 + 1);
    let by: Vec<&str> =
        entries.iter().filter_map(|entry| entry["by"].as_array()).flatten().filter_map(|name| name.as_str()).collect();
    assert_eq!(by[..4], ["Li Wei", "王芳", "Zhang Min", "Li Wei"], "two of them, every time others");
    let done = |step: &str| entries.iter().find(|one| one["entry"] == "done" && one["step"] == step).unwrap();
    let key = &done("keys")["results"][0]["keys"][0];
    assert_eq!((key["role"].as_str(), key["fingerprint"].as_str().map(str::len)), (Some("consensus"), Some(16)));
    assert_eq!(done("check")["results"].as_array().unwrap().len(), 3);
    let new = &done("recover")["results"][0];
    assert_eq!(new["lost"], key["public_key"]);
    assert_ne!(new["node"], key["public_key"]);
    assert_eq!(done("slots")["results"][0]["slots"].as_array().unwrap().len(), 1, "a recovery ends the escrow");

    let told = read["fingerprint"].as_str().unwrap();
    let spaced: Vec<&str> = (0..64).step_by(4).map(|at| &told[at..at + 4]).collect();
    assert!(printed.contains(&spaced.join(" ")), "{printed}");
    let verify = |file: &str| bixi(&["hsm", "ceremony", "verify", file, "--fingerprint", &spaced.join(" ")], place);
    assert!(verify("t").status.success());
    let text = fs::read_to_string(place.join("t")).unwrap();
    fs::write(place.join("edited"), text.replacen("王芳", "Li Na", 1)).unwrap();
    assert!(said(&verify("edited")).contains("line 3"), "{}", said(&verify("edited")));
    let cut = text.lines().take(8).map(|line| format!("{line}\n")).collect::<String>();
    fs::write(place.join("cut"), cut).unwrap();
    assert!(said(&verify("cut")).contains("another than the one that was written down"));

    let again = bixi(&hold, place);
    assert!(!again.status.success() && said(&again).contains("File exists"), "{}", said(&again));
}

#[test]
fn a_step_without_two_officers_is_not_taken() {
    let place = tempfile::tempdir().unwrap();
    let place = place.path();
    lay_out(place);
    fs::remove_file(place.join("words/2")).unwrap();
    let hold =
        ["hsm", "ceremony", "run", "--dry-run", "--plan", "plan.toml", "--transcript", "t", "--confirm-from", "words"];
    let refused = bixi(&hold, place);
    assert_eq!(refused.status.code(), Some(1), "{}", said(&refused));
    let only_rehearsed = [&hold[..3], &hold[4..], &["--dir", "node"]].concat();
    assert_eq!(bixi(&only_rehearsed, place).status.code(), Some(2), "files instead of people are for rehearsals");
    fs::write(place.join("plan.toml"), PLAN.replace("threshold = 2", "threshold = 4")).unwrap();
    let wrong = bixi(&hold, place);
    assert_eq!(wrong.status.code(), Some(78), "{}", said(&wrong));
    assert!(said(&wrong).contains("4 of 3 officers"), "{}", said(&wrong));
}

/// The process is killed between two steps: what was done stays, is on record, and the plan's other steps are held with a transcript of
/// their own.
#[test]
fn a_ceremony_that_was_killed_is_held_to_its_end_with_another_transcript() {
    let place = tempfile::tempdir().unwrap();
    let home = make_chain(place.path()).parent().unwrap().to_owned();
    let officers = "[[officer]]\nname = \"Li Wei\"\n[[officer]]\nname = \"王芳\"\n";
    let plan = |steps: &str| format!("title = \"Escrow\"\nthreshold = 2\nsteps = [{steps}]\n{officers}");
    fs::write(home.join("plan.toml"), plan("\"escrow\", \"check\"")).unwrap();
    fs::write(home.join("rest.toml"), plan("\"check\"")).unwrap();
    let run = |plan: &'static str, transcript: &'static str| {
        ["hsm", "ceremony", "run", "--dir", ".", "--out", "pages", "--plan", plan, "--transcript", transcript]
    };
    let begin = |plan, transcript| {
        let mut terminal = AtTerminal::start(&run(plan, transcript), &home);
        for name in ["Li Wei", "王芳"] {
            let prompt = format!("passphrase of {name} for this ceremony");
            terminal.answer(&format!("{prompt}: "), &format!("the words of {name}"));
            terminal.answer(&format!("{prompt}, again: "), &format!("the words of {name}"));
        }
        terminal
    };
    let confirm = |terminal: &mut AtTerminal, step: &str| {
        for (number, name) in [("1", "Li Wei"), ("2", "王芳")] {
            terminal.answer(&format!("Who confirms {step:?}? Number: "), number);
            terminal.answer(&format!("passphrase of {name}: "), &format!("the words of {name}"));
        }
    };
    let mut terminal = begin("plan.toml", "first");
    confirm(&mut terminal, "escrow");
    terminal.wait_for("Who confirms \"check\"?");
    terminal.kill();
    let cut_off = bixi(&["hsm", "ceremony", "verify", "first", "--json"], &home);
    assert_eq!(cut_off.status.code(), Some(1));
    assert!(said(&cut_off).contains("it has no end"), "{}", said(&cut_off));
    let read: Value = serde_json::from_slice(&cut_off.stdout).unwrap();
    let last = read["entries"].as_array().unwrap().last().unwrap().clone();
    assert_eq!((last["entry"].as_str(), last["step"].as_str()), (Some("done"), Some("escrow")));

    let same = begin("rest.toml", "second");
    same.kill();
    let again = bixi(&run("rest.toml", "first"), &home);
    assert!(said(&again).contains("first: File exists"), "a transcript is never written over: {}", said(&again));
    let mut terminal = begin("rest.toml", "third");
    confirm(&mut terminal, "check");
    let held = terminal.wait();
    assert!(held.status.success());
    let read = json(&bixi(&["hsm", "ceremony", "verify", "third", "--json"], &home));
    let checked = read["entries"].as_array().unwrap().iter().find(|one| one["entry"] == "done").unwrap();
    assert_eq!(checked["results"].as_array().unwrap().len(), 2);
    assert_eq!(read["entries"].as_array().unwrap().last().unwrap()["held"], true);
}

/// Pages of the plan's officers alone are not those of the escrow's.
#[test]
fn a_check_of_some_officers_is_no_check() {
    let place = tempfile::tempdir().unwrap();
    let home = make_chain(place.path()).parent().unwrap().to_owned();
    let create = ["hsm", "escrow", "create", "--json", "--config", "bixi.toml", "--out", "pages", "--threshold", "2"];
    json(&bixi(&[&create[..], &["--officer", "Li Wei", "--officer", "王芳", "--officer", "Li Na"]].concat(), &home));
    let plan = "title = \"Check\"\nthreshold = 2\nsteps = [\"check\"]\n[[officer]]\nname = \"Li Wei\"\n[[officer]]\nname = \"王芳\"\n";
    fs::write(home.join("plan.toml"), plan).unwrap();
    let run = ["hsm", "ceremony", "run", "--dir", ".", "--out", "pages", "--plan", "plan.toml", "--transcript", "t"];
    let mut terminal = AtTerminal::start(&run, &home);
    for name in ["Li Wei", "王芳"] {
        let prompt = format!("passphrase of {name} for this ceremony");
        terminal.answer(&format!("{prompt}: "), "the words of both");
        terminal.answer(&format!("{prompt}, again: "), "the words of both");
    }
    for (number, name) in [("1", "Li Wei"), ("2", "王芳")] {
        terminal.answer("Number: ", number);
        terminal.answer(&format!("passphrase of {name}: "), "the words of both");
    }
    terminal.wait_for("not every officer's page was checked: shares 1, 2 of 3");
    assert_eq!(terminal.wait().status.code(), Some(1));
}
