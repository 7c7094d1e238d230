//! Contract ABIs: complete JSON arrays of objects with a `type`.

use serde::Deserialize;

/// What makes a JSON object an ABI entry.
#[derive(Deserialize)]
struct Entry<'a> {
    #[serde(rename = "type", borrow)]
    _kind: std::borrow::Cow<'a, str>,
}

/// Whether `text` is exactly one ABI, without anything around it.
pub(super) fn is_abi(text: &[u8]) -> bool {
    text.starts_with(b"[") && text.ends_with(b"]") && serde_json::from_slice::<Vec<Entry<'_>>>(text).is_ok()
}

/// Where the ABI at the end of `bytes` begins; their length when there is none.
pub(super) fn abi_start(bytes: &[u8]) -> usize {
    array_start(bytes).filter(|start| is_abi(&bytes[*start..])).unwrap_or(bytes.len())
}

/// The only place where a complete JSON array that ends these bytes can begin, found in one backward pass.
///
/// In valid JSON no backslash stands outside a string, so backwards from a closing quote the string begins at the first quote with
/// an even number of backslashes before it; outside strings brackets balance. On other bytes the answer is arbitrary and the
/// parser refuses it.
fn array_start(bytes: &[u8]) -> Option<usize> {
    if bytes.last() != Some(&b']') {
        return None;
    }
    let mut depth = 0usize;
    let mut in_string = false;
    for at in (0..bytes.len()).rev() {
        match bytes[at] {
            b'"' if in_string => in_string = escaped(bytes, at),
            b'"' => in_string = true,
            _ if in_string => {}
            b']' => depth += 1,
            b'[' => {
                depth -= 1;
                if depth == 0 {
                    return Some(at);
                }
            }
            _ => {}
        }
    }
    None
}

fn escaped(bytes: &[u8], at: usize) -> bool {
    bytes[..at].iter().rev().take_while(|byte| **byte == b'\\').count() % 2 == 1
}
