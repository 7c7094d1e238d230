//! Contract calls as clients write them: the Solidity ABI's argument encoding, as far as calls of system contracts need it.

use crate::EvmHash;

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

/// First four bytes of the hash of a function's signature, as contracts of a chain whose contracts see `hash` have it; system contracts too.
pub fn selector(hash: EvmHash, signature: &str) -> [u8; 4] {
    let digest = hash.hash(&[signature.as_bytes()]);
    [digest.0[0], digest.0[1], digest.0[2], digest.0[3]]
}

/// Call data of `signature`, such as `transfer(address,uint256)`, for a chain whose contracts see `hash`.
pub fn call(hash: EvmHash, signature: &str, arguments: &[Argument<'_>]) -> Vec<u8> {
    let mut data = selector(hash, signature).to_vec();
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
        let data = call(
            EvmHash::Keccak256,
            "transfer(address,uint256)",
            &[Argument::Account([0x11; 20]), Argument::Number(5)],
        );
        let expected = format!("a9059cbb{}{}{}{:064x}", "00".repeat(12), "11".repeat(20), "", 5);
        assert_eq!(hex::encode(data), expected);
    }

    #[test]
    fn encodes_texts_behind_the_head() {
        // The Solidity documentation's layout of f(string,uint256) with ("abc", 7).
        let data = call(EvmHash::Keccak256, "userAdd(string,uint256)", &[Argument::Text("abc"), Argument::Number(7)]);
        let words: Vec<String> = data[4..].chunks(32).map(hex::encode).collect();
        let text = format!("616263{}", "00".repeat(29));
        assert_eq!(words, [format!("{:064x}", 0x40), format!("{:064x}", 7), format!("{:064x}", 3), text]);
    }

    /// A chain's contracts know one selector of a function, that of the hash they see.
    #[test]
    fn the_selector_is_of_the_hash_that_contracts_see() {
        let of = |hash| call(hash, "transfer(address,uint256)", &[]);
        assert_eq!(of(EvmHash::Keccak256), hex::decode("a9059cbb").unwrap());
        let digest = bixi_accel::sm3::digest(b"transfer(address,uint256)");
        assert_eq!(of(EvmHash::Sm3), digest[..4]);
    }

    #[test]
    fn every_text_has_its_own_offset() {
        let data = call(EvmHash::Keccak256, "f(string,string)", &[Argument::Text("a"), Argument::Text("")]);
        let words: Vec<String> = data[4..].chunks(32).map(hex::encode).collect();
        assert_eq!(words[..2], [format!("{:064x}", 0x40), format!("{:064x}", 0x80)]);
        assert_eq!(words.len(), 5);
    }
}
