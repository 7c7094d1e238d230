//! The command line: what `--help` shows is the documentation. Each concern has its arguments in its own module.

use clap::{Parser, Subcommand};

use crate::chain::ChainCommand;
use crate::demo::DemoArgs;
use crate::doctor::DoctorArgs;
use crate::run::RunArgs;
use crate::version::VersionArgs;

/// A permissioned-ledger node: FISCO BCOS's and Ethereum's RPC, SM2/SM3/SM4, keys in an HSM, every byte on disk sealed.
#[derive(Debug, Parser)]
#[command(name = "bixi", version, arg_required_else_help = true)]
pub(crate) struct Bixi {
    #[command(subcommand)]
    pub(crate) command: Command,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Run a node until SIGINT or SIGTERM.
    Run(RunArgs),
    /// Make a chain, run it, load it, verify it from outside and report.
    Demo(DemoArgs),
    /// The ceremony that makes a chain, whole or step by step.
    #[command(subcommand)]
    Chain(ChainCommand),
    /// Check a node's configuration, machine and key device.
    Doctor(DoctorArgs),
    /// Print the version and the processor kernels in use.
    Version(VersionArgs),
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        use clap::CommandFactory as _;
        Bixi::command().debug_assert();
    }

    #[test]
    fn demo_takes_the_defaults_of_its_help() {
        let parsed = Bixi::try_parse_from(["bixi", "demo"]).unwrap();
        let Command::Demo(args) = parsed.command else { panic!("not a demo") };
        assert_eq!((args.nodes, args.txs, args.exit, args.json), (1, 20_000, false, false));
    }

    #[test]
    fn no_argument_takes_a_pin() {
        for line in [["bixi", "run", "--pin", "1234"], ["bixi", "doctor", "--pin", "1234"]] {
            assert!(Bixi::try_parse_from(line).is_err());
        }
    }
}
