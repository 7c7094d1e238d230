//! Objects of a token: finding, describing and making keys.

use bixi_accel::sm2::PublicKey;
use bixi_hsm::{Cause, DeviceError, KeyInfo, KeyKind, KeyRef, KeySpec, KeyUri, ObjectType, Scheme};
use bixi_platform::random::OsRandom;
use cryptoki::object::{Attribute, ObjectClass, ObjectHandle};
use cryptoki::session::Session;
use cryptoki_sys::*;

use crate::pool::Failure;
use crate::profile::{PrfKind, Profile};
use crate::raw::{Functions, Template};

/// `OBJECT IDENTIFIER 1.2.156.10197.1.301`.
const SM2_OID: [u8; 10] = [0x06, 0x08, 0x2A, 0x81, 0x1C, 0xCF, 0x55, 0x01, 0x82, 0x2D];
const ID_BYTES: usize = 16;
const HMAC_KEY_BYTES: u64 = 32;

/// The class in which a kind's hidden key lives.
pub(crate) fn class_of(kind: KeyKind) -> ObjectClass {
    match kind {
        KeyKind::Sm2Sign => ObjectClass::PRIVATE_KEY,
        _ => ObjectClass::SECRET_KEY,
    }
}

/// The hidden key of `kind` a reference names, on the token labelled `token`.
pub(crate) fn find(session: &Session, token: &str, key: &KeyRef, kind: KeyKind) -> Result<ObjectHandle, Failure> {
    let uri = key.uri();
    if uri.scheme != Scheme::Pkcs11 || uri.token.as_deref().is_some_and(|named| named != token) {
        return Err(not_found(key, "it names another device"));
    }
    // A reference that names another type is looked up as what it says, to tell a missing key from a misused one.
    let wanted = if kind == KeyKind::Sm2Sign { ObjectType::Private } else { ObjectType::SecretKey };
    let named = uri.object_type.unwrap_or(wanted);
    let mut template = vec![Attribute::Token(true), Attribute::Class(class_named(named))];
    template.extend(uri.object.as_ref().map(|label| Attribute::Label(label.as_bytes().to_vec())));
    template.extend(uri.id.as_ref().map(|id| Attribute::Id(id.clone())));
    let found = session.find_objects(&template)?;
    match found[..] {
        [] => Err(not_found(key, "no object of that name")),
        _ if named != wanted => {
            let message = format!("{key} is no object of type {}", wanted.name());
            Err(DeviceError::new("C_FindObjects", Cause::WrongKeyUse, message).into())
        }
        [handle] => Ok(handle),
        _ => {
            let message = format!("{} objects answer to {key}", found.len());
            Err(DeviceError::new("C_FindObjects", Cause::KeyAmbiguous, message).into())
        }
    }
}

fn class_named(object_type: ObjectType) -> ObjectClass {
    match object_type {
        ObjectType::Public => ObjectClass::PUBLIC_KEY,
        ObjectType::Private => ObjectClass::PRIVATE_KEY,
        ObjectType::Cert => ObjectClass::CERTIFICATE,
        ObjectType::SecretKey => ObjectClass::SECRET_KEY,
        ObjectType::Data => ObjectClass::DATA,
    }
}

fn not_found(key: &KeyRef, why: &str) -> Failure {
    DeviceError::new("C_FindObjects", Cause::KeyNotFound, format!("{key}: {why}")).into()
}

/// What the device says about one hidden key, read back from it.
pub(crate) fn describe(
    session: &Session,
    functions: Functions,
    token: &str,
    handle: ObjectHandle,
    kind: KeyKind,
) -> Result<KeyInfo, Failure> {
    let wanted = [CKA_LABEL, CKA_ID, CKA_EXTRACTABLE, CKA_SENSITIVE, CKA_LOCAL];
    let [label, id, extractable, sensitive, local] = functions.attributes(session, handle, wanted)?;
    let flag = |value: Option<Vec<u8>>| match value.as_deref() {
        Some([byte]) => Some(*byte != CK_FALSE),
        _ => None,
    };
    // What a device does not say is taken as the worst.
    let (extractable, sensitive) = (flag(extractable).unwrap_or(true), flag(sensitive).unwrap_or(false));
    let (local, id) = (flag(local).unwrap_or(false), id.unwrap_or_default());
    let label = String::from_utf8_lossy(&label.unwrap_or_default()).into_owned();
    let object_type = if kind == KeyKind::Sm2Sign { ObjectType::Private } else { ObjectType::SecretKey };
    let uri = KeyUri::for_object(Scheme::Pkcs11, token, &label, &id, object_type);
    let uri = KeyRef::new(uri)
        .map_err(|error| DeviceError::new("C_GetAttributeValue", Cause::BadAnswer, error.to_string()))?;
    Ok(KeyInfo { uri, label, kind, extractable, sensitive, local })
}

/// Every hidden key of the profile's types.
pub(crate) fn list(
    session: &Session,
    functions: Functions,
    token: &str,
    profile: &Profile,
) -> Result<Vec<KeyInfo>, Failure> {
    let mut infos = Vec::new();
    for (kind, number) in [(KeyKind::Sm2Sign, profile.sm2.key_type), (KeyKind::Kek, profile.prf.key_type)] {
        for handle in session.find_objects(&[Attribute::Token(true), Attribute::Class(class_of(kind))])? {
            if functions.key_type(session, handle)? != number {
                continue;
            }
            match describe(session, functions, token, handle, kind) {
                Ok(info) => infos.push(info),
                // Another application's key, with a name that no reference of ours can hold.
                Err(Failure::Ours(error)) => tracing::warn!(%error, "a key on the token is left out of its list"),
                Err(failure) => return Err(failure),
            }
        }
    }
    Ok(infos)
}

/// The public key that belongs to a private key: on the key itself where the vendor puts it, else on its twin.
pub(crate) fn public_key(session: &Session, functions: Functions, private: ObjectHandle) -> Result<PublicKey, Failure> {
    if let Some(key) = point_of(session, functions, private)? {
        return Ok(key);
    }
    let [label, id] = functions.attributes(session, private, [CKA_LABEL, CKA_ID])?;
    let mut template = vec![Attribute::Token(true), Attribute::Class(ObjectClass::PUBLIC_KEY)];
    template.extend(label.map(Attribute::Label));
    template.extend(id.map(Attribute::Id));
    let twins = session.find_objects(&template)?;
    let [twin] = twins[..] else {
        let message = format!("{} public keys have the private key's label and id", twins.len());
        return Err(DeviceError::new("C_FindObjects", Cause::BadAnswer, message).into());
    };
    point_of(session, functions, twin)?.ok_or_else(|| {
        DeviceError::new("C_GetAttributeValue", Cause::BadAnswer, "the public key has no CKA_EC_POINT").into()
    })
}

fn point_of(session: &Session, functions: Functions, object: ObjectHandle) -> Result<Option<PublicKey>, Failure> {
    let [point] = functions.attributes(session, object, [CKA_EC_POINT])?;
    point.filter(|bytes| !bytes.is_empty()).map(|bytes| parse_point(&bytes)).transpose()
}

/// SEC 1, with or without the OCTET STRING around it, or bare X ‖ Y: vendors differ.
fn parse_point(bytes: &[u8]) -> Result<PublicKey, Failure> {
    let sec1 = match bytes {
        [0x04, 0x41, rest @ ..] if rest.len() == 65 => rest,
        other => other,
    };
    let parsed = match <&[u8; 64]>::try_from(sec1) {
        Ok(bare) => PublicKey::from_bytes(bare),
        Err(_) => PublicKey::from_sec1(sec1),
    };
    parsed.map_err(|error| {
        DeviceError::new("C_GetAttributeValue", Cause::BadAnswer, format!("CKA_EC_POINT: {error}")).into()
    })
}

/// Make a key that cannot leave the device, read it back, and destroy it when the device did otherwise.
pub(crate) fn generate(
    session: &Session,
    functions: Functions,
    token: &str,
    profile: &Profile,
    spec: &KeySpec,
) -> Result<KeyInfo, Failure> {
    refuse_taken(session, spec)?;
    let handles = match spec.kind {
        KeyKind::Sm2Sign => generate_pair(session, functions, profile, identity(spec, true)?)?,
        KeyKind::Kek => vec![generate_kek(session, functions, profile, spec)?],
        _ => {
            let message = format!("no {} is known to this backend", spec.kind);
            return Err(DeviceError::new("generate", Cause::Unsupported, message).into());
        }
    };
    let info = describe(session, functions, token, handles[0], spec.kind)?;
    refuse_readable(session, &info, handles)?;
    Ok(info)
}

/// Make a signing key of this session, private key first.
pub(crate) fn generate_transient(
    session: &Session,
    functions: Functions,
    token: &str,
    profile: &Profile,
    spec: &KeySpec,
) -> Result<(KeyInfo, Vec<ObjectHandle>, PublicKey), Failure> {
    let handles = generate_pair(session, functions, profile, identity(spec, false)?)?;
    let info = describe(session, functions, token, handles[0], spec.kind)?;
    refuse_readable(session, &info, handles.clone())?;
    let of = |handle| point_of(session, functions, handle).transpose();
    let public = handles.iter().copied().find_map(of).ok_or_else(|| {
        DeviceError::new("C_GetAttributeValue", Cause::BadAnswer, "neither half of the key pair has a CKA_EC_POINT")
    })??;
    Ok((info, handles, public))
}

/// A key that the device would give out is destroyed again.
fn refuse_readable(session: &Session, info: &KeyInfo, handles: Vec<ObjectHandle>) -> Result<(), Failure> {
    if info.extractable || !info.sensitive {
        // Each half, whatever becomes of the other.
        let failed: Vec<String> = handles
            .into_iter()
            .filter_map(|handle| session.destroy_object(handle).err())
            .map(|error| error.to_string())
            .collect();
        let message = if failed.is_empty() {
            "the device made the key extractable or readable; it was destroyed again".to_owned()
        } else {
            format!(
                "the device made the key {} extractable or readable, and it could not be destroyed again ({}): destroy it with the \
                 vendor's tools",
                info.uri,
                failed.join("; ")
            )
        };
        return Err(DeviceError::new("C_GenerateKey", Cause::BadAnswer, message).into());
    }
    Ok(())
}

fn refuse_taken(session: &Session, spec: &KeySpec) -> Result<(), Failure> {
    for class in [ObjectClass::PRIVATE_KEY, ObjectClass::SECRET_KEY, ObjectClass::PUBLIC_KEY] {
        let template =
            [Attribute::Token(true), Attribute::Class(class), Attribute::Label(spec.label.as_bytes().to_vec())];
        if !session.find_objects(&template)?.is_empty() {
            let message = format!("a key named {:?} exists", spec.label);
            return Err(DeviceError::new("C_FindObjects", Cause::KeyExists, message).into());
        }
    }
    Ok(())
}

fn identity(spec: &KeySpec, is_persistent: bool) -> Result<Template, Failure> {
    let id: [u8; ID_BYTES] = OsRandom
        .array()
        .map_err(|error| DeviceError::new("getrandom", Cause::Fault, format!("no id for the key: {error}")))?;
    Ok(Template::default().flag(CKA_TOKEN, is_persistent).bytes(CKA_LABEL, spec.label.as_bytes()).bytes(CKA_ID, &id))
}

/// What keeps a key inside.
fn sealed_in(template: Template) -> Template {
    template.flag(CKA_PRIVATE, true).flag(CKA_SENSITIVE, true).flag(CKA_EXTRACTABLE, false)
}

/// Private key first.
fn generate_pair(
    session: &Session,
    functions: Functions,
    profile: &Profile,
    identity: Template,
) -> Result<Vec<ObjectHandle>, Failure> {
    let named = identity.number(CKA_KEY_TYPE, profile.sm2.key_type);
    let mut public = named.clone().flag(CKA_VERIFY, true).flag(CKA_PRIVATE, false);
    if profile.sm2.send_curve {
        public = public.bytes(CKA_EC_PARAMS, &SM2_OID);
    }
    let private = sealed_in(named).flag(CKA_SIGN, true);
    let [public, private] = functions.generate_key_pair(session, profile.sm2.key_pair_generation, [public, private])?;
    Ok(vec![private, public])
}

fn generate_kek(
    session: &Session,
    functions: Functions,
    profile: &Profile,
    spec: &KeySpec,
) -> Result<ObjectHandle, Failure> {
    let signs = profile.prf.kind != PrfKind::Sm4Ecb;
    let mut template = sealed_in(identity(spec, true)?)
        .number(CKA_KEY_TYPE, profile.prf.key_type)
        .flag(CKA_SIGN, signs)
        .flag(CKA_ENCRYPT, !signs)
        .flag(CKA_DECRYPT, false);
    if profile.prf.kind == PrfKind::HmacSm3 {
        template = template.number(CKA_VALUE_LEN, HMAC_KEY_BYTES);
    }
    Ok(functions.generate_key(session, profile.prf.key_generation, template)?)
}
