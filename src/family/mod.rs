//! Package families. Only what is below this module knows a package format; every other stage asks the trait.

use std::cmp::Ordering;
use std::collections::BTreeMap;
use std::path::PathBuf;

use anyhow::Result;

use crate::check::Check;
use crate::clean::Step;
use crate::context::Context;
use crate::error::usage;
use crate::lock::{Lock, LockedPackage, Previous};
use crate::plan::Plan;
use crate::recipe::FamilyKind;
use crate::root::Root;

pub mod apk;
pub mod dates;
pub mod deb;
mod host_keys;
mod host_tool;
pub mod links;
mod members;
mod mirrors;
pub mod rpm;

/// What installs the packages.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Engine {
    /// mkbase itself
    Native,
    /// The debootstrap of the host (deb)
    Debootstrap,
    /// The dnf of the host or of the tools tree (rpm)
    Dnf,
    /// The apk of the host (apk)
    ApkTools,
}

/// The family of a recipe, with the engine that was asked for or else its own.
pub fn of(kind: FamilyKind, engine: Option<Engine>) -> Result<Box<dyn Family>> {
    Ok(match (kind, engine) {
        (FamilyKind::Deb, None | Some(Engine::Native)) => Box::new(deb::Deb { engine: deb::Engine::Native }),
        (FamilyKind::Deb, Some(Engine::Debootstrap)) => Box::new(deb::Deb { engine: deb::Engine::Debootstrap }),
        (FamilyKind::Rpm, None | Some(Engine::Dnf)) => Box::new(rpm::Rpm),
        (FamilyKind::Apk, None | Some(Engine::Native)) => Box::new(apk::Apk { engine: apk::Engine::Native }),
        (FamilyKind::Apk, Some(Engine::ApkTools)) => Box::new(apk::Apk { engine: apk::Engine::ApkTools }),
        (FamilyKind::Deb, Some(Engine::Dnf | Engine::ApkTools)) => {
            return Err(usage("--engine: Debian packages are installed by native or debootstrap"));
        }
        (FamilyKind::Rpm, Some(Engine::Native | Engine::Debootstrap | Engine::ApkTools)) => {
            return Err(usage("--engine: RPM packages are installed by dnf; leave the option out"));
        }
        (FamilyKind::Apk, Some(Engine::Debootstrap | Engine::Dnf)) => {
            return Err(usage("--engine: Alpine packages are installed by native or apk-tools"));
        }
    })
}

/// The family of a tree whose recipe is not known, by the package database it holds.
pub fn of_tree(root: &Root) -> Result<Box<dyn Family>> {
    if root.exists(deb::database::ADMIN) {
        return of(FamilyKind::Deb, None);
    }
    if rpm::database::find(root).is_some() {
        return of(FamilyKind::Rpm, None);
    }
    if root.exists(apk::DATABASE) {
        return of(FamilyKind::Apk, None);
    }
    let path = root.path().display();
    Err(usage(format!("{path} holds no database of dpkg, rpm or apk, so it is no tree that mkbase can check")))
}

/// A locked package and its verified file in the cache.
#[derive(Debug, Clone)]
pub struct Fetched {
    /// Its line of the lock.
    pub package: LockedPackage,
    /// The package file.
    pub file: PathBuf,
}

/// A package as the image's own database has it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Installed {
    /// Name.
    pub name: String,
    /// Full version.
    pub version: String,
    /// Architecture, as the family spells it.
    pub arch: String,
    /// Name of the source package.
    pub source: String,
    /// Version of the source package.
    pub source_version: String,
    /// Size of its files in bytes, as the package says.
    pub installed_size: u64,
    /// Paths of licence files (absolute, in the image).
    pub licence_files: Vec<String>,
    /// The licence as the database has it, an SPDX expression as a rule; empty where it has none (deb).
    pub licence: String,
}

/// Which package owns a path. Paths are below the root without a leading slash, with the links of the merged
/// `/usr` already followed (`usr/bin/sh`, never `bin/sh`).
#[derive(Debug, Clone, Default)]
pub struct Owners {
    /// Path to package name.
    pub paths: BTreeMap<PathBuf, String>,
    /// Paths that are configuration files, which an administrator may change.
    pub conffiles: std::collections::BTreeSet<PathBuf>,
}

/// What a package format does for the pipeline.
pub trait Family: Sync {
    /// Reads the signed indexes and decides on every package, going on from an older lock if there is one.
    fn resolve(&self, context: &Context, plan: &Plan, previous: Option<&Previous>) -> Result<Lock>;

    /// Gets the programs that resolving and installing leave to others, where the host's do not serve.
    fn provide_tools(&self, _: &Context) -> Result<()> {
        Ok(())
    }

    /// The order of two versions of a package.
    fn compare_versions(&self, a: &str, b: &str) -> Ordering;

    /// Makes an installed tree of the packages of the lock in the empty root.
    fn bootstrap(&self, context: &Context, plan: &Plan, lock: &Lock, packages: &[Fetched], root: &Root) -> Result<()>;

    /// The packages in the image's own database, sorted.
    fn installed(&self, root: &Root) -> Result<Vec<Installed>>;

    /// Which package owns which path.
    fn owners(&self, root: &Root) -> Result<Owners>;

    /// Writes the package manager's configuration: repositories with the image's mirrors, their keys, and how it
    /// behaves in a container.
    fn configure_repositories(&self, plan: &Plan, root: &Root) -> Result<()>;

    /// Whether programs of the family read the name of the time zone in `/etc/timezone`, besides `/etc/localtime`.
    fn names_timezone(&self) -> bool {
        true
    }

    /// Makes the locale of the plan for real and leaves it the only one, with the help of packages of
    /// [`crate::lock::Role::Tool`] among `packages`.
    fn make_locale(&self, context: &Context, plan: &Plan, packages: &[Fetched], root: &Root) -> Result<()>;

    /// The clean steps of this family, besides those of every image.
    fn clean_steps(&self) -> &'static [Step];

    /// The checks of this family, besides those of every image.
    fn checks(&self) -> &'static [Check];

    /// Whether the checks get on with a tree that they cannot write to. Then packing need not wait for them.
    fn checks_only_read(&self) -> bool {
        false
    }
}
