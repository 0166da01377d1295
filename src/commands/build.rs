//! `mkbase build`: from the command line to the build, and what it came to on standard output.

use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};

use crate::build::{Options, Outcome, build as run_build};
use crate::cli::BuildArgs;
use crate::error::usage;
use crate::family::Engine;
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
        repeat: repeat(arguments),
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

/// The options that decide on the content, to be written into the output.
fn repeat(arguments: &BuildArgs) -> Vec<String> {
    let mut words = Vec::new();
    let mut say = |option: &str, value: String| words.extend([option.to_string(), value]);
    if !arguments.include.is_empty() {
        say("--include", arguments.include.join(","));
    }
    for setting in &arguments.set {
        let Some((key, _)) = recipe::split_setting(setting) else { continue };
        match key {
            // Said by other words, and where packages come from does not change them.
            "release" | "arch" | "variant" | "default_variant" => {}
            _ if key.starts_with("mirror.build") => {}
            _ if key.starts_with("packages.") || key.starts_with("system.") => say("--set", setting.clone()),
            // Addresses may hold a password, and variables of scripts anything.
            _ => say("--set", format!("{key}=…")),
        }
    }
    if let Some(compression) = arguments.compress {
        let level = compression.level.map(|level| format!(":{level}")).unwrap_or_default();
        say("--compress", format!("{}{level}", compression.codec.name()));
    }
    if arguments.engine == Engine::Debootstrap {
        say("--engine", "debootstrap".into());
    }
    words
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
    fn the_notes_repeat_what_decides_on_the_content_without_secrets() {
        #[derive(clap::Parser)]
        struct Line {
            #[command(flatten)]
            build: BuildArgs,
        }
        for (words, expected) in [
            (&["--jobs=2", "-o", "x", "--mirror=main=http://u:secret@h", "--variant=essential"][..], ""),
            (&["--include=a,b", "--include=c", "--compress=zstd:3"], "--include a,b,c --compress zstd:3"),
            (&["--compress=none", "--engine=debootstrap"], "--compress none --engine debootstrap"),
            (&["--set=system.locale=de_DE.UTF-8", "--set=arch=arm64"], "--set system.locale=de_DE.UTF-8"),
            (&["--set=mirror.build.main=http://u:secret@h"], ""),
            (&["--set=mirror.image.main=http://secret/"], "--set mirror.image.main=…"),
            (&["--set=image.env.\"A=B\"=secret"], "--set image.env.\"A=B\"=…"),
        ] {
            let line = [&["mkbase", "debian"], words].concat();
            let line = <Line as clap::Parser>::try_parse_from(line).expect("it parses");
            assert_eq!(repeat(&line.build).join(" "), expected, "{words:?}");
        }
    }

    #[test]
    fn a_lock_that_cannot_be_read_is_a_usage_error() {
        let error = read_lock(Path::new("/nonexistent/mkbase.lock")).expect_err("it is not there");
        assert!(error.is::<crate::error::Usage>() && error.to_string().contains("/nonexistent/mkbase.lock"), "{error}");
    }
}
