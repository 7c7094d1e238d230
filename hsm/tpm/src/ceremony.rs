//! Making a TPM ready for a store: the parent of its keys, a key that shows whether the PIN is right, a key that attests, and
//! a counter.

use std::path::PathBuf;
use std::time::Duration;

use bixi_hsm::{Cause, DeviceError, KeyKind, KeySpec};
use bixi_platform::secret::Secret;

use crate::code::{AUTH_FAIL, BAD_AUTH, ResponseCode};
use crate::command::{Command, CommandCode, Entity, Protection};
use crate::connection::{Connection, malformed};
use crate::line::Address;
use crate::public::{Algorithms, PUBLIC_BYTES_MAX, Public, Template, name_of};
use crate::session::{NULL_HANDLE, SaltKey};
use crate::store::{Store, StoreRecord};
use crate::wire::{Reader, Writer};
use crate::{counter, facts, key};

/// `TPM_RH_OWNER`.
pub(crate) const OWNER: u32 = 0x4000_0001;
/// Persistent handles that anybody may use for keys (registry of reserved handles).
const PARENT_FIRST: u32 = 0x8100_8000;
const PARENT_LAST: u32 = 0x8100_FFFF;
/// Longest authorization value a TPM takes for a key whose name is a SHA-256 hash.
pub(crate) const PIN_BYTES_MAX: usize = 32;

/// What a store is initialised with.
#[derive(Debug)]
pub struct Initialisation {
    /// The TPM.
    pub address: Address,
    /// Where wrapped keys will lie; made if need be, and without a store yet.
    pub directory: PathBuf,
    /// Name of the store, 1 to 128 bytes.
    pub label: String,
    /// PIN of the keys, 1 to 32 bytes.
    pub pin: Secret,
    /// Authorization of the TPM's owner; empty where nobody set one.
    pub owner_authorization: Secret,
    /// Make a counter too.
    pub counter: bool,
    /// Longest wait for the TPM, milliseconds. Making keys takes some seconds on slow ones.
    pub timeout_ms: u64,
}

/// What belongs into the ceremony's record. A name is algorithm ‖ hash of a key's public area.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ceremony {
    /// The parent's persistent handle.
    pub parent_handle: u32,
    /// The parent's name. `tpm2_readpublic -c <handle>` must tell the same, asked from a system that is trusted otherwise: it
    /// shows that nobody on the line put his own key in its place.
    pub parent: Vec<u8>,
    /// The attestation key's name: whoever checks evidence later needs it.
    pub attestation_key: Vec<u8>,
}

/// Initialises a store and returns what belongs into the ceremony's record.
///
/// # Errors
/// [`Cause::Unsupported`] for a TPM without SM2, [`Cause::KeyExists`] when there is a store already. What was made in the TPM
/// is taken away again.
pub fn initialise_store(request: &Initialisation) -> Result<Ceremony, DeviceError> {
    check(request)?;
    let owner = Owner { entity: Entity::permanent(OWNER), authorization: request.owner_authorization.as_slice() };
    let timeout = Duration::from_millis(request.timeout_ms);
    let connect = |salt_key| Connection::new(request.address.clone(), timeout, salt_key);
    let (parent_public, parent) = {
        let mut connection = connect(None);
        connection.begin()?;
        let algorithms = suitable(&mut connection)?;
        salt_ahead(&mut connection, algorithms)?;
        owner.make_parent(&mut connection, algorithms)?
    };
    let mut connection = connect(Some(parent.clone()));
    let made = connection.begin().and_then(|()| owner.furnish(&mut connection, request, &parent, parent_public));
    if made.is_err() {
        // The line may be gone with the failure; another one, then.
        drop(connection);
        owner.remove_parent(&mut connect(Some(parent.clone())), &parent.entity);
    }
    made
}

fn check(request: &Initialisation) -> Result<(), DeviceError> {
    KeySpec::new(request.label.clone(), KeyKind::Kek).check()?;
    check_pin(&request.pin)?;
    if Store::is_there(&request.directory) {
        let message = format!("there is a store in {}", request.directory.display());
        return Err(
            DeviceError::new("initialise", Cause::KeyExists, message).with_advice("use it, or name another directory")
        );
    }
    Ok(())
}

/// Refuses a PIN that no TPM takes, before it is tried.
pub(crate) fn check_pin(pin: &Secret) -> Result<(), DeviceError> {
    if (1..=PIN_BYTES_MAX).contains(&pin.len()) {
        return Ok(());
    }
    let message = format!("a TPM's PIN has 1 to {PIN_BYTES_MAX} bytes, this one {}", pin.len());
    Err(DeviceError::new("PIN", Cause::Setup, message).with_advice("correct the PIN's source"))
}

fn suitable(connection: &mut Connection) -> Result<Algorithms, DeviceError> {
    let facts = facts::read(connection)?;
    facts.lockout.refuse_when_locked()?;
    if !facts.sm2 {
        let message = format!("the TPM {} {} has no SM2", facts.manufacturer, facts.model);
        return Err(DeviceError::new(CommandCode::GetCapability.name(), Cause::Unsupported, message)
            .with_advice("choose one that lists curve TPM2_ECC_SM2_P256 and scheme TPM2_ALG_SM2"));
    }
    facts::algorithms(connection)
}

/// The first handle from `first` on that nothing has.
pub(crate) fn free_handle(connection: &mut Connection, first: u32, last: u32) -> Result<u32, DeviceError> {
    let taken = facts::handles(connection, first)?;
    (first..=last).find(|handle| !taken.contains(handle)).ok_or_else(|| {
        let message = format!("every handle from {first:#010x} to {last:#010x} is taken");
        DeviceError::new(CommandCode::GetCapability.name(), Cause::Rejected, message)
    })
}

/// Salts the sessions to come with a key of the null hierarchy, which nobody needs an authorization for: a listener cannot guess
/// the owner's offline then, nor make an answer up once the key is agreed. Who stands between already now can put his own
/// key here as well as later; that is what the parent's name in [`Ceremony`] is compared for.
fn salt_ahead(connection: &mut Connection, algorithms: Algorithms) -> Result<(), DeviceError> {
    let nobody = Owner { entity: Entity::permanent(NULL_HANDLE), authorization: &[] };
    let (_, key) = nobody.make_primary(connection, algorithms)?;
    connection.salt_with(key)
}

/// Whoever may make things in a hierarchy of the TPM's.
struct Owner<'a> {
    entity: Entity,
    authorization: &'a [u8],
}

impl Owner<'_> {
    fn run(&self, connection: &mut Connection, command: Command<'_>) -> Result<crate::command::Answer, DeviceError> {
        let command = Command { protection: Some(Protection::by(self.authorization)), ..command };
        connection.run(command).map_err(|error| match ResponseCode::of(&error).map(ResponseCode::base) {
            // A hierarchy's wrong authorization is not counted.
            Some(BAD_AUTH | AUTH_FAIL) => DeviceError { cause: Cause::WrongPin, ..error }
                .with_advice("give the authorization of the TPM's owner; it is not the keys' PIN"),
            _ => error,
        })
    }

    /// A storage key of the hierarchy, loaded.
    fn make_primary(
        &self,
        connection: &mut Connection,
        algorithms: Algorithms,
    ) -> Result<(Vec<u8>, SaltKey), DeviceError> {
        let code = CommandCode::CreatePrimary;
        let template = Template::storage(algorithms);
        let sensitive = Writer::new().sized(&[]).sized(&[]);
        let parameters = Writer::new().sized(sensitive.as_slice()).sized(&template.area()).sized(&[]).u32(0);
        let command = Command::bare(code, vec![self.entity.clone()], parameters).returning_handle();
        let answer = self.run(connection, command)?;
        let public = Reader::new(&answer.parameters).sized(PUBLIC_BYTES_MAX, "public area").map(<[u8]>::to_vec);
        let public = public.map_err(malformed(code))?;
        let primary = Entity { handle: answer.handle.expect("asked for"), name: name_of(&public) };
        connection.adopt(primary.clone());
        let point =
            Public::decode(&public).map_err(malformed(code))?.storage_point().filter(|_| template.made(&public));
        let point = point.ok_or_else(|| {
            DeviceError::new(code.name(), Cause::BadAnswer, "the TPM made another key than it was asked for")
        })?;
        Ok((public, SaltKey { entity: primary, point }))
    }

    /// The parent, at a persistent handle.
    fn make_parent(
        &self,
        connection: &mut Connection,
        algorithms: Algorithms,
    ) -> Result<(Vec<u8>, SaltKey), DeviceError> {
        let (public, SaltKey { entity: primary, point }) = self.make_primary(connection, algorithms)?;
        let handle = free_handle(connection, PARENT_FIRST, PARENT_LAST)?;
        let parent = SaltKey { entity: Entity { handle, ..primary.clone() }, point };
        match self.evict(connection, primary, handle) {
            Ok(()) => Ok((public, parent)),
            Err(error) => {
                // What the TPM refused it did not do.
                if error.code.is_none() {
                    self.remove_unsure(connection, &parent);
                }
                Err(error)
            }
        }
    }

    /// Takes a parent away of which it is not known whether it was made persistent: the answer was lost or spoiled. Another
    /// key at its handle is nobody's business of ours.
    fn remove_unsure(&self, connection: &mut Connection, parent: &SaltKey) {
        connection.give_up();
        let found = connection.begin().and_then(|()| connection.name_at(parent.entity.handle));
        if found.is_ok_and(|name| name == parent.entity.name) && connection.salt_with(parent.clone()).is_ok() {
            self.remove_parent(connection, &parent.entity);
        }
    }

    /// Makes an object persistent, or a persistent one not.
    fn evict(&self, connection: &mut Connection, object: Entity, handle: u32) -> Result<(), DeviceError> {
        let handles = vec![self.entity.clone(), object];
        self.run(connection, Command::bare(CommandCode::EvictControl, handles, Writer::new().u32(handle))).map(drop)
    }

    fn remove_parent(&self, connection: &mut Connection, parent: &Entity) {
        let removed = connection.begin().and_then(|()| self.evict(connection, parent.clone(), parent.handle));
        if let Err(error) = removed {
            tracing::warn!(%error, handle = parent.handle, "a key of a store that was not finished stays in the TPM");
        }
    }

    /// Everything below the parent, and the store's record.
    fn furnish(
        &self,
        connection: &mut Connection,
        request: &Initialisation,
        parent: &SaltKey,
        parent_public: Vec<u8>,
    ) -> Result<Ceremony, DeviceError> {
        let pin = request.pin.as_slice();
        let login = key::create(connection, &Template::hmac(), pin)?;
        let attestation = key::create(connection, &Template::attestation(), &[])?;
        let counter = match request.counter {
            true => Some(counter::define(connection, &self.entity, self.authorization, pin)?),
            false => None,
        };
        let ceremony = Ceremony {
            parent_handle: parent.entity.handle,
            parent: parent.entity.name.clone(),
            attestation_key: name_of(&attestation.public),
        };
        let record = StoreRecord {
            label: request.label.clone(),
            parent_handle: parent.entity.handle,
            parent_public,
            login,
            attestation,
            counter,
        };
        let created = Store::create(&request.directory, record);
        if let (Err(_), Some(index)) = (&created, counter) {
            let _ = counter::undefine(connection, &self.entity, self.authorization, index, true);
        }
        created.map(|_| ceremony)
    }
}
