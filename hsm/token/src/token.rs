//! The token of one slot in this process: who is logged in, which objects it sees and under which handles.
//!
//! Handles of token objects last as long as the object is visible to this process; a logout takes the private ones
//! away, and a later login gives new ones. Before each use the directory is compared with what was read last, so that
//! two processes see each other's objects.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use cryptoki_sys::*;

use crate::config::Config;
use crate::error::{CkError, CkResult, refuse};
use crate::object::Object;
use crate::object::codec::{Inventory, OBJECTS_MAX};
use crate::object::template::Template;
use crate::profile::Profile;
use crate::store::{Attempts, Fingerprint, Guard, Header, Role, Store, Unlocked};

/// Handles are unique in the process, over all slots: a stale one names nothing.
static NEXT_HANDLE: AtomicU64 = AtomicU64::new(1);

/// Who asks: the session and what it may do.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Asker {
    pub(crate) session: CK_SESSION_HANDLE,
    pub(crate) read_write: bool,
}

/// One slot's token.
pub(crate) struct Token {
    store: Store,
    profile: &'static Profile,
    /// Serialises logins, so that Argon2 runs without `state` being locked.
    login: Mutex<()>,
    state: Mutex<State>,
}

/// Held while a login is made.
pub(crate) struct Logins<'a>(#[expect(dead_code, reason = "held, not read")] MutexGuard<'a, ()>);

#[derive(Default)]
struct State {
    login: Option<(Role, Arc<Unlocked>)>,
    seen: Option<Fingerprint>,
    entries: BTreeMap<CK_OBJECT_HANDLE, Entry>,
}

struct Entry {
    object: Arc<Object>,
    /// The owner of a session object.
    session: Option<CK_SESSION_HANDLE>,
}

impl State {
    fn user(&self) -> Option<Arc<Unlocked>> {
        match &self.login {
            Some((Role::User, unlocked)) => Some(Arc::clone(unlocked)),
            _ => None,
        }
    }

    fn insert(&mut self, object: Arc<Object>, session: Option<CK_SESSION_HANDLE>) -> CK_OBJECT_HANDLE {
        let handle = NEXT_HANDLE.fetch_add(1, Ordering::Relaxed);
        self.entries.insert(handle, Entry { object, session });
        handle
    }

    fn handle_of(&self, id: u64) -> Option<CK_OBJECT_HANDLE> {
        self.entries
            .iter()
            .find(|(_, entry)| entry.session.is_none() && entry.object.id == id)
            .map(|(handle, _)| *handle)
    }

    /// Take over what was read from the store: objects keep their handles, vanished ones lose them.
    fn adopt(&mut self, inventory: &Inventory, seen: Fingerprint) {
        let old = std::mem::take(&mut self.entries);
        let mut handles = BTreeMap::new();
        for (handle, entry) in old {
            match entry.session {
                Some(_) => drop(self.entries.insert(handle, entry)),
                None => drop(handles.insert(entry.object.id, handle)),
            }
        }
        for object in &inventory.objects {
            match handles.get(&object.id) {
                Some(handle) => {
                    self.entries.insert(*handle, Entry { object: Arc::clone(object), session: None });
                }
                None => drop(self.insert(Arc::clone(object), None)),
            }
        }
        self.seen = Some(seen);
    }

    /// Forget the login and everything that needed it.
    fn forget_login(&mut self) {
        self.login = None;
        self.seen = None;
        self.entries.retain(|_, entry| !entry.object.is_private());
    }
}

impl Token {
    pub(crate) fn new(config: &Config, slot: CK_SLOT_ID) -> Self {
        let store = Store::new(config, slot);
        Self { store, profile: config.profile, login: Mutex::new(()), state: Mutex::new(State::default()) }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// One login, or change of a PIN, at a time. Taken before the module's sessions are locked, never after.
    pub(crate) fn serialise_logins(&self) -> Logins<'_> {
        Logins(self.login.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Label, serial and PIN state; `None` before the first initialisation.
    pub(crate) fn header(&self) -> CkResult<Option<(Header, Attempts)>> {
        match self.store.header()? {
            None => Ok(None),
            Some(header) => Ok(Some((header, self.store.attempts()?))),
        }
    }

    /// Whether a PIN with `left` attempts has lost some.
    pub(crate) fn is_low(&self, left: u8) -> bool {
        self.store.is_low(left)
    }

    /// Who is logged in.
    pub(crate) fn role(&self) -> Option<Role> {
        self.state().login.as_ref().map(|(role, _)| *role)
    }

    /// Make the token, or make it anew.
    pub(crate) fn initialise(&self, _: &Logins<'_>, pin: &[u8], label: [u8; 32]) -> CkResult<()> {
        self.store.initialise(pin, label)?;
        *self.state() = State::default();
        Ok(())
    }

    /// What the PIN opens, if nobody is logged in.
    pub(crate) fn unlock(&self, _: &Logins<'_>, role: Role, pin: &[u8]) -> CkResult<Unlocked> {
        match self.role() {
            Some(current) if current == role => refuse(CKR_USER_ALREADY_LOGGED_IN),
            Some(_) => refuse(CKR_USER_ANOTHER_ALREADY_LOGGED_IN),
            None => self.store.unlock(role, pin),
        }
    }

    /// The login stands.
    pub(crate) fn enter(&self, _: &Logins<'_>, role: Role, unlocked: Unlocked) {
        let mut state = self.state();
        state.login = Some((role, Arc::new(unlocked)));
        state.seen = None;
    }

    /// A damaged store ends the login here, not at the first signature.
    pub(crate) fn check_login(&self, _: &Logins<'_>) -> CkResult<()> {
        let mut state = self.state();
        self.refresh(&mut state).inspect_err(|_| state.forget_login())
    }

    pub(crate) fn logout(&self) -> CkResult<()> {
        let mut state = self.state();
        if state.login.is_none() {
            return refuse(CKR_USER_NOT_LOGGED_IN);
        }
        state.forget_login();
        Ok(())
    }

    /// Set the user PIN; the officer is logged in.
    pub(crate) fn init_pin(&self, pin: &[u8]) -> CkResult<()> {
        let unlocked = match &self.state().login {
            Some((Role::Officer, unlocked)) => Arc::clone(unlocked),
            _ => return refuse(CKR_USER_NOT_LOGGED_IN),
        };
        self.store.set_pin(&unlocked, Role::User, pin)
    }

    /// Replace the PIN of whoever is logged in, or the user's.
    pub(crate) fn set_pin(&self, old: &[u8], new: &[u8]) -> CkResult<()> {
        let _logins = self.serialise_logins();
        let role = self.role().unwrap_or(Role::User);
        let unlocked = self.store.unlock(role, old)?;
        self.store.set_pin(&unlocked, role, new)
    }

    /// Read what other processes have written since the last look.
    fn refresh(&self, state: &mut State) -> CkResult<()> {
        let user = state.user();
        let seen = self.store.fingerprint(user.is_some())?;
        if state.seen == Some(seen) {
            return Ok(());
        }
        let read = match &user {
            Some(unlocked) => self.store.lock().and_then(|guard| self.read_newest(&guard, unlocked)),
            None => self.store.read_public().map(|inventory| (inventory, seen)),
        };
        match (read, user) {
            (Ok((inventory, seen)), _) => {
                state.adopt(&inventory, seen);
                Ok(())
            }
            (Err(error), Some(unlocked)) => Err(self.explain(state, &unlocked, error)),
            (Err(error), None) => Err(error),
        }
    }

    fn read_newest(&self, guard: &Guard, unlocked: &Unlocked) -> CkResult<(Inventory, Fingerprint)> {
        let inventory = self.store.read(guard, unlocked)?;
        Ok((inventory, self.store.fingerprint(true)?))
    }

    /// When another process has initialised the token anew, what we held is gone: the token was removed.
    fn explain(&self, state: &mut State, unlocked: &Unlocked, error: CkError) -> CkError {
        match self.store.header() {
            Ok(Some(header)) if header.instance == unlocked.instance => error,
            Ok(_) => {
                state.forget_login();
                CkError(CKR_DEVICE_REMOVED)
            }
            Err(damaged) => damaged,
        }
    }

    /// Handles of the visible objects that match.
    pub(crate) fn find(&self, template: &Template<'_>) -> CkResult<Vec<CK_OBJECT_HANDLE>> {
        let mut state = self.state();
        self.refresh(&mut state)?;
        let matching = state.entries.iter().filter(|(_, entry)| entry.object.matches(self.profile, template));
        Ok(matching.map(|(handle, _)| *handle).collect())
    }

    /// The object behind a handle.
    pub(crate) fn object(&self, handle: CK_OBJECT_HANDLE) -> CkResult<Arc<Object>> {
        let mut state = self.state();
        self.refresh(&mut state)?;
        state.entries.get(&handle).map(|entry| Arc::clone(&entry.object)).ok_or(CkError(CKR_OBJECT_HANDLE_INVALID))
    }

    fn check_access(state: &State, asker: Asker, object: &Object) -> CkResult<()> {
        if object.is_token() && !asker.read_write {
            return refuse(CKR_SESSION_READ_ONLY);
        }
        // A token object is authenticated under the master key, which only a login brings.
        if (object.is_private() || object.is_token()) && state.user().is_none() {
            return refuse(CKR_USER_NOT_LOGGED_IN);
        }
        Ok(())
    }

    /// Add objects, all or none.
    pub(crate) fn add(&self, asker: Asker, objects: Vec<Object>) -> CkResult<Vec<CK_OBJECT_HANDLE>> {
        let mut state = self.state();
        for object in &objects {
            Self::check_access(&state, asker, object)?;
        }
        if objects.iter().any(Object::is_token) {
            self.add_stored(&mut state, asker, objects)
        } else if state.entries.len() + objects.len() > 2 * OBJECTS_MAX {
            refuse(CKR_DEVICE_MEMORY)
        } else {
            Ok(objects.into_iter().map(|object| state.insert(Arc::new(object), Some(asker.session))).collect())
        }
    }

    fn add_stored(&self, state: &mut State, asker: Asker, objects: Vec<Object>) -> CkResult<Vec<CK_OBJECT_HANDLE>> {
        let made = self.change(state, |inventory| {
            if inventory.objects.len() + objects.len() > OBJECTS_MAX {
                return refuse(CKR_DEVICE_MEMORY);
            }
            let mut made = Vec::new();
            for mut object in objects {
                if object.is_token() {
                    object.id = inventory.next_id;
                    inventory.next_id += 1;
                    let object = Arc::new(object);
                    inventory.objects.push(Arc::clone(&object));
                    made.push(object);
                } else {
                    made.push(Arc::new(object));
                }
            }
            Ok(made)
        })?;
        let handle_of = |object: Arc<Object>| match object.is_token() {
            true => state.handle_of(object.id).ok_or(CkError(CKR_GENERAL_ERROR)),
            false => Ok(state.insert(object, Some(asker.session))),
        };
        made.into_iter().map(handle_of).collect()
    }

    /// Read the newest inventory, change it, write it, adopt it.
    fn change<T>(&self, state: &mut State, edit: impl FnOnce(&mut Inventory) -> CkResult<T>) -> CkResult<T> {
        let unlocked = state.user().ok_or(CkError(CKR_USER_NOT_LOGGED_IN))?;
        let guard = self.store.lock()?;
        let read = self.store.read(&guard, &unlocked);
        let mut inventory = read.map_err(|error| self.explain(state, &unlocked, error))?;
        let result = edit(&mut inventory)?;
        inventory.generation += 1;
        self.store.write_locked(&guard, &unlocked, &inventory)?;
        state.adopt(&inventory, self.store.fingerprint(true)?);
        Ok(result)
    }

    /// Change attributes of an object.
    pub(crate) fn modify(&self, asker: Asker, handle: CK_OBJECT_HANDLE, template: &Template<'_>) -> CkResult<()> {
        let object = self.object(handle)?;
        let mut state = self.state();
        Self::check_access(&state, asker, &object)?;
        if !object.is_token() {
            let modified = Arc::new(object.modified(template)?);
            let entry = state.entries.get_mut(&handle).ok_or(CkError(CKR_OBJECT_HANDLE_INVALID))?;
            entry.object = modified;
            return Ok(());
        }
        self.change(&mut state, |inventory| {
            let stored = inventory.objects.iter_mut().find(|stored| stored.id == object.id);
            let stored = stored.ok_or(CkError(CKR_OBJECT_HANDLE_INVALID))?;
            *stored = Arc::new(stored.modified(template)?);
            Ok(())
        })
    }

    /// Destroy an object.
    pub(crate) fn destroy(&self, asker: Asker, handle: CK_OBJECT_HANDLE) -> CkResult<()> {
        let object = self.object(handle)?;
        let mut state = self.state();
        Self::check_access(&state, asker, &object)?;
        if !object.flag(CKA_DESTROYABLE) {
            return refuse(CKR_ACTION_PROHIBITED);
        }
        if object.is_token() {
            self.change(&mut state, |inventory| {
                inventory.objects.retain(|stored| stored.id != object.id);
                Ok(())
            })?;
        }
        state.entries.remove(&handle);
        Ok(())
    }

    /// A closed session's objects go with it.
    pub(crate) fn drop_session(&self, session: CK_SESSION_HANDLE) {
        self.state().entries.retain(|_, entry| entry.session != Some(session));
    }

    /// The last session is closed: log out, as the standard asks.
    pub(crate) fn drop_login(&self) {
        self.state().forget_login();
    }
}
