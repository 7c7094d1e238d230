use proptest::prelude::*;

use super::*;

/// Feeds `pieces` one after the other; frames until the end or the first error.
fn decode<'a>(pieces: impl IntoIterator<Item = &'a [u8]>) -> (Vec<Frame>, Result<(), FrameError>) {
    let (mut decoder, mut frames) = (Decoder::default(), Vec::new());
    for mut piece in pieces {
        loop {
            match decoder.next(&mut piece) {
                Ok(Some(frame)) => frames.push(frame),
                Ok(None) => break,
                Err(error) => return (frames, Err(error)),
            }
            assert!(decoder.body.capacity() == 0, "nothing is kept of a whole frame");
        }
        assert!(piece.is_empty(), "a decoder leaves nothing behind");
        assert!(decoder.body.capacity() <= (2 * decoder.body.len()).max(8), "it allocates what has arrived");
    }
    (frames, Ok(()))
}

fn frames() -> Vec<Frame> {
    let frame = |kind, body: &[u8]| Frame { kind, body: body.to_vec() };
    vec![
        frame(Kind::Hello, &[1; 200]),
        frame(Kind::Ready, &[]),
        frame(Kind::Ping, &[2; ECHO_BYTES]),
        frame(Kind::Message, &[]),
        frame(Kind::Message, &[3; 300]),
        frame(Kind::Refusal, &[4; SESSION_FRAME_BYTES_MAX]),
    ]
}

fn bytes(frames: &[Frame]) -> Vec<u8> {
    frames.iter().flat_map(|frame| encode(frame.kind, &frame.body)).collect()
}

#[test]
fn frames_survive_every_cut() {
    let (sent, wire) = (frames(), bytes(&frames()));
    assert_eq!(decode([&wire[..]]), (sent.clone(), Ok(())));
    assert_eq!(decode(wire.chunks(1)), (sent.clone(), Ok(())));
    for cut in 0..=wire.len() {
        assert_eq!(decode([&wire[..cut], &wire[cut..]]), (sent.clone(), Ok(())), "cut at {cut}");
    }
}

#[test]
fn the_wire_form_is_length_kind_body() {
    assert_eq!(encode(Kind::Message, b"ab"), [0, 0, 0, 3, 7, b'a', b'b']);
    assert_eq!(encode(Kind::Ready, b""), [0, 0, 0, 1, 3]);
    let codes: Vec<u8> = Kind::ALL.iter().map(|kind| *kind as u8).collect();
    assert_eq!(codes, [1, 2, 3, 4, 5, 6, 7]);
}

#[test]
fn every_kind_takes_its_longest_body_and_no_byte_more() {
    for &kind in Kind::ALL {
        let longest = Frame { kind, body: vec![7; kind.body_bytes_max()] };
        assert_eq!(decode([&bytes(std::slice::from_ref(&longest))[..]]), (vec![longest], Ok(())), "{kind:?}");
        let bytes = kind.body_bytes_max() + 2;
        let announced = [&(bytes as u32).to_be_bytes()[..], &[kind as u8]].concat();
        let refused = FrameError::TooLong { bytes, bytes_max: bytes - 1 };
        assert_eq!(decode([&announced[..]]), (vec![], Err(refused)), "{kind:?}");
    }
}

#[test]
fn a_length_is_judged_before_anything_follows_it() {
    let bytes_max = MESSAGE_BYTES_MAX + 1;
    for bytes in [bytes_max + 1, u32::MAX as usize] {
        let refused = (vec![], Err(FrameError::TooLong { bytes, bytes_max }));
        assert_eq!(decode([&(bytes as u32).to_be_bytes()[..]]), refused);
    }
    assert_eq!(decode([&[0; 4][..]]), (vec![], Err(FrameError::Empty)));
    for code in [0, 8, 255] {
        assert_eq!(decode([&[0, 0, 0, 1, code][..]]), (vec![], Err(FrameError::Kind(code))));
    }
}

#[test]
fn a_frame_that_has_begun_is_known() {
    let mut decoder = Decoder::default();
    assert!(!decoder.is_inside());
    for &byte in &encode(Kind::Ping, &[9; ECHO_BYTES])[..HEAD_BYTES + ECHO_BYTES - 1] {
        assert_eq!(decoder.next(&mut &[byte][..]), Ok(None));
        assert!(decoder.is_inside());
    }
    assert!(decoder.next(&mut &[9][..]).unwrap().is_some());
    assert!(!decoder.is_inside());
}

proptest! {
    /// The plan a fuzzer drives too: garbage, and frames with a byte changed, are cut alike however they arrive.
    #[test]
    fn whatever_arrives_is_cut_alike_and_bounded(
        garbage in proptest::collection::vec(any::<u8>(), 0..64),
        changed in proptest::option::of((any::<proptest::sample::Index>(), any::<u8>())),
        cuts in proptest::collection::vec(1_usize..97, 1..8),
    ) {
        let mut wire = bytes(&frames());
        if let Some((place, value)) = changed {
            let place = place.index(wire.len());
            wire[place] = value;
        }
        wire.extend(garbage);
        let whole = decode([&wire[..]]);
        let (mut pieces, mut rest) = (Vec::new(), &wire[..]);
        for &cut in cuts.iter().cycle() {
            if rest.is_empty() {
                break;
            }
            pieces.push(take(&mut rest, cut));
        }
        prop_assert_eq!(decode(pieces), whole);
    }
}
