//! Workers played by the shell: it has the line as its standard input, in both directions.

use std::cell::RefCell;
use std::path::Path;

use super::*;
use crate::socket;

/// Nothing that comes takes longer, on whatever machine.
const PATIENCE: Duration = Duration::from_secs(60);
const PIN: &[u8] = b"648219";
/// Length and PIN, read from the line.
const TAKE_PIN: &str = "head -c 8 >/dev/null;";

fn params(place: &Path, script: &str) -> Params {
    let script = script.to_owned();
    Params {
        command: Box::new(move || {
            let mut command = Command::new("sh");
            command.arg("-c").arg(&script);
            Ok(command)
        }),
        listener: socket::listen(&place.join("broker.sock")).unwrap(),
        pin: Secret::from_slice(PIN),
        brief: Vec::new(),
        statuses: Statuses { always_final: vec![77], final_at_start: vec![78], resting: vec![] },
        // No worker here is taken for dead but where a test is about it.
        pace: Pace { silence: PATIENCE, proven: PATIENCE, end: PATIENCE, ..Pace::default() },
    }
}

/// Supervises until `enough`, or to the end; what was told.
fn told(params: &Params, enough: impl Fn(&[String]) -> bool) -> (End, Vec<String>) {
    let told = RefCell::new(Vec::new());
    let waiting = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let tell = |one: Told| {
        told.borrow_mut().push(match one {
            Told::Ready { .. } => "ready".to_owned(),
            Told::Lost { why, pause } => format!("{why}; {} ms", pause.as_millis()),
        });
    };
    let stop = async {
        while !enough(&told.borrow()) {
            sleep(Duration::from_millis(5)).await;
        }
    };
    let end = waiting.block_on(supervise(params, tell, stop)).unwrap();
    (end, told.into_inner())
}

#[test]
fn a_worker_gets_the_pin_and_ends_in_order_with_its_line() {
    let place = tempfile::tempdir().unwrap();
    let (pin, over) = (place.path().join("pin"), place.path().join("over"));
    let script = format!("head -c 8 >{}; printf R >&0; cat >/dev/null; env >{}", pin.display(), over.display());
    let (end, said) = told(&params(place.path(), &script), |told| !told.is_empty());
    assert_eq!((end, &said[..]), (End::Stopped, &["ready".to_owned()][..]));
    assert_eq!(std::fs::read(pin).unwrap(), [&[6, 0], PIN].concat());
    let environment = std::fs::read_to_string(over).expect("it was let end in order");
    assert!(!environment.contains("648219"), "{environment}");
}

#[test]
fn a_refused_pin_is_never_tried_by_another_worker() {
    let place = tempfile::tempdir().unwrap();
    let count = place.path().join("count");
    let script = format!("{TAKE_PIN} echo >>{}; exit 77", count.display());
    let (end, said) = told(&params(place.path(), &script), |_| false);
    assert_eq!((end, said.len()), (End::Final(77), 0));
    assert_eq!(std::fs::read(count).unwrap().len(), 1);
}

#[test]
fn workers_that_die_young_come_back_ever_more_rarely() {
    let place = tempfile::tempdir().unwrap();
    let (end, said) = told(&params(place.path(), &format!("{TAKE_PIN} exit 1")), |told| told.len() == 3);
    assert_eq!(end, End::Stopped);
    let pauses = ["100 ms", "200 ms", "400 ms"];
    for (told, pause) in said.iter().zip(pauses) {
        assert!(told.contains("it ended: exit status: 1") && told.ends_with(pause), "{told}");
    }
}

#[test]
fn a_worker_that_served_and_died_is_replaced_at_once() {
    let place = tempfile::tempdir().unwrap();
    let seen = place.path().join("seen");
    // It dies once it is known to be ready; the next ones find that it was.
    let script = format!("{TAKE_PIN} printf R >&0; while [ ! -e {} ]; do sleep 0.02; done; kill -9 $$", seen.display());
    let mut params = params(place.path(), &script);
    params.pace.proven = Duration::ZERO;
    let (_, said) = told(&params, |told| {
        if !told.is_empty() {
            std::fs::write(&seen, "").unwrap();
        }
        told.len() >= 3
    });
    assert!(said[1].contains("signal: 9") && said[1].ends_with("; 0 ms"), "{said:?}");
}

#[test]
fn a_silent_worker_is_killed_waited_for_and_replaced() {
    let place = tempfile::tempdir().unwrap();
    let mut params = params(place.path(), &format!("{TAKE_PIN} printf R >&0; kill -STOP $$"));
    params.pace.silence = Duration::from_millis(50);
    let (process, gone) = (RefCell::new(0), RefCell::new(Vec::new()));
    let tell = |told: Told| match told {
        Told::Ready { process: id } => *process.borrow_mut() = id,
        Told::Lost { why, .. } => {
            assert!(matches!(why, Lost::Silent(_)), "{why}");
            let is_gone = !Path::new(&format!("/proc/{}", process.borrow())).exists();
            gone.borrow_mut().push(is_gone);
        }
    };
    let stop = async {
        while gone.borrow().len() < 2 {
            sleep(Duration::from_millis(5)).await;
        }
    };
    let waiting = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    assert_eq!(waiting.block_on(supervise(&params, tell, stop)).unwrap(), End::Stopped);
    assert_eq!(*gone.borrow(), [true, true]);
}

/// Whatever becomes of the files meanwhile; longer than what the line takes at once.
#[test]
fn every_worker_gets_the_same_brief() {
    let place = tempfile::tempdir().unwrap();
    let brief: Vec<u8> = (0..1 << 20).map(|at: u32| at as u8).collect();
    let got = place.path().join("got");
    let script = format!("{TAKE_PIN} head -c {} >>{}; printf R >&0; exit 1", brief.len() + 4, got.display());
    let params = Params { brief: brief.clone(), ..params(place.path(), &script) };
    let (end, said) = told(&params, |told| told.len() == 4);
    assert_eq!((end, &said[0], &said[2]), (End::Stopped, &"ready".to_owned(), &"ready".to_owned()));
    let framed = crate::line::framed(&brief).unwrap();
    assert!(std::fs::read(got).unwrap() == [&framed[..], &framed].concat());
}

#[test]
fn a_file_that_cannot_be_used_ends_all_at_the_start_only() {
    let place = tempfile::tempdir().unwrap();
    let (end, said) = told(&params(place.path(), &format!("{TAKE_PIN} exit 78")), |_| false);
    assert_eq!((end, said.len()), (End::Final(78), 0));
    let place = tempfile::tempdir().unwrap();
    let served = place.path().join("served");
    let script = format!("{TAKE_PIN} [ -e {0} ] || printf R >&0; >{0}; exit 78", served.display());
    let mut params = params(place.path(), &script);
    params.statuses.resting = vec![(78, Duration::from_millis(789))];
    let (end, said) = told(&params, |told| told.len() == 3);
    assert_eq!((end, &said[0]), (End::Stopped, &"ready".to_owned()));
    assert!(said[1..].iter().all(|lost| lost.ends_with("exit status: 78; 789 ms")), "{said:?}");
}

#[test]
fn what_a_person_has_to_mend_is_rested_for() {
    let place = tempfile::tempdir().unwrap();
    let mut params = params(place.path(), &format!("{TAKE_PIN} exit 75"));
    params.statuses.resting = vec![(75, Duration::from_millis(789))];
    let (end, said) = told(&params, |told| !told.is_empty());
    assert_eq!(end, End::Stopped);
    assert!(said[0].ends_with("exit status: 75; 789 ms"), "{said:?}");
}

#[test]
fn one_that_says_that_its_device_hangs_is_told_apart_and_replaced_at_once() {
    let place = tempfile::tempdir().unwrap();
    let mut params = params(place.path(), &format!("{TAKE_PIN} printf RH >&0; kill -9 $$"));
    params.pace.proven = Duration::ZERO;
    let (_, said) = told(&params, |told| told.len() == 4);
    let lost = [
        "its device hung, and it ended: signal: 9 (SIGKILL); 0 ms",
        "its device hung, and it ended: signal: 9 (SIGKILL); 1000 ms",
    ];
    assert_eq!([&said[1], &said[3]], lost);
}

/// What is forked shares the worker's locks: nothing of it is there when the next one starts.
#[test]
fn what_a_worker_forked_ends_with_it() {
    let place = tempfile::tempdir().unwrap();
    let forked = place.path().join("forked");
    let write = format!("sleep 1000 & echo $! >{0}.new; mv {0}.new {0}", forked.display());
    for end in ["printf R >&0; kill -9 $$", "printf R >&0; kill -STOP $$", "printf R >&0; cat >/dev/null"] {
        let mut params = params(place.path(), &format!("{TAKE_PIN} {write}; {end}"));
        params.pace.silence = if end.contains("STOP") { Duration::from_millis(50) } else { PATIENCE };
        let last = if end.contains("cat") { "ready" } else { "ms" };
        told(&params, |told| told.last().is_some_and(|told| told.ends_with(last)));
        let process: u32 = std::fs::read_to_string(&forked).unwrap().trim().parse().unwrap();
        assert!(!Path::new(&format!("/proc/{process}")).exists(), "{process} is left by: {end}");
        std::fs::remove_file(place.path().join("broker.sock")).unwrap();
    }
}

#[test]
fn a_program_that_is_not_there_is_told() {
    let place = tempfile::tempdir().unwrap();
    let params = Params { command: Box::new(|| Ok(Command::new("/nonexistent/bixi"))), ..params(place.path(), "") };
    let (end, said) = told(&params, |told| !told.is_empty());
    assert_eq!(end, End::Stopped);
    assert!(said[0].contains("could not be started"), "{said:?}");
}
