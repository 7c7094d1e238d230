//! Calls by number: mechanisms and key types as a vendor numbered them, below 0x80000000 too, which `cryptoki` refuses.
//!
//! The only unsafe code of this crate. What a module is given is owned here and lives as long as the call; what it answers is
//! bounded before it is read. `C_CloseAllSessions` is not called: the sessions of a token belong to everybody in the process.
#![allow(unsafe_code)]

use std::path::Path;

use bixi_hsm::{Cause, DeviceError};
use cryptoki::context::Function;
use cryptoki::error::{Error, Rv};
use cryptoki::object::{AttributeType, ObjectHandle};
use cryptoki::session::Session;
use cryptoki::slot::Slot;
use cryptoki_sys::*;
use zeroize::Zeroizing;

use crate::error::device_error;
use crate::pool::Failure;

/// Most bytes of a signature, a MAC or the ciphertext of a PRF.
const ANSWER_BYTES_MAX: usize = 512;
/// Most bytes of a label, an id or a point.
const ATTRIBUTE_BYTES_MAX: usize = 64 * 1024;
/// Most mechanisms a token is believed to have.
const MECHANISMS_MAX: usize = 4096;

type Begin = unsafe extern "C" fn(CK_SESSION_HANDLE, *mut CK_MECHANISM, CK_OBJECT_HANDLE) -> CK_RV;
type Finish = unsafe extern "C" fn(CK_SESSION_HANDLE, *mut CK_BYTE, CK_ULONG, *mut CK_BYTE, *mut CK_ULONG) -> CK_RV;

/// A module's functions. The module is loaded and is never unloaded.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Functions(&'static CK_FUNCTION_LIST);

/// Attributes of an object to be made.
#[derive(Clone, Default)]
pub(crate) struct Template(Vec<(CK_ATTRIBUTE_TYPE, Vec<u8>)>);

impl Template {
    pub(crate) fn bytes(mut self, attribute: CK_ATTRIBUTE_TYPE, value: &[u8]) -> Self {
        self.0.push((attribute, value.to_vec()));
        self
    }

    pub(crate) fn number(self, attribute: CK_ATTRIBUTE_TYPE, value: CK_ULONG) -> Self {
        self.bytes(attribute, &value.to_ne_bytes())
    }

    pub(crate) fn flag(self, attribute: CK_ATTRIBUTE_TYPE, value: bool) -> Self {
        self.bytes(attribute, &[u8::from(value)])
    }

    /// As the module reads it; the values stay owned by `self`, which is borrowed mutably because the C type says so.
    fn attributes(&mut self) -> Vec<CK_ATTRIBUTE> {
        let as_c = |(type_, value): &mut (CK_ATTRIBUTE_TYPE, Vec<u8>)| CK_ATTRIBUTE {
            type_: *type_,
            ulValueLen: value.len() as CK_ULONG,
            pValue: value.as_mut_ptr().cast(),
        };
        self.0.iter_mut().map(as_c).collect()
    }
}

fn mechanism(number: CK_MECHANISM_TYPE) -> CK_MECHANISM {
    CK_MECHANISM { mechanism: number, pParameter: std::ptr::null_mut(), ulParameterLen: 0 }
}

fn present<T>(function: Option<T>) -> Result<T, Error> {
    function.ok_or(Error::NullFunctionPointer)
}

fn checked(code: CK_RV, function: Function) -> Result<(), Error> {
    Rv::from(code).into_result(function)
}

impl Functions {
    /// The functions of the module at `path`, which is loaded already: this makes sure that it stays.
    pub(crate) fn of(path: &Path) -> Result<Self, DeviceError> {
        let failed = |error| device_error("load the module", &error);
        // SAFETY: the library is loaded already (its initialisers have run), and the caller trusts it, for it is the configured module.
        let library = unsafe { Pkcs11::new(path) }.map_err(|error| failed(Error::LibraryLoading(error)))?;
        // Never unloaded: the list below points into it.
        let library: &'static Pkcs11 = Box::leak(Box::new(library));
        let mut list: *mut CK_FUNCTION_LIST = std::ptr::null_mut();
        let get = library.C_GetFunctionList.as_ref().map_err(|_| failed(Error::MissingSymbol("C_GetFunctionList")))?;
        // SAFETY: the standard's signature, with a place for one pointer.
        checked(unsafe { get(&raw mut list) }, Function::GetFunctionList).map_err(failed)?;
        // SAFETY: null, or the list of a module that is never unloaded, which nobody writes to.
        let list = unsafe { list.as_ref() }.ok_or_else(|| failed(Error::NullFunctionPointer))?;
        Ok(Self(list))
    }

    /// `C_SignInit` and `C_Sign`.
    pub(crate) fn sign(
        self,
        session: &Session,
        number: CK_MECHANISM_TYPE,
        key: ObjectHandle,
        data: &[u8],
    ) -> Result<Zeroizing<Vec<u8>>, Failure> {
        let begin = (present(self.0.C_SignInit)?, Function::SignInit);
        transform(session, number, key, data, begin, (present(self.0.C_Sign)?, Function::Sign))
    }

    /// `C_EncryptInit` and `C_Encrypt`.
    pub(crate) fn encrypt(
        self,
        session: &Session,
        number: CK_MECHANISM_TYPE,
        key: ObjectHandle,
        data: &[u8],
    ) -> Result<Zeroizing<Vec<u8>>, Failure> {
        let begin = (present(self.0.C_EncryptInit)?, Function::EncryptInit);
        transform(session, number, key, data, begin, (present(self.0.C_Encrypt)?, Function::Encrypt))
    }

    /// `C_GenerateKey`.
    pub(crate) fn generate_key(
        self,
        session: &Session,
        number: CK_MECHANISM_TYPE,
        mut template: Template,
    ) -> Result<ObjectHandle, Error> {
        let generate = present(self.0.C_GenerateKey)?;
        let (mut mechanism, mut attributes, mut key) = (mechanism(number), template.attributes(), 0);
        // SAFETY: an open session; mechanism, template (whose values `template` owns) and the place live through the call.
        let code = unsafe {
            let count = attributes.len() as CK_ULONG;
            generate(session.handle(), &raw mut mechanism, attributes.as_mut_ptr(), count, &raw mut key)
        };
        checked(code, Function::GenerateKey)?;
        Ok(object(key))
    }

    /// `C_GenerateKeyPair`: public key, private key.
    pub(crate) fn generate_key_pair(
        self,
        session: &Session,
        number: CK_MECHANISM_TYPE,
        [mut public, mut private]: [Template; 2],
    ) -> Result<[ObjectHandle; 2], Error> {
        let generate = present(self.0.C_GenerateKeyPair)?;
        let (mut mechanism, mut keys) = (mechanism(number), [0; 2]);
        let (mut public, mut private) = (public.attributes(), private.attributes());
        let [public_key, private_key] = &mut keys;
        // SAFETY: an open session; mechanism, templates (whose values their owners above keep) and both places live through the call.
        let code = unsafe {
            generate(
                session.handle(),
                &raw mut mechanism,
                public.as_mut_ptr(),
                public.len() as CK_ULONG,
                private.as_mut_ptr(),
                private.len() as CK_ULONG,
                &raw mut *public_key,
                &raw mut *private_key,
            )
        };
        checked(code, Function::GenerateKeyPair)?;
        Ok(keys.map(object))
    }

    /// Attributes of an object, each as its bytes; nothing for one that the object has not or does not show. Their lengths are asked for
    /// first, because the module names them and they are allocated here.
    ///
    /// # Errors
    /// The module's; [`Cause::BadAnswer`] for a length beyond [`ATTRIBUTE_BYTES_MAX`], or beyond the one it had named.
    pub(crate) fn attributes<const N: usize>(
        self,
        session: &Session,
        object: ObjectHandle,
        wanted: [CK_ATTRIBUTE_TYPE; N],
    ) -> Result<[Option<Vec<u8>>; N], Failure> {
        let mut asked = wanted.map(|type_| CK_ATTRIBUTE { type_, pValue: std::ptr::null_mut(), ulValueLen: 0 });
        self.get_attributes(session, object, &mut asked)?;
        let mut values: [Option<Vec<u8>>; N] = [const { None }; N];
        for (value, one) in values.iter_mut().zip(&asked) {
            *value = length_of(one, ATTRIBUTE_BYTES_MAX)?.map(|length| vec![0; length]);
        }
        let mut places: Vec<CK_ATTRIBUTE> = (wanted.iter().zip(&mut values))
            .filter_map(|(type_, value)| {
                let value = value.as_mut()?;
                let length = value.len() as CK_ULONG;
                Some(CK_ATTRIBUTE { type_: *type_, pValue: value.as_mut_ptr().cast(), ulValueLen: length })
            })
            .collect();
        if places.is_empty() {
            return Ok(values);
        }
        self.get_attributes(session, object, &mut places)?;
        for (value, place) in values.iter_mut().filter(|value| value.is_some()).zip(&places) {
            let room = value.as_ref().map_or(0, Vec::len);
            match length_of(place, room)? {
                Some(length) => value.iter_mut().for_each(|bytes| bytes.truncate(length)),
                None => *value = None,
            }
        }
        Ok(values)
    }

    /// `C_GetAttributeValue`; each attribute's own length says whether it was given.
    fn get_attributes(
        self,
        session: &Session,
        object: ObjectHandle,
        attributes: &mut [CK_ATTRIBUTE],
    ) -> Result<(), Error> {
        let get = present(self.0.C_GetAttributeValue)?;
        let count = attributes.len() as CK_ULONG;
        // SAFETY: an open session, as many attributes as the count says, each with room for the length it names, or with none.
        let code = unsafe { get(session.handle(), object.handle(), attributes.as_mut_ptr(), count) };
        match code {
            // The others were given all the same (PKCS#11 2.40, C_GetAttributeValue).
            CKR_ATTRIBUTE_SENSITIVE | CKR_ATTRIBUTE_TYPE_INVALID => Ok(()),
            code => checked(code, Function::GetAttributeValue),
        }
    }

    /// `CKA_KEY_TYPE` of an object.
    pub(crate) fn key_type(self, session: &Session, key: ObjectHandle) -> Result<CK_KEY_TYPE, Failure> {
        let get = present(self.0.C_GetAttributeValue)?;
        let mut value: CK_ULONG = 0;
        let size = size_of::<CK_ULONG>() as CK_ULONG;
        let mut asked = CK_ATTRIBUTE { type_: CKA_KEY_TYPE, pValue: (&raw mut value).cast(), ulValueLen: size };
        // SAFETY: an open session, one attribute, and room for the number it has.
        let code = unsafe { get(session.handle(), key.handle(), &raw mut asked, 1) };
        checked(code, Function::GetAttributeValue)?;
        if asked.ulValueLen != size {
            return Err(bad_answer("C_GetAttributeValue", format!("CKA_KEY_TYPE of {} bytes", asked.ulValueLen)));
        }
        Ok(value)
    }

    /// `C_GetMechanismList`: every number, vendors' too.
    pub(crate) fn mechanisms(self, slot: Slot) -> Result<Vec<CK_MECHANISM_TYPE>, Error> {
        let list = present(self.0.C_GetMechanismList)?;
        let mut numbers = vec![0; MECHANISMS_MAX];
        let mut count = numbers.len() as CK_ULONG;
        // SAFETY: an array of as many numbers as the count says.
        checked(unsafe { list(slot.id(), numbers.as_mut_ptr(), &raw mut count) }, Function::GetMechanismList)?;
        numbers.truncate(usize::try_from(count).unwrap_or(MECHANISMS_MAX));
        Ok(numbers)
    }

    /// `C_GetMechanismInfo`.
    pub(crate) fn mechanism_info(self, slot: Slot, number: CK_MECHANISM_TYPE) -> Result<CK_MECHANISM_INFO, Error> {
        let get = present(self.0.C_GetMechanismInfo)?;
        let mut info = CK_MECHANISM_INFO::default();
        // SAFETY: a place for one structure.
        checked(unsafe { get(slot.id(), number, &raw mut info) }, Function::GetMechanismInfo)?;
        Ok(info)
    }
}

fn object(handle: CK_OBJECT_HANDLE) -> ObjectHandle {
    // SAFETY: no memory hangs on a handle; that this one names an object is what the module just said.
    unsafe { ObjectHandle::new_from_raw(handle) }
}

/// The length of an attribute, nothing when the module does not give it.
fn length_of(attribute: &CK_ATTRIBUTE, bytes_max: usize) -> Result<Option<usize>, Failure> {
    if attribute.ulValueLen == CK_UNAVAILABLE_INFORMATION {
        return Ok(None);
    }
    match usize::try_from(attribute.ulValueLen) {
        Ok(length) if length <= bytes_max => Ok(Some(length)),
        _ => {
            let name = match AttributeType::try_from(attribute.type_) {
                Ok(named) => named.to_string(),
                Err(_) => format!("attribute 0x{:X}", attribute.type_),
            };
            let what = format!("{name} of {} bytes; {bytes_max} are allowed", attribute.ulValueLen);
            Err(bad_answer("C_GetAttributeValue", what))
        }
    }
}

/// One operation in one step, with room for every answer there can be: no question for its length, which some modules count as
/// the operation's end.
fn transform(
    session: &Session,
    number: CK_MECHANISM_TYPE,
    key: ObjectHandle,
    data: &[u8],
    (begin, begin_name): (Begin, Function),
    (finish, finish_name): (Finish, Function),
) -> Result<Zeroizing<Vec<u8>>, Failure> {
    let mut mechanism = mechanism(number);
    // SAFETY: an open session, and a mechanism without parameter that lives through the call.
    checked(unsafe { begin(session.handle(), &raw mut mechanism, key.handle()) }, begin_name)?;
    let mut data = Zeroizing::new(data.to_vec());
    let mut answer = Zeroizing::new(vec![0; ANSWER_BYTES_MAX]);
    let mut length = answer.len() as CK_ULONG;
    // SAFETY: input and output are separate buffers of ours, as long as the lengths beside them.
    let code = unsafe {
        let input_bytes = data.len() as CK_ULONG;
        finish(session.handle(), data.as_mut_ptr(), input_bytes, answer.as_mut_ptr(), &raw mut length)
    };
    checked(code, finish_name)?;
    match usize::try_from(length) {
        Ok(length) if length <= ANSWER_BYTES_MAX => answer.truncate(length),
        _ => return Err(bad_answer("C_Sign or C_Encrypt", format!("an answer of {length} bytes"))),
    }
    Ok(answer)
}

fn bad_answer(function: &'static str, what: String) -> Failure {
    DeviceError::new(function, Cause::BadAnswer, what).into()
}
