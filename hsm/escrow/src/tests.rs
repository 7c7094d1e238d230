use bixi_platform::secret::Secret;
use bixi_sealed::passphrase::Cost;
use proptest::prelude::*;

use super::*;

const CHEAP: Cost = Cost { memory_kib: 8, passes: 1 };
const VAULT: [u8; 32] = [9; 32];
const OFFICERS: [&str; 5] = ["Li Wei", "Wang Fang", "Zhang Min", "Chen Jing", "Zhao Lei"];

/// The key of every escrow here, then coefficients of the system.
fn source(key: [u8; 32]) -> impl FnMut() -> Result<Secret, EscrowError> {
    let mut key = Some(Secret::from_slice(&key));
    move || Ok(key.take().unwrap_or_else(|| Secret::random(32).unwrap()))
}

fn establish(threshold: usize, officers: usize) -> Escrow {
    Escrow::establish(&mut source([7; 32]), &OFFICERS[..officers], threshold, &VAULT).unwrap()
}

/// A coefficient from one source alone would let whoever knows that source have the key by one share.
#[test]
fn key_and_coefficients_are_what_the_source_gives_and_nothing_else() {
    let drawn = |first: u8| {
        let mut next = first;
        let mut draw = || {
            next += 1;
            Ok::<_, EscrowError>(Secret::from_slice(&[next; 32]))
        };
        let escrow = Escrow::establish(&mut draw, &OFFICERS, 4, &VAULT).unwrap();
        assert_eq!(next, first + 4, "the key and three coefficients");
        escrow.shares.iter().map(|share| share.value().as_slice().to_vec()).collect::<Vec<_>>()
    };
    assert_eq!(drawn(0), drawn(0));
    assert_ne!(drawn(0), drawn(1));
    let fails: Result<Escrow, EscrowError> =
        Escrow::establish(&mut || Err(EscrowError::Document("no device".into())), &OFFICERS, 2, &VAULT);
    assert!(matches!(fails, Err(EscrowError::Document(_))));
}

/// A share as its officer brings it: by way of the page.
fn brought(share: &Share) -> Share {
    let Document::Open(read) = Document::parse(&share.page("x")).unwrap() else { panic!("an open page") };
    read
}

fn subset(escrow: &Escrow, members: u32) -> Vec<Share> {
    let given = escrow.shares.iter().enumerate().filter(|(place, _)| members >> place & 1 == 1);
    given.map(|(_, share)| brought(share)).collect()
}

fn prf(key: &EscrowKey) -> [u8; 32] {
    let mut out = [0; 32];
    key.derive(b"input", &mut out);
    out
}

#[test]
fn every_quorum_recovers_and_no_smaller_set_does() {
    for (threshold, officers) in (2..=5).flat_map(|officers| (2..=officers).map(move |threshold| (threshold, officers)))
    {
        let escrow = establish(threshold, officers);
        for members in 0..1u32 << officers {
            let shares = subset(&escrow, members);
            let recovered = recover(&escrow.record, &shares);
            match threshold.checked_sub(shares.len()).filter(|missing| *missing > 0) {
                None => {
                    assert_eq!(prf(&recovered.unwrap()), prf(&escrow.key), "{threshold} of {officers}: {members:b}")
                }
                Some(short) => {
                    let Err(EscrowError::TooFew { missing, others, .. }) = recovered else { panic!("{members:b}") };
                    assert_eq!((missing, others.matches('(').count()), (short, officers - shares.len()));
                }
            }
        }
    }
}

#[test]
fn two_escrows_of_one_key_have_nothing_in_common() {
    let (first, second) = (establish(3, 5), establish(3, 5));
    assert_ne!(first.record.id, second.record.id);
    assert_ne!(prf(&first.key), prf(&second.key), "the PRF is bound to the escrow");
    let commitments =
        |escrow: &Escrow| escrow.record.holders.iter().map(|holder| holder.commitment).collect::<Vec<_>>();
    assert!(commitments(&first).iter().all(|commitment| !commitments(&second).contains(commitment)));
}

#[test]
fn a_share_of_another_escrow_is_refused_by_its_name() {
    let (escrow, other) = (establish(2, 3), establish(2, 3));
    let mixed = [brought(&escrow.shares[0]), brought(&other.shares[1])];
    let error = recover(&escrow.record, &mixed).unwrap_err();
    let EscrowError::Foreign { index: 2, found, expected } = &error else { panic!("{error}") };
    assert_eq!((found, expected), (&other.record.name(), &escrow.record.name()));
}

#[test]
fn a_forged_share_names_its_officer() {
    let escrow = establish(3, 5);
    for bit in 0..256 {
        let honest = &escrow.shares[2];
        let mut value = Secret::from_slice(honest.value().as_slice());
        value.as_mut_slice()[bit / 8] ^= 1 << (bit % 8);
        let forged = [brought(&escrow.shares[0]), Share::new(*honest.id(), value), brought(&escrow.shares[4])];
        let error = recover(&escrow.record, &forged).unwrap_err();
        assert!(matches!(&error, EscrowError::Forged { index: 3, officer } if officer == "Zhang Min"), "{error}");
    }
}

#[test]
fn a_share_under_another_number_or_of_another_shape_is_forged() {
    let escrow = establish(3, 5);
    let honest = &escrow.shares[0];
    let changes: [fn(&mut ShareId); 3] = [|id| id.index = 2, |id| id.threshold = 2, |id| id.count = 4];
    for change in changes {
        let mut id = *honest.id();
        change(&mut id);
        let changed = Share::new(id, Secret::from_slice(honest.value().as_slice()));
        assert!(matches!(escrow.record.check_share(&changed), Err(EscrowError::Forged { .. })), "{id:?}");
    }
}

#[test]
fn one_share_counts_once() {
    let escrow = establish(2, 3);
    let twice = [brought(&escrow.shares[1]), brought(&escrow.shares[1])];
    let error = recover(&escrow.record, &twice).unwrap_err();
    assert!(matches!(&error, EscrowError::Repeated { index: 2, officer } if officer == "Wang Fang"), "{error}");
}

#[test]
fn what_is_no_escrow_is_refused() {
    let establish =
        |officers: &[&str], threshold| Escrow::establish(&mut source([7; 32]), officers, threshold, &VAULT).map(drop);
    for (officers, threshold) in [(1, 1), (3, 1), (3, 4), (0, 0)] {
        assert!(matches!(establish(&OFFICERS[..officers], threshold), Err(EscrowError::Shape { .. })));
    }
    let many: Vec<String> = (0..=OFFICERS_MAX).map(|number| number.to_string()).collect();
    let many: Vec<&str> = many.iter().map(String::as_str).collect();
    assert!(matches!(establish(&many, 2), Err(EscrowError::Shape { .. })));
    establish(&many[1..], OFFICERS_MAX).unwrap();
    for name in ["", "a\nb", &"x".repeat(NAME_BYTES_MAX + 1), "twin"] {
        assert!(matches!(establish(&["twin", name], 2), Err(EscrowError::Name(_))), "{name:?}");
    }
}

/// The page of a fixed share: the same on every run, so that no chance of a check that fits decides.
fn fixed_page(sealed: bool) -> String {
    let id = ShareId { escrow: [0x5a; 16], vault: [3; 8], threshold: 3, count: 5, index: 2 };
    let share =
        Share::new(id, Secret::from_slice(&std::array::from_fn::<u8, 32, _>(|byte| (byte as u8).wrapping_mul(37))));
    let document = if sealed { Document::Sealed(share.seal(CHEAP, b"pass").unwrap()) } else { Document::Open(share) };
    document.print("Wang Fang").to_string()
}

#[test]
fn a_page_of_the_first_release_is_printed_and_read_the_same() {
    assert_eq!(fixed_page(false), include_str!("../tests/fixtures/page-v1.txt"));
}

/// Line number of an error.
fn faulty_line(text: &str) -> Option<usize> {
    match Document::parse(text) {
        Err(EscrowError::Line { line, .. }) => Some(line),
        _ => None,
    }
}

#[test]
fn every_wrong_character_is_told_with_its_line() {
    let page = fixed_page(false);
    let first = page.find("\n01 ").unwrap() + 1;
    let mut tried = 0;
    for (place, old) in page.char_indices().skip(first).filter(|(_, old)| old.is_ascii_alphanumeric()) {
        let line = page[first..place].matches('\n').count() + 1;
        for new in "0123456789ABCDEFGHJKMNPQRSTVWXYZ".chars().filter(|new| *new != old) {
            let mut wrong = page.clone();
            wrong.replace_range(place..place + 1, &new.to_string());
            // A number whose first digit became a letter is no number: what is left of it is told at the same line, or, on the
            // first one, where the heading was taken to go on.
            let told = faulty_line(&wrong);
            assert!(told.is_some() || Document::parse(&wrong).is_err(), "{place} {old} {new}");
            let is_number = page[..place].ends_with('\n') || page[..place - 1].ends_with('\n');
            assert!(is_number || told == Some(line), "{place} {old} {new}: {told:?}");
            tried += 1;
        }
    }
    assert_eq!(tried, 7 * 22 * 31);
}

#[test]
fn lines_that_are_exchanged_missing_cut_or_of_another_page_are_told() {
    let page = fixed_page(false);
    let lines: Vec<&str> = page.lines().collect();
    let (heading, lines) = lines.split_at(lines.len() - 7);
    let with = |lines: &[&str]| [heading, lines].concat().join("\n");
    assert!(Document::parse(&with(lines)).is_ok());
    assert!(Document::parse(&lines.join("\n")).is_ok(), "the heading is for people");
    let mut exchanged = lines.to_vec();
    exchanged.swap(2, 3);
    assert_eq!(faulty_line(&with(&exchanged)), Some(3));
    let missing = [&lines[..4], &lines[5..]].concat();
    assert_eq!(faulty_line(&with(&missing)), Some(5));
    let cut = lines[1][..lines[1].len() - 1].to_owned();
    assert_eq!(faulty_line(&with(&[&[lines[0], &cut], &lines[2..]].concat())), Some(2));
    for fewer in 0..7 {
        assert!(matches!(Document::parse(&with(&lines[..fewer])), Err(EscrowError::Document(_))), "{fewer}");
    }
    let other = fixed_page(true);
    let of_other: Vec<&str> = other.lines().skip_while(|line| !line.starts_with("03")).collect();
    let mixed = [&lines[..2], &of_other[..5]].concat();
    assert_eq!(faulty_line(&with(&mixed)), Some(3), "the first line of the other page");
}

#[test]
fn people_may_write_as_they_like() {
    let page = fixed_page(false);
    let loose = page.replace('-', "").replace("0", "O").replace('1', "l").to_lowercase();
    let first = page.find("\n01 ").unwrap() + 1;
    // Line numbers are digits; everything behind them may be written in either case, with or without hyphens.
    let numbered: Vec<String> = page[first..]
        .lines()
        .zip(loose[loose.len() - page[first..].replace('-', "").len()..].lines())
        .map(|(printed, loose)| format!("{} {}", &printed[..2], &loose[3..]))
        .collect();
    let Document::Open(read) = Document::parse(&numbered.join("\r\n")).unwrap() else { panic!("an open page") };
    assert_eq!((read.id().index, read.value().as_slice()[1]), (2, 37));
}

#[test]
fn a_sealed_share_opens_with_its_passphrase_only() {
    let escrow = establish(2, 3);
    let sealed = escrow.shares[0].seal(CHEAP, b"long words").unwrap();
    let page = Document::Sealed(sealed).print("Li Wei");
    let Document::Sealed(read) = Document::parse(&page).unwrap() else { panic!("a sealed page") };
    assert!(matches!(read.open(b"other words"), Err(EscrowError::Sealed { index: 1, .. })));
    let share = read.open(b"long words").unwrap();
    assert_eq!(escrow.record.check_share(&share).unwrap(), "Li Wei");
}

/// Whoever hands a page in may have written it: opening it must not take all memory, or a day.
#[test]
fn a_page_that_asks_for_more_than_any_that_was_printed_is_refused_before_it_is_paid() {
    let page = |cost: Cost| {
        let mut wrap = establish(2, 3).shares[0].seal(CHEAP, b"long words").unwrap().encode();
        wrap[..4].copy_from_slice(&cost.memory_kib.to_le_bytes());
        wrap[4..8].copy_from_slice(&cost.passes.to_le_bytes());
        let id = *establish(2, 3).shares[0].id();
        SealedShare::decode(id, &wrap)
    };
    let Cost { memory_kib, passes } = Cost::TYPED_MAX;
    assert!(Cost::TYPED.is_within(Cost::TYPED_MAX) && page(Cost::TYPED_MAX).is_some());
    assert!(page(Cost { memory_kib: memory_kib + 1, passes: 1 }).is_none());
    assert!(page(Cost { memory_kib: 8, passes: passes + 1 }).is_none());
}

/// A line that was refused leaves the reader where it was.
#[test]
fn a_mistyped_line_is_typed_again_alone() {
    let page = fixed_page(false);
    let first = page.find("\n01 ").unwrap() + 1;
    let mut reader = PageReader::new();
    for (number, line) in (1..).zip(page[first..].lines()) {
        assert_eq!(reader.next_line(), number);
        let wrong = line.replacen(&line[4..5], if &line[4..5] == "7" { "8" } else { "7" }, 1);
        assert!(matches!(reader.take(&wrong), Err(EscrowError::Line { line, .. }) if line == number), "{wrong}");
        reader.take(line).unwrap();
    }
    assert!(reader.is_whole());
    assert_eq!(reader.finish().unwrap().id().index, 2);
}

#[test]
fn nothing_secret_is_in_debug_output() {
    let escrow = establish(2, 3);
    let shown = format!("{escrow:?}");
    for share in &escrow.shares {
        let bytes: Vec<String> = share.value().as_slice()[..4].iter().map(u8::to_string).collect();
        assert!(!shown.contains(&bytes.join(", ")), "{shown}");
    }
    assert!(!shown.contains("7, 7, 7"), "{shown}");
}

#[test]
fn a_record_from_a_disk_is_checked() {
    let sound = establish(2, 3).record;
    sound.check().unwrap();
    let mut one = sound.clone();
    one.threshold = 1;
    assert!(one.check().is_err());
    let mut many = sound.clone();
    many.threshold = 4;
    assert!(recover(&many, &[]).is_err());
    let mut twins = sound;
    twins.holders[0].name = twins.holders[1].name.clone();
    assert!(twins.check().is_err());
}

proptest! {
    #[test]
    fn any_text_is_read_or_refused(text in "\\PC{0,400}") {
        let _ = Document::parse(&text);
        let _ = Document::parse(&format!("01 {text}"));
    }

    #[test]
    fn any_secret_comes_back(key in any::<[u8; 32]>(), members in any::<u32>()) {
        let escrow = Escrow::establish(&mut source(key), &OFFICERS, 3, &VAULT).unwrap();
        let shares = subset(&escrow, members % 32);
        if shares.len() >= 3 {
            assert_eq!(prf(&recover(&escrow.record, &shares).unwrap()), prf(&escrow.key));
        }
    }
}
