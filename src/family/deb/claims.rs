//! Which package has which path, decided the same way however the threads of unpacking run.
//!
//! The rules are those of `dpkg --unpack` (deb-control(5), `Replaces`), with one difference: paths are compared after
//! the links of the merged `/usr` are followed, so `/bin/x` of one package and `/usr/bin/x` of another are one path.
//! Where dpkg's result depends on the order of packages in a way that no rule settles, a [`Conflict::InOrder`] asks
//! for one package after the other.

use std::collections::{HashMap, HashSet};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard};

use anyhow::{Context as _, Result};

use super::archive::Control;
use super::relation::{self, Operator};

/// Owner, mode and time of a directory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DirMeta {
    /// Permission bits.
    pub mode: u32,
    /// Owner.
    pub uid: u32,
    /// Group.
    pub gid: u32,
    /// Seconds since 1970.
    pub mtime: i64,
}

/// What the rules need to know of a package. Its index in the list is its place in the order of packages.
#[derive(Debug)]
pub struct Claimant {
    /// `name` as dpkg shows it.
    pub name: String,
    version: String,
    shared: bool,
    replaces: Vec<(String, Option<(Operator, String)>)>,
    diverts: bool,
}

impl Claimant {
    /// Of a package's control archive.
    pub fn new(control: &Control) -> Result<Claimant> {
        let mut replaces = Vec::new();
        for group in relation::groups(control.field("Replaces")) {
            for relation in relation::alternatives(group).context("reading its Replaces")? {
                let version = relation.version.map(|(operator, version)| (operator, version.to_string()));
                replaces.push((relation.name.to_string(), version));
            }
        }
        Ok(Claimant {
            name: control.field("Package").to_string(),
            version: control.field("Version").to_string(),
            shared: control.field("Multi-Arch") == "same",
            replaces,
            diverts: control.text("preinst").contains("dpkg-divert"),
        })
    }

    fn replaces(&self, other: &Claimant) -> bool {
        self.replaces.iter().any(|(name, version)| {
            let holds = version.as_ref().is_none_or(|(operator, wanted)| operator.holds(&other.version, wanted));
            *name == other.name && holds
        })
    }
}

/// Why the packages cannot be unpacked like this.
#[derive(Debug, thiserror::Error)]
pub enum Conflict {
    /// The result depends on the order: unpack one package after the other.
    #[error("{path} is a directory in one package and a link in another")]
    InOrder {
        /// The path.
        path: PathBuf,
    },
    /// Two packages have the same file, and the preinst of this one diverts files: dpkg must unpack it.
    #[error("{path} is diverted")]
    Divert {
        /// Index of the package.
        package: usize,
        /// The path.
        path: PathBuf,
    },
    /// What dpkg says too.
    #[error("trying to overwrite '/{path}', which is also in the package {other}{what}")]
    Overwrite {
        /// The path.
        path: PathBuf,
        /// The package that has it.
        other: String,
        /// More about it.
        what: &'static str,
    },
}

/// What to do with a member that is no directory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// Put it in place. What may be there at this path on disk goes first.
    Place(Option<PathBuf>),
    /// The same thing is there, or a directory that stays: nothing to do, but the path is the package's too.
    Exists,
    /// The path is another package's for good.
    Skip,
    /// Another architecture's package of the same name has it: it must be the same file.
    Same,
}

#[derive(Debug)]
struct Claim {
    owner: usize,
    /// The path as the owner's archive has it, with the links of the merged `/usr` not followed.
    literal: PathBuf,
    what: What,
}

#[derive(Debug)]
enum What {
    Dir { order: usize, meta: DirMeta },
    Link,
    Other { on_disk: PathBuf },
}

/// A path that a member claims.
#[derive(Debug, Clone, Copy)]
pub struct Wanted<'a> {
    /// With links followed.
    pub path: &'a Path,
    /// As the archive has it.
    pub literal: &'a Path,
    /// Where the member goes: `path`, or `path` with `.dpkg-new` for a conffile.
    pub on_disk: &'a Path,
    /// A symbolic link.
    pub link: bool,
}

#[derive(Debug, Default)]
struct State {
    paths: HashMap<PathBuf, Claim>,
    lost: HashSet<(usize, PathBuf)>,
}

/// What came of all claims.
#[derive(Debug)]
pub struct Settled {
    /// The directories with what is to be set on them, sorted by path.
    pub dirs: Vec<(PathBuf, DirMeta)>,
    /// The paths that packages, by their index, lost to others.
    pub lost: HashSet<(usize, PathBuf)>,
}

/// The table of claims, shared by the workers.
#[derive(Debug)]
pub struct Claims<'p> {
    packages: &'p [Claimant],
    /// One package after the other, in order.
    in_order: bool,
    state: Mutex<State>,
}

/// The order of a directory that no package declared so far.
const IMPLIED: usize = usize::MAX;

impl<'p> Claims<'p> {
    /// No claims yet.
    pub fn new(packages: &'p [Claimant], in_order: bool) -> Claims<'p> {
        Claims { packages, in_order, state: Mutex::default() }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(|e| e.into_inner())
    }

    /// Claims a directory. `Ok(false)`: a link is there, and dpkg would go through it.
    pub fn dir(&self, package: usize, path: &Path, literal: &Path, meta: DirMeta) -> Result<bool, Conflict> {
        self.claim_dir(package, package, path, literal, meta)
    }

    /// A directory that a member needs but that its package does not declare.
    pub fn implied_dir(&self, package: usize, path: &Path) -> Result<bool, Conflict> {
        // Ours: root's, in a build.
        let (uid, gid) = (nix::unistd::geteuid().as_raw(), nix::unistd::getegid().as_raw());
        self.claim_dir(package, IMPLIED, path, path, DirMeta { mode: 0o755, uid, gid, mtime: 0 })
    }

    fn claim_dir(
        &self,
        package: usize,
        order: usize,
        path: &Path,
        literal: &Path,
        meta: DirMeta,
    ) -> Result<bool, Conflict> {
        let mut state = self.state();
        match state.paths.get_mut(path) {
            None => {
                let claim = Claim { owner: package, literal: literal.to_owned(), what: What::Dir { order, meta } };
                state.paths.insert(path.to_owned(), claim);
                Ok(true)
            }
            // The first package in order decides, as dpkg leaves directories that exist alone.
            Some(Claim { what: What::Dir { order: first, meta: kept }, .. }) => {
                if order < *first {
                    (*first, *kept) = (order, meta);
                }
                Ok(true)
            }
            Some(Claim { what: What::Link, owner, .. }) if self.in_order || *owner == package => Ok(false),
            Some(Claim { what: What::Link, .. }) => Err(Conflict::InOrder { path: path.to_owned() }),
            Some(Claim { what: What::Other { .. }, owner, .. }) => {
                Err(self.overwrite(path, *owner, " and not a folder there"))
            }
        }
    }

    /// Claims a path for something that is no directory.
    pub fn other(&self, package: usize, wanted: Wanted<'_>) -> Result<Verdict, Conflict> {
        let what = if wanted.link { What::Link } else { What::Other { on_disk: wanted.on_disk.to_owned() } };
        let mut state = self.state();
        let State { paths, lost } = &mut *state;
        let Some(claim) = paths.get_mut(wanted.path) else {
            let claim = Claim { owner: package, literal: wanted.literal.to_owned(), what };
            paths.insert(wanted.path.to_owned(), claim);
            return Ok(Verdict::Place(None));
        };
        let path = || wanted.path.to_owned();
        let other = claim.owner;
        if matches!(claim.what, What::Dir { .. }) {
            return match wanted.link {
                true if self.in_order => Ok(Verdict::Exists),
                true => Err(Conflict::InOrder { path: path() }),
                false => Err(self.overwrite(wanted.path, other, " and a folder there")),
            };
        }
        if other != package {
            let (mine, theirs) = (&self.packages[package], &self.packages[other]);
            if mine.name == theirs.name && mine.shared && theirs.shared {
                return if self.in_order { Ok(Verdict::Same) } else { Err(Conflict::InOrder { path: path() }) };
            }
            let (newer, older) = if package > other { (mine, theirs) } else { (theirs, mine) };
            let newer_wins = newer.replaces(older);
            if !newer_wins && !older.replaces(newer) {
                let both_links = wanted.link && matches!(claim.what, What::Link);
                return match self.diverted(package, other, wanted.path) {
                    // The same link to the same directory is no conflict; the disk tells, once it is in order.
                    Conflict::Overwrite { .. } if both_links && self.in_order => Ok(Verdict::Same),
                    Conflict::Overwrite { .. } if both_links => Err(Conflict::InOrder { path: path() }),
                    conflict => Err(conflict),
                };
            }
            if newer_wins != (package > other) {
                lost.insert((package, wanted.literal.to_owned()));
                return Ok(Verdict::Skip);
            }
            lost.insert((other, claim.literal.clone()));
        }
        let before = match &claim.what {
            What::Other { on_disk } => on_disk.clone(),
            What::Dir { .. } | What::Link => path(),
        };
        if before != wanted.on_disk && !self.in_order {
            return Err(Conflict::InOrder { path: path() });
        }
        *claim = Claim { owner: package, literal: wanted.literal.to_owned(), what };
        Ok(Verdict::Place(Some(before)))
    }

    fn overwrite(&self, path: &Path, other: usize, what: &'static str) -> Conflict {
        Conflict::Overwrite { path: path.to_owned(), other: self.packages[other].name.clone(), what }
    }

    fn diverted(&self, package: usize, other: usize, path: &Path) -> Conflict {
        let diverting = [package.max(other), package.min(other)].into_iter().find(|p| self.packages[*p].diverts);
        match diverting {
            Some(package) => Conflict::Divert { package, path: path.to_owned() },
            None => self.overwrite(path, other, ""),
        }
    }

    /// Who has the path.
    pub fn owner(&self, path: &Path) -> Option<usize> {
        self.state().paths.get(path).map(|c| c.owner)
    }

    /// Where the file of a path is on disk, if the path is this package's or packages are unpacked in order.
    pub fn link_target(&self, package: usize, path: &Path) -> Result<Option<PathBuf>, Conflict> {
        match self.state().paths.get(path) {
            Some(Claim { owner, what: What::Other { on_disk }, .. }) if *owner == package || self.in_order => {
                Ok(Some(on_disk.clone()))
            }
            Some(Claim { owner, .. }) if *owner != package && !self.in_order => {
                Err(Conflict::InOrder { path: path.to_owned() })
            }
            _ => Ok(None),
        }
    }

    /// Does something to a path while nobody can take it over, if it still is this package's.
    pub fn while_owned<T>(&self, package: usize, path: &Path, act: impl FnOnce() -> T) -> Option<T> {
        let state = self.state();
        state.paths.get(path).is_some_and(|c| c.owner == package).then(act)
    }

    /// What came of it, when every package is unpacked.
    pub fn finish(self) -> Settled {
        let state = self.state.into_inner().unwrap_or_else(|e| e.into_inner());
        let mut dirs: Vec<(PathBuf, DirMeta)> = state
            .paths
            .into_iter()
            .filter_map(|(path, claim)| match claim.what {
                What::Dir { meta, .. } => Some((path, meta)),
                What::Link | What::Other { .. } => None,
            })
            .collect();
        dirs.sort_by(|a, b| a.0.cmp(&b.0));
        Settled { dirs, lost: state.lost }
    }
}
