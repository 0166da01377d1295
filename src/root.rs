//! A handle on a root filesystem: no path operation leaves it.
//!
//! Every path is taken relative to the root, with or without a leading slash, and resolved by the kernel with
//! `openat2(RESOLVE_IN_ROOT)`: absolute symlinks and `..` stay inside, as in a chroot. Operations that change a
//! directory entry (`remove`, `symlink`, `rename`) never follow the last component; `read`, `write`, `chmod`
//! and `chown` of the `*_link`-less kind do. See `openat2(2)`.

mod folders;

use std::ffi::OsStr;
use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, bail};
use nix::errno::Errno;
use nix::fcntl::{AtFlags, OFlag, OpenHow, ResolveFlag, openat2};
use nix::sys::stat::{FileStat, Mode, SFlag};
use nix::unistd::{Gid, Uid, UnlinkatFlags};

pub use folders::Entry;

/// Files of configuration and databases that are read whole are never larger than this; a larger one is an attack.
const READ_LIMIT: u64 = 1 << 30;

/// An open root filesystem.
#[derive(Debug)]
pub struct Root {
    path: PathBuf,
    fd: OwnedFd,
}

/// What a directory entry is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Kind {
    /// A regular file.
    File,
    /// A directory.
    Dir,
    /// A symbolic link.
    Link,
    /// A character device, block device, FIFO or socket.
    Other,
}

/// The type of a file, from `st_mode`.
pub fn kind(stat: &FileStat) -> Kind {
    match SFlag::from_bits_truncate(stat.st_mode & SFlag::S_IFMT.bits()) {
        SFlag::S_IFREG => Kind::File,
        SFlag::S_IFDIR => Kind::Dir,
        SFlag::S_IFLNK => Kind::Link,
        _ => Kind::Other,
    }
}

impl Root {
    /// Opens the folder `path` as a root filesystem.
    pub fn open(path: impl Into<PathBuf>) -> Result<Root> {
        let path = path.into();
        let flags = OFlag::O_DIRECTORY | OFlag::O_CLOEXEC | OFlag::O_RDONLY;
        let fd = nix::fcntl::open(&path, flags, Mode::empty())
            .with_context(|| format!("opening the root filesystem {}", path.display()))?;
        Ok(Root { path, fd })
    }

    /// Where it is on the host. For messages and mounts, not for reaching files in it.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The open folder itself.
    pub fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }

    /// Opens something in the root. `flags` as of `open(2)`.
    pub fn open_at(&self, path: impl AsRef<Path>, flags: OFlag, mode: u32) -> nix::Result<OwnedFd> {
        let path = relative(path.as_ref());
        let mut how = OpenHow::new().flags(flags | OFlag::O_CLOEXEC).resolve(ResolveFlag::RESOLVE_IN_ROOT);
        if flags.contains(OFlag::O_CREAT) {
            how = how.mode(Mode::from_bits_truncate(mode));
        }
        loop {
            // EAGAIN: a concurrent rename somewhere made the kernel unsure, openat2(2).
            match openat2(&self.fd, path, how) {
                Err(Errno::EAGAIN) => continue,
                other => return other,
            }
        }
    }

    /// Opens the folder that holds `path`, and gives the last component.
    fn parent<'p>(&self, path: &'p Path) -> Result<(OwnedFd, &'p OsStr)> {
        let Some(name) = path.file_name() else { bail!("{} has no last component", self.show(path)) };
        let dir = relative(path).parent().unwrap_or(Path::new("."));
        let dir = if dir.as_os_str().is_empty() { Path::new(".") } else { dir };
        let fd = self
            .open_at(dir, OFlag::O_PATH | OFlag::O_DIRECTORY, 0)
            .with_context(|| format!("opening the folder of {}", self.show(path)))?;
        Ok((fd, name))
    }

    /// `path` for a message: as it would be called inside.
    fn show(&self, path: &Path) -> String {
        format!("/{} in {}", relative(path).display(), self.path.display())
    }

    /// What `lstat` says, or `None` if it does not exist.
    pub fn lstat(&self, path: impl AsRef<Path>) -> Result<Option<FileStat>> {
        self.stat_with(path.as_ref(), OFlag::O_PATH | OFlag::O_NOFOLLOW)
    }

    /// What `stat` says (links followed inside the root), or `None` if it does not exist.
    pub fn stat(&self, path: impl AsRef<Path>) -> Result<Option<FileStat>> {
        self.stat_with(path.as_ref(), OFlag::O_PATH)
    }

    fn stat_with(&self, path: &Path, flags: OFlag) -> Result<Option<FileStat>> {
        match self.open_at(path, flags, 0) {
            Ok(fd) => Ok(Some(nix::sys::stat::fstat(&fd).with_context(|| format!("looking at {}", self.show(path)))?)),
            Err(Errno::ENOENT | Errno::ENOTDIR) => Ok(None),
            Err(error) => Err(error).with_context(|| format!("looking at {}", self.show(path))),
        }
    }

    /// Whether `path` exists (links followed inside the root).
    pub fn exists(&self, path: impl AsRef<Path>) -> bool {
        self.open_at(path, OFlag::O_PATH, 0).is_ok()
    }

    /// Opens a regular file for reading. Anything else (a FIFO would block for ever) is an error.
    pub fn open_file(&self, path: impl AsRef<Path>) -> Result<File> {
        let path = path.as_ref();
        let fd = self
            .open_at(path, OFlag::O_RDONLY | OFlag::O_NONBLOCK, 0)
            .with_context(|| format!("opening {}", self.show(path)))?;
        let file = File::from(fd);
        if !file.metadata().with_context(|| format!("looking at {}", self.show(path)))?.is_file() {
            bail!("{} is not a regular file", self.show(path));
        }
        Ok(file)
    }

    /// The content of a file.
    pub fn read(&self, path: impl AsRef<Path>) -> Result<Vec<u8>> {
        let path = path.as_ref();
        let mut data = Vec::new();
        self.open_file(path)?
            .take(READ_LIMIT)
            .read_to_end(&mut data)
            .with_context(|| format!("reading {}", self.show(path)))?;
        Ok(data)
    }

    /// The content of a text file. Bytes that are not UTF-8 are replaced.
    pub fn read_text(&self, path: impl AsRef<Path>) -> Result<String> {
        Ok(String::from_utf8_lossy(&self.read(path)?).into_owned())
    }

    /// The content of a text file, or `None` if it does not exist.
    pub fn read_text_if_there(&self, path: impl AsRef<Path>) -> Result<Option<String>> {
        let path = path.as_ref();
        if self.exists(path) { self.read_text(path).map(Some) } else { Ok(None) }
    }

    /// Puts a file in place in one step, with exactly these permission bits, owned by root. A symlink at `path`
    /// is replaced, not followed.
    pub fn write(&self, path: impl AsRef<Path>, data: impl AsRef<[u8]>, mode: u32) -> Result<()> {
        let path = path.as_ref();
        let (dir, name) = self.parent(path)?;
        let mut temporary = OsStr::new(".mkbase-").to_os_string();
        temporary.push(name);
        let context = || format!("writing {}", self.show(path));
        let flags = OFlag::O_WRONLY | OFlag::O_CREAT | OFlag::O_TRUNC | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
        let fd = nix::fcntl::openat(&dir, temporary.as_os_str(), flags, Mode::S_IRUSR | Mode::S_IWUSR)
            .with_context(context)?;
        let mut file = File::from(fd);
        let written = file
            .write_all(data.as_ref())
            .and_then(|()| Ok(nix::sys::stat::fchmod(&file, Mode::from_bits_truncate(mode))?))
            .and_then(|()| Ok(nix::fcntl::renameat(&dir, temporary.as_os_str(), &dir, name)?));
        if written.is_err() {
            nix::unistd::unlinkat(&dir, temporary.as_os_str(), UnlinkatFlags::NoRemoveDir).ok();
        }
        written.with_context(context)
    }

    /// Empties a file and keeps its owner and mode.
    pub fn truncate(&self, path: impl AsRef<Path>) -> Result<()> {
        let path = path.as_ref();
        self.open_at(path, OFlag::O_WRONLY | OFlag::O_TRUNC | OFlag::O_NOFOLLOW | OFlag::O_NONBLOCK, 0)
            .with_context(|| format!("emptying {}", self.show(path)))?;
        Ok(())
    }

    /// Makes one folder with exactly these permission bits; it is no error when it is there already.
    pub fn create_dir(&self, path: impl AsRef<Path>, mode: u32) -> Result<()> {
        let path = path.as_ref();
        let (dir, name) = self.parent(path)?;
        let context = || format!("making the folder {}", self.show(path));
        match nix::sys::stat::mkdirat(&dir, name, Mode::S_IRWXU) {
            Ok(()) => self.chmod(path, mode),
            Err(Errno::EEXIST) if self.stat(path)?.is_some_and(|s| kind(&s) == Kind::Dir) => Ok(()),
            Err(error) => Err(error).with_context(context),
        }
    }

    /// Makes a folder and its parents. Folders that exist are left alone.
    pub fn create_dir_all(&self, path: impl AsRef<Path>, mode: u32) -> Result<()> {
        let path = relative(path.as_ref());
        let mut ancestors: Vec<&Path> = path.ancestors().filter(|p| !p.as_os_str().is_empty()).collect();
        ancestors.reverse();
        ancestors.into_iter().filter(|p| *p != Path::new(".")).try_for_each(|p| self.create_dir(p, mode))
    }

    /// Makes a symbolic link at `path`. What is there is replaced, unless it is a folder.
    pub fn symlink(&self, target: impl AsRef<Path>, path: impl AsRef<Path>) -> Result<()> {
        let (target, path) = (target.as_ref(), path.as_ref());
        let (dir, name) = self.parent(path)?;
        let link = || nix::unistd::symlinkat(target, &dir, name);
        let made = match link() {
            Err(Errno::EEXIST) => nix::unistd::unlinkat(&dir, name, UnlinkatFlags::NoRemoveDir).and_then(|()| link()),
            other => other,
        };
        made.with_context(|| format!("linking {} to {}", self.show(path), target.display()))
    }

    /// Where a symbolic link points.
    pub fn read_link(&self, path: impl AsRef<Path>) -> Result<PathBuf> {
        let path = path.as_ref();
        let (dir, name) = self.parent(path)?;
        let target =
            nix::fcntl::readlinkat(&dir, name).with_context(|| format!("reading the link {}", self.show(path)))?;
        Ok(PathBuf::from(target))
    }

    /// Renames inside the root.
    pub fn rename(&self, from: impl AsRef<Path>, to: impl AsRef<Path>) -> Result<()> {
        let (from, to) = (from.as_ref(), to.as_ref());
        let ((from_dir, from_name), (to_dir, to_name)) = (self.parent(from)?, self.parent(to)?);
        nix::fcntl::renameat(&from_dir, from_name, &to_dir, to_name)
            .with_context(|| format!("renaming {} to /{}", self.show(from), relative(to).display()))
    }

    /// Removes a file or link. It is no error when it is not there; the answer tells whether it was.
    pub fn remove_file(&self, path: impl AsRef<Path>) -> Result<bool> {
        let path = path.as_ref();
        if self.lstat(path)?.is_none() {
            return Ok(false);
        }
        let (dir, name) = self.parent(path)?;
        nix::unistd::unlinkat(&dir, name, UnlinkatFlags::NoRemoveDir)
            .with_context(|| format!("removing {}", self.show(path)))?;
        Ok(true)
    }

    /// Removes an empty folder.
    pub fn remove_dir(&self, path: impl AsRef<Path>) -> Result<()> {
        let path = path.as_ref();
        let (dir, name) = self.parent(path)?;
        nix::unistd::unlinkat(&dir, name, UnlinkatFlags::RemoveDir)
            .with_context(|| format!("removing the folder {}", self.show(path)))
    }

    /// Sets permission bits (links followed inside the root).
    pub fn chmod(&self, path: impl AsRef<Path>, mode: u32) -> Result<()> {
        let path = path.as_ref();
        let fd = self.open_at(path, OFlag::O_PATH, 0).with_context(|| format!("opening {}", self.show(path)))?;
        // fchmod refuses O_PATH; the kernel's own link to it does not.
        let link = format!("/proc/self/fd/{}", fd.as_raw_fd());
        nix::sys::stat::fchmodat(
            nix::fcntl::AT_FDCWD,
            link.as_str(),
            Mode::from_bits_truncate(mode),
            nix::sys::stat::FchmodatFlags::FollowSymlink,
        )
        .with_context(|| format!("setting the mode of {}", self.show(path)))
    }

    /// Sets owner and group of the entry itself (links not followed).
    pub fn chown(&self, path: impl AsRef<Path>, uid: u32, gid: u32) -> Result<()> {
        let path = path.as_ref();
        let fd = self
            .open_at(path, OFlag::O_PATH | OFlag::O_NOFOLLOW, 0)
            .with_context(|| format!("opening {}", self.show(path)))?;
        nix::unistd::fchownat(&fd, "", Some(Uid::from_raw(uid)), Some(Gid::from_raw(gid)), AtFlags::AT_EMPTY_PATH)
            .with_context(|| format!("setting the owner of {}", self.show(path)))
    }
}

/// `path` without its leading slashes; the root itself is `.`.
fn relative(path: &Path) -> &Path {
    let bytes = path.as_os_str().as_bytes();
    let start = bytes.iter().position(|b| *b != b'/').unwrap_or(bytes.len());
    if start == bytes.len() { Path::new(".") } else { Path::new(OsStr::from_bytes(&bytes[start..])) }
}

#[cfg(test)]
mod tests {
    use super::*;

    pub fn tree() -> (tempfile::TempDir, Root) {
        let dir = tempfile::tempdir().expect("a temporary folder");
        let path = dir.path().join("root");
        std::fs::create_dir(&path).expect("a folder");
        std::fs::write(dir.path().join("secret"), "outside").expect("a file");
        let root = Root::open(&path).expect("it opens");
        (dir, root)
    }

    #[test]
    fn nothing_leaves_the_root() {
        let (dir, root) = tree();
        root.symlink("../../..", "up").expect("a link");
        root.symlink(dir.path(), "abs").expect("a link");
        assert!(root.read("up/secret").is_err());
        assert!(root.read("abs/secret").is_err());
        assert!(root.read("../secret").is_err());
        assert!(root.write("abs/secret", "changed", 0o644).is_err());
        root.symlink("/etc", "link").expect("a link");
        root.create_dir("etc", 0o755).expect("a folder");
        root.write("link/inside", "x", 0o600).expect("resolved inside");
        assert_eq!(root.read_text("/etc/inside").expect("it is there"), "x");
        root.symlink(dir.path().join("secret"), "etc/target").expect("a link");
        root.write("etc/target", "new", 0o644).expect("the link is replaced");
        assert_eq!(std::fs::read_to_string(dir.path().join("secret")).expect("it is there"), "outside");
    }
}
