//! `mkbase build`: from the command line to the build, and what it came to on standard output.

use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};

use crate::build::{Options, Outcome, build as run_build};
use crate::cli::BuildArgs;
use crate::error::usage;
use crate::fetch::Fetcher;
use crate::lock::Lock;
use crate::plan::Plan;
use crate::recipe;
use crate::ui::Ui;

/// Builds the image that the arguments describe.
pub fn build(arguments: &BuildArgs, ui: &Ui) -> Result<()> {
    let jobs = match arguments.jobs {
        Some(jobs) => jobs,
        None => std::thread::available_parallelism().context("counting the cores; give a number with --jobs")?.get(),
    };
    let fetcher = Fetcher::new(&super::cache_folder(arguments.cache.clone())?, jobs)?;
    let overrides = arguments.overrides(recipe::source_date_epoch()?)?;
    let plan = recipe::load(&arguments.recipe, &overrides, &|url| fetcher.get(url, recipe::KEY_LIMIT))?;
    let options = Options {
        output: (!arguments.to_stdout()).then(|| output_folder(arguments.output.as_deref(), &plan)),
        compression: arguments.compression(),
        engine: arguments.engine,
        fetcher,
        jobs,
        keep: arguments.keep,
        recipe: recipe_name(&arguments.recipe),
        lock: arguments.lock.as_deref().map(read_lock).transpose()?,
        stop_after: arguments.stop_after,
        time_limit: arguments.time_limit,
    };
    match run_build(&plan, &options, ui)? {
        Outcome::Written => Ok(()),
        Outcome::Stopped(tree) => super::print(format!("{}\n", tree.display())),
        Outcome::Built(summary) => {
            let mut text = Vec::new();
            summary.write(&mut text, ui.verbose()).context("writing the summary")?;
            super::print(text)
        }
    }
}

fn output_folder(given: Option<&Path>, plan: &Plan) -> PathBuf {
    given.map_or_else(
        || Path::new("out").join(format!("{}-{}-{}", plan.name, plan.release, plan.arch.name(plan.family))),
        Path::to_owned,
    )
}

/// The recipe's own name: without the folder it lies in and without a release.
fn recipe_name(spec: &str) -> String {
    let file = spec.rsplit('/').next().unwrap_or(spec);
    file.split(':').next().unwrap_or(file).to_string()
}

fn read_lock(path: &Path) -> Result<Lock> {
    let text = std::fs::read_to_string(path)
        .map_err(|error| usage(format!("reading the lock {}: {error}", path.display())))?;
    Lock::parse(&text, &path.display().to_string()).map_err(|error| usage(format!("{error:#}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_notes_name_the_recipe_and_not_its_place() {
        for (spec, expected) in [
            ("debian", "debian"),
            ("debian:12", "debian"),
            ("/home/me/corp.toml:bookworm", "corp.toml"),
            ("corp.toml", "corp.toml"),
        ] {
            assert_eq!(recipe_name(spec), expected, "{spec}");
        }
    }

    #[test]
    fn a_lock_that_cannot_be_read_is_a_usage_error() {
        let error = read_lock(Path::new("/nonexistent/mkbase.lock")).expect_err("it is not there");
        assert!(error.is::<crate::error::Usage>() && error.to_string().contains("/nonexistent/mkbase.lock"), "{error}");
    }
}
