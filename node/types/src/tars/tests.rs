use proptest::prelude::*;

use super::*;

/// The single field of a message written by `write`.
fn field<T>(
    bytes: &[u8],
    mut read: impl FnMut(&mut Reader<'_>, Head) -> Result<T, DecodeError>,
) -> Result<T, DecodeError> {
    let mut value = None;
    Reader::new(bytes).message(|reader, head| {
        value = Some(read(reader, head)?);
        Ok(())
    })?;
    value.ok_or(DecodeError::Missing("field"))
}

fn written(write: impl FnOnce(&mut Writer)) -> Vec<u8> {
    let mut writer = Writer::default();
    write(&mut writer);
    writer.finish()
}

#[test]
fn integers_take_the_smallest_kind() {
    for (value, bytes) in [
        (0i64, &[0x1c][..]),
        (1, &[0x10, 1]),
        (-128, &[0x10, 0x80]),
        (128, &[0x11, 0, 0x80]),
        (-32769, &[0x12, 0xff, 0xff, 0x7f, 0xff]),
        (1 << 31, &[0x13, 0, 0, 0, 0, 0x80, 0, 0, 0]),
    ] {
        assert_eq!(written(|writer| writer.int_always(1, value)), bytes, "{value}");
        assert_eq!(field(bytes, |reader, head| reader.int(head, "n")), Ok(value));
    }
    assert_eq!(written(|writer| writer.int(1, 0)), b"");
}

#[test]
fn strings_switch_to_four_length_bytes_at_256() {
    let short = "a".repeat(255);
    let long = "a".repeat(256);
    assert_eq!(written(|writer| writer.string(2, &short))[..2], [0x26, 255]);
    assert_eq!(written(|writer| writer.string(2, &long))[..5], [0x27, 0, 0, 1, 0]);
    for text in [short, long] {
        let bytes = written(|writer| writer.string(2, &text));
        assert_eq!(field(&bytes, |reader, head| reader.string(head, "text")), Ok(text));
    }
    assert_eq!(written(|writer| writer.string_always(0, "")), [0x06, 0]);
}

#[test]
fn byte_vectors_are_simple_lists() {
    assert_eq!(written(|writer| writer.bytes(7, &[9, 8])), [0x7d, 0x00, 0x00, 2, 9, 8]);
    assert_eq!(written(|writer| writer.bytes_always(7, &[])), [0x7d, 0x00, 0x0c]);
    assert_eq!(written(|writer| writer.bytes(7, &[])), b"");
    let long = vec![1; 300];
    let bytes = written(|writer| writer.bytes(7, &long));
    assert_eq!(bytes[..5], [0x7d, 0x00, 0x01, 1, 44]);
    assert_eq!(field(&bytes, |reader, head| reader.bytes(head, "b").map(<[u8]>::to_vec)), Ok(long));
}

#[test]
fn tags_from_15_on_take_a_byte_of_their_own() {
    for tag in [14, 15, 16, 255] {
        let bytes = written(|writer| writer.int(tag, 5));
        assert_eq!(bytes.len(), if tag < 15 { 2 } else { 3 });
        let read = field(&bytes, |reader, head| Ok((head.tag, reader.int(head, "n")?)));
        assert_eq!(read, Ok((tag, 5)));
    }
}

#[test]
fn unknown_fields_of_every_kind_are_skipped() {
    let bytes = written(|writer| {
        writer.int(1, 300);
        writer.string(2, "text");
        writer.bytes(3, b"bytes");
        writer.structure(4, |inner| {
            inner.int(0, 1);
            inner.list(200, &[1i64, 2], |list, item| list.int_always(0, *item));
        });
        writer.list(5, &["a", ""], |list, item| list.string_always(0, item));
        // A map of one pair, a float and a double, which no structure of ours uses.
        writer.out.extend([0x68, 0x00, 1, 0x06, 1, b'k', 0x16, 1, b'v']);
        writer.out.extend([0x74, 0, 0, 0, 0]);
        writer.out.extend([0x85, 0, 0, 0, 0, 0, 0, 0, 0]);
        writer.int(9, 42);
    });
    let mut last = 0;
    let result = Reader::new(&bytes).message(|reader, head| match head.tag {
        9 => reader.int(head, "nine").map(|value| last = value),
        _ => reader.skip(head),
    });
    assert_eq!((result, last), (Ok(()), 42));
}

#[test]
fn tags_must_ascend() {
    for (first, second) in [(1, 1), (2, 1)] {
        let bytes = written(|writer| {
            writer.int(first, 5);
            writer.int(second, 6);
        });
        let refusal = Reader::new(&bytes).message(Reader::skip_field);
        assert_eq!(refusal, Err(DecodeError::TagOrder { tag: second, previous: first }));
        let nested = written(|writer| writer.structure(3, |inner| inner.out.extend(&bytes)));
        assert_eq!(
            Reader::new(&nested).message(Reader::skip_field),
            Err(DecodeError::TagOrder { tag: second, previous: first })
        );
    }
}

#[test]
fn lying_lengths_allocate_nothing() {
    let string = [0x17, 0xff, 0xff, 0xff, 0xff, b'a'];
    assert!(matches!(
        field(&string, |reader, head| reader.string(head, "s")),
        Err(DecodeError::Truncated { left: 1, .. })
    ));
    let bytes = [0x1d, 0x00, 0x02, 0x7f, 0xff, 0xff, 0xff];
    assert!(matches!(
        field(&bytes, |reader, head| reader.bytes(head, "b").map(drop)),
        Err(DecodeError::Truncated { .. })
    ));
    let negative = [0x1d, 0x00, 0x00, 0xff];
    assert!(matches!(
        field(&negative, |reader, head| reader.bytes(head, "b").map(drop)),
        Err(DecodeError::Range { value: -1, .. })
    ));
    let list = [0x19, 0x02, 0x7f, 0xff, 0xff, 0xff];
    let read = |limit| field(&list, |reader, head| reader.list(head, "l", limit, |reader, head| reader.int(head, "i")));
    assert!(matches!(read(10), Err(DecodeError::TooLarge { limit: 10, .. })));
    assert!(matches!(read(usize::MAX), Err(DecodeError::Truncated { .. })));
    assert!(matches!(Reader::new(&list).message(Reader::skip_field), Err(DecodeError::Truncated { .. })));
}

#[test]
fn nesting_is_bounded() {
    for kind in [[0x0a].as_slice(), &[0x09, 0x00, 1], &[0x08, 0x00, 1, 0x0c]] {
        let deep = kind.repeat(1000);
        assert_eq!(Reader::new(&deep).message(Reader::skip_field), Err(DecodeError::TooDeep), "{kind:?}");
    }
}

#[test]
fn stray_end_marks_and_unknown_kinds_are_refused() {
    for bytes in [[0x0b], [0x0e], [0x0f]] {
        assert!(matches!(Reader::new(&bytes).message(Reader::skip_field), Err(DecodeError::Kind { .. })));
    }
    let unfinished = written(|writer| writer.structure(1, |_| {}));
    assert!(Reader::new(&unfinished[..1]).message(Reader::skip_field).is_err());
    assert_eq!(field(&[0x16, 1, 0xff], |reader, head| reader.string(head, "s")), Err(DecodeError::Utf8("s")));
}

impl Reader<'_> {
    fn skip_field(&mut self, head: Head) -> Result<(), DecodeError> {
        self.skip(head)
    }
}

proptest! {
    #[test]
    fn integers_round_trip(value in any::<i64>(), tag in any::<u8>()) {
        let bytes = written(|writer| writer.int_always(tag, value));
        prop_assert_eq!(field(&bytes, |reader, head| Ok((head.tag, reader.int(head, "n")?))), Ok((tag, value)));
    }

    #[test]
    fn byte_vectors_round_trip(value in proptest::collection::vec(any::<u8>(), 0..600)) {
        let bytes = written(|writer| writer.bytes_always(3, &value));
        prop_assert_eq!(field(&bytes, |reader, head| reader.bytes(head, "b").map(<[u8]>::to_vec)), Ok(value));
    }

    #[test]
    fn skipping_random_bytes_ends(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
        let _ = Reader::new(&bytes).message(Reader::skip_field);
    }
}
