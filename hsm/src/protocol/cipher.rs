//! A cipher of files in a message, by its number in the formats on disk; 0 where none is named.

use std::io::{Error, ErrorKind, Read, Result, Write};

use bixi_sealed::AtRest;
use borsh::{BorshDeserialize, BorshSerialize};

pub(crate) fn write<W: Write>(suite: &AtRest, out: &mut W) -> Result<()> {
    suite.id().serialize(out)
}

pub(crate) fn read<R: Read>(bytes: &mut R) -> Result<AtRest> {
    read_option(bytes)?.ok_or_else(|| unknown(0))
}

pub(crate) fn write_option<W: Write>(suite: &Option<AtRest>, out: &mut W) -> Result<()> {
    suite.map_or(0, AtRest::id).serialize(out)
}

pub(crate) fn read_option<R: Read>(bytes: &mut R) -> Result<Option<AtRest>> {
    match u8::deserialize_reader(bytes)? {
        0 => Ok(None),
        number => AtRest::from_id(number).map(Some).ok_or_else(|| unknown(number)),
    }
}

fn unknown(number: u8) -> Error {
    Error::new(ErrorKind::InvalidData, format!("{number} is no cipher that this release has"))
}
