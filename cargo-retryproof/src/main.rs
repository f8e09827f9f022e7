//! `cargo retryproof`: runs, lists, replays, explains and exports the checks of retryproof.

mod failure;
mod text;
mod project;
mod results;
mod table;
mod run;
mod step;
mod explain;
mod export;
mod review;
mod page;
mod first_test;
mod self_test;

use std::io::{self, Write};
use std::process::ExitCode;

use clap::{Args, Parser, Subcommand, ValueEnum};

use crate::failure::{Exit, Failure};

/// As cargo calls it: `cargo-retryproof retryproof …`.
#[derive(Parser)]
#[command(name = "cargo", bin_name = "cargo")]
enum Cargo {
    /// Runs, lists, replays, explains and exports the checks of retryproof
    #[command(
        version,
        after_help = "Exit codes: 0 all green, 1 a check or a test failed, 2 wrong usage or no package here, 3 the build failed, \
4 nothing to show, or a file that cannot be used."
    )]
    Retryproof {
        #[command(subcommand)]
        command: Command,
    },
}

#[derive(Subcommand)]
enum Command {
    /// Runs `cargo test`, and lists the checks with their verdicts, the slowest first
    Test(TestArgs),
    /// Lists the checks of the last run
    List {
        #[command(flatten)]
        output: OutputArgs,
    },
    /// Runs one scenario, and shows its timeline
    Replay {
        /// The scenario, as the report prints it
        #[arg(required = true)]
        scenario: Vec<String>,
        /// Walks through the timeline event by event
        #[arg(long)]
        step: bool,
        /// Arguments for `cargo test`
        #[arg(last = true)]
        cargo: Vec<String>,
    },
    /// Explains a code of a report, such as RP0002; without a code, lists all of them
    Explain { code: Option<String> },
    /// Shows each new finding of tests with a ratchet, and records those that you accept
    Review,
    /// Opens the page of the last run in a browser
    Report {
        /// Prints the path of the page instead
        #[arg(long)]
        print: bool,
    },
    /// Writes a first test
    Init {
        #[arg(long, value_enum, default_value = "plain")]
        stack: first_test::Stack,
        /// The file to write, in the package of this folder
        #[arg(long, default_value = "tests/retryproof.rs")]
        path: std::path::PathBuf,
    },
    /// Checks that retryproof works in this setup: finds planted bugs, and passes a correct job
    SelfTest,
    /// Prints the checks of the last run in a format of another tool
    Export {
        #[arg(long, value_enum)]
        format: export::Format,
    },
}

#[derive(Args)]
struct TestArgs {
    /// The maximum number of deviations per run, for all checks
    #[arg(long)]
    deviations: Option<usize>,
    /// One shard of each exploration: `2/5` is the second of five
    #[arg(long, value_name = "K/N", value_parser = shard)]
    shard: Option<String>,
    #[command(flatten)]
    output: OutputArgs,
    /// Arguments for `cargo test`
    #[arg(last = true)]
    cargo: Vec<String>,
}

#[derive(Args)]
struct OutputArgs {
    /// How to print the checks
    #[arg(long, value_enum, default_value = "human")]
    message_format: MessageFormat,
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum MessageFormat {
    Human,
    Json,
}

fn shard(text: &str) -> Result<String, String> {
    let is_shard = |(number, of): (u64, u64)| (1..=of).contains(&number);
    let both = text.split_once('/').and_then(|(k, n)| Some((k.parse().ok()?, n.parse().ok()?)));
    match both.is_some_and(is_shard) {
        true => Ok(text.to_owned()),
        false => Err("write `k/n`, as in `2/5`, the second of five".to_owned()),
    }
}

fn main() -> ExitCode {
    let Cargo::Retryproof { command } = Cargo::parse();
    let mut out = io::stdout().lock();
    let done = carry_out(command, &mut out).and_then(|exit| {
        out.flush()?;
        Ok(exit)
    });
    match done {
        Ok(exit) => exit.into(),
        // A pager that was closed, or `head`.
        Err(Failure::Output(error)) if error.kind() == io::ErrorKind::BrokenPipe => Exit::Green.into(),
        Err(failure) => {
            let _ = writeln!(io::stderr(), "error: {failure}");
            failure.exit().into()
        }
    }
}

fn carry_out(command: Command, out: &mut impl Write) -> Result<Exit, Failure> {
    match command {
        Command::Test(args) => {
            let is_json = args.output.message_format == MessageFormat::Json;
            run::test(
                &run::Settings { deviations: args.deviations, shard: args.shard, is_json },
                &args.cargo,
                out,
            )
        }
        Command::List { output } => {
            let results = results::last(&project::Project::here()?)?;
            table::print(&results, output.message_format == MessageFormat::Json, out)?;
            Ok(Exit::Green)
        }
        Command::Replay { scenario, step, cargo } => run::replay(&scenario.join(" "), step, &cargo, out),
        Command::Explain { code } => explain::explain(code.as_deref(), out),
        Command::Review => review::review(&project::Project::here()?, &mut io::stdin().lock(), out),
        Command::Report { print } => page::open(&project::Project::here()?, print, out),
        Command::Init { stack, path } => first_test::write(&project::Project::here()?, stack, &path, out),
        Command::SelfTest => self_test::run(&project::Project::with_dependencies()?, out),
        Command::Export { format } => {
            let project = project::Project::here()?;
            export::export(&results::last(&project)?, &project, format, out)?;
            Ok(Exit::Green)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_arguments_are_consistent() {
        <Cargo as clap::CommandFactory>::command().debug_assert();
        assert_eq!(shard("2/5"), Ok("2/5".to_owned()));
        for wrong in ["0/5", "6/5", "half", "1/"] {
            assert!(shard(wrong).is_err(), "{wrong}");
        }
    }
}
