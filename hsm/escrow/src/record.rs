//! What the vault's slot says of an escrow: public, and authenticated with the vault.

use bixi_accel::ct;
use borsh::{BorshDeserialize, BorshSerialize};

use crate::EscrowError;
use crate::share::{Share, ShareId};

/// Most officers of one escrow.
pub const OFFICERS_MAX: usize = 16;
/// Longest name of an officer.
pub const NAME_BYTES_MAX: usize = 64;

/// An officer who was given a share.
#[derive(Debug, Clone, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct Holder {
    /// Name, as given at the ceremony.
    pub name: String,
    /// SM3 commitment to the share.
    pub commitment: [u8; 32],
}

/// One escrow, without any secret. Share `i` belongs to holder `i`, counted from 1.
#[derive(Debug, Clone, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct Record {
    /// Random name of the escrow.
    pub id: [u8; 16],
    /// Shares that recover.
    pub threshold: u8,
    /// Who was given one.
    pub holders: Vec<Holder>,
}

/// Refuses what is no escrow.
///
/// # Errors
/// [`EscrowError::Shape`] or [`EscrowError::Name`].
pub(crate) fn check_officers(officers: &[&str], threshold: usize) -> Result<(), EscrowError> {
    if !(2..=OFFICERS_MAX).contains(&officers.len()) || !(2..=officers.len()).contains(&threshold) {
        return Err(EscrowError::Shape { threshold, officers: officers.len() });
    }
    for (place, name) in officers.iter().enumerate() {
        let is_sound = (1..=NAME_BYTES_MAX).contains(&name.len()) && !name.chars().any(char::is_control);
        if !is_sound || officers[..place].contains(name) {
            return Err(EscrowError::Name((*name).to_owned()));
        }
    }
    Ok(())
}

impl Record {
    /// Whether it can be one: what is read from a disk is asked before anything else.
    ///
    /// # Errors
    /// [`EscrowError::Shape`] or [`EscrowError::Name`].
    pub fn check(&self) -> Result<(), EscrowError> {
        let names: Vec<&str> = self.holders.iter().map(|holder| holder.name.as_str()).collect();
        check_officers(&names, usize::from(self.threshold))
    }

    /// The escrow's name in hexadecimal.
    pub fn name(&self) -> String {
        hex::encode(self.id)
    }

    /// Who was given the share of that number.
    pub fn officer(&self, index: u8) -> Option<&str> {
        let place = usize::from(index).checked_sub(1)?;
        self.holders.get(place).map(|holder| holder.name.as_str())
    }

    /// Holds a share against its commitment; returns the officer it was given to.
    ///
    /// # Errors
    /// [`EscrowError::Foreign`] or [`EscrowError::Forged`].
    pub fn check_share(&self, share: &Share) -> Result<&str, EscrowError> {
        let ShareId { escrow, threshold, count, index, .. } = *share.id();
        if escrow != self.id {
            return Err(EscrowError::Foreign { index, found: hex::encode(escrow), expected: self.name() });
        }
        let holder = usize::from(index).checked_sub(1).and_then(|place| self.holders.get(place));
        let fits = holder.is_some_and(|holder| {
            threshold == self.threshold
                && usize::from(count) == self.holders.len()
                && ct::eq(&holder.commitment, &share.commitment())
        });
        match holder {
            Some(holder) if fits => Ok(&holder.name),
            _ => {
                let officer = holder.map_or("nobody", |holder| &holder.name).to_owned();
                Err(EscrowError::Forged { index, officer })
            }
        }
    }
}
