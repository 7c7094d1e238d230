//! New keys in the place of old ones. The node file is the operator's: what to write into it is told, never written.
//!
//! | key | first step | the operator | last step |
//! |---|---|---|---|
//! | kek | new key, new slot of the vault: both keys open it | names the new key | [`finish_kek`]: the vault sealed anew, for the new key alone |
//! | tls | new key, a request for a certificate | has it certified, names both | [`finish`]: the record names it |
//! | consensus | new key, calls of the consensus contract | sends them, names the new key | [`finish`]: the record names it |
//!
//! The last step of each has `conf/keys.json` name the keys that the node file names, and keep the pairs before them as `former`: a recovery
//! tells by it which key was lost, and a check of the trail which keys were this node's.
//!
//! A crash at any place leaves a node that starts: at most a key that nothing uses, which `bixi hsm list` shows. Each step can be taken
//! again; a first step taken again makes another key, because of one that is there nobody knows who made it.

use std::path::Path;

use bixi_accel::sm2::{self, PublicKey};
use bixi_hsm::{KeyKind, KeySpec};
use bixi_hsm_vault::{DeviceKek, SlotInfo, SlotKind};
use bixi_network::pki::{self, PkiError};
use bixi_types::abi::{Argument, call};
use bixi_types::{EvmHash, NodeId};
use serde_json::{Value, json};

use super::desk::Desk;
use super::generation::{self, Made};
use super::write_new;
use crate::chain::{self, KeyRecord, NodeDirectory, NodeKeys};
use crate::doctor::custody::named;
use crate::launch::{Failure, LaunchError, step};
use crate::settings::Settings;

/// The contract that keeps the chain's members.
const CONSENSUS_CONTRACT: &str = "0x0000000000000000000000000000000000001003";
/// Keys of one label's line that are looked for.
const GENERATIONS_MAX: u32 = 1_000;

/// A key that was made, and what is left to do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rotated {
    label: String,
    uri: String,
    public_key: Option<[u8; 64]>,
    /// By what people compare it, of a key encryption key, too.
    fingerprint: String,
    /// The line of the node file that names it.
    line: String,
    calls: Vec<Call>,
    /// What to do, in order.
    todo: Vec<String>,
}

/// A call of the consensus contract.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Call {
    method: &'static str,
    data: Vec<u8>,
}

/// Makes a new key encryption key and lets it open the vault beside the present one.
///
/// # Errors
/// Names the step: a running node, a PIN that is refused, a vault that cannot be written.
pub fn begin_kek(settings: &Settings) -> Result<Rotated, LaunchError> {
    let (desk, mut vault) = Desk::open_with_vault(settings)?;
    let rotated = step("rotate", || {
        let made = successor(&desk, &settings.config.hsm.kek, KeyKind::Kek)?;
        let key = &made.attestation.key;
        let label = key.label.clone();
        let subject =
            format!("the vault opens with the key encryption key {label:?}, fingerprint {}, too", made.fingerprint);
        desk.perform("rotate-kek", &subject, || {
            let opener = DeviceKek { device: desk.device.as_ref(), key: &key.uri };
            Ok(vault.add_slot(SlotKind::Primary, &label, &opener, &key.uri)?)
        })?;
        let todo = vec![
            format!("set in [hsm] of the node file: kek = {label:?}"),
            "run `bixi hsm rotate kek --finish`: until then the old key opens the vault, too".to_owned(),
        ];
        Ok::<_, Failure>(Rotated::new("kek", made, todo))
    })?;
    desk.count(&vault)?;
    Ok(rotated)
}

/// What the last step of a rotation found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finished {
    /// The key that opens the vault.
    pub kek: String,
    /// Slots whose keys open it no more: nothing when it was finished before.
    pub ended: Vec<SlotInfo>,
}

impl Finished {
    /// Name and text of each finding.
    #[must_use]
    pub fn rows(&self) -> Vec<(&'static str, String)> {
        let ended =
            self.ended.iter().map(|slot| ("ended", format!("{} slot {:?}, {}", slot.kind, slot.label, slot.kek)));
        std::iter::once(("opens with", self.kek.clone())).chain(ended).collect()
    }

    /// One object with everything.
    #[must_use]
    pub fn to_json(&self) -> Value {
        let slot =
            |slot: &SlotInfo| json!({"kind": slot.kind.to_string(), "label": slot.label, "kek": slot.kek.to_string()});
        json!({"kek": self.kek, "ended": self.ended.iter().map(slot).collect::<Vec<_>>()})
    }
}

/// Seals the vault anew for the key that the node file names. Slots of other devices, and of newer keys of this one, end with it only when
/// `drop_slots` says so.
///
/// # Errors
/// Names the step: a key that the vault does not know, slots that would end, a vault that cannot be written.
pub fn finish_kek(settings: &Settings, drop_slots: bool) -> Result<Finished, LaunchError> {
    let (desk, mut vault) = Desk::open_with_vault(settings)?;
    let finished = step("rotate", || {
        let kek = desk.listed.find(&settings.config.hsm.kek, KeyKind::Kek)?;
        let slots = vault.slots();
        // Slots stand in the order in which they were added.
        let newest = slots.iter().rfind(|slot| slot.kind == SlotKind::Primary);
        if let Some(newest) = newest.filter(|slot| slot.kek != kek && !drop_slots) {
            return Err(format!(
                "the node file names {:?} and the newest key that opens the vault is {:?}: set hsm.kek to that first; to end it instead, say so \
                 with --drop-slots",
                settings.config.hsm.kek, newest.label
            )
            .into());
        }
        let ended: Vec<SlotInfo> = slots.into_iter().filter(|slot| slot.kek != kek).collect();
        let others: Vec<&str> =
            ended.iter().filter(|slot| slot.kind != SlotKind::Primary).map(|slot| slot.label.as_str()).collect();
        if !others.is_empty() && !drop_slots {
            return Err(format!(
                "the slots {} end when the vault is sealed anew, and their holders have to add them again: say so with --drop-slots",
                others.join(", ")
            )
            .into());
        }
        if !ended.is_empty() {
            let subject = format!("the vault sealed anew for {kek} alone, {} slots ended", ended.len());
            desk.perform("rotate-kek", &subject, || {
                // Who has the old key and an old copy of the vault reads nothing that is written from here on.
                vault.reseal(desk.device.as_ref(), &kek)?;
                Ok(())
            })?;
        }
        // Repeated where it fails: sealed is sealed, and the record is written then.
        write_record(settings, &desk)?;
        Ok::<_, Failure>(Finished { kek: kek.to_string(), ended })
    })?;
    desk.count(&vault)?;
    Ok(finished)
}

/// What `conf/keys.json` says since the last step of a rotation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Recorded {
    /// Whether it said anything else before.
    pub is_new: bool,
    /// The node's id: its consensus key.
    pub node: String,
    /// Pairs whose place others have taken, oldest first: role and public half.
    pub former: Vec<(String, String)>,
}

/// Has the record of the node's keys name those that the node file names; pairs before them stay in it as former ones.
///
/// # Errors
/// Names the step: a running node, a key that the device does not hold, or that was replaced before; a record that cannot be written.
pub fn finish(settings: &Settings) -> Result<Recorded, LaunchError> {
    let desk = Desk::open(settings)?;
    step("rotate", || {
        let (record, is_new) = write_record(settings, &desk)?.ok_or("there is no conf/keys.json to be written anew")?;
        let former = record.former.iter().map(|key| (key.role.clone(), key.public_key.clone().unwrap_or_default()));
        Ok::<_, Failure>(Recorded { is_new, node: record.node_id()?.to_hex(), former: former.collect() })
    })
}

/// The record, and whether it said something else before; none where a node has no record.
fn write_record(settings: &Settings, desk: &Desk) -> Result<Option<(NodeKeys, bool)>, Failure> {
    let node = NodeDirectory::new(&settings.base);
    if !node.keys().exists() {
        return Ok(None);
    }
    let before = NodeKeys::read(&node)?;
    let device = desk.device.as_ref();
    let keys = named(&settings.config.hsm).map(|named| {
        let key = desk.listed.find(named.label, named.kind)?;
        Ok::<_, Failure>(chain::describe_key(device, named.role_name, &key)?)
    });
    let keys: Vec<KeyRecord> = keys.into_iter().collect::<Result<_, _>>()?;
    if let Some(old) =
        keys.iter().find(|key| key.id().is_some() && before.former.iter().any(|one| one.id() == key.id()))
    {
        return Err(format!("the node file names {}, which another key has taken the place of before", old.uri).into());
    }
    let now = NodeKeys::of(device, keys.clone(), before.tpm.clone())?;
    let now = NodeKeys { former: before.clone().former_beside(&keys), ..now };
    let is_new = now != before;
    if is_new {
        let subject = format!(
            "conf/keys.json names {}, {} keys are former ones",
            settings.config.hsm.consensus_key,
            now.former.len()
        );
        desk.perform("rotate-record", &subject, || {
            Ok(chain::replace_file(&node.keys(), format!("{:#}\n", now.to_json()).as_bytes())?)
        })?;
    }
    Ok(Some((now, is_new)))
}

/// Makes a new TLS key and writes a request for its certificate (PKCS#10, PEM) to a new file.
///
/// # Errors
/// Names the step: a running node, a PIN that is refused, a file that is there.
pub fn tls(settings: &Settings, request: &Path) -> Result<Rotated, LaunchError> {
    let desk = Desk::open(settings)?;
    step("rotate", || {
        if request.exists() {
            return Err(Failure::from(format!("{} is there already; name another file", request.display())));
        }
        // Before a key is made that nothing would ask a certificate for.
        let directory =
            request.parent().filter(|directory| !directory.as_os_str().is_empty()).unwrap_or(Path::new("."));
        if !directory.is_dir() {
            return Err(Failure::from(format!("there is no directory {}", directory.display())));
        }
        let made = successor(&desk, &settings.config.hsm.tls_key, KeyKind::Sm2Sign)?;
        let (label, uri) = (made.attestation.key.label.clone(), made.attestation.key.uri.clone());
        let key = made.attestation.public_key.ok_or("the device tells no public half of the new key")?;
        let subject = format!("certificate request of the TLS key {label:?}");
        let text = desk.perform("rotate-tls", &subject, || {
            let public = PublicKey::from_bytes(&key)?;
            let z = sm2::identity_digest(sm2::DEFAULT_ID, &public);
            Ok(pki::request(settings.genesis.suite, &format!("CN={}", settings.config.name), &key, |info| {
                let signed = desk.device.sign_digest(&uri, &sm2::message_digest(&z, info));
                signed.map_err(|error| PkiError::Signer(error.to_string()))
            })?)
        })?;
        write_new(request, 0o644, text.as_bytes())?;
        let todo = vec![
            format!("have the authority certify {}", request.display()),
            format!("set in [hsm] of the node file: tls_key = {label:?}"),
            "put the new certificate where p2p.certificate says, and start the node; then have the old one revoked"
                .to_owned(),
            "when the node is stopped next, run `bixi hsm rotate tls --finish`: conf/keys.json names the new key then"
                .to_owned(),
        ];
        Ok(Rotated::new("tls_key", made, todo))
    })
}

/// Makes a new consensus key and the calls that put it in the place of the old one on the chain.
///
/// # Errors
/// Names the step: a running node, a PIN that is refused.
pub fn consensus(settings: &Settings) -> Result<Rotated, LaunchError> {
    let desk = Desk::open(settings)?;
    step("rotate", || {
        let old = desk.listed.find(&settings.config.hsm.consensus_key, KeyKind::Sm2Sign)?;
        let old = NodeId(desk.device.public_key(&old)?);
        let weight = settings.genesis.validators.iter().find(|one| one.id == old).map_or(1, |one| one.weight);
        let old = old.to_hex();
        let made = successor(&desk, &settings.config.hsm.consensus_key, KeyKind::Sm2Sign)?;
        let label = made.attestation.key.label.clone();
        let new = NodeId(made.attestation.public_key.ok_or("the device tells no public half of the new key")?).to_hex();
        let calls = replacing(settings.genesis.evm_hash, &old, &new, weight.into());
        let todo = vec![
            "start the node with its old key, and send the first call: the new key becomes an observer of the group"
                .to_owned(),
            "send the second call: the old key is a member no more; the others go on without this node".to_owned(),
            format!(
                "stop the node, set in [hsm] of the node file: consensus_key = {label:?}, and start it: it follows"
            ),
            format!(
                "when it has caught up, send the third call through any node: it votes again. Its weight there is {weight}, as in genesis; \
                 where the chain has given the validator another (getSealerList), make the call anew with that"
            ),
            "where others let in by list, name the new id in their p2p.allow".to_owned(),
            "when the node is stopped next, run `bixi hsm rotate consensus --finish`: conf/keys.json names the new key then, as a recovery \
             needs it"
                .to_owned(),
        ];
        Ok::<_, Failure>(Rotated { calls, ..Rotated::new("consensus_key", made, todo) })
    })
}

/// Never two members of one operator that vote at a time, and never one that is counted and cannot vote.
fn replacing(hash: EvmHash, old: &str, new: &str, weight: u128) -> Vec<Call> {
    let of = |method, arguments: &[Argument<'_>]| Call { method, data: call(hash, method, arguments) };
    vec![
        of("addObserver(string)", &[Argument::Text(new)]),
        of("remove(string)", &[Argument::Text(old)]),
        of("addSealer(string,uint256)", &[Argument::Text(new), Argument::Number(weight)]),
    ]
}

/// Makes the next key of a line: `kek`, `kek-2`, `kek-3`.
fn successor(desk: &Desk, label: &str, kind: KeyKind) -> Result<Made, Failure> {
    let line = line_of(label);
    let mut labels = (2..GENERATIONS_MAX).map(|number| format!("{line}-{number}"));
    let free =
        labels.find(|label| desk.listed.labelled(label).is_none()).ok_or("the device has no label left for it")?;
    generation::make(desk, &KeySpec::new(free, kind))
}

/// `kek` of `kek-2`.
fn line_of(label: &str) -> &str {
    match label.rsplit_once('-') {
        Some((line, number)) if !line.is_empty() && number.parse::<u32>().is_ok() => line,
        _ => label,
    }
}

impl Rotated {
    fn new(setting: &str, made: Made, todo: Vec<String>) -> Self {
        let Made { attestation, fingerprint } = made;
        let (key, public_key) = (attestation.key, attestation.public_key);
        let line = format!("{setting} = {:?}", key.label);
        Self { label: key.label, uri: key.uri.to_string(), public_key, fingerprint, line, calls: Vec::new(), todo }
    }

    /// Name and text of what was made and of what is left to do.
    #[must_use]
    pub fn rows(&self) -> Vec<(String, String)> {
        let mut rows = vec![("key".to_owned(), self.uri.clone())];
        if let Some(key) = &self.public_key {
            rows.push(("public key".to_owned(), NodeId(*key).to_hex()));
        }
        rows.push(("fingerprint".to_owned(), self.fingerprint.clone()));
        let calls = self.calls.iter().enumerate().map(|(place, call)| {
            let data = hex::encode(&call.data);
            (format!("call {}", place + 1), format!("{} at {CONSENSUS_CONTRACT}, data 0x{data}", call.method))
        });
        rows.extend(calls);
        rows.extend(self.todo.iter().enumerate().map(|(place, text)| (format!("{}.", place + 1), text.clone())));
        rows
    }

    /// One object with everything.
    #[must_use]
    pub fn to_json(&self) -> Value {
        let call = |call: &Call| json!({"to": CONSENSUS_CONTRACT, "method": call.method, "data": format!("0x{}", hex::encode(&call.data))});
        json!({
            "label": self.label,
            "uri": self.uri,
            "public_key": self.public_key.map(|key| NodeId(key).to_hex()),
            "fingerprint": self.fingerprint,
            "node_file": self.line,
            "calls": self.calls.iter().map(call).collect::<Vec<_>>(),
            "todo": self.todo,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_of_keys_is_numbered() {
        for (label, line) in
            [("kek", "kek"), ("kek-2", "kek"), ("a-b", "a-b"), ("a-b-10", "a-b"), ("-2", "-2"), ("x-", "x-")]
        {
            assert_eq!(line_of(label), line);
        }
    }

    #[test]
    fn a_member_is_replaced_by_the_selectors_of_its_contract() {
        for hash in [EvmHash::Sm3, EvmHash::Keccak256] {
            let selector = hash.hash(&[b"remove(string)"]);
            assert_eq!(replacing(hash, "aa", "bb", 5)[1].data[..4], selector.0[..4]);
        }
        let calls = replacing(EvmHash::Sm3, "aa", "bb", 5);
        let methods: Vec<&str> = calls.iter().map(|call| call.method).collect();
        assert_eq!(methods, ["addObserver(string)", "remove(string)", "addSealer(string,uint256)"]);
        let names = |call: &Call, id: &str| call.data.windows(id.len()).any(|window| window == id.as_bytes());
        assert!(names(&calls[0], "bb") && names(&calls[1], "aa") && names(&calls[2], "bb"));
    }
}
