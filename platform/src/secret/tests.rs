use super::{Secret, harden_process, page_bytes};
use crate::smaps::mapping_of;

#[test]
fn pages_are_locked_undumped_and_wiped_on_fork() {
    let secret = Secret::from_slice(b"correct horse battery staple");
    let mapping = mapping_of(secret.as_slice().as_ptr() as usize);
    let flags = mapping.lines().find(|line| line.starts_with("VmFlags")).unwrap();
    for flag in ["dd", "wf"] {
        assert!(flags.split(' ').any(|word| word == flag), "{flag} is missing in {flags}");
    }
    assert_eq!(secret.is_locked(), flags.split(' ').any(|word| word == "lo"), "{flags}");
}

#[test]
fn neighbours_are_inaccessible() {
    let secret = Secret::zeroed(32);
    let start = secret.as_slice().as_ptr() as usize;
    for address in [start - 1, start + page_bytes()] {
        let first = mapping_of(address).lines().next().unwrap().to_owned();
        assert!(first.contains("---p"), "{first}");
    }
}

#[test]
fn debug_shows_the_length_only() {
    assert_eq!(format!("{:?}", Secret::from_slice(b"hunter2")), "Secret(7)");
}

#[test]
fn compares_content_and_length() {
    let secret = Secret::from_slice(b"abcd");
    assert!(secret.ct_eq(b"abcd"));
    for other in [&b"abce"[..], b"abc", b"abcde", b""] {
        assert!(!secret.ct_eq(other), "{other:?}");
    }
    assert!(Secret::zeroed(0).ct_eq(b""));
}

#[test]
fn from_wiped_wipes_the_original() {
    let mut original = *b"0123456789abcdef";
    let secret = Secret::from_wiped(&mut original);
    assert_eq!(original, [0; 16]);
    assert_eq!(secret.as_slice(), b"0123456789abcdef");
}

#[test]
fn secrets_longer_than_a_page_hold_every_byte() {
    let bytes: Vec<u8> = (0..3 * page_bytes() + 17).map(|index| index as u8).collect();
    assert_eq!(Secret::from_slice(&bytes).as_slice(), bytes);
}

#[test]
fn a_hardened_process_leaves_no_core() {
    harden_process().unwrap();
    let limits = std::fs::read_to_string("/proc/self/limits").unwrap();
    let core = limits.lines().find(|line| line.starts_with("Max core file size")).unwrap();
    assert_eq!(core.split_whitespace().nth(4), Some("0"), "{core}");
    let filter = std::fs::read_to_string("/proc/self/coredump_filter").unwrap();
    assert_eq!(filter.trim().trim_start_matches('0'), "", "{filter}");
    // SAFETY: PR_GET_DUMPABLE takes no pointer.
    assert_eq!(unsafe { libc::prctl(libc::PR_GET_DUMPABLE, 0, 0, 0, 0) }, 0);
}
