//! Customise: time zone, locale, mirrors, users, files, scripts. One file a concern.

use anyhow::Result;

use crate::context::Context;
use crate::family::{Family, Fetched};
use crate::plan::Plan;
use crate::root::Root;

/// Applies the recipe to the installed tree.
pub fn customise(
    _context: &Context,
    _plan: &Plan,
    _family: &dyn Family,
    _packages: &[Fetched],
    _root: &Root,
) -> Result<()> {
    Ok(())
}
