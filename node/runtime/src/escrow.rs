//! Who else can open a node's vault: standby devices and officers who share a key; and a node brought back on another device.
//!
//! | function | does | needs |
//! |---|---|---|
//! | [`create`] | makes an escrow, gives its shares out, then lets it open the vault | device, node stopped |
//! | [`check`] | holds an officer's share against the vault's record, without using it | nothing |
//! | [`slots`], [`remove_slot`] | who can open the vault; that one of them no longer can | nothing; device, node stopped |
//! | [`standby`] | lets a second device open the vault | both devices, node stopped |
//! | [`recover`] | seals the vault under a new device with new keys | officers' shares, a new device, node stopped |
//!
//! What changes the vault is told to the node's audit trail before it is done, durably, and again when it is done. Shares and keys
//! are in locked memory only; nothing here writes one to a disk.

mod recovery;
pub mod standby;

pub use bixi_hsm_escrow::{DOCUMENT_BYTES_MAX, Document, EscrowError, PageReader, Record, Share};
pub use bixi_hsm_vault::SlotInfo;
pub use recovery::{Announce, Officers, Recovered, STEPS, Transaction, recover};

use std::path::PathBuf;

use bixi_hsm_vault::{SlotKind, VaultError};
use bixi_platform::credentials::PinSource;
use bixi_platform::io::PreadStorage;
pub use bixi_platform::secret::Secret;
use bixi_sealed::passphrase::Cost;

use crate::launch::{Failure, LaunchError, step};
use crate::lifecycle::desk::Desk;
use crate::settings::Settings;

/// An escrow to be made.
#[derive(Debug, Clone)]
pub struct Wish {
    /// Label of its slot.
    pub label: String,
    /// Who is given a share.
    pub officers: Vec<String>,
    /// How many of them recover.
    pub threshold: usize,
}

/// Makes an escrow: the shares are given out one by one, in the officers' order, and only when all are, the vault is written.
///
/// # Errors
/// Names the step. When a share was not given out, those that were are worthless: the vault knows nothing of them.
pub fn create(
    settings: &Settings,
    wish: &Wish,
    give: &mut dyn FnMut(&str, &Share) -> Result<(), Failure>,
) -> Result<Record, LaunchError> {
    let (desk, mut vault) = Desk::open_with_vault(settings)?;
    let escrow = step("escrow", || vault.plan_escrow(desk.device.as_ref(), &wish.officers, wish.threshold))?;
    step("shares", || {
        escrow.record.holders.iter().zip(&escrow.shares).try_for_each(|(holder, share)| give(&holder.name, share))
    })?;
    let subject = format!(
        "escrow {} labelled {:?}: {} of {}",
        escrow.record.name(),
        wish.label,
        wish.threshold,
        wish.officers.join(", ")
    );
    step("vault", || desk.perform("escrow", &subject, || Ok(vault.add_escrow(&wish.label, &escrow)?)))?;
    Ok(escrow.record)
}

/// What an officer types on the terminal, without its being shown, or has typed before.
#[derive(Debug, Clone)]
pub enum Passphrase {
    /// One that was chosen before; the text says whose.
    Known(String),
    /// One that is chosen now, typed twice.
    New(String),
    /// One in a file of ours that nobody else may read: for rehearsals without people.
    File(PathBuf),
}

impl Passphrase {
    /// Asks for it.
    ///
    /// # Errors
    /// No terminal, an empty line, or two that differ.
    pub fn read(&self) -> Result<Secret, Failure> {
        let ask = |text: &str| PinSource::Prompt { text: text.to_owned() }.read();
        match self {
            Self::Known(text) => Ok(ask(text)?),
            Self::File(path) => Ok(PinSource::File(path.clone()).read()?),
            Self::New(text) => {
                let first = ask(text)?;
                match ask(&format!("{text}, again"))?.ct_eq(first.as_slice()) {
                    true => Ok(first),
                    false => Err("the two passphrases differ".into()),
                }
            }
        }
    }
}

/// Seals a share under what its officer types.
///
/// # Errors
/// When system or memory refuse.
pub fn seal(share: &Share, passphrase: &Secret) -> Result<Document, EscrowError> {
    share.seal(Cost::TYPED, passphrase.as_slice()).map(Document::Sealed)
}

/// Which share it is, as the vault's record tells.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Checked {
    /// Label of the escrow's slot.
    pub label: String,
    /// The escrow.
    pub escrow: String,
    /// The share's number.
    pub index: u8,
    /// Who was given it.
    pub officer: String,
    /// Shares given out.
    pub officers: usize,
    /// Shares that recover.
    pub threshold: u8,
}

/// Holds a share against the commitment in the vault's file. The file is not authenticated by that: a wrong verdict can be had by
/// whoever writes the disk, a wrong key cannot.
///
/// # Errors
/// A share that is of no escrow of this vault, or not the one given out.
pub fn check(settings: &Settings, share: &Share) -> Result<Checked, LaunchError> {
    let slots = slots(settings)?;
    step("share", || {
        let mut refused: Option<Failure> = None;
        for slot in &slots {
            let Some(record) = &slot.escrow else { continue };
            match record.check_share(share) {
                Ok(officer) => return Ok(checked(slot, record, share.id().index, officer)),
                // Of the right escrow, and forged: says more than that it is none of another's.
                Err(error @ EscrowError::Forged { .. }) => return Err(error.into()),
                Err(error) => refused = Some(error.into()),
            }
        }
        Err(refused.unwrap_or_else(|| "this vault has no escrow; `bixi hsm escrow create` makes one".into()))
    })
}

fn checked(slot: &SlotInfo, record: &Record, index: u8, officer: &str) -> Checked {
    Checked {
        label: slot.label.clone(),
        escrow: record.name(),
        index,
        officer: officer.to_owned(),
        officers: record.holders.len(),
        threshold: record.threshold,
    }
}

/// Who can open the vault, as its file says. Nothing proves it before the vault is opened.
///
/// # Errors
/// A vault that is missing or damaged.
pub fn slots(settings: &Settings) -> Result<Vec<SlotInfo>, LaunchError> {
    step("vault", || {
        let files = PreadStorage::new();
        Ok::<_, VaultError>(bixi_hsm_vault::describe(&files, settings.data("vault"))?.slots)
    })
}

/// In a word.
#[must_use]
pub fn kind_of(slot: &SlotInfo) -> &'static str {
    match slot.kind {
        SlotKind::Primary => "primary",
        SlotKind::Standby => "standby",
        SlotKind::Escrow => "escrow",
    }
}

/// Ends a slot for the vault's new file. Copies of the old file still open with its key.
///
/// # Errors
/// No such slot, or the one that this node opens the vault with.
pub fn remove_slot(settings: &Settings, label: &str) -> Result<(), LaunchError> {
    let (desk, mut vault) = Desk::open_with_vault(settings)?;
    let subject = format!("slot {label:?} of the vault");
    step("vault", || desk.perform("remove slot", &subject, || Ok(vault.remove_slot(label)?)))
}
