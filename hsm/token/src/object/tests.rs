use std::path::PathBuf;

use super::attributes::rule;
use super::create::{Origin, draft, imported};
use super::*;
use crate::config::Config;

const TRUE: &[u8] = &[1];
const FALSE: &[u8] = &[0];

fn config() -> Config {
    Config { log: crate::config::LogTarget::Silent, ..Config::at(PathBuf::from("/nonexistent")) }
}

fn generated(items: Vec<(CK_ATTRIBUTE_TYPE, &[u8])>) -> CkResult<Object> {
    let template = Template::new(items).unwrap();
    draft(&config(), Class::SecretKey, Some(KeyType::Sm4), &template, Origin::Generated(1))
}

fn changed(object: &Object, attribute: CK_ATTRIBUTE_TYPE, value: &[u8]) -> CkResult<Object> {
    object.modified(&Template::new(vec![(attribute, value)]).unwrap())
}

#[test]
fn keys_are_sensitive_and_not_extractable_unless_asked() {
    let key = generated(vec![]).unwrap();
    for (attribute, expected) in [
        (CKA_SENSITIVE, true),
        (CKA_EXTRACTABLE, false),
        (CKA_ALWAYS_SENSITIVE, true),
        (CKA_NEVER_EXTRACTABLE, true),
        (CKA_LOCAL, true),
        (CKA_PRIVATE, true),
    ] {
        assert_eq!(key.flag(attribute), expected, "attribute 0x{attribute:x}");
    }
}

#[test]
fn protection_can_be_raised_and_never_lowered() {
    let open = generated(vec![(CKA_SENSITIVE, FALSE), (CKA_EXTRACTABLE, TRUE)]).unwrap();
    assert!(!open.flag(CKA_ALWAYS_SENSITIVE) && !open.flag(CKA_NEVER_EXTRACTABLE));
    let closed = changed(&changed(&open, CKA_SENSITIVE, TRUE).unwrap(), CKA_EXTRACTABLE, FALSE).unwrap();
    assert_eq!(changed(&closed, CKA_SENSITIVE, FALSE).err().unwrap().0, CKR_ATTRIBUTE_READ_ONLY);
    assert_eq!(changed(&closed, CKA_EXTRACTABLE, TRUE).err().unwrap().0, CKR_ATTRIBUTE_READ_ONLY);
    assert!(!closed.flag(CKA_ALWAYS_SENSITIVE), "what was once open stays marked so");
}

#[test]
fn usage_can_be_narrowed_and_never_widened() {
    let key = generated(vec![]).unwrap();
    let narrowed = changed(&key, CKA_DECRYPT, FALSE).unwrap();
    assert_eq!(changed(&narrowed, CKA_DECRYPT, TRUE).err().unwrap().0, CKR_ATTRIBUTE_READ_ONLY);
    assert_eq!(changed(&key, CKA_SIGN, TRUE).err().unwrap().0, CKR_ATTRIBUTE_READ_ONLY);
    assert!(changed(&key, CKA_LABEL, b"new").is_ok());
    let frozen = generated(vec![(CKA_MODIFIABLE, FALSE)]).unwrap();
    assert_eq!(changed(&frozen, CKA_LABEL, b"new").err().unwrap().0, CKR_ACTION_PROHIBITED);
}

#[test]
fn a_hidden_value_is_neither_read_nor_matched() {
    let mut key = generated(vec![]).unwrap();
    key.secret = Some(Arc::new(Secret::from_slice(&[5; 16])));
    let profile = config().profile;
    assert_eq!(key.attribute(profile, CKA_VALUE).unwrap_err().0, CKR_ATTRIBUTE_SENSITIVE);
    assert!(!key.matches(profile, &Template::new(vec![(CKA_VALUE, &[5; 16][..])]).unwrap()));
    assert_eq!(*key.attribute(profile, CKA_VALUE_LEN).unwrap(), 16_u64.to_ne_bytes());
}

#[test]
fn policy_refuses_open_keys_on_the_token() {
    for items in [
        vec![(CKA_TOKEN, TRUE), (CKA_PRIVATE, FALSE)],
        vec![(CKA_TOKEN, TRUE), (CKA_EXTRACTABLE, TRUE)],
        vec![(CKA_TOKEN, TRUE), (CKA_SENSITIVE, FALSE)],
    ] {
        assert_eq!(generated(items).err().unwrap().0, CKR_TEMPLATE_INCONSISTENT);
    }
    assert_eq!(generated(vec![(CKA_LOCAL, TRUE)]).err().unwrap().0, CKR_ATTRIBUTE_READ_ONLY);
    assert_eq!(generated(vec![(CKA_EC_POINT, TRUE)]).err().unwrap().0, CKR_ATTRIBUTE_TYPE_INVALID);
}

#[test]
fn imports_onto_the_token_need_consent() {
    let class = Class::SecretKey.number().to_ne_bytes();
    let key_type = config().profile.key_type_sm4.to_ne_bytes();
    let items = vec![(CKA_CLASS, &class[..]), (CKA_KEY_TYPE, &key_type), (CKA_VALUE, &[9; 16]), (CKA_TOKEN, TRUE)];
    let template = Template::new(items).unwrap();
    assert_eq!(imported(&config(), &template).err().unwrap().0, CKR_ACTION_PROHIBITED);
    let key = imported(&Config { allow_import: true, ..config() }, &template).unwrap();
    assert!(!key.flag(CKA_LOCAL) && !key.flag(CKA_NEVER_EXTRACTABLE), "an imported key was once outside");
}

#[test]
fn sensitive_attributes_belong_to_hidden_keys_only() {
    for class in [Class::Data, Class::Certificate, Class::PublicKey] {
        assert_eq!(rule(class, CKA_SENSITIVE), None);
    }
    assert_eq!(rule(Class::PrivateKey, CKA_SENSITIVE), Some(Rule::Raised));
    assert_eq!(rule(Class::SecretKey, CKA_EXTRACTABLE), Some(Rule::Lowered));
}

#[test]
fn nothing_is_trusted_because_a_user_says_so_but_he_may_say_that_it_is_not() {
    let named = |trusted| {
        let (class, key_type) = (Class::Certificate.number().to_ne_bytes(), 0_u64.to_ne_bytes());
        let items = vec![
            (CKA_CLASS, &class[..]),
            (CKA_CERTIFICATE_TYPE, &key_type),
            (CKA_VALUE, b"der"),
            (CKA_TRUSTED, trusted),
        ];
        imported(&config(), &Template::new(items).unwrap()).map(|object| object.flag(CKA_TRUSTED))
    };
    assert_eq!(named(FALSE).map_err(|error| error.0), Ok(false));
    assert_eq!(named(TRUE).map_err(|error| error.0), Err(CKR_ATTRIBUTE_READ_ONLY));
}
