//! The RPM database of a tree where it is one of Berkeley DB: several files in a folder.

use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, bail};

use super::bdb;
use crate::clean::Cleaner;
use crate::root::{Kind, Root, kind};

/// The file with the headers.
pub const PACKAGES: &str = "Packages";
/// The index by names, in which every package is once.
const NAMES: &str = "Name";

/// The files of a database, each with what it holds.
fn files(root: &Root, folder: &Path) -> Result<Vec<(PathBuf, Vec<u8>)>> {
    let mut found = Vec::new();
    for name in root.read_dir(folder)? {
        let path = folder.join(name);
        if root.lstat(&path)?.is_some_and(|stat| kind(&stat) == Kind::File) {
            let bytes = root.read(&path)?;
            if bdb::is_database(&bytes) {
                found.push((path, bytes));
            }
        }
    }
    Ok(found)
}

/// A file as the same headers always give it.
fn settled(path: &Path, bytes: &[u8]) -> Result<Vec<u8>> {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    bdb::settle(&name, bytes).with_context(|| format!("reading /{}", path.display()))
}

/// Takes out of every file in a folder what only the process that wrote it knows.
pub fn settle(cleaner: &mut Cleaner<'_>, folder: &Path) -> Result<()> {
    for (path, bytes) in files(cleaner.root, folder)? {
        cleaner.write(&path, settled(&path, &bytes)?, 0o644)?;
    }
    Ok(())
}

/// Fails unless every file of the database in a folder is sound, and the index by names has all packages.
pub fn check(root: &Root, folder: &Path) -> Result<()> {
    for (path, bytes) in files(root, folder)? {
        settled(&path, &bytes)?;
    }
    let (packages, names) = (folder.join(PACKAGES), folder.join(NAMES));
    let count = bdb::headers(&root.read(&packages)?).with_context(|| format!("reading /{}", packages.display()))?.len();
    let entries = bdb::entries(&root.read(&names)?).with_context(|| format!("reading /{}", names.display()))?;
    if entries != count {
        bail!("the RPM database is damaged: /{} has {entries} packages, of {count}", names.display());
    }
    Ok(())
}
