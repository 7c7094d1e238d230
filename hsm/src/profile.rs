//! Vendor profiles: the numbers and habits of a vendor's library, as TOML files.
//!
//! What every backend's profiles share: shipped files, a user's own file that takes precedence, matching by the library's
//! own words, and errors that name file, field and reason. Numbers are facts about a library's interface, retyped.

use std::path::{Path, PathBuf};

use serde::de::DeserializeOwned;

use crate::whole_file;

const FILE_BYTES_MAX: u64 = 64 * 1024;

/// Where a profile comes from.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum ProfileChoice {
    /// The shipped profile that matches the library.
    #[default]
    Matched,
    /// The shipped profile of that name.
    Named(String),
    /// A file of the user's.
    File(PathBuf),
}

/// Why there is no usable profile.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ProfileError {
    /// The file could not be read.
    #[error("profile {path}: {source}")]
    Read {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// Not a profile; the text names line and field.
    #[error("profile {origin}: {message}")]
    Syntax {
        /// File or shipped name.
        origin: String,
        /// The parser's words.
        message: String,
    },
    /// A number cannot be used.
    #[error("profile {origin}: {field} = 0x{number:X}: {reason}")]
    Number {
        /// File or shipped name.
        origin: String,
        /// Its field.
        field: &'static str,
        /// The number.
        number: u64,
        /// Why not.
        reason: &'static str,
    },
    /// No shipped profile has that name.
    #[error("no shipped profile is named {name}; there are {known}")]
    Unknown {
        /// The name asked for.
        name: String,
        /// The names there are.
        known: String,
    },
    /// Nothing matches the library.
    #[error(
        "no shipped profile matches module {module} by {manufacturer:?}; name one of {known}, or write a profile file"
    )]
    Unmatched {
        /// The library's path.
        module: PathBuf,
        /// The manufacturer it reports.
        manufacturer: String,
        /// The names there are.
        known: String,
    },
}

/// One vendor's numbers and habits, for one kind of library.
pub trait VendorProfile: DeserializeOwned {
    /// The shipped files by name. Order decides when several match.
    const SHIPPED: &'static [(&'static str, &'static str)];

    /// Refuses what cannot be used; `origin` is for messages.
    ///
    /// # Errors
    /// [`ProfileError::Number`] for the first such field.
    fn check(&self, origin: &str) -> Result<(), ProfileError>;

    /// Parts of library file names, and manufacturers as libraries report them, that this profile is for.
    fn matching(&self) -> (&[String], &[String]);

    /// Whether the profile says that the makers it names keep keys in hardware.
    fn is_hardware(&self) -> bool;

    /// Whether a device of that maker is vouched for as hardware. In a profile that names no maker, whoever wrote it vouches for
    /// the device.
    #[must_use]
    fn vouches_for(&self, manufacturer: &str) -> bool {
        let (_, manufacturers) = self.matching();
        let named = |maker: &String| manufacturer.contains(maker.as_str());
        self.is_hardware() && (manufacturers.is_empty() || manufacturers.iter().any(named))
    }

    /// Whether it is for a library of this file name, or of this manufacturer.
    #[must_use]
    fn is_for(&self, module: &Path, manufacturer: &str) -> bool {
        let file = module.file_name().unwrap_or_default().to_string_lossy();
        let (files, manufacturers) = self.matching();
        files.iter().any(|part| file.contains(part.as_str()))
            || manufacturers.iter().any(|part| manufacturer.contains(part.as_str()))
    }

    /// Names of the shipped profiles.
    #[must_use]
    fn names() -> Vec<&'static str> {
        Self::SHIPPED.iter().map(|(name, _)| *name).collect()
    }

    /// The shipped profile of that name.
    ///
    /// # Errors
    /// When there is none.
    fn named(name: &str) -> Result<Self, ProfileError> {
        match Self::SHIPPED.iter().find(|(listed, _)| *listed == name) {
            Some((_, text)) => Self::parse(text, name),
            None => Err(ProfileError::Unknown { name: name.into(), known: Self::names().join(", ") }),
        }
    }

    /// Read a user's file.
    ///
    /// # Errors
    /// When it cannot be read or is no profile.
    fn read(path: &Path) -> Result<Self, ProfileError> {
        let unreadable = |source| ProfileError::Read { path: path.into(), source };
        let bytes = whole_file::read(path, FILE_BYTES_MAX).map_err(unreadable)?;
        let bytes = bytes.ok_or_else(|| unreadable(std::io::ErrorKind::NotFound.into()))?;
        let origin = path.display().to_string();
        match String::from_utf8(bytes) {
            Ok(text) => Self::parse(&text, &origin),
            Err(error) => Err(ProfileError::Syntax { origin, message: error.to_string() }),
        }
    }

    /// Parse a profile's text; `origin` is for messages.
    ///
    /// # Errors
    /// When a field is unknown, missing or a number cannot be used.
    fn parse(text: &str, origin: &str) -> Result<Self, ProfileError> {
        let profile: Self = toml::from_str(text)
            .map_err(|error| ProfileError::Syntax { origin: origin.into(), message: error.to_string() })?;
        profile.check(origin)?;
        Ok(profile)
    }

    /// The profile for a loaded library.
    ///
    /// # Errors
    /// When the choice names none, or nothing matches.
    fn choose(choice: &ProfileChoice, module: &Path, manufacturer: &str) -> Result<Self, ProfileError> {
        match choice {
            ProfileChoice::Named(name) => Self::named(name),
            ProfileChoice::File(path) => Self::read(path),
            ProfileChoice::Matched => matched(module, manufacturer),
        }
    }
}

fn matched<P: VendorProfile>(module: &Path, manufacturer: &str) -> Result<P, ProfileError> {
    for (name, text) in P::SHIPPED {
        let profile = P::parse(text, name)?;
        if profile.is_for(module, manufacturer) {
            return Ok(profile);
        }
    }
    let known = P::names().join(", ");
    Err(ProfileError::Unmatched { module: module.into(), manufacturer: manufacturer.into(), known })
}
