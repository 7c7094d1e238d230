//! The disk or the key device of one node.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use bixi_tests::binary;
use bixi_tests::disk::copy;
use bixi_tests::fixture;
use bixi_tests::settings::set;

use crate::field::Field;

const UNWELL: usize = 3;
/// Room for a node and some load.
const DISK_BYTES: u64 = 96 << 20;

fn mount(arguments: &[&str], at: &Path) {
    let ran = Command::new("mount").args(arguments).arg(at).output().expect("mount");
    assert!(ran.status.success(), "mount {arguments:?}: {}", String::from_utf8_lossy(&ran.stderr));
}

/// Puts the node's directory on a small disk of its own, which goes with this process's mounts.
pub(super) fn mount_small(field: &mut Field<'_>) {
    let (home, aside) = (field.home(UNWELL).to_owned(), field.place().join("aside"));
    fs::rename(&home, &aside).expect("a directory");
    fs::create_dir(&home).expect("a directory");
    mount(&["-t", "tmpfs", "-o", &format!("size={DISK_BYTES},mode=0700"), "bixi-faults"], &home);
    field.unmount_at_end(&home);
    copy(&aside, &home).expect("a new node is small");
}

/// The node ends with its reason; the others go on; with room again it starts and returns.
fn ends(field: &mut Field<'_>, words: &[&str], mend: impl FnOnce(&Path)) {
    let home = field.home(UNWELL).to_owned();
    let others = field.others(UNWELL);
    let ended = field.take(UNWELL).wait_end();
    assert_eq!(ended.status.code(), Some(1), "{}", ended.said);
    field.said(&ended, words);
    field.grow(&others, 10);
    mend(&home);
    field.come_back(UNWELL, &others);
    field.grow(&field.all(), 2);
}

pub(super) fn full(field: &mut Field<'_>) {
    let ballast = field.home(UNWELL).join("ballast");
    // As much as there is room for.
    let _ = fs::write(&ballast, vec![0xb1; DISK_BYTES as usize]);
    ends(field, &["No space left on device", "free space"], |_| fs::remove_file(&ballast).expect("the ballast"));
}

pub(super) fn read_only(field: &mut Field<'_>) {
    // Linux refuses to make a file system read-only under open files; a start finds it so.
    let home = field.home(UNWELL).to_owned();
    field.kill(UNWELL);
    mount(&["-o", "remount,ro"], &home);
    let ended = field.try_start(UNWELL).err().expect("a read-only disk is refused");
    assert_eq!(ended.status.code(), Some(1), "{}", ended.said);
    field.said(&ended, &["Read-only file system"]);
    let others = field.others(UNWELL);
    field.grow(&others, 10);
    mount(&["-o", "remount,rw"], &home);
    field.come_back(UNWELL, &others);
    field.grow(&field.all(), 2);
}

fn gone(field: &Field<'_>) -> PathBuf {
    field.place().join("device-is-gone")
}

/// The node's module becomes one that can be pulled out.
pub(super) fn wrap_device(field: &mut Field<'_>) {
    let wrapper = fixture::library("device.c", field.place());
    set(&field.chain.configs[UNWELL], "hsm", "module", &format!("\"{}\"", wrapper.display()));
    field.set_environment(UNWELL, "BIXI_DEVICE_MODULE", binary("libbixi_token.so"));
    field.set_environment(UNWELL, "BIXI_DEVICE_GONE", gone(field));
}

/// It follows without its device, says so, and votes again without a restart when the device is back.
pub(super) fn device_lost(field: &mut Field<'_>) {
    let (gone, others) = (gone(field), field.others(UNWELL));
    fs::write(&gone, "").expect("an empty file");
    field.grow(&others, 30);
    field.grow(&field.all(), 2);
    field.says(UNWELL, &["not signed"]);
    fs::remove_file(&gone).expect("the empty file");
    field.mend(&others);
    field.recover(&others);
    field.return_of(UNWELL);
    field.votes_again(UNWELL);
    field.grow(&field.all(), 5);
}
