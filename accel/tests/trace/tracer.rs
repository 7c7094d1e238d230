//! A process run instruction by instruction between two marks: where each instruction stood, and which memory it touched.
//!
//! The processor itself executes, so every kernel that it has can be looked at, unlike under an emulator. Two runs can be compared
//! because a process is started anew for each, at the same addresses (`ADDR_NO_RANDOMIZE`), with arguments of the same length.

use iced_x86::{Code, Decoder, DecoderOptions, Instruction, InstructionInfoFactory, Register, UsedMemory};
use nix::sched::{self, CpuSet};
use nix::sys::personality::{self, Persona};
use nix::sys::ptrace;
use nix::sys::signal::Signal;
use nix::sys::wait::{WaitStatus, waitpid};
use nix::unistd::Pid;
use std::collections::HashMap;
use std::os::unix::process::CommandExt as _;
use std::process::Command;

/// Longest instruction of x86.
const INSTRUCTION_BYTES_MAX: usize = 15;

/// Stops the process for its tracer: before and after what is to be traced.
#[inline(never)]
pub(crate) fn mark() {
    // SAFETY: a breakpoint; it touches neither memory nor registers.
    unsafe { std::arch::asm!("int3", options(nomem, nostack)) };
}

/// One instruction: its address, and one number for all addresses that it read and wrote.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) struct Step {
    pub(crate) at: u64,
    pub(crate) touched: u64,
}

/// An instruction as it is decoded once.
struct Decoded {
    is_mark: bool,
    memory: Vec<UsedMemory>,
}

/// Why there is no trace.
#[derive(Debug, thiserror::Error)]
pub(crate) enum TraceError {
    #[error("this system does not let a process be traced: {0}")]
    Forbidden(std::io::Error),
    #[error("the process ended, or was stopped by something else: {0:?}")]
    Ended(WaitStatus),
    #[error(
        "the instruction at {0:#x} takes addresses from a vector register, and which memory they name is not known here"
    )]
    Gather(u64),
    #[error(transparent)]
    System(std::io::Error),
}

impl From<nix::Error> for TraceError {
    fn from(error: nix::Error) -> Self {
        Self::System(error.into())
    }
}

/// Keeps this process and those it starts on one core: a step is two switches, which are cheap there.
pub(crate) fn stay_on_one_core() {
    let here = sched::sched_getcpu().and_then(|core| {
        let mut cores = CpuSet::new();
        cores.set(core)?;
        sched::sched_setaffinity(Pid::from_raw(0), &cores)
    });
    if let Err(error) = here {
        println!("not on one core: {error}");
    }
}

/// Runs a command that calls [`mark`] twice, and returns what it does between the two.
pub(crate) fn trace(mut command: Command) -> Result<Vec<Step>, TraceError> {
    let traced = || {
        ptrace::traceme()?;
        personality::set(personality::get()? | Persona::ADDR_NO_RANDOMIZE)?;
        Ok(())
    };
    // SAFETY: between fork and exec it makes two system calls and takes no lock.
    unsafe { command.pre_exec(traced) };
    let mut child = command.spawn().map_err(|error| match error.kind() {
        // Containers forbid tracing, or fixed addresses.
        std::io::ErrorKind::PermissionDenied => TraceError::Forbidden(error),
        _ => TraceError::System(error),
    })?;
    let process = Pid::from_raw(child.id() as i32);
    let steps = (|| {
        wait_for_trap(process)?;
        ptrace::cont(process, None)?;
        wait_for_trap(process)?;
        steps_until_mark(process)
    })();
    let _ = child.kill();
    let _ = child.wait();
    steps
}

fn wait_for_trap(process: Pid) -> Result<(), TraceError> {
    match waitpid(process, None)? {
        WaitStatus::Stopped(_, Signal::SIGTRAP) => Ok(()),
        other => Err(TraceError::Ended(other)),
    }
}

fn steps_until_mark(process: Pid) -> Result<Vec<Step>, TraceError> {
    let (mut steps, mut known, mut factory) = (Vec::new(), HashMap::new(), InstructionInfoFactory::new());
    loop {
        let registers = ptrace::getregs(process)?;
        let decoded = match known.entry(registers.rip) {
            std::collections::hash_map::Entry::Occupied(entry) => &*entry.into_mut(),
            std::collections::hash_map::Entry::Vacant(entry) => {
                &*entry.insert(decode(process, registers.rip, &mut factory)?)
            }
        };
        if decoded.is_mark {
            return Ok(steps);
        }
        let addresses = decoded.memory.iter().map(|memory| address(memory, &registers));
        let touched = addresses.enumerate().try_fold(0_u64, |sum, (place, address)| {
            let address = address.ok_or(TraceError::Gather(registers.rip))?;
            Ok::<_, TraceError>(sum.rotate_left(21) ^ address.wrapping_add(place as u64))
        })?;
        steps.push(Step { at: registers.rip, touched });
        ptrace::step(process, None)?;
        wait_for_trap(process)?;
    }
}

fn decode(process: Pid, at: u64, factory: &mut InstructionInfoFactory) -> Result<Decoded, TraceError> {
    let mut bytes = Vec::with_capacity(INSTRUCTION_BYTES_MAX + 1);
    while bytes.len() < INSTRUCTION_BYTES_MAX {
        // The last word may lie beyond the code; the instruction does not.
        let Ok(word) = ptrace::read(process, (at + bytes.len() as u64) as ptrace::AddressType) else { break };
        bytes.extend(word.to_ne_bytes());
    }
    let instruction: Instruction = Decoder::with_ip(64, &bytes, at, DecoderOptions::NONE).decode();
    let memory = factory.info(&instruction).used_memory().to_vec();
    Ok(Decoded { is_mark: instruction.code() == Code::Int3, memory })
}

/// The address of an access; none when it depends on a vector register.
fn address(memory: &UsedMemory, registers: &nix::libc::user_regs_struct) -> Option<u64> {
    memory.virtual_address(0, |register, _, _| {
        let value = match register.full_register() {
            Register::RAX => registers.rax,
            Register::RBX => registers.rbx,
            Register::RCX => registers.rcx,
            Register::RDX => registers.rdx,
            Register::RSI => registers.rsi,
            Register::RDI => registers.rdi,
            Register::RBP => registers.rbp,
            Register::RSP => registers.rsp,
            Register::R8 => registers.r8,
            Register::R9 => registers.r9,
            Register::R10 => registers.r10,
            Register::R11 => registers.r11,
            Register::R12 => registers.r12,
            Register::R13 => registers.r13,
            Register::R14 => registers.r14,
            Register::R15 => registers.r15,
            Register::RIP => registers.rip,
            Register::FS => registers.fs_base,
            Register::GS => registers.gs_base,
            Register::CS | Register::DS | Register::ES | Register::SS => 0,
            _ => return None,
        };
        Some(if register.is_gpr32() { value & 0xffff_ffff } else { value })
    })
}
