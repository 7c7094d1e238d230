//! Checks of what lies in a node's directory, and of the address it listens on. Nothing is opened that a running node locks.

use std::fs;
use std::io;
use std::net::{SocketAddr, TcpListener};
use std::os::fd::AsRawFd as _;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::path::Path;

use bixi_platform::credentials::PinSource;
use bixi_platform::io::PreadStorage;
use rustix::fs::{major, minor, statvfs};

use crate::doctor::{Check, Verdict};
use crate::lifecycle::sealing;
use crate::settings::Settings;

const MIB: u64 = 1024 * 1024;

pub(super) fn examine(settings: &Settings) -> Vec<Check> {
    let running = is_running(settings);
    vec![
        if running {
            Check::new(
                "node",
                Verdict::Good,
                "running, or its broker is: a process holds its sign-once guard or its ordering log",
            )
        } else {
            Check::new("node", Verdict::Good, "not running")
        },
        sealed(settings),
        ledger(settings),
        private(settings),
        free_space(settings),
        address(settings.config.rpc.listen, running),
    ]
}

/// Whether a node runs on these files, or the broker of one.
pub(crate) fn is_running(settings: &Settings) -> bool {
    ["guard.lock", "ordering/LOCK"].into_iter().any(|name| is_locked(&settings.data(name)))
}

/// For what would get in the way of a node on these files, and a node in the way of it.
pub(crate) fn expect_stopped(settings: &Settings) -> Result<(), &'static str> {
    match is_running(settings) {
        true => Err("the node runs on these files, or its broker does; stop both first"),
        false => Ok(()),
    }
}

/// Whether a process holds a lock on `file`. `/proc/locks` is read, because taking the lock to find out could make a node that
/// starts at this moment fail.
fn is_locked(file: &Path) -> bool {
    let Ok(file) = fs::File::open(file) else { return false };
    let Ok(metadata) = file.metadata() else { return false };
    let devices = [Some((major(metadata.dev()), minor(metadata.dev()))), mounted_device(&file)];
    let locks = fs::read_to_string("/proc/locks").unwrap_or_default();
    devices.into_iter().flatten().any(|device| names_file(&locks, device, metadata.ino()))
}

/// Whether `/proc/locks` has a lock on a file: `MAJOR:MINOR:INODE`, the first two in hexadecimal digits. The number of the inode alone is
/// not enough: each file system has its own.
fn names_file(locks: &str, (major, minor): (u32, u32), inode: u64) -> bool {
    let place = format!("{major:02x}:{minor:02x}:{inode}");
    locks.lines().any(|line| line.split_whitespace().any(|field| field == place))
}

/// The device of a file's mount, which is what locks are told by; `stat` names another one on btrfs and on some overlays.
fn mounted_device(file: &fs::File) -> Option<(u32, u32)> {
    let told = fs::read_to_string(format!("/proc/self/fdinfo/{}", file.as_raw_fd())).ok()?;
    let mount = told.lines().find_map(|line| line.strip_prefix("mnt_id:"))?.trim();
    let mounts = fs::read_to_string("/proc/self/mountinfo").ok()?;
    let is_it = |line: &&str| line.split_whitespace().next() == Some(mount);
    let (major, minor) = mounts.lines().find(is_it)?.split_whitespace().nth(2)?.split_once(':')?;
    Some((major.parse().ok()?, minor.parse().ok()?))
}

fn sealed(settings: &Settings) -> Check {
    let missing: Vec<&str> = ["vault", "guard"].into_iter().filter(|name| !settings.data(name).exists()).collect();
    if missing.is_empty() {
        return Check::new("vault and guard", Verdict::Good, "there");
    }
    let text = format!(
        "no {} in {}; a new node gets them from `bixi chain seal`, a node that has signed must get its own back",
        missing.join(" and no "),
        settings.path(&settings.config.data_dir).display()
    );
    Check::new("vault and guard", Verdict::Bad, text)
}

/// Whether a node would open the ledger, as far as that is told without keys.
fn ledger(settings: &Settings) -> Check {
    match sealing::expect_sealed(settings, &PreadStorage) {
        Ok(()) => Check::new("ledger", Verdict::Good, "not in plaintext"),
        Err(error) => Check::new("ledger", Verdict::Bad, error.to_string()),
    }
}

/// What only the node's user may read or enter.
fn private(settings: &Settings) -> Check {
    let mut places = vec![settings.path(&settings.config.data_dir)];
    if let PinSource::File(pin) = settings.pin() {
        places.extend(pin.parent().map(Path::to_owned));
        places.push(pin);
    }
    let open: Vec<String> = places
        .iter()
        .filter_map(|place| {
            let mode = fs::metadata(place).ok()?.permissions().mode() & 0o7777;
            (mode & 0o077 != 0).then(|| format!("{} ({mode:04o})", place.display()))
        })
        .collect();
    if open.is_empty() {
        return Check::new("private files", Verdict::Good, "closed to group and others");
    }
    let text = format!("open to group or others: {}; `chmod go=` them", open.join(", "));
    Check::new("private files", Verdict::Warn, text)
}

fn free_space(settings: &Settings) -> Check {
    match free_mib(settings) {
        Ok(free) => judge_space(free, settings.config.storage.free_mb_min),
        Err(error) => {
            let data = settings.path(&settings.config.data_dir);
            Check::new("disk space", Verdict::Bad, format!("{}: {error}", data.display()))
        }
    }
}

/// Free on the disk of the data directory, MiB.
pub fn free_mib(settings: &Settings) -> io::Result<u64> {
    let disk = statvfs(settings.path(&settings.config.data_dir))?;
    Ok(disk.f_bavail.saturating_mul(disk.f_frsize) / MIB)
}

fn judge_space(free_mb: u64, wanted_mb: u64) -> Check {
    if free_mb >= wanted_mb {
        return Check::new("disk space", Verdict::Good, format!("{free_mb} MiB free"));
    }
    let text = format!("{free_mb} MiB free, storage.free_mb_min wants {wanted_mb}; a node stops when a write fails");
    Check::new("disk space", Verdict::Warn, text)
}

fn address(listen: SocketAddr, running: bool) -> Check {
    let name = "JSON-RPC address";
    match TcpListener::bind(listen) {
        Ok(_) if listen.ip().is_loopback() => Check::new(name, Verdict::Good, format!("{listen}, free")),
        Ok(_) => Check::new(name, Verdict::Warn, format!("{listen} is plain HTTP for a whole network; {GATEWAY}")),
        Err(error) if error.kind() == io::ErrorKind::AddrInUse && running => {
            Check::new(name, Verdict::Good, format!("{listen}, in use while the node runs"))
        }
        Err(error) => {
            let text = format!("{listen}: {error}; change rpc.listen, or stop what uses the port");
            Check::new(name, Verdict::Bad, text)
        }
    }
}

const GATEWAY: &str = "listen on loopback and put a TLS proxy before it";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn little_space_is_told_before_a_write_fails() {
        assert_eq!(judge_space(256, 256).verdict, Verdict::Good);
        assert_eq!(judge_space(255, 256).verdict, Verdict::Warn);
    }

    #[test]
    fn an_address_in_use_is_bad_unless_the_node_runs() {
        let taken = TcpListener::bind("127.0.0.1:0").unwrap();
        let listen = taken.local_addr().unwrap();
        assert_eq!(address(listen, false).verdict, Verdict::Bad);
        assert_eq!(address(listen, true).verdict, Verdict::Good);
        assert_eq!(address("0.0.0.0:0".parse().unwrap(), false).verdict, Verdict::Warn);
        assert_eq!(address("127.0.0.1:0".parse().unwrap(), false).verdict, Verdict::Good);
    }

    #[test]
    fn a_lock_of_another_descriptor_is_seen() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("guard.lock");
        let file = fs::File::create(&path).unwrap();
        assert!(!is_locked(&path));
        file.lock().unwrap();
        assert!(is_locked(&path));
        assert!(!is_locked(&directory.path().join("absent")));
    }

    #[test]
    fn a_lock_on_the_same_inode_of_another_file_system_is_not_taken_for_it() {
        let locks = "1: FLOCK  ADVISORY  WRITE 812 fd:01:131077 0 EOF\n2: POSIX  ADVISORY  READ 9 00:2f:42 0 EOF\n";
        assert!(names_file(locks, (0xfd, 1), 131_077));
        assert!(names_file(locks, (0, 0x2f), 42));
        assert!(!names_file(locks, (0xfd, 2), 131_077), "another device");
        assert!(!names_file(locks, (0xfd, 1), 31_077), "another inode");
        assert!(!names_file(locks, (0xfd, 1), 42));
    }
}
