//! `manifest.json`: what is in the image, for programs to read.

use std::collections::BTreeMap;

use anyhow::{Context as _, Result};
use serde::Serialize;

use super::Image;
use crate::lock::LockedPackage;
use crate::recipe::FamilyKind;

/// The version of the manifest's format. New keys do not change it; anything else does.
const FORMAT: u32 = 1;

// Fields stand in the order of their names, which is the order of the keys in the file.
#[derive(Serialize)]
struct Manifest<'a> {
    format: u32,
    image: ImagePart<'a>,
    mkbase: &'a str,
    packages: Vec<Package<'a>>,
    recipe: String,
    repositories: Vec<Repository<'a>>,
}

#[derive(Serialize)]
struct ImagePart<'a> {
    arch: &'a str,
    diff_id: String,
    epoch: i64,
    family: FamilyKind,
    file: &'a str,
    name: &'a str,
    release: &'a str,
    sha256: &'a str,
    size: u64,
    unpacked_size: u64,
    variant: &'a str,
}

#[derive(Serialize)]
struct Package<'a> {
    arch: &'a str,
    installed_size: u64,
    /// Absent where the package database does not say it.
    #[serde(skip_serializing_if = "str::is_empty")]
    licence: &'a str,
    licence_files: &'a [String],
    name: &'a str,
    /// Null for a package that no lock brought: one that a script of the recipe installed.
    path: Option<&'a str>,
    /// Null also for an in-house file.
    repository: Option<&'a str>,
    sha256: Option<&'a str>,
    source: &'a str,
    source_version: &'a str,
    version: &'a str,
}

#[derive(Serialize)]
struct Repository<'a> {
    date: i64,
    index_sha256: &'a str,
    #[serde(skip_serializing_if = "str::is_empty")]
    mirrorlist: &'a str,
    name: &'a str,
    suite: &'a str,
    url: &'a str,
}

/// The whole file.
pub fn render(image: &Image<'_>) -> Result<String> {
    let (plan, lock) = (image.plan, image.lock);
    let locked: BTreeMap<(&str, &str, &str), &LockedPackage> =
        lock.installed().map(|p| ((p.name.as_str(), p.version.as_str(), p.arch.as_str()), p)).collect();
    let mut installed: Vec<_> = image.installed.iter().collect();
    installed.sort();
    let packages = installed.iter().map(|package| {
        let locked = locked.get(&(package.name.as_str(), package.version.as_str(), package.arch.as_str()));
        Package {
            arch: &package.arch,
            installed_size: package.installed_size,
            licence: &package.licence,
            licence_files: &package.licence_files,
            name: &package.name,
            path: locked.map(|locked| locked.path.as_str()),
            repository: locked.map(|locked| locked.repository.as_str()).filter(|name| !name.is_empty()),
            sha256: locked.map(|locked| locked.sha256.as_str()),
            source: &package.source,
            source_version: &package.source_version,
            version: &package.version,
        }
    });
    let repositories = lock.repositories.iter().map(|repository| Repository {
        date: repository.date,
        index_sha256: &repository.index,
        mirrorlist: &repository.mirrorlist,
        name: &repository.name,
        suite: &repository.suite,
        url: &repository.url,
    });
    let manifest = Manifest {
        format: FORMAT,
        image: ImagePart {
            arch: &lock.arch,
            diff_id: format!("sha256:{}", image.packed.diff_id),
            epoch: lock.epoch,
            family: lock.family,
            file: image.codec.file_name(),
            name: &plan.name,
            release: &plan.release,
            sha256: &image.packed.sha256,
            size: image.packed.packed,
            unpacked_size: image.packed.unpacked,
            variant: &plan.variant,
        },
        mkbase: env!("CARGO_PKG_VERSION"),
        packages: packages.collect(),
        recipe: format!("sha256:{}", plan.digest),
        repositories: repositories.collect(),
    };
    let mut text = serde_json::to_string_pretty(&manifest).context("writing the manifest")?;
    text.push('\n');
    Ok(text)
}
