//! A node whose device is lost, brought back on another one: by its officers' shares, or by a standby that opens its vault.
//!
//! ```text
//! shares or standby ─▶ vault open ─▶ new device: signing keys, key encryption key ─▶ vault resealed under it ─▶ records ─▶ guard
//! ```
//!
//! Invariants:
//! - nothing is changed before the vault is open and authentic, and a vault that its device still opens is left alone;
//! - the old consensus key is never taken again: the node signs with a new one, which the chain has to admit;
//! - a key that is in the new device already is taken only if this recovery made it, or an officer names its fingerprint: of another, nobody
//!   knows who knows it, or what it has signed. A key encryption key is adopted only where this recovery found none before, was about to make
//!   one, and the device says that it was made inside it. A standby's stays: officers compared its fingerprint when it got its slot;
//! - the vault is sealed under keys that the device still has when it is opened anew;
//! - every step can be the last one before a crash: the next attempt goes on, without shares once the vault is resealed;
//! - the guard stays: it remembers what the lost key signed, and begins new lanes for the new one.

mod journal;
mod records;
#[cfg(test)]
mod tests;

use std::path::PathBuf;
use std::sync::Arc;

use bixi_hsm::audit::Outcome;
use bixi_hsm::{Cause, DeviceError, Guard, GuardError, KeyDevice, KeyKind, KeyRef, KeySpec};
use bixi_hsm_escrow::{EscrowKey, Record, Share};
use bixi_hsm_vault::{DeviceKek, SlotKind, Vault, VaultError};
use bixi_platform::credentials::PinSource;
use bixi_platform::io::Storage;
use bixi_types::abi::{self, Argument};
use bixi_types::{EvmHash, NodeId};
use serde_json::{Value, json};

use crate::chain::{self, KeyRecord, NodeDirectory};
use crate::keys::{Listed, open_device};
use crate::launch::{Failure, LaunchError, step};
use crate::lifecycle::adoption::Adopted;
use crate::lifecycle::desk::{Trail, storage_of_stopped};
use crate::lifecycle::{key_fingerprint, mark};
use crate::settings::Settings;
use journal::{Journal, Notes, check_of};

pub use journal::Opener;

/// The steps of a recovery, in their order, as [`recover`] announces them.
pub const STEPS: [&str; 7] = ["open", "device", "signing keys", "key encryption key", "seal", "records", "guard"];

/// The system contract that says who validates.
const CONSENSUS_CONTRACT: &str = "0x0000000000000000000000000000000000001003";

/// Asks officers for their shares of one of these escrows.
pub type Officers<'a> = &'a mut dyn FnMut(&[Record]) -> Result<Vec<Share>, Failure>;
/// Is told each step before it is taken; an error ends the recovery there.
pub type Announce<'a> = &'a mut dyn FnMut(&'static str) -> Result<(), Failure>;

/// A transaction that whoever governs the chain sends.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Transaction {
    /// What it does.
    pub purpose: &'static str,
    /// The method and its arguments.
    pub call: String,
    /// Call data, hexadecimal.
    pub data: String,
}

/// A node that was brought back.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Recovered {
    /// The consensus key of the lost device, where its record was there.
    pub lost: Option<NodeId>,
    /// The new consensus key.
    pub node: NodeId,
    /// What opened the vault.
    pub opener: Opener,
    /// The certificate of the lost TLS key, moved aside.
    pub old_certificate: Option<PathBuf>,
    /// What makes the new key a validator, and the old one nobody.
    pub transactions: Vec<Transaction>,
}

impl Recovered {
    /// As `--json` prints it.
    pub fn to_json(&self) -> Value {
        let transaction = |one: &Transaction| json!({"purpose": one.purpose, "to": CONSENSUS_CONTRACT, "call": one.call, "data": format!("0x{}", one.data)});
        let (officers, standby) = match &self.opener {
            Opener::Officers(names) => (names.as_slice(), None),
            Opener::Standby(label) => (&[][..], Some(label)),
        };
        json!({
            "lost": self.lost.map(|id| id.to_hex()),
            "node": self.node.to_hex(),
            "officers": officers,
            "standby": standby,
            "old_certificate": self.old_certificate,
            "transactions": self.transactions.iter().map(transaction).collect::<Vec<_>>(),
        })
    }
}

/// Brings the node back on the device that its file names: a token that was never initialised is, with the PINs in the node's
/// directory. A standby that opens the vault asks no officer. `adopt` has fingerprints of keys in it that are taken though no note says that this recovery made them.
///
/// # Errors
/// Names the step. What was done before stays, and another attempt goes on from there.
pub fn recover(
    settings: &Settings,
    adopt: &[String],
    officers: Officers<'_>,
    announce: Announce<'_>,
) -> Result<Recovered, LaunchError> {
    let storage = storage_of_stopped(settings)?;
    // The device is opened more than once, and some sources give the PIN once.
    let pin = step("PIN", || settings.pin().read().map(Arc::new))?;
    let open = || open_device(settings, PinSource::Handed(Arc::clone(&pin)));
    let present = step("key device", || match open() {
        Ok(device) => Ok(Some(device)),
        Err(error) => match error.downcast_ref::<DeviceError>().map(|error| error.cause) {
            Some(Cause::Absent) => Ok(None),
            _ => Err(error),
        },
    })?;
    let ready = || Ok(chain::initialise_lost(&NodeDirectory::new(&settings.base), &settings.config)?);
    let site = Site { settings, storage, ready: &ready, open: &open, adopted: Adopted(adopt) };
    step("recovery", || site.recover(present, officers, announce))
}

/// Where a recovery takes place.
struct Site<'a> {
    settings: &'a Settings,
    storage: Arc<dyn Storage>,
    /// Makes a device ready that is not.
    ready: &'a dyn Fn() -> Result<(), Failure>,
    /// Opens the device that is ready.
    open: &'a dyn Fn() -> Result<Arc<dyn KeyDevice>, Failure>,
    adopted: Adopted<'a>,
}

/// A vault that a device opens with its key encryption key.
struct OpenedHere<'d> {
    vault: Vault,
    device: &'d dyn KeyDevice,
    kek: KeyRef,
}

/// The keys of the new device.
struct Made {
    consensus: KeyRef,
    tls: KeyRef,
    kek: KeyRef,
    /// Public halves of the pairs.
    pairs: [[u8; 64]; 2],
}

impl Site<'_> {
    /// `present` is the new device, if it is ready.
    fn recover(
        &self,
        present: Option<Arc<dyn KeyDevice>>,
        officers: Officers<'_>,
        announce: Announce<'_>,
    ) -> Result<Recovered, Failure> {
        announce(STEPS[0])?;
        let (vault, mut journal) = match self.open_by_device(present.as_deref())? {
            Some(opened) => self.resume(opened)?,
            None => self.open_by_officers(officers)?,
        };
        let trail = Trail::open(self.settings, &self.storage, vault.key_ring())?;
        let by = format!("by {}", journal.notes.opener);
        let (node, old_certificate) = trail.perform("recover", &by, || {
            let made = self.remake(present, vault, &mut journal, &trail, announce)?;
            trail.tell("recover", format!("{by}: consensus key {}", made.0.to_hex()), Outcome::Answered)?;
            Ok(made)
        })?;
        let notes = journal.end()?;
        let lost = notes.lost.map(NodeId);
        let transactions = self.transactions(lost, node);
        Ok(Recovered { lost, node, opener: notes.opener, old_certificate, transactions })
    }

    /// Everything from the device on.
    fn remake(
        &self,
        present: Option<Arc<dyn KeyDevice>>,
        mut vault: Vault,
        journal: &mut Journal,
        trail: &Trail,
        announce: Announce<'_>,
    ) -> Result<(NodeId, Option<PathBuf>), Failure> {
        let hsm = &self.settings.config.hsm;
        announce(STEPS[1])?;
        let device = match present {
            Some(device) => device,
            None => (self.ready)().and_then(|()| (self.open)())?,
        };
        announce(STEPS[2])?;
        let pair = |role, label, journal: &mut _| self.make_pair(device.as_ref(), role, label, journal, trail);
        let (consensus, id) = pair("consensus", &hsm.consensus_key, journal)?;
        let (tls, tls_id) = pair("tls", &hsm.tls_key, journal)?;
        announce(STEPS[3])?;
        let kek = self.make_kek(device.as_ref(), journal, trail)?;
        announce(STEPS[4])?;
        let made = Made { consensus, tls, kek, pairs: [id, tls_id] };
        // The only handle: some libraries open one device at a time.
        drop(device);
        let device = self.open_anew(&made, journal)?;
        // A second time if the attempt before came so far: the same key, a fresh vault key and epoch. Who has the lost device, or used
        // shares and an old copy of the vault, reads nothing that is written from here on.
        journal.around_write(&mut vault, |vault| vault.reseal(device.as_ref(), &made.kek))?;
        announce(STEPS[5])?;
        let described = [("consensus", &made.consensus), ("tls", &made.tls), ("kek", &made.kek)];
        let keys = described.map(|(role, key)| chain::describe_key(device.as_ref(), role, key));
        let keys: Vec<KeyRecord> = keys.into_iter().collect::<Result<_, _>>()?;
        let old_certificate = records::replace(self.settings, device.as_ref(), keys, journal.notes.lost)?;
        announce(STEPS[6])?;
        // What it notes is the lost device's count.
        let guard = self.open_guard(&vault)?;
        guard.take_for_newest(device.as_ref(), vault.version())?;
        mark::count(&guard, device.as_ref(), &vault)?;
        Ok((NodeId(id), old_certificate))
    }

    /// The signing pair of that label, which this recovery makes, has made before, or an officer adopts; with its public half.
    fn make_pair(
        &self,
        device: &dyn KeyDevice,
        role: &str,
        label: &str,
        journal: &mut Journal,
        trail: &Trail,
    ) -> Result<(KeyRef, [u8; 64]), Failure> {
        let Some(found) = pair_labelled(device, label)? else {
            let made = device.generate(&KeySpec::new(label, KeyKind::Sm2Sign))?;
            let public = device.public_key(&made)?;
            journal.note_pair(public)?;
            return Ok((made, public));
        };
        let public = device.public_key(&found)?;
        if !journal.notes.pairs.contains(&public) {
            self.refuse_known(role, &found, public, journal.notes.lost)?;
            let fingerprint = key_fingerprint(&public);
            if !self.adopted.names(&fingerprint) {
                let text = format!(
                    "{found} (fingerprint {fingerprint}) is in the device already, and this recovery did not make it: nobody knows what it has \
                     signed, or who has it besides. If an officer made it for this node, as with the tool of an SDF device's vendor, or an \
                     attempt before this one did, and nothing has signed with it, say so: --adopt {fingerprint}. Else remove it there, or name \
                     another hsm.{role}_key in the node file"
                );
                return Err(text.into());
            }
            trail.tell(
                "recover",
                format!("{role} key {found} adopted, fingerprint {fingerprint}"),
                Outcome::Answered,
            )?;
            journal.note_pair(public)?;
        }
        Ok((found, public))
    }

    /// A key that this node or another validator has signed with is never one to begin anew with.
    fn refuse_known(&self, role: &str, key: &KeyRef, public: [u8; 64], lost: Option<[u8; 64]>) -> Result<(), Failure> {
        let id = NodeId(public);
        let validates = self.settings.genesis.validators.iter().any(|one| one.id == id);
        if validates || lost == Some(public) || records::is_known(self.settings, id)? {
            let text = format!(
                "{key} is a key that this chain or this node's record knows: what it has signed is not known here, and this recovery did not \
                 make it. Name another hsm.{role}_key in the node file"
            );
            return Err(text.into());
        }
        Ok(())
    }

    /// The device, opened anew, with the keys that were made: one that keeps them in a session only, or in its cache, does not have them then.
    fn open_anew(&self, made: &Made, journal: &Journal) -> Result<Arc<dyn KeyDevice>, Failure> {
        let device = (self.open)()?;
        let keeps = || -> Result<bool, DeviceError> {
            let pairs = [device.public_key(&made.consensus)?, device.public_key(&made.tls)?];
            Ok(pairs == made.pairs && journal.has_made(device.as_ref(), &made.kek)?)
        };
        match keeps() {
            Ok(true) => Ok(device),
            failed => {
                let why = failed
                    .err()
                    .map_or_else(|| "it has other keys under their names".to_owned(), |error| error.to_string());
                let text = format!(
                    "the new device was opened anew and does not have the keys that were made in it: {why}. The vault is as it was; find out \
                     why it does not keep them, and repeat this"
                );
                Err(text.into())
            }
        }
    }

    /// The vault, if the device that is there opens it.
    fn open_by_device<'d>(&self, present: Option<&'d dyn KeyDevice>) -> Result<Option<OpenedHere<'d>>, Failure> {
        let Some(device) = present else { return Ok(None) };
        let Ok(kek) = Listed::of(device)?.find(&self.settings.config.hsm.kek, KeyKind::Kek) else {
            return Ok(None);
        };
        match self.open_vault(&DeviceKek { device, key: &kek }) {
            Ok(vault) => Ok(Some(OpenedHere { vault, device, kek })),
            Err(VaultError::WrongKek { .. }) => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    fn open_vault(&self, kek: &dyn bixi_hsm_vault::Kek) -> Result<Vault, VaultError> {
        Vault::open(Arc::clone(&self.storage), self.settings.data("vault"), kek)
    }

    /// A vault that the device opens: a recovery that came so far, a standby that takes the lost one's place, or a node that has lost nothing.
    fn resume(&self, OpenedHere { vault, device, kek }: OpenedHere<'_>) -> Result<(Vault, Journal), Failure> {
        let path = self.journal();
        let slot = vault.slot_of(&DeviceKek { device, key: &kek })?;
        let standby =
            slot.filter(|slot| slot.kind == SlotKind::Standby).map(|slot| Opener::Standby(slot.label.clone()));
        if !Journal::exists(self.storage.as_ref(), &path)? {
            let Some(standby) = standby else {
                let text = "the key device opens the vault: nothing is lost, and nothing was changed. `bixi hsm escrow create` makes a new \
                            escrow after a recovery";
                return Err(text.into());
            };
            self.expect_no_pair_of_this_node(device)?;
            let (ring, version) = (vault.key_ring(), vault.version());
            let notes = Notes::new(records::lost(self.settings)?, standby, Some(check_of(device, &kek)?), version);
            return Ok((vault, Journal::begin(&self.storage, &path, ring, notes)?));
        }
        let mut journal = Journal::open(&self.storage, &path, vault.key_ring())?;
        if !journal.is_of(vault.version()) {
            let text = format!(
                "{}: of a recovery that is over, or of another copy of the vault; nothing is lost here: remove that file",
                path.display()
            );
            return Err(text.into());
        }
        if let Some(standby) = standby.filter(|standby| *standby != journal.notes.opener) {
            // Begun with officers' shares or on another device, and gone on with here.
            journal.notes.kek_check = Some(check_of(device, &kek)?);
            journal.note_opener(standby, vault.version())?;
        }
        Ok((vault, journal))
    }

    /// A device that has a signing key of this node is no standby that takes its place: told before anything is written.
    fn expect_no_pair_of_this_node(&self, device: &dyn KeyDevice) -> Result<(), Failure> {
        let (hsm, lost) = (&self.settings.config.hsm, records::lost(self.settings)?);
        for (role, label) in [("consensus", &hsm.consensus_key), ("tls", &hsm.tls_key)] {
            if let Some(found) = pair_labelled(device, label)? {
                self.refuse_known(role, &found, device.public_key(&found)?, lost)?;
            }
        }
        Ok(())
    }

    fn open_by_officers(&self, officers: Officers<'_>) -> Result<(Vault, Journal), Failure> {
        let path = self.settings.data("vault");
        let slots = bixi_hsm_vault::describe(self.storage.as_ref(), &path)?.slots;
        let records: Vec<Record> = slots.into_iter().filter_map(|slot| slot.escrow).collect();
        if records.is_empty() {
            return Err(VaultError::NoSlot {
                path,
                label: "of officers".to_owned(),
                slots: "of devices only".to_owned(),
            }
            .into());
        }
        let shares = officers(&records)?;
        let (record, key) = key_of(&records, &shares)?;
        let vault = self.open_vault(&key)?;
        let journal = self.journal();
        let names = shares.iter().filter_map(|share| record.officer(share.id().index)).map(str::to_owned).collect();
        let known = match Journal::exists(self.storage.as_ref(), &journal)? {
            true => Some(Journal::open(&self.storage, &journal, vault.key_ring())?),
            false => None,
        };
        let journal = match known.filter(|known| known.is_of(vault.version())) {
            Some(mut known) => {
                known.note_opener(Opener::Officers(names), vault.version())?;
                known
            }
            None => {
                let lost = records::lost(self.settings)?;
                let notes = Notes::new(lost, Opener::Officers(names), None, vault.version());
                Journal::begin(&self.storage, &journal, vault.key_ring(), notes)?
            }
        };
        Ok((vault, journal))
    }

    fn journal(&self) -> PathBuf {
        self.settings.data("recovery")
    }

    fn make_kek(&self, device: &dyn KeyDevice, journal: &mut Journal, trail: &Trail) -> Result<KeyRef, Failure> {
        let label = &self.settings.config.hsm.kek;
        let found = Listed::of(device)?.find(label, KeyKind::Kek);
        if let Ok(found) = found {
            if !journal.has_made(device, &found)? {
                self.adopted.expect_kek(device, &found, journal.notes.is_making_kek)?;
                trail.tell("recover", format!("key encryption key {found} adopted"), Outcome::Answered)?;
                journal.note_kek(device, &found)?;
            }
            return Ok(found);
        }
        journal.note_making_kek()?;
        let made = device.generate(&KeySpec::new(label, KeyKind::Kek))?;
        journal.note_kek(device, &made)?;
        Ok(made)
    }

    /// What the lost key signed is remembered, also for the day when its device is found again. A guard that is gone, too, is made:
    /// the new key was made by this recovery and has signed nothing.
    fn open_guard(&self, vault: &Vault) -> Result<Guard, Failure> {
        let (path, chain) = (self.settings.data("guard"), self.settings.genesis.hash());
        match Guard::open(Arc::clone(&self.storage), &path, vault.key_ring(), chain) {
            Err(GuardError::Missing { .. }) => {
                Ok(Guard::create(Arc::clone(&self.storage), &path, vault.key_ring(), chain)?)
            }
            opened => Ok(opened?),
        }
    }

    fn transactions(&self, lost: Option<NodeId>, node: NodeId) -> Vec<Transaction> {
        let validators = &self.settings.genesis.validators;
        let weight = validators.iter().find(|one| Some(one.id) == lost).map_or(1, |one| one.weight);
        let id = node.to_hex();
        let hash = self.settings.genesis.evm_hash;
        let transaction = |purpose, method, arguments: &[Argument<'_>]| transaction(hash, purpose, method, arguments);
        // The lost one goes before the new one validates: meanwhile nobody has to vote who may not be ready.
        let mut all = vec![transaction("the new key follows the chain", "addObserver(string)", &[Argument::Text(&id)])];
        if let Some(lost) = lost.map(|id| id.to_hex()) {
            all.push(transaction("the lost key is nobody any more", "remove(string)", &[Argument::Text(&lost)]));
        }
        all.push(transaction(
            "the new key validates, with the weight that genesis gave the old one",
            "addSealer(string,uint256)",
            &[Argument::Text(&id), Argument::Number(weight.into())],
        ));
        all
    }
}

/// The signing pair of that label, if the device has one.
fn pair_labelled(device: &dyn KeyDevice, label: &str) -> Result<Option<KeyRef>, DeviceError> {
    let found = device.list()?.into_iter().find(|key| key.label == label && key.kind == KeyKind::Sm2Sign);
    Ok(found.map(|key| key.uri))
}

fn transaction(hash: EvmHash, purpose: &'static str, method: &str, arguments: &[Argument<'_>]) -> Transaction {
    let words: Vec<String> = arguments
        .iter()
        .map(|argument| match argument {
            Argument::Text(text) => format!("{text:?}"),
            Argument::Number(number) => number.to_string(),
            Argument::Account(address) => format!("0x{}", hex::encode(address)),
        })
        .collect();
    let name = method.split('(').next().unwrap_or(method);
    let data = hex::encode(abi::call(hash, method, arguments));
    Transaction { purpose, call: format!("{name}({})", words.join(", ")), data }
}

/// The escrow that the first share names, and its key.
fn key_of<'a>(records: &'a [Record], shares: &[Share]) -> Result<(&'a Record, EscrowKey), Failure> {
    let named = |record: &&Record| shares.first().is_some_and(|share| share.id().escrow == record.id);
    let record = records.iter().find(named).unwrap_or(&records[0]);
    Ok((record, bixi_hsm_escrow::recover(record, shares)?))
}
