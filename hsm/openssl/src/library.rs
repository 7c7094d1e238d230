//! The C boundary: loads a plugin, checks that it is one, and keeps it until the process ends.

use std::path::Path;

use bixi_hsm::{Cause, DeviceError, elf};
use bixi_hsm_openssl_abi::{
    CALL_BYTES_MAX, Command, DONE, ENTRY, FAILED, Handle, INVALID, Operation, Plugin, Report, Request, Slice, VERSION,
};
use libloading::os::unix::{Library, RTLD_LOCAL, RTLD_NOW};

use crate::accelerator::{Params, Source};

const PLUGIN: &str = "accelerator plugin";

/// The table of the plugin at `path`.
pub(crate) fn load(path: &Path) -> Result<&'static Plugin, DeviceError> {
    let refuse = |function: &'static str, what: String, advice: &'static str| {
        let message = format!("{PLUGIN} {}: {what}", path.display());
        DeviceError::new(function, Cause::Setup, message).with_advice(advice)
    };
    let path = path
        .canonicalize()
        .map_err(|error| refuse("dlopen", error.to_string(), "check accelerator.plugin in the configuration"))?;
    elf::check(&path)?;
    // SAFETY: loading runs the plugin's initialisers and libcrypto's in this process; the operator named the file as the plugin, which
    // is the trust that using an accelerator takes.
    let library = unsafe { Library::open(Some(&path), RTLD_NOW | RTLD_LOCAL) }.map_err(|error| {
        let advice = "install the libcrypto it needs (ldd names it), or take the plugin for the one that is there: \
                      libbixi_openssl3.so or libbixi_openssl11.so";
        refuse("dlopen", error.to_string(), advice)
    })?;
    // Leaked on purpose: the table's functions must stay as long as the process.
    let library: &'static Library = Box::leak(Box::new(library));
    // SAFETY: the entry's only signature; a library with something else of that name is none that the operator may name.
    let entry = unsafe { library.get::<unsafe extern "C" fn() -> *const Plugin>(ENTRY.as_bytes()) };
    let entry = entry.map_err(|_| {
        refuse("dlsym", format!("it has no {ENTRY}"), "a shared library, but no plugin of this version of bixi")
    })?;
    // SAFETY: the entry takes nothing and returns null or a table that lives as long as the process. Version and size stand first in every
    // version of the table, and nothing else is read before they were compared.
    unsafe {
        let table = entry();
        let head = table.cast::<[u32; 2]>();
        if table.is_null() || *head != [VERSION, size_of::<Plugin>() as u32] {
            let found = if table.is_null() { "no table".to_owned() } else { format!("version and size {:?}", *head) };
            let what = format!("{found}; this bixi wants [{VERSION}, {}]", size_of::<Plugin>());
            return Err(refuse("bixi_accel_plugin_v1", what, "install the plugin of the same release as bixi"));
        }
        Ok(&*table)
    }
}

/// An open engine or provider of a plugin. It is never closed.
pub(crate) struct Opened {
    plugin: &'static Plugin,
    handle: *mut Handle,
}

// SAFETY: the table's contract: a handle serves several threads at once, and is bound to none.
unsafe impl Send for Opened {}
// SAFETY: as above.
unsafe impl Sync for Opened {}

impl Opened {
    pub(crate) fn open(plugin: &'static Plugin, params: &Params) -> Result<Self, DeviceError> {
        let nothing = Slice::of(b"");
        let (is_provider, name, properties, commands) = match &params.source {
            Source::Engine { id, commands } => (0, id, nothing, commands.as_slice()),
            Source::Provider { name, properties } => (1, name, Slice::of(properties.as_bytes()), &[][..]),
        };
        let commands: Vec<Command> = commands
            .iter()
            .map(|(name, value)| Command { name: Slice::of(name.as_bytes()), value: Slice::of(value.as_bytes()) })
            .collect();
        let request = Request {
            is_provider,
            name: Slice::of(name.as_bytes()),
            directory: Slice::of(params.directory.as_bytes()),
            properties,
            commands: commands.as_ptr(),
            commands_count: commands.len(),
        };
        let (mut handle, mut report) = (std::ptr::null_mut(), Report::empty());
        // SAFETY: everything that the request points to outlives the call.
        let answer = unsafe { (plugin.open)(&raw const request, &raw mut handle, &raw mut report) };
        if answer == DONE && !handle.is_null() {
            return Ok(Self { plugin, handle });
        }
        let advice = match &params.source {
            Source::Engine { .. } => {
                "install the engine where libcrypto looks (openssl version -e), or name accelerator.directory"
            }
            Source::Provider { .. } => {
                "install the provider where libcrypto looks (openssl version -m), or name accelerator.directory"
            }
        };
        let message = format!("{}: {}", params.source, report.words());
        Err(DeviceError::new("open", Cause::Setup, message).with_advice(advice))
    }

    pub(crate) fn operations(&self) -> u32 {
        // SAFETY: a live handle.
        unsafe { (self.plugin.operations)(self.handle) }
    }

    pub(crate) fn sm3_many(&self, messages: &[&[u8]], out: &mut [[u8; 32]]) -> Result<(), DeviceError> {
        assert_eq!(messages.len(), out.len(), "a digest for each message");
        let slices: Vec<Slice> = messages.iter().copied().map(Slice::of).collect();
        let mut report = Report::empty();
        // SAFETY: a live handle, as many readable messages as there is room for digests.
        let answer = unsafe {
            (self.plugin.sm3_many)(self.handle, slices.as_ptr(), slices.len(), out.as_mut_ptr(), &raw mut report)
        };
        verdict(Operation::Sm3, answer, &report).map(drop)
    }

    pub(crate) fn sm4(
        &self,
        operation: Operation,
        key: &[u8; 16],
        first: &[u8; 16],
        input: &[u8],
        output: &mut [u8],
    ) -> Result<(), DeviceError> {
        assert_eq!(input.len(), output.len(), "output of the input's length");
        if input.len() > CALL_BYTES_MAX {
            let message = format!("{} bytes; one call takes {CALL_BYTES_MAX}", input.len());
            return Err(DeviceError::new(operation.name(), Cause::Rejected, message));
        }
        let mut report = Report::empty();
        // SAFETY: a live handle; input and output are of one length and apart, as one is borrowed mutably.
        let answer = unsafe {
            let input = Slice::of(input);
            (self.plugin.sm4)(self.handle, operation as u32, key, first, input, output.as_mut_ptr(), &raw mut report)
        };
        verdict(operation, answer, &report).map(drop)
    }

    pub(crate) fn sm2_verify(&self, key: &[u8; 64], digest: &[u8; 32], signature: &[u8]) -> Result<bool, DeviceError> {
        let mut report = Report::empty();
        // SAFETY: a live handle and readable arguments.
        let answer =
            unsafe { (self.plugin.sm2_verify)(self.handle, key, digest, Slice::of(signature), &raw mut report) };
        verdict(Operation::Sm2Verify, answer, &report)
    }
}

/// Which libcrypto a plugin has.
pub(crate) fn describe(plugin: &Plugin) -> String {
    let mut report = Report::empty();
    // SAFETY: the report is writable.
    unsafe { (plugin.describe)(&raw mut report) };
    report.words()
}

/// Anything but the two answers of the ABI is a failure, and only verification may say "invalid".
fn verdict(operation: Operation, answer: i32, report: &Report) -> Result<bool, DeviceError> {
    match (answer, operation) {
        (DONE, _) => Ok(true),
        (INVALID, Operation::Sm2Verify) => Ok(false),
        (FAILED, _) => Err(DeviceError::new(operation.name(), Cause::Fault, report.words())),
        (other, _) => Err(DeviceError::new(operation.name(), Cause::Fault, format!("the plugin answered {other}"))),
    }
}
