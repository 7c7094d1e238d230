//! The only place where a caller's pointer becomes a reference.
//!
//! What PKCS#11 asks of a caller is what each function needs: a pointer is null, or points to as many live, writable
//! elements as its length says, unshared for the time of the call. Null where something must be, and lengths that no
//! allocation can have, are refused here.

use cryptoki_sys::*;

use super::output::Output;
use crate::error::{CkError, CkResult, refuse};
use crate::object::template::{TEMPLATE_ITEMS_MAX, Template};
use crate::operation::Parameter;
use crate::profile::{Algorithm, Profile};
use crate::session::Mechanism;

/// No input of one call is longer.
const INPUT_BYTES_MAX: CK_ULONG = 1 << 31;

/// `length` bytes at `pointer`; null only with length 0.
///
/// # Safety
/// `pointer` is null, or `length` bytes can be read there for `'a`.
pub(super) unsafe fn bytes<'a>(pointer: *const CK_BYTE, length: CK_ULONG) -> CkResult<&'a [u8]> {
    if length == 0 {
        return Ok(&[]);
    }
    if pointer.is_null() || length > INPUT_BYTES_MAX {
        return refuse(CKR_ARGUMENTS_BAD);
    }
    // SAFETY: not null, of a possible length, and readable for `'a` by this function's contract.
    Ok(unsafe { std::slice::from_raw_parts(pointer, length as usize) })
}

/// The referent of a pointer that must be there.
///
/// # Safety
/// `pointer` is null, or points to a live, aligned `T` that nobody else touches for `'a`.
pub(super) unsafe fn required<'a, T>(pointer: *mut T) -> CkResult<&'a mut T> {
    // SAFETY: the caller's contract is that of `as_mut`.
    unsafe { pointer.as_mut() }.ok_or(CkError(CKR_ARGUMENTS_BAD))
}

/// An output buffer and its length.
///
/// # Safety
/// As [`required`] for `length`; `buffer` is null, or `*length` bytes can be written there for `'a`.
pub(super) unsafe fn output<'a>(buffer: *mut CK_BYTE, length: *mut CK_ULONG) -> CkResult<Output<'a>> {
    // SAFETY: passed on from this function's contract.
    let length = unsafe { required(length)? };
    if buffer.is_null() {
        return Ok(Output::new(None, length));
    }
    let size = usize::try_from(*length).ok().filter(|size| *size <= isize::MAX as usize);
    let size = size.ok_or(CkError(CKR_ARGUMENTS_BAD))?;
    // SAFETY: not null, of a possible length, and writable for `'a` by this function's contract.
    let buffer = unsafe { std::slice::from_raw_parts_mut(buffer, size) };
    Ok(Output::new(Some(buffer), length))
}

/// A buffer that must be there, of exactly `length` bytes.
///
/// # Safety
/// `buffer` is null, or `length` bytes can be written there for `'a`.
pub(super) unsafe fn buffer<'a>(buffer: *mut CK_BYTE, length: CK_ULONG) -> CkResult<&'a mut [u8]> {
    if buffer.is_null() || length > INPUT_BYTES_MAX {
        return refuse(CKR_ARGUMENTS_BAD);
    }
    // SAFETY: not null, of a possible length, and writable for `'a` by this function's contract.
    Ok(unsafe { std::slice::from_raw_parts_mut(buffer, length as usize) })
}

/// Fill a caller's array of numbers under the length convention.
///
/// # Safety
/// As [`output`], with `*count` elements at `list`.
pub(super) unsafe fn put_numbers(numbers: &[CK_ULONG], list: *mut CK_ULONG, count: *mut CK_ULONG) -> CkResult<()> {
    // SAFETY: passed on from this function's contract.
    let count = unsafe { required(count)? };
    let room = *count;
    *count = numbers.len() as CK_ULONG;
    if list.is_null() {
        return Ok(());
    }
    if room < numbers.len() as CK_ULONG {
        return refuse(CKR_BUFFER_TOO_SMALL);
    }
    // SAFETY: the caller's array has `room` elements, and `numbers` has no more.
    unsafe { std::ptr::copy_nonoverlapping(numbers.as_ptr(), list, numbers.len()) };
    Ok(())
}

/// The attributes at `pointer`, writable.
///
/// # Safety
/// `pointer` is null, or `count` attributes live there, unshared for `'a`.
pub(super) unsafe fn attributes<'a>(pointer: *mut CK_ATTRIBUTE, count: CK_ULONG) -> CkResult<&'a mut [CK_ATTRIBUTE]> {
    if count == 0 {
        return Ok(&mut []);
    }
    if pointer.is_null() || count > TEMPLATE_ITEMS_MAX as CK_ULONG {
        return refuse(CKR_ARGUMENTS_BAD);
    }
    // SAFETY: not null, of a bounded length, and unshared for `'a` by this function's contract.
    Ok(unsafe { std::slice::from_raw_parts_mut(pointer, count as usize) })
}

/// A template to read.
///
/// # Safety
/// As [`attributes`], and each `pValue` is null or has `ulValueLen` readable bytes for `'a`.
pub(super) unsafe fn template<'a>(pointer: *mut CK_ATTRIBUTE, count: CK_ULONG) -> CkResult<Template<'a>> {
    // SAFETY: passed on from this function's contract.
    let attributes = unsafe { attributes(pointer, count)? };
    let mut items = Vec::with_capacity(attributes.len());
    for attribute in attributes {
        // SAFETY: a value is null or has the length its attribute says, by this function's contract.
        let value = unsafe { bytes(attribute.pValue.cast(), attribute.ulValueLen)? };
        items.push((attribute.type_, value));
    }
    Template::new(items)
}

/// A mechanism with its parameter; GCM's structure is followed.
///
/// # Safety
/// `pointer` is null or points to a live mechanism whose parameter is what its number asks for, readable for `'a`.
pub(super) unsafe fn mechanism<'a>(profile: &Profile, pointer: *mut CK_MECHANISM) -> CkResult<Mechanism<'a>> {
    // SAFETY: passed on from this function's contract.
    let mechanism = unsafe { required(pointer)? };
    let number = mechanism.mechanism;
    let algorithm = profile.algorithm(number).ok_or(CkError(CKR_MECHANISM_INVALID))?;
    let parameter = if algorithm == Algorithm::Sm4Gcm {
        // SAFETY: for a GCM mechanism the parameter is GCM's, by this function's contract.
        unsafe { gcm_parameter(mechanism)? }
    } else {
        // SAFETY: the parameter has the length the mechanism says, by this function's contract.
        Parameter::Bytes(unsafe { bytes(mechanism.pParameter.cast(), mechanism.ulParameterLen)? })
    };
    Ok(Mechanism { number, algorithm, parameter })
}

/// # Safety
/// `pParameter` is null or has `ulParameterLen` readable bytes; when those are a `CK_GCM_PARAMS`, its pointers are good.
unsafe fn gcm_parameter<'a>(mechanism: &CK_MECHANISM) -> CkResult<Parameter<'a>> {
    let pointer: *const CK_GCM_PARAMS = mechanism.pParameter.cast();
    if pointer.is_null() || mechanism.ulParameterLen != size_of::<CK_GCM_PARAMS>() as CK_ULONG {
        return refuse(CKR_MECHANISM_PARAM_INVALID);
    }
    // SAFETY: not null and of the structure's size; read unaligned because a caller may pack it.
    let gcm = unsafe { pointer.read_unaligned() };
    // SAFETY: the structure's pointers have the lengths beside them, by this function's contract.
    let (iv, aad) = unsafe { (bytes(gcm.pIv, gcm.ulIvLen)?, bytes(gcm.pAAD, gcm.ulAADLen)?) };
    Ok(Parameter::Gcm { iv, aad, tag_bits: gcm.ulTagBits })
}
