//! `mkbase lock`: decides on the packages of a recipe and writes them down beside it. Finding the lock of a recipe,
//! which other commands do too, is here as well.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::Permissions;
use std::io::{Read as _, Write as _};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};

use super::{Session, print};
use crate::build::resolve;
use crate::cli::{LockArgs, RenewArgs};
use crate::error::{did_you_mean, usage};
use crate::family;
use crate::lock::{Change, Lock, Misfit, Previous, changes};
use crate::recipe;
use crate::ui::Ui;

/// Bytes of a lock at most; ten thousand packages have four million.
const LIMIT: u64 = 64 << 20;

/// Makes or renews the lock that the arguments describe.
pub fn lock(arguments: &LockArgs, ui: &Ui) -> Result<()> {
    let session = Session::new(&arguments.what, &arguments.cache, &arguments.tools, false)?;
    check_packages(&arguments.renew, &arguments.what.recipe)?;
    if arguments.output.as_deref() == Some(Path::new("-")) {
        if arguments.renew.update {
            return Err(usage("--update renews a file, and -o - names none; leave one of them out"));
        }
        let lock = resolve(&session.plan, None, &session.fetcher, session.jobs, &session.tools, ui)?;
        return print(lock.to_text()?);
    }
    let path = match &arguments.output {
        Some(path) => path.clone(),
        None => recipe::lock_path(&arguments.what.recipe)?,
    };
    let (_, changes) = renew(&session, &path, &arguments.renew, ui)?;
    print(text(&changes))
}

/// Packages are named for an update only.
pub fn check_packages(renew: &RenewArgs, recipe: &str) -> Result<()> {
    match renew.packages.first() {
        Some(package) if !renew.update => Err(usage(format!(
            "'{package}' is one argument too many: packages are named for --update, and a release follows a colon, as \
             in {recipe}:{package}"
        ))),
        _ => Ok(()),
    }
}

/// The lock at `path`, made if there is none, renewed if that is asked for or the recipe has changed; and what changed
/// in one that was there.
pub fn renew(session: &Session, path: &Path, how: &RenewArgs, ui: &Ui) -> Result<(Lock, Vec<Change>)> {
    let old = read_if_there(path)?;
    let misfit = old.as_ref().map(|old| old.misfit(&session.plan)).transpose()?.flatten();
    let shown = path.display();
    let partly = !how.update || !how.packages.is_empty();
    match (&old, &misfit) {
        (Some(old), None) if !how.update => {
            ui.info("Locked", format_args!("{shown} fits the recipe; --update renews it"));
            return Ok((old.clone(), Vec::new()));
        }
        // Nothing of it could stay.
        (Some(_), Some(misfit @ Misfit::Other { .. })) if partly => {
            return Err(usage(format!(
                "the lock {shown}: {misfit}; give another file with -o, or replace it: --update"
            )));
        }
        (None, _) if !how.packages.is_empty() => {
            return Err(usage(format!("there is no lock {shown} to renew packages of; make one without --update")));
        }
        _ => {}
    }
    let previous = old.as_ref().map(|old| Previous {
        lock: old.clone(),
        held: if partly { held(old, &how.packages) } else { BTreeMap::new() },
        allow_rollback: how.allow_rollback,
    });
    let new = resolve(&session.plan, previous.as_ref(), &session.fetcher, session.jobs, &session.tools, ui)?;
    check_names(&how.packages, old.as_ref(), &new)?;
    let Some(old) = old else {
        write(path, &new)?;
        ui.info("Locked", format_args!("{} packages in {shown}", new.packages.len()));
        return Ok((new, Vec::new()));
    };
    // Other dates alone are no reason for another image and a line in the version history.
    if old.same_content(&new) && session.plan.epoch.is_none_or(|epoch| epoch == old.epoch) {
        ui.info("Locked", format_args!("{shown} is up to date"));
        return Ok((old, Vec::new()));
    }
    let family = family::of(session.plan.family, None)?;
    let changes = changes(&old, &new, |a, b| family.compare_versions(a, b));
    write(path, &new)?;
    let count = changes.len();
    ui.info("Locked", format_args!("{shown}: {count} change{}", if count == 1 { "" } else { "s" }));
    Ok((new, changes))
}

/// The versions of a lock but for these packages.
fn held(lock: &Lock, free: &[String]) -> BTreeMap<String, String> {
    // An in-house package is the file that the recipe names.
    let packages = lock.packages.iter().filter(|p| !p.repository.is_empty() && !free.contains(&p.name));
    packages.map(|p| (p.name.clone(), p.version.clone())).collect()
}

/// Refuses names that are in neither lock: a slip would pass for an update.
fn check_names(asked: &[String], old: Option<&Lock>, new: &Lock) -> Result<()> {
    let known: BTreeSet<&str> =
        old.into_iter().chain([new]).flat_map(|lock| &lock.packages).map(|p| p.name.as_str()).collect();
    match asked.iter().find(|name| !known.contains(name.as_str())) {
        Some(name) => {
            let hint = did_you_mean(name, known);
            Err(usage(format!("--update: the lock has no package '{name}'{hint}")))
        }
        None => Ok(()),
    }
}

/// Changes as text, a line each.
pub fn text(changes: &[Change]) -> String {
    changes.iter().map(|change| format!("{change}\n")).collect()
}

/// Where packages come from.
#[derive(Debug)]
pub enum Choice {
    /// From a lock that fits.
    Lock(Box<Lock>),
    /// From the repositories, after an older lock if there is one.
    Resolve(Option<Box<Previous>>),
}

/// Finds the lock of a build: the file given, which must fit, or the one beside the recipe, if it is there and fits.
/// `strict` refuses to do without one. `allow_rollback` is for resolving after one that does not fit.
pub fn choose(
    session: &Session,
    recipe: &str,
    given: Option<&Path>,
    strict: bool,
    allow_rollback: bool,
    ui: &Ui,
) -> Result<Choice> {
    let (path, found) = match given {
        Some(path) => (path.to_owned(), Some(read(path)?)),
        None => {
            let path = recipe::lock_path(recipe)?;
            let found = read_if_there(&path)?;
            (path, found)
        }
    };
    let shown = path.display();
    let Some(lock) = found else {
        if strict {
            return Err(usage(format!("there is no lock {shown}; make it with 'mkbase lock {recipe}'")));
        }
        return Ok(Choice::Resolve(None));
    };
    let how = match given {
        Some(_) => "build without --lock to take the newest packages".to_string(),
        None => format!("renew it with 'mkbase lock {recipe}'"),
    };
    let Some(misfit) = lock.misfit(&session.plan)? else {
        if given.is_none() {
            ui.info("Locked", format_args!("{} packages by {shown}", lock.packages.len()));
        }
        return Ok(Choice::Lock(Box::new(lock)));
    };
    if given.is_some() || strict {
        return Err(usage(format!("the lock {shown} does not fit: {misfit}; {how}")));
    }
    let ignored = match &misfit {
        // It stays right for what it is of.
        Misfit::Other { .. } => format!("the lock {shown} is not used: {misfit}"),
        Misfit::Changed | Misfit::PackageFile(_) => format!("the lock {shown} is not used: {misfit}; {how}"),
    };
    ui.warn(ignored);
    Ok(Choice::Resolve(Some(Box::new(Previous { lock, held: BTreeMap::new(), allow_rollback }))))
}

/// Reads a lock that must be there.
fn read(path: &Path) -> Result<Lock> {
    read_if_there(path)?.ok_or_else(|| usage(format!("reading the lock {}: there is no such file", path.display())))
}

/// Reads a lock. Whatever is wrong with one is a usage error: people merge and edit them.
fn read_if_there(path: &Path) -> Result<Option<Lock>> {
    let wrong = |why: &dyn std::fmt::Display| usage(format!("reading the lock {}: {why}", path.display()));
    let mut text = String::new();
    // Looked at before it is opened: opening a pipe would wait for its other end.
    match std::fs::metadata(path) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(wrong(&error)),
        Ok(metadata) if !metadata.is_file() => return Err(wrong(&"it is no ordinary file")),
        Ok(_) => {}
    }
    let file = std::fs::File::open(path).map_err(|error| wrong(&error))?;
    file.take(LIMIT + 1).read_to_string(&mut text).map_err(|error| wrong(&error))?;
    if text.len() as u64 > LIMIT {
        return Err(wrong(&format_args!("it is larger than {} MiB", LIMIT >> 20)));
    }
    Lock::parse(&text, &path.display().to_string()).map(Some).map_err(|error| usage(format!("{error:#}")))
}

/// Puts a lock in place, whole or not at all.
fn write(path: &Path, lock: &Lock) -> Result<()> {
    let doing = || format!("writing the lock {}", path.display());
    // A link stays one.
    let target = path.canonicalize().unwrap_or_else(|_| path.to_owned());
    let folder = match target.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder.to_owned(),
        _ => PathBuf::from("."),
    };
    // As any new file the umask has a say in it; one that is replaced keeps its permissions.
    let mut file = tempfile::Builder::new()
        .prefix(".mkbase-lock-")
        .permissions(Permissions::from_mode(0o666))
        .tempfile_in(folder)
        .with_context(doing)?;
    if let Ok(metadata) = target.metadata() {
        file.as_file().set_permissions(metadata.permissions()).with_context(doing)?;
    }
    file.write_all(lock.to_text()?.as_bytes()).with_context(doing)?;
    file.persist(&target).with_context(doing)?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::Usage;

    #[test]
    fn a_lock_that_cannot_be_read_is_a_usage_error() {
        let folder = tempfile::tempdir().expect("a folder");
        let gone = folder.path().join("gone.lock");
        assert!(read_if_there(&gone).expect("it is not there").is_none());
        let broken = folder.path().join("broken.lock");
        std::fs::write(&broken, "<<<<<<< HEAD\n").expect("writes");
        for path in [gone.as_path(), &broken, folder.path()] {
            let error = read(path).expect_err("it cannot be read");
            assert!(error.is::<Usage>() && error.to_string().contains(path.to_str().expect("text")), "{error}");
        }
    }

    #[test]
    fn packages_without_update_are_explained() {
        let renew = |update, packages: &[&str]| RenewArgs {
            update,
            packages: packages.iter().map(|p| p.to_string()).collect(),
            allow_rollback: false,
        };
        let error = check_packages(&renew(false, &["bookworm"]), "debian").expect_err("it is one too many");
        assert!(error.is::<Usage>() && error.to_string().contains("debian:bookworm"), "{error}");
        check_packages(&renew(true, &["openssl"]), "debian").expect("it is meant so");
        check_packages(&renew(false, &[]), "debian").expect("nothing is named");
    }
}
