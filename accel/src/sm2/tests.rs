mod codec;
pub(super) mod field;
mod scheme;

pub(super) fn bytes<const N: usize>(text: &str) -> [u8; N] {
    hex::decode(text.replace(' ', "")).expect("hex").try_into().expect("length")
}
