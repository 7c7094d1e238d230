//! Segments: a stretch of a file under one key.
//!
//! `magic 4 ‖ epoch 4 ‖ salt 32 ‖ previous tag 16 ‖ tag 16`. The tag is the AEAD's over no plaintext at counter 0; it
//! covers the file header, the segment's offset and the fields before it. The previous tag chains the segment to what
//! stood before it when it was made.

use std::sync::Arc;

use bixi_accel::sm3::hkdf;
use bixi_platform::random::OsRandom;
use zeroize::Zeroizing;

use crate::{
    KeyRing, Result, SealedError,
    aead::{Aead, TAG_BYTES, Tag},
    header::{HEADER_BYTES, Header, array},
    keyring::Home,
};

/// As a little-endian length this is above every frame's bound, so a segment can never be read as a frame.
pub(crate) const SEGMENT_MAGIC: [u8; 4] = *b"SEG1";
pub(crate) const SEGMENT_BYTES: usize = 72;
const SIGNED_BYTES: usize = SEGMENT_BYTES - TAG_BYTES;
/// Header and first segment together.
pub(crate) const PROLOGUE_BYTES: usize = HEADER_BYTES + SEGMENT_BYTES;

const KEY_DOMAIN: &[u8] = b"BIXI-SEALED-KEY-V1";

/// An open segment: its key and where it came from.
pub(crate) struct Segment {
    pub(crate) epoch: u32,
    pub(crate) previous: Tag,
    pub(crate) tag: Tag,
    pub(crate) aead: Aead,
    home: Arc<Home>,
}

impl Segment {
    /// Starts a segment in `epoch` with a fresh salt; returns it with its bytes.
    pub(crate) fn fresh(
        ring: &KeyRing,
        header: &Header,
        offset: u64,
        previous: Tag,
        epoch: u32,
    ) -> Result<(Self, [u8; SEGMENT_BYTES])> {
        let salt: [u8; 32] = OsRandom.array().map_err(SealedError::io("draw a salt for"))?;
        let mut bytes = [0; SEGMENT_BYTES];
        bytes[..4].copy_from_slice(&SEGMENT_MAGIC);
        bytes[4..8].copy_from_slice(&epoch.to_le_bytes());
        bytes[8..40].copy_from_slice(&salt);
        bytes[40..SIGNED_BYTES].copy_from_slice(&previous);
        let aead = derive(ring, header, epoch, &salt)?;
        let tag = aead.seal(0, &associated(header, offset, &bytes), &mut []);
        bytes[SIGNED_BYTES..].copy_from_slice(&tag);
        Ok((Self { epoch, previous, tag, aead, home: ring.home() }, bytes))
    }

    /// Opens the segment at `offset`. The caller has compared the magic, or chose to ignore it.
    ///
    /// `Ok(None)` means the tag does not fit.
    pub(crate) fn open(
        ring: &KeyRing,
        header: &Header,
        offset: u64,
        bytes: &[u8; SEGMENT_BYTES],
    ) -> Result<Option<Self>> {
        let mut bytes = *bytes;
        bytes[..4].copy_from_slice(&SEGMENT_MAGIC);
        let epoch = u32::from_le_bytes(array(&bytes[4..8]));
        let aead = derive(ring, header, epoch, &array(&bytes[8..40]))?;
        let tag: Tag = array(&bytes[SIGNED_BYTES..]);
        if !aead.open(0, &associated(header, offset, &bytes), &mut [], &tag) {
            return Ok(None);
        }
        let previous = array(&bytes[40..SIGNED_BYTES]);
        Ok(Some(Self { epoch, previous, tag, aead, home: ring.home() }))
    }

    /// Encrypts `data` in place and returns the tag over it and `aad`. Each `counter` may be used once.
    ///
    /// # Errors
    /// [`SealedError::Forked`]: the counters are another process's.
    pub(crate) fn seal(&self, counter: u64, aad: &[u8], data: &mut [u8]) -> Result<Tag> {
        self.home.check()?;
        Ok(self.aead.seal(counter, aad, data))
    }
}

/// `file header ‖ offset ‖ the segment's fields`.
fn associated(header: &Header, offset: u64, bytes: &[u8; SEGMENT_BYTES]) -> [u8; HEADER_BYTES + 8 + SIGNED_BYTES] {
    let mut out = [0; HEADER_BYTES + 8 + SIGNED_BYTES];
    out[..HEADER_BYTES].copy_from_slice(&header.encode());
    out[HEADER_BYTES..HEADER_BYTES + 8].copy_from_slice(&offset.to_le_bytes());
    out[HEADER_BYTES + 8..].copy_from_slice(&bytes[..SIGNED_BYTES]);
    out
}

/// `HKDF-SM3(salt, epoch key, domain ‖ suite ‖ layout ‖ purpose ‖ page size ‖ file id ‖ epoch)`.
fn derive(ring: &KeyRing, header: &Header, epoch: u32, salt: &[u8; 32]) -> Result<Aead> {
    let key = ring.key(epoch)?;
    let prk = Zeroizing::new(hkdf::extract(salt, key.as_slice()));
    let fields = header.encode();
    let mut material = Zeroizing::new([0; 32]);
    hkdf::expand(&prk, &[KEY_DOMAIN, &fields[10..15], &header.file_id, &epoch.to_le_bytes()], &mut *material);
    Ok(Aead::new(header.suite, &material))
}

/// Writes the start of a new file.
pub(crate) fn fresh_prologue(ring: &KeyRing, header: &Header) -> Result<(Segment, [u8; PROLOGUE_BYTES])> {
    let (segment, bytes) = Segment::fresh(ring, header, HEADER_BYTES as u64, [0; TAG_BYTES], header.epoch)?;
    let mut out = [0; PROLOGUE_BYTES];
    out[..HEADER_BYTES].copy_from_slice(&header.encode());
    out[HEADER_BYTES..].copy_from_slice(&bytes);
    Ok((segment, out))
}

/// Reads the start of a file and authenticates it.
pub(crate) fn open_prologue(ring: &KeyRing, bytes: &[u8; PROLOGUE_BYTES]) -> Result<(Header, Segment)> {
    let header = Header::decode(&array(&bytes[..HEADER_BYTES]))?;
    let segment_bytes: [u8; SEGMENT_BYTES] = array(&bytes[HEADER_BYTES..]);
    let epoch = u32::from_le_bytes(array(&segment_bytes[4..8]));
    let refused = SealedError::HeaderRefused { epoch };
    if segment_bytes[..4] != SEGMENT_MAGIC || header.epoch != epoch {
        return Err(refused);
    }
    let segment = Segment::open(ring, &header, HEADER_BYTES as u64, &segment_bytes)?.ok_or(refused)?;
    if segment.previous != [0; TAG_BYTES] {
        return Err(SealedError::HeaderRefused { epoch });
    }
    Ok((header, segment))
}
