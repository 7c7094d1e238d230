//! A clock that is minutes off, while the node runs.

use std::fs;
use std::path::PathBuf;

use bixi_tests::fixture;

use crate::field::Field;

const UNWELL: usize = 3;
const MINUTES_5_MS: i64 = 300_000;

fn file(field: &Field<'_>) -> PathBuf {
    field.place().join("clock-offset-ms")
}

fn set(field: &Field<'_>, offset_ms: i64) {
    // In place: the node has the file mapped.
    use std::os::unix::fs::FileExt as _;
    let file = fs::OpenOptions::new().write(true).open(file(field)).expect("prepared");
    file.write_all_at(&offset_ms.to_ne_bytes(), 0).expect("a small file");
}

pub(super) fn prepare(field: &mut Field<'_>) {
    fs::write(file(field), 0_i64.to_ne_bytes()).expect("a small file");
    let library = fixture::library("clock.c", field.place());
    field.set_environment(UNWELL, "LD_PRELOAD", library);
    field.set_environment(UNWELL, "BIXI_CLOCK_FILE", file(field));
}

/// The clock jumps, the others go on, and `notice` finds what the node says; with the right time it returns.
fn jump(field: &mut Field<'_>, offset_ms: i64, notice: fn(&mut Field<'_>)) {
    let others = field.others(UNWELL);
    set(field, offset_ms);
    field.grow(&others, 10);
    notice(field);
    set(field, 0);
    field.mend(&others);
    field.recover(&others);
    field.return_of(UNWELL);
    field.grow(&field.all(), 5);
}

/// What it proposes is refused until its time comes, and it accepts what the others propose. Alone it cannot know: the others' clocks tell
/// it, whenever a session begins.
pub(super) fn ahead(field: &mut Field<'_>) {
    jump(field, MINUTES_5_MS, |field| {
        field.kill(UNWELL);
        field.start(UNWELL);
        field.says(UNWELL, &["ERROR", "clocks are minutes apart"]);
    });
}

/// What the others propose is refused by it; a quorum without it decides.
pub(super) fn behind(field: &mut Field<'_>) {
    jump(field, -MINUTES_5_MS, |field| field.says(UNWELL, &["ERROR", "until the clock is right"]));
}
