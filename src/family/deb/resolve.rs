//! From a plan to a lock: which packages, of which versions, from where.

use std::collections::HashMap;
use std::fs::File;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::{Context as _, Error, Result, bail};

use super::archive::Deb;
use super::held;
use super::index::{Index, Package};
use super::pool::{Candidate, Id, Pool, Source};
use super::relation::is_package_name;
use super::release;
use super::repository::{self, Contents, join};
use super::solve::solve;
use super::target;
use super::version;
use super::wanted::{self, Request};
use crate::context::Context;
use crate::customise::locale::LocaleName;
use crate::error::usage;
use crate::family::dates;
use crate::hash::sha256_of;
use crate::lock::{self, Lock, LockedPackage, LockedRepository, Previous, Role};
use crate::plan::Plan;

/// The package with the sources of locales; nothing of its dependencies is needed to read those.
const LOCALES: &str = "locales";

/// Reads the repositories of the plan, verifies them and decides on every package.
pub fn resolve(context: &Context, plan: &Plan, previous: Option<&Previous>) -> Result<Lock> {
    let arch = plan.arch.deb;
    // Mistakes in the recipe need not wait for a download.
    let requests = wanted::requests(plan, arch)?;
    let files = local_files(plan, arch)?;
    let now = i64::try_from(SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or(Duration::ZERO).as_secs())?;
    let contents = std::thread::scope(|scope| {
        let threads: Vec<_> = plan
            .repositories
            .iter()
            .map(|repository| scope.spawn(move || repository::read(context, repository, arch, now)))
            .collect();
        threads.into_iter().map(join).collect::<Result<Vec<_>>>()
    })?;
    if let Some(previous) = previous {
        held::refuse_rollback(plan, &contents, previous)?;
    }
    let (lock, unknown) = decide(plan, &requests, contents, files, previous)?;
    for name in unknown {
        context.ui.warn(format!("packages.exclude: no repository has the package '{name}'"));
    }
    Ok(lock)
}

/// The lock for what the repositories have, and names to exclude that none of them has.
fn decide(
    plan: &Plan,
    requests: &[Request<'_>],
    contents: Vec<Contents>,
    files: Option<Index>,
    previous: Option<&Previous>,
) -> Result<(Lock, Vec<String>)> {
    let (repositories, sources) = take_apart(plan, contents, files);
    let mut asked = wanted::pins(requests)?;
    target::pin(requests, &sources, plan.arch.deb, &mut asked)?;
    let decide = |pinned: &HashMap<&str, &str>| decide_pinned(plan, requests, &repositories, &sources, pinned);
    match previous {
        Some(previous) => held::with_held(previous, &sources, plan.arch.deb, &asked, decide),
        None => decide(&asked),
    }
}

/// The same with these versions of these packages.
fn decide_pinned(
    plan: &Plan,
    requests: &[Request<'_>],
    repositories: &[LockedRepository],
    sources: &[Source],
    pinned: &HashMap<&str, &str>,
) -> Result<(Lock, Vec<String>)> {
    let pool = Pool::new(sources, plan.arch.deb, pinned)?;
    let selection = wanted::select(&pool, sources, &plan.packages, requests)?;
    let chosen = solve(&pool, &selection.wanted, &selection.excluded, plan.packages.recommends)?;
    let mut packages = Vec::with_capacity(chosen.len() + 1);
    for (at, &id) in chosen.iter().enumerate() {
        // The solver puts the wanted ones first.
        let role = if at < selection.wanted.len() { Role::Wanted } else { Role::Dependency };
        packages.push(locked(plan, pool.get(id), role)?);
    }
    packages.extend(locales(plan, &pool, &chosen)?);
    packages.sort();
    let lock = Lock {
        version: lock::VERSION,
        name: plan.name.clone(),
        family: plan.family,
        release: plan.release.clone(),
        arch: plan.arch.deb.to_owned(),
        variant: plan.variant.clone(),
        recipe: plan.digest.clone(),
        epoch: dates::epoch(plan, repositories)?,
        repositories: repositories.to_vec(),
        modules: Vec::new(),
        packages,
    };
    Ok((lock, selection.unknown))
}

fn take_apart(plan: &Plan, contents: Vec<Contents>, files: Option<Index>) -> (Vec<LockedRepository>, Vec<Source>) {
    let mut repositories = Vec::new();
    let mut sources: Vec<Source> =
        files.into_iter().map(|index| Source { repository: None, names: Vec::new(), priority: 0, index }).collect();
    for (place, (repository, contents)) in plan.repositories.iter().zip(contents).enumerate() {
        repositories.push(held::locked(repository, &contents));
        let mut names = contents.names;
        names.extend([repository.suite.clone(), repository.name.clone()]);
        sources.extend(contents.indexes.into_iter().map(|index| Source {
            repository: Some(place),
            names: names.clone(),
            priority: contents.priority,
            index,
        }));
    }
    (repositories, sources)
}

/// The in-house packages as an index, as if they were a repository.
fn local_files(plan: &Plan, arch: &str) -> Result<Option<Index>> {
    let mut text = String::new();
    let mut names: Vec<(String, &str)> = Vec::new();
    for (path, shown) in &plan.packages.files {
        let place = || format!("packages.files: {shown}");
        // The file is named already.
        let deb = Deb::open(path).map_err(|error| usage(format!("{}: {}", place(), causes(&error))))?;
        let (sha256, size) = File::open(path).and_then(sha256_of).with_context(place)?;
        if shown.contains(char::is_control) {
            return Err(usage(format!("packages.files: {shown:?} has a control character in its name")));
        }
        let mut control = deb.control().fields.clone();
        let name = control.required("Package").with_context(place)?.to_owned();
        control.required("Version").with_context(place)?;
        let package_arch = control.required("Architecture").with_context(place)?;
        if package_arch != arch && package_arch != "all" {
            return Err(usage(format!("{}: it is for {package_arch}, and the image is for {arch}", place())));
        }
        if let Some((_, other)) = names.iter().find(|(known, _)| *known == name) {
            return Err(usage(format!("packages.files: {other} and {shown} are both of the package {name}")));
        }
        names.push((name, shown));
        control.set("Filename", shown);
        control.set("Size", size.to_string());
        control.set("SHA256", sha256);
        text.push_str(&control.to_string());
        text.push('\n');
    }
    if text.is_empty() { Ok(None) } else { Index::parse(&text, "packages.files").map(Some) }
}

/// What is behind the outermost context of an error.
fn causes(error: &Error) -> String {
    error.chain().skip(1).map(ToString::to_string).collect::<Vec<_>>().join(": ")
}

/// The package with the sources of locales, where one must be made and it is not in the image anyway.
fn locales(plan: &Plan, pool: &Pool<'_>, chosen: &[Id]) -> Result<Option<LockedPackage>> {
    let locale = &plan.system.locale;
    if LocaleName::parse(locale)?.is_built_in() {
        return Ok(None);
    }
    let Some(id) = pool.find(LOCALES) else {
        return Err(usage(format!(
            "system.locale: making {locale} needs the package {LOCALES}, which no repository has; use C.UTF-8"
        )));
    };
    if chosen.contains(&id) { Ok(None) } else { locked(plan, pool.get(id), Role::Tool).map(Some) }
}

/// The line of the lock. What the index says is checked here, where it is used for the first time: names become file
/// names in the image, paths become addresses.
fn locked(plan: &Plan, candidate: &Candidate<'_>, role: Role) -> Result<LockedPackage> {
    let package = candidate.package;
    let place = || format!("{}: the package {}", package.place(), package.name());
    if !is_package_name(package.name()) {
        bail!("{}: its name is not one of a package", place());
    }
    version::validate(package.version()).with_context(place)?;
    let (repository, path) = match candidate.repository {
        Some(at) => (plan.repositories[at].name.clone(), pool_path(&package).with_context(place)?),
        None => (String::new(), package.filename().to_owned()),
    };
    Ok(LockedPackage {
        name: package.name().to_owned(),
        version: package.version().to_owned(),
        arch: package.arch().to_owned(),
        size: package.size().parse().with_context(|| format!("{}: its Size '{}'", place(), package.size()))?,
        sha256: release::sha256(package.sha256()).with_context(|| format!("{}: its SHA256", place()))?,
        repository,
        path,
        checksum: String::new(),
        role,
    })
}

/// The path of a package below its repository: relative, and never out of it.
fn pool_path(package: &Package<'_>) -> Result<String> {
    let given = package.filename();
    let parts: Vec<&str> = given.split('/').filter(|part| *part != ".").collect();
    let plain =
        |part: &&str| !part.is_empty() && *part != ".." && !part.contains(|c: char| c.is_control() || c == '\\');
    if parts.is_empty() || !parts.iter().all(plain) {
        bail!("its Filename {given:?} is not a path below the repository");
    }
    Ok(parts.join("/"))
}

#[cfg(test)]
#[path = "resolve_tests.rs"]
mod tests;
