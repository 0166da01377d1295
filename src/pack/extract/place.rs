//! Puts entries of a tar into a root filesystem, through its handle alone.

use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Component, Path, PathBuf};

use anyhow::{Context as _, Result, bail};
use nix::errno::Errno;
use nix::fcntl::{AtFlags, OFlag};
use nix::sys::stat::{Mode, SFlag, UtimensatFlags, makedev};
use nix::sys::time::TimeSpec;
use nix::unistd::{Gid, Uid, UnlinkatFlags};
use xattr::FileExt;

use super::reader::{Entry, Reader};
use crate::interrupt;
use crate::pack::header::kind;
use crate::root::{Kind, Root};

/// A folder's metadata, set when all is in it: a read-only folder takes no entries, every entry changes its time, and
/// a default access list would be inherited.
#[derive(Debug)]
struct Folder {
    path: PathBuf,
    mode: u32,
    mtime: i64,
    xattrs: Vec<(Vec<u8>, Vec<u8>)>,
}

/// Puts entries in place.
#[derive(Debug)]
pub struct Placer<'a> {
    root: &'a Root,
    folders: Vec<Folder>,
    buffer: Vec<u8>,
}

/// The path below the root that an archive's name means. A name with `..` means nothing good.
pub fn clean(name: &[u8]) -> Result<PathBuf> {
    let mut path = PathBuf::new();
    for component in Path::new(OsStr::from_bytes(name)).components() {
        match component {
            Component::Normal(part) => path.push(part),
            // A name from the top is one from the root's top, as every tar takes it.
            Component::RootDir | Component::CurDir | Component::Prefix(_) => {}
            Component::ParentDir => bail!("its name has '..' in it"),
        }
    }
    Ok(path)
}

impl<'a> Placer<'a> {
    /// Puts entries into `root`.
    pub fn new(root: &'a Root) -> Placer<'a> {
        Placer { root, folders: Vec::new(), buffer: vec![0; 256 << 10] }
    }

    /// Puts one entry in place; its content comes from `content`. Gives `false` for a device node that this user may
    /// not make.
    pub fn place(&mut self, entry: &Entry, content: &mut Reader<impl Read>) -> Result<bool> {
        let path = clean(&entry.path)?;
        if entry.kind == kind::DIR {
            self.folder(entry, path)?;
            return Ok(true);
        }
        let (parent, name) = self.make_room(&path)?;
        match entry.kind {
            kind::FILE => self.file(entry, &parent, &name, content)?,
            kind::HARD_LINK => {
                let target = clean(&entry.link).with_context(|| shown("linking to", &entry.link))?;
                let (from, from_name) = self.parent_of(&target).with_context(|| shown("linking to", &entry.link))?;
                // Without AT_SYMLINK_FOLLOW a link is linked itself, never what it points to.
                nix::unistd::linkat(&from, from_name.as_os_str(), &parent, name.as_os_str(), AtFlags::empty())
                    .with_context(|| shown("linking to", &entry.link))?;
            }
            kind::SYMLINK => {
                nix::unistd::symlinkat(OsStr::from_bytes(&entry.link), &parent, name.as_os_str())
                    .with_context(|| shown("making a link to", &entry.link))?;
                self.own_by_name(entry, &parent, &name)?;
            }
            _ => return self.special(entry, &parent, &name),
        }
        Ok(true)
    }

    /// Sets what could be set only at the end.
    pub fn finish(self) -> Result<()> {
        for folder in self.folders.iter().rev() {
            interrupt::check()?;
            let context = || format!("setting the metadata of the folder /{}", folder.path.display());
            // Something later in the archive may have taken its place.
            if self.root.lstat(top(&folder.path))?.is_none_or(|stat| crate::root::kind(&stat) != Kind::Dir) {
                continue;
            }
            let file = File::from(self.open_folder(&folder.path).with_context(context)?);
            set_xattrs(&file, &folder.xattrs).with_context(context)?;
            set_mode(&file, folder.mode).with_context(context)?;
            set_time(&file, folder.mtime).with_context(context)?;
        }
        Ok(())
    }

    fn folder(&mut self, entry: &Entry, path: PathBuf) -> Result<()> {
        if !path.as_os_str().is_empty() {
            let there = self.root.lstat(&path)?;
            if there.is_some_and(|stat| crate::root::kind(&stat) != Kind::Dir) {
                self.root.remove_file(&path)?;
            }
            self.make_parents(&path)?;
            self.root.create_dir(&path, 0o700)?;
        }
        let folder = File::from(self.open_folder(&path).context("opening it")?);
        own(&folder, entry)?;
        self.folders.push(Folder { path, mode: entry.mode, mtime: entry.mtime, xattrs: entry.xattrs.clone() });
        Ok(())
    }

    fn file(&mut self, entry: &Entry, parent: &OwnedFd, name: &OsStr, content: &mut Reader<impl Read>) -> Result<()> {
        let flags = OFlag::O_WRONLY | OFlag::O_CREAT | OFlag::O_EXCL | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
        let fd = nix::fcntl::openat(parent, name, flags, Mode::S_IRUSR | Mode::S_IWUSR).context("making the file")?;
        let mut file = File::from(fd);
        let mut left = entry.size;
        while left > 0 {
            interrupt::check()?;
            let count = usize::try_from(left).map_or(self.buffer.len(), |left| left.min(self.buffer.len()));
            content.read_content(&mut self.buffer[..count])?;
            file.write_all(&self.buffer[..count]).context("writing")?;
            left -= count as u64;
        }
        // The order matters: a change of owner drops capabilities and the set-user-id bit.
        own(&file, entry)?;
        set_xattrs(&file, &entry.xattrs)?;
        set_mode(&file, entry.mode)?;
        set_time(&file, entry.mtime)
    }

    fn special(&self, entry: &Entry, parent: &OwnedFd, name: &OsStr) -> Result<bool> {
        let (kind, device) = match entry.kind {
            kind::CHAR => (SFlag::S_IFCHR, makedev(entry.device.0, entry.device.1)),
            kind::BLOCK => (SFlag::S_IFBLK, makedev(entry.device.0, entry.device.1)),
            _ => (SFlag::S_IFIFO, 0),
        };
        match nix::sys::stat::mknodat(parent, name, kind, Mode::S_IRUSR | Mode::S_IWUSR, device) {
            Ok(()) => {}
            Err(Errno::EPERM) if kind != SFlag::S_IFIFO => return Ok(false),
            Err(error) => return Err(error).context("making the node"),
        }
        self.own_by_name(entry, parent, name)?;
        let mode = Mode::from_bits_truncate(entry.mode);
        // A FIFO or a device must not be opened to set its mode.
        nix::sys::stat::fchmodat(parent, name, mode, nix::sys::stat::FchmodatFlags::FollowSymlink)
            .context("setting the mode")?;
        let time = TimeSpec::new(entry.mtime, 0);
        nix::sys::stat::utimensat(parent, name, &time, &time, UtimensatFlags::NoFollowSymlink)
            .context("setting the time")?;
        Ok(true)
    }

    /// Owner and time of something that cannot be opened.
    fn own_by_name(&self, entry: &Entry, parent: &OwnedFd, name: &OsStr) -> Result<()> {
        let (uid, gid) = (Uid::from_raw(entry.uid), Gid::from_raw(entry.gid));
        nix::unistd::fchownat(parent, name, Some(uid), Some(gid), AtFlags::AT_SYMLINK_NOFOLLOW)
            .context("setting the owner")?;
        let time = TimeSpec::new(entry.mtime, 0);
        nix::sys::stat::utimensat(parent, name, &time, &time, UtimensatFlags::NoFollowSymlink)
            .context("setting the time")
    }

    /// The folder that holds `path`, with nothing of that name in it any more.
    fn make_room(&self, path: &Path) -> Result<(OwnedFd, OsString)> {
        self.make_parents(path)?;
        let (parent, name) = self.parent_of(path)?;
        match nix::unistd::unlinkat(&parent, name.as_os_str(), UnlinkatFlags::NoRemoveDir) {
            Ok(()) | Err(Errno::ENOENT) => Ok((parent, name)),
            Err(Errno::EISDIR | Errno::EPERM) => {
                nix::unistd::unlinkat(&parent, name.as_os_str(), UnlinkatFlags::RemoveDir)
                    .context("replacing a folder by something else")?;
                Ok((parent, name))
            }
            Err(error) => Err(error).context("replacing what was there"),
        }
    }

    /// Folders that an archive does not name itself.
    fn make_parents(&self, path: &Path) -> Result<()> {
        match path.parent() {
            Some(parent) if !parent.as_os_str().is_empty() && !self.root.exists(parent) => {
                self.root.create_dir_all(parent, 0o755)
            }
            _ => Ok(()),
        }
    }

    fn parent_of(&self, path: &Path) -> Result<(OwnedFd, OsString)> {
        let Some(name) = path.file_name() else { bail!("it is the root folder") };
        let parent = top(path.parent().unwrap_or(Path::new("")));
        let fd = self
            .root
            .open_at(parent, OFlag::O_PATH | OFlag::O_DIRECTORY, 0)
            .with_context(|| format!("opening the folder /{}", parent.display()))?;
        Ok((fd, name.to_os_string()))
    }

    fn open_folder(&self, path: &Path) -> nix::Result<OwnedFd> {
        self.root.open_at(top(path), OFlag::O_RDONLY | OFlag::O_DIRECTORY, 0)
    }
}

fn top(path: &Path) -> &Path {
    if path.as_os_str().is_empty() { Path::new(".") } else { path }
}

fn shown(what: &str, target: &[u8]) -> String {
    format!("{what} {:?}", String::from_utf8_lossy(target))
}

fn own(file: &File, entry: &Entry) -> Result<()> {
    nix::unistd::fchown(file, Some(Uid::from_raw(entry.uid)), Some(Gid::from_raw(entry.gid)))
        .with_context(|| format!("setting its owner to {}:{}", entry.uid, entry.gid))
}

fn set_xattrs(file: &File, xattrs: &[(Vec<u8>, Vec<u8>)]) -> Result<()> {
    xattrs.iter().try_for_each(|(name, value)| {
        let name = OsStr::from_bytes(name);
        file.set_xattr(name, value).with_context(|| format!("setting the attribute {}", name.display()))
    })
}

fn set_mode(file: impl AsFd, mode: u32) -> Result<()> {
    nix::sys::stat::fchmod(file, Mode::from_bits_truncate(mode)).context("setting the mode")
}

fn set_time(file: impl AsFd, mtime: i64) -> Result<()> {
    let time = TimeSpec::new(mtime, 0);
    nix::sys::stat::futimens(file, &time, &time).context("setting the time")
}
