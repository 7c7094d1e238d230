//! A plug-in for QEMU that counts the instructions a program executes: every translated block adds its length when it runs.
//! Prints the sum to standard error when the program ends. Built by `count.sh` alone; the interface is version 1 of `qemu-plugin.h`.

use std::ffi::{c_char, c_int, c_void};

type Id = u64;

/// One block of translated code.
#[repr(C)]
pub struct Block {
    _opaque: [u8; 0],
}

unsafe extern "C" {
    fn qemu_plugin_register_vcpu_tb_trans_cb(id: Id, callback: extern "C" fn(Id, *mut Block));
    fn qemu_plugin_tb_n_insns(block: *const Block) -> usize;
    fn qemu_plugin_register_vcpu_tb_exec_inline(block: *mut Block, operation: c_int, value: *mut c_void, addend: u64);
    fn qemu_plugin_register_atexit_cb(id: Id, callback: extern "C" fn(Id, *mut c_void), data: *mut c_void);
}

/// The version of the interface.
#[unsafe(no_mangle)]
pub static qemu_plugin_version: c_int = 1;

/// QEMU_PLUGIN_INLINE_ADD_U64.
const ADD: c_int = 0;

/// Written by translated code; programs that are counted have one thread.
static mut COUNT: u64 = 0;

/// Called once, when QEMU loads this file.
#[unsafe(no_mangle)]
pub extern "C" fn qemu_plugin_install(id: Id, _: *const c_void, _: c_int, _: *const *const c_char) -> c_int {
    // SAFETY: both callbacks have the types of the interface and live as long as the process.
    unsafe {
        qemu_plugin_register_vcpu_tb_trans_cb(id, translated);
        qemu_plugin_register_atexit_cb(id, ended, std::ptr::null_mut());
    }
    0
}

extern "C" fn translated(_: Id, block: *mut Block) {
    // SAFETY: QEMU passes the block it is translating; COUNT is a word that lives as long as the process.
    unsafe {
        let instructions = qemu_plugin_tb_n_insns(block) as u64;
        qemu_plugin_register_vcpu_tb_exec_inline(block, ADD, (&raw mut COUNT).cast(), instructions);
    }
}

extern "C" fn ended(_: Id, _: *mut c_void) {
    // SAFETY: the program has ended: nothing writes any more.
    eprintln!("instructions={}", unsafe { COUNT });
}
