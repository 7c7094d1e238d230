use std::cell::RefCell;
use std::fs;

use bixi_config::NodeConfig;
use bixi_hsm::guard::Note;
use bixi_hsm::soft::SoftDevice;
use bixi_hsm_escrow::Document;
use bixi_platform::io::PreadStorage;
use bixi_sealed::{AtRest, Purpose, small};
use bixi_types::genesis::Genesis;

use super::*;

const OFFICERS: [&str; 5] = ["Li Wei", "Wang Fang", "Zhang Min", "Chen Jing", "Zhao Lei"];

/// A node that was sealed on a device of its own, with an escrow of three of five.
struct Stage {
    _place: tempfile::TempDir,
    settings: Settings,
    storage: Arc<dyn Storage>,
    lost: Arc<dyn KeyDevice>,
    pages: Vec<String>,
}

fn made(device: &dyn KeyDevice, role: &str, kind: KeyKind) -> KeyRecord {
    let key = device.generate(&KeySpec::new(role, kind)).unwrap();
    chain::describe_key(device, role, &key).unwrap()
}

fn keys_of(device: &dyn KeyDevice) -> Vec<KeyRecord> {
    let wanted = [("consensus", KeyKind::Sm2Sign), ("tls", KeyKind::Sm2Sign), ("kek", KeyKind::Kek)];
    wanted.map(|(role, kind)| made(device, role, kind)).into()
}

impl Stage {
    fn new() -> Self {
        let place = tempfile::tempdir().unwrap();
        for name in ["conf", "data"] {
            fs::create_dir(place.path().join(name)).unwrap();
        }
        let storage: Arc<dyn Storage> = Arc::new(PreadStorage::new());
        let lost: Arc<dyn KeyDevice> = Arc::new(SoftDevice::new("lost").with_counter());
        let keys = keys_of(lost.as_ref());
        let kek: KeyRef = keys[2].uri.parse().unwrap();
        let node = keys[0].id().unwrap();
        let settings = Settings {
            config: NodeConfig::default(),
            genesis: Genesis::fixture(&[node]),
            base: place.path().to_owned(),
        };
        records::replace(&settings, lost.as_ref(), keys, None).unwrap();
        let path = settings.data("vault");
        let mut vault = Vault::create(Arc::clone(&storage), path, AtRest::Sm4Gcm, lost.as_ref(), &kek).unwrap();
        let escrow = vault.plan_escrow(lost.as_ref(), &OFFICERS, 3).unwrap();
        vault.add_escrow("officers", &escrow).unwrap();
        let pages = escrow.shares.iter().map(|share| share.page("x").to_string()).collect();
        let ring = vault.key_ring();
        let (guard, chain) = (settings.data("guard"), settings.genesis.hash());
        let noted = lost.counter().unwrap().map(|count| Note::begin(count, vault.version()));
        Guard::create_noted(Arc::clone(&storage), guard, ring.clone(), chain, noted).unwrap();
        small::write_atomic(storage.as_ref(), &settings.data("ledger"), &ring, Purpose::Small, b"blocks").unwrap();
        Self { _place: place, settings, storage, lost, pages }
    }

    fn shares(&self, members: &[usize]) -> Vec<Share> {
        let read = |place: &usize| match Document::parse(&self.pages[*place]).unwrap() {
            Document::Open(share) => share,
            Document::Sealed(_) => panic!("an open page"),
        };
        members.iter().map(read).collect()
    }

    /// An attempt on `device`, which may not be ready yet; ends before the step `until`.
    fn attempt(
        &self,
        device: &RefCell<Option<Arc<dyn KeyDevice>>>,
        members: &[usize],
        until: Option<&str>,
    ) -> Result<Recovered, Failure> {
        self.adopt(device, members, until, &[])
    }

    fn adopt(
        &self,
        device: &RefCell<Option<Arc<dyn KeyDevice>>>,
        members: &[usize],
        until: Option<&str>,
        adopt: &[String],
    ) -> Result<Recovered, Failure> {
        let ready = || {
            *device.borrow_mut() = Some(Arc::new(SoftDevice::new("new").with_counter()));
            Ok(())
        };
        let open = || Ok(Arc::clone(device.borrow().as_ref().unwrap()));
        let present = device.borrow().clone();
        let mut announce = |step| if Some(step) == until { Err(format!("ended before {step}").into()) } else { Ok(()) };
        self.site(&ready, &open, adopt).recover(present, &mut |_| Ok(self.shares(members)), &mut announce)
    }

    fn site<'a>(
        &'a self,
        ready: &'a dyn Fn() -> Result<(), Failure>,
        open: &'a dyn Fn() -> Result<Arc<dyn KeyDevice>, Failure>,
        adopt: &'a [String],
    ) -> Site<'a> {
        let storage = Arc::clone(&self.storage);
        Site { settings: &self.settings, storage, ready, open, adopted: Adopted(adopt) }
    }

    fn record(&self) -> Value {
        serde_json::from_slice(&fs::read(self.settings.base.join("conf/keys.json")).unwrap()).unwrap()
    }

    /// What the node needs is there, under the new device alone.
    fn check(&self, device: &RefCell<Option<Arc<dyn KeyDevice>>>, recovered: &Recovered) {
        let device = device.borrow().clone().unwrap();
        let kek = Listed::of(device.as_ref()).unwrap().find("kek", KeyKind::Kek).unwrap();
        let open = |device: &dyn KeyDevice, key: &KeyRef| {
            Vault::open(Arc::clone(&self.storage), self.settings.data("vault"), &DeviceKek { device, key })
        };
        let vault = open(device.as_ref(), &kek).unwrap();
        assert_eq!(vault.slots().len(), 1, "old slots end");
        // What the guard notes is the new device's count, which stands above what any copy noted that was taken meanwhile.
        let (path, chain) = (self.settings.data("guard"), self.settings.genesis.hash());
        let guard = Guard::look(self.storage.as_ref(), &path, &vault.key_ring(), chain).unwrap();
        let count = device.counter().unwrap();
        assert_eq!(guard.doubt(count, vault.version()), None);
        assert!(!guard.is_uncounted(vault.version()) && guard.note.is_some() == count.is_some());
        let ledger =
            small::read(self.storage.as_ref(), &self.settings.data("ledger"), &vault.key_ring(), Purpose::Small);
        assert_eq!(&ledger.unwrap()[..], b"blocks");
        let old = Listed::of(self.lost.as_ref()).unwrap().find("kek", KeyKind::Kek).unwrap();
        assert!(matches!(open(self.lost.as_ref(), &old), Err(VaultError::WrongKek { .. })));

        let consensus =
            Listed::of(device.as_ref()).unwrap().find(&self.settings.config.hsm.consensus_key, KeyKind::Sm2Sign);
        let consensus = consensus.unwrap();
        assert_eq!(device.public_key(&consensus).unwrap(), recovered.node.0);
        assert_eq!(self.record()["keys"][0]["public_key"], recovered.node.to_hex());
        let lost = recovered.lost.unwrap();
        assert_ne!(lost, recovered.node);
        let aside = format!("conf/keys-{}.json", &lost.to_hex()[..16]);
        assert!(fs::read_to_string(self.settings.base.join(aside)).unwrap().contains(&lost.to_hex()));
        let former = self.record()["former"].clone();
        let roles: Vec<&str> = former.as_array().unwrap().iter().filter_map(|key| key["role"].as_str()).collect();
        assert_eq!((roles, &former[0]["public_key"]), (vec!["consensus", "tls"], &lost.to_hex().into()));
        assert!(!self.settings.data("recovery").exists());
        let mut told = Vec::new();
        let trail = self.settings.data("audit");
        bixi_hsm::audit::verify_chain(self.storage.as_ref(), &trail, &vault.key_ring(), |entry| {
            told.push(format!("{entry:?}"))
        })
        .unwrap();
        assert!(told.iter().any(|one| one.contains("recover") && one.contains(&recovered.node.to_hex())), "{told:?}");
    }
}

#[test]
fn a_lost_device_is_replaced_and_everything_opens_again() {
    let stage = Stage::new();
    let device = RefCell::new(None);
    let recovered = stage.attempt(&device, &[0, 2, 4], None).unwrap();
    stage.check(&device, &recovered);
    assert_eq!(recovered.opener.to_string(), "shares of Li Wei, Zhang Min, Zhao Lei");
    let calls: Vec<&str> = recovered.transactions.iter().map(|one| one.call.split('(').next().unwrap()).collect();
    assert_eq!(calls, ["addObserver", "remove", "addSealer"]);
    // The contracts of a chain know the functions by the hash that they see.
    let selector = bixi_types::abi::selector(stage.settings.genesis.evm_hash, "remove(string)");
    assert!(recovered.transactions[1].data.starts_with(&hex::encode(selector)));
    let again = stage.attempt(&device, &[0, 2, 4], None).unwrap_err().to_string();
    assert!(again.contains("nothing is lost"), "{again}");
}

#[test]
fn a_recovery_that_ended_before_any_step_goes_on() {
    for step in STEPS {
        let stage = Stage::new();
        let device = RefCell::new(None);
        let ended = stage.attempt(&device, &[0, 1, 2], Some(step)).unwrap_err().to_string();
        assert_eq!(ended, format!("ended before {step}"));
        // Nobody is asked twice for what the vault knows: sealed under the new device, it opens without them.
        let is_sealed = ["records", "guard"].contains(&step);
        let members: &[usize] = if is_sealed { &[] } else { &[2, 3, 4] };
        let recovered = stage.attempt(&device, members, None).unwrap_or_else(|error| panic!("{step}: {error}"));
        stage.check(&device, &recovered);
    }
}

#[test]
fn too_few_shares_change_nothing() {
    let stage = Stage::new();
    let before = fs::read(stage.settings.data("vault")).unwrap();
    let device = RefCell::new(None);
    let refused = stage.attempt(&device, &[1, 3], None).unwrap_err().to_string();
    assert!(refused.contains("1 more needed"), "{refused}");
    assert!(device.borrow().is_none(), "no device was made ready");
    assert_eq!(fs::read(stage.settings.data("vault")).unwrap(), before);
    assert!(!stage.settings.data("recovery").exists() && !stage.settings.data("audit").exists());
}

#[test]
fn a_device_that_is_not_lost_is_left_alone() {
    let stage = Stage::new();
    let device = RefCell::new(Some(Arc::clone(&stage.lost)));
    let refused = stage.attempt(&device, &[0, 1, 2], None).unwrap_err().to_string();
    assert!(refused.contains("nothing is lost"), "{refused}");
}

/// A second device whose key encryption key has a slot, and no other key.
fn standby_of(stage: &Stage) -> Arc<dyn KeyDevice> {
    let device: Arc<dyn KeyDevice> = Arc::new(SoftDevice::new("standby"));
    let key = device.generate(&KeySpec::new("kek", KeyKind::Kek)).unwrap();
    let own = Listed::of(stage.lost.as_ref()).unwrap().find("kek", KeyKind::Kek).unwrap();
    let own = DeviceKek { device: stage.lost.as_ref(), key: &own };
    let mut vault = Vault::open(Arc::clone(&stage.storage), stage.settings.data("vault"), &own).unwrap();
    let opener = DeviceKek { device: device.as_ref(), key: &key };
    vault.add_slot(SlotKind::Standby, "standby", &opener, &key).unwrap();
    device
}

#[test]
fn a_standby_takes_the_lost_devices_place_without_officers() {
    let stage = Stage::new();
    let device = RefCell::new(Some(standby_of(&stage)));
    let recovered = stage.attempt(&device, &[], None).unwrap();
    stage.check(&device, &recovered);
    assert_eq!(recovered.opener, Opener::Standby("standby".into()));
    assert_eq!(recovered.to_json()["standby"], "standby");
    let again = stage.attempt(&device, &[], None).unwrap_err().to_string();
    assert!(again.contains("nothing is lost"), "{again}");
}

#[test]
fn a_standby_goes_on_where_any_attempt_ended() {
    for step in STEPS {
        for begun_by_officers in [false, true] {
            let stage = Stage::new();
            let standby = RefCell::new(Some(standby_of(&stage)));
            let other = RefCell::new(None);
            let (first, members) = if begun_by_officers { (&other, &[0, 1, 2][..]) } else { (&standby, &[][..]) };
            stage.attempt(first, members, Some(step)).unwrap_err();
            // Sealed under the other device, no standby opens it.
            let rest = if begun_by_officers && ["records", "guard"].contains(&step) { first } else { &standby };
            let recovered = stage.attempt(rest, &[], None).unwrap_or_else(|error| panic!("{step}: {error}"));
            stage.check(rest, &recovered);
        }
    }
}

/// Whoever has the disk and the standby may bring back the node, and not make a validator that signs as it did.
#[test]
fn a_standby_with_this_nodes_signing_key_changes_nothing() {
    let stage = Stage::new();
    let device = standby_of(&stage);
    let key = device.generate(&KeySpec::new("tls", KeyKind::Sm2Sign)).unwrap();
    let device = RefCell::new(Some(device));
    let public = device.borrow().as_ref().unwrap().public_key(&key).unwrap();
    // A pair that nobody vouches for, and one that the node's record names.
    let refused = stage.attempt(&device, &[], None).unwrap_err().to_string();
    assert!(refused.contains(&format!("--adopt {}", key_fingerprint(&public))), "{refused}");
    fs::remove_file(stage.settings.data("recovery")).unwrap();
    let path = stage.settings.base.join("conf/keys.json");
    let record = fs::read_to_string(&path).unwrap();
    let known = record.replace(stage.record()["keys"][1]["public_key"].as_str().unwrap(), &NodeId(public).to_hex());
    fs::write(&path, known).unwrap();
    let refused = stage.attempt(&device, &[], None).unwrap_err().to_string();
    assert!(refused.contains("is a key that this chain or this node's record knows"), "{refused}");
    assert!(!stage.settings.data("recovery").exists());
}

/// Whoever prepared the new device could know the key that he left there.
#[test]
fn a_key_encryption_key_that_is_there_already_is_refused() {
    let stage = Stage::new();
    let planted: Arc<dyn KeyDevice> = Arc::new(SoftDevice::new("new"));
    planted.generate(&KeySpec::new("kek", KeyKind::Kek)).unwrap();
    let device = RefCell::new(Some(planted));
    let refused = stage.attempt(&device, &[0, 1, 2], None).unwrap_err().to_string();
    assert!(refused.contains("this ceremony did not make it"), "{refused}");
}

/// The old consensus key may have signed what this disk does not know.
#[test]
fn the_old_consensus_key_is_not_taken_again() {
    let stage = Stage::new();
    let mut settings = stage.settings.clone();
    settings.config.hsm.kek = "another".into();
    let open = || Ok(Arc::clone(&stage.lost));
    // Not even if somebody names it.
    let old = Listed::of(stage.lost.as_ref()).unwrap().find("consensus", KeyKind::Sm2Sign).unwrap();
    let adopt = [key_fingerprint(&stage.lost.public_key(&old).unwrap())];
    let site = Site { settings: &settings, ..stage.site(&|| panic!("it is ready"), &open, &adopt) };
    let present = Some(Arc::clone(&stage.lost));
    let refused =
        site.recover(present, &mut |_| Ok(stage.shares(&[0, 1, 2])), &mut |_| Ok(())).unwrap_err().to_string();
    assert!(refused.contains("consensus") && refused.contains("this recovery did not make it"), "{refused}");
}

/// Whoever prepared the new device could have the key that he left there, and a vendor's copy could hold one that has signed.
#[test]
fn a_signing_pair_that_is_there_already_is_refused() {
    for label in ["consensus", "tls"] {
        let stage = Stage::new();
        let planted: Arc<dyn KeyDevice> = Arc::new(SoftDevice::new("new"));
        planted.generate(&KeySpec::new(label, KeyKind::Sm2Sign)).unwrap();
        let device = RefCell::new(Some(planted));
        let refused = stage.attempt(&device, &[0, 1, 2], None).unwrap_err().to_string();
        assert!(refused.contains(label) && refused.contains("this recovery did not make it"), "{refused}");
    }
}

/// With the notes of a recovery nobody is asked for shares: they are worth nothing once the vault was written by anybody else.
#[test]
fn notes_that_are_put_back_later_open_nothing() {
    let stage = Stage::new();
    let device = RefCell::new(None);
    stage.attempt(&device, &[0, 1, 2], Some("guard")).unwrap_err();
    let notes = stage.settings.data("recovery");
    let kept = fs::read(&notes).unwrap();
    stage.attempt(&device, &[], None).unwrap();
    let new = Arc::clone(device.borrow().as_ref().unwrap());
    let kek = Listed::of(new.as_ref()).unwrap().find("kek", KeyKind::Kek).unwrap();
    let kek = DeviceKek { device: new.as_ref(), key: &kek };
    let mut vault = Vault::open(Arc::clone(&stage.storage), stage.settings.data("vault"), &kek).unwrap();
    let escrow = vault.plan_escrow(new.as_ref(), &OFFICERS, 3).unwrap();
    vault.add_escrow("again", &escrow).unwrap();
    fs::write(&notes, kept).unwrap();
    let refused = stage.attempt(&device, &[], None).unwrap_err().to_string();
    assert!(refused.contains("of a recovery that is over"), "{refused}");
    let vault = Vault::open(Arc::clone(&stage.storage), stage.settings.data("vault"), &kek).unwrap();
    assert_eq!(vault.slots().len(), 2, "the new escrow is there");
}

/// A session object, or what a library only remembers, opens the vault until the process ends.
#[test]
fn nothing_is_sealed_under_keys_that_the_device_does_not_keep() {
    let stage = Stage::new();
    let before = fs::read(stage.settings.data("vault")).unwrap();
    let made = |number: u64| -> Arc<dyn KeyDevice> { Arc::new(SoftDevice::seeded("new", number)) };
    let opened = RefCell::new(0);
    let open = || {
        *opened.borrow_mut() += 1;
        Ok(made(*opened.borrow()))
    };
    let site = stage.site(&|| panic!("it is ready"), &open, &[]);
    let refused = site.recover(Some(made(0)), &mut |_| Ok(stage.shares(&[0, 1, 2])), &mut |_| Ok(()));
    let refused = refused.unwrap_err().to_string();
    assert!(refused.contains("opened anew and does not have the keys"), "{refused}");
    assert_eq!((fs::read(stage.settings.data("vault")).unwrap(), *opened.borrow()), (before, 1));
}

/// As on an SDF device without a call that makes pairs: an officer makes them with the vendor's tool and names them in keys.toml.
#[test]
fn pairs_that_an_officer_made_are_taken_by_their_fingerprints() {
    let stage = Stage::new();
    let device: Arc<dyn KeyDevice> = Arc::new(SoftDevice::new("new"));
    let fingerprints = ["consensus", "tls"].map(|label| {
        let key = device.generate(&KeySpec::new(label, KeyKind::Sm2Sign)).unwrap();
        key_fingerprint(&device.public_key(&key).unwrap())
    });
    let device = RefCell::new(Some(device));
    let refused = stage.adopt(&device, &[0, 1, 2], None, &fingerprints[1..]).unwrap_err().to_string();
    assert!(refused.contains(&format!("--adopt {}", fingerprints[0])), "{refused}");
    let recovered = stage.adopt(&device, &[0, 1, 2], None, &fingerprints).unwrap();
    stage.check(&device, &recovered);
}

/// A crash between the device's answer and the note of it, the one place that a recovery cannot close.
#[test]
fn a_key_encryption_key_that_was_not_noted_is_taken_by_its_fingerprint() {
    let stage = Stage::new();
    let device = RefCell::new(None);
    stage.attempt(&device, &[0, 1, 2], Some("seal")).unwrap_err();
    let lost_note = |is_making_kek| {
        let key = {
            let shares = stage.shares(&[0, 1, 2]);
            let slots = bixi_hsm_vault::describe(stage.storage.as_ref(), stage.settings.data("vault")).unwrap().slots;
            bixi_hsm_escrow::recover(slots[1].escrow.as_ref().unwrap(), &shares).unwrap()
        };
        let vault = Vault::open(Arc::clone(&stage.storage), stage.settings.data("vault"), &key).unwrap();
        let mut journal = Journal::open(&stage.storage, &stage.settings.data("recovery"), vault.key_ring()).unwrap();
        (journal.notes.kek_check, journal.notes.is_making_kek) = (None, is_making_kek);
        journal.note_opener(Opener::Officers(Vec::new()), vault.version()).unwrap();
    };
    let new = Arc::clone(device.borrow().as_ref().unwrap());
    let kek = Listed::of(new.as_ref()).unwrap().find("kek", KeyKind::Kek).unwrap();
    let fingerprint = bixi_hsm::device::kek_fingerprint(new.as_ref(), &kek).unwrap();
    lost_note(false);
    let refused = stage.adopt(&device, &[0, 1, 2], None, std::slice::from_ref(&fingerprint)).unwrap_err().to_string();
    assert!(refused.contains("did not make it") && !refused.contains("--adopt"), "{refused}");
    lost_note(true);
    let refused = stage.attempt(&device, &[0, 1, 2], None).unwrap_err().to_string();
    assert!(refused.contains(&format!("--adopt {fingerprint}")), "{refused}");
    let recovered = stage.adopt(&device, &[0, 1, 2], None, &[fingerprint]).unwrap();
    stage.check(&device, &recovered);
}
