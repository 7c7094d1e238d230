//! The page of `/metrics`, read as Prometheus reads it and judged as `promtool check metrics` judges it.

use std::collections::{BTreeMap, BTreeSet};

/// Every sample by name with its labels, as written: `name{label="value"}`.
pub type Samples = BTreeMap<String, f64>;

/// Words that `promtool` wants replaced by base units.
const NO_BASE_UNITS: [&str; 9] =
    ["milliseconds", "microseconds", "minutes", "hours", "days", "kilobytes", "megabytes", "kibibytes", "mebibytes"];
/// Abbreviations that `promtool` wants written out.
const ABBREVIATIONS: [&str; 8] = ["s", "ms", "us", "sec", "b", "kb", "mb", "mib"];

/// Reads a page.
///
/// # Errors
/// The first line that Prometheus would not read, or that breaks a rule of `promtool`.
pub fn read(page: &str) -> Result<Samples, String> {
    let (mut samples, mut types, mut helped) = (Samples::new(), BTreeMap::new(), BTreeSet::new());
    for line in page.lines() {
        let words: Vec<&str> = line.splitn(4, ' ').collect();
        let verdict = match words.as_slice() {
            ["#", "HELP", name, _] => helped.insert((*name).to_owned()).then_some(()).ok_or("a second HELP"),
            ["#", "TYPE", name, kind] => {
                let known = ["counter", "gauge", "histogram"].contains(kind);
                let first = types.insert((*name).to_owned(), (*kind).to_owned()).is_none();
                judge_name(name, kind).and((known && first).then_some(()).ok_or("a second TYPE, or an unknown one"))
            }
            ["#", "UNIT" | "EOF", ..] => Ok(()),
            ["#", ..] => Err("a comment of no known kind"),
            _ => read_sample(line, &types, &helped).and_then(|(name, value)| {
                samples.insert(name, value).is_none().then_some(()).ok_or("the same sample twice")
            }),
        };
        verdict.map_err(|wrong| format!("{wrong}: {line}"))?;
    }
    if page.ends_with("# EOF\n") { Ok(samples) } else { Err("no end of the page".to_owned()) }
}

/// Names are snake case, in base units without abbreviations, and the suffixes of other types are left to these.
fn judge_name(name: &str, kind: &str) -> Result<(), &'static str> {
    let symbols = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'_';
    let words: Vec<&str> = name.split('_').collect();
    if !name.bytes().all(symbols) || words.contains(&"") {
        return Err("a name that is not in snake case");
    }
    if words.iter().any(|word| NO_BASE_UNITS.contains(word) || ABBREVIATIONS.contains(word)) {
        return Err("a unit that is no base unit, or is abbreviated");
    }
    let reserved = ["total", "count", "sum", "bucket", "info"];
    if words.last().is_some_and(|last| reserved.contains(last)) || words.contains(&kind) {
        return Err("a name with a suffix that Prometheus gives, or with its type");
    }
    Ok(())
}

fn read_sample(
    line: &str,
    types: &BTreeMap<String, String>,
    helped: &BTreeSet<String>,
) -> Result<(String, f64), &'static str> {
    let (sample, value) = line.rsplit_once(' ').ok_or("no value")?;
    let value: f64 = value.parse().map_err(|_| "a value that is no number")?;
    let name = sample.split('{').next().unwrap_or(sample);
    let labels = &sample[name.len()..];
    let is_quoted = labels.is_empty() || labels.starts_with('{') && labels.ends_with("\"}");
    let family = name.strip_suffix("_total").unwrap_or(name);
    let kind = types.get(family).ok_or("no TYPE before it")?;
    if !helped.contains(family) {
        return Err("no HELP before it");
    }
    match (kind == "counter", name.ends_with("_total"), value >= 0.0) {
        (true, false, _) => Err("a counter without _total"),
        (false, true, _) => Err("no counter, and _total"),
        (true, _, false) => Err("a counter below zero"),
        _ if !is_quoted => Err("labels that are not quoted"),
        _ => Ok((sample.to_owned(), value)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOOD: &str = "# HELP a_bytes Bytes.\n# TYPE a_bytes counter\na_bytes_total{peer=\"x y\"} 3\n# EOF\n";

    #[test]
    fn a_page_is_read_and_what_breaks_a_rule_is_refused() {
        assert_eq!(read(GOOD), Ok(Samples::from([("a_bytes_total{peer=\"x y\"}".to_owned(), 3.0)])));
        for (from, to) in [
            ("a_bytes_total", "a_bytes"),
            ("a_bytes", "a_ms"),
            ("a_bytes", "a_milliseconds"),
            ("a_bytes", "aBytes"),
            (" 3", " three"),
            (" 3", " -3"),
            ("# HELP a_bytes Bytes.\n", ""),
            ("# TYPE a_bytes counter\n", ""),
            ("counter", "gauge"),
            ("# EOF\n", ""),
            ("\"x y\"", "x"),
            ("# EOF", "a_bytes_total{peer=\"x y\"} 4\n# EOF"),
        ] {
            assert!(read(&GOOD.replace(from, to)).is_err(), "{from} -> {to}");
        }
    }
}
