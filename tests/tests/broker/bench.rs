//! One node's files with a broker on them, and a client that asks as the node would.

use std::fs;
use std::path::PathBuf;
use std::time::Duration;

use bixi_hsm::service::Client;
use bixi_hsm_broker::SocketChannel;
use bixi_tests::broker::{configure, socket};
use bixi_tests::node::make_chain;
use bixi_tests::settings::set;
use bixi_types::H256;
use bixi_types::consensus::{Vote, VoteKind};
use bixi_types::ports::{Signer as _, Statement};

/// Nothing takes longer in a test that is right, on whatever machine.
pub(crate) const PATIENCE: Duration = Duration::from_secs(180);

pub(crate) struct Bench {
    pub(crate) config: PathBuf,
    pub(crate) chain: H256,
    pub(crate) place: tempfile::TempDir,
}

impl Bench {
    pub(crate) fn new() -> Self {
        let place = tempfile::tempdir().unwrap();
        let config = make_chain(place.path());
        configure(&config);
        let genesis = config.with_file_name("genesis.toml");
        let text = fs::read_to_string(&genesis).unwrap();
        let chain = bixi_config::parse_genesis(&genesis, &text).unwrap().hash();
        Self { config, chain, place }
    }

    /// Changes a setting of the device.
    pub(crate) fn set(&self, key: &str, value: &str) {
        set(&self.config, "hsm", key, value);
    }

    pub(crate) fn pin_file(&self) -> PathBuf {
        self.config.with_file_name("secrets/user.pin")
    }

    /// Asks its broker.
    pub(crate) fn client(&self) -> Client<SocketChannel> {
        Client::connect(SocketChannel::new(socket(&self.config), PATIENCE)).expect("a broker that answers")
    }

    /// A vote of the node's own key.
    pub(crate) fn vote(&self, client: &Client<SocketChannel>, height: u64, value: u8) -> Vote {
        let (kind, validator) = (VoteKind::Precommit, client.node_id());
        Vote { chain: self.chain, height, round: 0, kind, value: Some(H256([value; 32])), validator }
    }

    pub(crate) fn statement(&self, client: &Client<SocketChannel>, height: u64, value: u8) -> Statement {
        Statement::Vote(self.vote(client, height, value))
    }
}
