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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fetch::openpgp::testkeys::{key, public};
    use crate::lock::Role;
    use crate::plan::{Repository, testing};
    use pgp::ser::Serialize as _;

    fn certificate(name: &str) -> Key {
        Key { name: name.into(), data: public(&key()).to_bytes().expect("bytes") }
    }

    fn package(repository: &str) -> LockedPackage {
        LockedPackage {
            name: "bash".into(),
            version: "1-1".into(),
            arch: "noarch".into(),
            size: 1,
            sha256: String::new(),
            repository: repository.into(),
            path: String::new(),
            checksum: String::new(),
            role: Role::Wanted,
        }
    }

    fn plan() -> Plan {
        let mut plan = testing::plan();
        let repository = |name: &str, trusted, build_only| Repository {
            keys: vec![certificate(name)],
            trusted,
            build_only,
            ..testing::repository(name, "http://example.org", "")
        };
        plan.repositories =
            vec![repository("os", false, false), repository("build", false, true), repository("open", true, false)];
        plan.packages.files = vec![("/a.rpm".into(), "a.rpm".into())];
        plan.packages.keys = vec![certificate("corp")];
        plan
    }

    #[test]
    fn only_what_is_trusted_goes_without_a_signature() {
        let mut plan = plan();
        let has_keys = |plan: &Plan, repository: &str| {
            Keys::new(plan).and_then(|keys| Ok(keys.of(&package(repository))?.is_some())).map_err(|e| e.to_string())
        };
        assert_eq!(has_keys(&plan, "os"), Ok(true));
        assert_eq!(has_keys(&plan, ""), Ok(true));
        assert_eq!(has_keys(&plan, "open"), Ok(false));
        assert!(has_keys(&plan, "elsewhere").expect_err("unknown").contains("no repository"));
        plan.packages.trusted = true;
        assert_eq!(has_keys(&plan, ""), Ok(false));
        plan.repositories[0].keys.clear();
        assert!(has_keys(&plan, "os").expect_err("no key").contains("has no key"));
    }

    #[test]
    fn the_image_trusts_only_what_it_is_left_with() {
        let plan = plan();
        let keys = Keys::new(&plan).expect("keys");
        let names = |keys: Vec<&Key>| keys.into_iter().map(|key| key.name.clone()).collect::<Vec<_>>();
        let all = [package("os"), package("build"), package("open"), package("")];
        let all: Vec<&LockedPackage> = all.iter().collect();
        assert_eq!(names(keys.of_image(&all)), ["os"]);
        assert_eq!(names(keys.of_build(&all)), ["build", "corp"]);
        assert!(!keys.cover(&all).expect("known") && keys.cover(&all[..2]).expect("known"));
        assert!(names(keys.of_image(&all[1..])).is_empty() && names(keys.of_build(&all[..1])).is_empty());
    }
}
