//! The two streams: results on standard output, everything else on standard error.
//!
//! What is shown may come from anywhere, a file or an outsider: no text moves a cursor, colours anything, hides anything or turns its order.
//!
//! Plain ASCII, because a terminal may know nothing else. A terminal gets rows broken at its width; a pipe or a file gets one
//! row a line, so that it can be searched.

use std::fmt::Write as _;
use std::io::{self, ErrorKind, IsTerminal as _, Write as _};

use unicode_width::UnicodeWidthStr as _;

/// One line of the result, or a few. Control characters but the line's end are spelt out as in JSON, which has them in strings only.
///
/// # Errors
/// When it was not delivered, as to a full disk. A reader that went away, such as `head`, has what it wanted.
pub(crate) fn result(line: &str) -> io::Result<()> {
    let mut stdout = io::stdout().lock();
    match writeln!(stdout, "{}", harmless(line)).and_then(|()| stdout.flush()) {
        Err(error) if error.kind() != ErrorKind::BrokenPipe => {
            Err(io::Error::new(error.kind(), format!("standard output: {error}")))
        }
        _ => Ok(()),
    }
}

/// One line about what happens. Nobody may be reading it.
pub(crate) fn say(line: &str) {
    let _ = writeln!(io::stderr().lock(), "{}", harmless(line));
}

/// Rows for standard output with their columns aligned: spelt out first, so that a cell is as wide as it is counted.
pub(crate) fn table<const N: usize>(rows: &[[String; N]]) -> String {
    let shown: Vec<[String; N]> = rows.iter().map(|row| row.each_ref().map(|cell| harmless(cell))).collect();
    aligned(&shown, terminal_columns())
}

/// Control characters spelt out, but the end of a line; and what turns the order of those around it, or has no width.
fn harmless(text: &str) -> String {
    let mut shown = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '\n' => shown.push(c),
            c if c.is_control() || is_invisible(c) => {
                let _ = write!(shown, "\\u{:04x}", u32::from(c));
            }
            c => shown.push(c),
        }
    }
    shown
}

/// Marks and overrides of direction, separators of lines and paragraphs, and characters without a width; all below U+10000.
fn is_invisible(c: char) -> bool {
    matches!(c, '\u{61c}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{feff}')
}

/// Columns of the terminal that standard output is, if it is one that says so.
fn terminal_columns() -> Option<usize> {
    let stdout = io::stdout();
    if !stdout.is_terminal() {
        return None;
    }
    rustix::termios::tcgetwinsize(stdout).ok().map(|size| usize::from(size.ws_col)).filter(|columns| *columns > 0)
}

/// The last column takes what is left of `columns` and goes on below itself; a word longer than that stays whole.
fn aligned<const N: usize>(rows: &[[String; N]], columns: Option<usize>) -> String {
    let width = |column: usize| rows.iter().map(|row| row[column].width()).max().unwrap_or(0);
    let widths: Vec<usize> = (0..N).map(width).collect();
    let indent: usize = widths.iter().take(N - 1).map(|width| width + 2).sum();
    let room = columns.map_or(usize::MAX, |columns| columns.saturating_sub(indent).max(20));
    let mut lines = Vec::with_capacity(rows.len());
    for row in rows {
        let mut line = String::new();
        for (column, cell) in row.iter().enumerate().take(N - 1) {
            line.push_str(cell);
            line.extend(std::iter::repeat_n(' ', widths[column] - cell.width() + 2));
        }
        for part in broken(&row[N - 1], room) {
            lines.push(format!("{line}{part}").trim_end().to_owned());
            line = " ".repeat(indent);
        }
    }
    lines.join("\n")
}

/// `text` in lines of at most `room` columns, broken at spaces; a line break of its own stays one.
fn broken(text: &str, room: usize) -> Vec<String> {
    let mut lines = Vec::new();
    for paragraph in text.split('\n') {
        let mut line = String::new();
        for word in paragraph.split(' ') {
            if !line.is_empty() && line.width() + 1 + word.width() > room {
                lines.push(std::mem::take(&mut line));
            }
            if !line.is_empty() {
                line.push(' ');
            }
            line.push_str(word);
        }
        lines.push(line);
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cell_moves_no_cursor_and_hides_nothing() {
        let rows = [["entry".to_owned(), "done\u{1b}[8m\r\u{9b}2J".to_owned()]];
        assert_eq!(table(&rows), "entry  done\\u001b[8m\\u000d\\u009b2J");
        assert_eq!(
            harmless("\u{202e}nwod edispu\u{2066}\u{feff}\n\u{7f}"),
            "\\u202enwod edispu\\u2066\\ufeff\n\\u007f"
        );
        assert_eq!(harmless("Li Wei, 王芳, 100 %"), "Li Wei, 王芳, 100 %");
    }

    /// serde_json leaves DEL and the C1 controls as they are, which some terminals obey.
    #[test]
    fn what_is_harmless_is_the_same_json() {
        let told = serde_json::json!({"reason": "a\u{1b}[2J\u{7f}\u{9b}8m\u{202e}\n\"\\b"});
        let shown = harmless(&told.to_string());
        assert!(!shown.chars().any(|c| c.is_control() || is_invisible(c)), "{shown:?}");
        assert_eq!(serde_json::from_str::<serde_json::Value>(&shown).unwrap(), told);
    }

    #[test]
    fn columns_are_aligned() {
        let rows = [["a".to_owned(), "1".to_owned()], ["long".to_owned(), "2".to_owned()]];
        assert_eq!(aligned(&rows, None), "a     1\nlong  2");
    }

    #[test]
    fn a_terminal_gets_rows_within_its_width() {
        let rows = [["ok".to_owned(), "some words that go on and pkcs11:token=bixi;object=consensus".to_owned()]];
        let text = aligned(&rows, Some(24));
        assert_eq!(text, "ok  some words that go\n    on and\n    pkcs11:token=bixi;object=consensus");
        assert_eq!(aligned(&rows, None).lines().count(), 1);
    }

    #[test]
    fn every_line_of_a_cell_stays_in_its_column() {
        let rows = [["bad".to_owned(), "file:1: a\nfile:2: b".to_owned()]];
        assert_eq!(aligned(&rows, None), "bad  file:1: a\n     file:2: b");
    }
}
