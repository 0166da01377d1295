//! Folders of a root filesystem with all that is in them: reading, walking, removing.

use std::ffi::{OsStr, OsString};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::ffi::OsStringExt;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, bail};
use nix::errno::Errno;
use nix::fcntl::{AtFlags, OFlag};
use nix::sys::stat::{FileStat, fstatat};

use super::{Kind, Root, kind, relative};

/// One step of [`Root::walk`].
#[derive(Debug, Clone)]
pub struct Entry {
    /// Path below the root, without a leading slash.
    pub path: PathBuf,
    /// What `lstat` says.
    pub stat: FileStat,
}

impl Entry {
    /// The type of the entry.
    pub fn kind(&self) -> Kind {
        kind(&self.stat)
    }
}

impl Root {
    /// Removes a file, a link or a whole folder, never crossing into another file system. It is no error when it
    /// is not there.
    pub fn remove_all(&self, path: impl AsRef<Path>) -> Result<()> {
        let path = path.as_ref();
        let Some(stat) = self.lstat(path)? else { return Ok(()) };
        if kind(&stat) != Kind::Dir {
            return self.remove_file(path).map(|_| ());
        }
        self.remove_content(path)?;
        self.remove_dir(path)
    }

    /// Removes everything in a folder but not the folder.
    pub fn remove_content(&self, path: impl AsRef<Path>) -> Result<()> {
        let path = path.as_ref();
        let here = self.lstat(path)?.map(|s| s.st_dev);
        for name in self.read_dir(path)? {
            let child = path.join(&name);
            let Some(stat) = self.lstat(&child)? else { continue };
            if Some(stat.st_dev) != here {
                bail!("removing {}: it is a mount point", self.show(&child));
            }
            self.remove_all(&child)?;
        }
        Ok(())
    }

    /// The names in a folder, sorted. An absent folder is empty.
    pub fn read_dir(&self, path: impl AsRef<Path>) -> Result<Vec<OsString>> {
        Ok(self.list(path.as_ref(), |_, _| Ok(()))?.into_iter().map(|(name, ())| name).collect())
    }

    /// The names in a folder, sorted, each with what `look` finds at it. An absent folder is empty.
    fn list<T>(
        &self,
        path: &Path,
        look: impl Fn(BorrowedFd<'_>, &OsStr) -> nix::Result<T>,
    ) -> Result<Vec<(OsString, T)>> {
        let context = || format!("reading the folder {}", self.show(path));
        let fd = match self.open_at(path, OFlag::O_RDONLY | OFlag::O_DIRECTORY, 0) {
            Ok(fd) => fd,
            Err(Errno::ENOENT) => return Ok(Vec::new()),
            Err(error) => return Err(error).with_context(context),
        };
        let mut dir = nix::dir::Dir::from_fd(fd).with_context(context)?;
        let mut names = Vec::new();
        for entry in dir.iter() {
            let name = entry.with_context(context)?.file_name().to_bytes().to_vec();
            if name != b"." && name != b".." {
                names.push(OsString::from_vec(name));
            }
        }
        names.sort();
        let mut entries = Vec::with_capacity(names.len());
        for name in names {
            match look(dir.as_fd(), &name) {
                Ok(found) => entries.push((name, found)),
                // It is gone since its name was read.
                Err(Errno::ENOENT) => {}
                Err(error) => {
                    return Err(error).with_context(|| format!("looking at {}", self.show(&path.join(&name))));
                }
            }
        }
        Ok(entries)
    }

    /// Every entry below `path` (which is not itself given), parents first, siblings sorted by bytes. Links are
    /// not followed, other file systems are not entered.
    pub fn walk(&self, path: impl AsRef<Path>) -> Result<Vec<Entry>> {
        let mut entries = Vec::new();
        let start = relative(path.as_ref());
        let start = if start == Path::new(".") { Path::new("") } else { start };
        let Some(stat) = self.lstat(if start.as_os_str().is_empty() { Path::new(".") } else { start })? else {
            return Ok(entries);
        };
        if kind(&stat) == Kind::Dir {
            self.walk_into(start, stat.st_dev, &mut entries)?;
        }
        Ok(entries)
    }

    fn walk_into(&self, dir: &Path, device: libc::dev_t, entries: &mut Vec<Entry>) -> Result<()> {
        let here = if dir.as_os_str().is_empty() { Path::new(".") } else { dir };
        // One call for an entry; a handle of its own for each of a whole system's files would take three.
        let found = self.list(here, |dir, name| fstatat(dir, name, AtFlags::AT_SYMLINK_NOFOLLOW))?;
        for (name, stat) in found {
            let path = dir.join(name);
            let enter = kind(&stat) == Kind::Dir && stat.st_dev == device;
            entries.push(Entry { path: path.clone(), stat });
            if enter {
                self.walk_into(&path, device, entries)?;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::tree;

    #[test]
    fn walk_is_sorted_and_remove_all_keeps_links_targets() {
        let (dir, root) = tree();
        root.create_dir_all("b/c", 0o700).expect("folders");
        root.write("b/c/file", "1", 0o640).expect("a file");
        root.symlink(dir.path(), "b/out").expect("a link");
        root.write("a", "1", 0o644).expect("a file");
        let paths: Vec<String> = root.walk("/").expect("a walk").iter().map(|e| e.path.display().to_string()).collect();
        assert_eq!(paths, ["a", "b", "b/c", "b/c/file", "b/out"]);
        assert_eq!(root.lstat("b/c/file").expect("stat").expect("there").st_mode & 0o7777, 0o640);
        root.remove_all("b").expect("removed");
        assert!(dir.path().join("secret").exists());
        assert!(!root.exists("b"));
    }
}
