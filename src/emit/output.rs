//! An output folder that appears whole or not at all.

use std::collections::BTreeSet;
use std::ffi::{CString, OsString};
use std::fs::{self, File, OpenOptions, Permissions};
use std::io::{ErrorKind, Read, Write};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, bail};
use nix::errno::Errno;

use super::{CHECKSUMS, LOCK};
use crate::error::usage;
use crate::ui::Ui;

/// A list of hashes that is larger was not written by this program.
const CHECKSUMS_LIMIT: u64 = 1 << 20;

/// An output folder in the making. Its files are written to a staging folder beside it, which is removed when this is
/// dropped before [`Output::put_in_place`].
#[derive(Debug)]
pub struct Output {
    /// As it was given, for messages.
    path: PathBuf,
    /// Where it will be, symlinks followed.
    target: PathBuf,
    staging: PathBuf,
    /// Parents that were made for it, the deepest first.
    made: Vec<PathBuf>,
    done: bool,
}

impl Output {
    /// Makes the staging folder, and the parents where they are missing.
    ///
    /// A usage error when `path` is something that must not be replaced: not a folder, a mount point, or a folder with
    /// anything in it that this program did not put there.
    pub fn prepare(path: &Path) -> Result<Output> {
        let target = match fs::canonicalize(path) {
            Ok(target) => target,
            Err(error) if error.kind() == ErrorKind::NotFound => path.to_path_buf(),
            Err(error) => {
                return Err(error).with_context(|| {
                    format!("cannot look at the output folder {}; choose another place with -o", path.display())
                });
            }
        };
        let Some(name) = target.file_name().map(OsString::from) else {
            return Err(usage(format!("{} cannot be an output folder; give it a name", path.display())));
        };
        let parent = match target.parent() {
            Some(parent) if !parent.as_os_str().is_empty() => parent.to_path_buf(),
            _ => PathBuf::from("."),
        };
        check_replaceable(path, &target, &parent)?;

        let mut output =
            Output { path: path.to_path_buf(), target, staging: PathBuf::new(), made: Vec::new(), done: false };
        let hint = || format!("cannot make the output folder {}; choose another place with -o", path.display());
        for folder in parent.ancestors().collect::<Vec<_>>().into_iter().rev() {
            if folder.as_os_str().is_empty() || folder.is_dir() {
                continue;
            }
            fs::create_dir(folder)
                .with_context(|| format!("making the folder {}", folder.display()))
                .with_context(hint)?;
            output.made.insert(0, folder.to_path_buf());
        }
        // From here on another working folder of the process does not matter.
        let parent = fs::canonicalize(&parent).with_context(hint)?;
        output.target = parent.join(&name);
        let mut prefix = OsString::from(".");
        prefix.push(&name);
        prefix.push(".mkbase-");
        let staging = tempfile::Builder::new()
            .prefix(&prefix)
            .tempdir_in(&parent)
            .with_context(|| format!("writing to {}", parent.display()))
            .with_context(hint)?;
        output.staging = staging.keep();
        Ok(output)
    }

    /// The folder it will be, as it was given.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Where the files are until it is put in place. To be removed by whoever outlives a killed process.
    pub fn staging(&self) -> &Path {
        &self.staging
    }

    /// Makes a file, readable by everyone whatever the umask is.
    pub fn create(&self, name: &str) -> Result<File> {
        let path = self.staging.join(name);
        let file = OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(&path)
            .with_context(|| format!("making {}", path.display()))?;
        file.set_permissions(Permissions::from_mode(0o644))
            .with_context(|| format!("setting the mode of {}", path.display()))?;
        Ok(file)
    }

    /// Makes a file with this content.
    pub(super) fn write(&self, name: &str, content: &[u8]) -> Result<()> {
        let context = || format!("writing {}", self.staging.join(name).display());
        self.create(name)?.write_all(content).with_context(context)
    }

    /// Bytes in a file.
    pub(super) fn size(&self, name: &str) -> Result<u64> {
        let path = self.staging.join(name);
        Ok(fs::metadata(&path).with_context(|| format!("looking at {}", path.display()))?.len())
    }

    /// Puts the folder in place of what was there, in one step. What was there is removed afterwards; that this fails
    /// is only worth a warning.
    pub fn put_in_place(mut self, ui: &Ui) -> Result<()> {
        let context = || format!("putting the output folder {} in place", self.path.display());
        fs::set_permissions(&self.staging, Permissions::from_mode(0o755)).with_context(context)?;
        // Things may have changed in the time of a build.
        let parent = self.target.parent().unwrap_or(Path::new("/"));
        check_replaceable(&self.path, &self.target, parent)?;
        let old = match fs::rename(&self.staging, &self.target) {
            Ok(()) => None,
            Err(error) if matches!(error.raw_os_error(), Some(libc::ENOTEMPTY | libc::EEXIST)) => {
                Some(self.replace().with_context(context)?)
            }
            Err(error) => return Err(error).with_context(context),
        };
        self.done = true;
        if let Some(old) = old
            && let Err(error) = fs::remove_dir_all(&old)
        {
            ui.warn(format_args!("the previous output is left at {}: {error}; remove it by hand", old.display()));
        }
        Ok(())
    }

    /// Swaps the staging folder and the one in place. Gives the path that the old one has now.
    fn replace(&self) -> Result<PathBuf> {
        match exchange(&self.staging, &self.target) {
            Ok(()) => return Ok(self.staging.clone()),
            // File systems that cannot do it, kernels and sandboxes that do not know it.
            Err(Errno::EINVAL | Errno::ENOSYS | Errno::EPERM | Errno::EOPNOTSUPP) => {}
            Err(error) => return Err(error.into()),
        }
        swap_by_renames(&self.staging, &self.target)
    }
}

impl Drop for Output {
    fn drop(&mut self) {
        if self.done {
            return;
        }
        if !self.staging.as_os_str().is_empty()
            && let Err(error) = fs::remove_dir_all(&self.staging)
            && error.kind() != ErrorKind::NotFound
        {
            // Nobody is left to give the error to; to say nothing would leave a folder that nobody knows of.
            let _ = writeln!(std::io::stderr(), "warning: removing {}: {error}", self.staging.display());
        }
        for folder in &self.made {
            // Not empty any more: somebody else uses it now.
            if fs::remove_dir(folder).is_err() {
                break;
            }
        }
    }
}

/// Two renames in place of one exchange; undone when the second fails. Gives where the old folder is now.
fn swap_by_renames(new: &Path, target: &Path) -> Result<PathBuf> {
    let mut aside = new.as_os_str().to_os_string();
    aside.push("-old");
    let aside = PathBuf::from(aside);
    fs::rename(target, &aside).context("moving the previous output aside")?;
    if let Err(error) = fs::rename(new, target) {
        fs::rename(&aside, target)
            .with_context(|| format!("moving the previous output back from {}", aside.display()))?;
        return Err(error.into());
    }
    Ok(aside)
}

/// `renameat2(2)` with `RENAME_EXCHANGE`, as a plain system call: not every C library has a function for it.
fn exchange(one: &Path, two: &Path) -> nix::Result<()> {
    let path = |path: &Path| CString::new(path.as_os_str().as_bytes()).map_err(|_| Errno::EINVAL);
    let (one, two) = (path(one)?, path(two)?);
    // SAFETY: both pointers are to strings that end with NUL and live until the call returns.
    let result = unsafe {
        libc::syscall(
            libc::SYS_renameat2,
            libc::AT_FDCWD,
            one.as_ptr(),
            libc::AT_FDCWD,
            two.as_ptr(),
            libc::RENAME_EXCHANGE,
        )
    };
    Errno::result(result).map(drop)
}

/// Refuses to replace what is somebody's.
fn check_replaceable(shown: &Path, target: &Path, parent: &Path) -> Result<()> {
    let there = match fs::symlink_metadata(target) {
        Ok(there) => there,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(error).with_context(|| format!("looking at {}", shown.display())),
    };
    let refuse = |why: String| {
        Err(usage(format!(
            "the output folder {} is not replaced: {why}; choose another place with -o, or remove it",
            shown.display()
        )))
    };
    if !there.is_dir() {
        return refuse("it is not a folder".into());
    }
    if fs::metadata(parent).with_context(|| format!("looking at {}", parent.display()))?.dev() != there.dev() {
        return refuse("it is a mount point, which no rename can replace".into());
    }
    let mut names = BTreeSet::new();
    for entry in fs::read_dir(target).with_context(|| format!("reading the folder {}", shown.display()))? {
        names.insert(entry.with_context(|| format!("reading the folder {}", shown.display()))?.file_name());
    }
    if names.is_empty() {
        return Ok(());
    }
    if [LOCK, CHECKSUMS].iter().any(|name| !names.contains(&OsString::from(name))) {
        return refuse(format!("it holds something, but not {LOCK} and {CHECKSUMS} of an earlier build"));
    }
    let own = listed(&target.join(CHECKSUMS))?;
    match names.iter().find(|name| !own.contains(*name)) {
        Some(foreign) => refuse(format!("mkbase did not put {} there", foreign.display())),
        None => Ok(()),
    }
}

/// The names at the top of an output folder, by its list of hashes.
fn listed(checksums: &Path) -> Result<BTreeSet<OsString>> {
    let context = || format!("reading {}", checksums.display());
    let mut text = String::new();
    let file = File::open(checksums).with_context(context)?;
    if !file.metadata().with_context(context)?.is_file() {
        bail!("{} is not a file", checksums.display());
    }
    file.take(CHECKSUMS_LIMIT).read_to_string(&mut text).with_context(context)?;
    let mut names: BTreeSet<OsString> = text
        .lines()
        .filter_map(|line| line.split_once("  "))
        .filter_map(|(_, name)| name.split('/').next())
        .map(OsString::from)
        .collect();
    names.insert(CHECKSUMS.into());
    Ok(names)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn renames_do_what_the_exchange_does_and_are_undone() {
        let dir = tempfile::tempdir().expect("a temporary folder");
        let (new, target) = (dir.path().join("new"), dir.path().join("target"));
        for (path, content) in [(&new, "new"), (&target, "old")] {
            fs::create_dir(path).expect("a folder");
            fs::write(path.join("f"), content).expect("a file");
        }
        let content = |path: &Path| fs::read_to_string(path.join("f")).expect("a file");
        let aside = swap_by_renames(&new, &target).expect("swapped");
        assert_eq!((content(&target), content(&aside)), ("new".into(), "old".into()));
        // The second rename fails, as there is nothing new: the old one is back.
        swap_by_renames(&dir.path().join("absent"), &target).expect_err("nothing to put in place");
        assert_eq!(content(&target), "new");
        assert!(!dir.path().join("absent-old").exists());
    }

    #[test]
    fn names_come_from_the_list_of_hashes() {
        let dir = tempfile::tempdir().expect("a temporary folder");
        let path = dir.path().join("sums");
        fs::write(&path, "aa  rootfs.tar.xz\nbb  oci/index.json\nbroken\n").expect("written");
        let names: Vec<OsString> = listed(&path).expect("read").into_iter().collect();
        assert_eq!(names, [CHECKSUMS, "oci", "rootfs.tar.xz"]);
    }
}
