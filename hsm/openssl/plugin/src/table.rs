//! The C boundary: turns what crosses it into references, and hands over.

use std::ffi::CString;
use std::slice;

use bixi_hsm_openssl_abi::{DONE, FAILED, Handle, INVALID, Operation, Plugin, Report, Request, Slice, VERSION};

use crate::Failure;
use crate::accelerator::{Accelerator, Wanted, describe};

static TABLE: Plugin = Plugin {
    version: VERSION,
    bytes: size_of::<Plugin>() as u32,
    describe: describe_to,
    open,
    operations,
    sm3_many,
    sm4,
    sm2_verify,
};

/// [`bixi_hsm_openssl_abi::ENTRY`]
#[unsafe(no_mangle)]
extern "C" fn bixi_accel_plugin_v1() -> *const Plugin {
    &raw const TABLE
}

/// # Safety
/// `slice` is readable as long as it is borrowed.
unsafe fn bytes<'a>(slice: Slice) -> &'a [u8] {
    if slice.bytes == 0 {
        return &[];
    }
    // SAFETY: passed on from this function's contract.
    unsafe { slice::from_raw_parts(slice.data, slice.bytes) }
}

/// # Safety
/// As [`bytes`].
unsafe fn text<'a>(slice: Slice) -> Result<&'a str, Failure> {
    // SAFETY: passed on from this function's contract.
    std::str::from_utf8(unsafe { bytes(slice) }).map_err(|_| "the request is not UTF-8".to_owned())
}

fn terminated(text: &str) -> Result<CString, Failure> {
    CString::new(text).map_err(|_| format!("{text:?} has a zero byte"))
}

/// The answer to a call, told in `report` when it failed.
///
/// # Safety
/// `report` is writable.
unsafe fn answer(report: *mut Report, result: Result<i32, Failure>) -> i32 {
    result.unwrap_or_else(|failure| {
        // SAFETY: passed on from this function's contract.
        unsafe { &mut *report }.say(&failure);
        FAILED
    })
}

unsafe extern "C" fn describe_to(report: *mut Report) {
    // SAFETY: the table's contract: writable.
    unsafe { &mut *report }.say(&describe());
}

/// # Safety
/// The request is readable, with everything it points to.
unsafe fn wanted<'a>(request: &Request) -> Result<Wanted<'a>, Failure> {
    // SAFETY: passed on from this function's contract.
    unsafe {
        let commands: &[_] = if request.commands_count == 0 {
            &[]
        } else {
            slice::from_raw_parts(request.commands, request.commands_count)
        };
        let directory = text(request.directory)?;
        let commands =
            commands.iter().map(|command| Ok((terminated(text(command.name)?)?, terminated(text(command.value)?)?)));
        Ok(Wanted {
            is_provider: request.is_provider != 0,
            name: terminated(text(request.name)?)?,
            directory: (!directory.is_empty()).then_some(directory),
            properties: terminated(text(request.properties)?)?,
            commands: commands.collect::<Result<_, Failure>>()?,
        })
    }
}

unsafe extern "C" fn open(request: *const Request, handle: *mut *mut Handle, report: *mut Report) -> i32 {
    // SAFETY: the table's contract: readable, and writable, for this call.
    unsafe {
        let opened = wanted(&*request).and_then(Accelerator::open).map(|accelerator| {
            *handle = Box::into_raw(Box::new(accelerator)).cast();
            DONE
        });
        answer(report, opened)
    }
}

unsafe extern "C" fn operations(handle: *const Handle) -> u32 {
    // SAFETY: the table's contract: a handle of `open`.
    unsafe { &*handle.cast::<Accelerator>() }.operations()
}

unsafe extern "C" fn sm3_many(
    handle: *const Handle,
    messages: *const Slice,
    count: usize,
    out: *mut [u8; 32],
    report: *mut Report,
) -> i32 {
    if count == 0 {
        return DONE;
    }
    // SAFETY: the table's contract: a live handle, `count` readable messages, room for `count` digests.
    unsafe {
        let (messages, out) = (slice::from_raw_parts(messages, count), slice::from_raw_parts_mut(out, count));
        answer(report, (*handle.cast::<Accelerator>()).sm3_many(messages, out).map(|()| DONE))
    }
}

unsafe extern "C" fn sm4(
    handle: *const Handle,
    operation: u32,
    key: *const [u8; 16],
    first: *const [u8; 16],
    input: Slice,
    output: *mut u8,
    report: *mut Report,
) -> i32 {
    let known = Operation::from_number(operation).ok_or_else(|| format!("no operation has the number {operation}"));
    // SAFETY: the table's contract: a live handle, readable key, first block and input, as much room in an output apart from it.
    unsafe {
        let done = known.and_then(|operation| {
            (*handle.cast::<Accelerator>()).sm4(operation, &*key, &*first, input, output).map(|()| DONE)
        });
        answer(report, done)
    }
}

unsafe extern "C" fn sm2_verify(
    handle: *const Handle,
    public: *const [u8; 64],
    digest: *const [u8; 32],
    signature: Slice,
    report: *mut Report,
) -> i32 {
    // SAFETY: the table's contract: a live handle and readable arguments.
    unsafe {
        let verdict = (*handle.cast::<Accelerator>()).sm2_verify(&*public, &*digest, bytes(signature));
        answer(report, verdict.map(|valid| if valid { DONE } else { INVALID }))
    }
}
