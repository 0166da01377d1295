//! From a plan to a lock: which packages, of which versions, from where.

use std::collections::{BTreeSet, HashMap};
use std::fs::File;

use anyhow::{Context as _, Error, Result};

use super::explain::explain;
use super::identify::{identify, path};
use super::info::Info;
use super::package::Package;
use super::pool::{PackageId, Pool, Source};
use super::repository::{self, Contents};
use super::solve::{Outcome, Wish, solve};
use super::world;
use crate::context::Context;
use crate::error::usage;
use crate::family::dates;
use crate::hash::sha256_of;
use crate::lock::{self, Lock, LockedPackage, LockedRepository, Previous, Role};
use crate::parallel::parallel;
use crate::plan::Plan;

/// Packages are fetched on so many threads at least: they wait for the network more than for a core.
const MIN_THREADS: usize = 8;

/// An in-house package.
struct OwnFile<'a> {
    info: Info,
    sha256: String,
    shown: &'a str,
}

/// Reads the repositories of the plan, verifies them and decides on every package.
pub fn resolve(context: &Context, plan: &Plan, previous: Option<&Previous>) -> Result<Lock> {
    let arch = plan.arch.apk;
    // Mistakes in the recipe need not wait for a download.
    let files = own_files(plan, arch)?;
    let names = files.iter().map(|file| (file.info.name.as_str(), file.info.checksum.as_str()));
    let world = world::lines(plan, names)?;
    let contents = std::thread::scope(|scope| {
        let threads: Vec<_> = plan
            .repositories
            .iter()
            .map(|repository| scope.spawn(move || repository::read(context, repository, arch)))
            .collect();
        let join = |thread: std::thread::ScopedJoinHandle<'_, _>| {
            thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
        };
        threads.into_iter().map(join).collect::<Result<Vec<_>>>()
    })?;
    let (repositories, indexes): (Vec<LockedRepository>, Vec<Vec<Info>>) =
        plan.repositories.iter().zip(contents).map(|(repository, contents)| take_apart(repository, contents)).unzip();
    if let Some(previous) = previous {
        dates::refuse_rollback(&repositories, previous)?;
    }
    let own: Vec<Info> = files.iter().map(|file| file.info.clone()).collect();
    let mut sources: Vec<Source<'_>> = plan
        .repositories
        .iter()
        .zip(&indexes)
        .enumerate()
        .map(|(at, (repository, packages))| Source {
            repository: Some(at),
            tag: Some(repository.tag.as_str()).filter(|tag| !tag.is_empty()),
            packages,
        })
        .collect();
    sources.push(Source { repository: None, tag: None, packages: &own });
    let mut pool = Pool::new(&sources, arch)?;
    let wishes = world::wishes(&world, &mut pool)?;
    world::check_time_zone(plan, &mut pool)?;
    for wish in
        wishes.iter().filter(|w| w.relation.dependency.conflict && pool.name(w.relation.name).providers.is_empty())
    {
        context.ui.warn(format!("packages.exclude: no repository has the package '{}'", wish.relation.dependency.name));
    }
    let outcome = decide(&pool, &wishes, previous);
    if !outcome.is_possible() {
        return Err(explain(&pool, &wishes, &outcome));
    }
    let mut packages = locked(context, plan, &pool, &wishes, &outcome.packages, &files, previous)?;
    packages.sort();
    let epoch = dates::epoch(plan, &repositories)?;
    Ok(Lock {
        version: lock::VERSION,
        name: plan.name.clone(),
        family: plan.family,
        release: plan.release.clone(),
        arch: arch.to_owned(),
        variant: plan.variant.clone(),
        recipe: plan.digest.clone(),
        epoch,
        repositories,
        modules: Vec::new(),
        packages,
    })
}

fn take_apart(repository: &crate::plan::Repository, contents: Contents) -> (LockedRepository, Vec<Info>) {
    (LockedRepository::new(repository, contents.index.date, contents.sha256), contents.index.packages)
}

fn own_files<'p>(plan: &'p Plan, arch: &str) -> Result<Vec<OwnFile<'p>>> {
    let mut files: Vec<OwnFile<'p>> = Vec::new();
    for (path, shown) in &plan.packages.files {
        let place = || format!("packages.files: {shown}");
        if shown.contains(char::is_control) {
            return Err(usage(format!("packages.files: {shown:?} has a control character in its name")));
        }
        // The file is named already.
        let read = |error: Error| usage(format!("{}: {}", place(), causes(&error)));
        let package = Package::open(path).map_err(read)?;
        package.verify_data().map_err(read)?;
        let (sha256, size) = File::open(path).and_then(sha256_of).with_context(place)?;
        let info = Info { size, ..package.info };
        if info.arch != arch && info.arch != "noarch" && !info.arch.is_empty() {
            return Err(usage(format!("{}: it is for {}, and the image is for {arch}", place(), info.arch)));
        }
        if let Some(other) = files.iter().find(|known| known.info.name == info.name) {
            return Err(usage(format!(
                "packages.files: {} and {shown} are both of the package {}",
                other.shown, info.name
            )));
        }
        files.push(OwnFile { info, sha256, shown });
    }
    Ok(files)
}

/// What is behind the outermost context of an error.
fn causes(error: &Error) -> String {
    error.chain().skip(1).map(ToString::to_string).collect::<Vec<_>>().join(": ")
}

/// Decides with as many of the held versions as possible: first with all that the repositories still have; where
/// those make it impossible, the ones that stand in the way are let go, until it is possible or none is left.
fn decide(pool: &Pool<'_>, wishes: &[Wish<'_>], previous: Option<&Previous>) -> Outcome {
    let held = previous.map(|previous| &previous.held);
    let there: BTreeSet<(&str, &str)> = (0..pool.packages())
        .map(|id| pool.package(id))
        .filter(|package| package.repository.is_some())
        .map(|package| (package.info.name.as_str(), package.info.version.as_str()))
        .collect();
    let mut pins: HashMap<&str, &str> = held
        .into_iter()
        .flatten()
        .map(|(name, version)| (name.as_str(), version.as_str()))
        .filter(|pin| there.contains(pin))
        .collect();
    loop {
        let is_let_go = |id: PackageId| {
            let package = pool.package(id);
            let pin = pins.get(package.info.name.as_str());
            package.repository.is_some() && pin.is_some_and(|version| *version != package.info.version)
        };
        let outcome = solve(pool, wishes, is_let_go);
        if outcome.is_possible() || pins.is_empty() {
            return outcome;
        }
        let mut in_the_way: BTreeSet<&str> = BTreeSet::new();
        for (id, _) in &outcome.faults {
            let package = pool.package(*id);
            in_the_way.insert(&package.info.name);
            for relation in &package.depends {
                in_the_way.extend(
                    pool.name(relation.name).providers.iter().map(|p| pool.package(p.package).info.name.as_str()),
                );
            }
        }
        let before = pins.len();
        pins.retain(|name, _| !in_the_way.contains(name));
        if pins.len() == before {
            pins.clear();
        }
    }
}

/// The lines of the lock.
fn locked(
    context: &Context,
    plan: &Plan,
    pool: &Pool<'_>,
    wishes: &[Wish<'_>],
    chosen: &[PackageId],
    files: &[OwnFile<'_>],
    previous: Option<&Previous>,
) -> Result<Vec<LockedPackage>> {
    let threads = context.jobs.max(MIN_THREADS);
    let one = |id: PackageId| {
        let package = pool.package(id);
        let info = package.info;
        let (repository, path, sha256) = match package.repository.map(|at| &plan.repositories[at]) {
            Some(repository) => {
                let path = path(info, plan.arch.apk);
                let sha256 = identify(context, repository, info, &path, previous)?;
                (repository.name.clone(), path, sha256)
            }
            None => {
                let file = files.iter().find(|file| file.info.checksum == info.checksum);
                let file = file.context("an in-house package is none of the files")?;
                (String::new(), file.shown.to_owned(), file.sha256.clone())
            }
        };
        let names = std::iter::once(package.name).chain(package.provides.iter().map(|(name, _)| *name));
        let asked = names
            .into_iter()
            .any(|name| wishes.iter().any(|wish| wish.relation.name == name && !wish.relation.dependency.conflict));
        Ok(LockedPackage {
            name: info.name.clone(),
            version: info.version.clone(),
            arch: if info.arch.is_empty() { "noarch".to_owned() } else { info.arch.clone() },
            size: info.size,
            sha256,
            repository,
            path,
            checksum: info.checksum.clone(),
            role: if asked { Role::Wanted } else { Role::Dependency },
        })
    };
    parallel(threads, chosen, one)
}
