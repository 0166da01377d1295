//! Puts unpacked packages into the tree in the order of installation, and knows who has which path: apk's rules.
//!
//! Every path is resolved by the kernel inside the root, so a link of one package cannot lead another's file out.

use std::cmp::Ordering;
use std::collections::{HashMap, HashSet};
use std::ffi::{OsStr, OsString};
use std::io::Read as _;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, bail};
use nix::errno::Errno;
use nix::fcntl::{OFlag, renameat};
use nix::sys::stat::{Mode, mkdirat};
use sha1::{Digest as _, Sha1};

use super::accounts::Accounts;
use super::instances::{FileRecord, Instances};
use super::package::Package;
use super::replaces;
use super::stage::{Acl, Staged, What, change_owner};
use crate::root::{Kind, Root, kind};

/// Below it apk takes a file that is there already for an administrator's (`apk-protected_paths(5)`); what packages add
/// to the list counts from the next run of apk on.
const PROTECTED: &str = "etc";
/// What a package's file gets where that of the administrator stays.
const NEW: &str = ".apk-new";

/// A folder that packages have.
#[derive(Debug)]
pub struct Dir {
    /// Its place among all folders, by when it was first heard of.
    pub order: usize,
    /// A package put something into it.
    pub modified: bool,
    created: bool,
    /// It was made here, so its owner and mode are what they should be.
    is_ours: bool,
    owner: Option<(usize, Acl)>,
}

#[derive(Debug)]
struct Claim {
    package: usize,
    sha1: Option<[u8; 20]>,
}

/// The tree while packages are put into it.
#[derive(Debug)]
pub struct Tree<'a> {
    root: &'a Root,
    packages: &'a [Package],
    /// The folders that packages have, and those above them.
    pub dirs: HashMap<PathBuf, Dir>,
    files: HashMap<PathBuf, Claim>,
    lost: HashSet<(usize, PathBuf)>,
    /// What each package has, for the database.
    pub records: HashMap<usize, Instances>,
    folder: Option<(PathBuf, OwnedFd)>,
}

impl<'a> Tree<'a> {
    /// Of an empty root.
    pub fn new(root: &'a Root, packages: &'a [Package]) -> Tree<'a> {
        Tree {
            root,
            packages,
            dirs: HashMap::new(),
            files: HashMap::new(),
            lost: HashSet::new(),
            records: HashMap::new(),
            folder: None,
        }
    }

    /// Whether another package took the path over.
    pub fn is_lost(&self, package: usize, path: &Path) -> bool {
        self.lost.contains(&(package, path.to_owned()))
    }

    /// Puts a package into the tree.
    pub fn add(&mut self, package: usize, staged: &Staged) -> Result<()> {
        // Scripts may have replaced a folder since.
        self.folder = None;
        let from = staged.open()?;
        let accounts = Accounts::new(self.root);
        let mut record = Instances::default();
        let mut kept = HashSet::new();
        for (number, entry) in staged.entries.iter().enumerate() {
            let at = || format!("unpacking /{}", entry.path.display());
            let acl = accounts.acl(entry)?;
            if entry.what == What::Dir {
                record.get(&entry.path).acl = acl;
                self.directory(package, &entry.path, acl).with_context(at)?;
                continue;
            }
            let (folder, name) = split(&entry.path)?;
            if !record.has(folder) {
                if !folder.as_os_str().is_empty() {
                    bail!("the package has /{} but no entry for its folder", entry.path.display());
                }
                self.know(folder);
                record.get(folder);
            }
            if !self.may_place(package, &entry.path)? {
                continue;
            }
            if let What::Hardlink(target) = entry.what
                && !kept.contains(&target)
            {
                bail!(
                    "/{} is a hard link to /{}, which another package has",
                    entry.path.display(),
                    staged.entries[target].path.display()
                );
            }
            kept.insert(number);
            if acl != entry.acl && !matches!(entry.what, What::Hardlink(_)) {
                change_owner(from.as_fd(), OsStr::new(&number.to_string()), entry, &acl).with_context(at)?;
            }
            let file = FileRecord { name: name.to_owned(), acl, sha1: entry.sha1, number };
            record.get(folder).files.push(file);
        }
        record.finish();
        self.commit(package, &record, from.as_fd())?;
        self.records.insert(package, record);
        Ok(())
    }

    /// Whether the package may have the path; an error if two packages have it and nothing says whose it is.
    fn may_place(&self, package: usize, path: &Path) -> Result<bool> {
        let Some(claim) = self.files.get(path) else { return Ok(true) };
        let (other, this) = (&self.packages[claim.package], &self.packages[package]);
        match replaces::file(other, this) {
            Some(replaces) => Ok(replaces),
            None => bail!(
                "trying to overwrite /{}, which the package {} has too; leave one of the two out, or have one say that \
                 it replaces the other",
                path.display(),
                other.info.name
            ),
        }
    }

    /// Makes sure that a folder and those above it are known. They are numbered in apk's order: a folder before the one
    /// it is in.
    fn know(&mut self, path: &Path) {
        for path in path.ancestors() {
            if self.dirs.contains_key(path) {
                return;
            }
            let dir = Dir { order: self.dirs.len(), modified: false, created: false, is_ours: false, owner: None };
            self.dirs.insert(path.to_owned(), dir);
        }
    }

    fn dir(&mut self, path: &Path) -> Result<&mut Dir> {
        self.dirs.get_mut(path).with_context(|| format!("/{} is not known", path.display()))
    }

    /// A folder as a member names it. The first package decides on owner and mode, unless a later one goes before it.
    fn directory(&mut self, package: usize, path: &Path, acl: Acl) -> Result<()> {
        self.know(path);
        let before = self.dir(path)?.owner;
        if before.is_none_or(|(other, _)| replaces::dir(&self.packages[other], &self.packages[package])) {
            if before.is_some_and(|(_, there)| there != acl) && self.dir(path)?.is_ours {
                self.dir(path)?.modified = true;
                self.set_dir(path, acl)?;
            }
            self.dir(path)?.owner = Some((package, acl));
        }
        let owner = self.dir(path)?.owner.map_or(acl, |(_, acl)| acl);
        self.prepare(path, owner)
    }

    /// Makes a folder where it is not there. One that a script made is left as it is.
    fn prepare(&mut self, path: &Path, acl: Acl) -> Result<()> {
        if path.as_os_str().is_empty() || std::mem::replace(&mut self.dir(path)?.created, true) {
            return Ok(());
        }
        let (parent, name) = split(path)?;
        self.prepare(parent, Acl::DIR)?;
        let made = mkdirat(self.folder(parent)?, name, Mode::S_IRWXU);
        match made {
            Ok(()) => {
                self.dir(path)?.is_ours = true;
                self.set_dir(path, acl)
            }
            Err(Errno::EEXIST) => match self.root.stat(path)?.map(|stat| kind(&stat)) {
                Some(Kind::Dir) => Ok(()),
                _ => bail!("it is a folder in the package and none in the tree"),
            },
            Err(error) => Err(error).context("making the folder"),
        }
    }

    fn set_dir(&self, path: &Path, acl: Acl) -> Result<()> {
        self.root.chown(path, acl.uid, acl.gid)?;
        self.root.chmod(path, acl.mode)
    }

    /// A folder of the tree, open. Most files go where the one before went.
    fn folder(&mut self, path: &Path) -> Result<BorrowedFd<'_>> {
        let current = match self.folder.take() {
            Some(current) if current.0 == path => current,
            _ => {
                let inside = if path.as_os_str().is_empty() { Path::new(".") } else { path };
                let fd = self
                    .root
                    .open_at(inside, OFlag::O_PATH | OFlag::O_DIRECTORY, 0)
                    .with_context(|| format!("opening the folder /{}", path.display()))?;
                (path.to_owned(), fd)
            }
        };
        Ok(self.folder.insert(current).1.as_fd())
    }

    /// Moves the files of a package to their places.
    fn commit(&mut self, package: usize, record: &Instances, from: BorrowedFd<'_>) -> Result<()> {
        for instance in record.iter() {
            self.dir(&instance.path)?.modified = true;
            for file in &instance.files {
                let path = instance.path.join(&file.name);
                let name = self
                    .place_as(&path, file)
                    .with_context(|| format!("looking at /{}, which is there already", path.display()))?;
                if let Some(name) = name {
                    let number = file.number.to_string();
                    let to = self.folder(&instance.path)?;
                    renameat(from, number.as_str(), to, name.as_os_str())
                        .with_context(|| format!("putting /{} in its place", path.display()))?;
                }
                if let Some(before) = self.files.insert(path.clone(), Claim { package, sha1: file.sha1 }) {
                    self.lost.insert((before.package, path));
                }
            }
        }
        Ok(())
    }

    /// The name that a file gets: its own, one beside a changed file of the same name, or none where what is there is
    /// the same.
    fn place_as(&self, path: &Path, file: &FileRecord) -> Result<Option<OsString>> {
        let mut name = file.name.clone();
        if !path.starts_with(PROTECTED) {
            return Ok(Some(name));
        }
        let owned = self.files.get(path).and_then(|claim| claim.sha1);
        match self.differs(path, owned)? {
            false => Ok(Some(name)),
            true if !self.differs(path, file.sha1)? => Ok(None),
            true => {
                name.push(NEW);
                Ok(Some(name))
            }
        }
    }

    /// Whether something is there that has not this checksum.
    fn differs(&self, path: &Path, sha1: Option<[u8; 20]>) -> Result<bool> {
        let Some(stat) = self.root.lstat(path)? else { return Ok(false) };
        let Some(sha1) = sha1 else { return Ok(true) };
        let found: [u8; 20] = match kind(&stat) {
            Kind::Link => Sha1::digest(self.root.read_link(path)?.as_os_str().as_bytes()).into(),
            Kind::File => file_sha1(self.root, path)?,
            Kind::Dir | Kind::Other => return Ok(true),
        };
        Ok(found != sha1)
    }
}

/// SHA-1 of a file of the tree.
pub fn file_sha1(root: &Root, path: &Path) -> Result<[u8; 20]> {
    let mut file = root.open_file(path)?;
    let mut sha1 = Sha1::new();
    let mut buffer = vec![0; 64 << 10];
    loop {
        match file.read(&mut buffer).with_context(|| format!("reading /{}", path.display()))? {
            0 => return Ok(sha1.finalize().into()),
            n => sha1.update(&buffer[..n]),
        }
    }
}

fn split(path: &Path) -> Result<(&Path, &OsStr)> {
    let name = path.file_name().with_context(|| format!("/{} has no name", path.display()))?;
    Ok((path.parent().unwrap_or(Path::new("")), name))
}

/// Bytes first, then length: the order of apk's lists.
pub fn by_bytes(a: &OsStr, b: &OsStr) -> Ordering {
    a.as_bytes().cmp(b.as_bytes())
}
