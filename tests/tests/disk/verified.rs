//! `bixi db verify` on what a killed node left, and what a node at work says of a damaged file that nobody asked for.

use std::path::Path;
use std::process::{Command, Output};

use bixi_tests::binary;
use bixi_tests::disk::{files, flip};
use bixi_tests::node::RunningNode;
use bixi_tests::promises::Promises;
use bixi_tests::settings;
use serde_json::Value;

use crate::flipped_at_rest::killed_node;

fn verify(node: &Path, more: &[&str]) -> (Output, Value) {
    db(node, "verify", more)
}

fn db(node: &Path, command: &str, more: &[&str]) -> (Output, Value) {
    let mut program = Command::new(binary("bixi"));
    let output = program.args(["db", command, "--json", "--config"]).arg(node.join("bixi.toml")).args(more).output();
    let output = output.unwrap();
    let told = serde_json::from_slice(&output.stdout);
    let told = told.unwrap_or_else(|_| panic!("{}", String::from_utf8_lossy(&output.stderr)));
    (output, told)
}

#[test]
fn what_a_killed_node_left_is_whole_and_a_flipped_byte_is_told_by_whoever_reads_it_first() {
    let (place, promises) = (tempfile::tempdir().unwrap(), Promises::default());
    let node = killed_node(place.path(), &promises);
    let (output, told) = verify(&node, &["--threads", "2"]);
    assert!(output.status.success() && told["whole"] == true && told["found"] == 0, "{told}");
    assert!(told["height"].as_u64().unwrap() > 0 && told["files"].as_u64().unwrap() > 8, "{told}");

    let tables = files(&node).unwrap().into_iter().filter(|path| path.extension().is_some_and(|name| name == "sst"));
    let table = tables.max_by_key(|path| path.metadata().unwrap().len()).expect("an earlier life left tables");
    let page = (table.metadata().unwrap().len() / 4096 - 1) / 2;
    let place = format!("page {page} at byte {}", 4096 * (page + 1));
    flip(&table, 4096 * (page + 1) + 1000, 0x10).unwrap();
    for more in [&[][..], &["--files-only", "--rate-mib", "512"]] {
        let (output, told) = verify(&node, more);
        assert_eq!(output.status.code(), Some(65), "{told}");
        let first = &told["findings"][0];
        let expected = format!("{}, {place}", table.display());
        assert_eq!((&first["part"], &first["place"]), (&"file".into(), &expected.into()), "{told}");
        assert!(first["do"].as_str().unwrap().contains("from its peers anew"), "{told}");
    }

    // A start refuses a table that it reads, so one that it does not read takes the damage.
    let kept = node.join("data/kept").join(table.file_name().unwrap());
    std::fs::create_dir(kept.parent().unwrap()).unwrap();
    std::fs::copy(&table, &kept).unwrap();
    flip(&table, 4096 * (page + 1) + 1000, 0x10).unwrap();
    settings::set(&node.join("bixi.toml"), "storage", "scrub_mb_per_second", "256");
    let running = RunningNode::start(&node.join("bixi.toml"));
    let (output, told) = db(&node, "scrub", &[]);
    assert_eq!(output.status.code(), Some(65), "{told}");
    let first = &told["found"][0];
    assert_eq!((&told["damaged"], &first["file"]), (&1.into(), &kept.display().to_string().into()), "{told}");
    assert!(first["reason"].as_str().unwrap().contains(&place), "{told}");
    assert_eq!(db(&node, "scrub", &["--status"]).1["damaged"], 1);
    let (status, health) = running.health().unwrap();
    let health = health.to_string();
    assert_ne!(status, 200, "{health}");
    assert!(health.contains(&format!("{}, {place}", kept.display())), "{health}");
    assert!(running.said().contains("a sealed file is damaged"), "{}", running.said());
    let refused = Command::new(binary("bixi")).args(["db", "verify", "--config"]).arg(node.join("bixi.toml")).output();
    assert!(String::from_utf8_lossy(&refused.unwrap().stderr).contains("stop both first"));
}

#[test]
fn a_node_that_is_not_there_is_not_asked() {
    let place = tempfile::tempdir().unwrap();
    let node = killed_node(place.path(), &Promises::default());
    let refused = Command::new(binary("bixi")).args(["db", "scrub", "--config"]).arg(node.join("bixi.toml")).output();
    let refused = refused.unwrap();
    let said = String::from_utf8_lossy(&refused.stderr);
    assert!(refused.status.code() == Some(1) && said.contains("bixi db verify"), "{said}");
}
