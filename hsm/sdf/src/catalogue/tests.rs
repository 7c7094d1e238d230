use super::*;

fn read(text: &str) -> Result<Catalogue, DeviceError> {
    let directory = tempfile::tempdir().unwrap();
    fs::write(directory.path().join(FILE), text).unwrap();
    Catalogue::read(directory.path(), "t", 1..=8)
}

fn pair(label: &str, index: u32) -> String {
    format!("[[pair]]\nlabel = {label:?}\nindex = {index}\n")
}

fn key(uri: &str) -> KeyRef {
    uri.parse().unwrap()
}

#[test]
fn names_lead_to_indices_and_back() {
    let catalogue = read(&(pair("consensus", 3) + &pair("far", 40))).unwrap();
    for (uri, index) in [
        ("sdf:object=consensus", 3),
        ("sdf:token=t;object=consensus;id=%00%00%00%03;type=private", 3),
        ("sdf:id=%00%00%00%28", 40),
        ("sdf:object=sign-2", 2),
        ("sdf:id=%00%00%00%02", 2),
    ] {
        assert_eq!(catalogue.find_pair(&key(uri)), Ok(index), "{uri}");
        assert_eq!(catalogue.find_pair(&catalogue.pair_uri(index).unwrap()), Ok(index));
    }
    assert_eq!(catalogue.all_indices(), (1..=8).chain([40]).collect());
}

#[test]
fn what_names_no_pair_is_not_found() {
    let catalogue = read(&pair("consensus", 3)).unwrap();
    for uri in [
        "sdf:object=absent",
        "sdf:object=sign-3",
        "sdf:object=sign-9",
        "sdf:object=sign-2;id=%00%00%00%03",
        "sdf:object=consensus;id=%00%00%00%04",
        "sdf:id=%03",
        "sdf:token=other;object=consensus",
        "pkcs11:object=consensus",
        "sdf:object=consensus;type=cert",
    ] {
        assert_eq!(catalogue.find_pair(&key(uri)).unwrap_err().cause, Cause::KeyNotFound, "{uri}");
    }
    let kek_cause = |uri| catalogue.find_kek(&key(uri)).unwrap_err().cause;
    assert_eq!(kek_cause("sdf:object=consensus"), Cause::KeyNotFound);
    assert_eq!(
        kek_cause("sdf:object=consensus;type=private"),
        Cause::WrongKeyUse,
        "it exists, and is for something else"
    );
    assert_eq!(kek_cause("sdf:object=absent;type=private"), Cause::KeyNotFound);
}

#[test]
fn records_that_mislead_are_refused_with_the_files_name() {
    let short = pair("a", 1) + "public_key = \"00\"\n";
    let refused = [
        (pair("a", 1) + &pair("a", 2), "two keys are named"),
        (pair("a", 1) + &pair("b", 1), "index 1 is taken"),
        (pair("a", 0), "index 0"),
        (pair("a", 4097), "index 4097"),
        (pair("sign-2", 3), "misleading"),
        (pair("", 1), "empty"),
        (short, "64 bytes"),
        ("pair = 3".to_owned(), "invalid type"),
        (pair("a", 1) + "colour = 1\n", "unknown field"),
    ];
    for (text, reason) in refused {
        let error = read(&text).unwrap_err();
        assert_eq!(error.cause, Cause::Setup);
        assert!(error.message.contains(FILE) && error.message.contains(reason), "{text}: {error}");
    }
    let directory = tempfile::tempdir().unwrap();
    for indices in [0..=3, 1..=4097, RangeInclusive::new(3, 2)] {
        assert_eq!(Catalogue::read(directory.path(), "t", indices).unwrap_err().cause, Cause::Setup);
    }
}

#[test]
fn a_name_that_was_added_is_there_at_the_next_start() {
    let directory = tempfile::tempdir().unwrap();
    let mut catalogue = Catalogue::read(directory.path(), "t", 1..=8).unwrap();
    let added = Pair { label: "vote".into(), index: 5, public_key: Some("ab".repeat(64)), generated: true };
    catalogue.add_pair(added.clone()).unwrap();
    let again = Catalogue::read(directory.path(), "t", 1..=8).unwrap();
    assert_eq!(again.pairs, [added]);
    assert_eq!(again.pairs[0].pinned(), Ok(Some([0xAB; 64])));
    assert_eq!(again.refuse_taken("vote").unwrap_err().cause, Cause::KeyExists);
    again.refuse_taken("other").unwrap();
}
