//! Larger edits than a bit: files cut at every length, with bytes behind their end, with pages zeroed and exchanged, from another time; keys that
//! are not there; a disk that does not give what it has.

use std::sync::Arc;

use bixi_platform::io::Storage;
use bixi_platform::io::faulty::{Faults, FaultyStorage};
use bixi_platform::secret::Secret;
use bixi_sealed::{AtRest, KeyRing};

use crate::bits::{Image, Outcome, bits, dir, disk_of, image_of, judge, read_through, small_database};
use crate::driver::*;

fn name_of(image: &Image, place: usize) -> String {
    image[place].0.file_name().unwrap().to_string_lossy().into_owned()
}

fn place_of(image: &Image, wanted: &str) -> usize {
    image.iter().position(|(path, _)| path.to_string_lossy().contains(wanted)).expect("there is such a file")
}

/// A MANIFEST cut where a frame ends reads as a shorter history, and RocksDB goes by it: what the ledger committed tells it, see
/// `bixi-ledger`, `verification` and the head's record.
///
/// Every seventh length and those where something begins; `BIXI_BITS=8`: all.
#[test]
fn a_file_cut_at_any_length_is_refused_or_an_earlier_state() {
    let (image, states) = small_database();
    for place in (0..image.len()).filter(|place| !name_of(&image, *place).starts_with("MANIFEST-")) {
        let (name, whole) = (name_of(&image, place), image[place].1.clone());
        // All of them take as long as all bytes of the other test.
        let is_cut_here = |length: &usize| {
            let near = [0, 56, 128, 4096, 8192, whole.len()].into_iter().any(|place| length.abs_diff(place) < 40);
            bits() > 1 || near || length.is_multiple_of(7)
        };
        for length in (0..whole.len()).filter(is_cut_here) {
            let mut edited = image.clone();
            edited[place].1.truncate(length);
            let at = format!("{name} cut to {length} of {}", whole.len());
            match read_through(&disk_of(&edited)) {
                Err(error) => assert!(error.contains(&name) && !error.contains("Corruption"), "{at}: {error}"),
                Ok(rows) => {
                    // Where a log ends between two frames nothing says that there were more.
                    assert!(name.ends_with(".log"), "{at} was used");
                    assert!(states.contains(&rows), "{at}: {} rows are no state that ever was", rows.len());
                }
            }
        }
    }
}

#[test]
fn bytes_behind_the_end_are_refused_or_change_nothing() {
    let (image, states) = small_database();
    for place in 0..image.len() {
        let (name, length) = (name_of(&image, place), image[place].1.len());
        for count in [1, 15, 16, 31, 32, 33, 72, 128, 4096] {
            for byte in [0, 0xa5] {
                let mut edited = image.clone();
                edited[place].1.extend(std::iter::repeat_n(byte, count));
                let at = format!("{count} times {byte} behind {name}");
                if length == 0 {
                    // A lock is not read.
                    assert_eq!(read_through(&disk_of(&edited)).as_ref(), Ok(states.last().unwrap()), "{at}");
                    continue;
                }
                let outcome = judge(&edited, place, length, &states, &at);
                let may_end_torn = name.ends_with(".log") || name.starts_with("MANIFEST-");
                assert_eq!(outcome, if may_end_torn { Outcome::Dropped(0) } else { Outcome::Refused }, "{at}");
            }
        }
    }
}

#[test]
fn zeroed_and_exchanged_pages_are_refused() {
    let (image, states) = small_database();
    let place = place_of(&image, ".sst");
    let pages = (image[place].1.len() - 4096).div_ceil(4096);
    assert!(pages >= 3, "{pages}");
    for page in 0..pages {
        let start = 4096 * (page + 1);
        let mut zeroed = image.clone();
        let end = zeroed[place].1.len().min(start + 4096);
        zeroed[place].1[start..end].fill(0);
        assert_ne!(judge(&zeroed, place, start, &states, &format!("page {page} zeroed")), Outcome::Dropped(0));
    }
    let mut swapped = image.clone();
    let (one, other) = swapped[place].1.split_at_mut(8192);
    one[4096..].swap_with_slice(&mut other[..4096]);
    assert_eq!(judge(&swapped, place, 4096, &states, "two pages exchanged"), Outcome::Refused);
    for place in 0..image.len() {
        let (name, length) = (name_of(&image, place), image[place].1.len());
        // In stretches as a disk loses them.
        for start in (0..length).step_by(512) {
            let mut zeroed = image.clone();
            let end = length.min(start + 512);
            if end == length && name.starts_with("MANIFEST-") {
                // As one that was cut.
                continue;
            }
            zeroed[place].1[start..end].fill(0);
            if zeroed[place].1 != image[place].1 {
                judge(&zeroed, place, end - 1, &states, &format!("bytes from {start} of {name} zeroed"));
            }
        }
    }
}

/// Two moments of one database: no file of the one stands in for another file of the other.
#[test]
fn a_file_under_another_name_is_refused() {
    let (image, states) = small_database();
    for place in 0..image.len() {
        for other in (0..image.len()).filter(|other| *other != place) {
            let (name, given) = (name_of(&image, place), name_of(&image, other));
            if image[place].1.is_empty() || image[other].1.is_empty() {
                continue;
            }
            let mut edited = image.clone();
            edited[place].1.clone_from(&image[other].1);
            match read_through(&disk_of(&edited)) {
                Err(error) => assert!(error.contains(&name) || name == "CURRENT", "{given} as {name}: {error}"),
                // Small files are renamed into their places, so that none says what it is called.
                Ok(rows) => {
                    assert!(
                        ["IDENTITY"].contains(&&*name) || name.starts_with("OPTIONS-"),
                        "{given} was used as {name}"
                    );
                    assert_eq!(Some(&rows), states.last(), "{given} as {name}");
                }
            }
        }
    }
}

/// The MANIFEST of an earlier start under the name of the present one, with CURRENT as it is and as it was.
#[test]
fn an_older_manifest_is_refused_by_its_title_or_is_a_whole_earlier_state() {
    let (early, states) = small_database();
    let disk = disk_of(&early);
    drop(try_open(&dir(), &files_on(Arc::new(disk.clone()))).unwrap());
    let later = image_of(&disk);
    let (old, new) = (place_of(&early, "MANIFEST-"), place_of(&later, "MANIFEST-"));
    assert_ne!(early[old].0, later[new].0, "a start begins another");
    let mut edited = later.clone();
    edited[new].1.clone_from(&early[old].1);
    let error = read_through(&disk_of(&edited)).expect_err("an older MANIFEST was used");
    assert!(error.contains(&name_of(&later, new)) && error.contains("was written as"), "{error}");
    // With CURRENT of then it is a whole earlier state: what the node knew later tells that.
    edited = later.clone();
    edited.push(early[old].clone());
    let current = place_of(&later, "CURRENT");
    edited[current].1.clone_from(&early[place_of(&early, "CURRENT")].1);
    match read_through(&disk_of(&edited)) {
        Ok(rows) => assert!(states.contains(&rows), "{} rows are no state that ever was", rows.len()),
        Err(error) => assert!(error.contains(".log") || error.contains("MANIFEST-"), "{error}"),
    }
}

#[test]
fn a_missing_epoch_and_another_node_s_keys_are_refused_by_name() {
    let (image, _) = small_database();
    let open = |ring: KeyRing| {
        let files = bixi_cipherfs::CipherFs::new(Arc::new(disk_of(&image)), ring);
        try_open(&dir(), &files).expect_err("it was opened")
    };
    let of_epoch = |epoch| KeyRing::new(AtRest::Sm4Gcm, vec![(epoch, Secret::from_slice(&[1; 32]))], epoch).unwrap();
    let missing = open(of_epoch(2));
    assert!(missing.contains("CURRENT") && missing.contains("needs key epoch 1"), "{missing}");
    let stranger = open(ring(9));
    assert!(stranger.contains("CURRENT") && stranger.contains("another node's key"), "{stranger}");
}

#[test]
fn what_the_disk_does_not_give_is_an_error_and_never_an_end() {
    let (image, states) = small_database();
    let longest = image.iter().map(|(_, bytes)| bytes.len()).max().unwrap() as u64;
    let (mut failed, mut unread) = (0, 0);
    for offset in (0..longest).step_by(61) {
        let faults = Faults::none();
        let storage: Arc<dyn Storage> = Arc::new(FaultyStorage::new(Arc::new(disk_of(&image)), faults.clone()));
        faults.bad_byte_at(offset);
        match try_open(&dir(), &files_on(storage)).and_then(|db| read_all(&db)) {
            Err(error) => {
                failed += 1;
                assert!(error.contains("os error 5"), "byte {offset}: {error}");
            }
            Ok(rows) => {
                unread += 1;
                assert_eq!(Some(&rows), states.last(), "byte {offset}");
            }
        }
    }
    assert!(failed > 50, "{failed} failed, {unread} read around it");
}

/// Where a page is half written the disk is full; the file is no table, and nothing that was acknowledged is lost.
#[test]
fn a_disk_that_fills_up_anywhere_in_a_page_loses_nothing() {
    let (image, states) = small_database();
    for room_bytes in (0..12_000).step_by(911) {
        let (disk, faults) = (disk_of(&image), Faults::none());
        let storage: Arc<dyn Storage> = Arc::new(FaultyStorage::new(Arc::new(disk.clone()), faults.clone()));
        let db = try_open(&dir(), &files_on(storage)).unwrap();
        for i in 20..30u32 {
            db.put(i.to_be_bytes(), [i as u8; 900]).unwrap();
        }
        put_synced(&db, &[(b"last", b"1")]).unwrap();
        let rows = read_all(&db).unwrap();
        assert!(rows.len() > states.last().unwrap().len());
        faults.full_after_for(room_bytes, "sst");
        let flushed = db.flush();
        drop(db);
        assert!(flushed.is_ok() || read_through(&disk).unwrap() == rows, "{room_bytes} bytes of room");
    }
}
