//! What a running node takes from newer settings, and what waits for the next start.
//!
//! Taken: `p2p.ca`, `p2p.crl`, `p2p.certificate`, `p2p.peers`, `p2p.allow`, `p2p.deny` and `log.filter`. Everything else waits. A change of
//! the chain's own parameters is no change of settings, but another chain: it is refused.

use std::fmt::Display;

use bixi_config::NodeConfig;
use bixi_types::NodeId;

use crate::settings::Settings;

/// Hexadecimal digits of a node id in the log.
const SHORT_ID_DIGITS: usize = 16;

/// What came of newer settings.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reloaded {
    /// Changes that hold from now on, in words.
    pub taken: Vec<String>,
    /// Sections whose changes wait for the next start.
    pub waiting: Vec<&'static str>,
}

impl Reloaded {
    /// Compares settings; the files they name are compared by whoever reads them.
    pub(crate) fn between(running: &Settings, newer: &Settings) -> Result<Self, String> {
        if running.genesis != newer.genesis {
            let path = newer.path(&newer.config.genesis);
            return Err(format!(
                "{}: this is another chain than the running node's; put its genesis back",
                path.display()
            ));
        }
        let (old, new) = (&running.config, &newer.config);
        let short = |id: &NodeId| id.to_hex()[..SHORT_ID_DIGITS].to_owned();
        let mut taken = Vec::new();
        taken.extend(list("p2p.peers", &old.p2p.peers, &new.p2p.peers, Clone::clone));
        taken.extend(list("p2p.allow", &old.p2p.allow, &new.p2p.allow, short));
        taken.extend(list("p2p.deny", &old.p2p.deny, &new.p2p.deny, short));
        if old.log.filter != new.log.filter {
            taken.push(format!("log.filter: {:?}, before {:?}", new.log.filter, old.log.filter));
        }
        Ok(Self { taken, waiting: waiting(old, new) })
    }
}

/// What was added to a list and taken from it, in words.
fn list<T: PartialEq, D: Display>(name: &str, old: &[T], new: &[T], show: impl Fn(&T) -> D) -> Option<String> {
    let added = new.iter().filter(|entry| !old.contains(entry)).map(|entry| format!("+{}", show(entry)));
    let removed = old.iter().filter(|entry| !new.contains(entry)).map(|entry| format!("-{}", show(entry)));
    let changes: Vec<String> = added.chain(removed).collect();
    (!changes.is_empty()).then(|| format!("{name}: {}", changes.join(" ")))
}

fn waiting(old: &NodeConfig, new: &NodeConfig) -> Vec<&'static str> {
    // Named one by one, so that a new section cannot be forgotten.
    let NodeConfig {
        name,
        genesis: _,
        data_dir,
        production,
        memory_mb_max,
        rpc,
        p2p,
        hsm,
        accelerator,
        txpool,
        consensus,
        sync,
        storage,
        placement,
        log,
    } = new;
    let changed = [
        ("name", *name != old.name),
        ("data_dir", *data_dir != old.data_dir),
        ("production", *production != old.production),
        ("memory_mb_max", *memory_mb_max != old.memory_mb_max),
        ("[rpc]", *rpc != old.rpc),
        ("p2p.listen", p2p.listen != old.p2p.listen),
        ("[hsm]", *hsm != old.hsm),
        ("[accelerator]", *accelerator != old.accelerator),
        ("[txpool]", *txpool != old.txpool),
        ("[consensus]", *consensus != old.consensus),
        ("[sync]", *sync != old.sync),
        ("[storage]", *storage != old.storage),
        ("placement", *placement != old.placement),
        ("log.format", log.format != old.log.format),
    ];
    changed.into_iter().filter(|(_, has_changed)| *has_changed).map(|(name, _)| name).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use bixi_types::genesis::Genesis;

    fn settings() -> Settings {
        Settings { config: NodeConfig::default(), genesis: Genesis::fixture(&[]), base: "/".into() }
    }

    #[test]
    fn changes_are_told_and_what_cannot_be_exchanged_waits() {
        let (old, mut new) = (settings(), settings());
        assert_eq!(Reloaded::between(&old, &new), Ok(Reloaded { taken: vec![], waiting: vec![] }));
        new.config.p2p.peers = vec!["10.0.0.2:30300".into()];
        new.config.p2p.deny = vec![NodeId([0xab; 64])];
        new.config.log.filter = "debug".into();
        new.config.rpc.body_bytes_max += 1;
        new.config.p2p.listen = Some(([0, 0, 0, 0], 1).into());
        let reloaded = Reloaded::between(&old, &new).unwrap();
        assert_eq!(reloaded.taken[..2], ["p2p.peers: +10.0.0.2:30300", "p2p.deny: +abababababababab"]);
        assert!(reloaded.taken[2].starts_with("log.filter: \"debug\", before "), "{:?}", reloaded.taken);
        assert_eq!(reloaded.waiting, ["[rpc]", "p2p.listen"]);
        let back = Reloaded::between(&new, &old).unwrap();
        assert_eq!(back.taken[..2], ["p2p.peers: -10.0.0.2:30300", "p2p.deny: -abababababababab"]);
    }

    #[test]
    fn another_chain_is_refused() {
        let (old, mut new) = (settings(), settings());
        new.genesis.chain_id = "chain1".into();
        assert!(Reloaded::between(&old, &new).unwrap_err().contains("another chain"));
    }
}
