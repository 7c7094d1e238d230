//! A wrong PIN reaches the device once, and the right one is nowhere but in the broker's memory, nor in a dump of it.

use std::fs::{self, File};
use std::io;
use std::os::unix::fs::{FileExt as _, PermissionsExt as _};
use std::os::unix::process::ExitStatusExt as _;
use std::process::Command;

use bixi_tests::broker::RunningBroker;
use bixi_tests::node::{Ended, RunningNode, service};
use bixi_tests::wallet::Wallet;
use rustix::process::Signal;

use crate::bench::Bench;

/// `EX_NOPERM`, in the unit's RestartPreventExitStatus.
const WRONG_PIN: i32 = 77;
const PIECE_BYTES: usize = 1 << 20;

fn refused(bench: &Bench, pin: &str) -> Ended {
    let path = bench.pin_file();
    fs::remove_file(&path).unwrap();
    fs::write(&path, pin).unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o400)).unwrap();
    let ended = RunningBroker::try_start(&bench.config).err().expect("a wrong PIN serves nobody");
    assert_eq!(ended.status.code(), Some(WRONG_PIN), "{}", ended.said);
    assert!(!ended.said.contains(pin), "{}", ended.said);
    ended
}

#[test]
fn a_wrong_pin_is_tried_once_and_no_other_worker_is_started() {
    let bench = Bench::new();
    let attempts = || fs::read(bench.config.with_file_name("token/slot-0/attempts")).unwrap();
    let right = fs::read_to_string(bench.pin_file()).unwrap();
    let ended = refused(&bench, "00000000");
    assert_eq!(ended.said.matches("attempts left: 4").count(), 1, "{}", ended.said);
    assert_eq!(ended.said.matches("attempts left").count(), 1, "{}", ended.said);
    assert!(!ended.said.contains("another one starts"), "{}", ended.said);
    let counted = attempts();
    assert!(refused(&bench, "00000000").said.contains("not tried"));
    assert_eq!(attempts(), counted, "the token was asked again");
    fs::remove_file(bench.pin_file()).unwrap();
    fs::write(bench.pin_file(), right).unwrap();
    fs::set_permissions(bench.pin_file(), fs::Permissions::from_mode(0o400)).unwrap();
    drop(RunningBroker::start(&bench.config));
}

/// What a process was started with, as far as this user may read it: a hardened process shows its environment to root only.
fn given(process: u32) -> Vec<u8> {
    let read = |name: &str| match fs::read(format!("/proc/{process}/{name}")) {
        Err(error) if error.kind() == io::ErrorKind::PermissionDenied => Vec::new(),
        read => read.expect("a process of ours"),
    };
    assert!(!read("cmdline").is_empty(), "everybody may read that");
    [read("cmdline"), read("environ")].concat()
}

/// How often bytes stand in the memory of a process; an error where this user may not read it.
fn count_in_memory(process: u32, wanted: &[u8]) -> io::Result<usize> {
    let memory = File::open(format!("/proc/{process}/mem"))?;
    let mut count = 0;
    for line in fs::read_to_string(format!("/proc/{process}/maps"))?.lines() {
        let mut fields = line.split_whitespace();
        let (range, rights) = (fields.next().expect("a range"), fields.next().expect("rights"));
        if !rights.starts_with("rw") {
            continue;
        }
        let (from, to) = range.split_once('-').expect("a range");
        let address = |text| u64::from_str_radix(text, 16).expect("a number");
        let (mut at, end) = (address(from), address(to));
        // Pieces that overlap by as much as one could be cut.
        while at < end {
            let mut bytes = vec![0; PIECE_BYTES.min((end - at) as usize)];
            // What the process gave back meanwhile, and what belongs to the kernel, is not there.
            if memory.read_exact_at(&mut bytes, at).is_ok() {
                count += bytes.windows(wanted.len()).filter(|window| *window == wanted).count();
            }
            at += (PIECE_BYTES - wanted.len() + 1) as u64;
        }
    }
    Ok(count)
}

#[test]
fn the_pin_is_in_the_brokers_memory_and_nowhere_else() {
    let bench = Bench::new();
    let pin = fs::read_to_string(bench.pin_file()).unwrap();
    let pin = pin.trim().as_bytes();
    let broker = RunningBroker::start(&bench.config);
    let node = RunningNode::start(&bench.config);
    let worker = u32::try_from(broker.worker()).unwrap();
    for process in [broker.id(), worker, node.id()] {
        assert!(!given(process).windows(pin.len()).any(|window| window == pin), "argument or environment");
    }
    assert!(!broker.said().as_bytes().windows(pin.len()).any(|window| window == pin), "log");
    match count_in_memory(broker.id(), pin) {
        Ok(held) => {
            assert!(held > 0, "the search finds what is there");
            assert_eq!(count_in_memory(node.id(), pin).expect("as the broker's"), 0, "the node has the PIN");
        }
        // A hardened process is closed to its own user, too.
        Err(error) => assert_eq!(error.kind(), io::ErrorKind::PermissionDenied, "{error}"),
    }
    let modules = fs::read_to_string(format!("/proc/{}/maps", broker.id()));
    if let (Ok(supervisor), Ok(of_node)) = (modules, fs::read_to_string(format!("/proc/{}/maps", node.id()))) {
        for maps in [supervisor, of_node] {
            assert!(!maps.contains("libbixi_token.so"), "a library of the device is loaded");
        }
    }
}

/// Its memory would be in it, and the PIN with it. The limit is what this machine allows, so that it is the broker's own doing.
#[test]
fn a_broker_that_is_aborted_leaves_no_core() {
    let bench = Bench::new();
    let mut command = Command::new("sh");
    command.args(["-c", "ulimit -S -c \"$(ulimit -H -c)\"; exec \"$@\"", "sh"]);
    let inner = service();
    command.arg(inner.get_program()).args(inner.get_args()).current_dir(bench.place.path());
    let broker = RunningBroker::try_start_by(command, &bench.config).unwrap_or_else(|ended| panic!("{}", ended.said));
    let worker = u32::try_from(broker.worker()).unwrap();
    for process in [broker.id(), worker] {
        let limits = fs::read_to_string(format!("/proc/{process}/limits")).unwrap();
        let of_core = limits.lines().find(|line| line.starts_with("Max core file size")).expect("a limit");
        assert_eq!(of_core.split_whitespace().skip(4).take(2).collect::<Vec<_>>(), ["0", "0"], "{of_core}");
    }
    broker.signal(Signal::ABORT);
    let ended = broker.wait_end();
    assert_eq!((ended.status.signal(), ended.status.core_dumped()), (Some(Signal::ABORT.as_raw()), false));
}

/// A dump that gdb takes of a running process, by the kernel's rules of what belongs in one or of everything; `None` where this user may
/// not look into it.
fn forced_dump(process: u32, everything: bool) -> Option<Vec<u8>> {
    let place = tempfile::tempdir().unwrap();
    let mut gcore = Command::new("gcore");
    gcore.args(everything.then_some("-a")).arg("-o").arg(place.path().join("core")).arg(process.to_string());
    let done = gcore.output().expect("gdb's gcore: packaging/dev/packages.sh --tests installs it");
    let said = [done.stdout, done.stderr].concat();
    if String::from_utf8_lossy(&said).contains("Operation not permitted") {
        return None;
    }
    let dump = fs::read(place.path().join(format!("core.{process}")));
    Some(dump.unwrap_or_else(|error| panic!("{error}: {}", String::from_utf8_lossy(&said))))
}

fn holds(dump: &[u8], wanted: &[u8]) -> bool {
    dump.windows(wanted.len()).any(|window| window == wanted)
}

/// Whoever may do it on a machine reads memory as he likes: what is told is that a dump that is taken to be sent away has neither the PIN
/// nor keys in it, which are in no other memory than what it leaves out, nor rows of the ledger.
#[test]
fn a_forced_dump_holds_no_pin_and_nothing_of_the_ledger() {
    let bench = Bench::new();
    let pin = fs::read_to_string(bench.pin_file()).unwrap();
    let broker = RunningBroker::start(&bench.config);
    let node = RunningNode::start(&bench.config);
    let account = "an-account-that-is-nowhere-else";
    let transaction = Wallet::new(31).user_add(account, 100, node.height() + 500).encode();
    node.connect().and_then(|mut to| to.submit(&transaction)).expect("a receipt");
    let worker = u32::try_from(broker.worker()).unwrap();
    for (process, wanted) in [(worker, pin.trim()), (node.id(), account)] {
        let Some(all) = forced_dump(process, true) else { return };
        assert!(holds(&all, wanted.as_bytes()), "the search finds what is there");
        let dump = forced_dump(process, false).expect("as the other");
        assert!(dump.starts_with(b"\x7fELF") && !holds(&dump, wanted.as_bytes()), "{wanted} is in the dump");
        assert!(dump.len() < 1 << 20, "{} bytes: memory is in the dump", dump.len());
    }
}
