//! Network namespaces with their interfaces, made by `ip`.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Set in a process that has the network for itself.
const MARK: &str = "BIXI_PRIVATE_NETWORK";

/// Runs this program again with a network, mounts and process numbers of its own, so that whatever it makes there ends with it, even when
/// it is killed. `Ok(true)` in such a process; in another one, `Ok(false)` after its run; the error says why this machine does not allow it.
///
/// # Panics
/// When the program in it failed.
pub fn private_network(arguments: &[&str]) -> Result<bool, String> {
    if std::env::var_os(MARK).is_some() {
        return Ok(true);
    }
    let world = ["--net", "--mount", "--pid", "--fork", "--kill-child", "--mount-proc", "--propagation", "private"];
    let can = Command::new("unshare").args(world).args(["ip", "link", "add", "type", "veth"]).output();
    let can = can.map_err(|error| format!("unshare: {error}"))?;
    if !can.status.success() {
        return Err(String::from_utf8_lossy(&can.stderr).trim().to_owned());
    }
    let own = std::env::current_exe().map_err(|error| error.to_string())?;
    let mut command = Command::new("unshare");
    let status = command.args(world).arg(own).args(arguments).env(MARK, "1").status();
    let status = status.map_err(|error| format!("unshare: {error}"))?;
    assert!(status.success(), "in a network of its own: {status}");
    Ok(false)
}

/// The namespace of a place.
pub(super) fn name(place: usize) -> String {
    format!("place{place}")
}

/// Makes a place; returns the device file of its end of the wire.
pub(super) fn make(place: usize, scratch: &Path) -> Result<PathBuf, String> {
    if place == 0 {
        prepare()?;
    }
    let (name, address, control) = (name(place), super::Wire::address(place), super::Wire::control_address(place));
    let steps = [
        format!("netns add {name}"),
        format!("link add w{place} type veth peer name wire0 netns {name}"),
        format!("link add m{place} type veth peer name control0 netns {name}"),
        format!("addr add 198.18.{place}.1/30 dev m{place}"),
        format!("link set m{place} up"),
        format!("link set w{place} up"),
        // Frames as they are on a wire: none is longer than the MTU, so none is lost or delayed for many.
        format!("-n {name} link set wire0 address 02:00:00:00:00:{place:02x} gso_max_segs 1"),
        format!("-n {name} addr add {address}/24 dev wire0"),
        format!("-n {name} addr add {control}/30 dev control0"),
        format!("-n {name} link set wire0 up"),
        format!("-n {name} link set control0 up"),
        format!("-n {name} link set lo up"),
        format!("link add link w{place} name t{place} type macvtap mode passthru"),
        format!("link set t{place} up"),
    ];
    steps.iter().try_for_each(|step| run("ip", step))?;
    device(place, scratch)
}

/// Mounts that show this network's names and interfaces, and no other's.
fn prepare() -> Result<(), String> {
    run("ip", "link set lo up")?;
    fs::create_dir_all("/run/netns").map_err(|error| format!("/run/netns: {error}"))?;
    run("mount", "-t tmpfs tmpfs /run/netns")?;
    run("mount", "-t sysfs sysfs /sys")
}

/// The kernel names the device in sysfs; which file it has elsewhere depends on the machine.
fn device(place: usize, scratch: &Path) -> Result<PathBuf, String> {
    let interface = PathBuf::from(format!("/sys/class/net/t{place}"));
    let at = |error: std::io::Error| format!("{}: {error}", interface.display());
    let entries = fs::read_dir(&interface).map_err(at)?.filter_map(Result::ok);
    let tap =
        entries.map(|entry| entry.file_name().to_string_lossy().into_owned()).find(|name| name.starts_with("tap"));
    let tap = tap.ok_or_else(|| format!("{} names no device", interface.display()))?;
    let numbers = fs::read_to_string(interface.join(tap).join("dev")).map_err(at)?;
    let file = scratch.join(format!("tap{place}"));
    run("mknod", &format!("{} c {}", file.display(), numbers.trim().replace(':', " ")))?;
    Ok(file)
}

fn run(program: &str, arguments: &str) -> Result<(), String> {
    let ran =
        Command::new(program).args(arguments.split(' ')).output().map_err(|error| format!("{program}: {error}"))?;
    let refusal = String::from_utf8_lossy(&ran.stderr);
    if ran.status.success() { Ok(()) } else { Err(format!("{program} {arguments}: {}", refusal.trim())) }
}
