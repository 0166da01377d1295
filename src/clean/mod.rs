//! Clean: removes everything of the build, in named steps.
//!
//! Directories that packages own stay, with their owner and mode; only contents go. What the recipe itself placed
//! (`[[file]]`) stays too. The steps of every image stand below this module, one file a group; a family adds those
//! of its package manager.

use std::collections::BTreeSet;
use std::path::PathBuf;

use anyhow::{Context as _, Result};

use crate::context::Context;
use crate::error::{did_you_mean, usage};
use crate::family::Family;
use crate::interrupt;
use crate::plan::Plan;
use crate::root::Root;
use crate::ui::{self, Ui};

mod account;
mod build;
mod cache;
mod cleaner;
mod dev;
mod docs;
mod id;
mod lang;
mod locale;
mod lock;
mod log;
mod ssh;
#[cfg(test)]
pub(crate) mod testing;
mod tmp;

pub use account::passwords;
pub use cleaner::{Cleaner, real_path, resolve as real_target};
pub use docs::is_documentation;
pub use locale::is_foreign;

/// One clean step.
#[derive(Debug)]
pub struct Step {
    /// `group/thing`.
    pub name: &'static str,
    /// What goes, and why, in one sentence.
    pub sentence: &'static str,
    /// Does it.
    pub run: fn(&mut Cleaner<'_>) -> Result<()>,
}

impl Step {
    /// The first half of its name.
    pub fn group(&self) -> &'static str {
        self.name.split('/').next().unwrap_or(self.name)
    }

    /// Whether a `skip` list names it or its group.
    pub fn is_skipped(&self, skip: &[String]) -> bool {
        skip.iter().any(|s| s == self.name || s == self.group())
    }
}

/// The groups, in the order their steps run.
pub const GROUPS: [&str; 16] = [
    "ssh", "id", "apt", "dpkg", "dnf", "apk", "lang", "log", "lock", "tmp", "account", "docs", "locale", "cache",
    "build", "dev",
];

/// The steps of every image, whatever its family.
const COMMON: [&[Step]; 12] = [
    ssh::STEPS,
    id::STEPS,
    lang::STEPS,
    log::STEPS,
    lock::STEPS,
    tmp::STEPS,
    account::STEPS,
    docs::STEPS,
    locale::STEPS,
    cache::STEPS,
    build::STEPS,
    dev::STEPS,
];

/// Every step for an image of this family, in order.
pub fn steps(family: &dyn Family) -> Vec<&'static Step> {
    let mut steps: Vec<&'static Step> =
        COMMON.into_iter().chain([family.clean_steps()]).flat_map(|group| group.iter()).collect();
    steps.sort_by_key(|step| GROUPS.iter().position(|g| *g == step.group()));
    steps
}

/// Refuses names in `skip` that are neither a step nor a group of this family, with the nearest known one.
pub fn validate(skip: &[String], family: &dyn Family) -> Result<()> {
    let steps = steps(family);
    let known: BTreeSet<&str> = steps.iter().flat_map(|s| [s.name, s.group()]).collect();
    match skip.iter().find(|name| !known.contains(name.as_str())) {
        None => Ok(()),
        Some(name) => Err(usage(format!(
            "[clean] skip: there is no clean step or group '{name}'{}",
            did_you_mean(name, known.iter().copied())
        ))),
    }
}

/// What a step did, or would do.
#[derive(Debug)]
pub struct Report {
    /// The step.
    pub step: &'static Step,
    /// Bytes freed.
    pub freed: u64,
    /// Paths removed, emptied or written, below the root.
    pub touched: Vec<PathBuf>,
}

/// Runs the steps that are not skipped. `cleaner` makes a fresh one for each.
pub fn run<'a>(
    steps: &[&'static Step],
    skip: &[String],
    cleaner: impl Fn() -> Result<Cleaner<'a>>,
) -> Result<Vec<Report>> {
    let mut reports = Vec::new();
    for step in steps.iter().filter(|s| !s.is_skipped(skip)) {
        interrupt::check()?;
        let mut cleaner = cleaner()?;
        (step.run)(&mut cleaner).with_context(|| format!("running the clean step {}", step.name))?;
        reports.push(Report { step, freed: cleaner.freed, touched: cleaner.touched });
    }
    Ok(reports)
}

/// Runs every step that is not skipped, and says what it freed. `epoch`, in seconds since 1970, replaces clock values.
pub fn clean(context: &Context, plan: &Plan, family: &dyn Family, epoch: i64, root: &Root) -> Result<()> {
    validate(&plan.clean_skip, family)?;
    let stage = context.ui.step("Cleaning");
    let owners = family.owners(root).context("reading which package owns what")?;
    let placed = placed(plan, root)?;
    let cleaner = || Cleaner::new(root, &owners, &plan.system, &placed, epoch, false);
    let reports = run(&steps(family), &plan.clean_skip, cleaner)?;
    reports.iter().for_each(|report| tell(&context.ui, report));
    let freed = reports.iter().map(|r| r.freed).sum();
    let paths: usize = reports.iter().map(|r| r.touched.len()).sum();
    stage.done(format_args!("{} freed, {paths} paths, {} steps", ui::bytes(freed), reports.len()));
    Ok(())
}

/// The step's line and its paths, with `-v`.
fn tell(ui: &Ui, report: &Report) {
    if !ui.verbose() || report.touched.is_empty() {
        return;
    }
    let count = report.touched.len();
    let s = if count == 1 { "" } else { "s" };
    ui.detail(format_args!("{}: {} freed, {count} path{s}", report.step.name, ui::bytes(report.freed)));
    report.touched.iter().for_each(|path| ui.detail(format_args!("  /{}", path.display())));
}

/// The files that the recipe places, as paths below the root with the links of their folders followed.
pub fn placed(plan: &Plan, root: &Root) -> Result<BTreeSet<PathBuf>> {
    plan.files.iter().map(|file| cleaner::real_path(root, file.path.as_ref())).collect()
}

#[cfg(test)]
mod tests {
    use super::testing::NoFamily;
    use super::*;
    use crate::error::{Exit, exit_code};

    #[test]
    fn every_step_has_its_own_name_a_known_group_and_one_sentence() {
        testing::assert_well_formed(steps(&NoFamily).into_iter().map(|s| (s.name, s.sentence)));
        assert!(steps(&NoFamily).iter().all(|s| GROUPS.contains(&s.group())));
    }

    #[test]
    fn unknown_names_to_skip_are_usage_errors_with_the_nearest_name() {
        let skip = |names: &[&str]| validate(&names.iter().map(ToString::to_string).collect::<Vec<_>>(), &NoFamily);
        assert!(skip(&["ssh", "tmp/run", "docs"]).is_ok());
        for (name, near) in [("tmp/rum", "'tmp/run'"), ("doc", "'docs'")] {
            let error = skip(&["ssh", name]).expect_err("it is unknown");
            assert_eq!(exit_code(&error), Exit::Usage);
            assert!(error.to_string().contains(near), "{error}");
        }
        assert!(skip(&["dnf"]).is_err(), "a group of another family");
    }

    #[test]
    fn a_skipped_step_or_group_does_not_run() {
        let mut tree = testing::Tree::new();
        tree.file("tmp/x", "1").file("run/y", "22");
        let ran = |skip: &str| -> Vec<&str> {
            let reports = run(&steps(&NoFamily), &[skip.to_string()], || tree.cleaner(true)).expect("they run");
            reports.iter().filter(|r| !r.touched.is_empty()).map(|r| r.step.name).collect()
        };
        assert_eq!(ran("ssh"), ["tmp/tmp", "tmp/run"]);
        assert_eq!(ran("tmp/run"), ["tmp/tmp"]);
        assert_eq!(ran("tmp"), [""; 0]);
    }

    #[test]
    fn a_second_run_frees_nothing() {
        let mut tree = testing::Tree::new();
        tree.file("tmp/x", "1").file("etc/machine-id", "0123\n").file("var/log/dpkg.log", "line\n");
        tree.file("etc/shadow", "root::1:::::\n").file("usr/share/doc/a/README", "x");
        let freed = || -> (u64, usize) {
            let reports = run(&steps(&NoFamily), &[], || tree.cleaner(false)).expect("they run");
            (reports.iter().map(|r| r.freed).sum(), reports.iter().map(|r| r.touched.len()).sum())
        };
        assert!(freed().0 > 0);
        assert_eq!(freed(), (0, 0));
    }
}
