//! The options around locks and the cache.

use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Subcommand};

use super::amounts::{parse_age, parse_size};
use super::{CacheArgs, RecipeArgs, ToolsArgs};

pub(super) const LOCK_EXAMPLES: &str = "\
Examples:
  mkbase lock corp.toml                                writes corp.lock
  mkbase lock corp.toml --update                       all packages, the newest versions
  mkbase lock corp.toml --update openssl libssl3t64    these only, and what they need newer
  mkbase lock corp.toml:bookworm -o corp-bookworm.lock";

pub(super) const FETCH_EXAMPLES: &str = "\
Examples:
  mkbase fetch corp.toml
  mkbase fetch debian --lock out/debian-trixie-amd64/mkbase.lock --cache /media/usb/cache";

pub(super) const CACHE_EXAMPLES: &str = "\
Examples:
  mkbase cache info
  mkbase cache prune                                   what was not used for 30 days
  mkbase cache prune --older-than 2w --max-size 5G";

/// How a build comes to its packages.
#[derive(Debug, Args)]
pub struct LockingArgs {
    /// Install exactly the packages of this lock [default: the lock beside the recipe, if it fits]
    ///
    /// The same lock and recipe give the same bytes. Without a lock the newest packages are taken.
    #[arg(long, value_name = "FILE", conflicts_with = "update")]
    pub lock: Option<PathBuf>,
    /// Fail if there is no lock that fits the recipe
    #[arg(long, conflicts_with_all = ["update", "allow_rollback"])]
    pub locked: bool,
    /// Use no network: the lock says what to install, and the cache has it
    ///
    /// Implies --locked. `mkbase fetch` fills the cache.
    #[arg(long, conflicts_with_all = ["update", "allow_rollback", "refresh_tools"])]
    pub offline: bool,
    /// Whether the lock is made anew.
    #[command(flatten)]
    pub renew: RenewArgs,
}

/// How a lock is made anew.
#[derive(Debug, Args)]
pub struct RenewArgs {
    /// Renew the lock: with all its packages, or only those named as PKG
    ///
    /// The other packages keep their versions where the repositories still have them and the named ones work
    /// with them. What changed goes to standard output.
    #[arg(long)]
    pub update: bool,
    /// Packages to renew, with --update [default: all]
    #[arg(value_name = "PKG", value_delimiter = ',')]
    pub packages: Vec<String>,
    /// Take a repository whose index is older than the one the lock has seen
    #[arg(long)]
    pub allow_rollback: bool,
}

/// What to lock.
#[derive(Debug, Args)]
pub struct LockArgs {
    /// The recipe.
    #[command(flatten)]
    pub what: RecipeArgs,
    /// Which packages.
    #[command(flatten)]
    pub renew: RenewArgs,
    /// File to write, or - for standard output [default: the recipe's name with .lock]
    #[arg(short, long, value_name = "FILE")]
    pub output: Option<PathBuf>,
    /// Where programs come from.
    #[command(flatten)]
    pub tools: ToolsArgs,
    /// The cache.
    #[command(flatten)]
    pub cache: CacheArgs,
}

/// What to fetch.
#[derive(Debug, Args)]
pub struct FetchArgs {
    /// The recipe.
    #[command(flatten)]
    pub what: RecipeArgs,
    /// Fetch the packages of this lock [default: the lock beside the recipe]
    #[arg(long, value_name = "FILE")]
    pub lock: Option<PathBuf>,
    /// Where programs come from.
    #[command(flatten)]
    pub tools: ToolsArgs,
    /// The cache.
    #[command(flatten)]
    pub cache: CacheArgs,
}

/// What to do with the cache.
#[derive(Debug, Subcommand)]
pub enum CacheCommand {
    /// Say where the cache is and how much it holds
    #[command(after_long_help = CACHE_EXAMPLES)]
    Info {
        /// Folder of downloads and compressed segments [default: the mkbase folder in the user's cache folder]
        #[arg(long, value_name = "DIR", env = "MKBASE_CACHE")]
        cache: Option<PathBuf>,
    },
    /// Remove what was not used lately
    ///
    /// Builds may run meanwhile: what they may be using stays. Files in the folder that are none of
    /// mkbase's are left alone.
    #[command(after_long_help = CACHE_EXAMPLES)]
    Prune {
        /// What was not used for longer than this: 12h, 30d, 2w [default: 30d without --max-size]
        #[arg(long, value_name = "TIME", value_parser = parse_age)]
        older_than: Option<Duration>,
        /// What was used least lately, until this much is left: 500M, 5G, 4GiB
        #[arg(long, value_name = "SIZE", value_parser = parse_size)]
        max_size: Option<u64>,
        /// Folder of downloads and compressed segments [default: the mkbase folder in the user's cache folder]
        #[arg(long, value_name = "DIR", env = "MKBASE_CACHE")]
        cache: Option<PathBuf>,
    },
}

#[cfg(test)]
mod tests {
    use clap::Parser as _;

    use super::super::{Cli, Command};

    fn parse(line: &str) -> Result<Command, clap::Error> {
        Cli::try_parse_from(line.split(' ')).map(|cli| cli.command)
    }

    #[test]
    fn packages_to_update_stand_anywhere_after_the_recipe() {
        for line in [
            "mkbase lock r.toml --update a b,c",
            "mkbase lock --update r.toml a b c",
            "mkbase lock r.toml a --update b --arch arm64 c",
            "mkbase build r.toml --update a b c",
        ] {
            let (what, renew) = match parse(line) {
                Ok(Command::Lock(lock)) => (lock.what, lock.renew),
                Ok(Command::Build(build)) => (build.what, build.locking.renew),
                other => panic!("{line}: {other:?}"),
            };
            assert_eq!((what.recipe.as_str(), renew.update), ("r.toml", true), "{line}");
            assert_eq!(renew.packages, ["a", "b", "c"], "{line}");
        }
    }

    #[test]
    fn what_contradicts_itself_is_refused() {
        for line in [
            "mkbase build r.toml --locked --update",
            "mkbase build r.toml --offline --update",
            "mkbase build r.toml --lock x --update",
            "mkbase build r.toml --offline --allow-rollback",
            "mkbase lock",
            "mkbase fetch r.toml --update",
            "mkbase cache",
            "mkbase cache prune --older-than soon",
            "mkbase cache prune --max-size -1",
        ] {
            assert_eq!(parse(line).expect_err(line).exit_code(), 2, "{line}");
        }
        for line in ["mkbase build r.toml --lock x --locked --offline", "mkbase cache prune --max-size=5G"] {
            parse(line).expect(line);
        }
    }
}
