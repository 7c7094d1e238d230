//! Objects and key management (PKCS#11 2.40 base, 5.7 and 5.13).

use cryptoki_sys::*;

use super::{guarded, module, pointers};
use crate::error::{CkResult, refuse};
use crate::object::Object;
use crate::profile::Profile;

pub(super) unsafe extern "C" fn C_CreateObject(
    session: CK_SESSION_HANDLE,
    template: *mut CK_ATTRIBUTE,
    count: CK_ULONG,
    object: *mut CK_OBJECT_HANDLE,
) -> CK_RV {
    guarded(|| {
        let module = module()?;
        // SAFETY: the standard makes `template` an array of `count` attributes and `object` null or writable.
        let (template, object) = unsafe { (pointers::template(template, count)?, pointers::place(object)?) };
        object.put(module.create_object(session, &template)?);
        Ok(())
    })
}

pub(super) unsafe extern "C" fn C_DestroyObject(session: CK_SESSION_HANDLE, object: CK_OBJECT_HANDLE) -> CK_RV {
    guarded(|| module()?.destroy(session, object))
}

pub(super) unsafe extern "C" fn C_GetAttributeValue(
    session: CK_SESSION_HANDLE,
    object: CK_OBJECT_HANDLE,
    template: *mut CK_ATTRIBUTE,
    count: CK_ULONG,
) -> CK_RV {
    guarded(|| {
        let module = module()?;
        let object = module.object(session, object)?;
        let mut result = Ok(());
        // SAFETY: the standard makes `template` an array of `count` attributes.
        for attribute in unsafe { pointers::attributes(template, count)? } {
            // SAFETY: one of that array, its value null or as long as it says.
            let one = unsafe { answer(module.config.profile, &object, attribute) };
            // Every attribute is processed; one of the errors is returned (5.7.5).
            result = result.and(one);
        }
        result
    })
}

/// # Safety
/// `attribute` can be read and written; its `pValue` is null or can be written for `ulValueLen` bytes.
unsafe fn answer(profile: &Profile, object: &Object, attribute: *mut CK_ATTRIBUTE) -> CkResult<()> {
    // SAFETY: passed on from this function's contract.
    let (mut asked, place) = unsafe { (pointers::read(attribute)?, pointers::place(attribute)?) };
    // SAFETY: as above.
    let answered = unsafe { put_value(profile, object, &asked) };
    asked.ulValueLen = answered.as_ref().map_or(CK_UNAVAILABLE_INFORMATION, |length| *length);
    place.put(asked);
    answered.map(drop)
}

/// The value's length.
///
/// # Safety
/// `pValue` is null or can be written for `ulValueLen` bytes.
unsafe fn put_value(profile: &Profile, object: &Object, asked: &CK_ATTRIBUTE) -> CkResult<CK_ULONG> {
    let value = object.attribute(profile, asked.type_)?;
    let length = value.len() as CK_ULONG;
    if !asked.pValue.is_null() {
        if asked.ulValueLen < length {
            return refuse(CKR_BUFFER_TOO_SMALL);
        }
        // SAFETY: not null, with room for `length` bytes as just checked; the token's memory is never the caller's.
        unsafe { std::ptr::copy_nonoverlapping(value.as_ptr(), asked.pValue.cast(), value.len()) };
    }
    Ok(length)
}

pub(super) unsafe extern "C" fn C_SetAttributeValue(
    session: CK_SESSION_HANDLE,
    object: CK_OBJECT_HANDLE,
    template: *mut CK_ATTRIBUTE,
    count: CK_ULONG,
) -> CK_RV {
    guarded(|| {
        let module = module()?;
        // SAFETY: the standard makes `template` an array of `count` attributes.
        module.modify(session, object, &unsafe { pointers::template(template, count)? })
    })
}

pub(super) unsafe extern "C" fn C_FindObjectsInit(
    session: CK_SESSION_HANDLE,
    template: *mut CK_ATTRIBUTE,
    count: CK_ULONG,
) -> CK_RV {
    guarded(|| {
        let module = module()?;
        // SAFETY: the standard makes `template` an array of `count` attributes.
        module.begin_search(session, &unsafe { pointers::template(template, count)? })
    })
}

pub(super) unsafe extern "C" fn C_FindObjects(
    session: CK_SESSION_HANDLE,
    list: *mut CK_OBJECT_HANDLE,
    max: CK_ULONG,
    count: *mut CK_ULONG,
) -> CK_RV {
    guarded(|| {
        let module = module()?;
        // SAFETY: the standard makes `count` null or writable.
        let count = unsafe { pointers::place(count)? };
        if list.is_null() && max > 0 {
            return refuse(CKR_ARGUMENTS_BAD);
        }
        let found = module.with_session(session, |session| session.next_found(max as usize))?;
        // SAFETY: the standard makes `list` an array of `max` elements, and no more than that were found.
        unsafe { std::ptr::copy_nonoverlapping(found.as_ptr(), list, found.len()) };
        count.put(found.len() as CK_ULONG);
        Ok(())
    })
}

pub(super) unsafe extern "C" fn C_FindObjectsFinal(session: CK_SESSION_HANDLE) -> CK_RV {
    guarded(|| module()?.with_session(session, |session| session.end_search()))
}

pub(super) unsafe extern "C" fn C_GenerateKey(
    session: CK_SESSION_HANDLE,
    mechanism: *mut CK_MECHANISM,
    template: *mut CK_ATTRIBUTE,
    count: CK_ULONG,
    key: *mut CK_OBJECT_HANDLE,
) -> CK_RV {
    guarded(|| {
        let module = module()?;
        // SAFETY: the standard makes the mechanism null or good, `template` an array of `count` attributes, `key` writable.
        let (mechanism, template, key) = unsafe {
            let mechanism = pointers::mechanism(module.config.profile, mechanism)?;
            (mechanism, pointers::template(template, count)?, pointers::place(key)?)
        };
        mechanism.parameter.none()?;
        key.put(module.generate_key(session, mechanism.number, &template)?);
        Ok(())
    })
}

pub(super) unsafe extern "C" fn C_GenerateKeyPair(
    session: CK_SESSION_HANDLE,
    mechanism: *mut CK_MECHANISM,
    public_template: *mut CK_ATTRIBUTE,
    public_count: CK_ULONG,
    private_template: *mut CK_ATTRIBUTE,
    private_count: CK_ULONG,
    public_key: *mut CK_OBJECT_HANDLE,
    private_key: *mut CK_OBJECT_HANDLE,
) -> CK_RV {
    guarded(|| {
        let module = module()?;
        // SAFETY: the standard makes the mechanism null or good, and each template an array of the count beside it.
        let (mechanism, public, private) = unsafe {
            let mechanism = pointers::mechanism(module.config.profile, mechanism)?;
            let public = pointers::template(public_template, public_count)?;
            (mechanism, public, pointers::template(private_template, private_count)?)
        };
        // SAFETY: the standard makes both handles null or writable.
        let (public_key, private_key) = unsafe { (pointers::place(public_key)?, pointers::place(private_key)?) };
        mechanism.parameter.none()?;
        let [public, private] = module.generate_key_pair(session, mechanism.number, &public, &private)?;
        public_key.put(public);
        private_key.put(private);
        Ok(())
    })
}

pub(super) unsafe extern "C" fn C_WrapKey(
    session: CK_SESSION_HANDLE,
    mechanism: *mut CK_MECHANISM,
    wrapping_key: CK_OBJECT_HANDLE,
    key: CK_OBJECT_HANDLE,
    wrapped: *mut CK_BYTE,
    wrapped_length: *mut CK_ULONG,
) -> CK_RV {
    guarded(|| {
        let module = module()?;
        // SAFETY: the standard makes the mechanism null or good, and `wrapped` null or as long as the length beside it.
        let (mechanism, mut out) = unsafe {
            let mechanism = pointers::mechanism(module.config.profile, mechanism)?;
            (mechanism, pointers::output(wrapped, wrapped_length)?)
        };
        let bytes = module.wrap_key(session, mechanism, wrapping_key, key)?;
        if out.reserve(bytes.len())? { out.put(&bytes) } else { Ok(()) }
    })
}

pub(super) unsafe extern "C" fn C_UnwrapKey(
    session: CK_SESSION_HANDLE,
    mechanism: *mut CK_MECHANISM,
    unwrapping_key: CK_OBJECT_HANDLE,
    wrapped: *mut CK_BYTE,
    wrapped_length: CK_ULONG,
    template: *mut CK_ATTRIBUTE,
    count: CK_ULONG,
    key: *mut CK_OBJECT_HANDLE,
) -> CK_RV {
    guarded(|| {
        let module = module()?;
        // SAFETY: the standard makes the mechanism null or good, and both inputs as long as the number beside them.
        let (mechanism, wrapped, template) = unsafe {
            let mechanism = pointers::mechanism(module.config.profile, mechanism)?;
            let wrapped = pointers::bytes(wrapped, wrapped_length)?;
            (mechanism, wrapped, pointers::template(template, count)?)
        };
        // SAFETY: the standard makes `key` null or writable.
        let key = unsafe { pointers::place(key)? };
        key.put(module.unwrap_key(session, mechanism, unwrapping_key, wrapped, &template)?);
        Ok(())
    })
}
