//! The RPM database in the format of the image's own rpm. That of today's tools is SQLite, which rpm knows since 4.16:
//! for EL 8 and older the image's own rpm makes the database anew.

use std::path::Path;

use anyhow::{Context as _, Result};

use super::database;
use crate::context::Context;
use crate::root::Root;
use crate::sandbox::Sandbox;

/// Where the headers are shown to the image's rpm.
const STREAM: &str = "/run/mkbase/headers";

/// Has the image's rpm import what the database at `path` holds, and removes that.
pub fn rebuild(context: &Context, root: &Root, path: &Path) -> Result<()> {
    let doing = || "making the RPM database in the format of the image's own rpm".to_owned();
    let before = database::identities(root)?;
    let headers = database::export(root, path).with_context(doing)?;
    let file = context.work.path().join("headers");
    std::fs::write(&file, headers).with_context(|| format!("writing {}", file.display()))?;
    root.remove_file(path)?;
    Sandbox::new(root, "sh")
        .args(["-c", &format!("rpmdb --initdb && rpmdb --importdb <{STREAM}")])
        .bind(&file, STREAM)
        .time_limit(context.time_limit)
        .named("rpmdb --importdb")
        .run()
        .with_context(doing)?;
    std::fs::remove_file(&file).with_context(|| format!("removing {}", file.display()))?;
    let after = database::identities(root).with_context(doing)?;
    anyhow::ensure!(
        before == after,
        "the image's own rpm took {} of {} packages into its database",
        after.len(),
        before.len()
    );
    Ok(())
}
