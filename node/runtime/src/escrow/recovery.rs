//! A node whose device is lost, brought back on another one by its officers' shares.
//!
//! ```text
//! shares ─▶ vault open ─▶ new device: signing keys, key encryption key ─▶ vault resealed under it ─▶ records ─▶ guard
//! ```
//!
//! Invariants:
//! - nothing is changed before the vault is open and authentic, and a vault that its device still opens is left alone;
//! - the old consensus key is never taken again: the node signs with a new one, which the chain has to admit;
//! - a key encryption key that is in the new device already is taken only if this recovery made it: of another, nobody knows who knows it;
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
use bixi_hsm_vault::{DeviceKek, Vault, VaultError};
use bixi_platform::io::Storage;
use bixi_types::NodeId;
use bixi_types::abi::{self, Argument};
use serde_json::{Value, json};

use crate::chain::{self, KeyRecord, NodeDirectory};
use crate::keys::{Listed, open_device};
use crate::launch::{Failure, LaunchError, step};
use crate::lifecycle::desk::{Trail, storage_of_stopped};
use crate::settings::Settings;
use journal::Journal;

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
    /// Whose shares opened the vault.
    pub officers: Vec<String>,
    /// The certificate of the lost TLS key, moved aside.
    pub old_certificate: Option<PathBuf>,
    /// What makes the new key a validator, and the old one nobody.
    pub transactions: Vec<Transaction>,
}

impl Recovered {
    /// As `--json` prints it.
    pub fn to_json(&self) -> Value {
        let transaction = |one: &Transaction| json!({"purpose": one.purpose, "to": CONSENSUS_CONTRACT, "call": one.call, "data": format!("0x{}", one.data)});
        json!({
            "lost": self.lost.map(|id| id.to_hex()),
            "node": self.node.to_hex(),
            "officers": self.officers,
            "old_certificate": self.old_certificate,
            "transactions": self.transactions.iter().map(transaction).collect::<Vec<_>>(),
        })
    }
}

/// Brings the node back on the device that its file names: a token that was never initialised is, with the PINs in the node's
/// directory.
///
/// # Errors
/// Names the step. What was done before stays, and another attempt goes on from there.
pub fn recover(settings: &Settings, officers: Officers<'_>, announce: Announce<'_>) -> Result<Recovered, LaunchError> {
    let storage = storage_of_stopped(settings)?;
    let present = step("key device", || match open_device(settings, settings.pin()) {
        Ok(device) => Ok(Some(device)),
        Err(error) => match error.downcast_ref::<DeviceError>().map(|error| error.cause) {
            Some(Cause::Absent) => Ok(None),
            _ => Err(error),
        },
    })?;
    let ready = || {
        chain::initialise_lost(&NodeDirectory::new(&settings.base), &settings.config)?;
        open_device(settings, settings.pin())
    };
    let site = Site { settings, storage, present, ready: &ready };
    step("recovery", || site.recover(officers, announce))
}

/// The signing pair of that label, which this recovery makes or has made before.
fn make_pair(device: &dyn KeyDevice, role: &str, label: &str, journal: &mut Journal) -> Result<KeyRecord, Failure> {
    let found = device.list()?.into_iter().find(|key| key.label == label && key.kind == KeyKind::Sm2Sign);
    let key = match found {
        Some(key) if journal.notes.pairs.contains(&device.public_key(&key.uri)?) => key.uri,
        Some(key) => {
            let text = format!(
                "{} is in the device already, and this recovery did not make it: nobody knows what it has signed, or who has it besides. \
                 Remove it there if an attempt before this one made it, or name another hsm.{role}_key in the node file",
                key.uri
            );
            return Err(text.into());
        }
        None => {
            let made = device.generate(&KeySpec::new(label, KeyKind::Sm2Sign))?;
            journal.note_pair(device.public_key(&made)?)?;
            made
        }
    };
    Ok(chain::describe_key(device, role, &key)?)
}

/// Where a recovery takes place.
struct Site<'a> {
    settings: &'a Settings,
    storage: Arc<dyn Storage>,
    /// The new device, if it is ready.
    present: Option<Arc<dyn KeyDevice>>,
    /// Makes it ready.
    ready: &'a dyn Fn() -> Result<Arc<dyn KeyDevice>, Failure>,
}

impl Site<'_> {
    fn recover(&self, officers: Officers<'_>, announce: Announce<'_>) -> Result<Recovered, Failure> {
        announce(STEPS[0])?;
        let (vault, mut journal) = match self.open_by_device()? {
            Some(vault) => self.resume(vault)?,
            None => self.open_by_officers(officers)?,
        };
        let trail = Trail::open(self.settings, &self.storage, vault.key_ring())?;
        let by = format!("by shares of {}", journal.notes.officers.join(", "));
        let (node, old_certificate) = trail.perform("recover", &by, || {
            let made = self.remake(vault, &mut journal, announce)?;
            trail.tell("recover", format!("{by}: consensus key {}", made.0.to_hex()), Outcome::Answered)?;
            Ok(made)
        })?;
        let notes = journal.end()?;
        let lost = notes.lost.map(NodeId);
        let transactions = self.transactions(lost, node);
        Ok(Recovered { lost, node, officers: notes.officers, old_certificate, transactions })
    }

    /// Everything from the device on.
    fn remake(
        &self,
        mut vault: Vault,
        journal: &mut Journal,
        announce: Announce<'_>,
    ) -> Result<(NodeId, Option<PathBuf>), Failure> {
        let hsm = &self.settings.config.hsm;
        announce(STEPS[1])?;
        let device = self.present.clone().map_or_else(|| (self.ready)(), Ok)?;
        announce(STEPS[2])?;
        let consensus = make_pair(device.as_ref(), "consensus", &hsm.consensus_key, journal)?;
        let tls = make_pair(device.as_ref(), "tls", &hsm.tls_key, journal)?;
        let node = records::node_id(&consensus)?;
        announce(STEPS[3])?;
        let kek = self.make_kek(device.as_ref(), journal)?;
        announce(STEPS[4])?;
        // A second time if the attempt before came so far: the same key, a fresh vault key.
        journal.around_write(&mut vault, |vault| vault.reseal(device.as_ref(), &kek))?;
        // Who has the lost device, or used shares and an old copy of the vault, reads nothing that is written from here on.
        journal.around_write(&mut vault, |vault| vault.add_epoch(device.as_ref()))?;
        announce(STEPS[5])?;
        let kek = chain::describe_key(device.as_ref(), "kek", &kek)?;
        let keys = vec![consensus, tls, kek];
        let old_certificate = records::replace(self.settings, device.as_ref(), keys, journal.notes.lost)?;
        announce(STEPS[6])?;
        self.open_guard(&vault)?;
        Ok((node, old_certificate))
    }

    /// The vault, if the device that is there opens it.
    fn open_by_device(&self) -> Result<Option<Vault>, Failure> {
        let Some(device) = &self.present else { return Ok(None) };
        let Ok(key) = Listed::of(device.as_ref())?.find(&self.settings.config.hsm.kek, KeyKind::Kek) else {
            return Ok(None);
        };
        match self.open(&DeviceKek { device: device.as_ref(), key: &key }) {
            Ok(vault) => Ok(Some(vault)),
            Err(VaultError::WrongKek { .. }) => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    fn open(&self, kek: &dyn bixi_hsm_vault::Kek) -> Result<Vault, VaultError> {
        Vault::open(Arc::clone(&self.storage), self.settings.data("vault"), kek)
    }

    /// A vault that its device opens: a recovery that came so far, or a node that has lost nothing.
    fn resume(&self, vault: Vault) -> Result<(Vault, Journal), Failure> {
        let path = self.journal();
        if !Journal::exists(self.storage.as_ref(), &path)? {
            let text = "the key device opens the vault: nothing is lost, and nothing was changed. `bixi hsm escrow create` makes a new \
                        escrow after a recovery";
            return Err(text.into());
        }
        let journal = Journal::open(&self.storage, &path, vault.key_ring())?;
        if !journal.is_of(vault.version()) {
            let text = format!(
                "{}: of a recovery that is over, or of another copy of the vault; nothing is lost here: remove that file",
                path.display()
            );
            return Err(text.into());
        }
        Ok((vault, journal))
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
        let vault = self.open(&key)?;
        let journal = self.journal();
        let names = shares.iter().filter_map(|share| record.officer(share.id().index)).map(str::to_owned).collect();
        let known = match Journal::exists(self.storage.as_ref(), &journal)? {
            true => Some(Journal::open(&self.storage, &journal, vault.key_ring())?),
            false => None,
        };
        let journal = match known.filter(|known| known.is_of(vault.version())) {
            Some(mut known) => {
                known.note_officers(names, vault.version())?;
                known
            }
            None => {
                let lost = records::lost(self.settings)?;
                Journal::begin(&self.storage, &journal, vault.key_ring(), lost, names, vault.version())?
            }
        };
        Ok((vault, journal))
    }

    fn journal(&self) -> PathBuf {
        self.settings.data("recovery")
    }

    fn make_kek(&self, device: &dyn KeyDevice, journal: &mut Journal) -> Result<KeyRef, Failure> {
        let label = &self.settings.config.hsm.kek;
        if let Ok(found) = Listed::of(device)?.find(label, KeyKind::Kek) {
            if journal.has_made(device, &found)? {
                return Ok(found);
            }
            return Err(chain::foreign_kek(&found).into());
        }
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

fn transaction(purpose: &'static str, method: &str, arguments: &[Argument<'_>]) -> Transaction {
    let words: Vec<String> = arguments
        .iter()
        .map(|argument| match argument {
            Argument::Text(text) => format!("{text:?}"),
            Argument::Number(number) => number.to_string(),
            Argument::Account(address) => format!("0x{}", hex::encode(address)),
        })
        .collect();
    let name = method.split('(').next().unwrap_or(method);
    let data = hex::encode(abi::call(method, arguments));
    Transaction { purpose, call: format!("{name}({})", words.join(", ")), data }
}

/// The escrow that the first share names, and its key.
fn key_of<'a>(records: &'a [Record], shares: &[Share]) -> Result<(&'a Record, EscrowKey), Failure> {
    let named = |record: &&Record| shares.first().is_some_and(|share| share.id().escrow == record.id);
    let record = records.iter().find(named).unwrap_or(&records[0]);
    Ok((record, bixi_hsm_escrow::recover(record, shares)?))
}
