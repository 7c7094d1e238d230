//! How a node uses an accelerator: chosen by measurement, answers right whatever it does.

use std::fs;

use bixi_accel::sm3;
use bixi_accel::sm4::{Key, ctr};
use bixi_accel::workload::pattern;
use bixi_hsm_openssl::bulk::{Bulk, Count, FAILURES_MAX};
use bixi_hsm_openssl::measure::{BYTES, Stopwatch, Verdict};
use bixi_hsm_openssl::{Operation, Params};

use crate::bench::{Abi, FASTER, Told};

fn verdict(bulk: &Bulk, operation: Operation) -> &Verdict {
    &bulk.rows().iter().find(|row| row.operation == operation).expect("a row for every operation").verdict
}

fn count(bulk: &Bulk, operation: Operation) -> Count {
    bulk.counts().find(|count| count.operation == operation).expect("a count for every operation")
}

/// SM3 in two parts and SM4-CTR by `bulk`, which must be what accel says.
fn answers_are_right(bulk: &Bulk, bytes: usize) {
    let input = pattern(bytes);
    let (head, tail) = input.split_at(bytes / 3);
    assert_eq!(bulk.sm3(&[head, tail]), sm3::digest(&input));
    assert_eq!(bulk.sm3(&[&input]), sm3::digest(&input));
    let (mut output, mut expected) = (vec![0; bytes], input.clone());
    ctr::apply(&Key::new(&[3; 16]), &[9; 16], &mut expected);
    bulk.sm4(Operation::Sm4Ctr, &[3; 16], &[9; 16], &input, &mut output);
    assert!(output == expected, "{bytes} bytes");
}

fn start(params: &Params, mut clock: Told) -> Bulk {
    Bulk::start(params, &mut clock).unwrap()
}

#[test]
fn a_faster_accelerator_serves_and_is_counted() {
    for abi in Abi::all() {
        let (params, _place) = abi.double(&[]);
        let bulk = start(&params, FASTER);
        assert_eq!(verdict(&bulk, Operation::Sm3), &Verdict::From(BYTES[0]));
        for bytes in [100, 5000, 100_000] {
            answers_are_right(&bulk, bytes);
        }
        assert_eq!((count(&bulk, Operation::Sm3).served, count(&bulk, Operation::Sm4Ctr).served), (6, 3));
        // Below the smallest size that was measured nobody knows.
        answers_are_right(&bulk, BYTES[0] - 1);
        assert_eq!((count(&bulk, Operation::Sm3).served, count(&bulk, Operation::Sm4Ctr).served), (6, 3));
    }
}

#[test]
fn a_slower_accelerator_is_not_used() {
    let (params, _place) = Abi::three().double(&[]);
    let bulk = start(&params, Told { ours_ns: 100, theirs_ns: 100 });
    answers_are_right(&bulk, 100_000);
    for operation in [Operation::Sm3, Operation::Sm4EcbEncrypt, Operation::Sm4Ctr] {
        assert_eq!(verdict(&bulk, operation), &Verdict::Slower);
        assert_eq!(count(&bulk, operation).served, 0);
    }
    assert!(verdict(&bulk, Operation::Sm3).to_string().contains("ours"));
}

#[test]
fn only_configured_operations_are_used() {
    let (mut params, _place) = Abi::three().double(&[]);
    params.operations = vec![Operation::Sm3];
    let bulk = start(&params, FASTER);
    answers_are_right(&bulk, 100_000);
    assert_eq!(verdict(&bulk, Operation::Sm3), &Verdict::From(BYTES[0]));
    assert_eq!(verdict(&bulk, Operation::Sm4Ctr), &Verdict::NotWanted);
    assert_eq!(verdict(&bulk, Operation::Sm2Verify), &Verdict::NotOffered);
    assert_eq!(count(&bulk, Operation::Sm4Ctr).served, 0);
}

#[test]
fn sm2_is_measured_and_never_used() {
    let bulk = start(&Abi::three().provider("default"), FASTER);
    assert_eq!(verdict(&bulk, Operation::Sm2Verify), &Verdict::MeasuredOnly);
}

#[test]
fn a_liar_is_refused_and_never_used() {
    for abi in Abi::all() {
        let (params, _place) = abi.double(&[("LIES", "4096")]);
        let bulk = start(&params, FASTER);
        for bytes in [100, 100_000] {
            answers_are_right(&bulk, bytes);
        }
        for row in bulk.rows().iter().filter(|row| row.verdict != Verdict::NotOffered) {
            assert!(
                matches!(&row.verdict, Verdict::Refused(error) if error.cause == bixi_hsm::Cause::BadAnswer),
                "{row:?}"
            );
            assert_eq!(count(&bulk, row.operation).served, 0);
        }
    }
}

#[test]
fn a_failure_in_the_middle_costs_no_answer_and_too_many_end_the_use() {
    for abi in Abi::all() {
        let place = tempfile::tempdir().unwrap();
        let fault = place.path().join("fault");
        let (params, _engine) = abi.double(&[("FAILS_WHILE", fault.to_str().unwrap())]);
        let bulk = start(&params, FASTER);
        answers_are_right(&bulk, 5000);
        assert_eq!(count(&bulk, Operation::Sm4Ctr).served, 1);

        fs::write(&fault, "").unwrap();
        for _ in 1..FAILURES_MAX {
            answers_are_right(&bulk, 5000);
        }
        let failed = count(&bulk, Operation::Sm4Ctr);
        assert_eq!((failed.served, failed.failed), (1, u64::from(FAILURES_MAX - 1)));
        assert!(!failed.is_given_up);

        // It comes back, and the failures are no longer in a row.
        fs::remove_file(&fault).unwrap();
        answers_are_right(&bulk, 5000);
        assert_eq!(count(&bulk, Operation::Sm4Ctr).served, 2);
        fs::write(&fault, "").unwrap();
        for _ in 0..FAILURES_MAX {
            answers_are_right(&bulk, 5000);
        }
        assert!(count(&bulk, Operation::Sm4Ctr).is_given_up);

        fs::remove_file(&fault).unwrap();
        answers_are_right(&bulk, 5000);
        let given_up = count(&bulk, Operation::Sm4Ctr);
        assert_eq!((given_up.served, given_up.failed), (2, u64::from(2 * FAILURES_MAX - 1)));
    }
}

/// An accelerator that fails from the start is refused in words, and the node goes on without it.
#[test]
fn a_failure_in_the_self_test_refuses_the_operation() {
    let place = tempfile::tempdir().unwrap();
    let fault = place.path().join("fault");
    fs::write(&fault, "").unwrap();
    let (params, _engine) = Abi::three().double(&[("FAILS_WHILE", fault.to_str().unwrap())]);
    let bulk = start(&params, FASTER);
    assert!(
        matches!(verdict(&bulk, Operation::Sm4Ctr), Verdict::Refused(error) if error.cause == bixi_hsm::Cause::Fault)
    );
    answers_are_right(&bulk, 5000);
}

/// With the real clock nothing is said of who wins, only that everything was measured.
#[test]
fn the_stopwatch_measures_every_size_of_both_sides() {
    let mut clock = Stopwatch { budget: std::time::Duration::ZERO };
    let bulk = Bulk::start(&Abi::three().provider("default"), &mut clock).unwrap();
    for row in bulk.rows() {
        let sizes: Vec<_> = row.cells.iter().map(|cell| cell.bytes).collect();
        assert_eq!(sizes, if row.operation == Operation::Sm2Verify { vec![32] } else { BYTES.to_vec() });
        assert!(row.cells.iter().all(|cell| cell.ours_ns > 0 && cell.theirs_ns > 0));
    }
    answers_are_right(&bulk, 1 << 20);
}
