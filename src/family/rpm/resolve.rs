//! From a plan to a lock: dnf decides on the packages, over metadata that was fetched and verified here.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;

use anyhow::{Context as _, Error, Result, bail};
use serde::Deserialize;

use super::dnf::{self, Dnf, Job, JobFile, JobRepository, PACKAGES, WORK};
use super::location;
use super::modules;
use super::package::{Identity, Package};
use super::repomd;
use super::repository::{self, Local};
use super::trust;
use super::verify;
use super::version::Evr;
use crate::arch;
use crate::context::Context;
use crate::customise::locale::LocaleName;
use crate::error::usage;
use crate::family::dates;
use crate::fetch::{public_url, relative_to_each};
use crate::hash::sha256_of;
use crate::lock::{self, Lock, LockedModule, LockedPackage, LockedRepository, Previous, Role};
use crate::parallel::parallel;
use crate::plan::Plan;
use crate::root::Root;
use crate::tools;

/// A package may be this large, in bytes; those known have less than two thousand million.
const MAX_PACKAGE: u64 = 16 << 30;

/// What dnf decided on.
#[derive(Debug, Deserialize)]
struct Answer {
    packages: Vec<Chosen>,
    unknown: Vec<String>,
    modules: Vec<LockedModule>,
    warnings: Vec<String>,
}

/// A package of the transaction, as the metadata has it.
#[derive(Debug, Deserialize)]
struct Chosen {
    name: String,
    epoch: u64,
    version: String,
    release: String,
    arch: String,
    /// Empty for a package file.
    repository: String,
    location: String,
    base: String,
    size: u64,
    algorithm: String,
    digest: String,
    reason: String,
}

/// An in-house package.
struct InHouse<'a> {
    path: &'a PathBuf,
    shown: &'a str,
    identity: Identity,
    sha256: String,
    size: u64,
}

/// Reads the repositories of the plan and has dnf decide on every package.
pub fn resolve(context: &Context, dnf: &tools::dnf::Dnf, plan: &Plan, previous: Option<&Previous>) -> Result<Lock> {
    // Mistakes in the recipe need not wait for a download.
    let files = in_house(context.jobs, plan)?;
    let dnf = Dnf::new(context, dnf, plan, "resolve")?;
    let folders = dnf.folder().join("repositories");
    let all: Vec<usize> = (0..plan.repositories.len()).collect();
    let contents = parallel(plan.repositories.len(), &all, |i| {
        let repository = &plan.repositories[i];
        repository::read(context, plan, repository, previous, &folders.join(&repository.name))
    })?;
    let repositories = locked_repositories(plan, &contents);
    if let Some(previous) = previous {
        dates::refuse_rollback(&repositories, previous)?;
    }
    let answer = ask(context, &dnf, plan, &files, previous)?;
    for warning in &answer.warnings {
        context.ui.warn(format!("dnf: {}", dnf::one_line(warning)));
    }
    for name in &answer.unknown {
        context.ui.warn(format!("packages.exclude: no repository has the package '{name}'"));
    }
    let lines = answer.packages.into_iter().map(|chosen| locked(plan, &contents, &files, chosen));
    let mut packages = lines.collect::<Result<Vec<_>>>()?;
    packages.sort();
    if packages.is_empty() {
        return Err(usage("packages.include: nothing is asked for, so there is nothing to install"));
    }
    Ok(Lock {
        version: lock::VERSION,
        name: plan.name.clone(),
        family: plan.family,
        release: plan.release.clone(),
        arch: plan.arch.rpm.to_owned(),
        variant: plan.variant.clone(),
        recipe: plan.digest.clone(),
        epoch: dates::epoch(plan, &repositories)?,
        repositories,
        modules: modules::locked(answer.modules)?,
        packages,
    })
}

fn locked_repositories(plan: &Plan, contents: &[Local]) -> Vec<LockedRepository> {
    let lines = plan.repositories.iter().zip(contents).map(|(repository, local)| {
        let mut line = LockedRepository::new(repository, local.date, local.sha256.clone());
        if repository.list().is_some() {
            let mut mirrors = local.mirrors.iter().map(|url| public_url(url));
            line.url = mirrors.next().unwrap_or_default();
            line.mirrors = mirrors.collect();
        }
        line
    });
    lines.collect()
}

/// Has dnf resolve for an empty installation root.
fn ask(
    context: &Context,
    dnf: &Dnf<'_>,
    plan: &Plan,
    files: &[InHouse<'_>],
    previous: Option<&Previous>,
) -> Result<Answer> {
    let empty = dnf.folder().join("root");
    std::fs::create_dir_all(&empty).with_context(|| format!("making {}", empty.display()))?;
    let target = Root::open(&empty)?;
    let foreign = arch::host()? != plan.arch;
    let mut job = Job::new("resolve", plan, foreign);
    let language = language_pack(plan)?;
    job.include = plan.packages.include.iter().chain(&language).map(String::as_str).collect();
    job.exclude = plan.packages.exclude.iter().map(String::as_str).collect();
    job.repositories = plan
        .repositories
        .iter()
        .map(|r| JobRepository { id: &r.name, folder: format!("{WORK}/repositories/{}", r.name), priority: r.priority })
        .collect();
    let inside: Vec<(PathBuf, PathBuf)> =
        files.iter().enumerate().map(|(i, file)| (file.path.clone(), file_name(i).into())).collect();
    job.files = (0..files.len()).map(|i| JobFile { path: file_name(i), sysusers: Vec::new() }).collect();
    let given: BTreeSet<&str> = files.iter().map(|file| file.identity.name.as_str()).collect();
    if let Some(previous) = previous {
        let held = previous.held.iter().map(|(name, version)| (name.as_str(), version.as_str()));
        job.held = held.filter(|(name, _)| !given.contains(name)).collect::<BTreeMap<_, _>>();
    }
    context.ui.detail(format_args!("asking dnf for {}", job.include.join(" ")));
    dnf.ask(&job, &target, &inside).context("resolving with dnf")
}

/// Where dnf finds the in-house package of that number.
fn file_name(number: usize) -> String {
    format!("{PACKAGES}/{number}.rpm")
}

/// The package with the locale of the image, where that is not one every image has.
fn language_pack(plan: &Plan) -> Result<Option<String>> {
    let locale = LocaleName::parse(&plan.system.locale)?;
    if locale.is_built_in() || !plan.rpm.language_packs {
        return Ok(None);
    }
    let language = locale.base.split('_').next().unwrap_or_default();
    Ok(Some(format!("glibc-langpack-{language}")))
}

/// Reads and verifies the in-house packages.
fn in_house(jobs: usize, plan: &Plan) -> Result<Vec<InHouse<'_>>> {
    let keys = trust::in_house(plan)?;
    let all: Vec<usize> = (0..plan.packages.files.len()).collect();
    let files = parallel(jobs, &all, |i| {
        let (path, shown) = &plan.packages.files[i];
        let place = || format!("packages.files: {shown}");
        if shown.contains(char::is_control) {
            return Err(usage(format!("packages.files: {shown:?} has a control character in its name")));
        }
        let mut package = Package::open(path).map_err(|error| usage(format!("{}: {}", place(), causes(&error))))?;
        let identity = package.identity().with_context(place)?;
        let arch = identity.arch.as_str();
        if arch != "noarch" && !plan.arch.rpm_packages.contains(&arch) {
            return Err(usage(format!("{}: it is for {arch}, and the image is for {}", place(), plan.arch.rpm)));
        }
        match &keys {
            Some(keys) => verify::verify(&mut package, keys).with_context(place)?,
            None => verify::check_digests(&mut package).with_context(place)?,
        }
        let (sha256, size) = std::fs::File::open(path).and_then(sha256_of).with_context(place)?;
        Ok(InHouse { path, shown, identity, sha256, size })
    })?;
    for (i, file) in files.iter().enumerate() {
        if let Some(other) = files[..i].iter().find(|other| other.identity.name == file.identity.name) {
            return Err(usage(format!(
                "packages.files: {} and {} are both of the package {}",
                other.shown, file.shown, file.identity.name
            )));
        }
    }
    Ok(files)
}

/// What is behind the outermost context of an error.
fn causes(error: &Error) -> String {
    error.chain().skip(1).map(ToString::to_string).collect::<Vec<_>>().join(": ")
}

/// The line of the lock. What the metadata says is checked here: names become file names and paths addresses.
fn locked(plan: &Plan, contents: &[Local], files: &[InHouse<'_>], chosen: Chosen) -> Result<LockedPackage> {
    let role = if chosen.reason == "dependency" { Role::Dependency } else { Role::Wanted };
    if chosen.repository.is_empty() {
        let file = (0..files.len()).find(|i| file_name(*i) == chosen.location).map(|i| &files[i]);
        let file =
            file.with_context(|| format!("dnf chose the package file {:?}, which it was not given", chosen.location))?;
        let Identity { name, evr, arch } = file.identity.clone();
        let (sha256, path) = (file.sha256.clone(), file.shown.to_owned());
        return Ok(LockedPackage {
            name,
            version: evr,
            arch,
            size: file.size,
            sha256,
            repository: String::new(),
            path,
            checksum: String::new(),
            role,
        });
    }
    let place = || format!("repository '{}': the package {:?}", chosen.repository, chosen.name);
    let repository = plan.repositories.iter().zip(contents).find(|(r, _)| r.name == chosen.repository);
    let (repository, local) = repository.with_context(|| format!("{}: there is no such repository", place()))?;
    for (what, text) in [
        ("name", &chosen.name),
        ("version", &chosen.version),
        ("release", &chosen.release),
        ("architecture", &chosen.arch),
    ] {
        if text.is_empty() || !text.bytes().all(|b| b.is_ascii_graphic() && !b"/\\'\"".contains(&b)) {
            bail!("{}: its {what} {text:?} is none", place());
        }
    }
    if !chosen.base.is_empty() {
        bail!("{}: its file is on another server (xml:base), which is not fetched", place());
    }
    if chosen.algorithm != "sha256" {
        bail!("{}: its checksum is of the type {:?}, and only sha256 is trusted", place(), chosen.algorithm);
    }
    if chosen.size > MAX_PACKAGE {
        bail!("{}: its size of {} bytes is more than the {MAX_PACKAGE} that it may have", place(), chosen.size);
    }
    let path = location::of_package(&chosen.location).with_context(place)?;
    relative_to_each(&local.mirrors, &path).with_context(place)?;
    let evr = Evr { epoch: chosen.epoch, version: &chosen.version, release: &chosen.release };
    Ok(LockedPackage {
        version: evr.to_string(),
        size: chosen.size,
        sha256: repomd::sha256(&chosen.digest).with_context(place)?,
        repository: repository.name.clone(),
        path,
        checksum: String::new(),
        role,
        name: chosen.name,
        arch: chosen.arch,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::testing;

    fn chosen() -> Chosen {
        Chosen {
            name: "bash".into(),
            epoch: 0,
            version: "5.2".into(),
            release: "1.el9".into(),
            arch: "x86_64".into(),
            repository: "baseos".into(),
            location: "Packages/b/bash.rpm".into(),
            base: String::new(),
            size: 7,
            algorithm: "sha256".into(),
            digest: "AB".repeat(32),
            reason: "wanted".into(),
        }
    }

    #[test]
    fn lines_of_the_lock_are_checked() {
        let mut plan = testing::plan();
        plan.repositories.push(testing::repository("baseos", "http://example.org/os", ""));
        let local = |mirror: &str| [Local { date: 1, sha256: String::new(), mirrors: vec![mirror.into()] }];
        let contents = local("http://example.org/a/b/os");
        let locked = |contents: &[Local], chosen| locked(&plan, contents, &[], chosen);
        let line = locked(&contents, chosen()).expect("it is right");
        assert_eq!((line.version.as_str(), line.role), ("5.2-1.el9", Role::Wanted));
        assert_eq!((line.sha256, line.path.as_str()), ("ab".repeat(32), "Packages/b/bash.rpm"));
        let with = Chosen { epoch: 2, reason: "dependency".into(), ..chosen() };
        let line = locked(&contents, with).expect("it is right");
        assert_eq!((line.version.as_str(), line.role), ("2:5.2-1.el9", Role::Dependency));
        for (bad, expected) in [
            (
                Chosen { algorithm: "md5".into(), ..chosen() },
                "the package \"bash\": its checksum is of the type \"md5\"",
            ),
            (Chosen { digest: "00".into(), ..chosen() }, "no SHA-256"),
            (Chosen { size: u64::MAX, ..chosen() }, "its size of 18446744073709551615 bytes is more than"),
            (Chosen { base: "http://h/".into(), ..chosen() }, "another server"),
            (Chosen { location: "../../../../x".into(), ..chosen() }, "leads above the root of the server"),
            (Chosen { location: "a/../x".into(), ..chosen() }, "not a path from the repository"),
            (Chosen { location: "http://h/x.rpm".into(), ..chosen() }, "not a path from the repository"),
            (Chosen { name: "a/b".into(), ..chosen() }, "its name \"a/b\" is none"),
            (Chosen { version: "1 2".into(), ..chosen() }, "its version"),
            (Chosen { release: String::new(), ..chosen() }, "its release"),
            (Chosen { repository: "other".into(), ..chosen() }, "no such repository"),
            (Chosen { repository: String::new(), ..chosen() }, "which it was not given"),
        ] {
            let error = format!("{:#}", locked(&contents, bad).expect_err(expected));
            assert!(error.contains(expected), "{error}");
        }
        let beside = || Chosen { location: "./../../../x.rpm".into(), ..chosen() };
        assert_eq!(locked(&contents, beside()).expect("it is on the server").path, "../../../x.rpm");
        let error = format!("{:#}", locked(&local("file:///srv/a/b/os"), beside()).expect_err("another file"));
        assert!(error.contains("leads out of it, which it may on a server only"), "{error}");
    }
}
