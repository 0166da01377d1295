//! The options of a build, and those that it shares with the commands around locks.

use std::path::{Path, PathBuf};
use std::str::FromStr as _;
use std::time::Duration;

use clap::Args;

use super::{LockingArgs, ToolsArgs};
use crate::build::Stage;
use crate::codec::Codec;
use crate::family::Engine;
use crate::pack::Compression;
use crate::recipe::Overrides;

pub const BUILD_EXAMPLES: &str = "\
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
    /// What installs the packages [default: native, and dnf for RPM packages]
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
pub fn parse_mirrors(option: &str, texts: &[String]) -> anyhow::Result<Vec<(String, String)>> {
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
    use clap::Parser as _;

    use super::super::{Cli, Command};
    use super::*;

    fn build(arguments: &[&str]) -> Result<BuildArgs, clap::Error> {
        let all = ["mkbase", "build"].iter().chain(arguments);
        match Cli::try_parse_from(all)?.command {
            Command::Build(build) => Ok(*build),
            other => panic!("{other:?}"),
        }
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
}
