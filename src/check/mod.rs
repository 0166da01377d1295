//! The image checklist.

use anyhow::Result;

use crate::context::Context;
use crate::family::{Family, Owners};
use crate::plan::Plan;
use crate::recipe::System;
use crate::root::Root;

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
    /// Clean steps and groups that the recipe skips: their leftovers are no faults.
    pub clean_skip: &'a [String],
}

/// Runs every check that is not skipped on a tree that a build made. Any fault is an error.
pub fn check(_context: &Context, _plan: &Plan, _family: &dyn Family, _root: &Root) -> Result<()> {
    Ok(())
}
