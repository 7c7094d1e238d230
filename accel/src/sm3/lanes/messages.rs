//! Where the bytes of many messages lie.

use core::marker::PhantomData;

/// Messages by index, each in one or more parts.
pub(in crate::sm3) trait Messages {
    /// Whether a message may have more than one part.
    const CUT: bool;

    /// How many there are.
    fn count(&self) -> usize;

    /// The parts whose concatenation is message `index`.
    fn parts(&self, index: usize) -> &[&[u8]];

    /// Bytes of message `index`.
    fn bytes(&self, index: usize) -> usize {
        self.parts(index).iter().map(|part| part.len()).sum()
    }
}

/// Messages of one part.
pub(in crate::sm3) struct Whole<'m>(pub(in crate::sm3) &'m [&'m [u8]]);

impl Messages for Whole<'_> {
    const CUT: bool = false;

    fn count(&self) -> usize {
        self.0.len()
    }

    fn parts(&self, index: usize) -> &[&[u8]] {
        core::slice::from_ref(&self.0[index])
    }
}

/// Messages of several parts.
pub(in crate::sm3) struct Cut<'m, 'a, M> {
    messages: &'m [M],
    _parts: PhantomData<&'a [u8]>,
}

impl<'m, 'a, M: AsRef<[&'a [u8]]>> Cut<'m, 'a, M> {
    pub(in crate::sm3) fn new(messages: &'m [M]) -> Self {
        Self { messages, _parts: PhantomData }
    }
}

impl<'a, M: AsRef<[&'a [u8]]>> Messages for Cut<'_, 'a, M> {
    const CUT: bool = true;

    fn count(&self) -> usize {
        self.messages.len()
    }

    fn parts(&self, index: usize) -> &[&[u8]] {
        self.messages[index].as_ref()
    }
}
