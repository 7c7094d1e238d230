//! A counter that no restored copy of a disk sets back: a non-volatile index of type counter (part 1, 37.2).
//!
//! It begins above every counter that was ever removed from the TPM, so one that its owner removes and makes again does not go
//! back. It is used with the PIN of the store; an exempt one would let anybody try PINs without being counted. A TPM's memory wears: advance
//! it every few minutes, not with every block.

use bixi_hsm::{Cause, DeviceError};

use crate::code::{AUTH_FAIL, BAD_AUTH, HANDLE, ResponseCode};
use crate::command::{Command, CommandCode, Entity, Protection};
use crate::connection::{Connection, malformed};
use crate::kdf::sha256;
use crate::public::ALG_SHA256;
use crate::wire::{Malformed, Reader, Writer};

const AUTH_WRITE: u32 = 1 << 2;
const TYPE_COUNTER: u32 = 1 << 4;
const AUTH_READ: u32 = 1 << 18;
const WRITTEN: u32 = 1 << 29;
const VALUE_BYTES: u16 = 8;
/// Where indices of the machine's owner begin (registry of reserved handles), and ours among them.
const INDEX_FIRST: u32 = 0x0180_8000;
const INDEX_LAST: u32 = 0x01BF_FFFF;

/// The public area of a counter of ours.
fn area(index: u32, written: bool) -> Vec<u8> {
    let attributes = AUTH_WRITE | AUTH_READ | TYPE_COUNTER | if written { WRITTEN } else { 0 };
    let area = Writer::new().u32(index).u16(ALG_SHA256).u32(attributes).sized(&[]).u16(VALUE_BYTES);
    area.as_slice().to_vec()
}

fn entity(index: u32, written: bool) -> Entity {
    let name = [&ALG_SHA256.to_be_bytes()[..], &sha256(&[&area(index, written)])].concat();
    Entity { handle: index, name }
}

/// Makes a counter at an index that is free, and advances it once: before that it has no value.
pub(crate) fn define(
    connection: &mut Connection,
    owner: &Entity,
    owner_authorization: &[u8],
    pin: &[u8],
) -> Result<u32, DeviceError> {
    let code = CommandCode::NvDefineSpace;
    let index = crate::ceremony::free_handle(connection, INDEX_FIRST, INDEX_LAST)?;
    let parameters = Writer::new().sized(pin).sized(&area(index, false));
    let protection = Protection::by(owner_authorization).hiding_command();
    connection.run(Command::bare(code, vec![owner.clone()], parameters).protected(protection))?;
    let first = increment(connection, entity(index, false), pin);
    if first.is_err() {
        let _ = undefine(connection, owner, owner_authorization, index, false);
    }
    first.map(|()| index)
}

/// Takes a counter away again.
pub(crate) fn undefine(
    connection: &mut Connection,
    owner: &Entity,
    owner_authorization: &[u8],
    index: u32,
    written: bool,
) -> Result<(), DeviceError> {
    let handles = vec![owner.clone(), entity(index, written)];
    let command = Command::bare(CommandCode::NvUndefineSpace, handles, Writer::new());
    connection.run(command.protected(Protection::by(owner_authorization))).map(drop)
}

fn increment(connection: &mut Connection, counter: Entity, pin: &[u8]) -> Result<(), DeviceError> {
    let command = Command::bare(CommandCode::NvIncrement, vec![counter.clone(), counter], Writer::new());
    connection.run(command.protected(Protection::by(pin))).map(drop)
}

/// The value of the counter at `index`, after advancing it by one if asked to.
pub(crate) fn read(connection: &mut Connection, index: u32, pin: &[u8], advance: bool) -> Result<u64, DeviceError> {
    check(connection, index)?;
    let counter = entity(index, true);
    if advance {
        increment(connection, counter.clone(), pin)?;
    }
    let parameters = Writer::new().u16(VALUE_BYTES).u16(0);
    let command = Command::bare(CommandCode::NvRead, vec![counter.clone(), counter], parameters);
    let answer = connection.run(command.protected(Protection::by(pin)))?;
    let mut reader = Reader::new(&answer.parameters);
    let value = reader.expect(VALUE_BYTES, "size of the counter").and_then(|()| reader.u64("counter"));
    value.map_err(malformed(CommandCode::NvRead))
}

/// Makes another counter where the one at `index` is gone.
pub(crate) fn renew(
    connection: &mut Connection,
    index: u32,
    owner: &Entity,
    owner_authorization: &[u8],
    pin: &[u8],
) -> Result<u32, DeviceError> {
    match check(connection, index) {
        Ok(()) => {
            let message = format!("the counter of this store is there, at index {index:#010x}");
            Err(DeviceError::new(CommandCode::NvDefineSpace.name(), Cause::Rejected, message))
        }
        Err(error) if error.cause == Cause::CounterRemoved => {
            define(connection, owner, owner_authorization, pin).map_err(|error| {
                match ResponseCode::of(&error).map(ResponseCode::base) {
                    // Of the owner's word, which nobody counts: no verdict on the PIN.
                    Some(BAD_AUTH | AUTH_FAIL) => DeviceError { cause: Cause::Rejected, ..error }
                        .with_advice("give the authorization of the TPM's owner; it is not the keys' PIN"),
                    _ => error,
                }
            })
        }
        Err(error) => Err(error),
    }
}

/// The index must be our counter before the PIN is tried on it. Only the TPM's owner, or somebody on the line, takes it away.
fn check(connection: &mut Connection, index: u32) -> Result<(), DeviceError> {
    let code = CommandCode::NvReadPublic;
    let unnamed = Entity { handle: index, name: Vec::new() };
    let answer = connection.run(Command::bare(code, vec![unnamed], Writer::new()));
    let answer = answer.map_err(|error| match ResponseCode::of(&error) {
        Some(answered) if answered.base() == HANDLE => {
            let message = format!("the TPM has no index {index:#010x}: the counter of this store was removed");
            DeviceError::new(code.name(), Cause::CounterRemoved, message).with_code(answered.0.into())
        }
        _ => error,
    })?;
    let mut reader = Reader::new(&answer.parameters);
    let found = reader.sized(64, "public area of the counter").map_err(malformed(code))?;
    if found == area(index, true) {
        return Ok(());
    }
    match Reader::new(found).u32("index") {
        Ok(named) if named == index => {
            let message = format!("index {index:#010x} is not the counter of this store any more");
            Err(DeviceError::new(code.name(), Cause::CounterRemoved, message))
        }
        _ => Err(malformed(code)(Malformed("public area of the counter"))),
    }
}
