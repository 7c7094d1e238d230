//! The only place where a caller's pointer becomes a reference.
//!
//! What PKCS#11 asks of a caller is what each function needs: a pointer is null, or points to as many live elements as its
//! length says. What a caller only gives to be read may lie in constant memory, may be given twice, and may overlap what is
//! written: structures and input are copied out, so no reference to them lives while anything is written. Results go
//! through [`Place`], which is no reference either. Null where something must be, and lengths that no allocation can have,
//! are refused here.

use std::marker::PhantomData;
use std::ptr::NonNull;

use cryptoki_sys::*;
use zeroize::Zeroizing;

use super::output::Output;
use crate::error::{CkError, CkResult, refuse};
use crate::object::template::{TEMPLATE_ITEMS_MAX, Template};
use crate::operation::Parameter;
use crate::profile::{Algorithm, Profile};
use crate::session::Mechanism;

/// No input of one call is longer: what is longer comes in parts, and a length that was never meant is not read.
const INPUT_BYTES_MAX: CK_ULONG = 1 << 30;

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

/// A copy of `length` bytes at `pointer`, wiped when dropped: the caller's output may lie over its input.
///
/// # Safety
/// As [`bytes`], for the time of the call.
pub(super) unsafe fn copied(pointer: *const CK_BYTE, length: CK_ULONG) -> CkResult<Zeroizing<Vec<u8>>> {
    // SAFETY: passed on from this function's contract; the slice is gone when this function returns.
    Ok(Zeroizing::new(unsafe { bytes(pointer, length)? }.to_vec()))
}

/// A copy of the structure at a pointer that must be there.
///
/// # Safety
/// `pointer` is null, or points to a live `T`.
pub(super) unsafe fn read<T: Copy>(pointer: *const T) -> CkResult<T> {
    if pointer.is_null() {
        return refuse(CKR_ARGUMENTS_BAD);
    }
    // SAFETY: not null and live by this function's contract; unaligned because a caller may pack its structures.
    Ok(unsafe { pointer.read_unaligned() })
}

/// Where a caller wants one result. Not a reference: two of a call's places may be the same.
#[derive(Debug)]
pub(crate) struct Place<'a, T> {
    pointer: NonNull<T>,
    caller: PhantomData<&'a T>,
}

impl<T: Copy> Place<'_, T> {
    pub(crate) fn put(&self, value: T) {
        // SAFETY: `place` made this from a pointer that can be written for as long as `self` lives.
        unsafe { self.pointer.as_ptr().write_unaligned(value) }
    }
}

/// The place behind a pointer that must be there.
///
/// # Safety
/// `pointer` is null, or can be written for `'a`.
pub(super) unsafe fn place<'a, T>(pointer: *mut T) -> CkResult<Place<'a, T>> {
    let pointer = NonNull::new(pointer).ok_or(CkError(CKR_ARGUMENTS_BAD))?;
    Ok(Place { pointer, caller: PhantomData })
}

/// An output buffer and its length.
///
/// # Safety
/// `length` is null, or can be read and written for `'a`; `buffer` is null, or `*length` bytes can be written there for `'a`,
/// and nothing the call reads meanwhile lies there.
pub(super) unsafe fn output<'a>(buffer: *mut CK_BYTE, length: *mut CK_ULONG) -> CkResult<Output<'a>> {
    // SAFETY: passed on from this function's contract.
    let (room, length) = unsafe { (read(length)?, place(length)?) };
    if buffer.is_null() {
        return Ok(Output::new(None, length));
    }
    let room = usize::try_from(room).ok().filter(|room| *room <= isize::MAX as usize);
    let room = room.ok_or(CkError(CKR_ARGUMENTS_BAD))?;
    // SAFETY: not null, of a possible length, and for nobody else by this function's contract.
    let buffer = unsafe { std::slice::from_raw_parts_mut(buffer, room) };
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
    let room = unsafe { read(count)? };
    // SAFETY: as above; it can be written too.
    unsafe { place(count)? }.put(numbers.len() as CK_ULONG);
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

/// Pointers to the `count` attributes at `pointer`.
///
/// # Safety
/// `pointer` is null, or an array of `count` attributes.
pub(super) unsafe fn attributes(
    pointer: *mut CK_ATTRIBUTE,
    count: CK_ULONG,
) -> CkResult<impl Iterator<Item = *mut CK_ATTRIBUTE>> {
    if (pointer.is_null() && count > 0) || count > TEMPLATE_ITEMS_MAX as CK_ULONG {
        return refuse(CKR_ARGUMENTS_BAD);
    }
    // SAFETY: each index lies inside the array of this function's contract.
    Ok((0..count as usize).map(move |index| unsafe { pointer.add(index) }))
}

/// A template to read.
///
/// # Safety
/// `pointer` is null or an array of `count` attributes, and each `pValue` is null or has `ulValueLen` readable bytes for `'a`.
pub(super) unsafe fn template<'a>(pointer: *mut CK_ATTRIBUTE, count: CK_ULONG) -> CkResult<Template<'a>> {
    let mut items = Vec::new();
    // SAFETY: passed on from this function's contract.
    for attribute in unsafe { attributes(pointer, count)? } {
        // SAFETY: a live attribute of the array; its value is null or has the length beside it.
        let (attribute, value) = unsafe {
            let attribute = read(attribute)?;
            (attribute, bytes(attribute.pValue.cast(), attribute.ulValueLen)?)
        };
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
    let mechanism = unsafe { read(pointer)? };
    let number = mechanism.mechanism;
    let algorithm = profile.algorithm(number).ok_or(CkError(CKR_MECHANISM_INVALID))?;
    let parameter = if matches!(algorithm, Algorithm::Gcm(_)) {
        // SAFETY: for a GCM mechanism the parameter is GCM's, by this function's contract.
        unsafe { gcm_parameter(&mechanism)? }
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
