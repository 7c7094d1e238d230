//! A node whose result differs from the others': it stops loudly, what it signed is told, dropped and executed again.

use std::path::PathBuf;

use bixi_ledger::engine::{Batch, Engine as _};
use bixi_ledger::keys::{self, Column};
use bixi_types::H256;
use bixi_types::state::StateTable;

use super::four::Group;
use super::host::{Host, wait_until};
use super::*;
use crate::launch::replay::Verdict;

/// Files of a host's evidence whose name has all of these parts.
fn evidence(host: &Host, parts: &[&str]) -> Vec<PathBuf> {
    let files = std::fs::read_dir(host.path("evidence")).into_iter().flatten().map(|entry| entry.unwrap().path());
    files.filter(|path| parts.iter().all(|part| path.to_string_lossy().contains(part))).collect()
}

/// Stops a node that has ended by itself, and says why it had.
fn stop_halted(group: &mut Group, place: usize) -> String {
    let running = group.running[place].take().expect("it ran");
    wait_until("it halts", || running.threads.consensus.is_finished());
    group.hub.leave(group.hosts[place].node());
    running.stop().expect("it halted").to_string()
}

#[test]
fn heights_above_the_ledger_are_executed_again_as_they_were_signed() {
    let mut group = Group::of_four();
    let mut transactions = group.commit(0, names(10, 4));
    group.agree(&transactions);
    group.stop(3);
    keep_copies(&group.hosts[3], &["ledger"]);
    group.start(3);
    transactions.extend(group.commit(3, names(20, 8)));
    group.agree(&transactions);
    group.stop(3);
    // The ledger forgets the last blocks, and the ordering log does not.
    restore_copies(&group.hosts[3], &["ledger"]);
    let host = &group.hosts[3];
    let open = || host.open_ledger().expect("the ledger");
    let examine = |height| host.stopped().examine(&open(), height);
    let head = open().height();
    let refused = |height| examine(height).expect_err("it cannot be executed").to_string();
    assert!(refused(head).contains("the state before it is gone"), "{}", refused(head));
    assert!(refused(head + 1_000).contains("is not decided here"));
    let healthy = examine(head + 1).expect("executed");
    assert!(healthy.len() >= 2, "{healthy:?}");
    for replayed in &healthy {
        assert!(matches!(replayed.verdict(), Verdict::Equal | Verdict::NotSigned), "{replayed:?}");
        assert_eq!(Some(replayed.header_hash), group.node(0).ledger.hash_of(replayed.height).unwrap());
    }
    let shown: Vec<u64> = examine(head + 2).expect("executed").iter().map(|replayed| replayed.height).collect();
    assert_eq!(shown[0], head + 2, "only from the height asked for on");

    // A start finds that it comes to another header than it signed, and halts.
    host.stopped().sign_another(head + 2, H256([9; 32])).expect("rewritten");
    assert_eq!(examine(head + 2).expect("executed")[0].verdict(), Verdict::Differs);
    let running = host.start().expect("starts");
    wait_until("it halts", || running.threads.consensus.is_finished());
    let fault = running.stop().expect("it halted").to_string();
    assert!(fault.contains(&format!("db replay --height {}", head + 2)), "{fault}");

    let found = examine(head + 1).expect("executed");
    assert_eq!(host.stopped().accept(&found, head + 1).expect("dropped").heights[0], head + 2);
    let after = examine(head + 1).expect("executed");
    assert_eq!(after[0].verdict(), healthy[0].verdict(), "what is below stays");
    assert!(after[1..].iter().all(|replayed| replayed.verdict() == Verdict::NotSigned));
    group.start(3);
    transactions.extend(group.commit(0, names(40, 4)));
    group.agree(&transactions);
    group.stop_all();
}

/// Gives users a balance that no block gave them, as a damaged memory or a meddler would.
fn meddle(host: &Host, users: impl Iterator<Item = Verified>) {
    let mut batch = Batch::default();
    for user in users {
        batch.put(Column::State, keys::state(StateTable::DagTransfer, user.tx.nonce.as_bytes()), [1; 32]);
    }
    host.ledger_params().open_engine().expect("the database").write(batch).expect("written");
}

#[test]
fn a_node_whose_state_was_changed_stops_and_follows_again_once_the_state_is_right_and_its_result_dropped() {
    let mut group = Group::of_four();
    let mut transactions = group.commit(0, names(10, 4));
    group.agree(&transactions);
    group.stop(3);
    keep_copies(&group.hosts[3], &["ledger"]);
    // `names` gives every user its name as nonce.
    meddle(&group.hosts[3], names(20, 8));
    let head = group.hosts[3].open_ledger().expect("nothing that opening looks at was changed").height();

    // With one down the chain needs the signature of the node that is wrong: so it gives one before it can hear that it is.
    group.stop(2);
    group.start(3);
    let sent: Vec<_> = names(20, 8).map(|transaction| (group.node(0).submit(&transaction), transaction)).collect();
    let wrong = &group.hosts[3].node().to_hex()[..16];
    wait_until("another node keeps its vote", || !evidence(&group.hosts[0], &["-divergence-", wrong]).is_empty());
    wait_until("it keeps its own result", || !evidence(&group.hosts[3], &["-result-"]).is_empty());
    wait_until("the order is ahead", || group.node(3).view.consensus().decided >= head + 2);
    group.start(2);
    assert!(sent.iter().all(|(outcome, _)| group.node(0).acknowledged(outcome)));
    transactions.extend(sent.into_iter().map(|(_, transaction)| transaction));
    let fault = stop_halted(&mut group, 3);
    assert!(fault.contains("a quorum signed"), "{fault}");
    assert_eq!(evidence(&group.hosts[3], &["-certificate-"]).len(), 1, "what the others signed");

    restore_copies(&group.hosts[3], &["ledger"]);
    let host = &group.hosts[3];
    let examine = |height| host.stopped().examine(&host.open_ledger().expect("the ledger"), height);
    let found = examine(head + 1).expect("executed");
    assert_eq!(found[0].verdict(), Verdict::Differs, "{found:?}");
    let block = group.node(0).ledger.block(head + 1).unwrap().expect("committed");
    let is_first = |transaction: &&Verified| *transaction.bytes == *block.transactions[0];
    let first = transactions.iter().find(is_first).expect("one of ours").hash;
    let told = found[0].difference.as_ref().expect("the result was kept");
    assert!(told.starts_with(&format!("receipt 0 (transaction {first})")), "{told}");

    // Asked for a height above, it shows the one that differs, and drops nothing that was not named.
    let above = examine(head + 2).expect("executed");
    assert_eq!(above[0].height, head + 1);
    let refused = host.stopped().accept(&above, head + 2).expect_err("not the lowest").to_string();
    assert!(refused.contains(&format!("--height {}", head + 1)), "{refused}");
    assert_eq!(examine(head + 1).expect("executed")[0].verdict(), Verdict::Differs, "nothing was dropped");

    let accepted = host.stopped().accept(&found, head + 1).expect("dropped");
    assert_eq!(accepted.heights[0], head + 1);
    let kept = std::fs::read_to_string(accepted.evidence.expect("a file")).expect("readable");
    let (signed, executed) = (found[0].signed.expect("signed").to_string(), found[0].header_hash.to_string());
    assert!(kept.contains(&signed) && kept.contains(&executed), "{kept}");
    let trail = host.stopped().trail();
    let tells = |subject: &&String| subject.contains(&signed) && subject.contains(&executed);
    let told: Vec<&String> = trail.iter().filter(tells).collect();
    assert!(told[0].contains("about to be dropped") && told[1].contains(" dropped from"), "{trail:?}");
    assert!(examine(head + 1).expect("executed").iter().all(|replayed| replayed.verdict() == Verdict::NotSigned));

    group.start(3);
    transactions.extend(group.commit(0, names(40, 4)));
    group.agree(&transactions);
    group.stop_all();
}
