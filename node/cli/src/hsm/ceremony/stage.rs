//! What a ceremony's steps do: commands of this program, each a process of its own, on the node's files or on those of a rehearsal.

use std::collections::BTreeSet;
use std::fs;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::process::{Command, Stdio};

use bixi_config::{CeremonyPlan, CeremonyStep, HsmBackend};
use bixi_runtime::chain::{self, DeviceChoice, NodeDirectory, Places, Preparation};
use bixi_types::{CryptoSuite, EvmHash};
use serde_json::Value;

use super::RunArgs;
use crate::failure::{Failure, Status};
use crate::scratch::Scratch;
use crate::token;

/// Arguments of this program.
pub(super) type Arguments = Vec<String>;

pub(super) struct Stage {
    node: NodeDirectory,
    plan: CeremonyPlan,
    are_pages_sealed: bool,
    /// Where pages go; the terminal if there is none.
    pages: Option<PathBuf>,
    rehearsal: Option<Rehearsal>,
}

/// A chain of one that ends with the ceremony.
struct Rehearsal {
    _place: Scratch,
    wish: Preparation,
}

impl Stage {
    pub(super) fn set(args: &RunArgs, plan: &CeremonyPlan) -> Result<Self, Failure> {
        let plan = plan.clone();
        let Some(directory) = &args.dir else { return Self::rehearse(args, plan) };
        let node = NodeDirectory::new(std::path::absolute(directory)?);
        node.node_config().map_err(Failure::configuration)?;
        let pages = args.out.as_ref().map(std::path::absolute).transpose()?;
        Ok(Self { node, plan, are_pages_sealed: args.passphrases, pages, rehearsal: None })
    }

    fn rehearse(args: &RunArgs, plan: CeremonyPlan) -> Result<Self, Failure> {
        let place = Scratch::make("bixi-rehearsal-", &std::env::temp_dir())?;
        let wish = Preparation {
            directory: place.path().join("chain"),
            places: Places {
                members: "1".parse().expect("a chain of one"),
                p2p_port: 0,
                rpc_listen: SocketAddr::from((Ipv4Addr::LOCALHOST, 0)),
            },
            suite: CryptoSuite::Sm,
            chain_id: "rehearsal".to_owned(),
            group_id: "group0".to_owned(),
            evm_hash: EvmHash::Sm3,
            device: DeviceChoice {
                backend: HsmBackend::Pkcs11,
                module: token::module(args.module.as_deref())?,
                broker: PathBuf::new(),
                pin: None,
            },
        };
        let placed = chain::prepare(&wish)?;
        let node = placed[0].home.clone();
        let pages = Some(place.path().join("pages"));
        // Nobody reads these pages.
        let rehearsal = Some(Rehearsal { _place: place, wish });
        let stage = Self { node, plan, are_pages_sealed: args.passphrases, pages, rehearsal };
        if !stage.plan.steps.contains(&CeremonyStep::Keys) {
            stage.run(&stage.of_node("keys"))?;
            stage.go_on_after(CeremonyStep::Keys)?;
        }
        Ok(stage)
    }

    /// What the record says of it.
    pub(super) fn place(&self) -> String {
        match self.rehearsal {
            Some(_) => "a throw-away token".to_owned(),
            None => self.node.path().display().to_string(),
        }
    }

    pub(super) fn is_rehearsal(&self) -> bool {
        self.rehearsal.is_some()
    }

    fn of_node(&self, step: &str) -> Arguments {
        ["chain", step, "--dir", &self.node.path().display().to_string()].map(str::to_owned).into()
    }

    fn of_device(&self, words: &[&str]) -> Arguments {
        let config = self.node.config().display().to_string();
        let words = [&["hsm"], words, &["--json", "--config", &config]].concat();
        words.into_iter().map(str::to_owned).collect()
    }

    /// The commands of a step.
    pub(super) fn commands(&self, step: CeremonyStep) -> Vec<Arguments> {
        match step {
            CeremonyStep::Keys => vec![self.of_node("keys")],
            CeremonyStep::Seal => vec![self.of_node("seal")],
            CeremonyStep::Escrow => vec![self.escrow()],
            CeremonyStep::Check => {
                (1..).zip(&self.plan.officers).map(|(index, name)| self.check(index, name)).collect()
            }
            CeremonyStep::Recover => vec![self.recover()],
            CeremonyStep::Slots => vec![self.of_device(&["slots", "list"])],
        }
    }

    fn escrow(&self) -> Arguments {
        let mut arguments = self.of_device(&["escrow", "create"]);
        arguments.extend(["--threshold".to_owned(), self.plan.threshold.to_string()]);
        arguments.extend(self.plan.officers.iter().map(|name| format!("--officer={name}")));
        arguments.extend(self.pages.iter().map(|pages| format!("--out={}", pages.display())));
        arguments.extend(self.are_pages_sealed.then(|| "--passphrases".to_owned()));
        arguments
    }

    fn page(&self, index: usize) -> Option<String> {
        let pages = self.pages.as_ref()?;
        Some(format!("--share={}", pages.join(format!("share-{index}.txt")).display()))
    }

    /// Every officer's own page, once: the command refuses another's.
    fn check(&self, index: usize, officer: &str) -> Arguments {
        let mut arguments = self.of_device(&["escrow", "check"]);
        arguments.push(format!("--officer={officer}"));
        arguments.extend(self.page(index));
        arguments
    }

    fn recover(&self) -> Arguments {
        let mut arguments = self.of_device(&["recover"]);
        // Real officers bring their pages from where they were kept.
        let pages = self.rehearsal.iter().flat_map(|_| (1..=self.plan.threshold).filter_map(|index| self.page(index)));
        arguments.extend(pages);
        arguments
    }

    /// Runs the commands of a step; what each printed, as JSON.
    pub(super) fn perform(&self, step: CeremonyStep, commands: &[Arguments]) -> Result<Vec<Value>, Failure> {
        if self.is_rehearsal() && step == CeremonyStep::Recover {
            // The device that is lost.
            fs::remove_dir_all(self.node.token_home().store())?;
        }
        let results: Vec<Value> = commands.iter().map(|command| self.run(command)).collect::<Result<_, _>>()?;
        if step == CeremonyStep::Check {
            expect_all_checked(&results).map_err(|text| Failure::new(Status::Fault, text))?;
        }
        self.go_on_after(step)?;
        Ok(results)
    }

    fn run(&self, arguments: &Arguments) -> Result<Value, Failure> {
        let mut command = Command::new(std::env::current_exe()?);
        let output = command.args(arguments).stdin(Stdio::inherit()).stderr(Stdio::inherit()).output()?;
        if !output.status.success() {
            let words = arguments.iter().take(3).map(String::as_str).collect::<Vec<_>>().join(" ");
            let status =
                if output.status.code() == Some(Status::WrongPin as i32) { Status::WrongPin } else { Status::Fault };
            return Err(Failure::new(
                status,
                format!("`bixi {words}` ended with {}; its message is above", output.status),
            ));
        }
        let text = String::from_utf8_lossy(&output.stdout);
        Ok(if text.trim().is_empty() { Value::Null } else { serde_json::from_str(text.trim())? })
    }

    /// What a rehearsal needs between the plan's steps: a chain to belong to, and a vault.
    fn go_on_after(&self, step: CeremonyStep) -> Result<(), Failure> {
        let Some(rehearsal) = &self.rehearsal else { return Ok(()) };
        if step == CeremonyStep::Keys {
            chain::write_genesis(&rehearsal.wish)?;
            if !self.plan.steps.contains(&CeremonyStep::Seal) {
                self.run(&self.of_node("seal"))?;
            }
        }
        Ok(())
    }
}

/// All shares of one escrow were there, each once.
fn expect_all_checked(results: &[Value]) -> Result<(), String> {
    let escrows: BTreeSet<&str> = results.iter().filter_map(|one| one["escrow"].as_str()).collect();
    let shares: BTreeSet<u64> = results.iter().filter_map(|one| one["index"].as_u64()).collect();
    let given = results.first().and_then(|one| one["officers"].as_u64()).unwrap_or_default();
    if escrows.len() == 1 && shares == (1..=given).collect() {
        return Ok(());
    }
    let told = |set: Vec<String>| set.join(", ");
    Err(format!(
        "not every officer's page was checked: shares {} of {given}, of the escrows {}. The plan names the officers of one escrow, each once",
        told(shares.iter().map(u64::to_string).collect()),
        told(escrows.iter().map(|escrow| (*escrow).to_owned()).collect()),
    ))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn every_officer_is_checked_once() {
        let page = |escrow: &str, index: u64| json!({"escrow": escrow, "index": index, "officers": 3});
        let checked = |pages: &[(&str, u64)]| {
            expect_all_checked(&pages.iter().map(|(escrow, index)| page(escrow, *index)).collect::<Vec<_>>())
        };
        assert_eq!(checked(&[("a", 2), ("a", 1), ("a", 3)]), Ok(()));
        for wrong in [&[("a", 1), ("a", 1), ("a", 3)][..], &[("a", 1), ("a", 2)], &[("a", 1), ("b", 2), ("a", 3)], &[]]
        {
            assert!(checked(wrong).is_err(), "{wrong:?}");
        }
    }
}
