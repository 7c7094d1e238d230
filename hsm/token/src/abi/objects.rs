//! Objects and key generation (PKCS#11 2.40 base, 5.7 and 5.13).

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
        let (template, object) = unsafe { (pointers::template(template, count)?, pointers::required(object)?) };
        *object = module.create_object(session, &template)?;
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
        // SAFETY: the standard makes `template` an array of `count` attributes.
        let attributes = unsafe { pointers::attributes(template, count)? };
        let mut result = Ok(());
        for attribute in attributes {
            // SAFETY: the standard makes each value null or as long as its attribute says.
            let one = unsafe { put_attribute(module.config.profile, &object, attribute) };
            if one.is_err() {
                attribute.ulValueLen = CK_UNAVAILABLE_INFORMATION;
                // Every attribute is processed; one of the errors is returned (5.7.5).
                result = one;
            }
        }
        result
    })
}

/// # Safety
/// `pValue` is null or can be written for `ulValueLen` bytes.
unsafe fn put_attribute(profile: &Profile, object: &Object, attribute: &mut CK_ATTRIBUTE) -> CkResult<()> {
    let value = object.attribute(profile, attribute.type_)?;
    let length = value.len() as CK_ULONG;
    if !attribute.pValue.is_null() {
        if attribute.ulValueLen < length {
            return refuse(CKR_BUFFER_TOO_SMALL);
        }
        // SAFETY: not null, with room for `length` bytes as just checked; the token's memory is never the caller's.
        unsafe { std::ptr::copy_nonoverlapping(value.as_ptr(), attribute.pValue.cast(), value.len()) };
    }
    attribute.ulValueLen = length;
    Ok(())
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
        let count = unsafe { pointers::required(count)? };
        if list.is_null() && max > 0 {
            return refuse(CKR_ARGUMENTS_BAD);
        }
        let found = module.with_session(session, |session| session.next_found(max as usize))?;
        *count = max;
        // SAFETY: the standard makes `list` an array of `max` elements, and no more than that were found.
        unsafe { pointers::put_numbers(&found, list, count) }
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
            (mechanism, pointers::template(template, count)?, pointers::required(key)?)
        };
        mechanism.parameter.none()?;
        *key = module.generate_key(session, mechanism.number, &template)?;
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
        // SAFETY: the standard makes both handles null or writable, and not the same place.
        let (public_key, private_key) = unsafe { (pointers::required(public_key)?, pointers::required(private_key)?) };
        mechanism.parameter.none()?;
        [*public_key, *private_key] = module.generate_key_pair(session, mechanism.number, &public, &private)?;
        Ok(())
    })
}
