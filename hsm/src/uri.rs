//! Key references: RFC 7512 `pkcs11:` URIs, and `sdf:`, `tpm:`, `soft:` and `escrow:` URIs of the same shape.
//!
//! Invariants:
//! - parsing is bounded before it allocates, and refuses what it does not know: a reference never silently means less than it says;
//! - printing then parsing gives the same value; equal values print the same text;
//! - no URI holds a secret: `pin-value` is refused, and `pin-source` must be the absolute path of a file.

mod percent;
#[cfg(test)]
mod tests;

use std::fmt;
use std::str::FromStr;

use borsh::{BorshDeserialize, BorshSerialize};

/// Longest textual URI.
pub const URI_BYTES_MAX: usize = 1024;
/// Longest decoded attribute.
pub const ATTRIBUTE_BYTES_MAX: usize = 256;

/// Why a URI was refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum UriError {
    /// Longer than [`URI_BYTES_MAX`].
    #[error("key URI has {0} bytes; at most {URI_BYTES_MAX} are allowed")]
    TooLong(usize),
    /// Not one of ours.
    #[error("key URI must begin with pkcs11:, sdf:, tpm:, soft: or escrow:")]
    Scheme,
    /// Broken escape, forbidden character, bad number or text.
    #[error("key URI attribute {attribute}: {reason}")]
    Attribute {
        /// Its name.
        attribute: String,
        /// What is wrong with it.
        reason: &'static str,
    },
    /// Given twice.
    #[error("key URI attribute {0} is given twice")]
    Duplicate(&'static str),
    /// A PIN inside the URI.
    #[error("key URI holds a PIN; name a file in pin-source instead, or use a systemd credential or a prompt")]
    Secret,
    /// Names no single object.
    #[error("key reference names no key: give object= or id=")]
    NoObject,
}

/// Which kind of device a URI speaks of.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Default, BorshSerialize, BorshDeserialize)]
pub enum Scheme {
    /// A PKCS#11 module (RFC 7512).
    #[default]
    Pkcs11,
    /// A GM/T 0018 device.
    Sdf,
    /// A TPM 2.0.
    Tpm,
    /// The in-memory device of tests.
    Soft,
    /// No device: a key that officers share, named by its escrow.
    Escrow,
}

impl Scheme {
    const ALL: [Self; 5] = [Self::Pkcs11, Self::Sdf, Self::Tpm, Self::Soft, Self::Escrow];

    /// The text before the colon.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Pkcs11 => "pkcs11",
            Self::Sdf => "sdf",
            Self::Tpm => "tpm",
            Self::Soft => "soft",
            Self::Escrow => "escrow",
        }
    }
}

/// Class of the object (`type` attribute).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, BorshSerialize, BorshDeserialize)]
pub enum ObjectType {
    /// A public key.
    Public,
    /// A private key.
    Private,
    /// A certificate.
    Cert,
    /// A secret key.
    SecretKey,
    /// Data.
    Data,
}

impl ObjectType {
    const ALL: [Self; 5] = [Self::Public, Self::Private, Self::Cert, Self::SecretKey, Self::Data];

    /// The word RFC 7512 uses.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Public => "public",
            Self::Private => "private",
            Self::Cert => "cert",
            Self::SecretKey => "secret-key",
            Self::Data => "data",
        }
    }
}

/// A parsed URI. Absent attributes match anything.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Default)]
pub struct KeyUri {
    /// Kind of device.
    pub scheme: Scheme,
    /// Token label.
    pub token: Option<String>,
    /// Token's manufacturer.
    pub manufacturer: Option<String>,
    /// Token's model.
    pub model: Option<String>,
    /// Token's serial number.
    pub serial: Option<String>,
    /// Slot number.
    pub slot_id: Option<u64>,
    /// Object label.
    pub object: Option<String>,
    /// Object id, raw bytes.
    pub id: Option<Vec<u8>>,
    /// Object class.
    pub object_type: Option<ObjectType>,
    /// Absolute path of the file that holds the PIN (query part).
    pub pin_source: Option<String>,
    /// Absolute path of the module (query part).
    pub module_path: Option<String>,
}

impl KeyUri {
    /// A URI that names an object of a token.
    pub fn for_object(scheme: Scheme, token: &str, object: &str, id: &[u8], object_type: ObjectType) -> Self {
        Self {
            scheme,
            token: Some(token.to_owned()),
            object: Some(object.to_owned()),
            id: (!id.is_empty()).then(|| id.to_vec()),
            object_type: Some(object_type),
            ..Self::default()
        }
    }

    fn set(&mut self, name: &str, raw: &str, in_query: bool) -> Result<(), UriError> {
        match (in_query, name) {
            (false, "token") => put(&mut self.token, "token", || text("token", raw)),
            (false, "manufacturer") => put(&mut self.manufacturer, "manufacturer", || text("manufacturer", raw)),
            (false, "model") => put(&mut self.model, "model", || text("model", raw)),
            (false, "serial") => put(&mut self.serial, "serial", || text("serial", raw)),
            (false, "slot-id") => put(&mut self.slot_id, "slot-id", || number("slot-id", raw)),
            (false, "object") => put(&mut self.object, "object", || text("object", raw)),
            (false, "id") => put(&mut self.id, "id", || bytes("id", raw)),
            (false, "type") => put(&mut self.object_type, "type", || class(raw)),
            (true, "pin-source") => put(&mut self.pin_source, "pin-source", || pin_source(raw)),
            (true, "module-path") => put(&mut self.module_path, "module-path", || path("module-path", raw)),
            (_, "pin-value") => Err(UriError::Secret),
            _ => Err(attribute(name, "unknown here; a reference with unknown parts is not guessed at")),
        }
    }
}

impl FromStr for KeyUri {
    type Err = UriError;

    fn from_str(uri: &str) -> Result<Self, UriError> {
        if uri.len() > URI_BYTES_MAX {
            return Err(UriError::TooLong(uri.len()));
        }
        let (scheme, rest) = uri.split_once(':').ok_or(UriError::Scheme)?;
        let scheme = Scheme::ALL.into_iter().find(|known| known.name().eq_ignore_ascii_case(scheme));
        let mut parsed = Self { scheme: scheme.ok_or(UriError::Scheme)?, ..Self::default() };
        let (path, query) = rest.split_once('?').map_or((rest, None), |(path, query)| (path, Some(query)));
        for (separator, part, in_query) in [(';', Some(path), false), ('&', query, true)] {
            for pair in part.into_iter().filter(|part| !part.is_empty()).flat_map(|part| part.split(separator)) {
                let (name, value) = pair.split_once('=').ok_or_else(|| attribute(pair, "has no value"))?;
                parsed.set(name, value, in_query)?;
            }
        }
        Ok(parsed)
    }
}

impl fmt::Display for KeyUri {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:", self.scheme.name())?;
        let texts = [
            ("token", &self.token),
            ("manufacturer", &self.manufacturer),
            ("model", &self.model),
            ("serial", &self.serial),
            ("object", &self.object),
        ];
        let mut separator = "";
        for (name, value) in texts.into_iter().filter_map(|(name, value)| Some((name, value.as_ref()?))) {
            write!(f, "{separator}{name}={}", percent::Path(value.as_bytes()))?;
            separator = ";";
        }
        if let Some(slot) = self.slot_id {
            write!(f, "{separator}slot-id={slot}")?;
            separator = ";";
        }
        if let Some(id) = &self.id {
            write!(f, "{separator}id={}", percent::Full(id))?;
            separator = ";";
        }
        if let Some(class) = self.object_type {
            write!(f, "{separator}type={}", class.name())?;
        }
        separator = "?";
        for (name, value) in [("module-path", &self.module_path), ("pin-source", &self.pin_source)] {
            if let Some(value) = value {
                write!(f, "{separator}{name}={}", percent::Query(value.as_bytes()))?;
                separator = "&";
            }
        }
        Ok(())
    }
}

/// A URI that names one key: it has an object label or an id.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct KeyRef(KeyUri);

impl KeyRef {
    /// Accepts a URI with `object` or `id` that its own text gives back. A reference is stored as text, and what a device
    /// reports may be longer than any text that is read again.
    pub fn new(uri: KeyUri) -> Result<Self, UriError> {
        if uri.object.is_none() && uri.id.is_none() {
            return Err(UriError::NoObject);
        }
        match uri.to_string().parse::<KeyUri>()? {
            again if again == uri => Ok(Self(uri)),
            _ => Err(attribute("object", "does not survive its own text")),
        }
    }

    /// The URI.
    pub fn uri(&self) -> &KeyUri {
        &self.0
    }
}

impl FromStr for KeyRef {
    type Err = UriError;

    fn from_str(uri: &str) -> Result<Self, UriError> {
        Self::new(uri.parse()?)
    }
}

impl fmt::Display for KeyRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl BorshSerialize for KeyRef {
    fn serialize<W: std::io::Write>(&self, writer: &mut W) -> std::io::Result<()> {
        self.to_string().serialize(writer)
    }
}

impl BorshDeserialize for KeyRef {
    fn deserialize_reader<R: std::io::Read>(reader: &mut R) -> std::io::Result<Self> {
        let uri = String::deserialize_reader(reader)?;
        uri.parse().map_err(|error| std::io::Error::new(std::io::ErrorKind::InvalidData, error))
    }
}

fn attribute(name: &str, reason: &'static str) -> UriError {
    UriError::Attribute { attribute: name.chars().take(32).collect(), reason }
}

fn put<T>(
    place: &mut Option<T>,
    name: &'static str,
    value: impl FnOnce() -> Result<T, UriError>,
) -> Result<(), UriError> {
    if place.is_some() {
        return Err(UriError::Duplicate(name));
    }
    *place = Some(value()?);
    Ok(())
}

fn bytes(name: &'static str, raw: &str) -> Result<Vec<u8>, UriError> {
    let bytes = percent::decode(raw).ok_or_else(|| attribute(name, "a broken escape or a character that needs one"))?;
    if bytes.len() > ATTRIBUTE_BYTES_MAX { Err(attribute(name, "too long")) } else { Ok(bytes) }
}

fn text(name: &'static str, raw: &str) -> Result<String, UriError> {
    let text = String::from_utf8(bytes(name, raw)?).map_err(|_| attribute(name, "not UTF-8"))?;
    if text.chars().any(char::is_control) { Err(attribute(name, "has control characters")) } else { Ok(text) }
}

fn number(name: &'static str, raw: &str) -> Result<u64, UriError> {
    let digits = !raw.is_empty() && raw.bytes().all(|byte| byte.is_ascii_digit());
    digits.then(|| raw.parse().ok()).flatten().ok_or_else(|| attribute(name, "not a decimal number of 64 bits"))
}

fn class(raw: &str) -> Result<ObjectType, UriError> {
    let class = ObjectType::ALL.into_iter().find(|class| class.name() == raw);
    class.ok_or_else(|| attribute("type", "must be public, private, cert, secret-key or data"))
}

fn path(name: &'static str, raw: &str) -> Result<String, UriError> {
    let path = text(name, raw)?;
    if path.starts_with('/') { Ok(path) } else { Err(attribute(name, "must be an absolute path")) }
}

/// A path or `file:` URI. Anything else could be the PIN itself or a command to run.
fn pin_source(raw: &str) -> Result<String, UriError> {
    let source = text("pin-source", raw)?;
    let path = source.strip_prefix("file://").or_else(|| source.strip_prefix("file:")).unwrap_or(&source);
    if path.starts_with('/') { Ok(path.to_owned()) } else { Err(UriError::Secret) }
}
