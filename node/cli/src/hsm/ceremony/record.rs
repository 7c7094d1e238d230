//! The entries of a ceremony's transcript, and the transcript as people read it.

use std::io;
use std::time::{SystemTime, UNIX_EPOCH};

use bixi_accel::sm3;
use bixi_config::{CeremonyPlan, CeremonyStep};
use bixi_runtime::transcript::{Transcript, Writer};
use serde_json::{Value, json};

use super::stage::{Arguments, Stage};
use crate::console;

/// Hexadecimal digits of a public key's fingerprint: the beginning of SM3(X ‖ Y).
const KEY_FINGERPRINT_DIGITS: usize = 16;
const GROUP_DIGITS: usize = 4;

/// Writes what happens, before and after it does.
pub(super) struct Record {
    writer: Writer,
}

impl Record {
    pub(super) fn begin(writer: Writer, plan: &CeremonyPlan, text: &str, stage: &Stage) -> io::Result<Self> {
        let mut record = Self { writer };
        let steps: Vec<&str> = plan.steps.iter().map(|step| step.word()).collect();
        record.write(json!({
            "entry": "plan",
            "title": plan.title,
            "officers": plan.officers,
            "threshold": plan.threshold,
            "steps": steps,
            "plan_sm3": hex::encode(sm3::digest(text.as_bytes())),
            "place": stage.place(),
            "rehearsal": stage.is_rehearsal(),
            "program": concat!("bixi ", env!("CARGO_PKG_VERSION")),
        }))?;
        Ok(record)
    }

    pub(super) fn confirmed(&mut self, step: CeremonyStep, by: &[String; 2], commands: &[Arguments]) -> io::Result<()> {
        self.write(json!({"entry": "confirmed", "step": step.word(), "by": by, "commands": commands}))
    }

    pub(super) fn done(&mut self, step: CeremonyStep, mut results: Vec<Value>) -> io::Result<()> {
        results.iter_mut().for_each(add_fingerprints);
        self.write(json!({"entry": "done", "step": step.word(), "results": results}))
    }

    pub(super) fn failed(&mut self, step: CeremonyStep) -> io::Result<()> {
        self.write(json!({"entry": "failed", "step": step.word()}))
    }

    /// The last entry; the head after it.
    pub(super) fn end(mut self, is_held: bool) -> io::Result<[u8; 32]> {
        self.write(json!({"entry": "end", "held": is_held}))?;
        Ok(self.writer.head())
    }

    fn write(&mut self, mut entry: Value) -> io::Result<()> {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        entry["time_ms"] = json!(now.as_millis() as u64);
        self.writer.append(&entry.to_string())
    }
}

/// Names every public key among the results shortly.
fn add_fingerprints(result: &mut Value) {
    let Some(keys) = result["keys"].as_array_mut() else { return };
    for key in keys {
        let bytes = key["public_key"].as_str().and_then(|text| hex::decode(text).ok());
        if let Some(bytes) = bytes {
            key["fingerprint"] = json!(hex::encode(sm3::digest(&bytes))[..KEY_FINGERPRINT_DIGITS]);
        }
    }
}

/// A head in groups that can be read out and written down.
pub(super) fn grouped(head: &[u8; 32]) -> String {
    let digits = hex::encode(head);
    let groups: Vec<&str> = (0..digits.len()).step_by(GROUP_DIGITS).map(|at| &digits[at..at + GROUP_DIGITS]).collect();
    groups.join(" ")
}

/// A transcript as it is shown.
pub(super) struct Rendered<'a> {
    pub(super) transcript: &'a Transcript<'a>,
}

impl Rendered<'_> {
    /// Its entries; one that is no JSON object, as a text.
    pub(super) fn entries(&self) -> Vec<Value> {
        self.transcript
            .entries
            .iter()
            .map(|entry| serde_json::from_str(entry).unwrap_or_else(|_| json!(entry)))
            .collect()
    }

    pub(super) fn text(&self) -> String {
        let rows: Vec<[String; 3]> = self
            .entries()
            .iter()
            .map(|entry| [time(entry), entry["entry"].as_str().unwrap_or("?").to_owned(), words(entry)])
            .collect();
        format!("{}\n\nfingerprint (SM3)\n{}", console::table(&rows), grouped(&self.transcript.head))
    }

    /// The same with a line for each officer's hand.
    pub(super) fn for_signatures(&self, officers: &[String]) -> String {
        let lines: Vec<String> = officers.iter().map(|name| format!("______________________  {name}")).collect();
        format!("{}\n\nwritten down and signed by hand\n\n{}", self.text(), lines.join("\n\n"))
    }
}

fn time(entry: &Value) -> String {
    entry["time_ms"].as_u64().map_or_else(|| "?".to_owned(), |ms| format!("{} UTC", utc(ms / 1000)))
}

fn list(value: &Value) -> String {
    let words = value.as_array().into_iter().flatten().filter_map(Value::as_str);
    words.collect::<Vec<_>>().join(", ")
}

fn words(entry: &Value) -> String {
    let step = entry["step"].as_str().unwrap_or_default();
    match entry["entry"].as_str() {
        Some("plan") => format!(
            "{}{}; officers: {}; steps: {}; on {}",
            if entry["rehearsal"] == true { "REHEARSAL: " } else { "" },
            entry["title"].as_str().unwrap_or_default(),
            list(&entry["officers"]),
            list(&entry["steps"]),
            entry["place"].as_str().unwrap_or_default(),
        ),
        Some("confirmed") => format!("{step}, by {}", list(&entry["by"])),
        Some("done") => {
            let results = entry["results"].as_array().into_iter().flatten().map(result_words);
            let results: Vec<String> = results.filter(|words| !words.is_empty()).collect();
            [&[step.to_owned()][..], &results].concat().join("\n")
        }
        Some("end") if entry["held"] == true => "held as planned".to_owned(),
        Some("end") => "ended before its last step".to_owned(),
        _ => step.to_owned(),
    }
}

/// What a step made, in a line or a few.
fn result_words(result: &Value) -> String {
    let text = |name: &str| result[name].as_str().unwrap_or_default();
    let keys = result["keys"].as_array().into_iter().flatten().map(|key| {
        let shown = |name: &str| key[name].as_str().unwrap_or("-");
        format!("{} {} fingerprint {}", shown("role"), shown("uri"), shown("fingerprint"))
    });
    // Of the key encryption key, which has no public half: what a standby is compared with.
    let kek = result["kek_fingerprint"].as_str().map(|digits| format!("key encryption key fingerprint {digits}"));
    let mut lines: Vec<String> = keys.chain(kek).collect();
    if let Some(officer) = result["officer"].as_str() {
        lines.push(format!("share {} of {officer} fits", result["index"]));
    } else if result["escrow"].is_string() {
        lines.push(format!("escrow {}, any {} recover", text("escrow"), result["threshold"]));
    }
    if result["node"].is_string() {
        lines.push(format!("new consensus key {}, opened by {}", text("node"), list(&result["officers"])));
    }
    lines.extend(result["slots"].as_array().into_iter().flatten().map(|slot| {
        format!("slot {} ({})", slot["label"].as_str().unwrap_or("-"), slot["kind"].as_str().unwrap_or("-"))
    }));
    lines.join("\n")
}

/// Date and time of day, UTC. Days to a date as in Howard Hinnant's `civil_from_days`: years begin in March.
fn utc(seconds: u64) -> String {
    let (days, second) = (seconds / 86_400 + 719_468, seconds % 86_400);
    let (era, day_of_era) = (days / 146_097, days % 146_097);
    let year_of_era = (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_from_march = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month_from_march + 2) / 5 + 1;
    let month = if month_from_march < 10 { month_from_march + 3 } else { month_from_march - 9 };
    let year = era * 400 + year_of_era + u64::from(month <= 2);
    format!("{year:04}-{month:02}-{day:02} {:02}:{:02}:{:02}", second / 3_600, second / 60 % 60, second % 60)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_shown_as_utc() {
        assert_eq!(utc(0), "1970-01-01 00:00:00");
        assert_eq!(utc(951_827_696), "2000-02-29 12:34:56");
        assert_eq!(utc(1_795_305_600), "2026-11-22 00:00:00");
        assert_eq!(utc(4_107_542_399), "2100-02-28 23:59:59");
    }

    #[test]
    fn a_fingerprint_is_read_out_in_groups() {
        let shown = grouped(&[0xab; 32]);
        assert_eq!((shown.len(), &shown[..14]), (16 * 5 - 1, "abab abab abab"));
    }

    #[test]
    fn a_public_key_is_named_shortly() {
        let mut result = json!({"keys": [{"public_key": "00".repeat(64)}, {"public_key": null}]});
        add_fingerprints(&mut result);
        assert_eq!(result["keys"][0]["fingerprint"].as_str().map(str::len), Some(16));
        assert!(result["keys"][1].get("fingerprint").is_none());
    }
}
