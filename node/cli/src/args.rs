//! The command line: what `--help` shows is the documentation. Each concern has its arguments in its own module.

use clap::{Parser, Subcommand};

use crate::bench::BenchCommand;
use crate::chain::ChainCommand;
use crate::db::DbCommand;
use crate::demo::DemoArgs;
use crate::doctor::DoctorArgs;
use crate::failure::STATUSES;
use crate::hsm::HsmCommand;
use crate::run::RunArgs;
use crate::status::StatusArgs;
use crate::version::VersionArgs;

/// A permissioned-ledger node: FISCO BCOS's RPC, SM2/SM3/SM4, keys in an HSM, every byte on disk sealed.
#[derive(Debug, Parser)]
#[command(name = "bixi", version, arg_required_else_help = true, max_term_width = 100, after_help = STATUSES)]
pub(crate) struct Bixi {
    #[command(subcommand)]
    pub(crate) command: Command,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    Run(RunArgs),
    Demo(DemoArgs),
    #[command(subcommand)]
    Chain(ChainCommand),
    Status(StatusArgs),
    Doctor(DoctorArgs),
    #[command(subcommand)]
    Hsm(HsmCommand),
    #[command(subcommand)]
    Db(DbCommand),
    #[command(subcommand)]
    Bench(BenchCommand),
    Version(VersionArgs),
}

impl Command {
    /// Whether it may open a key device and answers no signal by itself.
    pub(crate) fn may_send_pin(&self) -> bool {
        match self {
            Self::Hsm(command) => !command.is_of_broker(),
            Self::Chain(_) | Self::Doctor(_) | Self::Db(_) => true,
            Self::Run(_) | Self::Demo(_) | Self::Status(_) | Self::Bench(_) | Self::Version(_) => false,
        }
    }
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
        assert_eq!((args.nodes, args.txs, args.exit, args.json), (4, 20_000, false, false));
    }

    #[test]
    fn every_command_says_what_it_does_and_how_it_ends() {
        use clap::CommandFactory as _;
        for mut command in Bixi::command().get_subcommands().cloned().collect::<Vec<_>>() {
            assert!(command.get_about().is_some(), "{}", command.get_name());
            let help = command.render_long_help().to_string();
            let leaf = command.get_subcommands().next().is_none();
            assert!(!leaf || help.contains("Exit status"), "{help}");
        }
    }

    #[test]
    fn no_argument_takes_a_pin() {
        for line in [["bixi", "run", "--pin", "1234"], ["bixi", "doctor", "--pin", "1234"]] {
            assert!(Bixi::try_parse_from(line).is_err());
        }
    }
}
