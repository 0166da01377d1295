//! The RPM database in the format of the image's own rpm. That of today's tools is SQLite, which rpm knows since 4.16:
//! for EL 8 and older the image's own rpm makes the database anew.
//!
//! Since 4.12 rpm imports headers. An older one knows Berkeley DB alone: it gets such a database without indexes, and makes
//! a whole one of that. Either way the headers stay as they are, install times and states of files included.

use std::path::Path;

use anyhow::{Context as _, Result, bail};

use super::header::MAGIC;
use super::{bdb, berkeley, database};
use crate::context::Context;
use crate::root::Root;
use crate::sandbox::Sandbox;

/// What makes databases.
const PROGRAM: &str = "usr/bin/rpmdb";
/// Where the headers are shown to the image's rpm.
const GIVEN: &str = "/run/mkbase/headers";
/// Where it makes its database. Berkeley DB has pages as large as the blocks of the file system; in the sandbox this is
/// memory, so they do not depend on where the tree is.
const MADE: &str = "/dev/shm/rpm";
/// The option by which it takes them.
const IMPORT: &str = "--importdb";

/// Has the image's rpm make its database of what the one at `path` holds, and removes that.
pub fn rebuild(context: &Context, root: &Root, path: &Path) -> Result<()> {
    let doing = || "making the RPM database in the format of the image's own rpm".to_owned();
    let before = database::identities(root)?;
    let blobs = database::blobs(root, path).with_context(doing)?;
    let run = |sandbox: Sandbox<'_>| sandbox.time_limit(context.time_limit).run().with_context(doing);
    if !root.exists(PROGRAM) {
        bail!("the image has no rpmdb to make its database with; include the package rpm in it");
    }
    let help = run(Sandbox::new(root, "rpmdb").arg("--help"))?;
    let imports = String::from_utf8_lossy(&help).contains(IMPORT);
    let (given, making) = if imports {
        let stream: Vec<u8> = blobs.iter().flat_map(|blob| [&MAGIC[..], blob].concat()).collect();
        (stream, format!("rpmdb --dbpath {MADE} --initdb; rpmdb --dbpath {MADE} {IMPORT} <{GIVEN}"))
    } else {
        (bdb::make(&blobs), format!("cp {GIVEN} {MADE}/{}; rpmdb --dbpath {MADE} --rebuilddb", berkeley::PACKAGES))
    };
    let file = context.work.path().join("headers");
    std::fs::write(&file, given).with_context(|| format!("writing {}", file.display()))?;
    root.remove_file(path)?;
    let folder = path.parent().unwrap_or(Path::new("")).display();
    let script = format!("mkdir {MADE}; {making}; rm -f {MADE}/__db.*; cp {MADE}/* /{folder}/");
    let name = if imports { "rpmdb --importdb" } else { "rpmdb --rebuilddb" };
    run(Sandbox::new(root, "sh").args(["-euc", &script]).bind(&file, GIVEN).named(name))?;
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
