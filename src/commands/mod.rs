//! The commands: what stands between the command line and the library.

use std::ffi::OsString;
use std::io::Write as _;
use std::path::PathBuf;

use anyhow::Context as _;

use crate::cli::{CacheArgs, CacheCommand, Command, RecipeArgs, ToolsArgs};
use crate::error::usage;
use crate::fetch::{Fetcher, Settings};
use crate::plan::Plan;
use crate::recipe::{self, FamilyKind};
use crate::tools::{Wanted, shelf};

pub mod build;
pub mod cache;
pub mod check;
pub mod fetch;
pub mod init;
pub mod lock;
pub mod pages;
pub mod recipes;

/// What every command begins with that works on a recipe.
#[derive(Debug)]
pub struct Session {
    /// Threads to use.
    pub jobs: usize,
    /// Downloads into the cache.
    pub fetcher: Fetcher,
    /// The recipe with every choice made.
    pub plan: Plan,
    /// Where programs come from that are left to others.
    pub tools: Wanted,
}

impl Session {
    /// Opens the cache and reads the recipe. Offline, nothing is asked of the network from here on.
    pub fn new(what: &RecipeArgs, cache: &CacheArgs, tools: &ToolsArgs, offline: bool) -> anyhow::Result<Session> {
        let jobs = match cache.jobs {
            Some(jobs) => jobs,
            None => {
                std::thread::available_parallelism().context("counting the cores; give a number with --jobs")?.get()
            }
        };
        let settings = Settings { offline, ..Settings::default() };
        let fetcher = Fetcher::with_settings(&cache_folder(cache.cache.clone())?, jobs, settings)?;
        let overrides = what.overrides(recipe::source_date_epoch()?)?;
        let plan = recipe::load(&what.recipe, &overrides, &|url| fetcher.get_kept(url, recipe::KEY_LIMIT))?;
        Ok(Session { jobs, fetcher, plan, tools: tools.wanted()? })
    }
}

/// Whether a command may run programs in a sandbox or touch what they made, so that an ordinary user needs a user
/// namespace for it. What is wrong with a recipe or a cache the command itself says.
pub fn needs_namespace(command: &Command) -> bool {
    let is_rpm = |what: &RecipeArgs| recipe::family_of(&what.recipe).is_ok_and(|family| family == FamilyKind::Rpm);
    match command {
        Command::Build(_) | Command::Check(_) => true,
        Command::Lock(arguments) => is_rpm(&arguments.what),
        Command::Fetch(arguments) => is_rpm(&arguments.what),
        Command::Cache(CacheCommand::Prune { cache, .. }) => {
            cache_folder(cache.clone()).is_ok_and(|folder| shelf::has_trees(&folder))
        }
        _ => false,
    }
}

/// Writes a result to standard output. A reader that went away (`mkbase recipes | head`) is no error.
pub fn print(text: impl AsRef<[u8]>) -> anyhow::Result<()> {
    let mut out = std::io::stdout().lock();
    match out.write_all(text.as_ref()).and_then(|()| out.flush()) {
        Err(error) if error.kind() == std::io::ErrorKind::BrokenPipe => Ok(()),
        other => other.context("writing to standard output"),
    }
}

/// The folder of the cache: as given (`--cache`, `MKBASE_CACHE`), else `mkbase` in the user's cache folder of the XDG
/// base directory specification.
pub fn cache_folder(given: Option<PathBuf>) -> anyhow::Result<PathBuf> {
    cache_folder_from(given, std::env::var_os("XDG_CACHE_HOME"), std::env::var_os("HOME"))
}

fn cache_folder_from(given: Option<PathBuf>, xdg: Option<OsString>, home: Option<OsString>) -> anyhow::Result<PathBuf> {
    // The specification has relative paths ignored.
    let absolute = |value: Option<OsString>| value.map(PathBuf::from).filter(|path| path.is_absolute());
    given
        .filter(|path| !path.as_os_str().is_empty())
        .or_else(|| absolute(xdg).map(|folder| folder.join("mkbase")))
        .or_else(|| absolute(home).map(|folder| folder.join(".cache/mkbase")))
        .ok_or_else(|| usage("there is no folder for the cache: set HOME, or give one with --cache"))
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    #[test]
    fn the_cache_is_where_the_user_has_it() {
        let folder = |given: Option<&str>, xdg: Option<&str>, home: Option<&str>| {
            cache_folder_from(given.map(PathBuf::from), xdg.map(OsString::from), home.map(OsString::from)).ok()
        };
        for (given, xdg, home, expected) in [
            (Some("c"), Some("/x"), Some("/h"), Some("c")),
            (Some(""), Some("/x"), Some("/h"), Some("/x/mkbase")),
            (None, Some("/x"), Some("/h"), Some("/x/mkbase")),
            (None, Some("x"), Some("/h"), Some("/h/.cache/mkbase")),
            (None, Some(""), Some("/h"), Some("/h/.cache/mkbase")),
            (None, None, Some("h"), None),
            (None, None, None, None),
        ] {
            assert_eq!(folder(given, xdg, home).as_deref(), expected.map(Path::new), "{given:?} {xdg:?} {home:?}");
        }
    }
}
