//! The headers of a log that RocksDB wrote without a seal, walked before RocksDB reads it. A plain log (a MANIFEST is one, too) is a row of
//! blocks of 32 KiB; a record's piece never crosses a block's end:
//!
//! ```text
//! checksum 4, masked CRC-32C | length 2, little endian | kind 1 | bytes
//! ```
//!
//! RocksDB holds the checksums against the bytes. Two things of a header it does not tell: behind one of zeros it skips the rest of the
//! block, whatever is there, and a kind of logs that are used again, in one that is not, has it look at the same header for ever. Layout:
//! `db/log_format.h` of RocksDB 11.

use std::io::{self, Read};

const BLOCK_BYTES: usize = 32 << 10;
const HEADER_BYTES: usize = 7;
/// Room that was reserved and not written.
const ZERO: u8 = 0;
/// Whole, first, middle and last piece of a record; compression, sizes of timestamps, the log before.
const KINDS: [u8; 7] = [1, 2, 3, 4, 9, 10, 130];
/// The same of logs that are used again.
const KINDS_USED_AGAIN: [u8; 6] = [5, 6, 7, 8, 11, 131];

/// Why RocksDB would not read a log as whole, or would not say that it did not.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Fault {
    pub(super) what: &'static str,
    /// Bytes from the log's begin.
    pub(super) at: u64,
    /// Whether opening it once more with the program that wrote it loses nothing: a crash left it so, or a setting.
    pub(super) is_harmless: bool,
}

/// None where the headers of a log fit together.
///
/// # Errors
/// The system's.
pub(super) fn fault(mut log: impl Read) -> io::Result<Option<Fault>> {
    let mut block = Vec::with_capacity(BLOCK_BYTES);
    // Where room begins that was reserved and not written: it goes to the end.
    let mut reserved = None;
    for number in 0u64.. {
        block.clear();
        (&mut log).take(BLOCK_BYTES as u64).read_to_end(&mut block)?;
        let begin = number * BLOCK_BYTES as u64;
        if let Some(at) = reserved {
            if block.iter().any(|byte| *byte != 0) {
                return Ok(Some(Fault { what: HIDDEN, at, is_harmless: false }));
            }
        } else {
            match walk(&block) {
                Ok(None) => {}
                Ok(Some(at)) => reserved = Some(begin + at as u64),
                Err((at, what)) => {
                    let is_harmless = matches!(what, CUT | USED_AGAIN);
                    return Ok(Some(Fault { what, at: begin + at as u64, is_harmless }));
                }
            }
        }
        if block.len() < BLOCK_BYTES {
            break;
        }
    }
    Ok(None)
}

const HIDDEN: &str = "a header of zeros hides what is behind it";
const CUT: &str = "a record without its end";
const USED_AGAIN: &str = "a record of a log that is used again (recycle_log_file_num), or a damaged header";
const DAMAGED: &str = "a damaged header";

/// Where room of zeros begins that is longer than a header; or what is wrong, and where.
fn walk(block: &[u8]) -> Result<Option<usize>, (usize, &'static str)> {
    let is_last = block.len() < BLOCK_BYTES;
    let mut at = 0;
    while let Some(header) = block.get(at..at + HEADER_BYTES) {
        let (length, kind) = (usize::from(u16::from_le_bytes([header[4], header[5]])), header[6]);
        let end = at + HEADER_BYTES + length;
        match kind {
            ZERO if block[at..].iter().all(|byte| *byte == 0) => return Ok(Some(at)),
            ZERO => return Err((at, HIDDEN)),
            _ if KINDS_USED_AGAIN.contains(&kind) => return Err((at, USED_AGAIN)),
            _ if !KINDS.contains(&kind) => return Err((at, DAMAGED)),
            _ if end > block.len() && is_last => return Err((at, CUT)),
            _ if end > block.len() => return Err((at, DAMAGED)),
            _ => at = end,
        }
    }
    // No header fits there.
    match block[at..].iter().all(|byte| *byte == 0) {
        true => Ok(None),
        false if is_last => Err((at, CUT)),
        false => Err((at, "bytes that belong to no record")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(kind: u8, bytes: &[u8]) -> Vec<u8> {
        let length = u16::try_from(bytes.len()).unwrap();
        [&[9, 9, 9, 9], &length.to_le_bytes()[..], &[kind], bytes].concat()
    }

    fn told(log: &[u8]) -> String {
        fault(log).unwrap().map_or(String::new(), |fault| format!("{} at byte {}", fault.what, fault.at))
    }

    #[test]
    fn whole_logs_pass() {
        let full = record(1, &[7; 300]);
        assert_eq!(told(&[]), "");
        assert_eq!(told(&full), "");
        assert_eq!(told(&[&full[..], &[0; 5_000]].concat()), "", "reserved");
        assert_eq!(told(&[&full[..], &vec![0; 3 * BLOCK_BYTES]].concat()), "");
        // A record over two blocks, and the end of a block into which no header goes.
        let first = record(2, &vec![7; BLOCK_BYTES - HEADER_BYTES - 3]);
        assert_eq!(told(&[&first[..], &[0; 3], &record(4, b"the rest")].concat()), "");
        for kind in KINDS {
            assert_eq!(told(&record(kind, b"body")), "", "{kind}");
        }
    }

    #[test]
    fn what_rocksdb_would_pass_over_is_told_with_its_place() {
        let full = record(1, &[7; 300]);
        let with = |more: &[u8]| told(&[&full[..], more].concat());
        assert_eq!(with(&[&[0; 7], &full[..]].concat()), "a header of zeros hides what is behind it at byte 307");
        for kind in KINDS_USED_AGAIN {
            assert!(with(&record(kind, b"body")).contains("used again"), "{kind}");
        }
        assert_eq!(with(&record(77, b"body")), "a damaged header at byte 307");
        assert_eq!(with(&full[..300]), "a record without its end at byte 307");
        assert_eq!(with(&full[..5]), "a record without its end at byte 307");
        let long = [&full[..], &record(1, &vec![7; BLOCK_BYTES])[..]].concat();
        assert_eq!(told(&[&long[..], &[0; 9]].concat()), "a damaged header at byte 307", "over the block's end");
        let first = record(2, &vec![7; BLOCK_BYTES - HEADER_BYTES - 3]);
        assert_eq!(
            told(&[&first[..], &[0, 1, 0]].concat()),
            format!("bytes that belong to no record at byte {}", first.len())
        );
        // A block of zeros between whole records, or up to one: RocksDB goes on behind it.
        assert_eq!(
            told(&[&vec![0; BLOCK_BYTES], &full[..]].concat()),
            "a header of zeros hides what is behind it at byte 0"
        );
        let to_the_end = [&full[..], &vec![0; BLOCK_BYTES - full.len()], &full].concat();
        assert_eq!(told(&to_the_end), "a header of zeros hides what is behind it at byte 307");
        let is_harmless = |log: &[u8]| fault(log).unwrap().expect("a fault").is_harmless;
        assert!(is_harmless(&full[..300]) && is_harmless(&record(5, b"body")));
        assert!(!is_harmless(&record(77, b"body")) && !is_harmless(&to_the_end));
    }

    #[test]
    fn whatever_the_bytes_are_it_comes_to_an_end() {
        proptest::proptest!(|(seed in proptest::collection::vec(proptest::num::u8::ANY, 0..400), times in 1usize..300)| {
            let log = seed.repeat(times);
            assert!(fault(&*log).unwrap().is_none_or(|fault| fault.at < log.len() as u64));
        });
    }
}
