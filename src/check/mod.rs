//! The image checklist.
//!
//! What concerns leftovers asks the clean steps themselves what they would still change, so a check and a step can
//! never disagree.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};

use crate::clean::{self, Cleaner};
use crate::context::Context;
use crate::error::{Faults, Interrupted, did_you_mean, usage};
use crate::family::{Family, Owners};
use crate::interrupt;
use crate::parallel::parallel;
use crate::plan::Plan;
use crate::recipe::System;
use crate::root::Root;
use crate::sandbox::{Output, Sandbox};
use crate::ui::Ui;

mod account;
mod file;
mod leftovers;
mod settings;
mod system;

pub use settings::Settings;

/// One check.
#[derive(Debug)]
pub struct Check {
    /// `group/thing`.
    pub name: &'static str,
    /// What must be true, in one sentence.
    pub sentence: &'static str,
    /// Looks; each fault found is one message that says what is wrong and what to do.
    pub run: fn(&Subject<'_>) -> Result<Vec<String>>,
}

impl Check {
    /// Whether a `skip` list names it or its group.
    pub fn is_skipped(&self, skip: &[String]) -> bool {
        let group = self.name.split('/').next();
        skip.iter().any(|s| s == self.name || Some(s.as_str()) == group)
    }
}

/// Runs a command in the tree, with these variables: [`in_sandbox`] or [`in_read_only_sandbox`], but for tests.
pub type Runner = dyn Fn(&Root, &[&str], &[(&str, &str)]) -> Result<Output> + Sync;

/// What a check looks at.
pub struct Subject<'a> {
    /// The tree.
    pub root: &'a Root,
    /// What packages own.
    pub owners: &'a Owners,
    /// The package family.
    pub family: &'a dyn Family,
    /// The settings it should have: of the recipe, or as the tree itself claims.
    pub system: &'a System,
    /// The files that the recipe placed; see [`clean::placed`].
    pub placed: &'a BTreeSet<PathBuf>,
    /// The time that replaced clock values, in seconds since 1970.
    pub epoch: i64,
    /// Clean steps and groups that the recipe skips: their leftovers are no faults.
    pub clean_skip: &'a [String],
    /// How commands are run in the tree.
    pub runner: &'a Runner,
}

impl Subject<'_> {
    /// Runs a command in the tree.
    pub fn run(&self, command: &[&str], env: &[(&str, &str)]) -> Result<Output> {
        (self.runner)(self.root, command, env)
    }

    /// A cleaner that changes nothing.
    fn dry_cleaner(&self) -> Result<Cleaner<'_>> {
        Cleaner::new(self.root, self.owners, self.system, self.placed, self.epoch, true)
    }

    /// Whether the recipe leaves out this clean step.
    fn skips_clean(&self, step: &str) -> bool {
        self.clean_skip.iter().any(|s| s == step || step.split('/').next() == Some(s))
    }
}

/// The [`Runner`] of every real check.
pub fn in_sandbox(root: &Root, command: &[&str], env: &[(&str, &str)]) -> Result<Output> {
    sandbox(root, command, env)?.output()
}

/// The same for a command that can change nothing in the tree.
pub fn in_read_only_sandbox(root: &Root, command: &[&str], env: &[(&str, &str)]) -> Result<Output> {
    sandbox(root, command, env)?.read_only().output()
}

fn sandbox<'r>(root: &'r Root, command: &[&str], env: &[(&str, &str)]) -> Result<Sandbox<'r>> {
    let (program, arguments) = command.split_first().context("running nothing in the sandbox")?;
    let sandbox = Sandbox::new(root, program).args(arguments);
    Ok(env.iter().fold(sandbox, |sandbox, (name, value)| sandbox.env(name, value)))
}

/// Something wrong with an image.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fault {
    /// The check that found it.
    pub check: &'static str,
    /// What is wrong and what to do.
    pub message: String,
}

/// The checks of every image, whatever its family.
const COMMON: [&[Check]; 4] = [system::CHECKS, account::CHECKS, file::CHECKS, leftovers::CHECKS];

/// Every check for an image of this family, in order.
pub fn checks(family: &dyn Family) -> Vec<&'static Check> {
    COMMON.into_iter().chain([family.checks()]).flat_map(|group| group.iter()).collect()
}

/// Refuses names in `skip` that are neither a check nor a group of checks of this family, with the nearest known one.
pub fn validate(skip: &[String], family: &dyn Family) -> Result<()> {
    let known: BTreeSet<&str> =
        checks(family).iter().flat_map(|c| [c.name, c.name.split('/').next().unwrap_or_default()]).collect();
    match skip.iter().find(|name| !known.contains(name.as_str())) {
        None => Ok(()),
        Some(name) => Err(usage(format!(
            "[check] skip: there is no check or group '{name}'{}",
            did_you_mean(name, known.iter().copied())
        ))),
    }
}

/// Faults of one check that are shown without `-v`: enough to see what they have in common.
const SHOWN: usize = 20;

/// Runs every check that is not skipped on so many threads, and gives the faults in the order of the checks. A check
/// that cannot be made is a fault too; only an interruption ends it early.
pub fn run_checks(subject: &Subject<'_>, skip: &[String], jobs: usize, ui: &Ui) -> Result<Vec<Fault>> {
    validate(skip, subject.family)?;
    let checks: Vec<&Check> = checks(subject.family).into_iter().filter(|c| !c.is_skipped(skip)).collect();
    let mut turns: Vec<usize> = (0..checks.len()).collect();
    // Those of the family first: they have its own programs look at every file, and take longest.
    turns.sort_by_key(|i| !subject.family.checks().iter().any(|own| own.name == checks[*i].name));
    let found = parallel(jobs, &turns, |i| {
        interrupt::check()?;
        let messages = match (checks[i].run)(subject) {
            Err(error) if error.chain().any(|cause| cause.is::<Interrupted>()) => return Err(error),
            Err(error) => {
                vec![format!("it could not be checked that {}: {error:#}", uncapitalised(checks[i].sentence))]
            }
            Ok(messages) => messages,
        };
        Ok((i, messages))
    })?;
    let mut faults = Vec::new();
    for (i, messages) in found.into_iter().collect::<BTreeMap<_, _>>() {
        if messages.is_empty() {
            ui.detail(format_args!("{}: {}", checks[i].name, checks[i].sentence));
        }
        faults.extend(messages.into_iter().map(|message| Fault { check: checks[i].name, message }));
    }
    Ok(faults)
}

/// A sentence for use inside another one.
fn uncapitalised(sentence: &str) -> String {
    let sentence = sentence.trim_end_matches('.');
    let mut letters = sentence.chars();
    letters.next().map_or_else(String::new, |first| first.to_lowercase().chain(letters).collect())
}

/// Runs every check that is not skipped on a tree that a build made, with the owners of its paths. Any fault is an error.
pub fn check(context: &Context, plan: &Plan, family: &dyn Family, owners: &Owners, root: &Root) -> Result<()> {
    let stage = context.ui.step("Checking");
    let placed = clean::placed(plan, root)?;
    let settings = Settings {
        system: plan.system.clone(),
        epoch: plan.epoch.map_or_else(|| settings::epoch(root), Ok)?,
        placed,
        clean_skip: plan.clean_skip.clone(),
    };
    let faults = check_tree(&context.ui, family, owners, root, &settings, &plan.check_skip, context.jobs)?;
    show_faults(&context.ui, &faults);
    if !faults.is_empty() {
        return Err(Faults(faults.len()).into());
    }
    let count = checks(family).iter().filter(|c| !c.is_skipped(&plan.check_skip)).count();
    stage.done(format_args!("{count} checks passed"));
    Ok(())
}

/// Shows faults, and no more than [`SHOWN`] of one kind.
fn show_faults(ui: &Ui, faults: &[Fault]) {
    for kind in faults.chunk_by(|a, b| a.check == b.check) {
        let shown = if ui.verbose() { kind.len() } else { kind.len().min(SHOWN) };
        kind[..shown].iter().for_each(|fault| ui.fault(fault.check, &fault.message));
        if kind.len() > shown {
            ui.fault(kind[0].check, format_args!("and {} more of the kind; -v shows them", kind.len() - shown));
        }
    }
}

/// Runs every check that is not skipped on any tree. [`Settings::of_tree`] gives the settings of one whose recipe is
/// not known.
pub fn check_tree(
    ui: &Ui,
    family: &dyn Family,
    owners: &Owners,
    root: &Root,
    settings: &Settings,
    skip: &[String],
    jobs: usize,
) -> Result<Vec<Fault>> {
    clean::validate(&settings.clean_skip, family)?;
    let subject = Subject {
        root,
        owners,
        family,
        system: &settings.system,
        placed: &settings.placed,
        epoch: settings.epoch,
        clean_skip: &settings.clean_skip,
        runner: if family.checks_only_read() { &in_read_only_sandbox } else { &in_sandbox },
    };
    run_checks(&subject, skip, jobs, ui)
}

/// A path for a message: as it is called in the image.
fn show(path: &Path) -> String {
    format!("/{}", path.display())
}

#[cfg(test)]
pub(crate) mod testing {
    use super::*;
    use crate::clean::testing::{EPOCH, NoFamily, Tree};

    /// What a check says of a tiny tree, in which every command answers `output`.
    pub fn look(check: &Check, tree: &Tree, output: Output) -> Vec<String> {
        look_but(check, tree, output, &[])
    }

    /// The same with clean steps that the recipe skips.
    pub fn look_but(check: &Check, tree: &Tree, output: Output, clean_skip: &[String]) -> Vec<String> {
        let subject = Subject {
            root: &tree.root,
            owners: &tree.owners,
            family: &NoFamily,
            system: &tree.system,
            placed: &tree.placed,
            epoch: EPOCH,
            clean_skip,
            runner: &move |_, _, _| Ok(output.clone()),
        };
        (check.run)(&subject).expect("it runs")
    }

    /// A command that ended well and said this.
    pub fn says(stdout: &str) -> Output {
        Output { code: 0, stdout: stdout.into(), stderr: Vec::new() }
    }

    /// A command that ended badly and said this on standard error.
    pub fn fails(code: i32, stderr: &str) -> Output {
        Output { code, stdout: Vec::new(), stderr: stderr.into() }
    }

    pub fn find<'c>(checks: &'c [Check], name: &str) -> &'c Check {
        checks.iter().find(|c| c.name == name).expect("a known check")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clean::testing::{EPOCH, NoFamily, Tree, assert_well_formed};
    use crate::error::{Exit, exit_code};
    use crate::ui::Level;

    #[test]
    fn every_check_has_its_own_name_and_one_sentence() {
        assert_well_formed(checks(&NoFamily).into_iter().map(|c| (c.name, c.sentence)));
    }

    #[test]
    fn unknown_names_to_skip_are_usage_errors_with_the_nearest_name() {
        assert!(validate(&["shell".into(), "locale/works".into()], &NoFamily).is_ok());
        let error = validate(&["shell/run".into()], &NoFamily).expect_err("it is unknown");
        assert_eq!(exit_code(&error), Exit::Usage);
        assert!(error.to_string().contains("'shell/runs'"), "{error}");
    }

    #[test]
    fn faults_are_gathered_and_checks_can_be_skipped() {
        let tree = Tree::new();
        let subject = Subject {
            root: &tree.root,
            owners: &tree.owners,
            family: &NoFamily,
            system: &tree.system,
            placed: &tree.placed,
            epoch: EPOCH,
            clean_skip: &[],
            runner: &|_, _, _| anyhow::bail!("no such program"),
        };
        let ui = Ui::new(Level::Quiet);
        let faults = run_checks(&subject, &[], 2, &ui).expect("it runs");
        assert_eq!(faults.iter().map(|f| f.check).collect::<Vec<_>>(), ["shell/runs"]);
        assert!(faults[0].message.contains("no such program"), "{faults:?}");
        assert_eq!(run_checks(&subject, &["shell".into()], 1, &ui).expect("it runs"), []);
    }
}
