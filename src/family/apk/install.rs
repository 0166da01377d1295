//! The native engine: unpacks and verifies all packages on all cores, then installs one after the other as apk does.

use std::collections::HashSet;

use anyhow::{Context as _, Result, bail};

use super::database::{self, Record};
use super::order::order;
use super::package::Package;
use super::scripts::Scripts;
use super::stage::{Staged, unpack};
use super::tree::Tree;
use super::triggers;
use crate::context::Context;
use crate::family::Fetched;
use crate::interrupt;
use crate::lock::Role;
use crate::parallel::parallel;
use crate::plan::Plan;
use crate::root::Root;
use crate::ui::Unit;
use crate::work::remove_tree;

/// What is to be installed.
pub struct Set<'a> {
    /// The packages, those of [`Role::Tool`] are left out.
    pub packages: &'a [Fetched],
    /// What was asked for: the lines of `world`.
    pub world: &'a [String],
    /// The tag of each repository that has one, by its name.
    pub tags: &'a [(String, String)],
    /// Looks at a package file before anything of it is used (its signature, for one).
    pub inspect: &'a (dyn Fn(&Fetched, &Package) -> Result<()> + Sync),
}

/// Makes an installed tree of the packages in the empty root, without any program of the host.
pub fn install(context: &Context, plan: &Plan, set: &Set<'_>, root: &Root) -> Result<()> {
    if !root.read_dir(".")?.is_empty() {
        bail!("installing into {}: the folder is not empty", root.path().display());
    }
    let fetched: Vec<&Fetched> = set.packages.iter().filter(|p| p.package.role != Role::Tool).collect();
    let step = context.ui.step("Unpacking");
    let folder = context.work.path().join("packages");
    std::fs::create_dir(&folder).with_context(|| format!("making {}", folder.display()))?;
    let bar = step.bar(fetched.iter().map(|p| p.package.size).sum(), Unit::Bytes);
    let mut turns: Vec<usize> = (0..fetched.len()).collect();
    turns.sort_by_key(|i| (std::cmp::Reverse(fetched[*i].package.size), *i));
    let unpacked = parallel(context.jobs, &turns, |index| {
        let fetched = fetched[index];
        let package = open(fetched)?;
        (set.inspect)(fetched, &package)?;
        let staged = unpack(&package, folder.join(index.to_string()))
            .with_context(|| format!("unpacking the package {}", fetched.package.name))?;
        bar.add(fetched.package.size);
        Ok((package, staged))
    })?;
    drop(bar);
    let mut by_index: Vec<(usize, (Package, Staged))> = turns.into_iter().zip(unpacked).collect();
    by_index.sort_by_key(|(index, _)| *index);
    let (packages, staged): (Vec<Package>, Vec<Staged>) = by_index.into_iter().map(|(_, both)| both).unzip();
    let mut seen = HashSet::new();
    if let Some(twice) = packages.iter().find(|p| !seen.insert(&p.info.name)) {
        bail!("the lock has {} twice; make the lock anew", twice.info.name);
    }
    step.done(format_args!("{} packages", packages.len()));

    let step = context.ui.step("Installing");
    let infos: Vec<_> = packages.iter().map(|p| p.info.clone()).collect();
    let order = order(&infos, set.world, plan.arch.apk)?;
    let mut tree = Tree::new(root, &packages);
    let scripts = Scripts::new(context, root, plan.epoch);
    for &index in &order {
        interrupt::check()?;
        one(&packages[index], index, &staged[index], &mut tree, &scripts)?;
    }
    for &index in &order {
        let package = &packages[index];
        if let (Some(arguments), Some(text)) = (triggers::arguments(package, &tree), package.script("trigger")) {
            scripts.run(&package.info.name, &package.info.version, "trigger", text, &arguments)?;
        }
    }
    let tag = |repository: &str| set.tags.iter().find(|(name, _)| name == repository).map(|(_, tag)| tag.clone());
    let records = packages.iter().zip(&fetched).enumerate().map(|(index, (package, fetched))| Record {
        package,
        locked: &fetched.package,
        tag: tag(&fetched.package.repository).unwrap_or_default(),
        index,
    });
    database::write(root, plan.arch.apk, set.world, records.collect(), &tree)?;
    scripts.post_commit()?;
    remove_tree(&folder).with_context(|| format!("removing {}", folder.display()))?;
    step.done(format_args!("{} packages", packages.len()));
    Ok(())
}

/// Opens a package file, and checks that it is the one that the lock names.
pub fn open(fetched: &Fetched) -> Result<Package> {
    let locked = &fetched.package;
    let package = Package::open(&fetched.file)
        .with_context(|| format!("opening the package {} {}", locked.name, locked.version))?;
    let info = &package.info;
    // An index may give its own architecture to packages that are the same for all.
    let same_arch = info.arch == locked.arch || info.arch == "noarch";
    if (&info.name, &info.version) != (&locked.name, &locked.version) || !same_arch {
        bail!(
            "{} is {} {} {}, but the lock says {} {} {}; make the lock anew",
            fetched.file.display(),
            info.name,
            info.version,
            info.arch,
            locked.name,
            locked.version,
            locked.arch
        );
    }
    Ok(package)
}

/// Installs one package: its pre-install script, its files, its post-install script.
fn one(package: &Package, index: usize, staged: &Staged, tree: &mut Tree<'_>, scripts: &Scripts<'_>) -> Result<()> {
    let info = &package.info;
    // apk does not even open a package that says it has no files: its scripts never run.
    if info.installed_size == 0 {
        return Ok(());
    }
    let run = |name: &str| match package.script(name) {
        Some(text) => scripts.run(&info.name, &info.version, name, text, std::slice::from_ref(&info.version)),
        None => Ok(()),
    };
    run("pre-install")?;
    tree.add(index, staged).with_context(|| format!("installing the package {}", info.name))?;
    run("post-install")
}
