//! Which keys a package may be signed with.

use anyhow::{Result, bail};

use super::repository::keyring;
use crate::error::usage;
use crate::fetch::openpgp::Keyring;
use crate::lock::LockedPackage;
use crate::plan::{Key, Plan};

/// The keys that may have signed in-house packages: those of `packages.key`, and those of every repository. `None`:
/// they need no signature.
pub fn in_house(plan: &Plan) -> Result<Option<Keyring>> {
    if plan.packages.trusted || plan.packages.files.is_empty() {
        return Ok(None);
    }
    let repositories = plan.repositories.iter().filter(|r| !r.trusted).flat_map(|r| &r.keys);
    let mut keys: Vec<Key> = Vec::new();
    for key in plan.packages.keys.iter().chain(repositories) {
        if keys.iter().all(|known| known.data != key.data) {
            keys.push(key.clone());
        }
    }
    Keyring::parse(&keys).map(Some).map_err(|error| usage(format!("{error:#}")))
}

/// The keys of everything that packages of a lock come from.
pub struct Keys<'a> {
    plan: &'a Plan,
    repositories: Vec<(&'a str, Option<Keyring>)>,
    in_house: Option<Keyring>,
}

impl<'a> Keys<'a> {
    /// Reads the keys of the plan.
    pub fn new(plan: &'a Plan) -> Result<Keys<'a>> {
        let mut repositories = Vec::new();
        for repository in &plan.repositories {
            let keys = if repository.trusted { None } else { Some(keyring(repository)?) };
            repositories.push((repository.name.as_str(), keys));
        }
        Ok(Keys { plan, repositories, in_house: in_house(plan)? })
    }

    /// The keys for a package; `None` where it needs no signature.
    pub fn of(&self, package: &LockedPackage) -> Result<Option<&Keyring>> {
        if package.repository.is_empty() {
            return Ok(self.in_house.as_ref());
        }
        let repository = self.repositories.iter().find(|(name, _)| *name == package.repository);
        match repository {
            Some((_, keys)) => Ok(keys.as_ref()),
            None => bail!("the package {} is from '{}', which is no repository", package.name, package.repository),
        }
    }

    /// Whether every package of these needs a signature, so that dnf can check them once more.
    pub fn cover(&self, packages: &[&LockedPackage]) -> Result<bool> {
        let keys = packages.iter().map(|package| self.of(package)).collect::<Result<Vec<_>>>()?;
        Ok(keys.iter().all(Option::is_some))
    }

    /// The key files that the image's own package manager is to trust: those of the repositories it is left with that
    /// packages came from.
    pub fn of_image(&self, packages: &[&LockedPackage]) -> Vec<&'a Key> {
        self.files(packages, |build_only| !build_only)
    }

    /// The key files that only the build trusts.
    pub fn of_build(&self, packages: &[&LockedPackage]) -> Vec<&'a Key> {
        let mut keys = self.files(packages, |build_only| build_only);
        if packages.iter().any(|package| package.repository.is_empty()) {
            keys.extend(&self.plan.packages.keys);
        }
        keys
    }

    fn files(&self, packages: &[&LockedPackage], wanted: impl Fn(bool) -> bool) -> Vec<&'a Key> {
        let used = |name: &str| packages.iter().any(|package| package.repository == name);
        let repositories = self.plan.repositories.iter();
        repositories.filter(|r| !r.trusted && wanted(r.build_only) && used(&r.name)).flat_map(|r| &r.keys).collect()
    }
}
