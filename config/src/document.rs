//! Reading TOML tables key by key, noting every fault instead of stopping at the first.

use std::borrow::Cow;
use std::net::SocketAddr;
use std::ops::RangeInclusive;
use std::path::{Path, PathBuf};

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use crate::diagnostic::{ConfigErrors, Sink, nearest};

type Table<'i> = toml::map::Map<Spanned<Cow<'i, str>>, Spanned<DeValue<'i>>>;

/// Parses `text` and hands its root section to `read`; all faults come back together.
pub(crate) fn parse<T>(
    file: &Path,
    text: &str,
    read: impl FnOnce(&mut Section<'_, '_, '_>) -> T,
) -> Result<T, ConfigErrors> {
    let mut sink = Sink::new(file, text);
    let (root, syntax) = DeTable::parse_recoverable(text);
    for error in &syntax {
        let offset = error.span().map_or(0, |span| span.start);
        sink.report(offset, "", error.message().trim().to_owned());
    }
    if !syntax.is_empty() {
        // What the parser recovered around a syntax error is not what was meant: judging it would mislead.
        return Err(sink.into_errors());
    }
    let mut section =
        Section { name: String::new(), offset: 0, table: Some(root.get_ref()), known: Vec::new(), sink: &mut sink };
    let value = read(&mut section);
    section.finish();
    sink.finish(value)
}

/// One table of the file. Every getter notes the key as known; [`Section::finish`] reports the keys nobody asked for.
pub(crate) struct Section<'t, 's, 'f> {
    name: String,
    offset: usize,
    table: Option<&'t Table<'t>>,
    known: Vec<&'static str>,
    sink: &'s mut Sink<'f>,
}

impl<'t, 'f> Section<'t, '_, 'f> {
    fn path(&self, key: &str) -> String {
        if self.name.is_empty() { key.to_owned() } else { format!("{}.{key}", self.name) }
    }

    fn lookup(&mut self, key: &'static str) -> Option<&'t Spanned<DeValue<'t>>> {
        self.known.push(key);
        self.table.and_then(|table| table.get(key))
    }

    fn fault(&mut self, offset: usize, key: &str, message: impl Into<String>) {
        let path = self.path(key);
        self.sink.report(offset, &path, message);
    }

    /// Reports what getters cannot see: a fault between keys of this section.
    pub(crate) fn contradiction(&mut self, key: &'static str, message: impl Into<String>) {
        let found = self.table.and_then(|table| table.get(key));
        let offset = found.map_or(self.offset, |value| value.span().start);
        self.fault(offset, key, message);
    }

    /// Reads one value with `read`; `None` when absent or faulty (then reported).
    pub(crate) fn maybe<T>(
        &mut self,
        key: &'static str,
        expected: &str,
        read: impl FnOnce(&DeValue<'t>) -> Option<T>,
    ) -> Option<T> {
        self.value(key, read, |value| format!("expected {expected}, found {}", describe(value)))
    }

    /// As [`Section::maybe`], for a key where somebody may have written a secret: the value never appears in the error.
    pub(crate) fn maybe_unshown<T>(
        &mut self,
        key: &'static str,
        expected: &str,
        read: impl FnOnce(&DeValue<'t>) -> Option<T>,
    ) -> Option<T> {
        self.value(key, read, |_| format!("expected {expected}; the value found is not shown"))
    }

    fn value<T>(
        &mut self,
        key: &'static str,
        read: impl FnOnce(&DeValue<'t>) -> Option<T>,
        complaint: impl FnOnce(&DeValue<'t>) -> String,
    ) -> Option<T> {
        let value = self.lookup(key)?;
        let parsed = read(value.get_ref());
        if parsed.is_none() {
            self.fault(value.span().start, key, complaint(value.get_ref()));
        }
        parsed
    }

    /// As [`Section::maybe`], but absence is a fault too.
    pub(crate) fn required<T>(
        &mut self,
        key: &'static str,
        expected: &str,
        read: impl FnOnce(&DeValue<'t>) -> Option<T>,
    ) -> Option<T> {
        if self.table.is_none_or(|table| table.get(key).is_none()) {
            self.known.push(key);
            let offset = self.offset;
            self.fault(offset, key, format!("missing; expected {expected}"));
            return None;
        }
        self.maybe(key, expected, read)
    }

    pub(crate) fn text(&mut self, key: &'static str, default: &str) -> String {
        self.maybe(key, "a string", as_text).unwrap_or_else(|| default.to_owned())
    }

    /// A string of 1 to `bytes_max` bytes without a line end.
    pub(crate) fn name(&mut self, key: &'static str, default: &str, bytes_max: usize) -> String {
        let fits = |text: &String| (1..=bytes_max).contains(&text.len()) && !text.contains(char::is_control);
        self.maybe(key, &format!("a name of 1 to {bytes_max} bytes"), |value| as_text(value).filter(fits))
            .unwrap_or_else(|| default.to_owned())
    }

    /// A path; an empty one would be the directory of the file.
    pub(crate) fn path_of(&mut self, key: &'static str, default: &Path) -> PathBuf {
        let fits = |text: &String| !text.is_empty() && !text.contains('\0');
        self.maybe(key, "a path", |value| as_text(value).filter(fits)).map_or_else(|| default.to_owned(), PathBuf::from)
    }

    pub(crate) fn flag(&mut self, key: &'static str, default: bool) -> bool {
        self.maybe(key, "true or false", |value| value.as_bool()).unwrap_or(default)
    }

    pub(crate) fn address(&mut self, key: &'static str, default: SocketAddr) -> SocketAddr {
        self.maybe(key, "an address and port such as \"127.0.0.1:20200\"", |value| value.as_str()?.parse().ok())
            .unwrap_or(default)
    }

    pub(crate) fn integer(&mut self, key: &'static str, default: u64, range: RangeInclusive<u64>) -> u64 {
        let expected = format!("an integer from {} to {}", range.start(), range.end());
        self.maybe(key, &expected, |value| as_integer(value).filter(|number| range.contains(number))).unwrap_or(default)
    }

    /// One of a fixed set of words.
    pub(crate) fn choice<T: Copy>(&mut self, key: &'static str, default: T, choices: &[(&str, T)]) -> T {
        self.maybe(key, &expected_words(choices), |value| find_word(choices, value)).unwrap_or(default)
    }

    /// As [`Section::choice`], but absence is a fault.
    pub(crate) fn required_choice<T: Copy>(&mut self, key: &'static str, choices: &[(&str, T)]) -> Option<T> {
        self.required(key, &expected_words(choices), |value| find_word(choices, value))
    }

    /// An array of at most `entries_max` values, each read with `read`; every faulty one is told by its place.
    pub(crate) fn list<T>(
        &mut self,
        key: &'static str,
        entries_max: usize,
        expected: &str,
        default: Vec<T>,
        mut read: impl FnMut(&DeValue<'t>) -> Option<T>,
    ) -> Vec<T> {
        let Some(value) = self.lookup(key) else { return default };
        let Some(array) = value.get_ref().as_array() else {
            let message = format!("expected an array, each entry {expected}; found {}", describe(value.get_ref()));
            self.fault(value.span().start, key, message);
            return default;
        };
        if array.len() > entries_max {
            let message = format!("expected at most {entries_max} entries, found {}", array.len());
            self.fault(value.span().start, key, message);
            return default;
        }
        let mut entries = Vec::new();
        for (index, item) in array.iter().enumerate() {
            match read(item.get_ref()) {
                Some(entry) => entries.push(entry),
                None => {
                    let message = format!("expected {expected}, found {}", describe(item.get_ref()));
                    self.fault(item.span().start, &format!("{key}[{index}]"), message);
                }
            }
        }
        entries
    }

    /// Reads a sub-table; an absent one reads as empty.
    pub(crate) fn section<T>(&mut self, key: &'static str, read: impl FnOnce(&mut Section<'t, '_, 'f>) -> T) -> T {
        let value = self.lookup(key);
        let table = value.and_then(|value| value.get_ref().as_table());
        if let (Some(value), None) = (value, table) {
            let message = format!("expected a table, found {}", describe(value.get_ref()));
            self.fault(value.span().start, key, message);
        }
        let offset = value.map_or(self.offset, |value| value.span().start);
        let mut section = Section { name: self.path(key), offset, table, known: Vec::new(), sink: &mut *self.sink };
        let result = read(&mut section);
        section.finish();
        result
    }

    /// Reads an array of tables; an absent one reads as empty.
    pub(crate) fn sections<T>(
        &mut self,
        key: &'static str,
        mut read: impl FnMut(&mut Section<'t, '_, 'f>) -> T,
    ) -> Vec<T> {
        let Some(value) = self.lookup(key) else { return Vec::new() };
        let Some(array) = value.get_ref().as_array() else {
            let message = format!("expected [[{key}]] tables, found {}", describe(value.get_ref()));
            self.fault(value.span().start, key, message);
            return Vec::new();
        };
        let mut results = Vec::new();
        for (index, item) in array.iter().enumerate() {
            if item.get_ref().as_table().is_none() {
                let message = format!("expected [[{key}]] tables, found {}", describe(item.get_ref()));
                self.fault(item.span().start, key, message);
                continue;
            }
            let mut section = Section {
                name: format!("{}[{index}]", self.path(key)),
                offset: item.span().start,
                table: item.get_ref().as_table(),
                known: Vec::new(),
                sink: &mut *self.sink,
            };
            results.push(read(&mut section));
            section.finish();
        }
        results
    }

    /// Reports keys that no getter asked for.
    fn finish(&mut self) {
        let Some(table) = self.table else { return };
        for (key, _) in table.iter() {
            let name: &str = key.get_ref();
            if self.known.contains(&name) {
                continue;
            }
            let hint = match nearest(name, self.known.iter().copied()) {
                Some(known) => format!("unknown key; did you mean `{known}`?"),
                None => format!("unknown key; known here: {}", self.known.join(", ")),
            };
            self.fault(key.span().start, name, hint);
        }
    }
}

fn expected_words<T>(choices: &[(&str, T)]) -> String {
    let words: Vec<String> = choices.iter().map(|(word, _)| format!("{word:?}")).collect();
    format!("one of {}", words.join(", "))
}

fn find_word<T: Copy>(choices: &[(&str, T)], value: &DeValue<'_>) -> Option<T> {
    let found = value.as_str()?;
    choices.iter().find(|(word, _)| *word == found).map(|(_, choice)| *choice)
}

/// The word that stands for `value` in `choices`.
pub(crate) fn word_of<T: PartialEq + Copy>(choices: &[(&'static str, T)], value: T) -> &'static str {
    choices.iter().find(|(_, choice)| *choice == value).map_or("", |(word, _)| word)
}

/// `text` as a string of a file.
pub(crate) fn quoted(text: impl std::fmt::Display) -> String {
    toml::Value::String(text.to_string()).to_string()
}

pub(crate) fn as_text(value: &DeValue<'_>) -> Option<String> {
    value.as_str().map(str::to_owned)
}

pub(crate) fn as_integer(value: &DeValue<'_>) -> Option<u64> {
    let integer = value.as_integer()?;
    u64::from_str_radix(&integer.as_str().replace('_', ""), integer.radix()).ok()
}

fn describe(value: &DeValue<'_>) -> String {
    match value {
        DeValue::String(text) => format!("the string {:?}", text.chars().take(60).collect::<String>()),
        DeValue::Integer(integer) => format!("the integer {integer}"),
        DeValue::Float(float) => format!("the number {float}"),
        DeValue::Boolean(flag) => format!("{flag}"),
        DeValue::Datetime(_) => "a date".to_owned(),
        DeValue::Array(_) => "an array".to_owned(),
        DeValue::Table(_) => "a table".to_owned(),
    }
}
