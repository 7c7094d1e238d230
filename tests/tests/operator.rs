//! What an operator does to the programs: signals at every phase, closed and full streams, odd modes, wrong wishes.

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::process::{CommandExt as _, ExitStatusExt as _};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Output, Stdio};
use std::time::{Duration, Instant};

use bixi_tests::binary;
use bixi_tests::node::{make_chain, service};
use bixi_tests::rpc::Connection;
use bixi_tests::settings;
use rustix::process::{Pid, Signal, kill_process, kill_process_group};
use serde_json::{Value, json};

const PATIENCE: Duration = Duration::from_secs(60);

fn bixi(arguments: &[&str]) -> Output {
    Command::new(binary("bixi")).args(arguments).output().unwrap()
}

fn said(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

fn run_command(config: &Path) -> Command {
    let mut command = service();
    command.args(["run", "--ready-json", "--config"]).arg(config).stdout(Stdio::piped());
    command
}

/// A child that a failing test does not leave behind.
struct Process(Child);

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

impl Process {
    fn start(command: &mut Command) -> Self {
        Self(command.spawn().unwrap())
    }

    fn id(&self) -> Pid {
        Pid::from_child(&self.0)
    }

    fn send(&self, signal: Signal) {
        kill_process(self.id(), signal).unwrap();
    }

    /// Waits for the ready line of `bixi run`.
    fn rpc(&mut self) -> SocketAddr {
        let mut line = String::new();
        BufReader::new(self.0.stdout.as_mut().unwrap()).read_line(&mut line).unwrap();
        let ready: Value = serde_json::from_str(&line).unwrap_or_else(|error| panic!("not ready: {error}: {line:?}"));
        ready["rpc"].as_str().unwrap().trim_start_matches("http://").parse().unwrap()
    }

    fn end(&mut self, patience: Duration) -> ExitStatus {
        let began = Instant::now();
        loop {
            if let Some(status) = self.0.try_wait().unwrap() {
                return status;
            }
            assert!(began.elapsed() < patience, "still running after {patience:?}");
            std::thread::sleep(Duration::from_millis(10));
        }
    }
}

fn height(rpc: SocketAddr) -> u64 {
    let answer = Connection::open(rpc).and_then(|mut node| node.call("getBlockNumber", json!(["group0", ""])));
    answer.unwrap().as_u64().unwrap()
}

/// Command lines of live processes that mention `word`.
fn processes_about(word: &Path) -> Vec<String> {
    let word = word.to_str().unwrap();
    let lines = fs::read_dir("/proc").unwrap().filter_map(|entry| fs::read(entry.ok()?.path().join("cmdline")).ok());
    lines.map(|line| String::from_utf8_lossy(&line).replace('\0', " ")).filter(|line| line.contains(word)).collect()
}

fn gone_within(word: &Path, patience: Duration) -> Vec<String> {
    let began = Instant::now();
    loop {
        let left = processes_about(word);
        if left.is_empty() || began.elapsed() > patience {
            return left;
        }
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// A demonstration with its temporary files in `temporary`, led by itself as a terminal's foreground job is.
fn demo(temporary: &Path, arguments: &[&str]) -> Process {
    let mut command = Command::new(binary("bixi"));
    command.args(["demo", "--nodes", "1"]).args(arguments).env("TMPDIR", temporary).process_group(0);
    Process::start(command.stdout(Stdio::piped()).stderr(Stdio::piped()))
}

/// Reads standard error up to a line that begins with `beginning`; the reader keeps the pipe open.
fn read_until(process: &mut Process, beginning: &str) -> BufReader<std::process::ChildStderr> {
    read_to_line(process, beginning, |line| line.starts_with(beginning))
}

/// The same, up to a line that holds `words`.
fn read_until_says(process: &mut Process, words: &str) -> BufReader<std::process::ChildStderr> {
    read_to_line(process, words, |line| line.contains(words))
}

fn read_to_line(
    process: &mut Process,
    what: &str,
    is_it: impl Fn(&str) -> bool,
) -> BufReader<std::process::ChildStderr> {
    let mut lines = BufReader::new(process.0.stderr.take().unwrap());
    let (mut line, mut all) = (String::new(), String::new());
    while lines.read_line(&mut line).unwrap() > 0 {
        if is_it(&line) {
            return lines;
        }
        all.push_str(&std::mem::take(&mut line));
    }
    panic!("it never said {what:?} but: {all}");
}

#[test]
fn ctrl_c_at_every_phase_of_the_demonstration_leaves_nothing_behind() {
    for (phase, delay_ms) in [
        ("chain: preparing", 0),
        ("chain: generating", 100),
        ("chain: certifying", 100),
        ("chain: making vault", 100),
        ("demo: starting", 0),
        ("demo: starting", 60),
        ("demo: sending", 0),
        ("demo: verifying", 0),
        ("demo: looking at the disk", 0),
        ("demo: looking at the disk", 150),
    ] {
        let temporary = tempfile::tempdir().unwrap();
        let mut process = demo(temporary.path(), &["--txs", "300"]);
        let mut lines = read_until(&mut process, phase);
        std::thread::sleep(Duration::from_millis(delay_ms));
        kill_process_group(process.id(), Signal::INT).unwrap();
        let status = process.end(PATIENCE);
        let mut rest = String::new();
        lines.read_to_string(&mut rest).unwrap();
        assert_eq!(status.code(), Some(130), "{phase}: {rest}");
        assert_eq!(gone_within(temporary.path(), PATIENCE), Vec::<String>::new(), "{phase}: {rest}");
        let left: Vec<_> = fs::read_dir(temporary.path()).unwrap().collect();
        assert!(left.is_empty(), "{phase}: {left:?}");
        let mut output = String::new();
        process.0.stdout.take().unwrap().read_to_string(&mut output).unwrap();
        assert_eq!(output, "", "{phase}");
    }
}

#[test]
fn an_interrupted_demonstration_leaves_the_chain_and_no_copy_of_its_keys() {
    let place = tempfile::tempdir().unwrap();
    let directory = place.path().join("chain");
    let mut process = demo(place.path(), &["--txs", "100", "--dir", directory.to_str().unwrap()]);
    let _lines = read_until(&mut process, "demo: looking at the disk");
    std::thread::sleep(Duration::from_millis(100));
    process.send(Signal::INT);
    assert_eq!(process.end(PATIENCE).code(), Some(130));
    let mut names: Vec<_> = fs::read_dir(&directory).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    names.sort();
    assert_eq!(names, ["ca", "node0", "node0.broker.log", "node0.log"]);
}

#[test]
fn kill_9_of_the_demonstration_stops_its_node_in_order() {
    let temporary = tempfile::tempdir().unwrap();
    let mut process = demo(temporary.path(), &["--txs", "100"]);
    let _lines = read_until(&mut process, "demo: the node runs on");
    assert_ne!(processes_about(temporary.path()), Vec::<String>::new(), "the node names its file");
    process.send(Signal::KILL);
    process.end(PATIENCE);
    assert_eq!(gone_within(temporary.path(), PATIENCE), Vec::<String>::new());
    let made = fs::read_dir(temporary.path()).unwrap().next().unwrap().unwrap().path();
    let log = fs::read_to_string(made.join("node0.log")).unwrap();
    assert!(log.lines().last().unwrap().contains("stopped"), "{log}");
}

#[test]
fn a_node_is_not_bound_to_a_process_that_is_not_its_parent() {
    let place = tempfile::tempdir().unwrap();
    let config = make_chain(place.path());
    let refused = run_command(&config).args(["--stop-with", "1"]).output().unwrap();
    assert_eq!(refused.status.code(), Some(1));
    assert!(said(&refused).contains("not, or no longer, the parent"), "{}", said(&refused));
}

#[test]
fn a_log_that_cannot_be_written_does_not_end_the_node() {
    let place = tempfile::tempdir().unwrap();
    let config = make_chain(place.path());
    let full = File::options().write(true).open("/dev/full").unwrap();
    let mut node = Process::start(run_command(&config).stderr(full));
    let rpc = node.rpc();
    assert_eq!(height(rpc), 0);
    node.send(Signal::TERM);
    assert_eq!(node.end(PATIENCE).code(), Some(0));

    let mut node = Process::start(run_command(&config).stderr(Stdio::piped()));
    drop(node.0.stderr.take());
    let rpc = node.rpc();
    assert_eq!(height(rpc), 0);
    node.send(Signal::TERM);
    assert_eq!(node.end(PATIENCE).code(), Some(0));
}

#[test]
fn a_hangup_stops_a_node_at_a_terminal_and_has_a_service_reload() {
    let place = tempfile::tempdir().unwrap();
    let config = make_chain(place.path());
    // The upper end of a pseudoterminal is a terminal, too.
    let terminal = File::options().read(true).write(true).open("/dev/ptmx").unwrap();
    let mut node = Process::start(run_command(&config).stdin(terminal));
    node.rpc();
    node.send(Signal::HUP);
    assert_eq!(node.end(PATIENCE).code(), Some(0));

    let mut node = Process::start(run_command(&config).stdin(Stdio::null()).stderr(Stdio::piped()));
    let rpc = node.rpc();
    node.send(Signal::HUP);
    let _lines = read_until_says(&mut node, "nothing has changed");
    assert_eq!(height(rpc), 0);
    node.send(Signal::TERM);
    assert_eq!(node.end(PATIENCE).code(), Some(0));

    let mut ignoring = Command::new("sh");
    ignoring.args(["-c", "trap '' HUP; exec \"$0\" run --ready-json --config \"$1\""]);
    let mut node = Process::start(ignoring.arg(binary("bixi")).arg(&config).stdout(Stdio::piped()));
    let rpc = node.rpc();
    node.send(Signal::HUP);
    std::thread::sleep(Duration::from_millis(300));
    assert_eq!(height(rpc), 0);
    node.send(Signal::TERM);
    assert_eq!(node.end(PATIENCE).code(), Some(0));
}

#[test]
fn a_second_signal_does_not_wait_for_a_client() {
    let place = tempfile::tempdir().unwrap();
    let config = make_chain(place.path());
    let mut node = Process::start(&mut run_command(&config));
    // A request that never ends holds up an orderly stop for some seconds.
    let mut client = TcpStream::connect(node.rpc()).unwrap();
    client.write_all(b"GET /healthz HTTP/1.1\r\nHost: node\r\n\r\n").unwrap();
    assert!(client.read(&mut [0; 1024]).unwrap() > 0, "the node serves this client");
    client.write_all(b"POST / HTTP/1.1\r\nHost: node\r\nContent-Length: 10\r\n\r\n").unwrap();
    std::thread::sleep(Duration::from_millis(500));
    node.send(Signal::INT);
    std::thread::sleep(Duration::from_millis(300));
    assert!(node.0.try_wait().unwrap().is_none(), "the first signal stops in order");
    node.send(Signal::INT);
    assert_eq!(node.end(PATIENCE).signal(), Some(Signal::INT.as_raw()));
    let mut again = Process::start(&mut run_command(&config));
    again.rpc();
}

#[test]
fn a_signal_breaks_off_a_start_that_waits_for_its_pin() {
    let place = tempfile::tempdir().unwrap();
    let config = make_chain(place.path());
    let text = fs::read_to_string(&config).unwrap().replace("file:secrets/user.pin", "fd:3");
    fs::write(&config, text).unwrap();
    let pipe = place.path().join("pin");
    assert!(Command::new("mkfifo").arg(&pipe).status().unwrap().success());
    let mut command = Command::new("sh");
    command.args(["-c", "exec \"$0\" run --config \"$1\" 3<>\"$2\""]).arg(binary("bixi")).arg(&config).arg(&pipe);
    let mut node = Process::start(command.stderr(Stdio::piped()));
    let _lines = read_until_contains(&mut node, "step=\"storage\"");
    std::thread::sleep(Duration::from_millis(100));
    assert!(node.0.try_wait().unwrap().is_none(), "it waits for the PIN");
    node.send(Signal::INT);
    assert_eq!(node.end(PATIENCE).signal(), Some(Signal::INT.as_raw()));
}

fn read_until_contains(process: &mut Process, word: &str) -> BufReader<std::process::ChildStderr> {
    let mut lines = BufReader::new(process.0.stderr.take().unwrap());
    let mut line = String::new();
    while lines.read_line(&mut line).unwrap() > 0 {
        if line.contains(word) {
            return lines;
        }
        line.clear();
    }
    panic!("no line with {word:?}");
}

#[test]
fn a_service_manager_that_does_not_listen_is_no_reason_to_stop() {
    let place = tempfile::tempdir().unwrap();
    let config = make_chain(place.path());
    let mut node = Process::start(run_command(&config).env("NOTIFY_SOCKET", place.path().join("nobody")));
    assert_eq!(height(node.rpc()), 0);
    node.send(Signal::TERM);
    assert_eq!(node.end(PATIENCE).code(), Some(0));
}

#[test]
fn json_is_all_of_standard_output_and_words_are_plain() {
    let ran = Command::new(binary("bixi"))
        .args(["demo", "--nodes", "1", "--txs", "100", "--exit", "--json"])
        .env_clear()
        .env("LANG", "C")
        .output()
        .unwrap();
    assert!(ran.status.success(), "{}", said(&ran));
    let text = String::from_utf8(ran.stdout.clone()).unwrap();
    assert_eq!(text.lines().count(), 1);
    assert!(serde_json::from_str::<Value>(&text).unwrap().is_object());
    assert!(ran.stderr.iter().all(|byte| *byte == b'\n' || (b' '..=b'~').contains(byte)), "{}", said(&ran));
    assert!(said(&ran).contains("demo: 100 of 100 transactions answered"), "{}", said(&ran));
}

#[test]
fn bench_crypto_measures_every_operation_on_the_kernels_it_names() {
    let ran = Command::new(binary("bixi"))
        .args(["bench", "crypto", "--json", "--seconds", "1"])
        .env("BIXI_CPU", "portable")
        .output()
        .unwrap();
    assert!(ran.status.success(), "{}", said(&ran));
    let text = String::from_utf8(ran.stdout).unwrap();
    assert_eq!(text.lines().count(), 1);
    let shown: Value = serde_json::from_str(&text).unwrap();
    let rows = shown["rows"].as_array().unwrap();
    let operations: BTreeSet<&str> = rows.iter().map(|row| row["operation"].as_str().unwrap()).collect();
    for operation in [
        "sm3::digest",
        "sm3::digest_many",
        "sm3::hmac",
        "sm3::lthash",
        "sm4::encrypt_blocks",
        "sm4::cbc::decrypt",
        "sm4::ctr",
        "sm4::xts",
        "sm4::gcm::seal",
        "sm4::gcm::seal_many",
        "sm2::sign",
        "sm2::sign_batch",
        "sm2::verify",
        "sm2::verify_batch",
        "sm2::generate",
        "sm2::exchange",
        "sm2::encrypt",
        "sm2::decrypt",
    ] {
        assert!(operations.contains(operation), "{operation} is not among {operations:?}");
    }
    for row in rows {
        assert!(row["rate"].as_f64().unwrap() > 0.0 && row["ns_per_op"].as_f64().unwrap() > 0.0, "{row}");
        assert_eq!(row["kernel"], "portable", "{row}");
    }
    assert!(shown["kernels"].as_object().unwrap().values().all(|kernel| kernel == "portable"), "{shown}");
}

/// The tables of points: the only memory for which anything of ours asks.
#[test]
fn tables_are_where_the_kernel_is_asked_for_huge_pages() {
    if !Path::new("/sys/kernel/mm/transparent_hugepage").exists() {
        return;
    }
    let mut command = Command::new(binary("bixi"));
    let bench = Process::start(command.args(["bench", "crypto", "--quick"]).stdout(Stdio::null()));
    let smaps = PathBuf::from(format!("/proc/{}/smaps", bench.0.id()));
    let is_asked = |smaps: &str| {
        let mut flags = smaps.lines().filter_map(|line| line.strip_prefix("VmFlags:"));
        flags.any(|flags| flags.split(' ').any(|flag| flag == "hg"))
    };
    let end = Instant::now() + PATIENCE;
    while !is_asked(&fs::read_to_string(&smaps).unwrap_or_default()) {
        assert!(Instant::now() < end, "no mapping asks for huge pages");
        std::thread::sleep(Duration::from_millis(5));
    }
}

#[test]
fn bench_crypto_prints_a_row_for_each_operation_and_refuses_an_unknown_instruction_set() {
    let ran = bixi(&["bench", "crypto", "--quick"]);
    assert!(ran.status.success(), "{}", said(&ran));
    let text = String::from_utf8(ran.stdout).unwrap();
    assert!(text.lines().any(|line| line.starts_with("sm2::sign ") && line.contains(" op/s ")), "{text}");
    assert!(text.lines().any(|line| line.starts_with("sm4::ctr ") && line.contains(" 65536 B ")), "{text}");
    let refused = Command::new(binary("bixi")).args(["bench", "crypto"]).env("BIXI_CPU", "avx9000").output().unwrap();
    assert_eq!((refused.status.code(), refused.stdout.len()), (Some(2), 0), "{}", said(&refused));
    assert!(said(&refused).contains("avx9000"), "{}", said(&refused));
}

#[test]
fn every_command_takes_the_kernels_that_the_environment_allows() {
    let portable = |arguments: &[&str]| {
        let ran = Command::new(binary("bixi")).args(arguments).env("BIXI_CPU", "portable").output().unwrap();
        String::from_utf8(ran.stdout).unwrap()
    };
    let shown: Value = serde_json::from_str(&portable(&["version", "--json"])).unwrap();
    assert!(shown["kernels"].as_object().unwrap().values().all(|kernel| kernel == "portable"), "{shown}");
    let temporary = tempfile::tempdir().unwrap();
    let config = temporary.path().join("bixi.toml");
    fs::write(&config, "").unwrap();
    let report = portable(&["doctor", "--json", "--offline", "--config", config.to_str().unwrap()]);
    assert!(report.contains("sm3.many portable") && report.contains("sm2.multiply_batch portable"), "{report}");
    let refused = Command::new(binary("bixi")).arg("version").env("BIXI_CPU", "avx9000").output().unwrap();
    assert_eq!((refused.status.code(), refused.stdout.len()), (Some(2), 0), "{}", said(&refused));
}

#[test]
fn wishes_of_later_releases_are_refused_before_anything_is_made() {
    let temporary = tempfile::tempdir().unwrap();
    let target = temporary.path().join("chain");
    let target = target.to_str().unwrap();
    let cases: [(&[&str], &str); 9] = [
        (&["demo", "--nodes", "32"], "more than the 31"),
        (&["demo", "--suite", "std"], "use --suite sm"),
        (&["chain", "new", "--dir", target, "--nodes", "0"], "at least one node"),
        (
            &["chain", "new", "--dir", target, "--nodes", "10.0.0.1:1,10.0.0.1:1"],
            "two nodes are to be found at 10.0.0.1:1",
        ),
        (&["chain", "new", "--dir", target, "--nodes", "10.0.0.1:1,10.0.0.2:70000"], "\"10.0.0.2:70000\" is neither"),
        (&["chain", "new", "--expand", target, "--chain-id", "other"], "cannot be used with"),
        (&["chain", "new", "--dir", target, "--chain-id", "my chain"], "--chain-id \"my chain\""),
        (&["demo", "--txs", "1"], "100..=100000000"),
        (&["demo", "--txs", "99999999999999999999"], "too large"),
    ];
    for (arguments, words) in cases {
        let ran = Command::new(binary("bixi")).args(arguments).env("TMPDIR", temporary.path()).output().unwrap();
        assert_eq!(ran.status.code(), Some(2), "{arguments:?}: {}", said(&ran));
        assert!(said(&ran).contains(words), "{arguments:?}: {}", said(&ran));
        assert!(ran.stdout.is_empty());
        assert_eq!(fs::read_dir(temporary.path()).unwrap().count(), 0, "{arguments:?}");
    }
}

#[test]
fn status_shows_a_running_node_and_tells_one_that_is_not() {
    let place = tempfile::tempdir().unwrap();
    let config = make_chain(place.path());
    let mut node = Process::start(&mut run_command(&config));
    let rpc = node.rpc().to_string();
    let status = |arguments: &[&str]| {
        Command::new(binary("bixi")).arg("status").arg(&config).args(["--rpc", &rpc]).args(arguments).output().unwrap()
    };
    let shown = status(&["--json"]);
    assert!(shown.status.success(), "{}", said(&shown));
    let shown: Value = serde_json::from_slice(&shown.stdout).unwrap();
    for (path, expected) in [
        ("/ok", json!(true)),
        ("/node", json!("node0")),
        ("/height", json!(0)),
        ("/lag", json!(0)),
        ("/mode", json!("voting")),
        ("/round", json!(0)),
        ("/validators", json!(1)),
        ("/peers", json!([])),
        ("/faults", json!([])),
        ("/checkpoint/height", json!(0)),
        // A chain of one shows its certificate to nobody.
        ("/certificates", json!([])),
    ] {
        assert_eq!(shown.pointer(path), Some(&expected), "{path} in {shown}");
    }
    assert_eq!((&shown["leader"], shown["id"].as_str().map(str::len)), (&shown["id"], Some(128)), "{shown}");
    assert!(shown["disk_free_mib"].as_u64().unwrap() > 0, "{shown}");
    let text = String::from_utf8(status(&[]).stdout).unwrap();
    assert!(text.lines().any(|line| line.starts_with("mode") && line.ends_with("voting")), "{text}");

    // The file lets the system choose a port, so it does not say where the node is.
    let unnamed = bixi(&["status", config.to_str().unwrap()]);
    assert_eq!(unnamed.status.code(), Some(78), "{}", said(&unnamed));
    drop(node);
    let gone = status(&[]);
    assert_eq!((gone.status.code(), gone.stdout.len()), (Some(1), 0), "{}", said(&gone));
    assert!(said(&gone).contains("is the node running?"), "{}", said(&gone));
}

#[test]
fn a_result_that_is_not_delivered_is_a_failure() {
    let full = File::options().write(true).open("/dev/full").unwrap();
    let ran = Command::new(binary("bixi")).args(["version", "--json"]).stdout(full).output().unwrap();
    assert_eq!(ran.status.code(), Some(1));
    assert!(said(&ran).contains("standard output: No space left"), "{}", said(&ran));
}

#[test]
fn another_module_is_used_where_it_is_and_a_wrong_one_is_told() {
    let place = tempfile::tempdir().unwrap();
    let module = place.path().join("vendor.so");
    fs::copy(binary("libbixi_token.so"), &module).unwrap();
    let chain = place.path().join("chain");
    let (module, chain) = (module.to_str().unwrap(), chain.to_str().unwrap());
    let made = bixi(&["chain", "new", "--rpc-port", "0", "--dir", chain, "--module", module]);
    assert!(made.status.success(), "{}", said(&made));
    let config = Path::new(chain).join("node0/bixi.toml");
    assert!(fs::read_to_string(&config).unwrap().contains(&format!("module = \"{module}\"")));
    let mut node = Process::start(&mut run_command(&config));
    assert_eq!(height(node.rpc()), 0);
    drop(node);

    settings::set(&config, "hsm", "backend", "\"sdf\"");
    let misread = run_command(&config).output().unwrap();
    assert!(!misread.status.success() && said(&misread).contains("has no SDF_OpenDevice"), "{}", said(&misread));
    settings::set(&config, "hsm", "backend", "\"pkcs11\"");

    fs::remove_file(module).unwrap();
    let gone = run_command(&config).output().unwrap();
    assert_eq!(gone.status.code(), Some(78), "{}", said(&gone));
    assert!(
        said(&gone).contains("there is no such file; name the module of the key device (hsm.module"),
        "{}",
        said(&gone)
    );

    let other = place.path().join("other");
    let absent = bixi(&["chain", "new", "--dir", other.to_str().unwrap(), "--module", module]);
    assert_eq!(absent.status.code(), Some(78), "{}", said(&absent));
    assert!(!other.exists(), "nothing is begun without a module");

    fs::copy(binary("bixi"), module).unwrap();
    let wrong = bixi(&["chain", "new", "--dir", other.to_str().unwrap(), "--module", module]);
    assert_eq!(wrong.status.code(), Some(1), "{}", said(&wrong));
    let words = said(&wrong);
    assert!(words.contains("is no chain yet; remove what is in it"), "{words}");
    // Each reason once.
    let reason = words.lines().find(|line| line.starts_with("bixi: ")).unwrap();
    assert!(
        !reason.split(": ").enumerate().any(|(at, part)| reason.split(": ").skip(at + 1).any(|later| later == part)),
        "{words}"
    );
}

#[test]
fn nobody_else_reads_what_is_made_whatever_the_umask() {
    let place = tempfile::tempdir().unwrap();
    let chain = place.path().join("chain");
    let mut command = Command::new("sh");
    command.args(["-c", "umask 000; exec \"$0\" chain new --rpc-port 0 --dir \"$1\""]).arg(binary("bixi")).arg(&chain);
    assert!(command.output().unwrap().status.success());
    let config = chain.join("node0/bixi.toml");
    let mut command = Command::new("sh");
    command.args(["-c", "umask 000; exec \"$0\" run --ready-json --config \"$1\""]).arg(binary("bixi")).arg(&config);
    let mut node = Process::start(command.stdout(Stdio::piped()));
    node.rpc();
    node.send(Signal::TERM);
    node.end(PATIENCE);
    let public = ["bixi.toml", "genesis.toml", "token.conf", "keys.json"];
    // Certificates and revocation lists are for everybody's eyes.
    let is_public = |name: &str| public.contains(&name) || name.ends_with(".crt") || name.ends_with(".crl");
    let mut seen = 0;
    let mut places = vec![chain];
    while let Some(place) = places.pop() {
        let mode = fs::metadata(&place).unwrap().permissions().mode() & 0o7777;
        let name = place.file_name().unwrap().to_str().unwrap().to_owned();
        let wanted = if is_public(&name) { 0o644 } else { 0o700 };
        assert_eq!(mode & !wanted, 0, "{} has {mode:o}", place.display());
        if name.ends_with(".pin") {
            assert_eq!(mode, 0o400, "{}", place.display());
        }
        if place.is_dir() {
            places.extend(fs::read_dir(&place).unwrap().map(|entry| entry.unwrap().path()));
        }
        seen += 1;
    }
    assert!(seen > 30, "{seen} files and directories");
}

#[test]
fn a_umask_that_takes_the_owners_rights_is_refused_before_anything_is_made() {
    let place = tempfile::tempdir().unwrap();
    let chain = place.path().join("chain");
    let mut command = Command::new("sh");
    command.args(["-c", "umask 0277; exec \"$0\" chain new --dir \"$1\""]).arg(binary("bixi")).arg(&chain);
    let refused = command.output().unwrap();
    assert_eq!(refused.status.code(), Some(1));
    assert!(said(&refused).contains("the umask 0277 takes the owner's own rights"), "{}", said(&refused));
    assert!(!chain.exists());
}

#[test]
fn a_running_node_shows_its_pin_nowhere_and_cannot_dump() {
    let place = tempfile::tempdir().unwrap();
    let config = make_chain(place.path());
    let pin = fs::read(place.path().join("chain/node0/secrets/user.pin")).unwrap();
    let log = place.path().join("log");
    let text = fs::read_to_string(&config).unwrap();
    let filter = text.lines().find(|line| line.starts_with("filter = ")).unwrap();
    fs::write(&config, text.replace(filter, "filter = \"trace\"")).unwrap();
    let mut node = Process::start(run_command(&config).stderr(File::create(&log).unwrap()));
    node.rpc();
    let proc = PathBuf::from(format!("/proc/{}", node.id().as_raw_pid()));
    let holds = |bytes: &[u8]| bytes.windows(pin.len()).any(|window| window == pin);
    assert!(!holds(&fs::read(proc.join("cmdline")).unwrap()));
    // A process that cannot be dumped hides its environment from its own user, too.
    if let Ok(environment) = fs::read(proc.join("environ")) {
        assert!(!holds(&environment));
    }
    let limits = fs::read_to_string(proc.join("limits")).unwrap();
    let core: Vec<&str> =
        limits.lines().find(|line| line.starts_with("Max core")).unwrap().split_whitespace().collect();
    assert_eq!(core[4..6], ["0", "0"], "{limits}");
    node.send(Signal::TERM);
    node.end(PATIENCE);
    let log = fs::read(&log).unwrap();
    assert!(log.len() > 10_000, "trace says much");
    assert!(!holds(&log));
}

#[test]
fn doctor_tells_a_running_node_from_a_stopped_one_and_disturbs_neither() {
    let place = tempfile::tempdir().unwrap();
    let config = make_chain(place.path());
    let found = |name: &str| {
        let asked = bixi(&["doctor", "--json", "--config", config.to_str().unwrap()]);
        let report: Value = serde_json::from_slice(&asked.stdout).unwrap();
        assert_eq!(report["ok"], true, "{report}");
        let check = report["checks"].as_array().unwrap().iter().find(|check| check["check"] == name).cloned();
        check.unwrap_or_else(|| panic!("no check {name} in {report}"))["detail"].as_str().unwrap().to_owned()
    };
    assert_eq!(found("node"), "not running");
    let mut node = Process::start(&mut run_command(&config));
    let rpc = node.rpc();
    assert!(found("node").starts_with("running"));
    assert_eq!(height(rpc), 0);
    fs::remove_file(place.path().join("chain/node0/data/guard")).unwrap();
    let asked = bixi(&["doctor", "--offline", "--config", config.to_str().unwrap()]);
    assert_eq!(asked.status.code(), Some(1));
    let table = String::from_utf8_lossy(&asked.stdout).into_owned();
    assert!(table.contains("no guard in"), "{table}");
}

#[test]
fn a_probe_names_the_profile_of_a_nodes_module_and_asks_for_no_pin() {
    let place = tempfile::tempdir().unwrap();
    let config = make_chain(place.path());
    fs::remove_file(config.with_file_name("secrets").join("user.pin")).unwrap();
    let config = config.to_str().unwrap();
    let asked = bixi(&["hsm", "probe", "--json", "--config", config]);
    assert!(asked.status.success(), "{}", said(&asked));
    let found: Value = serde_json::from_slice(&asked.stdout).unwrap();
    let token = &found["tokens"][0];
    assert_eq!(
        (&found["manufacturer"], &token["label"], &token["ready"]),
        (&json!("Bixi"), &json!("bixi"), &json!(true))
    );
    assert_eq!(token["fits"][0], json!({"profile": "bixi-token", "named": true, "missing": []}));
    let table = bixi(&["hsm", "probe", "--config", config]);
    let table = String::from_utf8_lossy(&table.stdout).into_owned();
    for wanted in ["bixi-token", "named by the module", "fits", "lacks", "CKM_EC_KEY_PAIR_GEN"] {
        assert!(table.contains(wanted), "{wanted} in {table}");
    }
    let missing = place.path().join("missing.so");
    let refused = bixi(&["hsm", "probe", "--module", missing.to_str().unwrap()]);
    assert_eq!(refused.status.code(), Some(78));
    assert!(said(&refused).contains("missing.so"), "{}", said(&refused));
    // The token of the only slot is damaged: the module is described all the same.
    fs::write(place.path().join("chain/node0/token/slot-0/token"), b"damaged").unwrap();
    let asked = bixi(&["hsm", "probe", "--json", "--config", config]);
    assert_eq!(asked.status.code(), Some(1), "{}", said(&asked));
    assert!(said(&asked).contains("no token of this module answers (slot 0): C_Get"), "{}", said(&asked));
    let found: Value = serde_json::from_slice(&asked.stdout).unwrap();
    assert_eq!((&found["tokens"], &found["silent"][0]["slot"]), (&json!([]), &json!(0)));
}
