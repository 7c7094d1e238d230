//! The initialised module: its slots, sessions and logins, as safe functions the C shell calls.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use cryptoki_sys::*;

use crate::config::Config;
use crate::error::{CkError, CkResult, refuse};
use crate::object::Object;
use crate::object::create::imported;
use crate::object::template::Template;
use crate::operation::{generate, wrap};
use crate::session::{Mechanism, Session};
use crate::store::Role;
use crate::token::{Asker, Token};

/// Longest PIN, bytes.
pub(crate) const PIN_BYTES_MAX: usize = 255;

/// Between `C_Initialize` and `C_Finalize`.
pub(crate) struct Module {
    pub(crate) config: Config,
    tokens: Vec<Token>,
    sessions: Mutex<Sessions>,
}

#[derive(Default)]
struct Sessions {
    last: CK_SESSION_HANDLE,
    open: BTreeMap<CK_SESSION_HANDLE, Open>,
}

#[derive(Clone)]
struct Open {
    slot: CK_SLOT_ID,
    read_write: bool,
    session: Arc<Mutex<Session>>,
}

/// Counts of open sessions in one slot.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct SessionCounts {
    pub(crate) all: u64,
    pub(crate) read_write: u64,
}

impl Sessions {
    fn counts(&self, slot: CK_SLOT_ID) -> SessionCounts {
        let here = self.open.values().filter(|open| open.slot == slot);
        here.fold(SessionCounts::default(), |counts, open| SessionCounts {
            all: counts.all + 1,
            read_write: counts.read_write + u64::from(open.read_write),
        })
    }
}

impl Module {
    pub(crate) fn new(config: Config) -> Self {
        let tokens = (0..u64::from(config.slots)).map(|slot| Token::new(&config, slot)).collect();
        Self { config, tokens, sessions: Mutex::new(Sessions::default()) }
    }

    fn sessions(&self) -> MutexGuard<'_, Sessions> {
        self.sessions.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Slot numbers; those with an initialised token when `present` — every slot has its token in place.
    pub(crate) fn slots(&self) -> Vec<CK_SLOT_ID> {
        (0..self.tokens.len() as u64).collect()
    }

    pub(crate) fn token(&self, slot: CK_SLOT_ID) -> CkResult<&Token> {
        usize::try_from(slot).ok().and_then(|index| self.tokens.get(index)).ok_or(CkError(CKR_SLOT_ID_INVALID))
    }

    pub(crate) fn session_counts(&self, slot: CK_SLOT_ID) -> SessionCounts {
        self.sessions().counts(slot)
    }

    /// `C_InitToken`.
    pub(crate) fn init_token(&self, slot: CK_SLOT_ID, pin: &[u8], label: [u8; 32]) -> CkResult<()> {
        let token = self.token(slot)?;
        self.check_new_pin(pin)?;
        // Logins first, sessions second, as everywhere.
        let logins = token.serialise_logins();
        let sessions = self.sessions();
        if sessions.counts(slot).all > 0 {
            return refuse(CKR_SESSION_EXISTS);
        }
        token.initialise(&logins, pin, label)
    }

    fn check_new_pin(&self, pin: &[u8]) -> CkResult<()> {
        match (self.config.pin_bytes_min as usize..=PIN_BYTES_MAX).contains(&pin.len()) {
            true => Ok(()),
            false => refuse(CKR_PIN_LEN_RANGE),
        }
    }

    /// `C_OpenSession`.
    pub(crate) fn open_session(&self, slot: CK_SLOT_ID, flags: CK_FLAGS) -> CkResult<CK_SESSION_HANDLE> {
        let token = self.token(slot)?;
        if flags & CKF_SERIAL_SESSION == 0 {
            return refuse(CKR_SESSION_PARALLEL_NOT_SUPPORTED);
        }
        if token.header()?.is_none() {
            return refuse(CKR_TOKEN_NOT_RECOGNIZED);
        }
        let read_write = flags & CKF_RW_SESSION != 0;
        let mut sessions = self.sessions();
        if !read_write && token.role() == Some(Role::Officer) {
            return refuse(CKR_SESSION_READ_WRITE_SO_EXISTS);
        }
        if sessions.counts(slot).all >= u64::from(self.config.sessions_max) {
            return refuse(CKR_SESSION_COUNT);
        }
        sessions.last += 1;
        let handle = sessions.last;
        let session = Arc::new(Mutex::new(Session::new(slot, Asker { session: handle, read_write })));
        sessions.open.insert(handle, Open { slot, read_write, session });
        Ok(handle)
    }

    /// `C_CloseSession`.
    pub(crate) fn close_session(&self, handle: CK_SESSION_HANDLE) -> CkResult<()> {
        let mut sessions = self.sessions();
        let closed = sessions.open.remove(&handle).ok_or(CkError(CKR_SESSION_HANDLE_INVALID))?;
        let token = self.token(closed.slot)?;
        token.drop_session(handle);
        if sessions.counts(closed.slot).all == 0 {
            token.drop_login();
        }
        Ok(())
    }

    /// `C_CloseAllSessions`.
    pub(crate) fn close_all_sessions(&self, slot: CK_SLOT_ID) -> CkResult<()> {
        let token = self.token(slot)?;
        let mut sessions = self.sessions();
        let (closed, kept) = std::mem::take(&mut sessions.open).into_iter().partition(|(_, open)| open.slot == slot);
        sessions.open = kept;
        let closed: BTreeMap<CK_SESSION_HANDLE, Open> = closed;
        closed.keys().for_each(|handle| token.drop_session(*handle));
        token.drop_login();
        Ok(())
    }

    fn open(&self, handle: CK_SESSION_HANDLE) -> CkResult<Open> {
        self.sessions().open.get(&handle).cloned().ok_or(CkError(CKR_SESSION_HANDLE_INVALID))
    }

    /// Run `work` with the session locked: one call at a time in a session.
    pub(crate) fn with_session<T>(
        &self,
        handle: CK_SESSION_HANDLE,
        work: impl FnOnce(&mut Session) -> CkResult<T>,
    ) -> CkResult<T> {
        let open = self.open(handle)?;
        let mut session = open.session.lock().unwrap_or_else(PoisonError::into_inner);
        work(&mut session)
    }

    fn place(&self, handle: CK_SESSION_HANDLE) -> CkResult<(Asker, &Token, CK_SLOT_ID)> {
        let open = self.open(handle)?;
        let asker = Asker { session: handle, read_write: open.read_write };
        Ok((asker, self.token(open.slot)?, open.slot))
    }

    /// `C_GetSessionInfo`: slot, state, flags.
    pub(crate) fn session_info(&self, handle: CK_SESSION_HANDLE) -> CkResult<CK_SESSION_INFO> {
        let (asker, token, slot) = self.place(handle)?;
        let state = match (token.role(), asker.read_write) {
            (None, false) => CKS_RO_PUBLIC_SESSION,
            (None, true) => CKS_RW_PUBLIC_SESSION,
            (Some(Role::User), false) => CKS_RO_USER_FUNCTIONS,
            (Some(Role::User), true) => CKS_RW_USER_FUNCTIONS,
            (Some(Role::Officer), _) => CKS_RW_SO_FUNCTIONS,
        };
        let flags = CKF_SERIAL_SESSION | if asker.read_write { CKF_RW_SESSION } else { 0 };
        Ok(CK_SESSION_INFO { slotID: slot, state, flags, ulDeviceError: 0 })
    }

    /// `C_Login`.
    pub(crate) fn login(&self, handle: CK_SESSION_HANDLE, user: CK_USER_TYPE, pin: &[u8]) -> CkResult<()> {
        let (_, token, slot) = self.place(handle)?;
        let role = match user {
            CKU_SO => Role::Officer,
            CKU_USER => Role::User,
            CKU_CONTEXT_SPECIFIC => return refuse(CKR_OPERATION_NOT_INITIALIZED),
            _ => return refuse(CKR_USER_TYPE_INVALID),
        };
        // No PIN was ever that long or that short: this is a caller's mistake, and costs no attempt.
        if !(1..=PIN_BYTES_MAX).contains(&pin.len()) {
            return refuse(CKR_PIN_INCORRECT);
        }
        // Before an attempt is spent, and again after it.
        self.admit(handle, slot, role, || {})?;
        let logins = token.serialise_logins();
        let unlocked = token.unlock(&logins, role, pin)?;
        self.admit(handle, slot, role, || token.enter(&logins, role, unlocked))?;
        token.check_login(&logins)
    }

    /// The PIN took its time: whether the login may stand is decided by the sessions that are open now. A session that was
    /// closed meanwhile leaves no login behind, for nobody would end it.
    fn admit(&self, handle: CK_SESSION_HANDLE, slot: CK_SLOT_ID, role: Role, enter: impl FnOnce()) -> CkResult<()> {
        let sessions = self.sessions();
        if !sessions.open.contains_key(&handle) {
            return refuse(CKR_SESSION_CLOSED);
        }
        let counts = sessions.counts(slot);
        if role == Role::Officer && counts.all > counts.read_write {
            return refuse(CKR_SESSION_READ_ONLY_EXISTS);
        }
        enter();
        Ok(())
    }

    /// `C_Logout`.
    pub(crate) fn logout(&self, handle: CK_SESSION_HANDLE) -> CkResult<()> {
        let (_, token, slot) = self.place(handle)?;
        token.logout()?;
        // Cloned first: a session at work is waited for without the table being locked.
        let here: Vec<Open> = self.sessions().open.values().filter(|open| open.slot == slot).cloned().collect();
        for open in here {
            open.session.lock().unwrap_or_else(PoisonError::into_inner).end_operations();
        }
        Ok(())
    }

    /// `C_InitPIN`.
    pub(crate) fn init_pin(&self, handle: CK_SESSION_HANDLE, pin: &[u8]) -> CkResult<()> {
        let (_, token, _) = self.place(handle)?;
        self.check_new_pin(pin)?;
        token.init_pin(pin)
    }

    /// `C_SetPIN`.
    pub(crate) fn set_pin(&self, handle: CK_SESSION_HANDLE, old: &[u8], new: &[u8]) -> CkResult<()> {
        let (asker, token, _) = self.place(handle)?;
        if !asker.read_write {
            return refuse(CKR_SESSION_READ_ONLY);
        }
        self.check_new_pin(new)?;
        token.set_pin(old, new)
    }

    /// `C_CreateObject`.
    pub(crate) fn create_object(
        &self,
        handle: CK_SESSION_HANDLE,
        template: &Template<'_>,
    ) -> CkResult<CK_OBJECT_HANDLE> {
        let object = imported(&self.config, template)?;
        self.add(handle, vec![object]).map(|handles| handles[0])
    }

    /// `C_GenerateKey`.
    pub(crate) fn generate_key(
        &self,
        handle: CK_SESSION_HANDLE,
        number: CK_MECHANISM_TYPE,
        template: &Template<'_>,
    ) -> CkResult<CK_OBJECT_HANDLE> {
        let object = generate::key(&self.config, number, template)?;
        self.add(handle, vec![object]).map(|handles| handles[0])
    }

    /// `C_GenerateKeyPair`: public key, private key.
    pub(crate) fn generate_key_pair(
        &self,
        handle: CK_SESSION_HANDLE,
        number: CK_MECHANISM_TYPE,
        public: &Template<'_>,
        private: &Template<'_>,
    ) -> CkResult<[CK_OBJECT_HANDLE; 2]> {
        let pair = generate::key_pair(&self.config, number, public, private)?;
        self.add(handle, pair.into()).map(|handles| [handles[0], handles[1]])
    }

    /// `C_WrapKey`.
    pub(crate) fn wrap_key(
        &self,
        handle: CK_SESSION_HANDLE,
        mechanism: Mechanism<'_>,
        wrapping_key: CK_OBJECT_HANDLE,
        key: CK_OBJECT_HANDLE,
    ) -> CkResult<Vec<u8>> {
        let wrapping_key = self.key(handle, wrapping_key).map_err(|error| match error.0 {
            CKR_KEY_HANDLE_INVALID => CkError(CKR_WRAPPING_KEY_HANDLE_INVALID),
            _ => error,
        })?;
        wrap::wrap(mechanism, &wrapping_key, &*self.key(handle, key)?)
    }

    /// `C_UnwrapKey`.
    pub(crate) fn unwrap_key(
        &self,
        handle: CK_SESSION_HANDLE,
        mechanism: Mechanism<'_>,
        unwrapping_key: CK_OBJECT_HANDLE,
        wrapped: &[u8],
        template: &Template<'_>,
    ) -> CkResult<CK_OBJECT_HANDLE> {
        let unwrapping_key = self.key(handle, unwrapping_key).map_err(|error| match error.0 {
            CKR_KEY_HANDLE_INVALID => CkError(CKR_UNWRAPPING_KEY_HANDLE_INVALID),
            _ => error,
        })?;
        let object = wrap::unwrap(&self.config, mechanism, &unwrapping_key, wrapped, template)?;
        self.add(handle, vec![object]).map(|handles| handles[0])
    }

    fn add(&self, handle: CK_SESSION_HANDLE, objects: Vec<Object>) -> CkResult<Vec<CK_OBJECT_HANDLE>> {
        let (asker, token, _) = self.place(handle)?;
        token.add(asker, objects)
    }

    /// The object behind a handle, as this session sees it.
    pub(crate) fn object(&self, session: CK_SESSION_HANDLE, object: CK_OBJECT_HANDLE) -> CkResult<Arc<Object>> {
        let (_, token, _) = self.place(session)?;
        token.object(object)
    }

    /// The key behind a handle.
    pub(crate) fn key(&self, session: CK_SESSION_HANDLE, key: CK_OBJECT_HANDLE) -> CkResult<Arc<Object>> {
        self.object(session, key).map_err(|error| match error.0 {
            CKR_OBJECT_HANDLE_INVALID => CkError(CKR_KEY_HANDLE_INVALID),
            _ => error,
        })
    }

    /// `C_SetAttributeValue`.
    pub(crate) fn modify(
        &self,
        session: CK_SESSION_HANDLE,
        object: CK_OBJECT_HANDLE,
        template: &Template<'_>,
    ) -> CkResult<()> {
        let (asker, token, _) = self.place(session)?;
        token.modify(asker, object, template)
    }

    /// `C_DestroyObject`.
    pub(crate) fn destroy(&self, session: CK_SESSION_HANDLE, object: CK_OBJECT_HANDLE) -> CkResult<()> {
        let (asker, token, _) = self.place(session)?;
        token.destroy(asker, object)
    }

    /// `C_FindObjectsInit`.
    pub(crate) fn begin_search(&self, handle: CK_SESSION_HANDLE, template: &Template<'_>) -> CkResult<()> {
        let (_, token, _) = self.place(handle)?;
        self.with_session(handle, |session| session.begin_search(|| token.find(template)))
    }

    /// Begin an operation with a key. The key is looked up while the session is held, so that a logout either hides it before
    /// or finds the operation and ends it.
    pub(crate) fn begin_with_key(
        &self,
        handle: CK_SESSION_HANDLE,
        mechanism: Mechanism<'_>,
        key: CK_OBJECT_HANDLE,
        begin: impl FnOnce(&mut Session, Mechanism<'_>, &Arc<Object>) -> CkResult<()>,
    ) -> CkResult<()> {
        self.with_session(handle, |session| begin(session, mechanism, &self.key(handle, key)?))
    }
}

#[cfg(test)]
mod tests;
