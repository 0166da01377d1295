//! `mkbase build`: from the command line to the build, and what it came to on standard output.

use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};
use clap::ValueEnum as _;

use super::Session;
use super::lock::{self, Choice};
use crate::build::{Options, Outcome, build as run_build};
use crate::cli::BuildArgs;
use crate::family::Engine;
use crate::lock::{Lock, Previous};
use crate::plan::Plan;
use crate::recipe;
use crate::ui::Ui;

/// Builds the image that the arguments describe.
pub fn build(arguments: &BuildArgs, ui: &Ui) -> Result<()> {
    let locking = &arguments.locking;
    let session = Session::new(&arguments.what, &arguments.cache, &arguments.tools, locking.offline)?;
    let (lock, previous) = packages(arguments, &session, ui)?;
    let Session { jobs, fetcher, plan, tools } = session;
    let options = Options {
        output: (!arguments.to_stdout()).then(|| output_folder(arguments.output.as_deref(), &plan)),
        compression: arguments.compression(),
        engine: arguments.engine,
        fetcher,
        jobs,
        keep: arguments.keep,
        recipe: recipe_name(&arguments.what.recipe),
        repeat: repeat(arguments),
        lock,
        previous,
        stop_after: arguments.stop_after,
        time_limit: arguments.time_limit,
        tools,
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

/// The lock to build from, or what resolving goes on from.
fn packages(arguments: &BuildArgs, session: &Session, ui: &Ui) -> Result<(Option<Lock>, Option<Previous>)> {
    let (recipe, locking) = (&arguments.what.recipe, &arguments.locking);
    lock::check_packages(&locking.renew, recipe)?;
    if locking.renew.update {
        let (new, changes) = lock::renew(session, &recipe::lock_path(recipe)?, &locking.renew, ui)?;
        let text = lock::text(&changes);
        // Standard output may be the image's.
        if arguments.to_stdout() {
            text.lines().for_each(|line| ui.info("Changed", line));
        } else {
            super::print(text)?;
        }
        return Ok((Some(new), None));
    }
    let strict = locking.locked || locking.offline;
    let rollback = locking.renew.allow_rollback;
    Ok(match lock::choose(session, recipe, locking.lock.as_deref(), strict, rollback, ui)? {
        Choice::Lock(lock) => (Some(*lock), None),
        Choice::Resolve(previous) => (None, previous.map(|previous| *previous)),
    })
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
    if !arguments.what.include.is_empty() {
        say("--include", arguments.what.include.join(","));
    }
    for setting in &arguments.what.set {
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
    // What the family does without being asked needs no word.
    let engine = arguments.engine.filter(|engine| *engine != Engine::Native).and_then(|e| e.to_possible_value());
    if let Some(engine) = engine {
        say("--engine", engine.get_name().to_owned());
    }
    words
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
}
