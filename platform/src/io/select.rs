//! The choice of a backend, and what became of it.

use std::{str::FromStr, sync::Arc};

use super::{PreadStorage, Storage, TokioUringStorage, UringStorage};
use crate::threads::Spawner;

/// Which backend to use.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Backend {
    /// io_uring where the kernel allows it, else `pread`.
    #[default]
    Auto,
    /// Plain calls.
    Pread,
    /// io_uring on the calling thread.
    Uring,
    /// io_uring on a thread of its own.
    TokioUring,
}

/// No such backend.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is no I/O backend; choose auto, pread, uring or tokio-uring")]
pub struct UnknownBackend(String);

impl FromStr for Backend {
    type Err = UnknownBackend;

    fn from_str(name: &str) -> Result<Self, Self::Err> {
        match name {
            "auto" => Ok(Self::Auto),
            "pread" => Ok(Self::Pread),
            "uring" => Ok(Self::Uring),
            "tokio-uring" => Ok(Self::TokioUring),
            other => Err(UnknownBackend(other.to_owned())),
        }
    }
}

/// A storage and how it came about.
#[derive(Clone, Debug)]
pub struct Selection {
    /// The storage; [`Storage::backend`] names it.
    pub storage: Arc<dyn Storage>,
    /// Why it is not the one asked for, or with [`Backend::Auto`] not io_uring.
    pub fell_back: Option<String>,
}

/// Makes the storage. Never fails: `pread` works everywhere, and the report says why it had to.
pub fn select(backend: Backend, spawner: &Spawner) -> Selection {
    let made: Result<Arc<dyn Storage>, String> = match backend {
        Backend::Pread => Ok(Arc::new(PreadStorage::new())),
        Backend::Auto | Backend::Uring => UringStorage::new().map(|storage| Arc::new(storage) as _),
        Backend::TokioUring => TokioUringStorage::start(spawner).map(|storage| Arc::new(storage) as _),
    };
    match made {
        Ok(storage) => Selection { storage, fell_back: None },
        Err(reason) => {
            tracing::warn!(?backend, %reason, "falling back to pread");
            Selection { storage: Arc::new(PreadStorage::new()), fell_back: Some(reason) }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        io::{conformance, uring},
        placement::{Params, Plan},
        topology::Topology,
    };

    #[test]
    fn every_backend_conforms_or_says_why_it_fell_back() {
        let spawner = Spawner::new(Plan::make(&Topology::detect().unwrap(), &Params::default()));
        let refused = uring::probe().err();
        for (backend, name) in [
            (Backend::Auto, "uring"),
            (Backend::Pread, "pread"),
            (Backend::Uring, "uring"),
            (Backend::TokioUring, "tokio-uring"),
        ] {
            let selection = select(backend, &spawner);
            let expected = if backend == Backend::Pread { None } else { refused.clone() };
            assert_eq!(selection.fell_back, expected);
            assert_eq!(selection.storage.backend(), if expected.is_some() { "pread" } else { name });
            let root = tempfile::tempdir().unwrap();
            conformance::check(&*selection.storage, root.path());
        }
    }

    #[test]
    fn names_of_the_configuration_are_read() {
        for (name, backend) in
            [("auto", Backend::Auto), ("pread", Backend::Pread), ("tokio-uring", Backend::TokioUring)]
        {
            assert_eq!(name.parse(), Ok(backend));
        }
        assert!("aio".parse::<Backend>().unwrap_err().to_string().contains("`aio`"));
    }
}
