//! A node whose ledger a plain RocksDB wrote, sealed where it is: killed before each call that makes something durable, and gone on with; and
//! one whose ledger says something else than its chain.

use std::cell::Cell;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use bixi_platform::io::PreadStorage;
use bixi_sealed::inspect_path;
use bixi_tests::disk::files;
use bixi_tests::node::RunningNode;
use bixi_tests::wallet::Wallet;
use serde_json::Value;

use crate::plaintext::{BALANCE, HEADLESS, NAMES, is_plain, make_hole, unseal};
use crate::stops::Ground;
use crate::{bixi, json, said};

const SEAL: [&str; 5] = ["db", "seal", "--json", "--config", "bixi.toml"];
const VERIFY: [&str; 5] = ["db", "verify", "--json", "--config", "bixi.toml"];
const ROTATE: [&str; 4] = ["db", "rotate-key", "--config", "bixi.toml"];
const REPLAY: [&str; 6] = ["db", "replay", "--height", "1", "--config", "bixi.toml"];
const DOCTOR: [&str; 5] = ["doctor", "--offline", "--json", "--config", "bixi.toml"];
/// Everything was read, and something is wrong.
const DAMAGED: i32 = 65;
/// A person has to put something right.
const CONFIGURATION: i32 = 78;

/// A node that was stopped with rows of each name, and its wallet.
fn stopped() -> (Ground, Wallet) {
    let ground = Ground::new();
    let running = RunningNode::start(&ground.template.join("bixi.toml"));
    let mut wallet = Wallet::new(5);
    for name in NAMES {
        let transaction = wallet.user_add(name, 1, running.height() + 500);
        running.connect().unwrap().submit(&transaction.encode()).expect("final");
    }
    let refused = said(&bixi(&SEAL, &ground.template));
    assert!(refused.contains("stop both first") && refused.contains("the ledger is sealed; what failed:"), "{refused}");
    assert!(running.stop().status.success());
    (ground, wallet)
}

/// No node starts, nothing begins an epoch, and everybody is told `words` and the next step.
fn refuses(node: &Path, words: &str) {
    let vault = fs::read(node.join("data/vault")).unwrap();
    let expect_told = |told: &str| assert!(told.contains("`bixi db seal`") && told.contains(words), "{words}: {told}");
    match RunningNode::try_start(&node.join("bixi.toml")) {
        Ok(_) => panic!("{words}: it started"),
        Err(ended) => {
            expect_told(&ended.said);
            assert_eq!(ended.status.code(), Some(CONFIGURATION), "{words}: not to be started again and again");
        }
    }
    for command in [&ROTATE[..], &REPLAY] {
        let refused = bixi(command, node);
        assert!(!refused.status.success());
        expect_told(&said(&refused));
    }
    let examined = bixi(&DOCTOR, node);
    assert!(!examined.status.success());
    expect_told(&String::from_utf8_lossy(&examined.stdout));
    assert!(fs::read(node.join("data/vault")).unwrap() == vault, "{words}");
}

/// Of a report what does not change by sealing.
fn of(report: &Value) -> [Value; 3] {
    ["height", "hash", "decided"].map(|field| report[field].clone())
}

/// What the trail says of the sealing.
fn trail(node: &Path) -> Vec<Value> {
    let told = bixi(&["hsm", "verify-audit", "--all", "--json", "--config", "bixi.toml"], node);
    assert!(told.status.success(), "{}", said(&told));
    let entries = String::from_utf8_lossy(&told.stdout).into_owned();
    let entries = entries.lines().map(|line| serde_json::from_str::<Value>(line).expect("JSON"));
    let is_of_sealing =
        |entry: &Value| matches!(entry["request"].as_str(), Some("seal-ledger" | "accept-sealed-ledger"));
    entries.filter(is_of_sealing).collect()
}

/// Killed with some files sealed and others not.
fn half_sealed(ground: &Ground) -> PathBuf {
    // How many calls come before the first file is for RocksDB and its threads to say.
    for at in (20..400).step_by(3) {
        let node = ground.killed_at(&SEAL, at);
        let ledger = node.join("data/ledger");
        let is_sealed = |path: &PathBuf| inspect_path(&PreadStorage, path).is_ok();
        let sealed = files(&ledger)
            .unwrap()
            .iter()
            .filter(|path| path.parent() == Some(ledger.as_path()) && is_sealed(path))
            .count();
        if ledger.join("sealing/FILES").exists() && sealed >= 2 {
            assert!(!is_sealed(&ledger.join("CURRENT")));
            return node;
        }
        fs::remove_dir_all(&node).unwrap();
    }
    panic!("it is never half sealed");
}

#[test]
fn a_plaintext_ledger_is_sealed_and_gone_on_with_wherever_it_is_killed() {
    let (ground, mut wallet) = stopped();
    let done = json(&bixi(&SEAL, &ground.template));
    assert_eq!((&done["was_sealed"], &done["report"]), (&true.into(), &Value::Null), "{done}");
    let before = of(&json(&bixi(&VERIFY, &ground.template)));
    unseal(&ground.template, "");
    assert!(is_plain(&ground.template), "or there is nothing to seal");
    refuses(&ground.template, "evidence");
    // Nor is every file told to be damaged.
    let refused = said(&bixi(&VERIFY, &ground.template));
    assert!(refused.contains("`bixi db seal`"), "{refused}");
    let (whole, half) = (Cell::new(0), Cell::new(0));
    ground.stop_at_every(9, &SEAL, |node, at| {
        let again = json(&bixi(&SEAL, node));
        match (again["was_sealed"] == true, again["rows"].is_null()) {
            // Killed at the very end.
            (true, _) => {}
            // Opened plainly by the attempt that was killed, or by this one.
            (false, true) => half.set(half.get() + 1),
            (false, false) => whole.set(whole.get() + 1),
        }
        assert!(!is_plain(node), "{at}");
        let report = json(&bixi(&VERIFY, node));
        assert_eq!((of(&report), &report["whole"]), (before.clone(), &true.into()), "{at}: {report}");
        assert_eq!(report["unverified"], false, "{at}");
        assert_eq!(json(&bixi(&SEAL, node))["was_sealed"], true, "{at}");
    });
    assert!(whole.get() > 0 && half.get() > 3, "{whole:?} whole, {half:?} half sealed");
    // Half sealed: no node starts on it.
    let stopped = half_sealed(&ground);
    refuses(&stopped, "broken off");
    let done = json(&bixi(&SEAL, &stopped));
    assert!(done["files"].as_u64().unwrap() > 1 && done["report"]["whole"] == true, "{done}");
    let running = RunningNode::start(&stopped.join("bixi.toml"));
    assert_eq!(running.height(), before[0].as_i64().unwrap());
    let transaction = wallet.user_add("fifth", 1, running.height() + 500);
    running.connect().unwrap().submit(&transaction.encode()).expect("final");
    assert!(running.stop().status.success());
    json(&bixi(&VERIFY, &stopped));
    let entries = trail(&stopped);
    let told = |request: &str, words: &str| {
        let is_told = |entry: &Value| entry["request"] == request && entry["subject"].as_str().unwrap().contains(words);
        assert!(entries.iter().any(is_told), "{request} {words}: {entries:#?}");
    };
    told("seal-ledger", "begun, ");
    told("seal-ledger", " rows read");
    told("seal-ledger", "gone on with");
    told("accept-sealed-ledger", &format!("{} files of {} bytes sealed", done["files"], done["bytes"]));
    told("accept-sealed-ledger", before[1].as_str().unwrap());
}

/// Neither what is sealed in part without a list, nor what was changed between two attempts.
#[test]
fn what_sealing_did_not_leave_is_told_and_nothing_is_done_with_it() {
    let (ground, _) = stopped();
    unseal(&ground.template, "");
    let half = half_sealed(&ground);
    let ledger = half.join("data/ledger");
    let vault = fs::read(half.join("data/vault")).unwrap();
    // A file that is plain still.
    let table = files(&ledger).unwrap().into_iter().find(|path| {
        path.extension().is_some_and(|ending| ending == "sst") && inspect_path(&PreadStorage, path).is_err()
    });
    let table = table.expect("a plain table");
    let kept = fs::read(&table).unwrap();
    let mut bytes = kept.clone();
    bytes[10] ^= 1;
    fs::write(&table, bytes).unwrap();
    let refused = bixi(&SEAL, &half);
    assert_eq!(refused.status.code(), Some(CONFIGURATION));
    let told = said(&refused);
    assert!(told.contains("another content") && told.contains("not everything is sealed"), "{told}");
    assert!(!told.contains("nothing was sealed"), "{told}");
    fs::write(&table, kept).unwrap();
    fs::remove_dir_all(ledger.join("sealing")).unwrap();
    for (command, words) in [(&SEAL[..], "CURRENT beside it is not"), (&ROTATE, "evidence")] {
        let refused = bixi(command, &half);
        assert!(!refused.status.success() && said(&refused).contains(words), "{}", said(&refused));
    }
    assert!(fs::read(half.join("data/vault")).unwrap() == vault, "an epoch was begun");
    // A copy put back over what is sealed and not verified: refused as that, and not file by file.
    let done = ground.copy("done");
    let current = fs::read(done.join("data/ledger/CURRENT")).unwrap();
    json(&bixi(&SEAL, &done));
    fs::create_dir(done.join("data/ledger/sealing")).unwrap();
    fs::write(done.join("data/ledger/sealing/UNVERIFIED"), b"").unwrap();
    fs::write(done.join("data/ledger/CURRENT"), current).unwrap();
    let refused = bixi(&VERIFY, &done);
    let told = said(&refused);
    assert!(
        refused.status.code() == Some(CONFIGURATION) && told.contains("move the whole directory elsewhere"),
        "{told}"
    );
}

/// What is found elsewhere keeps the ledger from its nodes, too, until it is put right.
#[test]
fn what_is_wrong_beside_the_ledger_is_put_right_and_the_same_command_accepts() {
    let (ground, _) = stopped();
    unseal(&ground.template, "");
    let recovery = ground.template.join("data/recovery");
    fs::write(&recovery, b"").unwrap();
    let refused = said(&bixi(&SEAL, &ground.template));
    assert!(refused.contains("a recovery is under way") && refused.contains("nothing was sealed"), "{refused}");
    fs::remove_file(recovery).unwrap();
    // What RocksDB would not tell.
    let hidden = ground.copy("hidden");
    make_hole(&hidden);
    let refused = bixi(&SEAL, &hidden);
    let told = said(&refused);
    assert!(!refused.status.success() && told.contains("hides what is behind it"), "{told}");
    assert!(told.contains("nothing was sealed") && is_plain(&hidden) && !hidden.join("data/ledger/sealing").exists());
    let stray = ground.template.join("data/notes.log");
    fs::write(&stray, b"in plaintext").unwrap();
    let sealed = bixi(&SEAL, &ground.template);
    assert_eq!(sealed.status.code(), Some(DAMAGED), "{}", said(&sealed));
    let told: Value = serde_json::from_slice(&sealed.stdout).unwrap();
    let findings = told["report"]["findings"].as_array().unwrap();
    assert!(findings.len() == 1 && findings[0]["place"].as_str().unwrap().contains("notes.log"), "{told}");
    refuses(&ground.template, "says of all that it finds what to do");
    fs::remove_file(stray).unwrap();
    let again = json(&bixi(&SEAL, &ground.template));
    assert_eq!((&again["rows"], &again["report"]["whole"]), (&Value::Null, &true.into()), "{again}");
    assert!(RunningNode::start(&ground.template.join("bixi.toml")).stop().status.success());
    // There is none: no more a sealed one than a wrong data directory would have.
    fs::remove_dir_all(ground.template.join("data/ledger")).unwrap();
    let refused = bixi(&SEAL, &ground.template);
    assert!(!refused.status.success() && said(&refused).contains("there is no database"), "{}", said(&refused));
}

/// Who writes the disk puts a plain database there: it is sealed, found out, and opened by nobody.
#[test]
fn a_ledger_that_says_something_else_than_its_chain_is_found_out_and_no_node_starts_on_it() {
    let (ground, _) = stopped();
    let before = of(&json(&bixi(&VERIFY, &ground.template)));
    for changed in [BALANCE, HEADLESS] {
        let node = ground.copy(changed);
        unseal(&node, changed);
        for attempt in 0..2 {
            let sealed = bixi(&SEAL, &node);
            assert_eq!(sealed.status.code(), Some(DAMAGED), "{changed}: {}", said(&sealed));
            let told: Value = serde_json::from_slice(&sealed.stdout).unwrap();
            let report = &told["report"];
            assert_eq!((&report["whole"], &report["unverified"]), (&false.into(), &true.into()), "{changed}: {told}");
            let findings = report["findings"].as_array().unwrap();
            assert!(!findings.is_empty(), "{changed}: {told}");
            if changed == BALANCE {
                assert!(findings.iter().all(|finding| finding["part"] == "state"), "{told}");
            }
            // What was sealed is not sealed again, and verified every time.
            assert_eq!((told["rows"].is_null(), told["files"] == 0), (attempt > 0, attempt > 0), "{changed}: {told}");
            refuses(&node, "not found to be whole");
            let verified = bixi(&VERIFY, &node);
            assert_eq!(verified.status.code(), Some(DAMAGED), "{changed}: {}", said(&verified));
            let report: Value = serde_json::from_slice(&verified.stdout).unwrap();
            assert_eq!(report["unverified"], true, "{changed}: {report}");
        }
        let entries = trail(&node);
        let is_refused = |entry: &&Value| entry["request"] == "accept-sealed-ledger" && entry["outcome"] == "refused";
        assert_eq!(entries.iter().filter(is_refused).count(), 2, "{changed}: {entries:#?}");
        // Restored, as it is told.
        let ledger = node.join("data/ledger");
        fs::rename(&ledger, node.join("evidence")).unwrap();
        let copied =
            Command::new("cp").arg("-a").args([&ground.template.join("data/ledger"), &ledger]).status().unwrap();
        assert!(copied.success());
        let report = json(&bixi(&VERIFY, &node));
        assert_eq!((of(&report), &report["unverified"]), (before.clone(), &false.into()), "{changed}: {report}");
        assert!(RunningNode::start(&node.join("bixi.toml")).stop().status.success());
    }
}
