//! What a file is, told from its name alone.

use std::path::Path;

use bixi_sealed::Purpose;

/// The kinds of RocksDB's files. The kind picks the layout and is bound into the file's key, so one kind is never read as
/// another.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FileKind {
    /// Write-ahead log: frames; its unsynced end may be dropped.
    Log,
    /// Version log: frames; its unsynced end may be dropped.
    Manifest,
    /// Table or blob file: pages.
    Table,
    /// CURRENT, OPTIONS, IDENTITY, temporary files and everything unknown: frames, synced before they are renamed into place,
    /// so that a damaged end is never a torn write.
    Small,
}

impl FileKind {
    /// Classifies a path. A suffix `.tmp` is looked through, because backups are renamed from such names.
    pub fn of(path: &Path) -> Self {
        let name = Self::name(path);
        if name.starts_with("MANIFEST-") {
            return Self::Manifest;
        }
        match name.rsplit_once('.').map(|(_, extension)| extension) {
            Some("log") => Self::Log,
            Some("sst" | "blob") => Self::Table,
            _ => Self::Small,
        }
    }

    /// Whether a plain RocksDB writes its info log there; a sealed database has none.
    pub(crate) fn is_info_log(path: &Path) -> bool {
        let name = Self::name(path);
        name == "LOG" || name.starts_with("LOG.old.")
    }

    /// Whether RocksDB makes files of this name in a database's directory, those that it makes for a moment included.
    pub(crate) fn is_of_database(path: &Path) -> bool {
        let Some(name) = path.file_name().and_then(|name| name.to_str()) else { return false };
        let is_number = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
        let is_numbered = |prefix: &str, rest: &str| {
            name.strip_prefix(prefix).is_some_and(|number| is_number(number.strip_suffix(rest).unwrap_or(number)))
        };
        let ends =
            |(number, ending): (&str, &str)| is_number(number) && matches!(ending, "log" | "sst" | "blob" | "dbtmp");
        matches!(name, "CURRENT" | "IDENTITY" | "LOCK" | "LOG")
            || is_numbered("LOG.old.", "")
            || is_numbered("MANIFEST-", "")
            || is_numbered("OPTIONS-", ".dbtmp")
            || name.split_once('.').is_some_and(ends)
    }

    fn name(path: &Path) -> String {
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        name.strip_suffix(".tmp").unwrap_or(&name).to_owned()
    }

    /// What the first frame of a log says, so that one log cannot stand in for another: RocksDB skips the records of an older
    /// one and goes on behind the gap. Tables carry RocksDB's own unique id; small files are renamed into place.
    pub(crate) fn title(path: &Path) -> Option<Vec<u8>> {
        match Self::of(path) {
            Self::Log | Self::Manifest => Some(Self::name(path).into_bytes()),
            Self::Table | Self::Small => None,
        }
    }

    /// The purpose its key is derived for.
    pub fn purpose(self) -> Purpose {
        match self {
            Self::Log => Purpose::Wal,
            Self::Manifest => Purpose::Manifest,
            Self::Table => Purpose::Table,
            Self::Small => Purpose::Small,
        }
    }

    /// Whether an unsynced end may be missing or torn.
    pub fn may_end_torn(self) -> bool {
        matches!(self, Self::Log | Self::Manifest)
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::ffi::OsStrExt as _;

    use super::*;

    #[test]
    fn names_tell_kinds() {
        let cases = [
            ("db/000004.log", FileKind::Log),
            ("db/archive/000004.log", FileKind::Log),
            ("db/MANIFEST-000005", FileKind::Manifest),
            ("db/000009.sst", FileKind::Table),
            ("db/shared/000009_s1.sst.tmp", FileKind::Table),
            ("db/000010.blob", FileKind::Table),
            ("db/CURRENT", FileKind::Small),
            ("db/OPTIONS-000007", FileKind::Small),
            ("db/OPTIONS-000007.dbtmp", FileKind::Small),
            ("db/IDENTITY", FileKind::Small),
            ("db/000005.dbtmp", FileKind::Small),
            ("db/whatever", FileKind::Small),
        ];
        for (path, kind) in cases {
            assert_eq!(FileKind::of(Path::new(path)), kind, "{path}");
            assert!(!FileKind::is_info_log(Path::new(path)), "{path}");
        }
        assert!(["db/LOG", "db/LOG.old.17"].iter().all(|path| FileKind::is_info_log(Path::new(path))));
    }

    #[test]
    fn a_database_has_files_of_its_own_names_alone() {
        let own = [
            "CURRENT",
            "IDENTITY",
            "LOCK",
            "LOG",
            "LOG.old.17",
            "MANIFEST-000005",
            "OPTIONS-000007",
            "OPTIONS-000007.dbtmp",
        ];
        for name in own.into_iter().chain(["000004.log", "000009.sst", "000010.blob", "000005.dbtmp"]) {
            assert!(FileKind::is_of_database(&Path::new("db").join(name)), "{name}");
        }
        let others = [
            "",
            "CURRENT.bak",
            "copy.sst",
            "000004.log.1",
            "000009.sst\n",
            "000009.ldb",
            "MANIFEST-",
            "LOG.old.x",
            "notes",
        ];
        for name in others.into_iter().map(std::ffi::OsStr::new).chain([std::ffi::OsStr::from_bytes(b"0\xff.sst")]) {
            assert!(!FileKind::is_of_database(&Path::new("db").join(name)), "{name:?}");
        }
    }
}
