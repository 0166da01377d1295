//! Unpacks packages on all cores: each worker takes a package, the largest first, and streams it into the root.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::path::PathBuf;
use std::sync::Mutex;

use anyhow::{Context as _, Result, bail};
use md5::{Digest as _, Md5};

use super::archive::{Control, Deb};
use super::claims::{Claimant, Claims, Conflict};
use super::place::{Placer, listed, set_directories};
use crate::family::members::Kind;
use crate::hash::hex;
use crate::interrupt;
use crate::parallel::parallel;
use crate::root::Root;
use crate::ui::{Bar, Ui};

/// What unpacking a package gave: what dpkg's database is to say of it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Unpacked {
    /// Lines of `info/PACKAGE.list`, in the order of the archive.
    pub list: Vec<Vec<u8>>,
    /// Content of `info/PACKAGE.md5sums`, for a package that brings none.
    pub md5sums: Option<Vec<u8>>,
    /// Configuration files that another package took over.
    pub obsolete: BTreeSet<String>,
}

/// The result of all unpacking.
#[derive(Debug)]
pub struct Outcome {
    /// By index of the package; `None` for those that dpkg itself must unpack, because their preinst diverts a file
    /// of another package that they ship too.
    pub packages: Vec<Option<Unpacked>>,
}

/// Unpacks the packages into the empty root. Their order is that in which dpkg would have unpacked them: where two
/// packages differ about a folder, it decides.
pub fn unpack(ui: &Ui, jobs: usize, debs: &[Deb], root: &Root, bar: &Bar) -> Result<Outcome> {
    if !root.read_dir(".")?.is_empty() {
        bail!("unpacking into {}: the folder is not empty", root.path().display());
    }
    let claimants: Vec<Claimant> = debs
        .iter()
        .map(|d| {
            Claimant::new(d.control()).with_context(|| format!("reading the package {}", d.control().field("Package")))
        })
        .collect::<Result<_>>()?;
    let mut for_dpkg = BTreeSet::new();
    let mut in_order = false;
    // Every turn either is the last or takes one more package out or puts the rest in order.
    loop {
        let error = match attempt(jobs, debs, &claimants, &for_dpkg, in_order, root, bar) {
            Ok(packages) => return Ok(Outcome { packages }),
            Err(error) => error,
        };
        match error.downcast_ref::<Conflict>() {
            Some(Conflict::Divert { package, path }) => {
                ui.detail(format_args!(
                    "{} diverts /{}: the image's own dpkg will unpack it",
                    claimants[*package].name,
                    path.display()
                ));
                for_dpkg.insert(*package);
            }
            // Which of two packages is in the way of the other, and named in the error, would be chance.
            Some(Conflict::InOrder { path } | Conflict::Overwrite { path, .. }) if !in_order => {
                ui.detail(format_args!(
                    "the order of packages decides about /{}: unpacking one after the other",
                    path.display()
                ));
                in_order = true;
            }
            _ => return Err(error),
        }
        root.remove_content(".").context("starting to unpack again")?;
    }
}

fn attempt(
    jobs: usize,
    debs: &[Deb],
    claimants: &[Claimant],
    for_dpkg: &BTreeSet<usize>,
    in_order: bool,
    root: &Root,
    bar: &Bar,
) -> Result<Vec<Option<Unpacked>>> {
    let claims = Claims::new(claimants, in_order);
    let mut turns: Vec<usize> = (0..debs.len()).filter(|i| !for_dpkg.contains(i)).collect();
    if !in_order {
        turns.sort_by_key(|i| (std::cmp::Reverse(debs[*i].data_size()), *i));
    }
    let links = Mutex::new(BTreeMap::new());
    let jobs = if in_order { 1 } else { jobs };
    let unpacked = parallel(jobs, &turns, |package| {
        let context = || format!("unpacking the package {}", claimants[package].name);
        let mut placer = Placer::new(root, &claims, package);
        let unpacked = one(&debs[package], &mut placer).with_context(context)?;
        bar.add(debs[package].data_size());
        if in_order {
            placer.finish().with_context(context)?;
        } else {
            // A target may still be taken over by a package that is being unpacked.
            links.lock().unwrap_or_else(|e| e.into_inner()).insert(package, placer);
        }
        Ok(unpacked)
    })?;
    for (package, placer) in links.into_inner().unwrap_or_else(|e| e.into_inner()) {
        placer.finish().with_context(|| format!("unpacking the package {}", claimants[package].name))?;
    }
    let settled = claims.finish();
    set_directories(root, &settled.dirs)?;
    let mut packages: Vec<Option<Unpacked>> = debs.iter().map(|_| None).collect();
    for (package, unpacked) in turns.into_iter().zip(unpacked) {
        packages[package] = Some(without_lost(unpacked, package, &settled.lost));
    }
    Ok(packages)
}

/// Takes the paths that went to other packages out of the lists, as dpkg does.
fn without_lost(mut unpacked: Unpacked, package: usize, lost: &HashSet<(usize, PathBuf)>) -> Unpacked {
    let mine: HashSet<Vec<u8>> = lost.iter().filter(|(p, _)| *p == package).map(|(_, path)| listed(path)).collect();
    if !mine.is_empty() {
        unpacked.list.retain(|line| !mine.contains(line));
        unpacked.obsolete.extend(mine.iter().map(|line| String::from_utf8_lossy(line).into_owned()));
    }
    unpacked
}

fn one(deb: &Deb, placer: &mut Placer<'_>) -> Result<Unpacked> {
    let control = deb.control();
    let conffiles: HashSet<String> = conffiles(control)?.into_iter().filter(|c| !c.remove).map(|c| c.path).collect();
    let hash = control.file("md5sums").is_none();
    let mut sums: Vec<(PathBuf, String)> = Vec::new();
    let mut by_path: HashMap<PathBuf, usize> = HashMap::new();
    let mut unpacked = Unpacked::default();
    deb.members(|member, content| {
        interrupt::check()?;
        let line = listed(&member.path);
        let conffile = std::str::from_utf8(&line).is_ok_and(|l| conffiles.contains(l));
        let mut md5 = Md5::new();
        let placed = placer.place(&member, conffile, content, &mut |data| {
            if hash {
                md5.update(data);
            }
        })?;
        if !placed {
            return Ok(());
        }
        unpacked.list.push(line);
        if !hash {
            return Ok(());
        }
        let sum = match &member.kind {
            Kind::File => hex(&md5.finalize()),
            Kind::Hardlink(target) => match by_path.get(target) {
                Some(index) => sums[*index].1.clone(),
                None => return Ok(()),
            },
            _ => return Ok(()),
        };
        by_path.insert(member.path.clone(), sums.len());
        sums.push((member.path, sum));
        Ok(())
    })?;
    if hash {
        let mut text = Vec::new();
        for (path, sum) in sums {
            text.extend_from_slice(format!("{sum}  ").as_bytes());
            text.extend_from_slice(&listed(&path)[1..]);
            text.push(b'\n');
        }
        unpacked.md5sums = Some(text);
    }
    Ok(unpacked)
}

/// One line of a package's `conffiles`, deb-conffiles(5).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Conffile {
    /// Absolute path.
    pub path: String,
    /// It is not shipped, but to be removed on upgrade.
    pub remove: bool,
}

/// The configuration files a package names.
pub fn conffiles(control: &Control) -> Result<Vec<Conffile>> {
    let mut conffiles = Vec::new();
    for line in control.text("conffiles").lines().map(str::trim_end).filter(|l| !l.is_empty()) {
        let (path, remove) = match line.strip_prefix("remove-on-upgrade ") {
            Some(path) => (path.trim_start(), true),
            None => (line, false),
        };
        if !path.starts_with('/') {
            bail!("its conffiles has the line {line:?}, which is not an absolute path");
        }
        conffiles.push(Conffile { path: path.to_string(), remove });
    }
    Ok(conffiles)
}
