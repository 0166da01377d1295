//! Customise: time zone, locale, mirrors, users, files, scripts. One file a concern.
//!
//! The order matters: files may belong to users of the recipe, and scripts see everything else in place.

use anyhow::{Context as _, Result};

use crate::context::Context;
use crate::family::{Family, Fetched};
use crate::interrupt;
use crate::plan::Plan;
use crate::root::Root;

mod accounts;
mod files;
pub mod locale;
mod scripts;
pub mod timezone;
mod users;

/// What every concern may look at.
struct Stage<'a> {
    context: &'a Context,
    plan: &'a Plan,
    family: &'a dyn Family,
    packages: &'a [Fetched],
    epoch: i64,
    root: &'a Root,
}

/// One concern: what it does, for messages, and how.
type Concern = (&'static str, fn(&Stage<'_>) -> Result<()>);

const CONCERNS: &[Concern] = &[
    ("setting the time zone", |s| timezone::set(&s.plan.system.timezone, s.family.names_timezone(), s.root)),
    ("making the locale", |s| locale::set(s.context, s.plan, s.family, s.packages, s.root)),
    ("configuring the package manager", |s| s.family.configure_repositories(s.plan, s.root)),
    ("adding the users", |s| users::add(&s.plan.users, s.epoch, s.root)),
    ("placing the files", |s| files::place(&s.plan.files, s.root)),
    ("running the scripts", |s| scripts::run(s.context, &s.plan.scripts, s.epoch, s.root)),
];

/// Applies the recipe to the installed tree. `epoch` (seconds since 1970) replaces the clock wherever a date is
/// written.
pub fn customise(
    context: &Context,
    plan: &Plan,
    family: &dyn Family,
    packages: &[Fetched],
    epoch: i64,
    root: &Root,
) -> Result<()> {
    let step = context.ui.step("Customising");
    let stage = Stage { context, plan, family, packages, epoch, root };
    for (doing, concern) in CONCERNS {
        interrupt::check()?;
        concern(&stage).context(*doing)?;
    }
    step.done(summary(plan));
    Ok(())
}

/// What the stage's line says: `Etc/UTC, C.UTF-8, 1 user, 3 files`.
fn summary(plan: &Plan) -> String {
    let mut parts = vec![plan.system.timezone.clone(), plan.system.locale.clone()];
    for (count, one) in [(plan.users.len(), "user"), (plan.files.len(), "file"), (plan.scripts.len(), "script")] {
        match count {
            0 => {}
            1 => parts.push(format!("1 {one}")),
            _ => parts.push(format!("{count} {one}s")),
        }
    }
    parts.join(", ")
}
