//! A node file written, with a comment above every key.

use std::fmt::{self, Write as _};

use bixi_types::NodeId;

use super::{HSM_BACKENDS, IO_BACKENDS, LOG_FORMATS, NodeConfig, PLACEMENT_MODES, RANDOM_TESTS, accelerator, p2p};
use crate::document::{quoted, word_of};

const HEADER: &str = "\
# Bixi node settings. Relative paths are relative to this file.
# Every key may be left out; the value shown here then holds. Units stand at the end of each name.

";

pub(super) fn array<T: fmt::Display>(entries: impl IntoIterator<Item = T>) -> String {
    let entries: Vec<String> = entries.into_iter().map(quoted).collect();
    format!("[{}]", entries.join(", "))
}

/// Every key, its comment and its value.
pub(super) fn node(config: &NodeConfig) -> String {
    let mut out = String::from(HEADER);
    render_into(config, &mut out).expect("writing to a String cannot fail");
    out
}

fn render_into(c: &NodeConfig, out: &mut String) -> fmt::Result {
    writeln!(out, "# Name in logs and RPC answers.\nname = {}", quoted(&c.name))?;
    writeln!(out, "# The chain's genesis; every node must hold the same.\ngenesis = {}", quoted(c.genesis.display()))?;
    writeln!(
        out,
        "# Ledger, consensus log, sign-once guard, key vault: all sealed.\ndata_dir = {}",
        quoted(c.data_dir.display())
    )?;
    writeln!(out, "# true refuses what is fit for development only.\nproduction = {}", c.production)?;
    writeln!(
        out,
        "# Bound on caches, write buffers, the pool and what clients make the node hold, MiB (64 to 1048576).\nmemory_mb_max = {}\n",
        c.memory_mb_max
    )?;

    writeln!(out, "[rpc]\n# JSON-RPC, /healthz and /metrics. Plain HTTP: keep it on loopback or behind TLS.")?;
    writeln!(out, "listen = {}", quoted(c.rpc.listen))?;
    writeln!(out, "connections_max = {}", c.rpc.connections_max)?;
    writeln!(out, "body_bytes_max = {}", c.rpc.body_bytes_max)?;
    writeln!(out, "batch_calls_max = {}", c.rpc.batch_calls_max)?;
    writeln!(
        out,
        "# How long sendTransaction waits for its receipt.\nreceipt_timeout_ms = {}\n",
        c.rpc.receipt_timeout_ms
    )?;

    p2p::render_into(&c.p2p, out)?;

    writeln!(
        out,
        "[hsm]\n# What the module is: \"pkcs11\", \"sdf\" (GM/T 0018) or \"tpm\" (TPM 2.0 with SM2).\nbackend = {}",
        quoted(word_of(&HSM_BACKENDS, c.hsm.backend))
    )?;
    writeln!(
        out,
        "# Any PKCS#11 module, SDF library or TPM (/dev/tpmrm0); the shipped module keeps keys in a sealed store, in process memory while in use."
    )?;
    writeln!(out, "module = {}", quoted(c.hsm.module.display()))?;
    writeln!(
        out,
        "# Vendor profile: a shipped name or a file. Empty: chosen by the module's own words.\nprofile = {}",
        quoted(&c.hsm.profile)
    )?;
    writeln!(out, "token = {}", quoted(&c.hsm.token))?;
    writeln!(
        out,
        "# Configuration of the shipped module; empty for other modules.\ntoken_config = {}",
        quoted(c.hsm.token_config.display())
    )?;
    writeln!(
        out,
        "# Socket of `bixi hsm serve`, which holds module, PIN, guard and audit log in a process of its own; the node then\n# opens no module and reads no PIN. Empty: the node's own process holds them, and a library that hangs hangs it.\nbroker = {}",
        quoted(c.hsm.broker.display())
    )?;
    writeln!(
        out,
        "# The user (number) whose broker this node believes, besides root's and its own user's.\nbroker_uid = {}",
        c.hsm.broker_uid
    )?;
    writeln!(
        out,
        "# With production = true keys in a software token, where whoever reads this host's memory finds them, are refused unless\n# this says true; `bixi doctor` goes on to warn.\nsoftware_token_allowed = {}",
        c.hsm.software_token_allowed
    )?;
    writeln!(
        out,
        "# Older data keys are dropped by `bixi db rotate-key --drop` on a stopped node; with true here, where the device is held, also while it runs:\n# whoever takes the node over can then make unreadable what was moved elsewhere, such as older files of the audit trail.\ndrop_at_work_allowed = {}",
        c.hsm.drop_at_work_allowed
    )?;
    writeln!(out, "# \"file:PATH\" (mode 0400), \"fd:NUMBER\", \"credential:NAME\" (systemd) or \"prompt\".")?;
    writeln!(out, "pin = {}", quoted(&c.hsm.pin))?;
    writeln!(out, "consensus_key = {}", quoted(&c.hsm.consensus_key))?;
    writeln!(out, "tls_key = {}", quoted(&c.hsm.tls_key))?;
    writeln!(out, "kek = {}", quoted(&c.hsm.kek))?;
    writeln!(out, "sessions_max = {}\ntimeout_ms = {}", c.hsm.sessions_max, c.hsm.timeout_ms)?;
    writeln!(
        out,
        "# How long the device may take to be found and opened; its verdict on the PIN may take twice as long. One that takes\n# longer hangs: its process ends, and a PIN that had no verdict by then counts as tried.\nopen_timeout_ms = {}",
        c.hsm.open_timeout_ms
    )?;
    writeln!(
        out,
        "# Public keys (128 hexadecimal digits) of officers: two of them together may have another checkpoint signed\n# (`bixi hsm officer`, `bixi hsm guard override`).\nofficers = {}",
        array(c.hsm.officers.iter().map(NodeId::to_hex))
    )?;
    writeln!(
        out,
        "# Backend sdf: the highest index looked at for keys (1 to 4096).\nsdf_index_max = {}",
        c.hsm.sdf_index_max
    )?;
    writeln!(
        out,
        "# Test of the device's random bit generator at each start: \"power-on\" (GM/T 0062, a sound device fails it less than once\n# in a million starts), \"strict\" (by the letter, a sound hardware device fails one start in seven) or \"off\".\nrandom_test = {}\n",
        quoted(word_of(&RANDOM_TESTS, c.hsm.random_test))
    )?;

    accelerator::render_into(&c.accelerator, out)?;

    writeln!(out, "[txpool]\ntransactions_max = {}", c.txpool.transactions_max)?;
    writeln!(out, "account_transactions_max = {}", c.txpool.account_transactions_max)?;
    writeln!(out, "connection_pending_max = {}", c.txpool.connection_pending_max)?;
    writeln!(out, "expiry_ms = {}", c.txpool.expiry_ms)?;
    writeln!(out, "# Signature-checking threads; 0 takes what placement gives.\nverifiers = {}\n", c.txpool.verifiers)?;

    writeln!(out, "[consensus]\npropose_timeout_ms = {}", c.consensus.propose_timeout_ms)?;
    writeln!(out, "vote_timeout_ms = {}", c.consensus.vote_timeout_ms)?;
    writeln!(out, "clock_drift_ms_max = {}", c.consensus.clock_drift_ms_max)?;
    writeln!(
        out,
        "# How long a builder collects transactions for a block.\nblock_interval_ms = {}\n",
        c.consensus.block_interval_ms
    )?;

    writeln!(
        out,
        "[sync]\n# A node so many heights behind the chain fetches a certified snapshot instead of executing every block. It keeps what it\n# has, and lacks most blocks between and all their receipts; headers and state are whole. 0: never, for a full history."
    )?;
    writeln!(out, "snapshot_after_blocks = {}\n", c.sync.snapshot_after_blocks)?;

    writeln!(
        out,
        "[storage]\n# \"auto\", \"pread\", \"uring\" or \"tokio-uring\".\nio = {}",
        quoted(word_of(&IO_BACKENDS, c.storage.io))
    )?;
    writeln!(
        out,
        "# Free space a node wants on the disk of data_dir, MiB; `bixi doctor` warns below it.\nfree_mb_min = {}",
        c.storage.free_mb_min
    )?;
    writeln!(
        out,
        "# How much a running node seals anew in a second when its data keys are exchanged, MiB, and a tenth of the\n# time at most, so that it is less where others are busy, and nothing for a while where the disk has a bad\n# moment; `bixi db rotate-key --rate-mib` overrides the rate.\nreseal_mb_per_second = {}",
        c.storage.reseal_mb_per_second
    )?;
    writeln!(
        out,
        "# How fast a running node reads its own files through for damage, MiB a second (0: not at all), and the days until the next pass.\nscrub_mb_per_second = {}\nscrub_days = {}\n",
        c.storage.scrub_mb_per_second, c.storage.scrub_days
    )?;

    writeln!(
        out,
        "[placement]\n# \"auto\" pins threads by topology, \"off\" leaves them to the kernel.\nmode = {}\n",
        quoted(word_of(&PLACEMENT_MODES, c.placement))
    )?;

    writeln!(
        out,
        "[log]\n# A level, or directives such as \"info,bixi_consensus=debug\". Officers' commands take the level \"info\" for \"warn\".\nfilter = {}",
        quoted(&c.log.filter)
    )?;
    writeln!(out, "# \"text\" or \"json\".\nformat = {}", quoted(word_of(&LOG_FORMATS, c.log.format)))
}
