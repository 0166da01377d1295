//! What a clean step works with: the tree, and operations that count what they free.

use std::collections::BTreeSet;
use std::os::fd::AsRawFd;
use std::path::{Component, Path, PathBuf};

use anyhow::{Context as _, Result, bail};
use nix::fcntl::OFlag;
use nix::sys::stat::FileStat;

use crate::family::Owners;
use crate::recipe::System;
use crate::root::{Kind, Root, kind};

/// What a step works with. Every change goes through it, so that it is counted and can be listed, and so that a
/// check can ask a step what it would still change.
#[derive(Debug)]
pub struct Cleaner<'a> {
    /// The tree.
    pub root: &'a Root,
    /// What packages own.
    pub owners: &'a Owners,
    /// The chosen settings.
    pub system: &'a System,
    /// The time that replaces clock values, in seconds since 1970.
    pub epoch: i64,
    /// Bytes freed by the step so far.
    pub freed: u64,
    /// Paths the step removed, emptied or wrote.
    pub touched: Vec<PathBuf>,
    placed: &'a BTreeSet<PathBuf>,
    device: libc::dev_t,
    dry: bool,
    /// What a dry run would have removed so far.
    gone: BTreeSet<PathBuf>,
}

/// Which paths [`Cleaner::sweep`] leaves.
type Spare<'s> = &'s dyn Fn(&Path) -> bool;

impl<'a> Cleaner<'a> {
    /// `placed` are the paths that the recipe put there itself: nothing touches them. A `dry` one changes nothing
    /// and only notes what it would.
    pub fn new(
        root: &'a Root,
        owners: &'a Owners,
        system: &'a System,
        placed: &'a BTreeSet<PathBuf>,
        epoch: i64,
        dry: bool,
    ) -> Result<Cleaner<'a>> {
        let Some(stat) = root.lstat(".")? else { bail!("{} went away", root.path().display()) };
        let device = stat.st_dev;
        Ok(Cleaner {
            root,
            owners,
            system,
            epoch,
            freed: 0,
            touched: Vec::new(),
            placed,
            device,
            dry,
            gone: BTreeSet::new(),
        })
    }

    /// What `lstat` says, or `None` if it does not exist (any more).
    pub fn lstat(&self, path: impl AsRef<Path>) -> Result<Option<FileStat>> {
        let path = path.as_ref();
        if self.gone.contains(path) { Ok(None) } else { self.root.lstat(path) }
    }

    /// Whether a package owns the path.
    pub fn is_owned(&self, path: &Path) -> bool {
        self.owners.paths.contains_key(path)
    }

    /// Whether a package owns the path or the recipe placed it.
    pub fn is_kept(&self, path: &Path) -> bool {
        self.is_owned(path) || self.placed.contains(path)
    }

    /// The entries of a folder, sorted; none if it is absent or no folder. A link to a folder is not followed.
    pub fn entries(&self, path: impl AsRef<Path>) -> Result<Vec<(PathBuf, FileStat)>> {
        let path = path.as_ref();
        if self.lstat(path)?.is_none_or(|s| kind(&s) != Kind::Dir) {
            return Ok(Vec::new());
        }
        let mut entries = Vec::new();
        for name in self.root.read_dir(path)? {
            let child = path.join(name);
            if let Some(stat) = self.lstat(&child)? {
                entries.push((child, stat));
            }
        }
        Ok(entries)
    }

    /// The entries of a folder whose name passes, sorted.
    pub fn named(&self, folder: impl AsRef<Path>, passes: impl Fn(&str) -> bool) -> Result<Vec<PathBuf>> {
        let entries = self.entries(folder)?.into_iter().map(|(path, _)| path);
        Ok(entries.filter(|p| p.file_name().and_then(|n| n.to_str()).is_some_and(&passes)).collect())
    }

    /// Every home folder of an account: real folders of the tree, each once.
    pub fn homes(&self) -> Result<BTreeSet<PathBuf>> {
        let mut homes = BTreeSet::from([PathBuf::from("root")]);
        for line in self.root.read_text_if_there("etc/passwd")?.unwrap_or_default().lines() {
            let home = Path::new(line.split(':').nth(5).unwrap_or_default());
            let Ok(home) = home.strip_prefix("/") else { continue };
            if home.components().all(|c| matches!(c, Component::Normal(_))) {
                homes.insert(home.components().collect());
            }
        }
        let is_folder =
            |p: &PathBuf| p.as_os_str().is_empty() || matches!(self.lstat(p), Ok(Some(s)) if kind(&s) == Kind::Dir);
        homes.retain(is_folder);
        Ok(homes)
    }

    /// Removes a file, or a folder with all that is in it, whoever owns the files; of the folders those that a
    /// package owns stay. It is no error when it is not there.
    pub fn remove(&mut self, path: impl AsRef<Path>) -> Result<()> {
        self.sweep(path.as_ref(), &|_| false).map(|_| ())
    }

    /// Removes a file, or a folder with all that is in it, sparing what packages own.
    pub fn remove_unowned(&mut self, path: impl AsRef<Path>) -> Result<()> {
        let owners = self.owners;
        self.sweep(path.as_ref(), &|p| owners.paths.contains_key(p)).map(|_| ())
    }

    /// Removes everything in a folder, whoever owns the files, but not the folder.
    pub fn remove_content(&mut self, path: impl AsRef<Path>) -> Result<()> {
        self.sweep_content(path.as_ref(), &|_| false).map(|_| ())
    }

    /// The same but for the files and folders to spare. What is in a folder to spare goes.
    pub fn remove_content_but(&mut self, path: impl AsRef<Path>, spare: Spare<'_>) -> Result<()> {
        self.sweep_content(path.as_ref(), spare).map(|_| ())
    }

    /// Removes everything in a folder that no package owns, but not the folder.
    pub fn remove_unowned_content(&mut self, path: impl AsRef<Path>) -> Result<()> {
        let owners = self.owners;
        self.sweep_content(path.as_ref(), &|p| owners.paths.contains_key(p)).map(|_| ())
    }

    /// Removes a folder that is empty and that no package owns.
    pub fn remove_if_empty(&mut self, path: impl AsRef<Path>) -> Result<()> {
        let path = path.as_ref();
        let Some(stat) = self.lstat(path)? else { return Ok(()) };
        if kind(&stat) == Kind::Dir && self.entries(path)?.is_empty() { self.remove_unowned(path) } else { Ok(()) }
    }

    /// Empties a file and keeps its owner and mode.
    pub fn truncate(&mut self, path: impl AsRef<Path>) -> Result<()> {
        let path = path.as_ref();
        let Some(stat) = self.lstat(path)? else { return Ok(()) };
        if kind(&stat) != Kind::File || stat.st_size == 0 || self.placed.contains(path) {
            return Ok(());
        }
        self.note(path, &stat);
        if self.dry { Ok(()) } else { self.root.truncate(path) }
    }

    /// Gives a file this content. One that is there keeps its owner and mode, another gets `mode` and belongs to root.
    pub fn write(&mut self, path: impl AsRef<Path>, data: impl AsRef<[u8]>, mode: u32) -> Result<()> {
        let (path, data) = (path.as_ref(), data.as_ref());
        if self.placed.contains(path) {
            return Ok(());
        }
        let old = self.lstat(path)?.filter(|s| kind(s) == Kind::File);
        if old.is_some() && self.root.read(path)? == data {
            return Ok(());
        }
        self.touched.push(path.to_path_buf());
        let size = old.map_or(0, |s| s.st_size);
        self.freed += u64::try_from(size).unwrap_or(0).saturating_sub(data.len() as u64);
        if self.dry {
            return Ok(());
        }
        if let Some(folder) = path.parent() {
            self.root.create_dir_all(folder, 0o755)?;
        }
        let Some(old) = old else { return self.root.write(path, data, mode) };
        self.root.write(path, data, old.st_mode & 0o7777)?;
        self.root.chown(path, old.st_uid, old.st_gid)
    }

    /// Renames a file. What is at `to` is replaced.
    pub fn rename(&mut self, from: impl AsRef<Path>, to: impl AsRef<Path>) -> Result<()> {
        let (from, to) = (from.as_ref(), to.as_ref());
        if self.lstat(from)?.is_none() {
            return Ok(());
        }
        self.touched.push(from.to_path_buf());
        if self.dry { Ok(()) } else { self.root.rename(from, to) }
    }

    /// Removes what it may below and at `path`, and says whether `path` is gone.
    fn sweep(&mut self, path: &Path, spare: Spare<'_>) -> Result<bool> {
        let Some(stat) = self.lstat(path)? else { return Ok(true) };
        if self.placed.contains(path) {
            return Ok(false);
        }
        let is_folder = kind(&stat) == Kind::Dir;
        if is_folder && !self.sweep_content(path, spare)? {
            return Ok(false);
        }
        if (is_folder && self.is_owned(path)) || spare(path) {
            return Ok(false);
        }
        self.note(path, &stat);
        if self.dry {
            self.gone.insert(path.to_path_buf());
        } else if is_folder {
            self.root.remove_dir(path)?;
        } else {
            self.root.remove_file(path)?;
        }
        Ok(true)
    }

    /// The same for everything in a folder; says whether it is empty now.
    fn sweep_content(&mut self, path: &Path, spare: Spare<'_>) -> Result<bool> {
        let Some(stat) = self.lstat(path)? else { return Ok(true) };
        if kind(&stat) == Kind::Dir && stat.st_dev != self.device {
            bail!("/{} is a mount point, nothing in it is removed; unmount it first", path.display());
        }
        let mut empty = true;
        for (child, _) in self.entries(path)? {
            empty &= self.sweep(&child, spare)?;
        }
        Ok(empty)
    }

    fn note(&mut self, path: &Path, stat: &FileStat) {
        self.touched.push(path.to_path_buf());
        // A file with another name frees nothing until that one is gone too.
        if kind(stat) == Kind::File && stat.st_nlink == 1 {
            self.freed += u64::try_from(stat.st_size).unwrap_or(0);
        }
    }
}

/// `path` below the root with the links of its folders followed, the last component as it is. A folder that does not
/// exist is left as it is written.
pub fn real_path(root: &Root, path: &Path) -> Result<PathBuf> {
    let path = path.strip_prefix("/").unwrap_or(path);
    let (Some(folder), Some(name)) = (path.parent(), path.file_name()) else { return Ok(path.to_path_buf()) };
    Ok(resolve(root, folder)?.map_or_else(|| path.to_path_buf(), |folder| folder.join(name)))
}

/// Where `path` leads inside the root with every link followed, or `None` if nothing is there.
pub fn resolve(root: &Root, path: &Path) -> Result<Option<PathBuf>> {
    // The kernel's own record of an open file is the one resolution that cannot differ from its path walk, proc(5).
    let name = |fd: i32| std::fs::read_link(format!("/proc/self/fd/{fd}"));
    let Ok(found) = root.open_at(path, OFlag::O_PATH, 0) else { return Ok(None) };
    let top = name(root.as_fd().as_raw_fd()).context("asking where the root filesystem is")?;
    let found = name(found.as_raw_fd()).with_context(|| format!("asking where /{} leads", path.display()))?;
    Ok(found.strip_prefix(top).ok().map(Path::to_path_buf))
}

#[cfg(test)]
mod tests {
    use super::super::testing::Tree;
    use super::*;

    #[test]
    fn owned_folders_and_placed_files_stay() {
        let mut tree = Tree::new();
        tree.file("var/a/own/file", "12345").file("var/a/own/mine", "1").file("var/a/other/x/y", "22");
        tree.owns("var").owns("var/a/own").owns("var/a/own/file").places("var/a/own/mine");
        let touched = tree.clean(|c| c.remove("var/a"));
        assert_eq!(touched, ["var/a/other/x/y", "var/a/other/x", "var/a/other", "var/a/own/file"]);
        assert!(tree.has("var/a/own/mine") && !tree.has("var/a/other"));
    }

    #[test]
    fn unowned_spares_files_of_packages() {
        let mut tree = Tree::new();
        tree.file("var/a/file", "12345").file("var/a/b/c", "1").owns("var/a/file");
        assert_eq!(tree.clean(|c| c.remove_unowned("var/a")), ["var/a/b/c", "var/a/b"]);
        assert!(tree.has("var/a/file"));
        assert_eq!(tree.clean(|c| c.remove_unowned_content("var")), [""; 0]);
    }

    #[test]
    fn bytes_are_counted_and_a_dry_run_changes_nothing() {
        let mut tree = Tree::new();
        tree.file("a/b", "12345").file("a/c", "123").file("d", "1234567");
        for dry in [true, false] {
            let mut cleaner = tree.cleaner(dry).expect("a cleaner");
            cleaner.remove("a").expect("removed");
            cleaner.write("d", "1234", 0o600).expect("written");
            assert_eq!((cleaner.freed, cleaner.touched.len()), (11, 4));
            assert_eq!(tree.has("a/b"), dry);
            assert_eq!(tree.text("d").len(), if dry { 7 } else { 4 });
        }
    }

    #[test]
    fn write_keeps_the_mode() {
        let mut tree = Tree::new();
        tree.file("etc/shadow", "old").mode("etc/shadow", 0o640);
        let mut cleaner = tree.cleaner(false).expect("a cleaner");
        cleaner.write("etc/shadow", "new", 0o644).expect("written");
        cleaner.write("etc/x/new", "new", 0o600).expect("written");
        assert_eq!((tree.mode_of("etc/shadow"), tree.mode_of("etc/x/new")), (0o640, 0o600));
    }

    #[test]
    fn homes_are_real_folders_of_the_tree() {
        let mut tree = Tree::new();
        tree.file("root/x", "").file("home/app/x", "").link("home", "srv");
        let passwd = ["root:x:0:0::/root:/bin/sh", "app:x:1:1::/home/app/:", "out:x:2:2::/../etc:", "no:x:3:3::/none:"];
        tree.file("etc/passwd", &(passwd.join("\n") + "\nlink:x:4:4::/srv:\nbad\n"));
        let homes = tree.cleaner(true).expect("a cleaner").homes().expect("homes");
        assert_eq!(homes, BTreeSet::from(["home/app".into(), "root".into()]));
    }

    #[test]
    fn links_are_followed_inside() {
        let mut tree = Tree::new();
        tree.file("usr/bin/x", "").link("usr/bin", "bin").link("/bin/x", "y");
        assert_eq!(real_path(&tree.root, Path::new("/bin/new")).expect("resolved"), Path::new("usr/bin/new"));
        assert_eq!(resolve(&tree.root, Path::new("y")).expect("resolved"), Some("usr/bin/x".into()));
        assert_eq!(resolve(&tree.root, Path::new("none")).expect("resolved"), None);
    }
}
