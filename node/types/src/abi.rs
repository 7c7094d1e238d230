//! Contract calls as clients write them: the Solidity ABI's argument encoding, as far as calls of system contracts need it.

use crate::suite::keccak256;

/// One argument.
#[derive(Debug, Clone, Copy)]
pub enum Argument<'a> {
    /// `uint256`.
    Number(u128),
    /// `address`.
    Account([u8; 20]),
    /// `string`.
    Text(&'a str),
}

/// Call data of `signature`, such as `transfer(address,uint256)`. The selector is keccak256's, for chains whose contracts see that hash;
/// it holds for system contracts too.
pub fn call(signature: &str, arguments: &[Argument<'_>]) -> Vec<u8> {
    let mut data = keccak256(&[signature.as_bytes()]).0[..4].to_vec();
    let mut tail: Vec<u8> = Vec::new();
    for argument in arguments {
        match argument {
            Argument::Number(number) => data.extend(word(&number.to_be_bytes())),
            Argument::Account(address) => data.extend(word(address)),
            Argument::Text(text) => {
                let offset = (arguments.len() * 32 + tail.len()) as u128;
                data.extend(word(&offset.to_be_bytes()));
                tail.extend(word(&(text.len() as u128).to_be_bytes()));
                tail.extend(text.as_bytes());
                tail.resize(tail.len().next_multiple_of(32), 0);
            }
        }
    }
    data.extend(tail);
    data
}

/// Right-aligned in 32 bytes.
fn word(bytes: &[u8]) -> [u8; 32] {
    let mut word = [0; 32];
    word[32 - bytes.len()..].copy_from_slice(bytes);
    word
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn encodes_static_arguments_in_place() {
        let data = call("transfer(address,uint256)", &[Argument::Account([0x11; 20]), Argument::Number(5)]);
        let expected = format!("a9059cbb{}{}{}{:064x}", "00".repeat(12), "11".repeat(20), "", 5);
        assert_eq!(hex::encode(data), expected);
    }

    #[test]
    fn encodes_texts_behind_the_head() {
        // The Solidity documentation's layout of f(string,uint256) with ("abc", 7).
        let data = call("userAdd(string,uint256)", &[Argument::Text("abc"), Argument::Number(7)]);
        let words: Vec<String> = data[4..].chunks(32).map(hex::encode).collect();
        let text = format!("616263{}", "00".repeat(29));
        assert_eq!(words, [format!("{:064x}", 0x40), format!("{:064x}", 7), format!("{:064x}", 3), text]);
    }

    #[test]
    fn every_text_has_its_own_offset() {
        let data = call("f(string,string)", &[Argument::Text("a"), Argument::Text("")]);
        let words: Vec<String> = data[4..].chunks(32).map(hex::encode).collect();
        assert_eq!(words[..2], [format!("{:064x}", 0x40), format!("{:064x}", 0x80)]);
        assert_eq!(words.len(), 5);
    }
}
