//! Unpacks packages on all cores into a folder beside the tree: one folder a package, one numbered file a member.
//!
//! Nothing of a package reaches the tree here, so everything can be verified first. Putting the files in their places
//! is then one rename each, in the order of installation.

use std::collections::HashMap;
use std::ffi::OsStr;
use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, bail};
use nix::fcntl::{AtFlags, OFlag, openat};
use nix::sys::stat::{FchmodatFlags, Mode, SFlag, UtimensatFlags, fchmod, fchmodat, futimens, mknodat, utimensat};
use nix::sys::time::TimeSpec;
use nix::unistd::{Gid, LinkatFlags, Uid, fchown, fchownat, linkat, symlinkat};
use sha1::{Digest as _, Sha1};

use super::package::{Package, parse_sha1};
use crate::family::members::{Kind, Member};
use crate::interrupt;
use crate::pack::belongs;

/// Owner, mode and attributes as apk's database has them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Acl {
    /// Permission bits.
    pub mode: u32,
    /// Owner.
    pub uid: u32,
    /// Group.
    pub gid: u32,
    /// SHA-1 of the extended attributes, where there are any.
    pub xattrs: Option<[u8; 20]>,
}

impl Acl {
    /// What goes without saying for a folder.
    pub const DIR: Acl = Acl { mode: 0o755, uid: 0, gid: 0, xattrs: None };
    /// What goes without saying for a file.
    pub const FILE: Acl = Acl { mode: 0o644, uid: 0, gid: 0, xattrs: None };
}

/// What a member is, once its content is in the folder.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum What {
    /// A folder; it has no number.
    Dir,
    /// A hard link to an earlier entry.
    Hardlink(usize),
    /// Anything else.
    Other,
}

/// One member of a package.
#[derive(Debug, Clone)]
pub struct Entry {
    /// Path below the root.
    pub path: PathBuf,
    /// What it is.
    pub what: What,
    /// Owner, mode and attributes, by the numbers of the archive.
    pub acl: Acl,
    /// Name of the owner, where it is not root's: the tree's own accounts say who that is.
    pub user: Option<Vec<u8>>,
    /// Name of the group, where it is not root's.
    pub group: Option<Vec<u8>>,
    /// SHA-1 of the content, or of a link's target.
    pub sha1: Option<[u8; 20]>,
    /// Extended attributes, for when the owner is set later: that clears capabilities.
    pub xattrs: Vec<(String, Vec<u8>)>,
    /// It is a symbolic link.
    pub is_link: bool,
}

/// An unpacked package: member N is the file N of the folder.
#[derive(Debug)]
pub struct Staged {
    /// The folder.
    pub folder: PathBuf,
    /// The members, in the order of the archive.
    pub entries: Vec<Entry>,
}

impl Staged {
    /// The folder, open.
    pub fn open(&self) -> Result<OwnedFd> {
        let flags = OFlag::O_PATH | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC;
        nix::fcntl::open(&self.folder, flags, Mode::empty())
            .with_context(|| format!("opening {}", self.folder.display()))
    }
}

/// Unpacks a package into a new folder, and verifies everything that its control member vouches for.
pub fn unpack(package: &Package, folder: PathBuf) -> Result<Staged> {
    std::fs::create_dir(&folder).with_context(|| format!("making {}", folder.display()))?;
    let flags = OFlag::O_RDONLY | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC;
    let dir =
        nix::fcntl::open(&folder, flags, Mode::empty()).with_context(|| format!("opening {}", folder.display()))?;
    let mut stage = Stage { dir: dir.as_fd(), entries: Vec::new(), paths: HashMap::new(), buffer: vec![0; 128 << 10] };
    package.members(|member, content| {
        interrupt::check()?;
        stage.add(&member, content).with_context(|| format!("unpacking /{}", member.path.display()))
    })?;
    Ok(Staged { entries: stage.entries, folder })
}

struct Stage<'a> {
    dir: BorrowedFd<'a>,
    entries: Vec<Entry>,
    paths: HashMap<PathBuf, usize>,
    buffer: Vec<u8>,
}

impl Stage<'_> {
    fn add(&mut self, member: &Member, content: &mut dyn Read) -> Result<()> {
        let path = member.path.as_os_str().as_bytes();
        if path.is_empty() || path.starts_with(b".") {
            // As apk: what is hidden at the top of the data is its own business and goes nowhere.
            return Ok(());
        }
        let mut entry = self.entry(member)?;
        match self.paths.get(&member.path) {
            Some(first) if self.entries[*first].what == What::Dir && entry.what == What::Dir => {}
            Some(_) => bail!("the package has this path twice"),
            None => {
                self.paths.insert(member.path.clone(), self.entries.len());
            }
        }
        let name = self.entries.len().to_string();
        let name = OsStr::new(&name);
        match &member.kind {
            Kind::Dir => {}
            Kind::File => self.file(name, member, &entry, content)?,
            Kind::Hardlink(target) => {
                let first = self.target(target)?;
                entry.what = What::Hardlink(first);
                entry.sha1 = self.entries[first].sha1;
                let target = first.to_string();
                linkat(self.dir, target.as_str(), self.dir, name, LinkatFlags::empty()).context("linking it")?;
            }
            Kind::Symlink(target) => {
                if let Some(sha1) = entry.sha1
                    && sha1 != <[u8; 20]>::from(Sha1::digest(target.as_os_str().as_bytes()))
                {
                    bail!("its target is not what the package's checksum is of");
                }
                symlinkat(target, self.dir, name).context("making the link")?;
                set_owner(self.dir, name, &entry.acl)?;
            }
            Kind::Fifo => {
                mknodat(self.dir, name, SFlag::S_IFIFO, Mode::S_IRUSR | Mode::S_IWUSR, 0).context("making it")?;
                set_owner(self.dir, name, &entry.acl)?;
                set_mode(self.dir, name, &entry.acl)?;
                let time = time(member.mtime);
                utimensat(self.dir, name, &time, &time, UtimensatFlags::NoFollowSymlink).context("setting its time")?;
            }
            Kind::Char(..) | Kind::Block(..) => {
                bail!("it is a device, and packages have none to bring: leave the package out")
            }
        }
        self.entries.push(entry);
        Ok(())
    }

    fn entry(&self, member: &Member) -> Result<Entry> {
        let sha1 = match &member.sha1 {
            Some(text) => Some(parse_sha1(text).with_context(|| format!("its checksum {text:?} is no SHA-1"))?),
            None if member.kind == Kind::File => bail!("it has no checksum; the package was made by a very old abuild"),
            None => None,
        };
        let other = |name: &[u8]| (!name.is_empty() && name != b"root").then(|| name.to_vec());
        // For apk the name of root counts, not the number beside it.
        let id = |name: &[u8], number: u32| if name == b"root" { 0 } else { number };
        Ok(Entry {
            path: member.path.clone(),
            what: if member.kind == Kind::Dir { What::Dir } else { What::Other },
            acl: Acl {
                mode: member.mode,
                uid: id(&member.user, member.uid),
                gid: id(&member.group, member.gid),
                xattrs: hash_xattrs(&member.xattrs),
            },
            user: other(&member.user),
            group: other(&member.group),
            sha1,
            xattrs: member.xattrs.clone(),
            is_link: matches!(member.kind, Kind::Symlink(_)),
        })
    }

    /// The file that a hard link is to: an earlier one of the package itself, so it cannot be outside.
    fn target(&self, target: &Path) -> Result<usize> {
        let first = self.paths.get(target).copied().filter(|first| self.entries[*first].what != What::Dir);
        let first = first.with_context(|| {
            format!("the target /{} of the hard link is no earlier file of the package", target.display())
        })?;
        Ok(if let What::Hardlink(original) = self.entries[first].what { original } else { first })
    }

    fn file(&mut self, name: &OsStr, member: &Member, entry: &Entry, content: &mut dyn Read) -> Result<()> {
        let flags = OFlag::O_WRONLY | OFlag::O_CREAT | OFlag::O_EXCL | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
        let fd = openat(self.dir, name, flags, Mode::S_IRUSR | Mode::S_IWUSR).context("making the file")?;
        let mut file = File::from(fd);
        let mut sha1 = Sha1::new();
        loop {
            let n = content.read(&mut self.buffer)?;
            if n == 0 {
                break;
            }
            sha1.update(&self.buffer[..n]);
            file.write_all(&self.buffer[..n]).context("writing it")?;
        }
        if entry.sha1 != Some(sha1.finalize().into()) {
            bail!("its content is not what the package's checksum is of");
        }
        set_file(&file, &entry.acl, &entry.xattrs)?;
        futimens(&file, &time(member.mtime), &time(member.mtime)).context("setting its time")
    }
}

/// Owner, then mode, as chown(2) clears the set-id bits, then attributes, as it clears capabilities too.
fn set_file(file: &File, acl: &Acl, xattrs: &[(String, Vec<u8>)]) -> Result<()> {
    if (acl.uid, acl.gid) != (0, 0) || !nix::unistd::geteuid().is_root() {
        fchown(file, Some(Uid::from_raw(acl.uid)), Some(Gid::from_raw(acl.gid))).with_context(|| owner(acl))?;
    }
    fchmod(file, Mode::from_bits_truncate(acl.mode)).context("setting its mode")?;
    for (name, value) in xattrs {
        // Labels and the like belong to the system the package was built on.
        if belongs(name.as_bytes()) {
            use xattr::FileExt as _;
            file.set_xattr(name, value).with_context(|| format!("setting its attribute {name}"))?;
        }
    }
    Ok(())
}

/// Gives a staged file another owner, and again all that this takes away.
pub fn change_owner(dir: BorrowedFd<'_>, name: &OsStr, entry: &Entry, acl: &Acl) -> Result<()> {
    set_owner(dir, name, acl)?;
    if entry.is_link {
        return Ok(());
    }
    set_mode(dir, name, acl)?;
    if entry.xattrs.iter().any(|(name, _)| belongs(name.as_bytes())) {
        let flags = OFlag::O_RDONLY | OFlag::O_NOFOLLOW | OFlag::O_NONBLOCK | OFlag::O_CLOEXEC;
        set_file(&File::from(openat(dir, name, flags, Mode::empty())?), acl, &entry.xattrs)?;
    }
    Ok(())
}

fn set_owner(dir: BorrowedFd<'_>, name: &OsStr, acl: &Acl) -> Result<()> {
    let (uid, gid) = (Some(Uid::from_raw(acl.uid)), Some(Gid::from_raw(acl.gid)));
    fchownat(dir, name, uid, gid, AtFlags::AT_SYMLINK_NOFOLLOW).with_context(|| owner(acl))
}

fn set_mode(dir: BorrowedFd<'_>, name: &OsStr, acl: &Acl) -> Result<()> {
    // Followed only in name: it is known not to be a link.
    fchmodat(dir, name, Mode::from_bits_truncate(acl.mode), FchmodatFlags::FollowSymlink).context("setting its mode")
}

fn owner(acl: &Acl) -> String {
    format!("setting its owner to {}:{}", acl.uid, acl.gid)
}

fn time(seconds: i64) -> TimeSpec {
    TimeSpec::new(seconds, 0)
}

/// What apk's database has of extended attributes: a SHA-1 over names and values, each after its length as a 32-bit
/// big-endian number, sorted by name.
fn hash_xattrs(xattrs: &[(String, Vec<u8>)]) -> Option<[u8; 20]> {
    if xattrs.is_empty() {
        return None;
    }
    let mut sorted: Vec<_> = xattrs.iter().collect();
    sorted.sort();
    let mut sha1 = Sha1::new();
    for (name, value) in sorted {
        for part in [name.as_bytes(), value] {
            sha1.update(u32::try_from(part.len()).unwrap_or(u32::MAX).to_be_bytes());
            sha1.update(part);
        }
    }
    Some(sha1.finalize().into())
}
