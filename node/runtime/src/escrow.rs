//! Who else can open a node's vault: standby devices and officers who share a key; and a node brought back on another device.
//!
//! | function | does | needs |
//! |---|---|---|
//! | [`create`] | makes an escrow, gives its shares out, then lets it open the vault | device, node stopped |
//! | [`check`] | holds an officer's share against the vault's record, without using it | nothing |
//! | [`slots`], [`remove_slot`] | who can open the vault; that one of them no longer can | nothing; device, node stopped |
//! | [`standby`] | lets a second device open the vault | both devices, node stopped |
//! | [`recover`] | seals the vault under a new device with new keys | officers' shares and a new device, or a standby; node stopped |
//!
//! What changes the vault is told to the node's audit trail before it is done, durably, and again when it is done. Shares and keys
//! are in locked memory only; nothing here writes one to a disk.

mod recovery;
pub mod standby;

pub use bixi_hsm_escrow::{DOCUMENT_BYTES_MAX, Document, EscrowError, PageReader, Record, Share};
pub use bixi_hsm_vault::SlotInfo;
pub use recovery::{Announce, Officers, Opener, Recovered, STEPS, Transaction, recover};

use std::path::PathBuf;

use bixi_hsm_vault::VaultError;
use bixi_platform::credentials::PinSource;
pub use bixi_platform::credentials::SilentTerminal;
use bixi_platform::io::PreadStorage;
pub use bixi_platform::secret::Secret;
use bixi_sealed::passphrase::{Cost, expect_long};

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

/// Makes an escrow: the shares are given out one by one, in the officers' order, and only when all are, the vault is written. What would
/// keep it from being written is looked for before the first is given out.
///
/// # Errors
/// Names the step, and after the shares were given out whether they are worth anything: the vault is read again to tell.
pub fn create(
    settings: &Settings,
    wish: &Wish,
    give: &mut dyn FnMut(&str, &Share) -> Result<(), Failure>,
) -> Result<Record, LaunchError> {
    let (desk, mut vault) = Desk::open_with_vault(settings)?;
    let escrow = step("escrow", || vault.plan_escrow(desk.device.as_ref(), &wish.officers, wish.threshold))?;
    step("vault", || vault.expect_room(&wish.label))?;
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
    let written = desk.perform("escrow", &subject, || Ok(vault.add_escrow(&wish.label, &escrow)?));
    step("vault", || written.map_err(|error| after_shares(settings, &escrow.record, &wish.label, &error)))?;
    desk.count(&vault)?;
    Ok(escrow.record)
}

/// What has become of an escrow whose pages are given out already and that failed then: of its slot, or of the note that it was made.
fn after_shares(settings: &Settings, record: &Record, label: &str, error: &Failure) -> Failure {
    let name = record.name();
    let text = match slots(settings) {
        Ok(slots) if slots.iter().any(|slot| slot.escrow.as_ref() == Some(record)) => format!(
            "the vault was changed: escrow {name} opens it by its slot {label:?}, and the pages are good. What failed came after that: \
             {error}. Mend it, have every page checked (`bixi hsm escrow check`), or end the slot (`bixi hsm slots remove {label}`) and make \
             another escrow"
        ),
        Ok(_) => format!(
            "the vault is unchanged: {error}. The pages of escrow {name} are worthless: destroy them, mend the cause, and make another escrow"
        ),
        Err(unread) => format!(
            "{error}; and the vault could not be read again ({unread}), so nobody knows whether it has the slot {label:?} of escrow {name}. \
             Keep the pages, mend the cause, and look with `bixi hsm slots list`: if the slot is there, they are good"
        ),
    };
    text.into()
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
    /// No terminal, an empty line, or, where one is chosen, a short one, or two that differ.
    pub fn read(&self) -> Result<Secret, Failure> {
        let ask = |text: &str| PinSource::Prompt { text: text.to_owned() }.read();
        match self {
            Self::Known(text) => Ok(ask(text)?),
            Self::File(path) => Ok(PinSource::File(path.clone()).read()?),
            Self::New(text) => {
                let first = ask(text)?;
                expect_long(first.as_slice())?;
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
/// A short passphrase; when system or memory refuse.
pub fn seal(share: &Share, passphrase: &Secret) -> Result<Document, EscrowError> {
    expect_long(passphrase.as_slice()).map_err(|source| EscrowError::Sealed { index: share.id().index, source })?;
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

impl Checked {
    /// Whether the page is `officer`'s.
    ///
    /// # Errors
    /// Says whose it is.
    pub fn expect_of(&self, officer: &str) -> Result<(), Failure> {
        if self.officer == officer {
            return Ok(());
        }
        Err(format!(
            "this is the page of {} (share {}), and not that of {officer}: every officer brings his own",
            self.officer, self.index
        )
        .into())
    }
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

/// Ends a slot for the vault's new file. Copies of the old file still open with its key.
///
/// # Errors
/// No such slot, or the one that this node opens the vault with.
pub fn remove_slot(settings: &Settings, label: &str) -> Result<(), LaunchError> {
    let (desk, mut vault) = Desk::open_with_vault(settings)?;
    let subject = format!("slot {label:?} of the vault");
    step("vault", || desk.perform("remove slot", &subject, || Ok(vault.remove_slot(label)?)))?;
    desk.count(&vault)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use bixi_config::NodeConfig;
    use bixi_hsm::soft::SoftDevice;
    use bixi_hsm::{KeyDevice as _, KeyKind, KeySpec};
    use bixi_hsm_vault::Vault;
    use bixi_sealed::AtRest;
    use bixi_types::NodeId;
    use bixi_types::genesis::Genesis;

    use super::*;

    /// The trail's disk may fail after the vault's slot was written, and the vault's own before or after its rename.
    #[test]
    fn an_error_after_the_pages_were_given_out_says_whether_they_are_good() {
        let place = tempfile::tempdir().unwrap();
        std::fs::create_dir(place.path().join("data")).unwrap();
        let (config, genesis) = (NodeConfig::default(), Genesis::fixture(&[NodeId([1; 64])]));
        let settings = Settings { config, genesis, base: place.path().to_owned() };
        let device = SoftDevice::new("test");
        let kek = device.generate(&KeySpec::new("kek", KeyKind::Kek)).unwrap();
        let path = settings.data("vault");
        let mut vault = Vault::create(Arc::new(PreadStorage::new()), &path, AtRest::Sm4Gcm, &device, &kek).unwrap();
        let escrow = vault.plan_escrow(&device, &["a", "b"], 2).unwrap();
        let told = || after_shares(&settings, &escrow.record, "officers", &"disk full".into()).to_string();
        assert!(told().contains("vault is unchanged: disk full") && told().contains("worthless"), "{}", told());
        // Another escrow under that label is not this one.
        let other = vault.plan_escrow(&device, &["a", "b"], 2).unwrap();
        vault.add_escrow("officers", &other).unwrap();
        assert!(told().contains("worthless"), "{}", told());
        vault.remove_slot("officers").unwrap();
        vault.add_escrow("officers", &escrow).unwrap();
        assert!(told().contains("vault was changed") && told().contains("pages are good"), "{}", told());
        std::fs::write(&path, "damaged").unwrap();
        assert!(told().contains("nobody knows") && told().contains("Keep the pages"), "{}", told());
    }
}
