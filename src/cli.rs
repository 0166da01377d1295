//! The command line. The doc comments are the help.

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand};
use clap_complete::Shell;

use crate::ui::Level;

mod amounts;
mod build;
mod lock;
mod tools;

use build::BUILD_EXAMPLES;
pub use build::{BuildArgs, CacheArgs, RecipeArgs};
use lock::{CACHE_EXAMPLES, FETCH_EXAMPLES, LOCK_EXAMPLES};
pub use lock::{CacheCommand, FetchArgs, LockArgs, LockingArgs, RenewArgs};
pub use tools::ToolsArgs;

/// Columns of the help at most.
const WIDTH: usize = 100;

/// Options of every command stand after those of one, before `--help` and `--version`, which clap has at 999.
const LAST: usize = 900;

/// Make clean, verified, reproducible base images
///
/// mkbase goes from a recipe to a minimal root filesystem: a tarball with a Dockerfile, a lock of every
/// package, and a manifest. Nothing is unpacked whose hash does not chain up to a key that the recipe
/// pins. It needs a Linux kernel and nothing else on the host, and works with and without root.
#[derive(Debug, Parser)]
#[command(version, propagate_version = true, max_term_width = WIDTH, after_long_help = EXAMPLES)]
pub struct Cli {
    /// How much is said.
    #[command(flatten)]
    pub verbosity: Verbosity,
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

const EXAMPLES: &str = "\
Examples:
  mkbase build debian                                  the current stable release, into out/
  mkbase build debian:bookworm -o - | docker import - base:12
  mkbase build alpine:3.23                             what Alpine's own minirootfs holds
  mkbase recipes                                       what can be built
  mkbase init corp                                     start a recipe of your own, corp.toml

Exit codes: 0 done, 1 it failed, 2 the command line or the recipe is wrong, 11 check found faults,
130 interrupted.";

/// How much is said.
#[derive(Debug, Clone, Copy, Default, Args)]
pub struct Verbosity {
    /// Say nothing but warnings and errors
    #[arg(short, long, global = true, conflicts_with = "verbose", display_order = LAST)]
    pub quiet: bool,
    /// Say more: files removed, the largest packages, commands run
    #[arg(short, long, global = true, display_order = LAST)]
    pub verbose: bool,
}

impl Verbosity {
    /// As the ui takes it.
    pub fn level(self) -> Level {
        match self {
            Verbosity { quiet: true, .. } => Level::Quiet,
            Verbosity { verbose: true, .. } => Level::Verbose,
            _ => Level::Normal,
        }
    }
}

/// The commands.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Build an image
    ///
    /// Reads the recipe, verifies the archive, installs the packages, applies the recipe, cleans and checks
    /// the tree, and packs it. The output folder appears whole or not at all.
    #[command(after_long_help = BUILD_EXAMPLES)]
    Build(Box<BuildArgs>),
    /// Decide on every package of an image and write it down
    ///
    /// The lock is written beside the recipe, corp.lock for corp.toml; that of a built-in recipe goes into the
    /// current folder. Builds of the recipe then install exactly these packages. A lock that is there and fits
    /// is left alone. When the recipe has changed, the packages that are still needed keep their versions.
    /// What changed goes to standard output, a line for each package.
    #[command(after_long_help = LOCK_EXAMPLES)]
    Lock(Box<LockArgs>),
    /// Download what a build needs, for a build with --offline
    ///
    /// Brings the packages of the recipe's lock into the cache, and keys that the recipe has by address.
    #[command(after_long_help = FETCH_EXAMPLES)]
    Fetch(Box<FetchArgs>),
    /// Look at the cache of downloads, or remove old ones
    #[command(subcommand, after_long_help = CACHE_EXAMPLES)]
    Cache(CacheCommand),
    /// List the built-in recipes, or print one
    ///
    /// Without NAME: each recipe with its releases and variants, the default ones marked with a star. With
    /// NAME: the recipe itself, as a model for your own.
    #[command(after_long_help = RECIPES_EXAMPLES)]
    Recipes {
        /// The recipe to print
        name: Option<String>,
    },
    /// Write a commented recipe to start from
    ///
    /// With NAME it becomes the file NAME.toml, which must not exist yet; without, it goes to standard
    /// output.
    #[command(after_long_help = INIT_EXAMPLES)]
    Init {
        /// Name of the image
        name: Option<String>,
    },
    /// Look for faults in an image
    ///
    /// Runs the checklist that every build passes on any image: keys and ids of a machine, passwords,
    /// leftovers of package managers, permissions, the package database, and more. Faults go to standard
    /// output, one a line, and the exit code is 11.
    #[command(after_long_help = CHECK_EXAMPLES)]
    Check(CheckArgs),
    /// Print the completions of a shell
    ///
    /// The script goes to standard output; where it belongs depends on the shell.
    #[command(after_long_help = COMPLETIONS_EXAMPLES)]
    Completions {
        /// The shell
        #[arg(value_enum)]
        shell: Shell,
    },
    /// Write the manual pages
    ///
    /// One page for mkbase and one for each of its commands, into a folder that is made where it is missing.
    #[command(after_long_help = MAN_EXAMPLES)]
    Man {
        /// The folder
        dir: PathBuf,
    },
}

const RECIPES_EXAMPLES: &str = "\
Examples:
  mkbase recipes
  mkbase recipes debian > corp.toml";

const INIT_EXAMPLES: &str = "\
Examples:
  mkbase init corp                                     writes corp.toml
  mkbase init | less                                   only looks";

const CHECK_EXAMPLES: &str = "\
Examples:
  mkbase check out/debian-trixie-amd64
  mkbase check rootfs.tar.zst
  mkbase check /srv/chroot --skip log,apt/lists";

const COMPLETIONS_EXAMPLES: &str = "\
Examples:
  mkbase completions bash > ~/.local/share/bash-completion/completions/mkbase
  mkbase completions zsh > ~/.zfunc/_mkbase
  mkbase completions fish > ~/.config/fish/completions/mkbase.fish";

const MAN_EXAMPLES: &str = "\
Examples:
  mkbase man ~/.local/share/man/man1";

/// What to check.
#[derive(Debug, Args)]
pub struct CheckArgs {
    /// A folder with a root filesystem, a tarball in any of the compressions, or an output folder
    pub path: PathBuf,
    /// Checks or clean groups to leave out
    #[arg(long, value_name = "NAME,…", value_delimiter = ',')]
    pub skip: Vec<String>,
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    use super::*;

    #[test]
    fn the_definition_holds_together() {
        Cli::command().debug_assert();
    }

    #[test]
    fn no_line_of_help_is_too_long_and_every_command_has_examples() {
        let mut top = Cli::command().term_width(WIDTH);
        top.build();
        let commands: Vec<_> =
            top.get_subcommands().map(|c| c.get_name().to_string()).filter(|n| n != "help").collect();
        let helps = commands.iter().map(|name| vec!["mkbase", name, "--help"]).chain([vec!["mkbase", "--help"]]);
        for arguments in helps {
            let error = Cli::command().term_width(WIDTH).try_get_matches_from(&arguments).expect_err("it is help");
            assert_eq!(error.kind(), clap::error::ErrorKind::DisplayHelp, "{arguments:?}");
            let help = error.to_string();
            assert!(help.contains("Examples:\n  mkbase "), "{arguments:?}");
            for line in help.lines() {
                assert!(line.chars().count() <= WIDTH, "{arguments:?}: {line}");
            }
        }
        assert_eq!(commands, ["build", "lock", "fetch", "cache", "recipes", "init", "check", "completions", "man"]);
    }

    /// Examples that no longer parse would teach what is wrong.
    #[test]
    fn examples_parse() {
        let all = [
            EXAMPLES,
            BUILD_EXAMPLES,
            LOCK_EXAMPLES,
            FETCH_EXAMPLES,
            CACHE_EXAMPLES,
            RECIPES_EXAMPLES,
            INIT_EXAMPLES,
            CHECK_EXAMPLES,
            COMPLETIONS_EXAMPLES,
            MAN_EXAMPLES,
        ];
        let mut seen = 0;
        for line in all.iter().flat_map(|text| text.lines()).filter(|line| line.starts_with("  mkbase ")) {
            let command = line.trim_start().split("   ").next().unwrap_or_default();
            let command = command.split(['|', '>']).next().unwrap_or_default();
            Cli::try_parse_from(command.split_whitespace()).unwrap_or_else(|error| panic!("{line}: {error}"));
            seen += 1;
        }
        assert!(seen > 15, "{seen}");
    }

    #[test]
    fn verbosity_goes_before_or_after_the_command() {
        for (arguments, expected) in [
            (&["mkbase", "recipes"][..], Level::Normal),
            (&["mkbase", "-q", "recipes"], Level::Quiet),
            (&["mkbase", "recipes", "-v"], Level::Verbose),
        ] {
            let level = Cli::try_parse_from(arguments).expect("it parses").verbosity.level();
            assert_eq!(level, expected, "{arguments:?}");
        }
    }
}
