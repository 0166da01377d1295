//! Mounts in a tree that is not trusted: every mount point is opened without following links, so that a hostile tree
//! cannot move a mount elsewhere.

use std::os::fd::{AsRawFd, OwnedFd};
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};
use nix::errno::Errno;
use nix::fcntl::{OFlag, OpenHow, ResolveFlag, openat2};
use nix::mount::{MsFlags, mount};
use nix::sys::stat::Mode;
use nix::sys::statvfs::{FsFlags, fstatvfs};

use super::init::Bind;
use super::sys;

const NONE: Option<&str> = None;

/// Gives the tree at `base` (a path in `root`, empty for itself) its own `/proc`, `/sys` and `/dev`.
pub fn system(root: &OwnedFd, base: &Path) -> Result<()> {
    let noexec = MsFlags::MS_NOSUID | MsFlags::MS_NODEV | MsFlags::MS_NOEXEC;
    mount_at(root, &base.join("proc"), "proc", noexec, NONE)
        .context("mounting proc (is /proc of this host masked?)")?;
    mount_at(root, &base.join("sys"), "sysfs", noexec | MsFlags::MS_RDONLY, NONE)?;
    let dev = base.join("dev");
    mount_at(root, &dev, "tmpfs", MsFlags::MS_NOSUID | MsFlags::MS_NOEXEC, Some("mode=0755,size=1m"))?;
    devices(root, &dev)
}

/// The devices every program may expect, bound from the host, since a user namespace cannot make device nodes.
fn devices(root: &OwnedFd, dev: &Path) -> Result<()> {
    for name in ["null", "zero", "full", "random", "urandom", "tty"] {
        let target = create_file(root, &dev.join(name))?;
        let host = format!("/dev/{name}");
        mount(Some(host.as_str()), &proc_path(&target), NONE, MsFlags::MS_BIND, NONE)
            .with_context(|| format!("binding {host}"))?;
    }
    let folder = open_in(root, dev, OFlag::O_PATH | OFlag::O_DIRECTORY)?;
    for (name, target) in [
        ("fd", "/proc/self/fd"),
        ("stdin", "/proc/self/fd/0"),
        ("stdout", "/proc/self/fd/1"),
        ("stderr", "/proc/self/fd/2"),
        ("ptmx", "pts/ptmx"),
    ] {
        nix::unistd::symlinkat(target, &folder, name).with_context(|| format!("linking /dev/{name}"))?;
    }
    for name in ["pts", "shm"] {
        nix::sys::stat::mkdirat(&folder, name, Mode::from_bits_truncate(0o755))
            .with_context(|| format!("making /dev/{name}"))?;
    }
    let flags = MsFlags::MS_NOSUID | MsFlags::MS_NOEXEC;
    mount_at(root, &dev.join("pts"), "devpts", flags, Some("newinstance,ptmxmode=0666,mode=0620,gid=5"))?;
    mount_at(root, &dev.join("shm"), "tmpfs", flags | MsFlags::MS_NODEV, Some("mode=1777"))
}

/// Mounts a new file system on a folder of the tree.
pub fn mount_at(root: &OwnedFd, inside: &Path, kind: &str, flags: MsFlags, options: Option<&str>) -> Result<()> {
    let target = open_in(root, inside, OFlag::O_PATH | OFlag::O_DIRECTORY)
        .with_context(|| format!("opening the mount point /{}", inside.display()))?;
    mount(Some(kind), &proc_path(&target), Some(kind), flags, options)
        .with_context(|| format!("mounting {kind} on /{}", inside.display()))
}

/// Something of the host, held open.
pub struct Source<'a> {
    bind: &'a Bind,
    file: OwnedFd,
    is_dir: bool,
}

impl Source<'_> {
    /// Opens it.
    pub fn open(bind: &Bind) -> Result<Source<'_>> {
        let context = || format!("opening {} for the sandbox", bind.host.display());
        let file =
            nix::fcntl::open(&bind.host, OFlag::O_PATH | OFlag::O_CLOEXEC, Mode::empty()).with_context(context)?;
        let stat = nix::sys::stat::fstat(&file).with_context(context)?;
        let is_dir = stat.st_mode & libc::S_IFMT == libc::S_IFDIR;
        Ok(Source { bind, file, is_dir })
    }

    /// Shows it in `root`. Folders on the way are made.
    pub fn mount(&self, root: &OwnedFd) -> Result<()> {
        let Bind { host, inside, writable } = self.bind;
        let context = || format!("binding {} on {}", host.display(), inside.display());
        let inside = inside.strip_prefix("/").with_context(context)?;
        make_dirs(root, inside.parent().unwrap_or(Path::new("")))?;
        let target = if self.is_dir {
            make_dir(root, inside)?;
            open_in(root, inside, OFlag::O_PATH | OFlag::O_DIRECTORY)?
        } else {
            create_file(root, inside)?
        };
        // With what is mounted below it: a user namespace may not show what a mount covers, mount_namespaces(7).
        let flags = MsFlags::MS_BIND | MsFlags::MS_REC;
        mount(Some(&proc_path(&self.file)), &proc_path(&target), NONE, flags, NONE).with_context(context)?;
        if !writable {
            // Opened again: the first handle is below the mount.
            read_only(&open_in(root, inside, OFlag::O_PATH)?).with_context(context)?;
        }
        Ok(())
    }
}

/// Makes a mount, and all that are mounted below it, read-only.
pub fn read_only(mounted: &OwnedFd) -> Result<()> {
    match sys::mount_read_only(mounted) {
        Ok(()) => return Ok(()),
        // Older than Linux 5.12: the mount itself only.
        Err(error) if error.raw_os_error() == Some(libc::ENOSYS) => {}
        Err(error) => return Err(error.into()),
    }
    // A user namespace may not clear flags that the host's mount has, mount_namespaces(7); they are asked for again.
    let kept = fstatvfs(mounted)?.flags();
    let mut flags = MsFlags::MS_BIND | MsFlags::MS_REMOUNT | MsFlags::MS_RDONLY;
    for (has, set) in [
        (FsFlags::ST_NOSUID, MsFlags::MS_NOSUID),
        (FsFlags::ST_NODEV, MsFlags::MS_NODEV),
        (FsFlags::ST_NOEXEC, MsFlags::MS_NOEXEC),
        (FsFlags::ST_NOATIME, MsFlags::MS_NOATIME),
        (FsFlags::ST_NODIRATIME, MsFlags::MS_NODIRATIME),
        (FsFlags::ST_RELATIME, MsFlags::MS_RELATIME),
    ] {
        if kept.contains(has) {
            flags |= set;
        }
    }
    Ok(mount(NONE, &proc_path(mounted), NONE, flags, NONE)?)
}

/// Makes a folder and those above it, where they are not there.
pub fn make_dirs(root: &OwnedFd, path: &Path) -> Result<()> {
    let mut made = PathBuf::new();
    for part in path.components() {
        made.push(part);
        make_dir(root, &made)?;
    }
    Ok(())
}

/// Makes a folder, where it is not there.
pub fn make_dir(root: &OwnedFd, path: &Path) -> Result<()> {
    let context = || format!("making the folder /{}", path.display());
    let (parent, name) = parent(root, path)?;
    match nix::sys::stat::mkdirat(&parent, name, Mode::from_bits_truncate(0o755)) {
        Ok(()) | Err(Errno::EEXIST) => Ok(()),
        // A folder that is there on a file system that is mounted read-only.
        Err(Errno::EROFS) if open_in(root, path, OFlag::O_PATH | OFlag::O_DIRECTORY).is_ok() => Ok(()),
        Err(error) => Err(error).with_context(context),
    }
}

/// The folder that holds `path`, and the last component.
pub fn parent<'p>(root: &OwnedFd, path: &'p Path) -> Result<(OwnedFd, &'p std::ffi::OsStr)> {
    let folder = path.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let name = path.file_name().with_context(|| format!("{} has no last component", path.display()))?;
    Ok((open_in(root, folder, OFlag::O_PATH | OFlag::O_DIRECTORY)?, name))
}

/// Makes a new empty file.
pub fn create_file(root: &OwnedFd, path: &Path) -> Result<OwnedFd> {
    let how = OpenHow::new()
        .flags(OFlag::O_WRONLY | OFlag::O_CREAT | OFlag::O_EXCL | OFlag::O_CLOEXEC)
        .mode(Mode::from_bits_truncate(0o644))
        .resolve(ResolveFlag::RESOLVE_IN_ROOT | ResolveFlag::RESOLVE_NO_SYMLINKS);
    openat2(root, path, how).with_context(|| format!("making /{} for a bind", path.display()))
}

/// Opens a path in the tree without following any link.
pub fn open_in(root: &OwnedFd, path: &Path, flags: OFlag) -> Result<OwnedFd> {
    let how = OpenHow::new()
        .flags(flags | OFlag::O_CLOEXEC)
        .resolve(ResolveFlag::RESOLVE_IN_ROOT | ResolveFlag::RESOLVE_NO_SYMLINKS);
    openat2(root, path, how).with_context(|| format!("opening /{} in the tree", path.display()))
}

/// Opens a folder of the host.
pub fn open_dir(path: &Path) -> Result<OwnedFd> {
    nix::fcntl::open(path, OFlag::O_PATH | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC, Mode::empty())
        .with_context(|| format!("opening {}", path.display()))
}

/// The name by which `mount(2)` reaches an open folder.
pub fn proc_path(fd: &OwnedFd) -> PathBuf {
    PathBuf::from(format!("/proc/self/fd/{}", fd.as_raw_fd()))
}
