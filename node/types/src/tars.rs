//! The TLV encoding of FISCO BCOS's wire structures (Tencent tars), read with bounds and written canonically.
//!
//! A field is a head `tag << 4 | kind` (tag 15 escapes to a second byte) and a body. Integers are big-endian in the smallest
//! kind that holds them; byte vectors are "simple lists"; a top-level structure has no begin and end marks.
//!
//! Invariants: every length is compared with what is left before anything is allocated; nesting is bounded by [`DEPTH_MAX`];
//! tags of one structure ascend strictly; unknown tags are skipped; a whole message is consumed to its last byte.
//!
//! ```text
//! head kinds:  0 i8   1 i16   2 i32   3 i64   6 string (u8 length)   7 string (u32 length)
//!              9 list   10 struct begin   11 struct end   12 integer zero   13 byte vector
//! ```

/// Deepest nesting of structures and lists that is read.
pub const DEPTH_MAX: u8 = 16;

const INT1: u8 = 0;
const INT2: u8 = 1;
const INT4: u8 = 2;
const INT8: u8 = 3;
const FLOAT: u8 = 4;
const DOUBLE: u8 = 5;
const STRING1: u8 = 6;
const STRING4: u8 = 7;
const MAP: u8 = 8;
const LIST: u8 = 9;
const STRUCT_BEGIN: u8 = 10;
const STRUCT_END: u8 = 11;
const ZERO: u8 = 12;
const SIMPLE_LIST: u8 = 13;

/// Why bytes are not the structure they should be. Nothing can be done with them: refuse the message and charge its sender.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum DecodeError {
    /// The message ends inside a field.
    #[error("{what} ends early: {needed} bytes needed, {left} left")]
    Truncated {
        /// The part being read.
        what: &'static str,
        /// Bytes its length promises.
        needed: u64,
        /// Bytes that are there.
        left: usize,
    },
    /// A field has another kind than its structure demands.
    #[error("{what}: tars kind {kind} is not expected here")]
    Kind {
        /// The part being read.
        what: &'static str,
        /// The kind found.
        kind: u8,
    },
    /// Tags of one structure do not ascend.
    #[error("tag {tag} after tag {previous}: tags of a structure must ascend")]
    TagOrder {
        /// The tag found.
        tag: u8,
        /// The tag before it.
        previous: u8,
    },
    /// A number does not fit its field.
    #[error("{what}: {value} is out of range")]
    Range {
        /// The field.
        what: &'static str,
        /// The number found.
        value: i64,
    },
    /// More bytes or elements than the limit.
    #[error("{what}: {found} is above the limit of {limit}")]
    TooLarge {
        /// The part being read.
        what: &'static str,
        /// Size found.
        found: u64,
        /// Size allowed.
        limit: usize,
    },
    /// Structures nested deeper than [`DEPTH_MAX`].
    #[error("nested deeper than {DEPTH_MAX}")]
    TooDeep,
    /// Text that is not UTF-8.
    #[error("{0} is not UTF-8")]
    Utf8(&'static str),
    /// A field of fixed length has another one.
    #[error("{what}: expected {expected} bytes, found {found}")]
    Length {
        /// The field.
        what: &'static str,
        /// Bytes it must have.
        expected: usize,
        /// Bytes it has.
        found: usize,
    },
    /// Bytes after the end of the message.
    #[error("{0} bytes after the end of the message")]
    Trailing(usize),
    /// A field that must be there is not.
    #[error("{0} is missing")]
    Missing(&'static str),
    /// The encoding is of a version this node does not know.
    #[error("{what}: version {version} is not known")]
    Version {
        /// The structure.
        what: &'static str,
        /// The version found.
        version: u64,
    },
}

/// Tag and kind of a field whose body comes next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Head {
    /// The field's number in its structure.
    pub tag: u8,
    kind: u8,
}

/// Reads one message.
pub struct Reader<'a> {
    rest: &'a [u8],
    depth: u8,
}

impl<'a> Reader<'a> {
    /// A reader at the start of `bytes`.
    pub fn new(bytes: &'a [u8]) -> Self {
        Self { rest: bytes, depth: 0 }
    }

    /// Reads all fields of the top-level structure to the last byte. `field` is called once per field, in order of tags; it
    /// must read the body or [`Self::skip`] it.
    pub fn message<F>(&mut self, mut field: F) -> Result<(), DecodeError>
    where
        F: FnMut(&mut Self, Head) -> Result<(), DecodeError>,
    {
        let mut previous = None;
        while !self.rest.is_empty() {
            let head = self.head()?;
            ascend(&mut previous, head.tag)?;
            field(self, head)?;
        }
        Ok(())
    }

    /// Reads the fields of a nested structure up to its end mark.
    pub fn structure<F>(&mut self, head: Head, mut field: F) -> Result<(), DecodeError>
    where
        F: FnMut(&mut Self, Head) -> Result<(), DecodeError>,
    {
        expect(head, STRUCT_BEGIN, "structure")?;
        self.enter()?;
        let mut previous = None;
        loop {
            let head = self.head()?;
            if head.kind == STRUCT_END {
                break;
            }
            ascend(&mut previous, head.tag)?;
            field(self, head)?;
        }
        self.depth -= 1;
        Ok(())
    }

    /// Reads a list of at most `limit` elements; `element` reads one.
    pub fn list<T, F>(
        &mut self,
        head: Head,
        what: &'static str,
        limit: usize,
        mut element: F,
    ) -> Result<Vec<T>, DecodeError>
    where
        F: FnMut(&mut Self, Head) -> Result<T, DecodeError>,
    {
        expect(head, LIST, what)?;
        self.enter()?;
        let count = self.length(what)?;
        if count > limit {
            return Err(DecodeError::TooLarge { what, found: count as u64, limit });
        }
        // Every element has a head, so a count above the bytes left can only be a lie.
        if count > self.rest.len() {
            return Err(DecodeError::Truncated { what, needed: count as u64, left: self.rest.len() });
        }
        let mut elements = Vec::with_capacity(count.min(64));
        for _ in 0..count {
            let head = self.head()?;
            elements.push(element(self, head)?);
        }
        self.depth -= 1;
        Ok(elements)
    }

    /// A signed integer of any width.
    pub fn int(&mut self, head: Head, what: &'static str) -> Result<i64, DecodeError> {
        Ok(match head.kind {
            ZERO => 0,
            INT1 => i64::from(i8::from_be_bytes(self.array(what)?)),
            INT2 => i64::from(i16::from_be_bytes(self.array(what)?)),
            INT4 => i64::from(i32::from_be_bytes(self.array(what)?)),
            INT8 => i64::from_be_bytes(self.array(what)?),
            kind => return Err(DecodeError::Kind { what, kind }),
        })
    }

    /// An integer that must fit `T`.
    pub fn int_as<T: TryFrom<i64>>(&mut self, head: Head, what: &'static str) -> Result<T, DecodeError> {
        let value = self.int(head, what)?;
        T::try_from(value).map_err(|_| DecodeError::Range { what, value })
    }

    /// A UTF-8 string.
    pub fn string(&mut self, head: Head, what: &'static str) -> Result<String, DecodeError> {
        let length = match head.kind {
            STRING1 => u64::from(u8::from_be_bytes(self.array(what)?)),
            STRING4 => u64::from(u32::from_be_bytes(self.array(what)?)),
            kind => return Err(DecodeError::Kind { what, kind }),
        };
        let bytes = self.take(length, what)?;
        std::str::from_utf8(bytes).map(str::to_owned).map_err(|_| DecodeError::Utf8(what))
    }

    /// A byte vector, borrowed from the message.
    pub fn bytes(&mut self, head: Head, what: &'static str) -> Result<&'a [u8], DecodeError> {
        expect(head, SIMPLE_LIST, what)?;
        let inner = self.head()?;
        if inner != (Head { tag: 0, kind: INT1 }) {
            return Err(DecodeError::Kind { what, kind: inner.kind });
        }
        let length = self.length(what)?;
        self.take(length as u64, what)
    }

    /// A byte vector of exactly `N` bytes.
    pub fn fixed<const N: usize>(&mut self, head: Head, what: &'static str) -> Result<[u8; N], DecodeError> {
        let bytes = self.bytes(head, what)?;
        bytes.try_into().map_err(|_| DecodeError::Length { what, expected: N, found: bytes.len() })
    }

    /// Passes over the body of a field this node does not know.
    pub fn skip(&mut self, head: Head) -> Result<(), DecodeError> {
        const WHAT: &str = "unknown field";
        match head.kind {
            ZERO => {}
            INT1 => drop(self.take(1, WHAT)?),
            INT2 => drop(self.take(2, WHAT)?),
            INT4 | FLOAT => drop(self.take(4, WHAT)?),
            INT8 | DOUBLE => drop(self.take(8, WHAT)?),
            STRING1 => {
                let length = u8::from_be_bytes(self.array(WHAT)?);
                self.take(u64::from(length), WHAT)?;
            }
            STRING4 => {
                let length = u32::from_be_bytes(self.array(WHAT)?);
                self.take(u64::from(length), WHAT)?;
            }
            SIMPLE_LIST => drop(self.bytes(head, WHAT)?),
            STRUCT_BEGIN => self.structure(head, |reader, inner| reader.skip(inner))?,
            LIST => self.skip_elements(1)?,
            MAP => self.skip_elements(2)?,
            kind => return Err(DecodeError::Kind { what: WHAT, kind }),
        }
        Ok(())
    }

    fn skip_elements(&mut self, heads_per_element: usize) -> Result<(), DecodeError> {
        const WHAT: &str = "unknown list";
        self.enter()?;
        let count = self.length(WHAT)?;
        // Saturating is enough: a count above the bytes left fails at the first missing head.
        for _ in 0..count.saturating_mul(heads_per_element) {
            let head = self.head()?;
            self.skip(head)?;
        }
        self.depth -= 1;
        Ok(())
    }

    fn head(&mut self) -> Result<Head, DecodeError> {
        let [first] = self.array("field head")?;
        let kind = first & 0x0f;
        let tag = match first >> 4 {
            15 => {
                let [tag] = self.array("field head")?;
                tag
            }
            tag => tag,
        };
        Ok(Head { tag, kind })
    }

    fn length(&mut self, what: &'static str) -> Result<usize, DecodeError> {
        let head = self.head()?;
        if head.tag != 0 {
            return Err(DecodeError::TagOrder { tag: head.tag, previous: 0 });
        }
        self.int_as(head, what)
    }

    fn enter(&mut self) -> Result<(), DecodeError> {
        if self.depth == DEPTH_MAX {
            return Err(DecodeError::TooDeep);
        }
        self.depth += 1;
        Ok(())
    }

    fn take(&mut self, length: u64, what: &'static str) -> Result<&'a [u8], DecodeError> {
        let left = self.rest.len();
        let length = usize::try_from(length).ok().filter(|length| *length <= left).ok_or(DecodeError::Truncated {
            what,
            needed: length,
            left,
        })?;
        let (taken, rest) = self.rest.split_at(length);
        self.rest = rest;
        Ok(taken)
    }

    fn array<const N: usize>(&mut self, what: &'static str) -> Result<[u8; N], DecodeError> {
        let taken = self.take(N as u64, what)?;
        Ok(taken.try_into().expect("take returns as many bytes as asked"))
    }
}

fn expect(head: Head, kind: u8, what: &'static str) -> Result<(), DecodeError> {
    if head.kind == kind { Ok(()) } else { Err(DecodeError::Kind { what, kind: head.kind }) }
}

fn ascend(previous: &mut Option<u8>, tag: u8) -> Result<(), DecodeError> {
    if let Some(previous) = *previous
        && tag <= previous
    {
        return Err(DecodeError::TagOrder { tag, previous });
    }
    *previous = Some(tag);
    Ok(())
}

/// Writes one message. Fields equal to their default (zero, empty) are left out, as FISCO BCOS's writer does.
#[derive(Default)]
pub struct Writer {
    out: Vec<u8>,
}

impl Writer {
    /// A writer with room for `capacity` bytes.
    pub fn with_capacity(capacity: usize) -> Self {
        Self { out: Vec::with_capacity(capacity) }
    }

    /// The message.
    pub fn finish(self) -> Vec<u8> {
        self.out
    }

    /// An integer, left out when zero.
    pub fn int(&mut self, tag: u8, value: i64) {
        if value != 0 {
            self.int_always(tag, value);
        }
    }

    /// An integer, written even when zero: list elements, lengths and `require` fields.
    pub fn int_always(&mut self, tag: u8, value: i64) {
        if value == 0 {
            self.head(tag, ZERO);
        } else if let Ok(value) = i8::try_from(value) {
            self.head(tag, INT1);
            self.out.extend(value.to_be_bytes());
        } else if let Ok(value) = i16::try_from(value) {
            self.head(tag, INT2);
            self.out.extend(value.to_be_bytes());
        } else if let Ok(value) = i32::try_from(value) {
            self.head(tag, INT4);
            self.out.extend(value.to_be_bytes());
        } else {
            self.head(tag, INT8);
            self.out.extend(value.to_be_bytes());
        }
    }

    /// A string, left out when empty.
    pub fn string(&mut self, tag: u8, value: &str) {
        if !value.is_empty() {
            self.string_always(tag, value);
        }
    }

    /// A string, written even when empty.
    pub fn string_always(&mut self, tag: u8, value: &str) {
        match u8::try_from(value.len()) {
            Ok(length) => {
                self.head(tag, STRING1);
                self.out.push(length);
            }
            Err(_) => {
                let length = u32::try_from(value.len()).expect("a string above 4 GiB was never bounded");
                self.head(tag, STRING4);
                self.out.extend(length.to_be_bytes());
            }
        }
        self.out.extend(value.as_bytes());
    }

    /// A byte vector, left out when empty.
    pub fn bytes(&mut self, tag: u8, value: &[u8]) {
        if !value.is_empty() {
            self.bytes_always(tag, value);
        }
    }

    /// A byte vector, written even when empty.
    pub fn bytes_always(&mut self, tag: u8, value: &[u8]) {
        self.head(tag, SIMPLE_LIST);
        self.head(0, INT1);
        self.length(value.len());
        self.out.extend(value);
    }

    /// A list, left out when empty; `element` writes one element under tag 0.
    pub fn list<T>(&mut self, tag: u8, elements: &[T], mut element: impl FnMut(&mut Self, &T)) {
        if elements.is_empty() {
            return;
        }
        self.head(tag, LIST);
        self.length(elements.len());
        for item in elements {
            element(self, item);
        }
    }

    /// A nested structure, always written.
    pub fn structure(&mut self, tag: u8, fields: impl FnOnce(&mut Self)) {
        self.head(tag, STRUCT_BEGIN);
        fields(self);
        self.head(0, STRUCT_END);
    }

    fn length(&mut self, length: usize) {
        self.int_always(0, i64::from(i32::try_from(length).expect("a vector above 2 GiB was never bounded")));
    }

    fn head(&mut self, tag: u8, kind: u8) {
        if tag < 15 {
            self.out.push(tag << 4 | kind);
        } else {
            self.out.extend([0xf0 | kind, tag]);
        }
    }
}

#[cfg(test)]
mod tests;
