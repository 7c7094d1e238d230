//! EIP-55 style mixed-case addresses, with the chain's own hash as FISCO BCOS has it.

use bixi_types::CryptoSuite;

/// Writes `address` (hexadecimal, no prefix) in mixed case: a letter is upper case where the hash's digit is 8 or more.
pub(crate) fn checksum(suite: CryptoSuite, address: &str) -> String {
    let lower = address.to_ascii_lowercase();
    let hash = suite.hash(&[lower.as_bytes()]).to_hex();
    lower
        .chars()
        .zip(hash.chars())
        .map(|(digit, guide)| if guide >= '8' { digit.to_ascii_uppercase() } else { digit })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn matches_eip_55_examples_under_keccak() {
        for address in ["5aAeb6053F3E94C9b9A09f33669435E7Ef1BeAed", "fB6916095ca1df60bB79Ce92cE3Ea74c37c5d359"] {
            assert_eq!(checksum(CryptoSuite::Std, &address.to_lowercase()), address);
        }
    }
}
