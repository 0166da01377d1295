//! Whether a lock is the one of a plan.

use std::fs::File;

use anyhow::{Context as _, Result};

use super::Lock;
use crate::hash::sha256_of;
use crate::plan::Plan;

/// Why a lock is not the one of a plan.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Misfit {
    /// It is of another release, architecture or variant.
    #[error("it is of {locked}, and the recipe of {planned}")]
    Other {
        /// What the lock is of.
        locked: String,
        /// What the plan is of.
        planned: String,
    },
    /// It was made when the recipe or the options were others.
    #[error("the recipe or its options are not those it was made from")]
    Changed,
    /// An in-house package is another file than it was.
    #[error("the package file {0} is not the one it was made with")]
    PackageFile(String),
}

impl Lock {
    /// Why this is not the lock of a plan, if it is not. Reads the in-house packages.
    pub fn misfit(&self, plan: &Plan) -> Result<Option<Misfit>> {
        let arch = plan.arch.name(plan.family);
        let planned = (plan.family, plan.release.as_str(), arch, plan.variant.as_str());
        if (self.family, self.release.as_str(), self.arch.as_str(), self.variant.as_str()) != planned {
            return Ok(Some(Misfit::Other {
                locked: subject(&self.release, &self.arch, &self.variant),
                planned: subject(&plan.release, arch, &plan.variant),
            }));
        }
        if self.recipe != plan.digest {
            return Ok(Some(Misfit::Changed));
        }
        // The digest has only their names, for the lock has their hashes.
        for package in self.packages.iter().filter(|p| p.repository.is_empty()) {
            let Some((path, shown)) = plan.packages.files.iter().find(|(_, name)| *name == package.path) else {
                return Ok(Some(Misfit::PackageFile(package.path.clone())));
            };
            let doing = || format!("reading {}", path.display());
            if File::open(path).and_then(sha256_of).with_context(doing)? != (package.sha256.clone(), package.size) {
                return Ok(Some(Misfit::PackageFile(shown.clone())));
            }
        }
        Ok(None)
    }
}

/// A release, an architecture and a variant in words.
fn subject(release: &str, arch: &str, variant: &str) -> String {
    let words = [release, arch, variant];
    words.into_iter().filter(|word| !word.is_empty()).collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::super::{LockedPackage, testing};
    use super::*;
    use crate::recipe::Overrides;

    fn plan() -> Plan {
        let overrides = Overrides { arch: Some("amd64".into()), ..Overrides::default() };
        crate::recipe::load("debian:trixie", &overrides, &|url| panic!("{url}: it needs no download")).expect("a plan")
    }

    fn lock() -> Lock {
        Lock { recipe: plan().digest, ..testing::lock() }
    }

    #[test]
    fn everything_that_counts_is_compared() {
        let misfit = |lock: Lock| lock.misfit(&plan()).expect("nothing to read").map(|m| m.to_string());
        assert_eq!(misfit(lock()), None);
        let other = |text: &str| Some(format!("it is of {text}, and the recipe of trixie amd64 minbase"));
        assert_eq!(misfit(Lock { release: "sid".into(), ..lock() }), other("sid amd64 minbase"));
        assert_eq!(misfit(Lock { arch: "arm64".into(), ..lock() }), other("trixie arm64 minbase"));
        assert_eq!(misfit(Lock { variant: String::new(), ..lock() }), other("trixie amd64"));
        assert_eq!(Lock { recipe: String::new(), ..lock() }.misfit(&plan()).expect("read"), Some(Misfit::Changed));
    }

    #[test]
    fn a_changed_package_file_does_not_fit() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("a.deb");
        let mut plan = plan();
        plan.packages.files.push((path.clone(), "sub/a.deb".into()));
        let package = LockedPackage {
            size: 3,
            // sha256sum of abc, FIPS 180-2 appendix B.1.
            sha256: "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad".into(),
            repository: String::new(),
            path: "sub/a.deb".into(),
            ..testing::package("a", "1")
        };
        let lock = Lock { packages: vec![package], ..lock() };
        assert!(lock.misfit(&plan).is_err(), "the file is not there");
        for (content, fits) in [("abc", true), ("abd", false), ("abcd", false)] {
            std::fs::write(&path, content).expect("writes");
            let expected = (!fits).then(|| Misfit::PackageFile("sub/a.deb".into()));
            assert_eq!(lock.misfit(&plan).expect("it is read"), expected, "{content}");
        }
        plan.packages.files.clear();
        assert!(lock.misfit(&plan).expect("nothing to read").is_some());
    }
}
