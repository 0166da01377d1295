//! The command: parses, calls the library, maps the result to an exit code.

use std::process::ExitCode;

use anyhow::Result;
use clap::Parser as _;
use mkbase::cli::{Cli, Command};
use mkbase::error::{Exit, exit_code};
use mkbase::sandbox::{init, userns};
use mkbase::ui::{Level, Ui};
use mkbase::{commands, interrupt, work};

fn main() -> ExitCode {
    // The second processes of the program, which the library starts itself.
    let hidden = std::env::args_os().nth(1).unwrap_or_default();
    if hidden == init::ARGUMENT {
        std::process::exit(init::main());
    }
    if hidden == work::JANITOR_ARGUMENT {
        std::process::exit(work::janitor_main());
    }
    // Help and mistakes of the command line end the process here, the latter with exit code 2.
    let cli = Cli::parse();
    let ui = Ui::new(cli.verbosity.level());
    match run(&cli, &ui) {
        Ok(()) => Exit::Done.into(),
        Err(error) => {
            let exit = exit_code(&error);
            // With `-q` too: an exit code alone explains nothing.
            if exit == Exit::Faults && cli.verbosity.level() == Level::Quiet {
                return exit.into();
            }
            ui.error(&error);
            exit.into()
        }
    }
}

fn run(cli: &Cli, ui: &Ui) -> Result<()> {
    // In this order: a user namespace can be entered only by a process of one thread, and signals get one.
    if commands::needs_namespace(&cli.command) {
        userns::enter()?;
    }
    match cli.command {
        Command::Recipes { .. } | Command::Init { .. } | Command::Completions { .. } | Command::Man { .. } => {}
        _ => interrupt::listen()?,
    }
    match &cli.command {
        Command::Build(arguments) => commands::build::build(arguments, ui),
        Command::Check(arguments) => commands::check::check(arguments, ui),
        Command::Lock(arguments) => commands::lock::lock(arguments, ui),
        Command::Fetch(arguments) => commands::fetch::fetch(arguments, ui),
        Command::Cache(command) => commands::cache::cache(command, ui),
        Command::Recipes { name } => commands::print(&commands::recipes::recipes(name.as_deref())?),
        Command::Init { name } => commands::init::run(name.as_deref(), ui),
        Command::Completions { shell } => commands::print(commands::pages::completions(*shell)),
        Command::Man { dir } => commands::pages::man(dir),
    }
}
