//! A stopped node's sign-once guard in officers' hands: shown, moved from host to host, overruled.

use std::path::Path;

use bixi_hsm::guard::export::{Export, FILE_BYTES_MAX};
use bixi_hsm::guard::{HostId, Position};
use bixi_hsm::officer::{APPROVAL_BYTES, Approval, Override, STATEMENT_BYTES_MAX};
use bixi_hsm::service::{Client, SigningService};
use bixi_platform::secret::Secret;
use bixi_platform::threads::Spawner;
use bixi_types::ports::Signer as _;
use bixi_types::{H256, NodeId};
use serde_json::{Value, json};

use super::{is_held_by_broker, key_fingerprint, read_bounded, utc, write_new};
use crate::keys::{self, Holder};
use crate::launch::{Failure, LaunchError, step};
use crate::settings::{Settings, source_of};
use crate::{doctor, placement};

/// How a guard stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Standing {
    chain: H256,
    node: NodeId,
    marks: Vec<Position>,
    /// Told by the guard itself; the broker tells of marks only.
    whole: Option<Whole>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Whole {
    state: State,
    overrulings: u64,
    /// Why it may be an old copy, whatever its state.
    old_copy: Option<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    InService,
    Retired,
    Awaiting,
    Elsewhere,
}

/// What an officer says of a guard.
#[derive(Debug, Clone, Copy)]
pub enum Adoption<'a> {
    /// That this host is its own.
    Home,
    /// That there is no newer state of it, whatever its device has counted.
    OldCopy {
        /// Source of the authorization of the device's owner, as `hsm.pin` is written, for a counter that is to be made anew; none where there
        /// is no such authorization.
        owner: Option<&'a str>,
    },
}

/// What left a retired guard.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Exported {
    /// What the importer is to stand at.
    pub standing: Standing,
    /// When the marks were written, milliseconds since 1970 by the source's clock.
    pub at_ms: u64,
    /// SM3 of the file, for officers to compare.
    pub fingerprint: H256,
}

/// Shows a guard; through the broker, if it runs.
///
/// # Errors
/// Names the step: a node that runs without a broker, a PIN that is refused, a guard that cannot be read.
pub fn show(settings: &Settings) -> Result<Standing, LaunchError> {
    let chain = settings.genesis.hash();
    if is_held_by_broker(settings) {
        let socket = settings.broker().unwrap_or_default();
        let signer = step("broker", || keys::ask_broker(settings, socket))?;
        let marks = step("guard", || signer.marks())?;
        return Ok(Standing { chain, node: signer.node_id(), marks, whole: None });
    }
    let holder = hold(settings)?;
    let host = step("host", keys::this_host)?;
    let old_copy = step("count of the device", || holder.service.may_be_old_copy())?;
    Ok(standing(&holder.service, host, old_copy))
}

fn standing(service: &SigningService, host: Option<HostId>, old_copy: Option<String>) -> Standing {
    let (guard, node) = (service.guard(), service.node_id());
    let state = if guard.is_awaiting(&node) {
        State::Awaiting
    } else if guard.is_retired(&node) {
        State::Retired
    } else if guard.expect_at_home(host).is_err() {
        State::Elsewhere
    } else {
        State::InService
    };
    let whole = Some(Whole { state, overrulings: guard.overrulings(), old_copy });
    Standing { chain: service.chain(), node, marks: guard.marks(&node), whole }
}

/// Has the guard wait for the marks of the host that the validator moves from; returns the ticket that they are to be exported for.
///
/// # Errors
/// Names the step: a running node, a PIN that is refused, a guard that cannot be written.
pub fn await_import(settings: &Settings) -> Result<String, LaunchError> {
    let holder = hold(settings)?;
    let host = step("host", keys::this_host)?;
    let ticket = step("await", || holder.service.await_guard_import(host))?;
    settle(&holder)?;
    Ok(ticket)
}

/// Retires the guard for good and writes its marks for the holder of the ticket to a new file; once retired, writes the file again.
///
/// # Errors
/// Names the step. The guard may be retired all the same: then the file can be made again, for the same ticket.
pub fn export(settings: &Settings, ticket: &str, out: &Path) -> Result<Exported, LaunchError> {
    step("file", || expect_absent(out))?;
    let holder = hold(settings)?;
    let host = step("host", keys::this_host)?;
    let (export, file) = step("export", || holder.service.export_guard(ticket, host))?;
    step("file of a guard that is retired now; export it again for the same ticket", || write_new(out, 0o644, &file))?;
    settle(&holder)?;
    let fingerprint = Export::fingerprint(&file);
    Ok(Exported { standing: standing(&holder.service, host, None), at_ms: export.at_ms, fingerprint })
}

/// Raises the guard to the marks in a file that the TLS key `signer` vouches for; the node's own when nobody else is named.
///
/// # Errors
/// Names the step: a file of another chain, validator, signer or ticket, or one that would lower a mark.
pub fn import(settings: &Settings, file: &Path, signer: Option<NodeId>) -> Result<Exported, LaunchError> {
    let bytes = step("file", || read_bounded(file, FILE_BYTES_MAX))?;
    let holder = hold(settings)?;
    let host = step("host", keys::this_host)?;
    let export = step("import", || holder.service.import_guard(&bytes, signer.map(|key| key.0), host))?;
    settle(&holder)?;
    let fingerprint = Export::fingerprint(&bytes);
    Ok(Exported { standing: standing(&holder.service, host, None), at_ms: export.at_ms, fingerprint })
}

/// Has an officer's word believed about the guard of a validator whose fingerprint the officer has compared.
///
/// # Errors
/// Names the step: a running node, another validator, a guard of which that need not be said.
pub fn adopt(settings: &Settings, fingerprint: &str, adoption: Adoption<'_>) -> Result<Standing, LaunchError> {
    let owner = step("owner", || match adoption {
        Adoption::OldCopy { owner: Some(source) } => {
            Ok(source_of(source, &settings.base, "authorization of the device's owner")?.read()?)
        }
        _ => Ok::<_, Failure>(Secret::from_slice(&[])),
    })?;
    let holder = hold(settings)?;
    let host = step("host", keys::this_host)?;
    step("validator", || {
        let found = key_fingerprint(&holder.service.node_id().0);
        match found.eq_ignore_ascii_case(fingerprint.trim()) {
            true => Ok(()),
            false => Err::<(), Failure>(format!("the validator's fingerprint is {found}, not {fingerprint}").into()),
        }
    })?;
    step("adopt", || match adoption {
        Adoption::Home => adopt_home(&holder.service, host),
        Adoption::OldCopy { .. } => adopt_old_copy(&holder.service, &owner),
    })?;
    settle(&holder)?;
    Ok(standing(&holder.service, host, None))
}

fn adopt_home(service: &SigningService, host: Option<HostId>) -> Result<(), Failure> {
    let guard = service.guard();
    if guard.expect_at_home(host).is_ok() && !guard.is_retired_unnamed(&service.node_id()) {
        return Err("the guard belongs to this host already, or to none yet; start the node".into());
    }
    Ok(service.adopt_guard(host)?)
}

fn adopt_old_copy(service: &SigningService, owner: &Secret) -> Result<(), Failure> {
    match service.may_be_old_copy()? {
        Some(_) => Ok(service.adopt_old_copy(owner)?),
        None => {
            Err("by the count of its device this guard is the newest, or the device has no counter; start the node"
                .into())
        }
    }
}

/// Has the guard take the checkpoints of a statement that two of the node's officers approved; returns the officers.
///
/// # Errors
/// Names the step: files that cannot be read, too few approvals, a statement for another state of the guard.
pub fn overrule(settings: &Settings, statement: &Path, approvals: &[&Path]) -> Result<Vec<NodeId>, LaunchError> {
    let statement = step("statement", || read_override(statement))?;
    let approvals =
        step("approvals", || approvals.iter().map(|path| read_approval(path)).collect::<Result<Vec<_>, _>>())?;
    let officers: Vec<[u8; 64]> = settings.config.hsm.officers.iter().map(|officer| officer.0).collect();
    let holder = hold(settings)?;
    let host = step("host", keys::this_host)?;
    step("guard", || holder.service.guard().expect_at_home(host))?;
    let approved = step("override", || holder.service.overrule(&statement, &approvals, &officers))?;
    settle(&holder)?;
    Ok(approved.into_iter().map(NodeId).collect())
}

/// Reads a statement that officers are to sign.
pub(super) fn read_override(path: &Path) -> Result<Override, Failure> {
    let bytes = read_bounded(path, STATEMENT_BYTES_MAX)?;
    Ok(Override::decode(&bytes).map_err(|error| format!("{}: {error}", path.display()))?)
}

fn read_approval(path: &Path) -> Result<Approval, Failure> {
    let bytes = read_bounded(path, APPROVAL_BYTES)?;
    Ok(Approval::decode(&bytes).map_err(|error| format!("{}: {error}", path.display()))?)
}

fn expect_absent(path: &Path) -> Result<(), Failure> {
    // Before anything is done that cannot be undone.
    match path.try_exists() {
        Ok(false) => Ok(()),
        Ok(true) => Err(format!("{} is there already; name another file", path.display()).into()),
        Err(error) => Err(format!("{}: {error}", path.display()).into()),
    }
}

fn hold(settings: &Settings) -> Result<Holder, LaunchError> {
    step("stopped node", || doctor::expect_stopped(settings))?;
    let spawner = Spawner::new(step("placement", || placement::plan(settings))?);
    let storage = step("storage", || settings.storage(&spawner))?;
    step("unlock keys", || keys::hold_here(settings, &storage))
}

/// As a node that stops: the head of the trail is signed.
fn settle(holder: &Holder) -> Result<(), LaunchError> {
    step("head of the audit trail, after all else was done", || {
        let client: Client<_> = holder.client()?;
        client.settle()?;
        Ok::<_, Failure>(holder.audit.sync()?)
    })
}

impl State {
    fn name(self) -> &'static str {
        match self {
            Self::InService => "in-service",
            Self::Retired => "retired",
            Self::Awaiting => "awaiting",
            Self::Elsewhere => "elsewhere",
        }
    }

    fn words(self) -> &'static str {
        match self {
            Self::InService => "in service",
            Self::Retired => "RETIRED: it grants nothing with this key any more",
            Self::Awaiting => "WAITS for another guard's marks: it grants nothing before they are imported",
            Self::Elsewhere => "BELONGS TO ANOTHER HOST: it grants nothing here",
        }
    }
}

impl Standing {
    /// Name and text of each finding.
    #[must_use]
    pub fn rows(&self) -> Vec<(&'static str, String)> {
        let mut rows = vec![
            ("chain", self.chain.to_string()),
            ("validator", format!("{}, fingerprint {}", self.node.to_hex(), key_fingerprint(&self.node.0))),
        ];
        if self.marks.is_empty() {
            rows.push(("mark", "none: nothing was signed".to_owned()));
        }
        rows.extend(self.marks.iter().map(|mark| ("mark", mark.to_string())));
        if let Some(Whole { state, overrulings, old_copy }) = &self.whole {
            rows.push(("overrulings", overrulings.to_string()));
            rows.push(("state", state.words().to_owned()));
            rows.extend(old_copy.iter().map(|reason| ("GRANTS NOTHING", reason.clone())));
        }
        rows
    }

    /// One object with everything.
    #[must_use]
    pub fn to_json(&self) -> Value {
        let mark = |mark: &Position| match mark {
            Position::Ordering { height, round, step } => {
                json!({"lane": "ordering", "height": height, "round": round, "step": format!("{step:?}").to_lowercase()})
            }
            Position::Checkpoint { height } => json!({"lane": "checkpoint", "height": height}),
        };
        json!({
            "chain": self.chain.to_hex(),
            "node": self.node.to_hex(),
            "fingerprint": key_fingerprint(&self.node.0),
            "marks": self.marks.iter().map(mark).collect::<Vec<_>>(),
            "retired": self.whole.as_ref().map(|whole| whole.state == State::Retired),
            "state": self.whole.as_ref().map(|whole| whole.state.name()),
            "old_copy": self.whole.as_ref().and_then(|whole| whole.old_copy.as_deref()),
            "overrulings": self.whole.as_ref().map(|whole| whole.overrulings),
        })
    }
}

impl Exported {
    /// Name and text of what two officers, one at each host, compare.
    #[must_use]
    pub fn rows(&self) -> Vec<(&'static str, String)> {
        let mut rows = vec![("SM3 of the file", self.fingerprint.to_string()), ("written", utc(self.at_ms))];
        rows.extend(self.standing.rows());
        rows
    }

    /// The same as one object: that of the guard, and what the file is known by.
    #[must_use]
    pub fn to_json(&self) -> Value {
        let mut value = self.standing.to_json();
        (value["sm3"], value["written_at_ms"]) = (self.fingerprint.to_hex().into(), self.at_ms.into());
        value
    }
}

/// A statement for people, as officers read it before they sign.
pub(super) fn override_rows(statement: &Override) -> Vec<(&'static str, String)> {
    let mut rows = vec![
        ("chain", statement.chain.to_string()),
        ("validator", statement.node.to_hex()),
        ("override", format!("{} of its guard", statement.number)),
        ("written", utc(statement.at_ms)),
        ("reason", statement.reason.clone()),
    ];
    for change in &statement.changes {
        rows.push((
            "checkpoint",
            format!("height {}: header {} in the place of {}", change.height, change.new, change.old),
        ));
    }
    rows.push(("SM3", statement.fingerprint().to_string()));
    rows
}

/// The same for programs.
pub(super) fn override_json(statement: &Override) -> Value {
    let changes = statement
        .changes
        .iter()
        .map(|change| json!({"height": change.height, "old": change.old.to_hex(), "new": change.new.to_hex()}));
    json!({
        "chain": statement.chain.to_hex(),
        "node": statement.node.to_hex(),
        "override": statement.number,
        "written_at_ms": statement.at_ms,
        "reason": statement.reason,
        "changes": changes.collect::<Vec<_>>(),
        "sm3": statement.fingerprint().to_hex(),
    })
}
