//! The lock: everything an image is made of, by name, version, size and hash.
//!
//! The same lock gives the same bytes. It is TOML with one package a line, so that a diff of two locks reads
//! as a list of updates.

use std::collections::BTreeMap;
use std::fmt::{self, Write as _};

use anyhow::{Context as _, Result, anyhow};
use serde::{Deserialize, Serialize};

use crate::plan::Repository;
use crate::recipe::FamilyKind;

mod change;
mod fit;
#[cfg(test)]
pub(crate) mod testing;

pub use change::{Change, changes};
pub use fit::Misfit;

/// The version of the lock format this program writes, and the only one it reads.
pub const VERSION: u32 = 1;

/// A hash of a file: SHA-256 in lower-case hexadecimal.
pub type Sha256Hex = String;

/// The lock of one image.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Lock {
    /// Format version, see [`VERSION`].
    pub version: u32,
    /// Name of the image.
    pub name: String,
    /// Package family.
    pub family: FamilyKind,
    /// Release, as the recipe's canonical name.
    pub release: String,
    /// Architecture, as the family spells it.
    pub arch: String,
    /// Variant of the recipe.
    #[serde(default)]
    pub variant: String,
    /// SHA-256 of the recipe as merged, without what cannot change the content (mirrors of the build).
    pub recipe: Sha256Hex,
    /// Seconds since 1970: the time that no file of the image is newer than.
    pub epoch: i64,
    /// The repositories, in the order of the recipe.
    #[serde(rename = "repository", default)]
    pub repositories: Vec<LockedRepository>,
    /// The module streams that are enabled in the image (rpm), sorted by name.
    #[serde(rename = "module", default)]
    pub modules: Vec<LockedModule>,
    /// The packages, sorted by name and architecture.
    #[serde(rename = "package", default)]
    pub packages: Vec<LockedPackage>,
}

/// One repository as it was when the lock was made.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct LockedRepository {
    /// Its name in the recipe.
    pub name: String,
    /// The address of the distribution (not of the build's mirror), without credentials. Of a list of mirrors it is
    /// that of the one that was read, and empty where the build's mirror was.
    pub url: String,
    /// The others of that list, in turn, where packages may be had as well.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub mirrors: Vec<String>,
    /// The address of that list, without credentials.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub mirrorlist: String,
    /// Suite, for families that have them.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub suite: String,
    /// When its signed index was made, in seconds since 1970.
    pub date: i64,
    /// SHA-256 of the signed index (`InRelease`, `repomd.xml`, `APKINDEX`).
    pub index: Sha256Hex,
}

/// The stream of a module that is enabled in the image, and its profiles that are installed: what later installations
/// and updates go by (dnf.modularity(7)). One that another module needs may have no package.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct LockedModule {
    /// Name of the module.
    pub name: String,
    /// Its stream.
    pub stream: String,
    /// Profiles, sorted.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub profiles: Vec<String>,
}

impl fmt::Display for LockedModule {
    /// As dnf takes it: `name:stream/profile`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.name, self.stream)?;
        match self.profiles.join(", ") {
            none if none.is_empty() => Ok(()),
            profiles => write!(f, "/{profiles}"),
        }
    }
}

/// What a package is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Role {
    /// It is installed in the image because it was asked for.
    #[default]
    Wanted,
    /// It is installed in the image because another package needs it.
    Dependency,
    /// It only helps to make the image and is not installed (the sources of locales, for one).
    Tool,
}

/// One package, exactly.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct LockedPackage {
    /// Package name.
    pub name: String,
    /// Full version, with epoch and revision.
    pub version: String,
    /// Architecture of the package, as the family spells it (`all`, `noarch` included).
    pub arch: String,
    /// Size of the package file in bytes.
    pub size: u64,
    /// SHA-256 of the package file.
    pub sha256: Sha256Hex,
    /// Name of the repository it comes from; empty for an in-house file.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub repository: String,
    /// Path below the repository's URL; for an in-house file its path as the recipe gives it.
    pub path: String,
    /// What the signed index names it by, where that is no hash of the file (apk: `Q1` and the SHA-1 of the control
    /// member in base64). The file is held against it once more when it is installed.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub checksum: String,
    /// What it is for.
    #[serde(default)]
    pub role: Role,
}

/// An older lock that a new one goes on from.
#[derive(Debug, Clone)]
pub struct Previous {
    /// The older lock.
    pub lock: Lock,
    /// Versions by package name, to be kept where that is possible.
    pub held: BTreeMap<String, String>,
    /// Take indexes that are older than those of the lock.
    pub allow_rollback: bool,
}

impl LockedRepository {
    /// The line of a repository whose index is of that date and has that hash.
    pub fn new(repository: &Repository, date: i64, index: Sha256Hex) -> LockedRepository {
        // A snapshot has an address of its own.
        let list = repository.mirrorlist.as_ref().filter(|_| repository.url.is_empty());
        LockedRepository {
            name: repository.name.clone(),
            url: repository.url.clone(),
            mirrors: Vec::new(),
            mirrorlist: list.map(|list| list.url.clone()).unwrap_or_default(),
            suite: repository.suite.clone(),
            date,
            index,
        }
    }

    /// What the recipe knows it by: the address of its list of mirrors, or its own.
    pub fn source(&self) -> &str {
        if self.mirrorlist.is_empty() { &self.url } else { &self.mirrorlist }
    }

    /// Where the lock has it from, in turn.
    pub fn addresses(&self) -> impl Iterator<Item = &str> {
        std::iter::once(&self.url).chain(&self.mirrors).map(String::as_str).filter(|url| !url.is_empty())
    }
}

impl Lock {
    /// Reads a lock. `origin` names the file in errors.
    pub fn parse(text: &str, origin: &str) -> Result<Lock> {
        let lock: Lock = toml::from_str(text).map_err(|error| {
            let line = error
                .span()
                .and_then(|span| text.get(..span.start))
                .map_or(1, |before| before.matches('\n').count() + 1);
            anyhow!(
                "reading the lock {origin}: line {line}: {}; is it the {} of an output folder?",
                error.message(),
                crate::emit::LOCK
            )
        })?;
        if lock.version != VERSION {
            anyhow::bail!(
                "reading the lock {origin}: its format is version {}, this mkbase reads {VERSION}; make the lock anew",
                lock.version
            );
        }
        Ok(lock)
    }

    /// The lock as text: sorted, one package a line.
    pub fn to_text(&self) -> Result<String> {
        let mut sorted = self.clone();
        sorted.modules.sort();
        sorted.packages.sort();
        let mut out = String::from("# The exact content of an image, written by mkbase. Commit it; do not edit it.\n");
        let head = Lock { repositories: Vec::new(), modules: Vec::new(), packages: Vec::new(), ..sorted.clone() };
        let head = toml::to_string(&head).context("writing the lock")?;
        out.push_str(&head.lines().filter(|l| !l.ends_with("= []")).fold(String::new(), |mut text, line| {
            text.push_str(line);
            text.push('\n');
            text
        }));
        lines(&mut out, "repository", &sorted.repositories)?;
        if !sorted.modules.is_empty() {
            lines(&mut out, "module", &sorted.modules)?;
        }
        lines(&mut out, "package", &sorted.packages)?;
        Ok(out)
    }

    /// The packages that end up in the image, by name and architecture.
    pub fn installed(&self) -> impl Iterator<Item = &LockedPackage> {
        self.packages.iter().filter(|p| p.role != Role::Tool)
    }

    /// Whether two locks are of the same content from the same places, whenever their repositories were looked at.
    pub fn same_content(&self, other: &Lock) -> bool {
        let timeless = |lock: &Lock| {
            // Lists name mirrors in another order each time.
            let undated = |r: &LockedRepository| LockedRepository {
                mirrors: Vec::new(),
                date: 0,
                index: String::new(),
                ..r.clone()
            };
            let mut packages = lock.packages.clone();
            packages.sort();
            let repositories = lock.repositories.iter().map(undated).collect();
            Lock { epoch: 0, repositories, packages, ..lock.clone() }
        };
        timeless(self) == timeless(other)
    }

    /// The repositories by name.
    pub fn repository(&self) -> BTreeMap<&str, &LockedRepository> {
        self.repositories.iter().map(|r| (r.name.as_str(), r)).collect()
    }
}

/// Writes `key = [` and one inline table a line.
fn lines<T: Serialize>(out: &mut String, key: &str, items: &[T]) -> Result<()> {
    writeln!(out, "{key} = [")?;
    for item in items {
        let table = toml::Value::try_from(item).context("writing the lock")?;
        writeln!(out, "    {table},")?;
    }
    writeln!(out, "]")?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::testing::package;
    use super::*;

    #[test]
    fn text_is_sorted_one_package_a_line_and_reads_back() {
        let packages = ["zlib", "bash"].map(|name| package(name, "1:2.0-1~\"x"));
        let mut lock = Lock { packages: packages.to_vec(), ..testing::lock() };
        let text = lock.to_text().expect("a lock can be written");
        assert_eq!(text.lines().filter(|l| l.contains("pool/")).count(), 2);
        lock.packages.sort();
        assert_eq!(Lock::parse(&text, "test").expect("it reads back"), lock);
        assert!(text.find("bash") < text.find("zlib"));
        let mirrored = |url: &str, mirrors: &[&str]| {
            let line = &lock.repositories[0];
            let mirrors = mirrors.iter().map(|url| url.to_string()).collect();
            let line =
                LockedRepository { url: url.into(), mirrors, mirrorlist: "http://l/?a=b".into(), ..line.clone() };
            Lock { repositories: vec![line], ..lock.clone() }
        };
        let listed = mirrored("http://a", &["http://b", "http://c"]);
        let text = listed.to_text().expect("a lock can be written");
        assert!(text.contains(r#"mirrors = ["http://b", "http://c"]"#), "{text}");
        assert_eq!(Lock::parse(&text, "test").expect("it reads back"), listed);
        let line = &listed.repositories[0];
        assert_eq!((line.source(), line.addresses().count()), ("http://l/?a=b", 3));
        assert_eq!(mirrored("", &[]).repositories[0].addresses().count(), 0);
        assert!(listed.same_content(&mirrored("http://a", &[])) && !listed.same_content(&mirrored("http://b", &[])));
        let later = Lock { epoch: lock.epoch + 9, ..lock.clone() };
        assert!(lock.same_content(&later) && !lock.same_content(&Lock { packages: Vec::new(), ..later }));
        assert!(!text.contains("module"), "{text}");
        let module = LockedModule { name: "greeter".into(), stream: "1".into(), profiles: vec!["common".into()] };
        let modular = Lock { modules: vec![module], ..lock.clone() };
        assert_eq!(Lock::parse(&modular.to_text().expect("written"), "test").expect("it reads back"), modular);
        assert!(!modular.same_content(&lock));
        assert!(Lock::parse(&text.replace("version = 1\n", "version = 9\n"), "test").is_err());
        let error = Lock::parse("version = 1\nextends = \"debian\"\n", "x.toml").expect_err("it is a recipe");
        assert!(error.to_string().starts_with("reading the lock x.toml: line 2: unknown field `extends`"), "{error}");
    }
}
