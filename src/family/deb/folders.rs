//! Reaches the folders that members of packages go to: links are followed as in a chroot, by hand, and what is opened in
//! the end has no link in its path.

use std::collections::HashMap;
use std::ffi::{OsStr, OsString};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Component, Path, PathBuf};

use anyhow::{Context as _, Result, bail};
use nix::errno::Errno;
use nix::fcntl::{AtFlags, OFlag, OpenHow, ResolveFlag, openat2, readlinkat};
use nix::sys::stat::{Mode, fstatat, mkdirat};
use nix::unistd::symlinkat;

use super::claims::Claims;
use crate::root::Root;

/// The folders of the root that are links to those of `/usr`, where a package ships something in them: every name an
/// architecture of Debian has (the list of `merge_usr` in debootstrap 1.0.128+deb12u2 to 1.0.145, which makes a link
/// for each that is there once the required packages are extracted, in every suite).
pub const MERGED: [&str; 7] = ["bin", "lib", "lib32", "lib64", "libo32", "libx32", "sbin"];

/// As the kernel: a path goes through so many links at most, path_resolution(7).
const LINK_LIMIT: usize = 40;

/// The folders as one package sees them.
pub struct Folders<'a> {
    root: &'a Root,
    claims: &'a Claims<'a>,
    package: usize,
    /// Folders as archives name them, and the paths of them that have no link in them.
    resolved: HashMap<PathBuf, PathBuf>,
    /// The folder that was asked for last.
    current: Option<(PathBuf, OwnedFd)>,
}

impl<'a> Folders<'a> {
    /// For one package, by its index.
    pub fn new(root: &'a Root, claims: &'a Claims<'a>, package: usize) -> Folders<'a> {
        Folders { root, claims, package, resolved: HashMap::new(), current: None }
    }

    /// Makes a folder whose owner, mode and time are set at the end of all unpacking. It may be there already.
    pub fn make_dir(&mut self, parent: &Path, name: &OsStr) -> Result<()> {
        match mkdirat(self.folder(parent)?, name, Mode::S_IRWXU) {
            Ok(()) | Err(Errno::EEXIST) => Ok(()),
            Err(error) => Err(error).with_context(|| format!("making the folder /{}", parent.join(name).display())),
        }
    }

    /// The folder that a member goes to, and its last component.
    pub fn locate(&mut self, literal: &Path) -> Result<(PathBuf, OsString)> {
        let name = literal.file_name().context("it has no name")?.to_os_string();
        let parent = self.resolve(literal.parent().unwrap_or(Path::new("")))?;
        Ok((parent, name))
    }

    /// The path of a folder with no link in it. A folder that no package declared so far is made.
    pub fn resolve(&mut self, literal: &Path) -> Result<PathBuf> {
        self.resolve_deep(literal, 0)
    }

    fn resolve_deep(&mut self, literal: &Path, links: usize) -> Result<PathBuf> {
        if literal.as_os_str().is_empty() {
            return Ok(PathBuf::new());
        }
        if let Some(path) = self.resolved.get(literal) {
            return Ok(path.clone());
        }
        let name = literal.file_name().context("it has no name")?;
        let parent = self.resolve_deep(literal.parent().unwrap_or(Path::new("")), links)?;
        let path = if is_merged(literal) { self.merged_dir(name)? } else { self.enter(&parent, name, links)? };
        self.resolved.insert(literal.to_owned(), path.clone());
        Ok(path)
    }

    fn enter(&mut self, parent: &Path, name: &OsStr, links: usize) -> Result<PathBuf> {
        let path = parent.join(name);
        let stat = match fstatat(self.folder(parent)?, name, AtFlags::AT_SYMLINK_NOFOLLOW) {
            Ok(stat) => Some(stat),
            Err(Errno::ENOENT) => None,
            Err(error) => return Err(error).with_context(|| format!("looking at /{}", path.display())),
        };
        match stat.as_ref().map(crate::root::kind) {
            Some(crate::root::Kind::Dir) => Ok(path),
            None if self.claims.implied_dir(self.package, &path)? => {
                self.make_dir(parent, name)?;
                Ok(path)
            }
            Some(crate::root::Kind::Link) if links < LINK_LIMIT => {
                // Another package's link: whether it is there yet depends on who is first.
                self.claims.implied_dir(self.package, &path)?;
                let target = readlinkat(self.folder(parent)?, name)
                    .with_context(|| format!("reading the link /{}", path.display()))?;
                self.follow(parent, Path::new(&target), links + 1)
            }
            _ => bail!("/{} is not a folder", path.display()),
        }
    }

    /// Where a link in the folder `parent` leads, inside the root: `..` of the root is the root, as in a chroot.
    fn follow(&mut self, parent: &Path, target: &Path, links: usize) -> Result<PathBuf> {
        let mut path = if target.is_absolute() { PathBuf::new() } else { parent.to_owned() };
        for component in target.components() {
            match component {
                Component::Normal(name) => {
                    let literal = path.join(name);
                    path = if is_merged(&literal) { self.merged_dir(name)? } else { self.enter(&path, name, links)? };
                }
                Component::ParentDir => {
                    path.pop();
                }
                Component::RootDir | Component::CurDir | Component::Prefix(_) => {}
            }
        }
        Ok(path)
    }

    /// `usr/NAME`, with the link to it at `NAME`.
    pub fn merged_dir(&mut self, name: &OsStr) -> Result<PathBuf> {
        let usr = Path::new("usr");
        self.claims.implied_dir(self.package, usr)?;
        self.make_dir(Path::new(""), usr.as_os_str())?;
        self.claims.implied_dir(self.package, &usr.join(name))?;
        self.make_dir(usr, name)?;
        let root = self.folder(Path::new(""))?;
        match symlinkat(&usr.join(name), root, name) {
            Ok(()) | Err(Errno::EEXIST) => Ok(usr.join(name)),
            Err(error) => Err(error).with_context(|| format!("linking /{} to /usr", Path::new(name).display())),
        }
    }

    /// The folder of a path without links, open. Most members go where the one before went.
    pub fn folder(&mut self, path: &Path) -> Result<BorrowedFd<'_>> {
        let current = match self.current.take() {
            Some(current) if current.0 == path => current,
            _ => (path.to_owned(), open_folder(self.root, path)?),
        };
        Ok(self.current.insert(current).1.as_fd())
    }
}

/// Opens a folder by a path that has no link in it; a link that came to be there is an error, never followed.
pub fn open_folder(root: &Root, path: &Path) -> Result<OwnedFd> {
    let path = if path.as_os_str().is_empty() { Path::new(".") } else { path };
    let flags = OFlag::O_PATH | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC;
    let resolve = ResolveFlag::RESOLVE_BENEATH | ResolveFlag::RESOLVE_NO_SYMLINKS;
    loop {
        match openat2(root.as_fd(), path, OpenHow::new().flags(flags).resolve(resolve)) {
            // A rename elsewhere in the tree can make the kernel unsure, openat2(2).
            Err(Errno::EAGAIN) => continue,
            other => return other.with_context(|| format!("opening the folder /{}", path.display())),
        }
    }
}

/// A top-level folder of the merged `/usr`.
pub fn is_merged(path: &Path) -> bool {
    MERGED.iter().any(|name| path.as_os_str() == *name)
}
