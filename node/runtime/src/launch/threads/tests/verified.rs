//! What a node leaves on disk, verified: whole, and with one thing changed, behind the codec's back or with its keys.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use bixi_ledger::engine::{Batch, Engine as _, Reader as _};
use bixi_ledger::keys::{self, Column};
use bixi_platform::placement::{self, Plan};
use bixi_platform::threads::Spawner;
use bixi_platform::topology::Topology;
use bixi_types::header::BlockHeader;
use bixi_types::state::StateTable;

use super::four::Group;
use super::host::Host;
use super::*;
use crate::lifecycle::verification::{Ground, Part, Report, Wish};

/// A node that was stopped after some blocks.
fn stopped() -> Host {
    let host = Host::alone(0);
    let node = host.start().unwrap();
    commit_all(&node, names(0, 12));
    assert_eq!(node.stop(), None);
    host
}

fn ground(host: &Host) -> Ground {
    let everywhere = placement::Params { force_shared: true, ..placement::Params::default() };
    Ground {
        storage: host.storage(),
        ring: host::ring(),
        data: host.path(""),
        genesis: host.genesis.clone(),
        ledger: host.ledger_params(),
        spawner: Spawner::new(Plan::make(&Topology::detect().unwrap(), &everywhere)),
    }
}

fn verify(host: &Host) -> Report {
    let mut stages = 0;
    let report = ground(host).verify(Wish { threads: Some(3), ..Wish::default() }, &mut |_, _, _| stages += 1);
    assert!(stages > 0);
    report.unwrap()
}

#[track_caller]
fn expect_whole(host: &Host) -> Report {
    let report = verify(host);
    assert!(report.is_whole(), "{:#?}", report.findings);
    report
}

/// Everything that was found is of these parts, and its words have these.
#[track_caller]
fn expect(host: &Host, parts: &[Part], words: &str) {
    let report = verify(host);
    assert!(!report.is_whole(), "nothing was found");
    assert!(report.findings.iter().all(|finding| parts.contains(&finding.part)), "{:#?}", report.findings);
    let told = |finding: &crate::lifecycle::verification::Finding| format!("{}: {}", finding.place, finding.reason);
    assert!(report.findings.iter().any(|finding| told(finding).contains(words)), "{words}: {:#?}", report.findings);
}

/// Writes rows as the node does: sealed, authentic, durable.
fn write(host: &Host, rows: &[(Column, Vec<u8>, Vec<u8>)]) {
    let engine = host.ledger_params().open_engine().unwrap();
    let mut batch = Batch::default();
    rows.iter().for_each(|(column, key, value)| batch.put(*column, key.as_slice(), value.as_slice()));
    engine.write(batch).unwrap();
}

fn read(host: &Host, column: Column, key: &[u8]) -> Vec<u8> {
    host.ledger_params().open_engine().unwrap().get(column, key).unwrap().expect("it is there")
}

fn files(dir: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() { found.extend(files(&path)) } else { found.push(path) }
    }
    found
}

#[test]
fn what_a_node_leaves_is_whole_and_verifying_changes_nothing() {
    let host = stopped();
    let content = || files(&host.path("")).into_iter().map(|path| (fs::read(&path).unwrap(), path));
    let before: BTreeSet<_> = content().collect();
    let report = expect_whole(&host);
    assert_eq!(content().collect::<BTreeSet<_>>(), before);
    let (height, _) = report.head.unwrap();
    assert!(height >= 3 && report.files > 6, "{report:?}");
    let node = host.start().unwrap();
    commit_all(&node, names(20, 4));
    assert_eq!(node.stop(), None);
    assert!(expect_whole(&host).head.unwrap().0 > height);
}

#[test]
fn what_four_validators_leave_is_whole_and_one_is_told_by_its_signature() {
    let mut group = Group::of_four();
    let transactions = group.commit(0, names(10, 8));
    group.agree(&transactions);
    (0..4).for_each(|place| group.stop(place));
    let host = &group.hosts[2];
    expect_whole(host);
    let mut header = BlockHeader::decode(&read(host, Column::Chain, &keys::header(1))).unwrap();
    let mut exchanged = header.clone();
    let (one, other) = (header.signature_list[0].signature.clone(), header.signature_list[1].signature.clone());
    (exchanged.signature_list[0].signature, exchanged.signature_list[1].signature) = (other, one);
    write(host, &[(Column::Chain, keys::header(1), exchanged.encode())]);
    expect(host, &[Part::Chain], "height 1: the signature of");
    header.signature_list.truncate(2);
    write(host, &[(Column::Chain, keys::header(1), header.encode())]);
    expect(host, &[Part::Chain], "height 1: weight 2 of at least 3");
}

#[test]
fn a_flipped_bit_in_each_kind_of_file_is_told_with_its_file() {
    let host = stopped();
    // Tables, too.
    host.ledger_params().open_engine().unwrap().compact().unwrap();
    let (mut kinds, mut told) = (BTreeSet::new(), 0);
    for path in files(&host.path("")) {
        let (name, sealed) = (path.file_name().unwrap().to_string_lossy().into_owned(), fs::read(&path).unwrap());
        if sealed.is_empty() {
            continue;
        }
        assert!(sealed.starts_with(b"BIXISEAL"), "{name}");
        for offset in [0, 100, 130.min(sealed.len() - 33), sealed.len() / 2] {
            let mut flipped = sealed.clone();
            flipped[offset] ^= 1;
            fs::write(&path, flipped).unwrap();
            let report = verify(&host);
            let of_file = |finding: &&crate::lifecycle::verification::Finding| finding.part == Part::File;
            let found: Vec<_> = report.findings.iter().filter(of_file).collect();
            // An end that no later mark covers, as of a log that nobody closed.
            if let Some(torn) = report.torn.iter().find(|torn| torn.file == path && found.is_empty()) {
                assert!(torn.offset as usize <= offset && name.ends_with(".log"), "byte {offset} of {name}: {torn:?}");
                continue;
            }
            assert_eq!(found.len(), 1, "byte {offset} of {name}: {:#?}", report.findings);
            assert!(found[0].place.starts_with(&*path.to_string_lossy()), "{found:?}");
            told += 1;
        }
        fs::write(&path, sealed).unwrap();
        kinds.insert(name.trim_end_matches(char::is_numeric).rsplit('.').next().unwrap().to_owned());
    }
    let expected = ["CURRENT", "IDENTITY", "MANIFEST-", "OPTIONS-", "guard", "log", "sst"];
    assert_eq!(kinds, expected.map(str::to_owned).into_iter().collect());
    assert!(told > 3 * kinds.len(), "{told} of {kinds:?}");
    expect_whole(&host);
}

#[test]
fn a_file_that_is_gone_or_is_not_sealed_is_told() {
    let host = stopped();
    let current = host.path("ledger/CURRENT");
    let sealed = fs::read(&current).unwrap();
    fs::write(&current, b"MANIFEST-000001\n").unwrap();
    expect(&host, &[Part::File, Part::Ledger], "not a sealed file");
    fs::remove_file(&current).unwrap();
    expect(&host, &[Part::Ledger], "CURRENT");
    fs::write(&current, sealed).unwrap();
    let log = files(&host.path("ledger")).into_iter().find(|path| path.extension().is_some_and(|name| name == "log"));
    fs::rename(log.unwrap(), host.path("ledger/999999.log")).unwrap();
    expect(&host, &[Part::File, Part::Ledger, Part::OrderingLog], "one log cannot stand in for another");
}

#[test]
fn what_a_crash_leaves_is_told_apart_and_is_no_damage() {
    let host = stopped();
    let ordering = files(&host.path("ordering")).into_iter().find(|path| path.metadata().unwrap().len() > 0).unwrap();
    let mut bytes = fs::read(&ordering).unwrap();
    bytes.extend([7; 50]);
    fs::write(&ordering, bytes).unwrap();
    // A table that a flush did not come to an end with, and the copy of a re-sealing.
    fs::write(host.path("ledger/999998.sst"), b"").unwrap();
    fs::write(host.path("ledger/000007.sst.resealed"), b"half").unwrap();
    let report = expect_whole(&host);
    assert_eq!((report.torn[0].file.clone(), report.torn[0].bytes), (ordering, 50));
    assert_eq!(report.left.len(), 2, "{:?}", report.left);
}

#[test]
fn a_row_of_the_state_that_is_authentic_and_wrong_is_told() {
    let host = stopped();
    write(&host, &[(Column::State, keys::state(StateTable::Storage, &[1; 52]), vec![7; 32])]);
    expect(&host, &[Part::State], "do not have the state root of header");
}

#[test]
fn receipts_that_were_exchanged_are_told() {
    let host = stopped();
    let (one, other) = (keys::receipt(1, 0), keys::receipt(2, 0));
    let (first, second) = (read(&host, Column::Chain, &one), read(&host, Column::Chain, &other));
    write(&host, &[(Column::Chain, one, second), (Column::Chain, other, first)]);
    expect(&host, &[Part::Chain], "height 1: its receipts do not have the header's root");
}

#[test]
fn blocks_that_were_decided_otherwise_are_told() {
    let host = stopped();
    let (height, _) = expect_whole(&host).head.unwrap();
    let bodies: Vec<Vec<u8>> = (1..=height).map(|number| read(&host, Column::Chain, &keys::body(number))).collect();
    // How many transactions each has comes first. Twelve of them in blocks of at most four: two blocks have as many as each other.
    let mut pairs = (0..bodies.len()).flat_map(|one| (0..one).map(move |other| (other, one)));
    let (one, other) = pairs.find(|(one, other)| bodies[*one][..4] == bodies[*other][..4]).expect("two of a size");
    let body = |place: usize| keys::body(place as u64 + 1);
    let (first, second) = (bodies[one].clone(), bodies[other].clone());
    write(&host, &[(Column::Chain, body(one), second), (Column::Chain, body(other), first)]);
    expect(&host, &[Part::Chain], &format!("height {}: its value is not the one the header executes", other + 1));
}

#[test]
fn a_chain_with_a_hole_is_told_where_it_is() {
    let host = stopped();
    let engine = host.ledger_params().open_engine().unwrap();
    let mut batch = Batch::default();
    batch.delete(Column::Chain, keys::header(2));
    engine.write(batch).unwrap();
    drop(engine);
    let report = verify(&host);
    let places: BTreeSet<_> = report.findings.iter().map(|finding| finding.place.as_str()).collect();
    assert_eq!(places, BTreeSet::from(["height 2"]), "{:#?}", report.findings);
}

#[test]
fn another_head_than_was_signed_is_told_by_the_ordering_log() {
    let host = stopped();
    let (height, _) = expect_whole(&host).head.unwrap();
    host.stopped().sign_another(height, bixi_types::H256([9; 32])).unwrap();
    expect(&host, &[Part::OrderingLog], "the ledger holds another one");
}

#[test]
fn a_ledger_that_is_gone_or_was_put_back_is_told() {
    let host = stopped();
    let moved = |from: &str, to: &str| fs::rename(host.path(from), host.path(to)).unwrap();
    let (height, _) = expect_whole(&host).head.unwrap();
    // The log goes back to the beginning, so nothing is missing.
    moved("ledger", "../kept");
    assert_eq!(expect_whole(&host).decided, Some(height));
    // Without it nobody knows what was signed upon.
    moved("ordering", "../kept-ordering");
    expect(
        &host,
        &[Part::OrderingLog],
        &format!("height {height} was decided here, but ledger and ordering log reach only 0"),
    );
    moved("../kept-ordering", "ordering");
    let keeps = |record: &crate::ordering_log::Record| record.height() > 2;
    crate::ordering_log::rewrite(&host.storage(), &host.path("ordering"), &host::ring(), keeps).unwrap();
    expect(&host, &[Part::OrderingLog], "begins at height 3, and the ledger ends at 0");
    let refused = host.start().err().expect("nobody has the heights between").to_string();
    assert!(refused.contains("the ordering log begins at 3") && refused.contains("backup"), "{refused}");
    fs::remove_dir_all(host.path("ledger")).unwrap();
    moved("../kept", "ledger");
    fs::remove_file(host.path("guard")).unwrap();
    expect(&host, &[Part::Guard], "guard");
}

#[test]
fn one_of_several_whose_ledger_is_fetched_anew_is_whole() {
    let mut group = Group::of_four();
    let transactions = group.commit(0, names(10, 8));
    group.agree(&transactions);
    (0..4).for_each(|place| group.stop(place));
    let host = &group.hosts[1];
    let keeps = |record: &crate::ordering_log::Record| record.height() > 1;
    crate::ordering_log::rewrite(&host.storage(), &host.path("ordering"), &host::ring(), keeps).unwrap();
    assert!(!expect_whole(host).is_fetched_anew);
    fs::remove_dir_all(host.path("ledger")).unwrap();
    assert!(expect_whole(host).is_fetched_anew);
    // Below the mark of a sealing no start fetches anything.
    let report = ground(host).verify_sealed(Wish::default(), &mut |_, _, _| ()).unwrap();
    assert!(!report.is_whole() && !report.is_fetched_anew, "{report:?}");
    assert!(report.findings[0].reason.contains("ends before the heights"), "{report:?}");
}

#[test]
fn what_is_on_its_way_to_be_the_ledger_is_no_damage_and_what_waits_to_be_it_is_read() {
    let host = stopped();
    host.ledger_params().open_engine().unwrap().compact().unwrap();
    let (height, _) = expect_whole(&host).head.unwrap();
    let table = files(&host.path("ledger")).into_iter().find(|path| path.extension().is_some_and(|kind| kind == "sst"));
    let half = fs::read(table.as_deref().unwrap()).unwrap();
    for beside in ["ledger.joining", "ledger.replaced"] {
        fs::create_dir(host.path(beside)).unwrap();
        fs::write(host.path(beside).join("000009.sst"), &half[..half.len() / 2]).unwrap();
        fs::write(host.path(beside).join("MANIFEST-000004"), b"half").unwrap();
    }
    assert_eq!(expect_whole(&host).left.len(), 4);
    // A start that was cut off between its two renames.
    fs::remove_dir_all(host.path("ledger.replaced")).unwrap();
    fs::rename(host.path("ledger"), host.path("ledger.joined")).unwrap();
    assert_eq!(expect_whole(&host).head.unwrap().0, height);
    let waiting = host.path("ledger.joined").join(table.unwrap().file_name().unwrap());
    fs::write(&waiting, &half[..half.len() / 2]).unwrap();
    expect(&host, &[Part::File, Part::Ledger, Part::Chain, Part::Index, Part::State], "ledger.joined");
    fs::write(&waiting, &half).unwrap();
    // What a kill leaves of a database's making.
    fs::create_dir(host.path("ledger")).unwrap();
    fs::write(host.path("ledger/LOCK"), b"").unwrap();
    assert_eq!(expect_whole(&host).head.unwrap().0, height);
}

#[test]
fn a_table_whose_length_alone_came_to_the_disk_is_damage_if_the_database_names_it() {
    let host = stopped();
    host.ledger_params().open_engine().unwrap().compact().unwrap();
    let zeros = vec![0; 20_480];
    fs::write(host.path("ledger/999998.sst"), &zeros).unwrap();
    assert_eq!(expect_whole(&host).left, [host.path("ledger/999998.sst")]);
    let named = files(&host.path("ledger")).into_iter().find(|path| path.extension().is_some_and(|kind| kind == "sst"));
    fs::write(named.unwrap(), &zeros).unwrap();
    let report = verify(&host);
    assert!(report.findings.iter().any(|finding| finding.part == Part::File), "{:#?}", report.findings);
    let told = report.to_json().to_string();
    assert!(told.contains("999998.sst") && told.contains("from its peers anew"), "{told}");
}

#[test]
fn a_node_that_holds_the_files_is_not_verified_and_nothing_is_made_to_find_out() {
    let host = stopped();
    for lock in ["ordering/LOCK", "guard.lock"] {
        let path = host.path(lock);
        let held = host.storage().lock(&path).unwrap();
        assert!(
            ground(&host).verify(Wish::default(), &mut |_, _, _| ()).unwrap_err().to_string().contains("stop both")
        );
        drop(held);
        fs::remove_file(&path).unwrap();
        expect_whole(&host);
        assert!(!path.exists());
        fs::write(&path, b"").unwrap();
    }
}
