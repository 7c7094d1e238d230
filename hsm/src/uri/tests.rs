use proptest::prelude::*;

use super::*;

fn parse(uri: &str) -> Result<KeyUri, UriError> {
    uri.parse()
}

#[test]
fn reads_the_examples_of_rfc_7512_section_3() {
    let uri = parse("pkcs11:object=my-pubkey;type=public").unwrap();
    assert_eq!((uri.object.as_deref(), uri.object_type), (Some("my-pubkey"), Some(ObjectType::Public)));
    let uri = parse("pkcs11:token=The%20Software%20PKCS%2311%20Softtoken;manufacturer=Snake%20Oil,%20Inc.;model=1.0;object=my-certificate;type=cert;id=%69%95%3E%5C%F4%BD%EC%91;serial=?pin-source=file:/etc/token_pin").unwrap();
    assert_eq!(uri.token.as_deref(), Some("The Software PKCS#11 Softtoken"));
    assert_eq!(uri.manufacturer.as_deref(), Some("Snake Oil, Inc."));
    assert_eq!(uri.id.as_deref(), Some(&[0x69, 0x95, 0x3E, 0x5C, 0xF4, 0xBD, 0xEC, 0x91][..]));
    assert_eq!(uri.serial.as_deref(), Some(""));
    assert_eq!(uri.pin_source.as_deref(), Some("/etc/token_pin"));
    assert_eq!(parse("pkcs11:").unwrap(), KeyUri::default());
}

#[test]
fn refuses_secrets() {
    for uri in [
        "pkcs11:object=a?pin-value=12345678",
        "pkcs11:object=a;pin-value=12345678",
        "pkcs11:object=a?pin-source=12345678",
        "pkcs11:object=a?pin-source=|/bin/pin",
        "pkcs11:object=a?pin-source=https://host/pin",
    ] {
        assert_eq!(parse(uri), Err(UriError::Secret), "{uri}");
        let shown = parse(uri).unwrap_err().to_string();
        assert!(!shown.contains("12345678"), "{shown}");
    }
}

#[test]
fn refuses_what_it_cannot_mean() {
    assert_eq!(parse("object=a"), Err(UriError::Scheme));
    assert_eq!(parse("http:object=a"), Err(UriError::Scheme));
    assert_eq!(parse("pkcs11:object=a;object=b"), Err(UriError::Duplicate("object")));
    assert_eq!(parse(&format!("pkcs11:object={}", "a".repeat(2000))), Err(UriError::TooLong(2014)));
    for uri in [
        "pkcs11:object",
        "pkcs11:object=a;",
        "pkcs11:object=%4",
        "pkcs11:object=%zz",
        "pkcs11:object=a b",
        "pkcs11:object=%00",
        "pkcs11:object=%FF",
        "pkcs11:slot-id=+1",
        "pkcs11:slot-id=18446744073709551616",
        "pkcs11:type=key",
        "pkcs11:x-unknown=1",
        "pkcs11:pin-source=/etc/pin",
        "pkcs11:object=a?object=b",
        "pkcs11:object=a?module-path=lib.so",
    ] {
        assert!(matches!(parse(uri), Err(UriError::Attribute { .. })), "{uri}: {:?}", parse(uri));
    }
    let long = format!("pkcs11:object={}", "a".repeat(ATTRIBUTE_BYTES_MAX + 1));
    assert!(matches!(parse(&long), Err(UriError::Attribute { reason: "too long", .. })));
}

#[test]
fn a_key_reference_names_an_object() {
    assert_eq!("pkcs11:token=t".parse::<KeyRef>(), Err(UriError::NoObject));
    assert!("pkcs11:id=%01".parse::<KeyRef>().is_ok());
}

#[test]
fn a_reference_that_could_not_be_read_again_is_none() {
    let of_device = |label: &str, id: &[u8]| {
        KeyRef::new(KeyUri::for_object(Scheme::Pkcs11, "token", label, id, ObjectType::SecretKey))
    };
    assert!(of_device("kek", &[1; 16]).is_ok());
    assert!(of_device(&"虺".repeat(80), &[1; 200]).is_err(), "longer than any text that is read");
    assert!(of_device(&"k".repeat(ATTRIBUTE_BYTES_MAX + 1), &[]).is_err(), "longer than any label that is read");
    assert!(of_device("line\nbreak", &[]).is_err());
}

fn label() -> impl Strategy<Value = Option<String>> {
    proptest::option::of("[^\\p{Cc}]{0,12}")
}

fn absolute() -> impl Strategy<Value = Option<String>> {
    proptest::option::of("/[^\\p{Cc}]{0,20}")
}

prop_compose! {
    fn any_uri()(
        scheme in proptest::sample::select(&Scheme::ALL[..]),
        names in (label(), label(), label(), label(), label()),
        slot_id in any::<Option<u64>>(),
        id in proptest::option::of(proptest::collection::vec(any::<u8>(), 0..20)),
        object_type in proptest::option::of(proptest::sample::select(&ObjectType::ALL[..])),
        pin_source in absolute(),
        module_path in absolute(),
    ) -> KeyUri {
        let (token, manufacturer, model, serial, object) = names;
        KeyUri { scheme, token, manufacturer, model, serial, slot_id, object, id, object_type, pin_source, module_path }
    }
}

proptest! {
    #[test]
    fn print_then_parse_is_the_identity(uri in any_uri()) {
        let printed = uri.to_string();
        prop_assume!(printed.len() <= URI_BYTES_MAX);
        prop_assert_eq!(parse(&printed), Ok(uri));
    }

    #[test]
    fn parsing_never_panics_and_reprints_stably(uri in "(pkcs11|sdf|tpm|soft):[ -~]{0,80}") {
        if let Ok(parsed) = parse(&uri) {
            prop_assert_eq!(parse(&parsed.to_string()), Ok(parsed));
        }
    }
}
