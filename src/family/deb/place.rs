//! Puts the members of one package into the root, by descriptors of folders that were reached without following any
//! link, so that nothing lands outside.

use std::collections::HashMap;
use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Component, Path, PathBuf};

use anyhow::{Context as _, Result, anyhow, bail};
use nix::errno::Errno;
use nix::fcntl::{AtFlags, OFlag, OpenHow, ResolveFlag, openat, openat2, readlinkat};
use nix::sys::stat::{FchmodatFlags, Mode, SFlag, UtimensatFlags, fchmod, fchmodat, fstatat, futimens, makedev};
use nix::sys::stat::{mkdirat, mknodat, utimensat};
use nix::sys::time::TimeSpec;
use nix::unistd::{Gid, LinkatFlags, Uid, UnlinkatFlags, fchown, fchownat, linkat, symlinkat, unlinkat};

use super::claims::{Claims, DirMeta, Verdict, Wanted};
use super::members::{Kind, Member};
use crate::root::Root;

/// The folders of the root that are links to those of `/usr`: every name an architecture of Debian has (the list of
/// debootstrap and of the package base-files).
pub const MERGED: [&str; 7] = ["bin", "lib", "lib32", "lib64", "libo32", "libx32", "sbin"];

/// As the kernel: a path goes through so many links at most, path_resolution(7).
const LINK_LIMIT: usize = 40;

/// A hard link that waits until its target is there.
#[derive(Debug)]
struct PendingLink {
    path: PathBuf,
    on_disk: PathBuf,
    target: PathBuf,
}

/// Places the members of one package.
pub struct Placer<'a> {
    root: &'a Root,
    claims: &'a Claims<'a>,
    package: usize,
    /// Folders as archives name them, and the paths of them that have no link in them.
    resolved: HashMap<PathBuf, PathBuf>,
    /// The folder that the last member went to.
    current: Option<(PathBuf, OwnedFd)>,
    links: Vec<PendingLink>,
    buffer: Vec<u8>,
}

impl<'a> Placer<'a> {
    /// For one package, by its index.
    pub fn new(root: &'a Root, claims: &'a Claims<'a>, package: usize) -> Placer<'a> {
        Placer {
            root,
            claims,
            package,
            resolved: HashMap::new(),
            current: None,
            links: Vec::new(),
            buffer: vec![0; 128 << 10],
        }
    }

    /// Puts one member in place, a conffile beside its place. `seen` is given the content of a file as it passes.
    /// False if the path is another package's.
    pub fn place(
        &mut self,
        member: &Member,
        conffile: bool,
        content: &mut dyn Read,
        seen: &mut dyn FnMut(&[u8]),
    ) -> Result<bool> {
        self.place_inner(member, conffile, content, seen)
            .with_context(|| format!("unpacking /{}", member.path.display()))
    }

    fn place_inner(
        &mut self,
        member: &Member,
        conffile: bool,
        content: &mut dyn Read,
        seen: &mut dyn FnMut(&[u8]),
    ) -> Result<bool> {
        let meta = DirMeta { mode: member.mode, uid: member.uid, gid: member.gid, mtime: member.mtime };
        if member.kind == Kind::Dir {
            self.directory(&member.path, meta)?;
            return Ok(true);
        }
        let (parent, name) = self.locate(&member.path)?;
        let path = parent.join(&name);
        let mut disk_name = name.clone();
        if conffile && matches!(member.kind, Kind::File | Kind::Hardlink(_)) {
            disk_name.push(".dpkg-new");
        }
        let on_disk = parent.join(&disk_name);
        let link = matches!(member.kind, Kind::Symlink(_));
        let merged = link && parent.as_os_str().is_empty() && MERGED.iter().any(|m| name == **m);
        let wanted = Wanted { path: &path, literal: &member.path, on_disk: &on_disk, link };
        match self.claims.other(self.package, wanted)? {
            Verdict::Skip => return Ok(false),
            Verdict::Exists => return Ok(true),
            Verdict::Same => return self.same(member, &parent, &disk_name, content).map(|()| true),
            Verdict::Place(before) => {
                if let Some(before) = before.filter(|b| *b != on_disk) {
                    self.unlink(&before)?;
                }
            }
        }
        match &member.kind {
            Kind::Symlink(target) if merged => self.merged_link(name.as_os_str(), target, meta).map(|()| true),
            Kind::Hardlink(target) => {
                self.links.push(PendingLink { path, on_disk, target: target.clone() });
                Ok(true)
            }
            Kind::File => self.file(member, &path, &parent, &disk_name, content, seen),
            _ => self.special(member, &path, &parent, &disk_name),
        }
    }

    /// A regular file. Everything after its creation goes through its own descriptor, so a package that takes the
    /// path over meanwhile is not disturbed.
    fn file(
        &mut self,
        member: &Member,
        path: &Path,
        parent: &Path,
        name: &OsStr,
        content: &mut dyn Read,
        seen: &mut dyn FnMut(&[u8]),
    ) -> Result<bool> {
        let flags = OFlag::O_WRONLY | OFlag::O_CREAT | OFlag::O_EXCL | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
        let (claims, package) = (self.claims, self.package);
        let dir = self.folder(parent)?;
        let fd = loop {
            match openat(dir, name, flags, Mode::S_IRUSR | Mode::S_IWUSR) {
                Err(Errno::EEXIST) if claims.owner(path) == Some(package) => remove(dir, name)?,
                Err(Errno::EEXIST) => return Ok(false),
                other => break other.context("making the file")?,
            }
        };
        let mut file = File::from(fd);
        loop {
            let n = content.read(&mut self.buffer)?;
            if n == 0 {
                break;
            }
            seen(&self.buffer[..n]);
            file.write_all(&self.buffer[..n]).context("writing it")?;
        }
        // The mode after the owner, as chown(2) clears the set-id bits; capabilities last, as it clears them too.
        fchown(&file, Some(Uid::from_raw(member.uid)), Some(Gid::from_raw(member.gid)))
            .with_context(|| owner(member))?;
        fchmod(&file, Mode::from_bits_truncate(member.mode)).context("setting its mode")?;
        for (attribute, value) in &member.xattrs {
            // Capabilities are part of what a package is; labels and the like belong to the system it was built on.
            if attribute == "security.capability" {
                use xattr::FileExt as _;
                file.set_xattr(attribute, value).context("setting its capabilities")?;
            }
        }
        futimens(&file, &time(member.mtime), &time(member.mtime)).context("setting its time")?;
        Ok(true)
    }

    /// Symbolic links, FIFOs and devices have no descriptor to work through: nobody may take the path over meanwhile.
    fn special(&mut self, member: &Member, path: &Path, parent: &Path, name: &OsStr) -> Result<bool> {
        let (claims, package) = (self.claims, self.package);
        let dir = self.folder(parent)?;
        let done = claims.while_owned(package, path, || -> Result<()> {
            match make_special(dir, name, member) {
                Err(Errno::EEXIST) => {
                    remove(dir, name)?;
                    make_special(dir, name, member)
                }
                other => other,
            }
            .map_err(|error| match (&member.kind, error) {
                (Kind::Char(..) | Kind::Block(..), Errno::EPERM) => anyhow!(
                    "it is a device, which only real root can make; run mkbase as root or leave the package out"
                ),
                (_, error) => anyhow!(error).context("making it"),
            })?;
            set_special(dir, name, member)
        });
        done.transpose().map(|done| done.is_some())
    }

    /// A folder as a member names it: made if it is not there, with its final owner, mode and time set at the end of
    /// all unpacking.
    fn directory(&mut self, literal: &Path, meta: DirMeta) -> Result<()> {
        if literal.as_os_str().is_empty() {
            self.claims.dir(self.package, Path::new(""), literal, meta)?;
            return Ok(());
        }
        if is_merged(literal) {
            let path = self.resolve(literal)?;
            self.claims.dir(self.package, &path, literal, meta)?;
            return Ok(());
        }
        let (parent, name) = self.locate(literal)?;
        let path = parent.join(&name);
        if self.claims.dir(self.package, &path, literal, meta)? {
            self.make_dir(&parent, &name)?;
        } else {
            // dpkg goes through a link to a folder that is there, and keeps it.
            let through = self.resolve(literal)?;
            self.claims.dir(self.package, &through, literal, meta)?;
        }
        Ok(())
    }

    fn make_dir(&mut self, parent: &Path, name: &OsStr) -> Result<()> {
        match mkdirat(self.folder(parent)?, name, Mode::S_IRWXU) {
            Ok(()) | Err(Errno::EEXIST) => Ok(()),
            Err(error) => Err(error).with_context(|| format!("making the folder /{}", parent.join(name).display())),
        }
    }

    /// The folder that a member goes to, and its last component.
    fn locate(&mut self, literal: &Path) -> Result<(PathBuf, OsString)> {
        let name = literal.file_name().context("it has no name")?.to_os_string();
        let parent = self.resolve(literal.parent().unwrap_or(Path::new("")))?;
        Ok((parent, name))
    }

    /// The path of a folder with no link in it. A folder that no package declared so far is made.
    fn resolve(&mut self, literal: &Path) -> Result<PathBuf> {
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
    fn merged_dir(&mut self, name: &OsStr) -> Result<PathBuf> {
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

    /// A package ships the link of the merged `/usr` itself: it must lead where ours does, then it is that one.
    fn merged_link(&mut self, name: &OsStr, target: &Path, meta: DirMeta) -> Result<()> {
        let expected = Path::new("usr").join(name);
        if target != expected {
            bail!("it links to {}, which is not {}", target.display(), expected.display());
        }
        self.merged_dir(name)?;
        let root = self.folder(Path::new(""))?;
        let (uid, gid) = (Some(Uid::from_raw(meta.uid)), Some(Gid::from_raw(meta.gid)));
        fchownat(root, name, uid, gid, AtFlags::AT_SYMLINK_NOFOLLOW).context("setting its owner")?;
        let time = time(meta.mtime);
        utimensat(root, name, &time, &time, UtimensatFlags::NoFollowSymlink).context("setting its time")
    }

    /// The folder of a path without links, open. Most members go where the one before went.
    fn folder(&mut self, path: &Path) -> Result<BorrowedFd<'_>> {
        let current = match self.current.take() {
            Some(current) if current.0 == path => current,
            _ => (path.to_owned(), open_folder(self.root, path)?),
        };
        Ok(self.current.insert(current).1.as_fd())
    }

    fn unlink(&mut self, path: &Path) -> Result<()> {
        let name = path.file_name().context("it has no name")?;
        remove(self.folder(path.parent().unwrap_or(Path::new("")))?, name)
    }

    /// Two architectures' packages of one name share the path, or two packages have the same link to a folder:
    /// what is there must be the same.
    fn same(&mut self, member: &Member, parent: &Path, name: &OsStr, content: &mut dyn Read) -> Result<()> {
        let path = parent.join(name);
        let same = match &member.kind {
            Kind::Symlink(target) => readlinkat(self.folder(parent)?, name).is_ok_and(|t| t == target.as_os_str()),
            Kind::File => {
                let flags = OFlag::O_RDONLY | OFlag::O_NOFOLLOW | OFlag::O_NONBLOCK | OFlag::O_CLOEXEC;
                let there =
                    openat(self.folder(parent)?, name, flags, Mode::empty()).context("opening what is there")?;
                same_content(&mut File::from(there), content)?
            }
            Kind::Hardlink(_) => true,
            _ => false,
        };
        if !same {
            bail!("trying to overwrite '/{}', which another package has with other content", path.display());
        }
        Ok(())
    }

    /// Makes the hard links, when every target is there.
    pub fn finish(mut self) -> Result<()> {
        for link in std::mem::take(&mut self.links) {
            self.link(&link).with_context(|| format!("unpacking the hard link /{}", link.path.display()))?;
        }
        Ok(())
    }

    fn link(&mut self, link: &PendingLink) -> Result<()> {
        if self.claims.owner(&link.path) != Some(self.package) {
            return Ok(());
        }
        let (parent, name) = self.locate(&link.target)?;
        let missing = || anyhow!("its target /{} is not a file of the package", link.target.display());
        let target = self.claims.link_target(self.package, &parent.join(name))?.ok_or_else(missing)?;
        let (Some(target_name), Some(link_name)) = (target.file_name(), link.on_disk.file_name()) else {
            bail!("it has no name");
        };
        let target_dir = open_folder(self.root, target.parent().unwrap_or(Path::new("")))?;
        let link_dir = self.folder(link.on_disk.parent().unwrap_or(Path::new("")))?;
        let make = || linkat(&target_dir, target_name, link_dir, link_name, LinkatFlags::empty());
        match make() {
            Err(Errno::EEXIST) => {
                remove(link_dir, link_name)?;
                make()
            }
            other => other,
        }
        .with_context(|| format!("linking it to /{}", target.display()))
    }
}

/// Sets owner, mode and time of the folders, deepest first, so that no mode is in the way.
pub fn set_directories(root: &Root, dirs: &[(PathBuf, DirMeta)]) -> Result<()> {
    for (path, meta) in dirs.iter().rev() {
        let set = || -> Result<()> {
            let dir = open_folder(root, path)?;
            let here = Path::new(".");
            let (uid, gid) = (Some(Uid::from_raw(meta.uid)), Some(Gid::from_raw(meta.gid)));
            fchownat(&dir, here, uid, gid, AtFlags::AT_SYMLINK_NOFOLLOW)?;
            fchmodat(&dir, here, Mode::from_bits_truncate(meta.mode), FchmodatFlags::FollowSymlink)?;
            utimensat(&dir, here, &time(meta.mtime), &time(meta.mtime), UtimensatFlags::NoFollowSymlink)?;
            Ok(())
        };
        set().with_context(|| format!("setting owner and mode of /{}", path.display()))?;
    }
    Ok(())
}

/// Opens a folder by a path that has no link in it; a link that came to be there is an error, never followed.
fn open_folder(root: &Root, path: &Path) -> Result<OwnedFd> {
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
fn is_merged(path: &Path) -> bool {
    MERGED.iter().any(|name| path.as_os_str() == *name)
}

fn remove(dir: BorrowedFd<'_>, name: &OsStr) -> Result<()> {
    match unlinkat(dir, name, UnlinkatFlags::NoRemoveDir) {
        Ok(()) | Err(Errno::ENOENT) => Ok(()),
        Err(error) => Err(error).context("removing what is there"),
    }
}

fn make_special(dir: BorrowedFd<'_>, name: &OsStr, member: &Member) -> nix::Result<()> {
    let node = |kind, major: u32, minor: u32| {
        mknodat(dir, name, kind, Mode::S_IRUSR | Mode::S_IWUSR, makedev(major.into(), minor.into()))
    };
    match &member.kind {
        Kind::Symlink(target) => symlinkat(target, dir, name),
        Kind::Fifo => node(SFlag::S_IFIFO, 0, 0),
        Kind::Char(major, minor) => node(SFlag::S_IFCHR, *major, *minor),
        Kind::Block(major, minor) => node(SFlag::S_IFBLK, *major, *minor),
        Kind::File | Kind::Dir | Kind::Hardlink(_) => Err(Errno::EINVAL),
    }
}

fn set_special(dir: BorrowedFd<'_>, name: &OsStr, member: &Member) -> Result<()> {
    let (uid, gid) = (Some(Uid::from_raw(member.uid)), Some(Gid::from_raw(member.gid)));
    fchownat(dir, name, uid, gid, AtFlags::AT_SYMLINK_NOFOLLOW).with_context(|| owner(member))?;
    if !matches!(member.kind, Kind::Symlink(_)) {
        // Followed only in name: it was made just now, and nobody else works in this folder on this path.
        fchmodat(dir, name, Mode::from_bits_truncate(member.mode), FchmodatFlags::FollowSymlink)
            .context("setting its mode")?;
    }
    let time = time(member.mtime);
    utimensat(dir, name, &time, &time, UtimensatFlags::NoFollowSymlink).context("setting its time")
}

fn owner(member: &Member) -> String {
    format!("setting its owner to {}:{}", member.uid, member.gid)
}

fn time(seconds: i64) -> TimeSpec {
    TimeSpec::new(seconds, 0)
}

fn same_content(there: &mut File, content: &mut dyn Read) -> Result<bool> {
    let (mut a, mut b) = (Vec::new(), Vec::new());
    loop {
        a.clear();
        b.clear();
        const CHUNK: u64 = 1 << 20;
        Read::by_ref(there).take(CHUNK).read_to_end(&mut a).context("reading what is there")?;
        content.take(CHUNK).read_to_end(&mut b)?;
        if a != b {
            return Ok(false);
        }
        if a.is_empty() {
            return Ok(true);
        }
    }
}

/// The path as dpkg's lists have it: `/.` for the root, no slash at the end.
pub fn listed(path: &Path) -> Vec<u8> {
    let mut line = b"/".to_vec();
    if path.as_os_str().is_empty() {
        line.push(b'.');
    }
    line.extend_from_slice(path.as_os_str().as_bytes());
    line
}
