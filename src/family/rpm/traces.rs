//! Folders that dnf makes in every installation root, whether or not a package of it has them.

use std::path::Path;

use anyhow::{Context as _, Result};
use nix::fcntl::OFlag;
use nix::sys::stat::{fstat, futimens};
use nix::sys::time::TimeSpec;

use super::database;
use crate::root::{Kind, Root, kind};

/// dnf 4 those of modules; dnf 5 that of its lock (`TRANSACTION_LOCK_FILEPATH` of libdnf5). The inner ones first.
const FOLDERS: [&str; 4] = ["/etc/dnf/modules.d", "/etc/dnf", "/run/dnf", "/run"];

/// Removes those that are empty and of no package. The folders they are in keep their times.
pub fn remove(root: &Root) -> Result<()> {
    let owned = database::modes(root, &FOLDERS)?;
    for folder in FOLDERS.map(Path::new) {
        let is_folder = root.lstat(folder)?.is_some_and(|stat| kind(&stat) == Kind::Dir);
        if !is_folder || owned.iter().any(|(path, _)| path == folder) || !root.read_dir(folder)?.is_empty() {
            continue;
        }
        let doing = || format!("removing {}", folder.display());
        let parent = root.open_at(folder.parent().unwrap_or(folder), OFlag::O_RDONLY | OFlag::O_DIRECTORY, 0);
        let parent = parent.with_context(doing)?;
        let before = fstat(&parent).with_context(doing)?;
        root.remove_dir(folder)?;
        let (accessed, modified) = (
            TimeSpec::new(before.st_atime, before.st_atime_nsec),
            TimeSpec::new(before.st_mtime, before.st_mtime_nsec),
        );
        futimens(&parent, &accessed, &modified).with_context(doing)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, UNIX_EPOCH};

    use super::super::database::testing::{files_of, package, tree};
    use super::super::header::tag;
    use super::super::maker::Value;
    use super::*;

    #[test]
    fn folders_of_dnf_alone_go() {
        let mut files = files_of(&["/etc/dnf/", "/etc/"], &["modules.d", "dnf"]);
        files.push((tag::FILE_MODES, Value::Numbers(&[0o40755, 0o40755])));
        for (blobs, stays) in [(vec![package("bash", &[])], false), (vec![package("libdnf", &files)], true)] {
            let (dir, root) = tree(&blobs);
            for folder in ["etc/dnf/modules.d", "run/dnf", "run/other"] {
                std::fs::create_dir_all(dir.path().join(folder)).expect("a folder");
            }
            let time = UNIX_EPOCH + Duration::from_secs(1_600_000_000);
            let run = std::fs::File::open(dir.path().join("run")).expect("it opens");
            run.set_modified(time).expect("sets the time");
            remove(&root).expect("they go");
            assert_eq!((root.exists("etc/dnf/modules.d"), root.exists("etc/dnf")), (stays, stays));
            assert!(!root.exists("run/dnf") && root.exists("run/other"));
            assert_eq!(run.metadata().and_then(|m| m.modified()).expect("a time"), time);
            remove(&root).expect("again");
        }
    }
}
