//! An open accelerator, with typed calls. Nothing has been proved of it yet: [`crate::selftest`] does that, and [`crate::bulk`] uses it.

use std::fmt;
use std::path::PathBuf;

use bixi_hsm::{Cause, DeviceError};

use crate::Operation;
use crate::library::{self, Opened};

/// What to open, as the configuration says it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Params {
    /// The plugin for the libcrypto that the engine or provider was made for.
    pub plugin: PathBuf,
    /// Engine or provider.
    pub source: Source,
    /// Where its module lies; empty: where libcrypto looks.
    pub directory: String,
    /// The only operations that may be used; none named: all it offers.
    pub operations: Vec<Operation>,
}

/// Through which of OpenSSL's two doors.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Source {
    /// An ENGINE.
    Engine {
        /// Its id, such as `kae`, `uadk_engine` or `hct`.
        id: String,
        /// Control commands with their arguments, sent before it is initialised.
        commands: Vec<(String, String)>,
    },
    /// A provider.
    Provider {
        /// Its name, such as `uadk_provider`.
        name: String,
        /// Property query of what is fetched; may be empty.
        properties: String,
    },
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Engine { id, .. } => write!(f, "engine {id}"),
            Self::Provider { name, .. } => write!(f, "provider {name}"),
        }
    }
}

/// An open accelerator. It stays open until the process ends, dropped or not.
pub struct Accelerator {
    opened: Opened,
    offered: u32,
    title: String,
}

impl fmt::Debug for Accelerator {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Accelerator").field("title", &self.title).field("offered", &self.offered).finish()
    }
}

impl Accelerator {
    /// Loads the plugin and opens what `params` name.
    ///
    /// # Errors
    /// [`Cause::Setup`] with libcrypto's own words and what to do; so, too, when it offers none of our operations.
    pub fn open(params: &Params) -> Result<Self, DeviceError> {
        let plugin = library::load(&params.plugin)?;
        let opened = Opened::open(plugin, params)?;
        let known: u32 = Operation::ALL.into_iter().map(Operation::bit).sum();
        let offered = opened.operations() & known;
        let title = format!("{}, {}", params.source, library::describe(plugin));
        if offered == 0 {
            let names: Vec<_> = Operation::ALL.into_iter().map(Operation::name).collect();
            let message = format!("{title}: it offers none of {}", names.join(", "));
            let advice = "it is loaded, but not for this purpose: name another, or none";
            return Err(DeviceError::new("open", Cause::Unsupported, message).with_advice(advice));
        }
        Ok(Self { opened, offered, title })
    }

    /// Engine or provider, and the libcrypto it runs in.
    pub fn title(&self) -> &str {
        &self.title
    }

    /// Whether the engine or provider itself offers `operation`.
    pub fn offers(&self, operation: Operation) -> bool {
        self.offered & operation.bit() != 0
    }

    /// SM3 of each message.
    ///
    /// # Errors
    /// Nothing in `out` is to be believed then; so with every call.
    ///
    /// # Panics
    /// Unless there is room for as many digests as there are messages.
    pub fn sm3_many(&self, messages: &[&[u8]], out: &mut [[u8; 32]]) -> Result<(), DeviceError> {
        self.opened.sm3_many(messages, out)
    }

    /// SM4 by one of the ciphers' operations, from `first` on (a counter or a chaining block; ECB has none).
    ///
    /// # Errors
    /// A length that is not whole blocks (but for CTR), or what the accelerator says.
    ///
    /// # Panics
    /// Unless input and output are of one length.
    pub fn sm4(
        &self,
        operation: Operation,
        key: &[u8; 16],
        first: &[u8; 16],
        input: &[u8],
        output: &mut [u8],
    ) -> Result<(), DeviceError> {
        self.opened.sm4(operation, key, first, input, output)
    }

    /// Whether a signature in DER is valid for key (X ‖ Y) and digest.
    ///
    /// # Errors
    /// A key or signature that is malformed, or what the accelerator says.
    pub fn sm2_verify(&self, key: &[u8; 64], digest: &[u8; 32], signature: &[u8]) -> Result<bool, DeviceError> {
        self.opened.sm2_verify(key, digest, signature)
    }
}
