//! Puts the members of one package into the root, by descriptors of folders that were reached without following any
//! link, so that nothing lands outside.

use std::ffi::OsStr;
use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::BorrowedFd;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, anyhow, bail};
use nix::errno::Errno;
use nix::fcntl::{AtFlags, OFlag, openat, readlinkat};
use nix::sys::stat::{FchmodatFlags, Mode, SFlag, UtimensatFlags, fchmod, fchmodat, futimens, makedev};
use nix::sys::stat::{mknodat, utimensat};
use nix::sys::time::TimeSpec;
use nix::unistd::{Gid, LinkatFlags, Uid, UnlinkatFlags, fchown, fchownat, linkat, symlinkat, unlinkat};

use super::claims::{Claims, DirMeta, Verdict, Wanted};
use super::folders::{Folders, MERGED, is_merged, open_folder};
use crate::family::members::{Kind, Member};
use crate::root::Root;

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
    folders: Folders<'a>,
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
            folders: Folders::new(root, claims, package),
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
        let (parent, name) = self.folders.locate(&member.path)?;
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
        let dir = self.folders.folder(parent)?;
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
        let dir = self.folders.folder(parent)?;
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
            let path = self.folders.resolve(literal)?;
            self.claims.dir(self.package, &path, literal, meta)?;
            return Ok(());
        }
        let (parent, name) = self.folders.locate(literal)?;
        let path = parent.join(&name);
        if self.claims.dir(self.package, &path, literal, meta)? {
            self.folders.make_dir(&parent, &name)?;
        } else {
            // dpkg goes through a link to a folder that is there, and keeps it.
            let through = self.folders.resolve(literal)?;
            self.claims.dir(self.package, &through, literal, meta)?;
        }
        Ok(())
    }

    /// A package ships the link of the merged `/usr` itself: it must lead where ours does, then it is that one.
    fn merged_link(&mut self, name: &OsStr, target: &Path, meta: DirMeta) -> Result<()> {
        let expected = Path::new("usr").join(name);
        if target != expected {
            bail!("it links to {}, which is not {}", target.display(), expected.display());
        }
        self.folders.merged_dir(name)?;
        let root = self.folders.folder(Path::new(""))?;
        let (uid, gid) = (Some(Uid::from_raw(meta.uid)), Some(Gid::from_raw(meta.gid)));
        fchownat(root, name, uid, gid, AtFlags::AT_SYMLINK_NOFOLLOW).context("setting its owner")?;
        let time = time(meta.mtime);
        utimensat(root, name, &time, &time, UtimensatFlags::NoFollowSymlink).context("setting its time")
    }

    fn unlink(&mut self, path: &Path) -> Result<()> {
        let name = path.file_name().context("it has no name")?;
        remove(self.folders.folder(path.parent().unwrap_or(Path::new("")))?, name)
    }

    /// Two architectures' packages of one name share the path, or two packages have the same link to a folder:
    /// what is there must be the same.
    fn same(&mut self, member: &Member, parent: &Path, name: &OsStr, content: &mut dyn Read) -> Result<()> {
        let path = parent.join(name);
        let same = match &member.kind {
            Kind::Symlink(target) => {
                readlinkat(self.folders.folder(parent)?, name).is_ok_and(|t| t == target.as_os_str())
            }
            Kind::File => {
                let flags = OFlag::O_RDONLY | OFlag::O_NOFOLLOW | OFlag::O_NONBLOCK | OFlag::O_CLOEXEC;
                let there = openat(self.folders.folder(parent)?, name, flags, Mode::empty())
                    .context("opening what is there")?;
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
        let (parent, name) = self.folders.locate(&link.target)?;
        let missing = || anyhow!("its target /{} is not a file of the package", link.target.display());
        let target = self.claims.link_target(self.package, &parent.join(name))?.ok_or_else(missing)?;
        let (Some(target_name), Some(link_name)) = (target.file_name(), link.on_disk.file_name()) else {
            bail!("it has no name");
        };
        let target_dir = open_folder(self.root, target.parent().unwrap_or(Path::new("")))?;
        let link_dir = self.folders.folder(link.on_disk.parent().unwrap_or(Path::new("")))?;
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
