//! The command line. The doc comments are the help.

use std::path::{Path, PathBuf};
use std::str::FromStr as _;
use std::time::Duration;

use clap::{Args, Parser, Subcommand};
use clap_complete::Shell;

use crate::build::Stage;
use crate::codec::Codec;
use crate::family::Engine;
use crate::pack::Compression;
use crate::recipe::Overrides;
use crate::ui::Level;

mod amounts;
mod lock;
mod tools;

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

const BUILD_EXAMPLES: &str = "\
Examples:
  mkbase build debian                                  into out/debian-RELEASE-ARCH/
  mkbase build debian:12 --variant essential --arch arm64
  mkbase build ubuntu:24.04 --include ca-certificates,curl -o base
  mkbase build corp.toml:bookworm --set system.timezone=Asia/Tokyo
  mkbase build debian --mirror main=http://10.0.0.5/debian
  mkbase build debian --lock out/debian-trixie-amd64/mkbase.lock
  mkbase build corp.toml --locked                      only what corp.lock has
  mkbase build corp.toml --offline                     after: mkbase fetch corp.toml
  mkbase build debian -o - | docker import - base:13";

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

/// A recipe, and what the command line changes in it.
#[derive(Debug, Args)]
pub struct RecipeArgs {
    /// A built-in recipe or a file, and perhaps a release or alias of it
    ///
    /// `debian`, `debian:bookworm`, `debian:12`, `corp.toml`, `corp.toml:stable`. A name without a slash and
    /// without `.toml` is a built-in recipe's; `mkbase recipes` lists them.
    #[arg(value_name = "RECIPE[:RELEASE]")]
    pub recipe: String,
    /// Architecture of the image, in any spelling [default: the recipe's, else the host's]
    ///
    /// For another than the host's, an emulator must be registered with the kernel, since packages bring
    /// scripts that run programs: `apt-get install qemu-user-static binfmt-support`, for one.
    #[arg(long)]
    pub arch: Option<String>,
    /// Variant of the recipe
    #[arg(long)]
    pub variant: Option<String>,
    /// Packages to install besides those of the recipe
    #[arg(long, value_name = "PKG,…", value_delimiter = ',')]
    pub include: Vec<String>,
    /// Fetch a repository's packages from this address
    ///
    /// NAME is a repository of the recipe; every other repository at the same address goes with it. Given
    /// again, the addresses are tried in turn. The image keeps the recipe's address, and a user name or
    /// password in URL stays out of all that is written.
    #[arg(long, value_name = "NAME=URL")]
    pub mirror: Vec<String>,
    /// Set a key of the recipe
    ///
    /// KEY is dotted, and an entry of a list goes by its name: `system.docs=true`,
    /// `repository.security.enabled=false`. VALUE is TOML, or else a plain string. docs/recipes.md has
    /// every key.
    #[arg(long, value_name = "KEY=VALUE")]
    pub set: Vec<String>,
}

/// Where downloads are kept, and how many threads there are.
#[derive(Debug, Args)]
pub struct CacheArgs {
    /// Folder of downloaded packages [default: the mkbase folder in the user's cache folder]
    #[arg(long, value_name = "DIR", env = "MKBASE_CACHE")]
    pub cache: Option<PathBuf>,
    /// Threads to use [default: one for each core]
    #[arg(short, long, value_name = "N", value_parser = parse_jobs)]
    pub jobs: Option<usize>,
}

/// What to build, how, and where to.
#[derive(Debug, Args)]
pub struct BuildArgs {
    /// The recipe.
    #[command(flatten)]
    pub what: RecipeArgs,
    /// Folder to write, or - for the tar on standard output [default: out/NAME-RELEASE-ARCH]
    ///
    /// A folder of an earlier build is replaced whole.
    #[arg(short, long, value_name = "DIR")]
    pub output: Option<PathBuf>,
    /// Compression: xz, zstd, gzip or none, and perhaps a level [default: xz; none for -o -]
    ///
    /// Levels are 0-9 for xz, 1-19 for zstd and 1-9 for gzip: `zstd:19`.
    #[arg(long, value_name = "CODEC[:LEVEL]", value_parser = Compression::from_str)]
    pub compress: Option<Compression>,
    /// Which packages.
    #[command(flatten)]
    pub locking: LockingArgs,
    /// What installs the packages [default: native for Debian packages, dnf for RPM packages]
    #[arg(long, value_enum)]
    pub engine: Option<Engine>,
    /// Where programs come from.
    #[command(flatten)]
    pub tools: ToolsArgs,
    /// The cache.
    #[command(flatten)]
    pub cache: CacheArgs,
    /// Leave the tree where it was made, and say where
    #[arg(long)]
    pub keep: bool,
    /// Seconds that a single command in the image may take before it counts as hanging
    #[arg(long, value_name = "SECONDS", value_parser = parse_seconds, default_value = "1800")]
    pub time_limit: Duration,
    /// End after this stage, leave the tree there and print its path
    #[arg(long, hide = true, value_enum)]
    pub stop_after: Option<Stage>,
}

/// What to check.
#[derive(Debug, Args)]
pub struct CheckArgs {
    /// A folder with a root filesystem, a tarball in any of the compressions, or an output folder
    pub path: PathBuf,
    /// Checks or clean groups to leave out
    #[arg(long, value_name = "NAME,…", value_delimiter = ',')]
    pub skip: Vec<String>,
}

impl RecipeArgs {
    /// What these options change in the recipe. `epoch` is `SOURCE_DATE_EPOCH`. A wrong one is a usage error.
    pub fn overrides(&self, epoch: Option<i64>) -> anyhow::Result<Overrides> {
        Ok(Overrides {
            release: None,
            arch: self.arch.clone(),
            variant: self.variant.clone(),
            include: self.include.clone(),
            mirrors: parse_mirrors("--mirror", &self.mirror)?,
            auth: crate::recipe::credentials(),
            sets: self.set.clone(),
            epoch,
        })
    }
}

impl BuildArgs {
    /// Whether the tar goes to standard output.
    pub fn to_stdout(&self) -> bool {
        self.output.as_deref() == Some(Path::new("-"))
    }

    /// The compression that was asked for, or the default of where the output goes.
    pub fn compression(&self) -> Compression {
        let codec = if self.to_stdout() { Codec::None } else { Codec::Xz };
        self.compress.unwrap_or(Compression { codec, level: None })
    }
}

/// Reads `NAME=URL` each. What is wrong with it is said without repeating it, for it may hold a password; clap, which
/// repeats values, has no part in it.
fn parse_mirrors(option: &str, texts: &[String]) -> anyhow::Result<Vec<(String, String)>> {
    let parse = |text: &String| match text.split_once('=') {
        Some((name, url)) if crate::recipe::check_name(name).is_ok() => Ok((name.to_string(), url.to_string())),
        _ => Err(crate::error::usage(format!("{option}: write NAME=URL, as in main=http://10.0.0.5/debian"))),
    };
    texts.iter().map(parse).collect()
}

fn parse_seconds(text: &str) -> Result<Duration, String> {
    match text.parse::<u32>() {
        Ok(seconds) if seconds > 0 => Ok(Duration::from_secs(seconds.into())),
        _ => Err("it must be a number of seconds, 1 or more".into()),
    }
}

fn parse_jobs(text: &str) -> Result<usize, String> {
    /// More threads than any machine has cores are a slip of the keyboard.
    const MOST: usize = 4096;
    match text.parse::<usize>() {
        Ok(jobs) if (1..=MOST).contains(&jobs) => Ok(jobs),
        _ => Err(format!("it must be a number from 1 to {MOST}")),
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    use super::*;

    #[test]
    fn the_definition_holds_together() {
        Cli::command().debug_assert();
    }

    fn build(arguments: &[&str]) -> Result<BuildArgs, clap::Error> {
        let all = ["mkbase", "build"].iter().chain(arguments);
        match Cli::try_parse_from(all)?.command {
            Command::Build(build) => Ok(*build),
            other => panic!("{other:?}"),
        }
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
    fn build_options_reach_the_overrides() {
        let build = build(&[
            "debian:12",
            "--arch=arm64",
            "--variant=essential",
            "--include=a,b",
            "--include=c",
            "--mirror=main=http://h/?a=b",
            "--set=a=b=c",
            "-o",
            "-",
            "--jobs=2",
            "--engine=debootstrap",
        ])
        .expect("it parses");
        assert_eq!(
            (build.what.recipe.as_str(), build.cache.jobs, build.engine),
            ("debian:12", Some(2), Some(Engine::Debootstrap))
        );
        assert!(build.to_stdout());
        assert_eq!(build.compression(), Compression { codec: Codec::None, level: None });
        let overrides = build.what.overrides(Some(5)).expect("they are right");
        assert_eq!((overrides.arch.as_deref(), overrides.variant.as_deref()), (Some("arm64"), Some("essential")));
        assert_eq!(overrides.include, ["a", "b", "c"]);
        assert_eq!(overrides.mirrors, [("main".to_string(), "http://h/?a=b".to_string())]);
        assert_eq!((overrides.sets.as_slice(), overrides.epoch), (["a=b=c".to_string()].as_slice(), Some(5)));
    }

    #[test]
    fn compressions() {
        for (arguments, codec, level) in [
            (&["debian"][..], Codec::Xz, None),
            (&["debian", "-o-"], Codec::None, None),
            (&["debian", "-o-", "--compress=zstd:3"], Codec::Zstd, Some(3)),
        ] {
            let compression = build(arguments).expect("it parses").compression();
            assert_eq!(compression, Compression { codec, level }, "{arguments:?}");
        }
        let error = build(&["debian", "--compress=zst"]).expect_err("unknown").to_string();
        assert!(error.contains("did you mean 'zstd'?"), "{error}");
    }

    #[test]
    fn wrong_options_are_usage_errors() {
        for arguments in [
            &["debian", "--jobs=0"][..],
            &["debian", "--jobs=many"],
            &["debian", "--compress=zip"],
            &["debian", "--engine=apt"],
            &["debian", "-q", "-v"],
            &["debian", "--frobnicate"],
            &[],
        ] {
            assert_eq!(build(arguments).expect_err("it is wrong").exit_code(), 2, "{arguments:?}");
        }
    }

    #[test]
    fn a_wrong_mirror_is_not_repeated() {
        for text in ["secret", "=http://u:secret@h", "http://u:secret=@h", "http://u:secret@h"] {
            let build = build(&["debian", "--mirror", text]).expect("clap takes it");
            let error = build.what.overrides(None).expect_err(text);
            assert_eq!(crate::error::exit_code(&error), crate::error::Exit::Usage);
            assert!(error.to_string().contains("NAME=URL") && !error.to_string().contains("secret"), "{error}");
        }
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
