//! `mkbase fetch`: brings all that a build without network needs into the cache.

use anyhow::Result;

use super::Session;
use super::lock::{Choice, choose};
use crate::build;
use crate::cli::FetchArgs;
use crate::error::usage;
use crate::ui::Ui;

/// Fetches the packages of the lock. Keys that the recipe has by address came with reading it.
pub fn fetch(arguments: &FetchArgs, ui: &Ui) -> Result<()> {
    let session = Session::new(&arguments.what, &arguments.cache, false)?;
    match choose(&session, &arguments.what.recipe, arguments.lock.as_deref(), true, false, ui)? {
        Choice::Lock(lock) => build::fetch(&session.plan, &lock, &session.fetcher, ui).map(|_| ()),
        Choice::Resolve(_) => Err(usage("there is no lock to fetch the packages of")),
    }
}
