//! `mkbase fetch`: brings all that a build without network needs into the cache.

use anyhow::Result;

use super::Session;
use super::lock::{Choice, choose};
use crate::build;
use crate::cli::FetchArgs;
use crate::error::usage;
use crate::ui::Ui;

/// Fetches the packages of the lock, and makes the tools tree if the build will need it. Keys that the recipe has by
/// address came with reading it.
pub fn fetch(arguments: &FetchArgs, ui: &Ui) -> Result<()> {
    let session = Session::new(&arguments.what, &arguments.cache, &arguments.tools, false)?;
    match choose(&session, &arguments.what.recipe, arguments.lock.as_deref(), true, false, ui)? {
        Choice::Lock(lock) => {
            build::fetch(&session.plan, &lock, &session.fetcher, ui)?;
            build::provide_tools(&session.plan, &session.fetcher, session.jobs, &session.tools, ui)
        }
        Choice::Resolve(_) => Err(usage("there is no lock to fetch the packages of")),
    }
}
